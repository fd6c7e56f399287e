/* Matrix products: splits y = x W^T over threads and cache blocks (kernels: matmul_type in kernels.h).
 *
 * Few rows: bound by memory. Threads take blocks of weight rows; a block's weights are read once and stay in the cache while
 * further activation rows pass.
 *
 * Many rows: bound by arithmetic.
 *   1. all threads pack x into panels of tile_x rows (x_pack, shared);
 *   2. threads take blocks of weight rows, unpack each to float32 panels once (L2), and pass groups of x panels over it:
 *        for a group of x panels: for a block of k (L1): for each weight panel: for each x panel: tile
 *      accumulators of unfinished sums wait in memory between blocks of k.
 *
 * Either way an output is the same chain of operations, so the choice never shows in the bits.
 */
#include "backend/cpu/cpu_internal.h"

#include <stdatomic.h>

#include "core/alloc.h"

enum {
    N_FEW = 6,          /* up to here unpacking weights costs more than it saves */
    VEC_TASK_ROWS = 256, /* most weight rows of one task of the few-rows path */
    VEC_TASK_BYTES = 128 << 10,
    GROUP_ROWS = 12,    /* activation rows of a group of x panels */
    BLOCK_STRIPS = 16,  /* most weight panels (of TILE_W rows) of a block */
    K_BLOCK_BYTES = 1536 /* of one row of a panel: x group and weight panel share L1 */
};

typedef struct mm_job {
    cpu_backend *c;
    const matmul_type *t;
    const weight *w;
    float *y;
    const float *x;
    int64_t ldy, ldx, n;
    epilogue ep;
    int64_t n_step;      /* steps of k */
    size_t step_bytes;   /* of one panel row */
    /* many rows */
    int64_t x_task, n_strip_x, strips_w, n_block_w, n_split_x;
    int64_t task_rows;   /* few rows */
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

/* ---- few rows ---- */

static void few_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    float *raw = (float *)j->c->scratch[i_thread];
    const size_t x_bytes = mo_round_up((size_t)j->n_step * j->step_bytes, VEC_BYTES_MAX);
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const int64_t r0 = task * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        const uint8_t *w = (const uint8_t *)j->w->data + (size_t)r0 * j->w->row_bytes;
        for (int64_t i = 0; i < j->n; i += j->t->tile_x) {
            const int ni = (int)min64(j->t->tile_x, j->n - i);
            j->t->matvec(raw, VEC_TASK_ROWS, w, j->w->row_bytes, nr, j->c->x_pack + (size_t)i * x_bytes, x_bytes, ni, j->w->n_col);
            for (int r = 0; r < ni; r++) store(j, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
        }
    }
}

/* n rows whose one-row panels fit x_pack */
static void matmul_few(mm_job *j)
{
    const size_t x_bytes = mo_round_up((size_t)j->n_step * j->step_bytes, VEC_BYTES_MAX);
    int64_t rows = (int64_t)(VEC_TASK_BYTES / j->w->row_bytes) / TILE_W * TILE_W;

    for (int64_t i = 0; i < j->n; i++) j->t->pack_x(j->c->x_pack + (size_t)i * x_bytes, j->x + i * j->ldx, j->ldx, 1, j->w->n_col);
    j->task_rows = rows < TILE_W ? TILE_W : min64(rows, VEC_TASK_ROWS);
    j->n_task = ceil_div(j->w->n_row, j->task_rows);
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    if (j->n_task == 1 || j->w->n_row * j->w->n_col * j->n < 32768) few_part(j, 0, 1);
    else pool_run(j->c->pool, few_part, j);
}

/* ---- many rows ---- */

static void pack_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    const size_t strip = (size_t)j->t->tile_x * (size_t)j->n_step * j->step_bytes;
    int64_t s;

    (void)i_thread;
    (void)n_thread;
    while ((s = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_strip_x) {
        const int64_t r = s * j->t->tile_x;
        j->t->pack_x(j->c->x_pack + (size_t)s * strip, j->x + r * j->ldx, j->ldx, (int)min64(j->t->tile_x, j->n - r), j->w->n_col);
    }
}

/* One group of x panels [s0, s1) against ns unpacked weight panels, all of k. */
static void many_group(const mm_job *j, const uint8_t *panel, float *acc, float *raw, int64_t ns, int64_t s0, int64_t s1)
{
    const int tx = j->t->tile_x;
    const int64_t n_kb = ceil_div(j->n_step * (int64_t)j->step_bytes, K_BLOCK_BYTES), per = ceil_div(j->n_step, n_kb);
    const size_t strip_x = (size_t)tx * (size_t)j->n_step * j->step_bytes, strip_w = TILE_W * (size_t)j->n_step * j->step_bytes;
    const int64_t tile_acc = (int64_t)tx * TILE_W * j->c->k.n_lane, n_xs = s1 - s0;

    for (int64_t k0 = 0; k0 < j->n_step; k0 += per) {
        const int64_t steps = min64(per, j->n_step - k0);
        const bool last = k0 + steps == j->n_step;
        for (int64_t ws = 0; ws < ns; ws++)
            for (int64_t xs = 0; xs < n_xs; xs++) {
                const int nx = (int)min64(tx, j->n - (s0 + xs) * tx);
                j->t->tile(acc + (ws * n_xs + xs) * tile_acc, panel + (size_t)ws * strip_w + (size_t)k0 * TILE_W * j->step_bytes,
                           j->c->x_pack + (size_t)(s0 + xs) * strip_x + (size_t)k0 * (size_t)nx * j->step_bytes, steps, nx, k0 == 0,
                           last ? raw + xs * tx * BLOCK_STRIPS * TILE_W + ws * TILE_W : NULL, BLOCK_STRIPS * TILE_W);
            }
    }
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    mm_job *j = arg;
    const int tx = j->t->tile_x, group = GROUP_ROWS / tx;
    uint8_t *panel = j->c->scratch[i_thread];
    float *acc = (float *)(panel + W_PANEL_BYTES);
    float *raw = acc + BLOCK_STRIPS * GROUP_ROWS * TILE_W * (VEC_BYTES_MAX / 4);
    const size_t strip_w = TILE_W * (size_t)j->n_step * j->step_bytes;
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const int64_t bw = task / j->n_split_x, bx = task % j->n_split_x;
        const int64_t r0 = bw * j->strips_w * TILE_W, nr = min64(j->strips_w * TILE_W, j->w->n_row - r0), ns = ceil_div(nr, TILE_W);
        const int64_t x0 = bx * j->x_task, x1 = min64(x0 + j->x_task, j->n_strip_x);

        for (int64_t s = 0; s < ns; s++)
            j->t->pack_w(panel + (size_t)s * strip_w, (const uint8_t *)j->w->data + (size_t)(r0 + s * TILE_W) * j->w->row_bytes,
                         j->w->row_bytes, (int)min64(TILE_W, nr - s * TILE_W), j->w->n_col);
        for (int64_t s = x0; s < x1; s += group) {
            const int64_t e = min64(s + group, x1), rows = min64(e * tx, j->n) - s * tx;
            many_group(j, panel, acc, raw, ns, s, e);
            for (int64_t r = 0; r < rows; r++) store(j, raw + r * BLOCK_STRIPS * TILE_W, s * tx + r, r0, nr);
        }
    }
}
_Static_assert((int)W_PANEL_BYTES + BLOCK_STRIPS * GROUP_ROWS * (int)TILE_W * (int)VEC_BYTES_MAX + GROUP_ROWS * BLOCK_STRIPS * (int)TILE_W * 4 <= (int)SCRATCH_BYTES,
               "the many-rows path outgrew the scratch");
_Static_assert(GROUP_ROWS % (int)TILE_X_MAX == 0, "a group is whole panels");

/* n rows whose panels fit x_pack */
static void matmul_many(mm_job *j)
{
    const int64_t strips = ceil_div(j->w->n_row, TILE_W), n_thread = j->c->n_thread;
    const int64_t fit = (int64_t)(W_PANEL_BYTES / (TILE_W * (size_t)j->n_step * j->step_bytes));

    j->n_strip_x = ceil_div(j->n, j->t->tile_x);
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, pack_part, j);

    /* About four tasks per thread even things out; when the weights have too few rows for that, split x as well. */
    j->strips_w = min64(min64(fit, BLOCK_STRIPS), ceil_div(strips, 4 * n_thread));
    j->n_block_w = ceil_div(strips, j->strips_w);
    j->n_split_x = j->n_block_w >= 2 * n_thread ? 1 : min64(j->n_strip_x, ceil_div(2 * n_thread, j->n_block_w));
    j->x_task = ceil_div(j->n_strip_x, j->n_split_x);
    j->n_task = j->n_block_w * j->n_split_x;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool_run(j->c->pool, many_part, j);
}

void cpu_matmul(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    cpu_backend *c = cpu_of(be);
    const matmul_type *t = c->k.matmul[w->type];
    mm_job j = { .c = c, .t = t, .w = w, .ldy = ldy, .ldx = ldx };
    int64_t fit, rows;
    bool few;

    if (ep) j.ep = *ep;
    j.n_step = ceil_div(w->n_col, t->k_step);
    j.step_bytes = (size_t)t->k_step * (size_t)t->elem;
    few = n <= N_FEW || TILE_W * (size_t)j.n_step * j.step_bytes > W_PANEL_BYTES;
    fit = (int64_t)(X_PACK_BYTES / mo_round_up((size_t)j.n_step * j.step_bytes, VEC_BYTES_MAX));
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
