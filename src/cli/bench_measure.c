/* Samples and the streaming read (bench_measure.h). */
#include "cli/bench_measure.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/threads.h"

void bench_add(bench_sample *s, double v)
{
    if (s->n < BENCH_RUNS_MAX) s->v[s->n++] = v;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(const bench_sample *s)
{
    bench_sample t = *s;

    if (!t.n) return 0;
    qsort(t.v, (size_t)t.n, sizeof *t.v, compare);
    return t.n % 2 ? t.v[t.n / 2] : (t.v[t.n / 2 - 1] + t.v[t.n / 2]) / 2;
}

double bench_min(const bench_sample *s)
{
    double m = s->n ? s->v[0] : 0;

    for (int i = 1; i < s->n; i++) m = s->v[i] < m ? s->v[i] : m;
    return m;
}

double bench_max(const bench_sample *s)
{
    double m = s->n ? s->v[0] : 0;

    for (int i = 1; i < s->n; i++) m = s->v[i] > m ? s->v[i] : m;
    return m;
}

/* ---- streaming read --------------------------------------------------------------------------------------------- */

enum { LINE_WORDS = 8 }; /* a cache line */

typedef struct reading {
    uint64_t *x;
    size_t n_line;
    bool fill;                      /* write instead: pages come into being beside the thread that will read them */
    uint64_t sum[1024][LINE_WORDS]; /* [thread], a cache line each; used, so that reading is not left out */
} reading;

static void read_part(void *arg, int i_thread, int n_thread)
{
    reading *r = arg;
    size_t from = r->n_line * (size_t)i_thread / (size_t)n_thread, to = r->n_line * (size_t)(i_thread + 1) / (size_t)n_thread;
    uint64_t s[4 * LINE_WORDS] = { 0 };
    size_t i = from;

    if (r->fill) {
        memset(r->x + from * LINE_WORDS, 1, (to - from) * LINE_WORDS * sizeof *r->x);
        return;
    }
    for (; i + 4 <= to; i += 4) /* independent sums: bound by memory, not by the add's latency */
        for (int k = 0; k < 4 * LINE_WORDS; k++) s[k] += r->x[i * LINE_WORDS + (size_t)k];
    for (int k = 0; k < 4 * LINE_WORDS; k++) r->sum[i_thread][k % LINE_WORDS] += s[k];
}

mo_status bench_read_speed(bench_sample *out, int n_thread, int n_run, size_t n_bytes, mo_error *err)
{
    reading *r = mo_zalloc(sizeof *r);
    pool *p = NULL;
    mo_status st = MO_OK;

    out->n = 0;
    if (r) {
        r->n_line = n_bytes / (LINE_WORDS * sizeof *r->x);
        r->x = mo_alloc_aligned(n_bytes);
        if (r->x) memory_wish_huge(r->x, n_bytes); /* the most that any weights could reach */
        r->fill = true;
    }
    if (!r || !r->x) st = mo_fail(err, MO_E_NOMEM, "no memory to measure the reading speed with");
    if (st == MO_OK) st = pool_new(&p, n_thread, err);
    for (int i = -2; st == MO_OK && i < n_run; i++) { /* -2 fills, -1 warms up */
        int64_t t = clock_ns();
        pool_run(p, read_part, r);
        if (i >= 0) bench_add(out, (double)n_bytes * 1e9 / (double)(clock_ns() - t + 1));
        r->fill = false;
    }
    pool_free(p);
    if (r) mo_free(r->x);
    mo_free(r);
    return st;
}
