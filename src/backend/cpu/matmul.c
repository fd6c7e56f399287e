/* Matrix products: splits y = x W^T over threads and cache blocks (kernels: matmul_type in kernels.h).
 *
 * Few rows: bound by memory. Threads take blocks of weight rows; a block's weights are read once and stay in the cache while
 * further activation rows pass.
 *
 * Many rows: bound by arithmetic. Operands are packed by lanes, parts, as tiles want them (matmul_type):
 *   1. all threads pack x (x_pack, shared), in panels of up to tile_x rows;
 *   2. threads take strips of weight rows, as many as a tile has, and pack each once; then all panels of x pass part by part, the
 *      strip's part in L1 (or L2), while the thread's next strip is fetched.
 *
 * Either way an output is the same chain of operations, so the choice never shows in the bits.
 */
#include "backend/cpu/cpu_internal.h"

#include <stdatomic.h>

#include "core/alloc.h"

enum {
    VEC_TASK_ROWS = 256, /* most weight rows of one task of the few-rows path */
    VEC_TASK_BYTES = 128 << 10,
    DECODE_COLS = 1024, /* elements of a row that are decoded at once: whole blocks of any type, and of scales */
    LANES_MAX = VEC_BYTES_MAX / 4,
    SUM_LEVELS_MAX = 5,        /* pending sums of a tree over LANES_MAX leaves, and the one being made */
    TOGETHER_BYTES = 20 << 10, /* of a strip, in lanes taken together: stays in an L1 of 32 KiB beside a panel's part and sums */
    PART_PAD = 64              /* keeps the parts' beginnings in different sets of a cache */
};

/* A thread's scratch. Few rows: raw sums, then decoded rows. Many: weight panel, sums, decoded rows. */
enum {
    W_PANEL_BYTES = 3 << 20,
    SUMS_BYTES = 512 << 10,
    DECODE_BYTES = LANES_MAX * DECODE_COLS * 4,
    RAW_BYTES = VEC_TASK_ROWS * FEW_X_MAX * 4
};
_Static_assert((int)W_PANEL_BYTES + (int)SUMS_BYTES + (int)DECODE_BYTES <= (int)SCRATCH_BYTES, "the many-rows path outgrew the scratch");
_Static_assert((int)RAW_BYTES + MATMUL_COL_MAX * 4 <= (int)SCRATCH_BYTES, "a decoded row fits");
_Static_assert(TILE_V *LANES_MAX *TILE_X_MAX *SUM_LEVELS_MAX * 4 <= (int)SUMS_BYTES, "a tile's sums fit");

typedef struct mm_job {
    cpu_backend *c;
    const matmul_type *t;
    /* some rows of x, packed; all weights of the job meet them */
    const float *x;
    int64_t ldx, n, k;
    int64_t n_step, n_block;     /* steps of k, and scales of a row */
    size_t row_bytes;            /* few rows: of a packed row */
    size_t part_x;               /* many: bytes of a part of all of them */
    int64_t n_panel, panel_rows; /* panels; rows that each has at least */
    /* one of the weights */
    const weight *w;
    void (*to_f32)(float *y, const void *w, int64_t n); /* the type has no kernels of its own: F32's work on decoded rows. Else NULL */
    float *y;
    int64_t ldy;
    epilogue ep;
    int64_t n_task, task_rows;
    task_runs runs;                  /* few */
    int strip_w;                     /* many: weight rows of a tile */
    size_t part_w;                   /* bytes of a part of a strip */
    int64_t split_panels, n_split_x; /* panels of a task; tasks across x */
    _Atomic int64_t next;
} mm_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void store(const mm_job *j, const float *raw, int64_t x_row, int64_t w_row, int64_t n)
{
    j->c->k.epilogue(j->y + x_row * j->ldy + w_row, raw, j->ep.bias ? j->ep.bias + w_row : NULL, n, j->ep.act, j->ep.scale,
                     j->ep.accumulate);
}

static const uint8_t *weight_row(const mm_job *j, int64_t r) { return (const uint8_t *)j->w->data + (size_t)r * j->w->row_bytes; }

/* Elements [k0, k0 + k) of rows [r0, r0 + nr), rows k apart. */
static void decode_rows(const mm_job *j, float *out, int64_t r0, int64_t nr, int64_t k0, int64_t k)
{
    const size_t at = dtype_row_bytes(j->w->type, k0);

    for (int64_t r = 0; r < nr; r++) j->to_f32(out + r * k, weight_row(j, r0 + r) + at, k);
}

/* ---- few rows ---- */

/* Weight rows [r0, r0 + nr), ready to be read as the kernel wants them, times all of x. */
static void few_rows(const mm_job *j, float *raw, const void *w, size_t row_bytes, int64_t r0, int64_t nr)
{
    for (int64_t i = 0; i < j->n; i += j->t->few_x) {
        const int ni = (int)min64(j->t->few_x, j->n - i);
        j->t->matvec(raw, VEC_TASK_ROWS, w, row_bytes, nr, j->c->x_pack + (size_t)i * j->row_bytes, j->row_bytes, ni, j->k);
        for (int r = 0; r < ni; r++) store(j, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
    }
}

static void few_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    float *raw = (float *)j->c->scratch[i_thread];
    float *decoded = raw + RAW_BYTES / 4;
    const int64_t fit = (SCRATCH_BYTES - RAW_BYTES) / 4 / j->k;
    int64_t task;
    int at = 0;

    (void)n_thread;
    while ((task = task_runs_take(&j->runs, i_thread, &at)) >= 0) {
        const int64_t r0 = task * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        if (!j->to_f32) few_rows(j, raw, weight_row(j, r0), j->w->row_bytes, r0, nr);
        for (int64_t r = 0; j->to_f32 && r < nr; r += fit) {
            decode_rows(j, decoded, r0 + r, min64(fit, nr - r), 0, j->k);
            few_rows(j, raw, decoded, (size_t)j->k * sizeof(float), r0 + r, min64(fit, nr - r));
        }
    }
}

static void pack_few(const mm_job *j)
{
    for (int64_t i = 0; i < j->n; i++) j->t->pack_row(j->c->x_pack + (size_t)i * j->row_bytes, j->x + i * j->ldx, j->k);
}

static void matmul_few(mm_job *j)
{
    const int64_t rows = (int64_t)(VEC_TASK_BYTES / j->w->row_bytes) / TILE_W * TILE_W;

    j->task_rows = rows < TILE_W ? TILE_W : min64(rows, VEC_TASK_ROWS);
    j->n_task = ceil_div(j->w->n_row, j->task_rows);
    task_runs_begin(&j->runs, j->n_task, j->c->n_thread);
    if (j->n_task == 1 || j->w->n_row * j->k * j->n < 32768) few_part(j, 0, 1);
    else pool_run(j->c->pool, few_part, j);
}

/* ---- many rows ---- */

/* The first panels have a row more where n does not divide evenly. */
static int64_t panel_row(const mm_job *j, int64_t i) { return i * j->panel_rows + min64(i, j->n - j->n_panel * j->panel_rows); }

/* A part of `rows` rows, whole cache lines */
static size_t part_bytes(const mm_job *j, int64_t rows) { return mo_round_up((size_t)(rows * j->n_step) * UNIT_BYTES, 64) + PART_PAD; }

/* Floats that the sums of a tile need, with those that wait */
static int64_t tile_sums(const mm_job *j) { return (int64_t)j->t->tile_x * j->strip_w * SUM_LEVELS_MAX; }

static float *x_scales(const mm_job *j) { return (float *)(j->c->x_pack + (size_t)j->c->k.n_lane * j->part_x); }

static void pack_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    int64_t i;

    (void)i_thread;
    (void)n_thread;
    while ((i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_panel) {
        const int64_t r0 = panel_row(j, i), r1 = panel_row(j, i + 1);
        j->t->pack_x(j->c->x_pack + (size_t)(r0 * j->n_step) * UNIT_BYTES, j->part_x, x_scales(j) + r0 * j->n_block, j->x + r0 * j->ldx,
                     j->ldx, (int)(r1 - r0), j->k);
    }
}

static void pack_many(mm_job *j)
{
    j->part_x = part_bytes(j, j->n);
    j->n_panel = ceil_div(j->n, j->t->tile_x);
    j->panel_rows = j->n / j->n_panel;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, pack_part, j);
}

/* A strip of weight rows [r0, r0 + nr) as a panel, and what is fetched while it is used. */
typedef struct strip {
    int64_t r0, nr;
    uint8_t *panel;
    float *scale;
    const uint8_t *ahead, *ahead_end;
    int64_t ahead_step; /* bytes to be fetched in each step of a tile */
} strip;

static void pack_strip(const mm_job *j, const strip *s, float *decoded)
{
    const int lanes = j->c->k.n_lane;

    for (int64_t r = 0; r < s->nr; r += lanes) {
        const int n = (int)min64(lanes, s->nr - r);
        uint8_t *o = s->panel + (size_t)r * UNIT_BYTES;

        if (!j->to_f32) j->t->pack_w(o, j->part_w, s->scale + r, weight_row(j, s->r0 + r), j->w->row_bytes, n, j->k);
        for (int64_t k0 = 0; j->to_f32 && k0 < j->k; k0 += DECODE_COLS) {
            const int64_t k = min64(DECODE_COLS, j->k - k0), step = k0 / j->t->k_step;
            decode_rows(j, decoded, s->r0 + r, n, k0, k);
            j->t->pack_w(o + (size_t)(step * j->strip_w) * UNIT_BYTES, j->part_w,
                         s->scale + r + (j->t->block ? step / j->t->block * j->strip_w : 0), decoded, (size_t)k * 4, n, k);
        }
    }
}

/* Lanes [c0, c1), from 0 on in turns, of the strip times n rows of x from x0. A sum waits in memory for each bit of the lane's number; each
 * bit that the next number clears is a pair of the tree. */
static void tile_lanes(const mm_job *j, strip *s, float *sum, int64_t x0, int n, int c0, int c1)
{
    tile_in in = { .w = s->panel + (size_t)c0 * j->part_w,
                   .x = j->c->x_pack + (size_t)c0 * j->part_x + (size_t)(x0 * j->n_step) * UNIT_BYTES,
                   .w_scale = s->scale,
                   .x_scale = x_scales(j) + x0 * j->n_block,
                   .n_step = j->n_step };

    sum += __builtin_popcount((unsigned)c0) * n * j->strip_w;
    for (int c = c0; c < c1; c++, in.w += j->part_w, in.x += j->part_x) {
        const int n_sum = __builtin_ctz(~(unsigned)c);

        in.ahead = s->ahead;
        if (s->ahead < s->ahead_end) s->ahead += in.n_step * (in.ahead_step = s->ahead_step);
        else in.ahead_step = 0;
        j->t->tile(sum, n_sum, &in, n);
        sum += (1 - n_sum) * n * j->strip_w;
    }
}

/* The strip times panels [i0, i1) of x. Some lanes after one another where their parts of the strip fit L1 together: then the sums of a
 * tile stay there too. */
static void strip_panels(const mm_job *j, strip *s, float *sums, int64_t i0, int64_t i1)
{
    const int lanes = j->c->k.n_lane;
    int together = 1;

    while (together < lanes && 2 * (size_t)together * j->part_w <= TOGETHER_BYTES) together *= 2;
    for (int c0 = 0; c0 < lanes; c0 += together)
        for (int64_t i = i0; i < i1; i++) {
            const int64_t x0 = panel_row(j, i);
            const int n = (int)(panel_row(j, i + 1) - x0);
            float *sum = sums + (i - i0) * tile_sums(j);

            tile_lanes(j, s, sum, x0, n, c0, c0 + together);
            for (int r = 0; c0 + together == lanes && r < n; r++) store(j, sum + r * j->strip_w, x0 + r, s->r0, s->nr);
        }
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    strip s = { .panel = j->c->scratch[i_thread], .scale = (float *)(j->c->scratch[i_thread] + (size_t)j->c->k.n_lane * j->part_w) };
    float *sums = (float *)(s.panel + W_PANEL_BYTES), *decoded = (float *)(s.panel + W_PANEL_BYTES + SUMS_BYTES);
    const int64_t run = SUMS_BYTES / 4 / tile_sums(j);
    int64_t task;

    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const int64_t i0 = task % j->n_split_x * j->split_panels, i1 = min64(i0 + j->split_panels, j->n_panel);
        /* the thread's next, if threads take turns, as they do about */
        const int64_t next = min64((task + n_thread) / j->n_split_x * j->strip_w, j->w->n_row);

        s.r0 = task / j->n_split_x * j->strip_w;
        s.nr = min64(j->strip_w, j->w->n_row - s.r0);
        s.ahead = weight_row(j, next);
        s.ahead_end = weight_row(j, min64(next + j->strip_w, j->w->n_row));
        s.ahead_step = min64(64, ceil_div(s.ahead_end - s.ahead, (i1 - i0) * j->c->k.n_lane * j->n_step));

        pack_strip(j, &s, decoded);
        for (int64_t i = i0; i < i1; i += run) strip_panels(j, &s, sums, i, min64(i + run, i1));
    }
}

static void matmul_many(mm_job *j)
{
    const int64_t strips = ceil_div(j->w->n_row, j->strip_w), want = 2 * j->c->n_thread; /* tasks: they even things out */

    j->split_panels = strips >= want ? j->n_panel : ceil_div(j->n_panel, ceil_div(want, strips));
    j->n_split_x = ceil_div(j->n_panel, j->split_panels);
    j->n_task = strips * j->n_split_x;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, many_part, j);
}

/* ---- either ---- */

/* Bytes of `rows` rows packed for tiles, with their scales */
static size_t packed_bytes(const mm_job *j, int64_t rows)
{
    return (size_t)j->c->k.n_lane * part_bytes(j, rows) + (size_t)(rows * j->n_block) * 4;
}

/* What multiplies a weight: its type's kernels, else F32's on decoded rows; NULL: those for int8 activations */
static const matmul_type *dense_type(const cpu_backend *c, const weight *w)
{
    if (cpu_quant_of(c, w)) return NULL;
    return c->k.matmul[c->k.matmul[w->type] ? w->type : (int)MO_F32];
}

/* Weights of one dense_type: x is packed once for them all, in chunks that fit x_pack. */
static void matmul_dense(cpu_backend *c, const matmul_type *t, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    mm_job j = { .c = c, .t = t, .ldx = ldx, .k = part->w->n_col, .strip_w = TILE_V * c->k.n_lane };
    int64_t rows = n;
    bool few;

    j.n_step = ceil_div(j.k, t->k_step);
    j.n_block = t->block ? ceil_div(j.n_step, t->block) : 0;
    j.row_bytes = mo_round_up((size_t)((j.n_step + j.n_block) * c->k.n_lane * UNIT_BYTES), VEC_BYTES_MAX);
    j.part_w = part_bytes(&j, j.strip_w);
    few = n <= t->n_few || packed_bytes(&j, j.strip_w) > W_PANEL_BYTES;
    if (few) rows = min64(t->n_few, (int64_t)(X_PACK_BYTES / j.row_bytes));
    while (!few && packed_bytes(&j, rows) > X_PACK_BYTES) rows = ceil_div(rows, 2); /* even chunks */
    for (int64_t i = 0; i < n; i += rows) {
        j.n = min64(rows, n - i);
        j.x = x + i * ldx;
        if (few) pack_few(&j);
        else pack_many(&j);
        for (int p = 0; p < n_part; p++) {
            j.w = part[p].w;
            j.to_f32 = c->k.matmul[j.w->type] ? NULL : c->k.to_f32[j.w->type];
            j.y = part[p].y + i * part[p].ldy;
            j.ldy = part[p].ldy;
            j.ep = part[p].ep ? *part[p].ep : (epilogue){ 0 };
            if (few) matmul_few(&j);
            else matmul_many(&j);
        }
    }
}

void cpu_matmul_group(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    cpu_backend *c = cpu_of(be);

    for (int i = 0, k; i < n_part; i = k) { /* runs of one way */
        const matmul_type *t = dense_type(c, part[i].w);
        for (k = i + 1; k < n_part && dense_type(c, part[k].w) == t; k++) {
        }
        if (t) matmul_dense(c, t, part + i, k - i, x, ldx, n);
        else cpu_matmul_quant(c, part + i, k - i, x, ldx, n);
    }
}

void cpu_matmul(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    cpu_matmul_group(be, &(matmul_part){ y, ldy, w, ep }, 1, x, ldx, n);
}
