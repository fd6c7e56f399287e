/* How fast the CPU kernels are, beside what the machine can do: streaming reads and multiply-adds in registers.
 *
 *     bench_kernels [-t threads] [-i isa,list] [-r repeats] [-o group] [-d type] [-c 1] [-f 1]
 *
 * -f 1: reduced precision (cpu_backend_opts.fast). Shares stay those of the float32 limit; 16-bit products can reach 1.6
 * of it on AVX2, twice it with AVX-512 VNNI.
 * -c 1: count the process's processor time instead of the clock's: comparable on a busy machine, meaningful with -t 1.
 *
 * Every figure is the best of some repeats, and the machine's own limits are measured again before each group, because
 * they move with the neighbours and the clock. Shares are of those limits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "core/cpu.h"
#include "core/threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

static int n_repeat = 5;
static int32_t only_type = -1; /* of weights; -1: all */
static clockid_t clock_id = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(clock_id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what the machine can do ---- */

enum { FMA_ROUNDS = 4000000, FMA_CHAINS = 12 };

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static double fma_loop_avx2(void)
{
    __m256 a[FMA_CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
    float out[8];
    for (int i = 0; i < FMA_CHAINS; i++) a[i] = _mm256_set1_ps((float)i);
    for (int r = 0; r < FMA_ROUNDS; r++) {
        __asm__ volatile("" : "+x"(x), "+x"(y));
        for (int i = 0; i < FMA_CHAINS; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
    }
    for (int i = 1; i < FMA_CHAINS; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    _mm256_storeu_ps(out, a[0]);
    return out[0] == 1.5f ? 0 : 8;
}

__attribute__((target("avx512f"))) static double fma_loop_avx512(void)
{
    __m512 a[FMA_CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
    for (int i = 0; i < FMA_CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < FMA_ROUNDS; r++) {
        __asm__ volatile("" : "+v"(x), "+v"(y));
        for (int i = 0; i < FMA_CHAINS; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
    }
    for (int i = 1; i < FMA_CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    return _mm512_reduce_add_ps(a[0]) == 1.5f ? 0 : 16;
}
#endif

#if defined(__aarch64__)
static double fma_loop_neon(void)
{
    float32x4_t a[FMA_CHAINS], x = vdupq_n_f32(0.999f), y = vdupq_n_f32(1e-3f);
    for (int i = 0; i < FMA_CHAINS; i++) a[i] = vdupq_n_f32((float)i);
    for (int r = 0; r < FMA_ROUNDS; r++) {
        __asm__ volatile("" : "+w"(x), "+w"(y));
        for (int i = 0; i < FMA_CHAINS; i++) a[i] = vfmaq_f32(a[i], x, y);
    }
    for (int i = 1; i < FMA_CHAINS; i++) a[0] = vaddq_f32(a[0], a[i]);
    return vaddvq_f32(a[0]) == 1.5f ? 0 : 4;
}
#endif

/* Lanes of the loop that ran; 0: no such loop for this set. */
static double fma_loop(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & MO_ISA_AVX512) return fma_loop_avx512();
    if (isa & MO_ISA_AVX2) return fma_loop_avx2();
#elif defined(__aarch64__)
    if (isa & MO_ISA_NEON) return fma_loop_neon();
#endif
    (void)isa;
    return 0;
}

typedef struct limits {
    pool *pool;
    unsigned isa;
    const float *stream; /* STREAM_FLOATS of it */
    double lanes;
    volatile float sink[64];
} limits;

enum { STREAM_FLOATS = 64 << 20 };

static void fma_part(void *arg, int i, int n)
{
    limits *l = arg;
    double lanes = fma_loop(l->isa);
    (void)n;
    if (!i) l->lanes = lanes;
}

static double flop_peak(limits *l)
{
    double best = 1e9;
    for (int r = 0; r < n_repeat; r++) {
        double t = now();
        pool_run(l->pool, fma_part, l);
        t = now() - t;
        if (t < best) best = t;
    }
    return 2.0 * l->lanes * FMA_CHAINS * FMA_ROUNDS * pool_size(l->pool) / best;
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static float
stream_sum(const float *p, size_t n)
{
    float a[64] = { 0 }, s = 0;
    for (size_t i = 0; i + 64 <= n; i += 64)
        for (int j = 0; j < 64; j++) a[j] += p[i + (size_t)j];
    for (int j = 0; j < 64; j++) s += a[j];
    return s;
}

static void stream_part(void *arg, int i, int n)
{
    limits *l = arg;
    const size_t per = STREAM_FLOATS / (size_t)n;
    l->sink[i % 64] = stream_sum(l->stream + per * (size_t)i, per);
}

static double stream_rate(limits *l)
{
    double best = 1e9;
    for (int r = 0; r < n_repeat; r++) {
        double t = now();
        pool_run(l->pool, stream_part, l);
        t = now() - t;
        if (t < best) best = t;
    }
    return (double)STREAM_FLOATS * 4 / best;
}

/* ---- kernels ---- */

static float *floats(backend *be, int64_t n)
{
    void *p;
    mo_error err;
    if (be->ops->alloc(be, &p, (size_t)n * 4, &err) != MO_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    for (int64_t i = 0; i < n; i++) ((float *)p)[i] = (float)((i * 7919) % 2001 - 1000) * 1e-3f;
    return p;
}

static void *typed(backend *be, int32_t type, int64_t n)
{
    float *f;
    uint16_t *h;
    if (type == MO_F32) return floats(be, n);
    f = floats(be, (n + 1) / 2);
    h = (uint16_t *)f;
    for (int64_t i = 0; i < n; i++) {
        float x = (float)((i * 7919) % 2001 - 1000) * 1e-3f;
        h[i] = type == MO_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    }
    return f;
}

static double time_matmul(backend *be, int32_t type, int64_t m, int64_t k, int64_t n)
{
    float *x = floats(be, n * k), *y = floats(be, n * m);
    void *wd = typed(be, type, m * k);
    const int loops = (int)(1 + 2e9 / (2.0 * (double)m * (double)k * (double)n) / 20);
    double best = 1e9;
    weight w;
    mo_error err;

    if (be->ops->weight(be, &w, type, m, k, wd, &err) != MO_OK) exit(1);
    for (int r = 0; r < n_repeat; r++) {
        double t = now();
        for (int i = 0; i < loops; i++) be->ops->matmul(be, y, m, &w, x, k, n, NULL);
        t = (now() - t) / loops;
        if (t < best) best = t;
    }
    be->ops->dealloc(be, x);
    be->ops->dealloc(be, y);
    be->ops->dealloc(be, wd);
    return best;
}

static void bench_matvec(backend *be, limits *l)
{
    static const int shape[][2] = { { 4096, 4096 }, { 12288, 4096 }, { 4096, 12288 }, { 151936, 1024 } };
    static const int32_t types[] = { MO_F32, MO_F16, MO_BF16 };

    printf("\nmatvec, weights from memory      n        ms      GB/s   share of streaming\n");
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            if (only_type >= 0 && types[t] != only_type) continue;
            /* enough copies that no cache holds them */
            const int64_t rows = shape[s][0], k = shape[s][1];
            const double bytes = (double)rows * (double)dtype_row_bytes(types[t], k);
            const int copies = (int)(1 + 160e6 / bytes);
            uint8_t *wd = typed(be, types[t], rows * k * copies);
            float *x = floats(be, 3 * k), *y = floats(be, 3 * rows);
            for (int n = 1; n <= 3; n += 2) {
                const double limit = stream_rate(l);
                double best = 1e9;
                for (int r = 0; r < n_repeat; r++) {
                    double time = now();
                    for (int c = 0; c < copies; c++) {
                        weight w;
                        mo_error err;
                        if (be->ops->weight(be, &w, types[t], rows, k, wd + (size_t)c * (size_t)bytes, &err) != MO_OK) exit(1);
                        be->ops->matmul(be, y, rows, &w, x, k, n, NULL);
                    }
                    time = (now() - time) / copies;
                    if (time < best) best = time;
                }
                printf("  %6d x %-6d %-5s          %3d  %8.3f  %8.2f   %5.1f %% of %.2f\n", (int)rows, (int)k, dtype_get(types[t])->name, n,
                       best * 1e3, bytes / best * 1e-9, 100 * bytes / best / limit, limit * 1e-9);
            }
            be->ops->dealloc(be, wd);
            be->ops->dealloc(be, x);
            be->ops->dealloc(be, y);
        }
}

static void bench_gemm(backend *be, limits *l)
{
    static const int shape[][3] = {
        { 4304, 1152, 1024 }, { 1152, 4304, 1024 }, { 1152, 1152, 1024 }, { 4096, 4096, 1024 }, { 12288, 4096, 512 }, { 12288, 4096, 64 },
        { 12288, 4096, 32 },  { 12288, 4096, 24 },  { 12288, 4096, 18 },  { 12288, 4096, 12 },  { 12288, 4096, 8 },   { 4096, 12288, 512 },
    };
    static const int32_t types[] = { MO_F32, MO_F16, MO_BF16 };

    printf("\nmatmul                                     n        ms   GFLOP/s   share of multiply-add peak\n");
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            if (only_type >= 0 && types[t] != only_type) continue;
            const double peak = flop_peak(l), flop = 2.0 * shape[s][0] * shape[s][1] * shape[s][2];
            const double time = time_matmul(be, types[t], shape[s][0], shape[s][1], shape[s][2]);
            printf("  %6d x %-6d %-5s              %5d  %8.2f  %8.1f   %5.1f %% of %.1f\n", shape[s][0], shape[s][1],
                   dtype_get(types[t])->name, shape[s][2], time * 1e3, flop / time * 1e-9, peak > 0 ? 100 * flop / time / peak : 0,
                   peak * 1e-9);
        }
}

static void bench_dense(backend *be, limits *l)
{
    static const int shape[][4] = { { 1024, 1024, 16, 72 }, { 1500, 1500, 16, 64 }, { 64, 1024, 32, 128 }, { 3000, 3000, 4, 64 } };

    printf("\nattention, plain rows                         ms   GFLOP/s   share of multiply-add peak\n");
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        const int nq = shape[s][0], nk = shape[s][1], h = shape[s][2], hd = shape[s][3], w = h * hd;
        const int32_t q_row[2] = { 0, nq }, k_row[2] = { 0, nk };
        float *q = floats(be, (int64_t)nq * w), *k = floats(be, (int64_t)nk * w), *v = floats(be, (int64_t)nk * w),
              *y = floats(be, (int64_t)nq * w);
        const attn_dense_args a = { y, q, k, v, w, w, w, w, q_row, k_row, NULL, 1, h, hd, 1 / sqrtf((float)hd) };
        const double flop = 4.0 * nq * nk * w, peak = flop_peak(l);
        double best = 1e9;
        for (int r = 0; r < n_repeat; r++) {
            double t = now();
            be->ops->attn_dense(be, &a);
            t = now() - t;
            if (t < best) best = t;
        }
        printf("  %5d x %-5d  %2d heads x %-4d        %9.2f  %8.1f   %5.1f %%\n", nq, nk, h, hd, best * 1e3, flop / best * 1e-9,
               peak > 0 ? 100 * flop / best / peak : 0);
        be->ops->dealloc(be, q), be->ops->dealloc(be, k), be->ops->dealloc(be, v), be->ops->dealloc(be, y);
    }
}

typedef struct heads {
    int n_head, n_kv_head, dim;
} heads;

/* n rows at the end of a past of n_past positions; as many layers as no cache holds, for one row. */
static void bench_paged_case(backend *be, limits *l, heads h, int32_t type, int n_past, int n)
{
    const int n_page = (n_past + n + KV_PAGE - 1) / KV_PAGE, w = h.n_head * h.dim, wk = h.n_kv_head * h.dim;
    const size_t bytes = kv_page_layer_bytes(type, h.n_kv_head, h.dim);
    const int n_layer = n == 1 ? (int)(1 + 160e6 / ((double)bytes * n_page)) : 1;
    uint8_t *pages = (uint8_t *)floats(be, (int64_t)(bytes / 4) * n_page * n_layer);
    void **page = malloc((size_t)n_page * sizeof *page);
    int32_t *vis = malloc((size_t)n * sizeof *vis), *at = malloc((size_t)(n_page * KV_PAGE) * sizeof *at);
    float *q = floats(be, (int64_t)n * w), *y = floats(be, (int64_t)n * w), *kv = floats(be, (int64_t)n_page * KV_PAGE * wk);
    attn_seq seq = { 0, n_page * KV_PAGE, page, 0 };
    const attn_paged_args a = { y, q, w, w, vis, &seq, 1, h.n_head, h.n_kv_head, h.dim, type, 1 / sqrtf((float)h.dim) };
    double best = 1e9, flop = 0, limit;

    for (int i = 0; i < n_page; i++) page[i] = pages + (size_t)i * bytes * (size_t)n_layer;
    for (int i = 0; i < n_page * KV_PAGE; i++) at[i] = i;
    for (int i = 0; i < n_layer; i++) {
        seq.layer_offset = (size_t)i * bytes;
        be->ops->kv_store(be, &seq, 1, at, kv, kv, wk, h.n_kv_head, h.dim, type);
    }
    seq.n_row = n;
    for (int i = 0; i < n; i++) vis[i] = n_past + i + 1, flop += 4.0 * vis[i] * w;
    limit = n == 1 ? stream_rate(l) : flop_peak(l);
    for (int r = 0; r < n_repeat; r++) {
        double t = now();
        for (int i = 0; i < n_layer; i++) {
            seq.layer_offset = (size_t)i * bytes;
            be->ops->attn_paged(be, &a);
        }
        t = (now() - t) / n_layer;
        if (t < best) best = t;
    }
    printf("  %2d/%d x %-3d past %6d + %-4d %-4s      %9.3f  %8.1f  %8.2f   %5.1f %% of %s\n", h.n_head, h.n_kv_head, h.dim, n_past, n,
           dtype_get(type)->name, best * 1e3, flop / best * 1e-9, (double)bytes * n_page / best * 1e-9,
           limit <= 0 ? 0
           : n == 1   ? 100 * (double)bytes * n_page / best / limit
                      : 100 * flop / best / limit,
           n == 1 ? "streaming" : "peak");
    be->ops->dealloc(be, kv), free(at);
    be->ops->dealloc(be, q), be->ops->dealloc(be, y), be->ops->dealloc(be, pages);
    free(page), free(vis);
}

static void bench_paged(backend *be, limits *l)
{
    static const heads model[] = { { 32, 8, 128 }, { 9, 3, 64 } }; /* 8B; SmolLM2-135M */
    static const int32_t types[] = { MO_F32, MO_F16, MO_Q8_0 };
    static const int shape[][2] = { { 0, 512 }, { 4096, 64 }, { 511, 1 }, { 2047, 1 }, { 32767, 1 } };

    printf("\nattention, paged, heads/kv heads x width     ms   GFLOP/s      GB/s   share\n");
    for (size_t m = 0; m < sizeof model / sizeof *model; m++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
                if (only_type < 0 || only_type == types[t]) bench_paged_case(be, l, model[m], types[t], shape[i][0], shape[i][1]);
}

static void bench_rows(backend *be)
{
    enum { N = 512, D = 4096 };
    float *x = floats(be, (int64_t)N * D), *y = floats(be, (int64_t)N * D), *g = floats(be, D), *angle = floats(be, N * 128);
    int32_t pos[N];
    float inv[64];
    const struct {
        const char *name;
        int op;
    } ops[] = { { "rms_norm", 0 }, { "layer_norm", 1 }, { "swiglu", 2 }, { "add_rows", 3 }, { "norm_rope 32 x 128", 4 } };

    for (int i = 0; i < N; i++) pos[i] = i;
    for (int i = 0; i < 64; i++) inv[i] = powf(1e6f, -(float)i / 64);
    be->ops->rope_angles(be, angle, pos, inv, N, 128);
    printf("\nrows, %d x %d                          ms   ns/element\n", N, D);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        double best = 1e9;
        for (int r = 0; r < n_repeat; r++) {
            double t = now();
            switch (ops[i].op) {
            case 0: be->ops->rms_norm(be, y, D, x, D, g, N, D, 1e-6f); break;
            case 1: be->ops->layer_norm(be, y, D, x, D, g, g, N, D, 1e-6f); break;
            case 2: be->ops->swiglu(be, y, D, x, D, x, D, N, D); break;
            case 3: be->ops->add_rows(be, y, D, x, D, x, D, NULL, N, D); break;
            case 4: be->ops->norm_rope(be, y, D, g, 1e-6f, angle, N, 32, 128, ROPE_HALVES); break;
            }
            t = now() - t;
            if (t < best) best = t;
        }
        printf("  %-24s             %9.3f  %8.3f\n", ops[i].name, best * 1e3, best * 1e9 / N / D);
    }
    be->ops->dealloc(be, x), be->ops->dealloc(be, y), be->ops->dealloc(be, g), be->ops->dealloc(be, angle);
}

int main(int argc, char **argv)
{
    cpu_backend_opts opts = { .isa_mask = MO_ISA_ALL };
    const char *only = NULL;
    limits l = { 0 };
    backend *be;
    mo_error err;
    char text[160];

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "-t")) opts.n_thread = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-i")) opts.isa_mask = (unsigned)cpu_isa_parse(argv[i + 1]);
        else if (!strcmp(argv[i], "-r")) n_repeat = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-c")) clock_id = atoi(argv[i + 1]) ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
        else if (!strcmp(argv[i], "-f")) opts.fast = atoi(argv[i + 1]) != 0;
        else if (!strcmp(argv[i], "-o")) only = argv[i + 1];
        else if (!strcmp(argv[i], "-d")) only_type = dtype_by_name(argv[i + 1]);
        else {
            fprintf(stderr, "usage: bench_kernels [-t threads] [-i isa,list] [-r repeats] [-c 0|1] [-f 0|1] [-d F32|F16|BF16|Q8_0] [-o "
                            "matvec|gemm|dense|paged|rows]\n");
            return 2;
        }
    }
    if (cpu_backend_new(&be, &opts, &err) != MO_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    cpu_backend_describe(be, text, sizeof text);
    l.isa = cpu_isa() & opts.isa_mask;
    l.stream = floats(be, STREAM_FLOATS);
    if (pool_new(&l.pool, opts.n_thread ? opts.n_thread : cpu_count(), &err) != MO_OK) return 1;
    printf("%s: streaming reads %.2f GB/s, multiply-add peak %.1f GFLOP/s\n", text, stream_rate(&l) * 1e-9, flop_peak(&l) * 1e-9);
    if (!only || !strcmp(only, "matvec")) bench_matvec(be, &l);
    if (!only || !strcmp(only, "gemm")) bench_gemm(be, &l);
    if (!only || !strcmp(only, "dense")) bench_dense(be, &l);
    if (!only || !strcmp(only, "paged")) bench_paged(be, &l);
    if (!only || !strcmp(only, "rows")) bench_rows(be);
    pool_free(l.pool);
    be->ops->destroy(be);
    return 0;
}
