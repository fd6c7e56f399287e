/* Block-quantised matrix products beside what the machine can do: streaming reads for one row, multiply-adds of bytes in
 * registers for many.
 *
 *     bench_quant [-t threads] [-i isa,list] [-r repeats] [-o type]
 *
 * Every figure is the best of some repeats; the limits are measured again before each, because they move with the
 * neighbours and the clock. The arithmetic limit is two byte products a cycle and lane pair (AVX2's 16-bit sums); types with
 * signed bytes can reach half of it there. Weights are read from memory: copies of a matrix that no cache holds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "core/cpu.h"
#include "core/threads.h"

static const int32_t types[] = { MO_Q4_0,    MO_Q4_1,   MO_Q5_0,  MO_Q5_1,    MO_Q8_0,   MO_IQ4_NL, MO_Q2_K,
                                 MO_Q3_K,    MO_Q4_K,   MO_Q5_K,  MO_Q6_K,    MO_IQ4_XS, MO_IQ1_S,  MO_IQ1_M,
                                 MO_IQ2_XXS, MO_IQ2_XS, MO_IQ2_S, MO_IQ3_XXS, MO_IQ3_S,  MO_TQ1_0,  MO_TQ2_0 };
enum { ROWS = 12288, COLS = 4096, N_MAX = 512, ROUNDS = 200000, STREAM_BYTES = 192 << 20 };

typedef struct limits {
    pool *pool;
    const uint8_t *stream;
    volatile uint64_t sink[64];
} limits;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stream_part(void *arg, int i, int n)
{
    limits *l = arg;
    const size_t per = STREAM_BYTES / (size_t)n / 64 * 64;
    const uint8_t *p = l->stream + per * (size_t)i;
    uint64_t s[8] = { 0 };
    for (size_t at = 0; at < per; at += 64)
        for (size_t e = 0; e < 8; e++) {
            uint64_t v;
            memcpy(&v, p + at + 8 * e, 8);
            s[e] ^= v;
        }
    for (int e = 1; e < 8; e++) s[0] ^= s[e];
    l->sink[i % 64] = s[0];
}

#if defined(__x86_64__)
enum { OPS_PER_ROUND = 2 * 32 * 10 };
static void bytes_part(void *arg, int i, int n)
{
    long r = ROUNDS;
    (void)arg, (void)i, (void)n;
#define M(d) "vpmaddubsw %%ymm10, %%ymm11, %%ymm" #d "\n\t"
    __asm__ volatile("1:\n\t" M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) "sub $1, %0\n\tjnz 1b"
                     : "+r"(r)
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "cc");
#undef M
}
#else
enum { OPS_PER_ROUND = 0 };
static void bytes_part(void *arg, int i, int n) { (void)arg, (void)i, (void)n; }
#endif

static double best_of(int n_repeat, pool *p, pool_fn fn, void *arg)
{
    double best = 1e9;
    for (int r = 0; r < n_repeat; r++) {
        const double t = now();
        pool_run(p, fn, arg);
        if (now() - t < best) best = now() - t;
    }
    return best;
}

/* Random bytes; every block's f16 factors are made small numbers. */
static void fill(uint8_t *w, int32_t type, size_t bytes)
{
    const dtype_info *t = dtype_get(type);
    const int at = type == MO_Q2_K    ? 80
                   : type == MO_Q3_K  ? 108
                   : type == MO_Q6_K  ? 208
                   : type == MO_TQ1_0 ? 52
                   : type == MO_TQ2_0 ? 64
                   : type == MO_IQ1_M ? 48
                                      : 0;
    const bool two = type == MO_Q2_K || type == MO_Q4_1 || type == MO_Q5_1 || type == MO_Q4_K || type == MO_Q5_K;
    const uint16_t h = f32_to_f16(0.01f);
    uint32_t s = 1;

    for (size_t i = 0; i < bytes; i++) w[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (uint8_t *b = w; b < w + bytes; b += t->block_bytes) {
        memcpy(b + at, &h, 2);
        if (two) memcpy(b + at + 2, &h, 2);
        if (type == MO_IQ1_M) memset(b + 48, 0x22, 8); /* a nibble of it at the top of each of four words */
    }
}

int main(int argc, char **argv)
{
    cpu_backend_opts opts = { .isa_mask = MO_ISA_ALL };
    int n_repeat = 5;
    const char *only = NULL;
    limits l = { 0 };
    backend *be;
    mo_error err;
    char text[160];
    uint8_t *mem;
    float *x, *y;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "-t")) opts.n_thread = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-i")) opts.isa_mask = (unsigned)cpu_isa_parse(argv[i + 1]);
        else if (!strcmp(argv[i], "-r")) n_repeat = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-o")) only = argv[i + 1];
        else return fprintf(stderr, "usage: bench_quant [-t threads] [-i isa,list] [-r repeats] [-o type]\n"), 2;
    }
    if (cpu_backend_new(&be, &opts, &err) != MO_OK || pool_new(&l.pool, opts.n_thread ? opts.n_thread : cpu_count(), &err) != MO_OK)
        return fprintf(stderr, "%s\n", err.message), 1;
    mem = malloc(STREAM_BYTES);
    x = malloc(sizeof *x * N_MAX * COLS);
    y = malloc(sizeof *y * N_MAX * ROWS);
    if (!mem || !x || !y) {
        fprintf(stderr, "not enough memory\n");
        free(mem), free(x), free(y);
        return 1;
    }
    for (int i = 0; i < N_MAX * COLS; i++) x[i] = (float)(i * 7919LL % 2001 - 1000) * 1e-3f;
    l.stream = mem;
    cpu_backend_describe(be, text, sizeof text);
    printf("%s; weights %d x %d\n%-8s %4s %10s %10s   of the limit\n", text, ROWS, COLS, "type", "n", "ms", "rate");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        static const int ns[] = { 1, 4, 8, 16, 128, 512 };
        const size_t bytes = ROWS * dtype_row_bytes(types[t], COLS);
        if (only && strcmp(only, dtype_get(types[t])->name)) continue;
        fill(mem, types[t], STREAM_BYTES / bytes * bytes);
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
            const int n = ns[i], copies = n <= 8 ? (int)(STREAM_BYTES / bytes) : 1;
            const double limit = n <= 8 ? STREAM_BYTES / best_of(n_repeat, l.pool, stream_part, &l)
                                        : (double)OPS_PER_ROUND * ROUNDS * pool_size(l.pool) / best_of(n_repeat, l.pool, bytes_part, &l);
            double best = 1e9, rate;
            for (int r = 0; r < n_repeat; r++) {
                double time = now();
                for (int c = 0; c < copies; c++) {
                    weight w;
                    if (be->ops->weight(be, &w, types[t], ROWS, COLS, mem + (size_t)c * bytes, &err) != MO_OK)
                        return fprintf(stderr, "%s\n", err.message), 1;
                    be->ops->matmul(be, y, ROWS, &w, x, COLS, n, NULL);
                }
                time = (now() - time) / copies;
                if (time < best) best = time;
            }
            rate = (n <= 8 ? (double)bytes : 2.0 * ROWS * COLS * n) / best;
            printf("%-8s %4d %10.3f %10.2f %s %5.1f %% of %.1f\n", dtype_get(types[t])->name, n, best * 1e3, rate * 1e-9,
                   n <= 8 ? "GB/s " : "GOP/s", limit > 0 ? 100 * rate / limit : 0, limit * 1e-9);
            fflush(stdout);
        }
    }
    free(mem), free(x), free(y);
    pool_free(l.pool);
    be->ops->destroy(be);
    return 0;
}
