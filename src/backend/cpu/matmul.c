/* Matrix products: splits y = x W^T over threads and cache blocks (kernels: matmul_type in kernels.h).
 *
 * Few rows: bound by memory. Threads take blocks of weight rows; a block's weights are read once and stay in the cache while
 * further activation rows pass.
 *
 * Many rows: bound by arithmetic. Operands are packed by lanes, parts, as tiles want them (matmul_type):
 *   1. all threads pack x (x_pack, shared), in panels of up to tile_x rows;
 *   2. threads take blocks of weight rows, pack each once, and go through its parts: a part of the weights stays in L2 while every
 *      panel of x, a part of which stays in L1 meanwhile, meets every strip of weight rows.
 *
 * Either way an output is the same chain of operations, so the choice never shows in the bits.
 */
#include "backend/cpu/cpu_internal.h"

#include <stdatomic.h>

#include "core/alloc.h"

enum {
    VEC_TASK_ROWS = 256, /* most weight rows of one task of the few-rows path */
    VEC_TASK_BYTES = 128 << 10,
    BLOCK_ROWS = 128,   /* most weight rows of a task of the many-rows path */
    DECODE_COLS = 1024, /* elements of a row that are decoded at once: whole blocks of any type, and of scales */
    LANES_MAX = VEC_BYTES_MAX / 4,
    SUM_LEVELS_MAX = 5, /* pending sums of a tree over LANES_MAX leaves, and the one being made */
    CHAIN_STEPS = 192,
    PART_PAD = 64 /* keeps the parts' beginnings in different sets of a cache */
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
_Static_assert(BLOCK_ROWS *TILE_X_MAX *SUM_LEVELS_MAX * 4 <= (int)SUMS_BYTES, "a panel's sums fit");

typedef struct mm_job {
    cpu_backend *c;
    const matmul_type *t;
    const weight *w;
    void (*to_f32)(float *y, const void *w, int64_t n); /* the type has no kernels of its own: F32's work on decoded rows. Else NULL */
    float *y;
    const float *x;
    int64_t ldy, ldx, n;
    epilogue ep;
    int64_t n_step, n_block; /* steps of k, and scales of a row */
    size_t row_bytes;        /* few rows: of a packed row of x */
    int64_t task_rows;
    task_runs runs;
    /* many rows */
    int strip_w;                              /* weight rows of a tile */
    size_t part_x;                            /* bytes of a part of x */
    int64_t n_panel, split_panels, n_split_x; /* panels of x; of a task; tasks across x */
    int64_t n_strip, n_block_w;               /* strips of a task; tasks across the weight rows */
    int64_t n_task;
    _Atomic int64_t next;
} mm_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void store(const mm_job *j, const float *raw, int64_t x_row, int64_t w_row, int64_t n)
{
    j->c->k.epilogue(j->y + x_row * j->ldy + w_row, raw, j->ep.bias ? j->ep.bias + w_row : NULL, n, j->ep.act, j->ep.scale,
                     j->ep.accumulate);
}

/* Elements [k0, k0 + k) of rows [r0, r0 + nr), rows k apart. */
static void decode_rows(const mm_job *j, float *out, int64_t r0, int64_t nr, int64_t k0, int64_t k)
{
    const uint8_t *w = (const uint8_t *)j->w->data + dtype_row_bytes(j->w->type, k0);

    for (int64_t r = 0; r < nr; r++) j->to_f32(out + r * k, w + (size_t)(r0 + r) * j->w->row_bytes, k);
}

/* ---- few rows ---- */

/* Weight rows [r0, r0 + nr), ready to be read as the kernel wants them, times all of x. */
static void few_rows(const mm_job *j, float *raw, const void *w, size_t row_bytes, int64_t r0, int64_t nr)
{
    const size_t x_bytes = mo_round_up(j->row_bytes, VEC_BYTES_MAX);

    for (int64_t i = 0; i < j->n; i += j->t->few_x) {
        const int ni = (int)min64(j->t->few_x, j->n - i);
        j->t->matvec(raw, VEC_TASK_ROWS, w, row_bytes, nr, j->c->x_pack + (size_t)i * x_bytes, x_bytes, ni, j->w->n_col);
        for (int r = 0; r < ni; r++) store(j, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
    }
}

static void few_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    float *raw = (float *)j->c->scratch[i_thread];
    float *decoded = raw + RAW_BYTES / 4;
    const int64_t fit = (SCRATCH_BYTES - RAW_BYTES) / 4 / j->w->n_col;
    int64_t task;
    int at = 0;

    (void)n_thread;
    while ((task = task_runs_take(&j->runs, i_thread, &at)) >= 0) {
        const int64_t r0 = task * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        if (!j->to_f32) few_rows(j, raw, (const uint8_t *)j->w->data + (size_t)r0 * j->w->row_bytes, j->w->row_bytes, r0, nr);
        for (int64_t r = 0; j->to_f32 && r < nr; r += fit) {
            decode_rows(j, decoded, r0 + r, min64(fit, nr - r), 0, j->w->n_col);
            few_rows(j, raw, decoded, (size_t)j->w->n_col * sizeof(float), r0 + r, min64(fit, nr - r));
        }
    }
}

/* n rows that fit x_pack */
static void matmul_few(mm_job *j)
{
    const size_t x_bytes = mo_round_up(j->row_bytes, VEC_BYTES_MAX);
    int64_t rows = (int64_t)(VEC_TASK_BYTES / j->w->row_bytes) / TILE_W * TILE_W;

    for (int64_t i = 0; i < j->n; i++) j->t->pack_row(j->c->x_pack + (size_t)i * x_bytes, j->x + i * j->ldx, j->w->n_col);
    j->task_rows = rows < TILE_W ? TILE_W : min64(rows, VEC_TASK_ROWS);
    j->n_task = ceil_div(j->w->n_row, j->task_rows);
    task_runs_begin(&j->runs, j->n_task, j->c->n_thread);
    if (j->n_task == 1 || j->w->n_row * j->w->n_col * j->n < 32768) few_part(j, 0, 1);
    else pool_run(j->c->pool, few_part, j);
}

/* ---- many rows ---- */

static int64_t panel_row(const mm_job *j, int64_t i) { return i * j->n / j->n_panel; }

/* A part of `rows` rows, whole cache lines */
static size_t part_bytes(const mm_job *j, int64_t rows) { return mo_round_up((size_t)(rows * j->n_step) * UNIT_BYTES, 64) + PART_PAD; }

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
                     j->ldx, (int)(r1 - r0), j->w->n_col);
    }
}

/* Weight rows [r0, r0 + nr) into panels, strip behind strip in each part, and their scales. */
static void pack_weights(const mm_job *j, uint8_t *panel, size_t part_w, float *scale, float *decoded, int64_t r0, int64_t nr)
{
    const int lanes = j->c->k.n_lane;
    const int64_t k_all = j->w->n_col;

    for (int64_t r = 0; r < nr; r += lanes) {
        const int64_t strip = r / j->strip_w, at = r % j->strip_w;
        const int n = (int)min64(lanes, nr - r);
        uint8_t *o = panel + (size_t)(strip * j->n_step * j->strip_w + at) * UNIT_BYTES;
        float *s = scale + strip * j->n_block * j->strip_w + at;

        if (!j->to_f32)
            j->t->pack_w(o, part_w, s, (const uint8_t *)j->w->data + (size_t)(r0 + r) * j->w->row_bytes, j->w->row_bytes, n, k_all);
        for (int64_t k0 = 0; j->to_f32 && k0 < k_all; k0 += DECODE_COLS) {
            const int64_t k = min64(DECODE_COLS, k_all - k0), step = k0 / j->t->k_step;
            decode_rows(j, decoded, r0 + r, n, k0, k);
            j->t->pack_w(o + (size_t)(step * j->strip_w) * UNIT_BYTES, part_w, j->t->block ? s + step / j->t->block * j->strip_w : s,
                         decoded, (size_t)k * 4, n, k);
        }
    }
}

/* Panels [i0, i1) of x against nr weight rows from r0, n_strip strips. */
static void many_panels(const mm_job *j, const uint8_t *w, size_t part_w, const float *w_scale, float *sums, int64_t i0, int64_t i1,
                        int64_t r0, int64_t nr)
{
    const int64_t n_strip = ceil_div(nr, j->strip_w), tile_sums = (int64_t)j->t->tile_x * j->strip_w * SUM_LEVELS_MAX;
    const int lanes = j->c->k.n_lane;
    int together = 1; /* short chains: some lanes of a tile after one another, while its sums are in L1 */

    while (together < lanes && together * j->n_step < CHAIN_STEPS) together *= 2;
    for (int c0 = 0; c0 < lanes; c0 += together)
        for (int64_t i = i0; i < i1; i++) {
            const int64_t x0 = panel_row(j, i);
            const int n = (int)(panel_row(j, i + 1) - x0);
            for (int64_t s = 0; s < n_strip; s++) {
                const int64_t at = s * j->strip_w;
                float *sum = sums + ((i - i0) * n_strip + s) * tile_sums;
                for (int c = c0; c < c0 + together; c++) { /* a sum waits for each bit of c; each bit that c + 1 clears is a pair */
                    const int n_wait = __builtin_popcount((unsigned)c), n_sum = __builtin_ctz(~(unsigned)c);
                    j->t->tile(sum + n_wait * n * j->strip_w, n_sum, w + (size_t)c * part_w + (size_t)(at * j->n_step) * UNIT_BYTES,
                               j->c->x_pack + (size_t)c * j->part_x + (size_t)(x0 * j->n_step) * UNIT_BYTES, w_scale + at * j->n_block,
                               x_scales(j) + x0 * j->n_block, j->n_step, n);
                }
                for (int r = 0; c0 + together == lanes && r < n; r++)
                    store(j, sum + r * j->strip_w, x0 + r, r0 + at, min64(j->strip_w, nr - at));
            }
        }
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    uint8_t *panel = j->c->scratch[i_thread];
    float *sums = (float *)(panel + W_PANEL_BYTES), *decoded = (float *)(panel + W_PANEL_BYTES + SUMS_BYTES);
    const int64_t tile_bytes = (int64_t)j->t->tile_x * j->strip_w * SUM_LEVELS_MAX * 4;
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const int64_t r0 = task / j->n_split_x * j->n_strip * j->strip_w, nr = min64(j->n_strip * j->strip_w, j->w->n_row - r0);
        const int64_t i0 = task % j->n_split_x * j->split_panels, i1 = min64(i0 + j->split_panels, j->n_panel);
        const int64_t n_strip = ceil_div(nr, j->strip_w), run = SUMS_BYTES / (tile_bytes * n_strip);
        const size_t part_w = part_bytes(j, n_strip * j->strip_w);
        float *w_scale = (float *)(panel + (size_t)j->c->k.n_lane * part_w);

        pack_weights(j, panel, part_w, w_scale, decoded, r0, nr);
        for (int64_t i = i0; i < i1; i += run) many_panels(j, panel, part_w, w_scale, sums, i, min64(i + run, i1), r0, nr);
    }
}

/* Bytes of `rows` packed rows with their scales */
static size_t packed_bytes(const mm_job *j, int64_t rows)
{
    return (size_t)j->c->k.n_lane * part_bytes(j, rows) + (size_t)(rows * j->n_block) * 4;
}

static int64_t most_strips(int64_t strips, int64_t of_task, int64_t n_thread)
{
    return ceil_div(ceil_div(strips, of_task), n_thread) * of_task;
}

/* n rows that fit x_pack */
static void matmul_many(mm_job *j)
{
    const int64_t strips = ceil_div(j->w->n_row, j->strip_w), n_thread = j->c->n_thread;
    int64_t fit = min64(BLOCK_ROWS / j->strip_w, ceil_div(strips, 2 * n_thread)); /* two tasks per thread or more even things out */

    /* what pads the parts and scales is not counted */
    while (fit > 1 && packed_bytes(j, fit * j->strip_w) > j->c->w_panel + j->c->w_panel / 16) fit--;
    for (int64_t f = fit; f > 1 && f > fit / 2; f--) /* fewer strips a task where that leaves the busiest thread fewer in all */
        if (most_strips(strips, f, n_thread) < most_strips(strips, fit, n_thread)) fit = f;
    j->part_x = part_bytes(j, j->n);
    j->n_panel = ceil_div(j->n, j->t->tile_x);
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, pack_part, j);

    j->n_strip = fit;
    j->n_block_w = ceil_div(strips, fit);
    j->n_split_x = j->n_block_w >= 2 * n_thread ? 1 : min64(j->n_panel, ceil_div(2 * n_thread, j->n_block_w));
    j->split_panels = ceil_div(j->n_panel, j->n_split_x);
    j->n_task = j->n_block_w * j->n_split_x;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, many_part, j);
}

void cpu_matmul(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    cpu_backend *c = cpu_of(be);
    const bool own = c->k.matmul[w->type]; /* else decoded rows go through F32's */
    const matmul_type *t = c->k.matmul[own ? w->type : MO_F32];
    mm_job j = { .c = c, .t = t, .w = w, .to_f32 = own ? NULL : c->k.to_f32[w->type], .ldy = ldy, .ldx = ldx };
    int64_t rows;
    bool few;

    if (cpu_quant_of(c, w)) {
        cpu_matmul_quant(c, &(matmul_part){ y, ldy, w, ep }, 1, x, ldx, n);
        return;
    }
    if (ep) j.ep = *ep;
    j.n_step = ceil_div(w->n_col, t->k_step);
    j.n_block = t->block ? ceil_div(j.n_step, t->block) : 0;
    j.row_bytes = (size_t)((j.n_step + j.n_block) * c->k.n_lane * UNIT_BYTES);
    j.strip_w = TILE_V * c->k.n_lane;
    few = n <= t->n_few || packed_bytes(&j, j.strip_w) > W_PANEL_BYTES;
    rows = few ? min64(t->n_few, (int64_t)(X_PACK_BYTES / mo_round_up(j.row_bytes, VEC_BYTES_MAX))) : n;
    while (packed_bytes(&j, rows) > X_PACK_BYTES && !few) rows = ceil_div(rows, 2); /* even chunks */
    for (int64_t i = 0; i < n; i += rows) {
        j.n = min64(rows, n - i);
        j.x = x + i * ldx;
        j.y = y + i * ldy;
        if (few) matmul_few(&j);
        else matmul_many(&j);
    }
}

void cpu_matmul_group(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    cpu_backend *c = cpu_of(be);

    for (int i = 0, k; i < n_part; i = k) { /* runs of quantised weights together */
        for (k = i; k < n_part && cpu_quant_of(c, part[k].w); k++) {
        }
        if (k > i) cpu_matmul_quant(c, part + i, k - i, x, ldx, n);
        else cpu_matmul(be, part[i].y, part[i].ldy, part[i].w, x, ldx, n, part[i].ep), k++;
    }
}
