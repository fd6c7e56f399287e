/* y = W x for block-quantised weights: splits the work over threads and caches (kernels: quant_kernel in quant.h).
 *
 * Several weights that share x (queries, keys and values) are one job: x is quantised once, threads wait for each other once.
 *
 * All of x is quantised first, chunk by chunk of all rows: [chunk][row].
 *
 * Few rows: threads take blocks of weight rows.
 *
 * Many rows: threads take blocks of weight rows. For each chunk of the inner dimension groups of n_strip panels of them are unpacked,
 * one after another; a group's panels stay in L1 while all rows of x pass over them, whose chunk stays in L2 until the last group is
 * done. Unfinished sums wait in the thread's scratch (L2).
 */
#include <stdatomic.h>
#include <string.h>

#include "backend/cpu/cpu_internal.h"
#include "backend/cpu/quant/quant.h"
#include "core/alloc.h"

enum {
    N_FEW = 8,                  /* at least up to here decoding anew for each Q_FEW rows costs less than panels */
    VEC_TASK_ROWS = 256,        /* most weight rows of a few-rows task */
    VEC_TASK_BYTES = 128 << 10, /* of weights, about */
    PACK_ALONE = 16384,         /* elements of x that one thread packs before another would have woken */
    X_ROWS_MAX = 512,           /* activation rows of one pass of the many-rows path: a chunk of them fits L2 */
    STREAM_BYTES = 16 << 20,    /* of results that no cache is taken to keep until they are read */
    STREAM_ALIGN = 64,
    PANELS_BYTES = SCRATCH_BYTES - X_ROWS_MAX * Q_ACC * 4
};

/* One of the weights that are multiplied with the same x. */
typedef struct quant_part {
    const quant_kernel *t;
    const weight *w;
    const uint8_t *rows; /* as the kernel reads them: where the file has them, or packed */
    size_t row_bytes;    /* of a row; packed: of a panel divided by its rows */
    float *y;
    int64_t ldy;
    epilogue ep;
    int64_t task_rows, task0; /* weight rows of a task; its first task */
    bool stream;              /* results go past the caches */
} quant_part;

typedef struct quant_job {
    cpu_backend *c;
    quant_part part[MATMUL_PARTS_MAX]; /* all with one form of x and one n_col */
    int n_part;
    const quant_kernel *t; /* of the first: how x is packed */
    const float *x;
    int64_t ldx, n, n_col, n_chunk;
    int64_t split_x, n_split; /* many: activation rows of a task, tasks across them */
    int64_t n_task;
    _Atomic int64_t next;
    task_runs runs; /* few */
} quant_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t next_task(quant_job *j) { return atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed); }

static void run_tasks(quant_job *j, pool_fn fn, int64_t n_task)
{
    j->n_task = n_task;
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    if (n_task == 1) fn(j, 0, 1);
    else pool_run(j->c->pool, fn, j);
}

static const quant_part *part_of(const quant_job *j, int64_t task)
{
    const quant_part *p = &j->part[j->n_part - 1];

    while (task < p->task0) p--;
    return p;
}

/* Tasks of at most `rows` weight rows, multiples of `unit`, of about one size in each part. Returns how many. */
static int64_t cut_rows(quant_job *j, int64_t rows, int64_t unit)
{
    int64_t n = 0;

    for (quant_part *p = j->part; p < j->part + j->n_part; p++) {
        p->task0 = n;
        p->task_rows = ceil_div(ceil_div(p->w->n_row, ceil_div(p->w->n_row, rows)), unit) * unit;
        n += ceil_div(p->w->n_row, p->task_rows);
    }
    return n;
}

static void store(const quant_job *j, const quant_part *p, const float *raw, int64_t x_row, int64_t w_row, int64_t n)
{
    j->c->k.epilogue(p->y + x_row * p->ldy + w_row, raw, p->ep.bias ? p->ep.bias + w_row : NULL, n, p->ep.act, p->ep.scale,
                     p->ep.accumulate);
}

/* ---- few rows ---- */

static void few_task(const quant_job *j, float *raw, int64_t task)
{
    const quant_part *p = part_of(j, task);
    const size_t xb = j->t->few_bytes, rb = p->row_bytes;
    const int64_t r0 = (task - p->task0) * p->task_rows, nr = min64(p->task_rows, p->w->n_row - r0);

    for (int64_t i = 0; i < j->n; i += p->t->n_few) {
        const int ni = (int)min64(p->t->n_few, j->n - i);
        p->t->matvec(raw, VEC_TASK_ROWS, p->rows + (size_t)r0 * rb, rb, nr, j->c->x_pack + (size_t)i * xb, (size_t)j->n * xb, ni, j->n_col);
        for (int r = 0; r < ni; r++) store(j, p, raw + r * VEC_TASK_ROWS, i + r, r0, nr);
    }
}

/* The first rows of a task: a kernel asks for those that come after its own, so nobody else does. */
static void ask_first(const quant_job *j, int64_t task)
{
    const quant_part *p = part_of(j, task);
    const int64_t r0 = (task - p->task0) * p->task_rows, nr = min64(min64(p->task_rows, Q_ROWS), p->w->n_row - r0);
    const uint8_t *w = p->rows + (size_t)r0 * p->row_bytes;

    for (size_t i = 0; i < (size_t)nr * p->row_bytes; i += 64) __builtin_prefetch(w + i, 0, 2);
}

static void few_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    int64_t task;
    int at = 0;

    (void)n_thread;
    for (bool first = true; (task = task_runs_take(&j->runs, i_thread, &at)) >= 0; first = false) {
        if (first) ask_first(j, task);
        few_task(j, (float *)j->c->scratch[i_thread], task);
    }
}

static void pack_few_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    const size_t xb = j->t->few_bytes;

    for (int64_t i = j->n * i_thread / n_thread; i < j->n * (i_thread + 1) / n_thread; i++)
        j->t->pack_few(j->c->x_pack + (size_t)i * xb, (size_t)j->n * xb, j->x + i * j->ldx, j->n_col);
}

static void matmul_few(quant_job *j)
{
    const int64_t unit = j->n <= j->t->n_along ? Q_ROWS : j->t->panel_rows;
    int64_t bytes = 0, n_row = 0, rows;

    for (int i = 0; i < j->n_part; i++) bytes += (int64_t)j->part[i].row_bytes * j->part[i].w->n_row, n_row += j->part[i].w->n_row;
    if (j->n * j->n_col < PACK_ALONE) pack_few_part(j, 0, 1);
    else pool_run(j->c->pool, pack_few_part, j);
    /* Small weights have too few rows for large tasks: each thread should get four. */
    bytes = min64(VEC_TASK_BYTES, bytes / (4 * j->c->n_thread));
    rows = (bytes / (int64_t)j->part[0].row_bytes + unit / 2) / unit * unit;
    rows = rows < unit ? unit : min64(rows, VEC_TASK_ROWS);
    j->n_task = cut_rows(j, rows, unit);
    task_runs_begin(&j->runs, j->n_task, j->c->n_thread);
    if (j->n_task == 1 || n_row * j->n_col * j->n < 65536) few_part(j, 0, 1);
    else pool_run(j->c->pool, few_part, j);
}

/* ---- many rows ---- */

enum { PACK_ROWS = 8 };

static void pack_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    int64_t task;

    (void)n_thread;
    while ((task = next_task(j)) < j->n_task)
        for (int64_t i = task * PACK_ROWS; i < min64((task + 1) * PACK_ROWS, j->n); i++)
            j->t->pack_many(j->c->x_pack + (size_t)i * j->t->many_bytes, (size_t)j->n * j->t->many_bytes, j->x + i * j->ldx, j->n_col);
}

/* Weight rows whose panels share L1 */
static int64_t group_rows(const quant_kernel *t) { return t->n_strip * t->panel_rows; }

/* A chunk of nr weight rows from `w`, of one group, times ni rows of x. Unless weights are packed, as many lines from `next` on as make up
 * a group are asked for meanwhile. */
static void group_chunk(const quant_kernel *t, float *acc, uint8_t *unpacked, const uint8_t *w, size_t row_bytes, int64_t nr,
                        const uint8_t *x, int64_t ni, int n_col, const uint8_t *next, size_t chunk_bytes)
{
    const int64_t rows = t->panel_rows, ns = ceil_div(nr, rows), lines = ceil_div((int64_t)chunk_bytes, 64);
    const int64_t each = t->unpack ? ceil_div(nr * lines, ceil_div(ni, t->tile_x)) : 0; /* lines beside a row of tiles */
    const uint8_t *panel = t->unpack ? unpacked : w;
    const size_t panel_bytes = t->unpack ? t->panel_bytes : (size_t)rows * row_bytes;
    int64_t row = 0, line = 0;

    for (int64_t s = 0; t->unpack && s < ns; s++)
        t->unpack(unpacked + (size_t)s * panel_bytes, w + (size_t)(s * rows) * row_bytes, row_bytes, (int)min64(rows, nr - s * rows),
                  n_col);
    for (int64_t i = 0; i < ni; i += t->tile_x) {
        for (int64_t e = 0; e < each && row < nr; e++) {
            __builtin_prefetch(next + (size_t)row * row_bytes + 64 * line, 0, 2);
            if (++line == lines) line = 0, row++;
        }
        for (int64_t s = 0; s < ns; s++)
            t->tile(acc + i * Q_ACC + s * rows, panel + (size_t)s * panel_bytes, x + (size_t)i * t->many_bytes,
                    (int)min64(t->tile_x, ni - i), n_col);
    }
}

static void many_part(void *arg, int i_thread, int n_thread)
{
    quant_job *j = arg;
    const size_t xb = j->t->many_bytes;
    uint8_t *panels = j->c->scratch[i_thread];
    float *acc = (float *)(void *)(panels + PANELS_BYTES);
    int64_t task;

    (void)n_thread;
    while ((task = next_task(j)) < j->n_task) {
        const quant_part *p = part_of(j, task / j->n_split);
        const weight *w = p->w;
        const int64_t group = group_rows(p->t);
        const size_t rb = p->row_bytes, chunk_bytes = p->t->unpack ? dtype_row_bytes(w->type, Q_CHUNK)
                                                                   : (size_t)p->t->panel_rows * quant_packed_bytes(Q_CHUNK);
        const int64_t r0 = (task / j->n_split - p->task0) * p->task_rows, nr = min64(p->task_rows, w->n_row - r0);
        const int64_t i0 = task % j->n_split * j->split_x, ni = min64(j->split_x, j->n - i0);

        memset(acc, 0, (size_t)(ni * Q_ACC) * sizeof *acc);
        for (int64_t c = 0; c < j->n_chunk; c++) {
            const int n_col = (int)min64(Q_CHUNK, j->n_col - c * Q_CHUNK);
            const uint8_t *from = p->rows + (size_t)r0 * rb + (size_t)c * chunk_bytes;
            const uint8_t *x = j->c->x_pack + (size_t)(c * j->n + i0) * xb;

            for (int64_t g = 0; g < nr; g += group, from += (size_t)group * rb) {
                const int64_t n = min64(group, nr - g);
                const uint8_t *next = g + group < nr ? from + (size_t)group * rb : from - (size_t)g * rb + chunk_bytes;
                group_chunk(p->t, acc + g, panels, from, rb, n, x, ni, n_col, next, chunk_bytes);
            }
        }
        if (p->stream) j->c->k.stream_rows(p->y + i0 * p->ldy + r0, p->ldy, acc, Q_ACC, ni, nr);
        else
            for (int64_t i = 0; i < ni; i++) store(j, p, acc + i * Q_ACC, i0 + i, r0, nr);
    }
}

/* Which parts' results are stored as they are, and together are too large for caches */
static void choose_streams(quant_job *j)
{
    int64_t n_row = 0;

    for (int i = 0; i < j->n_part; i++) n_row += j->part[i].w->n_row;
    for (quant_part *p = j->part; p < j->part + j->n_part; p++) {
        const epilogue *e = &p->ep;
        const bool plain = !e->bias && e->act == ACT_NONE && (e->scale == 0 || e->scale == 1) && !e->accumulate;
        const bool aligned = (uintptr_t)p->y % STREAM_ALIGN == 0 && p->ldy * (int64_t)sizeof(float) % STREAM_ALIGN == 0;
        p->stream = j->c->k.stream_rows && plain && aligned && j->n * n_row * (int64_t)sizeof(float) > STREAM_BYTES;
    }
}

/* Weight rows of a task: about four tasks a thread even things out, but all threads should get as many of them. Cuts, and returns how many. */
static int64_t cut_evenly(quant_job *j, int64_t unit)
{
    const int64_t n_thread = j->c->n_thread;
    int64_t rows = Q_ACC, best, least = INT64_MAX;

    while (cut_rows(j, rows, unit) < 4 * n_thread && rows > unit) rows /= 2;
    best = rows;
    for (int64_t r = rows; r >= unit && 2 * r > rows; r -= unit) {
        const int64_t each = ceil_div(cut_rows(j, r, unit), n_thread) * r; /* of the thread that has most */
        if (each < least) best = r, least = each;
    }
    return cut_rows(j, best, unit);
}

static void matmul_many(quant_job *j)
{
    const int64_t n_thread = j->c->n_thread, tx = j->t->tile_x, unit = j->t->panel_rows;
    int64_t n_block;

    choose_streams(j);
    run_tasks(j, pack_part, ceil_div(j->n, PACK_ROWS));
    n_block = cut_evenly(j, unit);
    /* When the weights have too few rows for that, x is split as well. */
    j->n_split = n_block >= 2 * n_thread ? 1 : min64(ceil_div(j->n, tx), ceil_div(2 * n_thread, n_block));
    j->split_x = ceil_div(ceil_div(j->n, j->n_split), tx) * tx;
    j->n_split = ceil_div(j->n, j->split_x);
    run_tasks(j, many_part, n_block * j->n_split);
}

/* Parts of one form of x, all rows of it. */
static void matmul_parts(cpu_backend *c, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    const weight *w = part[0].w;
    const quant_kernel *t = cpu_quant_of(c, w);
    quant_job j = { .c = c, .t = t, .ldx = ldx, .n_part = n_part, .n_col = w->n_col, .n_chunk = ceil_div(w->n_col, Q_CHUNK) };
    const int64_t n_few = t->n_few > N_FEW ? t->n_few : N_FEW;
    const bool few = n <= n_few;
    int64_t rows = few ? n_few : min64((int64_t)(X_PACK_BYTES / ((size_t)j.n_chunk * t->many_bytes)), X_ROWS_MAX);

    for (int i = 0; i < n_part; i++) {
        const weight *u = part[i].w;
        j.part[i] =
            (quant_part){ .t = cpu_quant_of(c, u), .w = u, .rows = u->data, .row_bytes = u->row_bytes, .y = part[i].y, .ldy = part[i].ldy };
        if (u->packed) j.part[i].rows = u->packed, j.part[i].row_bytes = quant_packed_bytes(u->n_col);
        if (part[i].ep) j.part[i].ep = *part[i].ep;
    }
    rows = ceil_div(n, ceil_div(n, rows)); /* passes of about one size */
    for (int64_t i = 0; i < n; i += rows) {
        j.n = min64(rows, n - i);
        j.x = x + i * ldx;
        if (few) matmul_few(&j);
        else matmul_many(&j);
        for (int k = 0; k < n_part; k++) j.part[k].y += j.n * j.part[k].ldy;
    }
}

static bool same_x(const cpu_backend *c, const weight *a, const weight *b)
{
    const quant_kernel *s = cpu_quant_of(c, a), *t = cpu_quant_of(c, b);

    return a->n_col == b->n_col && s->pack_few == t->pack_few && s->pack_many == t->pack_many && s->tile_x == t->tile_x &&
           s->panel_rows == t->panel_rows;
}

void cpu_matmul_quant(cpu_backend *c, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    if (n <= 0) return;
    for (int i = 0, k; i < n_part; i = k) {
        for (k = i + 1; k < n_part && same_x(c, part[i].w, part[k].w); k++) {
        }
        matmul_parts(c, part + i, k - i, x, ldx, n);
    }
}
