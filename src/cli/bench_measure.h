/* Measured values and their spread, and the memory's reading speed to compare with. */
#ifndef MO_CLI_BENCH_MEASURE_H
#define MO_CLI_BENCH_MEASURE_H

#include <stddef.h>

#include "core/status.h"

enum { BENCH_RUNS_MAX = 100 };

typedef struct bench_sample {
    double v[BENCH_RUNS_MAX];
    int n;
} bench_sample;

void bench_add(bench_sample *s, double v);
double bench_median(const bench_sample *s);
double bench_min(const bench_sample *s);
double bench_max(const bench_sample *s);

/* Reading n_bytes of memory once, from n_thread threads at a time: bytes per second, n_run samples. */
mo_status bench_read_speed(bench_sample *out, int n_thread, int n_run, size_t n_bytes, mo_error *err);

#endif
