/* Matrix products: splits y = x W^T over threads and cache blocks (kernels: matmul_type in kernels.h).
 *
 * Few rows: bound by memory. Threads take blocks of weight rows; a block's weights are read once and stay in the cache while
 * further activation rows pass.
 *
 * Many rows: bound by arithmetic.
 *   1. all threads pack x into panels of tile_x rows (x_pack, shared), a few of them a group;
 *   2. threads take blocks of weight rows, unpack each to float32 panels once (L2), and pass groups of x over it:
 *        for a group of x panels: for a block of k (L1): for each weight panel: for each x panel: tile
 *      accumulators of unfinished sums wait in memory between blocks of k.
 * Both packed operands lie in the order of use: [group][block of k][panel][step][row].
 *
 * Either way an output is the same chain of operations, so the choice never shows in the bits.
 */
#include "backend/cpu/cpu_internal.h"

#include <stdatomic.h>

#include "core/alloc.h"

enum {
    N_FEW = 6,           /* up to here unpacking weights costs more than it saves */
    VEC_TASK_ROWS = 256, /* most weight rows of one task of the few-rows path */
    VEC_TASK_BYTES = 128 << 10,
    GROUP_ROWS = 6,   /* activation rows of a group of x panels */
    BLOCK_STRIPS = 16 /* most weight panels (of TILE_W rows) of a block */
};

typedef struct mm_job {
    cpu_backend *c;
    const matmul_type *t;
    const weight *w;
    void (*to_f32)(float *y, const void *w, int64_t n); /* the type has no kernels of its own: F32's work on decoded rows. Else NULL */
    float *y;
    const float *x;
    int64_t ldy, ldx, n;
    epilogue ep;
    int64_t n_step;    /* steps of k */
    size_t step_bytes; /* of one panel row, without scales */
    size_t row_bytes;  /* of one panel row, all of k */
    /* many rows */
    int64_t k_block;                     /* steps of a block of k */
    int64_t n_group, split_x, n_split_x; /* groups of x rows; of a task; tasks across x */
    int64_t strips_w, n_block_w;         /* weight panels of a task; tasks across the weight rows */
    int64_t task_rows;                   /* few rows */
    task_runs runs;
    int64_t n_task;
    _Atomic int64_t next;
} mm_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Bytes of the first `steps` steps of one panel row; parts that start at whole blocks add up. */
static size_t part_bytes(const mm_job *j, int64_t steps)
{
    return (size_t)steps * j->step_bytes + (j->t->block ? (size_t)(ceil_div(steps, j->t->block) * j->t->block_bytes) : 0);
}

static void store(const mm_job *j, const float *raw, int64_t x_row, int64_t w_row, int64_t n)
{
    j->c->k.epilogue(j->y + x_row * j->ldy + w_row, raw, j->ep.bias ? j->ep.bias + w_row : NULL, n, j->ep.act, j->ep.scale,
                     j->ep.accumulate);
}

/* Thread's scratch for decoded rows, behind what the paths use. */
enum { DECODED_AT = W_PANEL_MAX + BLOCK_STRIPS * GROUP_ROWS * TILE_W * VEC_BYTES_MAX + GROUP_ROWS * BLOCK_STRIPS * TILE_W * 4 };
_Static_assert(DECODED_AT % VEC_BYTES_MAX == 0 && MATMUL_COL_MAX * 4 <= SCRATCH_BYTES - VEC_TASK_ROWS * TILE_X_MAX * 4,
               "a decoded row fits");

static void decode_rows(const mm_job *j, float *out, int64_t r0, int64_t nr)
{
    for (int64_t r = 0; r < nr; r++)
        j->to_f32(out + r * j->w->n_col, (const uint8_t *)j->w->data + (size_t)(r0 + r) * j->w->row_bytes, j->w->n_col);
}

/* ---- few rows ---- */

/* Weight rows [r0, r0 + nr), ready to be read as the kernel wants them, times all of x. */
static void few_rows(const mm_job *j, float *raw, const void *w, size_t row_bytes, int64_t r0, int64_t nr)
{
    const size_t x_bytes = mo_round_up(j->row_bytes, VEC_BYTES_MAX);

    for (int64_t i = 0; i < j->n; i += j->t->tile_x) {
        const int ni = (int)min64(j->t->tile_x, j->n - i);
        j->t->matvec(raw, VEC_TASK_ROWS, w, row_bytes, nr, j->c->x_pack + (size_t)i * x_bytes, x_bytes, ni, j->w->n_col);
        for (int r = 0; r < ni; r++) store(j, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
    }
}

static void few_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    float *raw = (float *)j->c->scratch[i_thread];
    float *decoded = raw + VEC_TASK_ROWS * TILE_X_MAX;
    const int64_t fit = (SCRATCH_BYTES / 4 - VEC_TASK_ROWS * TILE_X_MAX) / j->w->n_col;
    int64_t task;
    int at = 0;

    (void)n_thread;
    while ((task = task_runs_take(&j->runs, i_thread, &at)) >= 0) {
        const int64_t r0 = task * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        if (!j->to_f32) few_rows(j, raw, (const uint8_t *)j->w->data + (size_t)r0 * j->w->row_bytes, j->w->row_bytes, r0, nr);
        for (int64_t r = 0; j->to_f32 && r < nr; r += fit) {
            decode_rows(j, decoded, r0 + r, min64(fit, nr - r));
            few_rows(j, raw, decoded, (size_t)j->w->n_col * sizeof(float), r0 + r, min64(fit, nr - r));
        }
    }
}

/* n rows whose one-row panels fit x_pack */
static void matmul_few(mm_job *j)
{
    const size_t x_bytes = mo_round_up(j->row_bytes, VEC_BYTES_MAX);
    int64_t rows = (int64_t)(VEC_TASK_BYTES / j->w->row_bytes) / TILE_W * TILE_W;

    for (int64_t i = 0; i < j->n; i++) j->t->pack_x(j->c->x_pack + (size_t)i * x_bytes, j->x + i * j->ldx, j->ldx, 1, j->w->n_col);
    j->task_rows = rows < TILE_W ? TILE_W : min64(rows, VEC_TASK_ROWS);
    j->n_task = ceil_div(j->w->n_row, j->task_rows);
    task_runs_begin(&j->runs, j->n_task, j->c->n_thread);
    if (j->n_task == 1 || j->w->n_row * j->w->n_col * j->n < 32768) few_part(j, 0, 1);
    else pool_run(j->c->pool, few_part, j);
}

/* ---- many rows ---- */

/* Rows [i * GROUP_ROWS, ..) of x; the last group may have fewer. */
static void pack_group(const mm_job *j, int64_t i)
{
    const int64_t r0 = i * GROUP_ROWS, rows = min64(GROUP_ROWS, j->n - r0);
    uint8_t *o = j->c->x_pack + (size_t)(i * GROUP_ROWS) * j->row_bytes;

    for (int64_t s = 0; s < j->n_step; s += j->k_block) {
        const int64_t k0 = s * j->t->k_step, steps = min64(j->k_block, j->n_step - s);
        for (int64_t r = 0; r < rows; r += j->t->tile_x) {
            const int n = (int)min64(j->t->tile_x, rows - r);
            j->t->pack_x(o, j->x + (r0 + r) * j->ldx + k0, j->ldx, n, min64(steps * j->t->k_step, j->w->n_col - k0));
            o += (size_t)n * part_bytes(j, steps);
        }
    }
}

static void pack_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    int64_t i;

    (void)i_thread;
    (void)n_thread;
    while ((i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_group) pack_group(j, i);
}

/* Weight rows [r0, r0 + nr) into the thread's panel; row after row, as memory likes to be read. */
static void unpack_weights(const mm_job *j, uint8_t *panel, int64_t r0, int64_t nr)
{
    const int64_t ns = ceil_div(nr, TILE_W);
    const size_t row_bytes = j->to_f32 ? (size_t)j->w->n_col * sizeof(float) : j->w->row_bytes;
    const int32_t type = j->to_f32 ? MO_F32 : j->w->type;
    float *decoded = (float *)(panel + DECODED_AT);

    for (int64_t i = 0; i < ns; i++) {
        const int64_t r = r0 + i * TILE_W, n = min64(TILE_W, r0 + nr - r);
        const uint8_t *rows = j->to_f32 ? (const uint8_t *)decoded : (const uint8_t *)j->w->data + (size_t)r * j->w->row_bytes;

        if (j->to_f32) decode_rows(j, decoded, r, n);
        for (int64_t s = 0; s < j->n_step; s += j->k_block) {
            const int64_t k0 = s * j->t->k_step, steps = min64(j->k_block, j->n_step - s);
            j->t->pack_w(panel + TILE_W * ((size_t)ns * part_bytes(j, s) + (size_t)i * part_bytes(j, steps)),
                         rows + dtype_row_bytes(type, k0), row_bytes, (int)n, min64(steps * j->t->k_step, j->w->n_col - k0));
        }
    }
}

/* Group i of x against ns unpacked weight panels, all of k; sums to raw [rows][BLOCK_STRIPS * TILE_W]. */
static void many_group(const mm_job *j, const uint8_t *w, float *acc, float *raw, int64_t ns, int64_t i)
{
    const int tx = j->t->tile_x;
    const int64_t rows = min64(GROUP_ROWS, j->n - i * GROUP_ROWS), tile_acc = (int64_t)tx * TILE_W * j->c->k.n_lane;
    const uint8_t *x = j->c->x_pack + (size_t)(i * GROUP_ROWS) * j->row_bytes;

    for (int64_t s = 0; s < j->n_step; s += j->k_block) {
        const int64_t steps = min64(j->k_block, j->n_step - s);
        const size_t row_bytes = part_bytes(j, steps), x_bytes = (size_t)rows * row_bytes;
        /* Of what comes next of x, a share to fetch beside each weight panel. Of a single block of k it only costs (3 %). */
        const size_t ahead = steps < j->n_step ? mo_round_up(x_bytes / (size_t)ns + 1, 64) : 0;
        const bool last = s + steps == j->n_step;
        float *a = acc;
        for (int64_t ws = 0; ws < ns; ws++, w += TILE_W * row_bytes) {
            for (size_t p = (size_t)ws * ahead; p < (size_t)(ws + 1) * ahead; p += 64) __builtin_prefetch(x + x_bytes + p, 0, 2);
            for (int64_t r = 0; r < rows; r += tx, a += tile_acc)
                j->t->tile(a, w, x + (size_t)r * row_bytes, steps, (int)min64(tx, rows - r), s == 0,
                           last ? raw + (r * BLOCK_STRIPS + ws) * TILE_W : NULL, BLOCK_STRIPS * TILE_W);
        }
        x += x_bytes;
    }
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    uint8_t *panel = j->c->scratch[i_thread];
    float *acc = (float *)(panel + W_PANEL_MAX);
    float *raw = acc + BLOCK_STRIPS * GROUP_ROWS * TILE_W * (VEC_BYTES_MAX / 4);
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const int64_t bw = task / j->n_split_x, g0 = task % j->n_split_x * j->split_x, g1 = min64(g0 + j->split_x, j->n_group);
        const int64_t r0 = bw * j->strips_w * TILE_W, nr = min64(j->strips_w * TILE_W, j->w->n_row - r0);

        unpack_weights(j, panel, r0, nr);
        for (int64_t g = g0; g < g1; g++) {
            many_group(j, panel, acc, raw, ceil_div(nr, TILE_W), g);
            for (int64_t r = g * GROUP_ROWS; r < min64((g + 1) * GROUP_ROWS, j->n); r++)
                store(j, raw + (r - g * GROUP_ROWS) * BLOCK_STRIPS * TILE_W, r, r0, nr);
        }
    }
}
_Static_assert((int)W_PANEL_MAX + BLOCK_STRIPS * GROUP_ROWS * (int)TILE_W * (int)VEC_BYTES_MAX +
                       GROUP_ROWS * BLOCK_STRIPS * (int)TILE_W * 4 <=
                   (int)SCRATCH_BYTES,
               "the many-rows path outgrew the scratch");
_Static_assert(GROUP_ROWS >= (int)TILE_X_MAX, "a group holds a panel");

/* n rows whose panels fit x_pack */
static void matmul_many(mm_job *j)
{
    const int64_t strips = ceil_div(j->w->n_row, TILE_W), n_thread = j->c->n_thread;
    const int64_t fit = (int64_t)(j->c->w_panel / (TILE_W * j->row_bytes));

    const int64_t n_block = (j->n_step * (int64_t)j->step_bytes + j->t->part_bytes / 2) / j->t->part_bytes;

    j->k_block = n_block > 1 ? ceil_div(j->n_step, n_block) : j->n_step;
    if (j->t->block) j->k_block = ceil_div(j->k_block, j->t->block) * j->t->block;
    j->n_group = ceil_div(j->n, GROUP_ROWS);
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, pack_part, j);

    /* About four tasks per thread even things out; when the weights have too few rows for that, split x as well. */
    j->strips_w = min64(min64(fit, BLOCK_STRIPS), ceil_div(strips, 4 * n_thread));
    j->n_block_w = ceil_div(strips, j->strips_w);
    j->n_split_x = j->n_block_w >= 2 * n_thread ? 1 : min64(j->n_group, ceil_div(2 * n_thread, j->n_block_w));
    j->split_x = ceil_div(j->n_group, j->n_split_x);
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
    int64_t fit, rows;
    bool few;

    if (cpu_quant_of(c, w)) {
        cpu_matmul_quant(c, &(matmul_part){ y, ldy, w, ep }, 1, x, ldx, n);
        return;
    }
    if (ep) j.ep = *ep;
    j.n_step = ceil_div(w->n_col, t->k_step);
    j.step_bytes = (size_t)t->k_step * (size_t)t->elem;
    j.row_bytes = part_bytes(&j, j.n_step);
    few = n <= N_FEW || TILE_W * j.row_bytes > c->w_panel || (!own && TILE_W * 4 * w->n_col > SCRATCH_BYTES - DECODED_AT);
    fit = (int64_t)(X_PACK_BYTES / mo_round_up(j.row_bytes, VEC_BYTES_MAX));
    if (few) rows = min64(fit, N_FEW);
    else rows = fit / GROUP_ROWS * GROUP_ROWS;
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
