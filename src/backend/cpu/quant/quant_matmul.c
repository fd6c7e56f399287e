/* y = W x for block-quantised weights: splits the work over threads and caches (kernels: quant_kernel in quant.h).
 *
 * Few rows: all of x is quantised first; threads take blocks of weight rows.
 *
 * Many rows: threads quantise x, chunk by chunk of all rows, [chunk][row]; then take blocks of up to n_strip panels of weight
 * rows. For each chunk of the inner dimension a block is unpacked into panels that stay in L1 while all rows of x pass over
 * them; unfinished sums wait in the thread's scratch (L2).
 */
#include <stdatomic.h>
#include <string.h>

#include "backend/cpu/cpu_internal.h"
#include "backend/cpu/quant/quant.h"
#include "core/alloc.h"

enum {
    N_FEW = 8,                  /* up to here decoding anew for each Q_FEW rows costs less than panels */
    VEC_TASK_ROWS = 256,        /* most weight rows of a few-rows task */
    VEC_TASK_BYTES = 128 << 10, /* of weights, about */
    STRIPS_MAX = 4,
    X_ROWS_MAX = 512 /* activation rows of one pass of the many-rows path: their sums fit L2 */
};
_Static_assert(STRIPS_MAX * sizeof(q_panel) + X_ROWS_MAX * STRIPS_MAX * Q_ROWS * sizeof(float) <= (size_t)SCRATCH_BYTES,
               "scratch of the many-rows path");

typedef struct quant_job {
    cpu_backend *c;
    const quant_kernel *t;
    const weight *w;
    float *y;
    const float *x;
    int64_t ldy, ldx, n;
    epilogue ep;
    int64_t n_chunk;
    int64_t task_rows;        /* weight rows of a task */
    int64_t split_x, n_split; /* many: activation rows of a task, tasks across them */
    int64_t n_task;
    _Atomic int64_t next;
} quant_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t next_task(quant_job *j) { return atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed); }

static void run_tasks(quant_job *j, pool_fn fn, int64_t n_task, bool alone)
{
    j->n_task = n_task;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    if (alone || n_task == 1) fn(j, 0, 1);
    else pool_run(j->c->pool, fn, j);
}

static void store(const quant_job *j, const float *raw, int64_t x_row, int64_t w_row, int64_t n)
{
    j->c->k.epilogue(j->y + x_row * j->ldy + w_row, raw, j->ep.bias ? j->ep.bias + w_row : NULL, n, j->ep.act, j->ep.scale,
                     j->ep.accumulate);
}

/* ---- few rows ---- */

static void few_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    const size_t x_bytes = (size_t)j->n_chunk * j->t->few_bytes, rb = j->w->row_bytes;
    float *raw = (float *)j->c->scratch[i_thread];
    int64_t task;

    (void)n_thread;
    while ((task = next_task(j)) < j->n_task) {
        const int64_t r0 = task * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        for (int64_t i = 0; i < j->n; i += Q_FEW) {
            const int ni = (int)min64(Q_FEW, j->n - i);
            j->t->matvec(raw, VEC_TASK_ROWS, (const uint8_t *)j->w->data + (size_t)r0 * rb, rb, nr, j->c->x_pack + (size_t)i * x_bytes,
                         x_bytes, ni, j->w->n_col);
            for (int r = 0; r < ni; r++) store(j, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
        }
    }
}

static void matmul_few(quant_job *j)
{
    const size_t x_bytes = (size_t)j->n_chunk * j->t->few_bytes;
    const int64_t rows = (int64_t)(VEC_TASK_BYTES / j->w->row_bytes) / Q_ROWS * Q_ROWS;

    for (int64_t i = 0; i < j->n; i++) j->t->pack_few(j->c->x_pack + (size_t)i * x_bytes, j->t->few_bytes, j->x + i * j->ldx, j->w->n_col);
    j->task_rows = rows < Q_ROWS ? Q_ROWS : min64(rows, VEC_TASK_ROWS);
    run_tasks(j, few_part, ceil_div(j->w->n_row, j->task_rows), j->w->n_row * j->w->n_col * j->n < 65536);
}

/* ---- many rows ---- */

enum { PACK_ROWS = 8 };

static void pack_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    int64_t task;

    (void)i_thread;
    (void)n_thread;
    while ((task = next_task(j)) < j->n_task)
        for (int64_t i = task * PACK_ROWS; i < min64((task + 1) * PACK_ROWS, j->n); i++)
            j->t->pack_many(j->c->x_pack + (size_t)i * j->t->many_bytes, (size_t)j->n * j->t->many_bytes, j->x + i * j->ldx, j->w->n_col);
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    const size_t xb = j->t->many_bytes, chunk_bytes = dtype_row_bytes(j->w->type, Q_CHUNK);
    q_panel *panel = (q_panel *)(void *)j->c->scratch[i_thread];
    float *acc = (float *)(void *)(panel + STRIPS_MAX);
    const int64_t lda = STRIPS_MAX * Q_ROWS;
    int64_t task;

    (void)n_thread;
    while ((task = next_task(j)) < j->n_task) {
        const int64_t r0 = task / j->n_split * j->task_rows, nr = min64(j->task_rows, j->w->n_row - r0);
        const int64_t i0 = task % j->n_split * j->split_x, ni = min64(j->split_x, j->n - i0);
        const int ns = (int)ceil_div(nr, Q_ROWS);

        memset(acc, 0, (size_t)(ni * lda) * sizeof *acc);
        for (int64_t c = 0; c < j->n_chunk; c++) {
            const int n_col = (int)min64(Q_CHUNK, j->w->n_col - c * Q_CHUNK);
            const uint8_t *w = (const uint8_t *)j->w->data + (size_t)r0 * j->w->row_bytes + (size_t)c * chunk_bytes;
            const uint8_t *x = j->c->x_pack + (size_t)(c * j->n + i0) * xb;

            for (int s = 0; s < ns; s++)
                j->t->unpack(panel + s, w + (size_t)(s * Q_ROWS) * j->w->row_bytes, j->w->row_bytes, (int)min64(Q_ROWS, nr - s * Q_ROWS),
                             n_col);
            for (int64_t i = 0; i < ni; i += j->t->tile_x)
                for (int s = 0; s < ns; s++)
                    j->t->tile(acc + i * lda + s * Q_ROWS, lda, panel + s, x + (size_t)i * xb, xb, (int)min64(j->t->tile_x, ni - i), n_col);
        }
        for (int64_t i = 0; i < ni; i++) store(j, acc + i * lda, i0 + i, r0, nr);
    }
}

static void matmul_many(quant_job *j)
{
    const int64_t n_thread = j->c->n_thread, tx = j->t->tile_x;
    int64_t n_block;

    run_tasks(j, pack_part, ceil_div(j->n, PACK_ROWS), false);
    /* About four tasks per thread even things out; when the weights have too few rows for that, split x as well. */
    j->task_rows = j->t->n_strip * Q_ROWS;
    while (j->task_rows > Q_ROWS && ceil_div(j->w->n_row, j->task_rows) < 4 * n_thread) j->task_rows /= 2;
    n_block = ceil_div(j->w->n_row, j->task_rows);
    j->n_split = n_block >= 2 * n_thread ? 1 : min64(ceil_div(j->n, tx), ceil_div(2 * n_thread, n_block));
    j->split_x = ceil_div(ceil_div(j->n, j->n_split), tx) * tx;
    j->n_split = ceil_div(j->n, j->split_x);
    run_tasks(j, many_part, n_block * j->n_split, false);
}

void cpu_matmul_quant(cpu_backend *c, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    const quant_kernel *t = c->k.quant[w->type];
    quant_job j = { .c = c, .t = t, .w = w, .ldy = ldy, .ldx = ldx, .n_chunk = ceil_div(w->n_col, Q_CHUNK) };
    const bool few = n <= N_FEW;
    int64_t rows = few ? N_FEW : min64((int64_t)(X_PACK_BYTES / ((size_t)j.n_chunk * t->many_bytes)), X_ROWS_MAX);

    if (ep) j.ep = *ep;
    if (n <= 0) return;
    rows = ceil_div(n, ceil_div(n, rows)); /* passes of about one size */
    for (int64_t i = 0; i < n; i += rows) {
        j.n = min64(rows, n - i);
        j.x = x + i * ldx;
        j.y = y + i * ldy;
        if (few) matmul_few(&j);
        else matmul_many(&j);
    }
}
