/* Block-quantised weights: with int8 every instruction set against plain C to the bit, and so the kernels of 16-bit activations among
 * themselves; either against sums in double within the rounding of the activations, batches against single rows, and the values at
 * which integer sums could overflow. */
#include "../test.h"
#include "kernel_test.h"

static const int32_t types[] = { MO_Q4_0,    MO_Q4_1,   MO_Q5_0,  MO_Q5_1,    MO_Q8_0,   MO_IQ4_NL, MO_Q2_K,
                                 MO_Q3_K,    MO_Q4_K,   MO_Q5_K,  MO_Q6_K,    MO_IQ4_XS, MO_IQ1_S,  MO_IQ1_M,
                                 MO_IQ2_XXS, MO_IQ2_XS, MO_IQ2_S, MO_IQ3_XXS, MO_IQ3_S,  MO_TQ1_0,  MO_TQ2_0 };
enum { N_TYPE = sizeof types / sizeof *types };

#ifdef HAVE_AVX_VNNI_EMULATED
void quant_init_avx_vnni_emulated(quant_table t);
#endif
#ifdef HAVE_AVX512_VNNI_EMULATED
void quant_init_avx512_vnni_emulated(quant_table t);
void quant_init_avx512_words_emulated(quant_table t);
#endif

/* Those of int8 first. Other kernels are plain C's, or what isa_cases has. */
static struct {
    const char *name;
    kernels k;
    bool words; /* activations of 16 bits */
} sets[ISA_CASE_MAX + 6];
static int n_set;

/* A set with the kernels of `isa` that are not there yet */
static void add_isa(const char *name, const kernels *k, unsigned isa, bool words)
{
    sets[n_set].name = name;
    sets[n_set].k = *k;
    sets[n_set].words = words;
    quant_init(sets[n_set].k.quant, isa, words);
    for (int i = 0; i < n_set; i++) /* float kernels differ in more ways than quantised ones */
        if (!memcmp(sets[i].k.quant, sets[n_set].k.quant, sizeof k->quant)) return;
    n_set++;
}

#if defined(HAVE_AVX_VNNI_EMULATED) || defined(HAVE_AVX512_VNNI_EMULATED)
static void add_emulated(const char *name, void (*init)(quant_table t), bool words)
{
    sets[n_set].name = name;
    sets[n_set].k = isa_cases[0].k;
    sets[n_set].words = words;
    init(sets[n_set++].k.quant);
}
#endif

static void sets_init(void)
{
    isa_cases_init();
    for (int i = 0; i < n_isa_case; i++) add_isa(isa_cases[i].name, &isa_cases[i].k, isa_cases[i].k.isa, false);
#ifdef __aarch64__
    for (int i = 0; i < 2; i++) {
        const unsigned isa = MO_ISA_NEON | MO_ISA_DOTPROD | (i ? (unsigned)MO_ISA_I8MM : 0);
        if ((cpu_isa() & isa) == isa) add_isa(i ? "i8mm" : "dotprod", &isa_cases[0].k, isa, false);
    }
#endif
#ifdef __x86_64__
    {
        const unsigned vnni = MO_ISA_AVX2 | MO_ISA_AVX_VNNI, vnni_512 = MO_ISA_AVX2 | MO_ISA_AVX512 | MO_ISA_AVX512_VNNI;

        if ((cpu_isa() & vnni) == vnni) add_isa("avx_vnni", &isa_cases[0].k, vnni, false);
#ifdef HAVE_AVX_VNNI_EMULATED
        else if (cpu_isa() & MO_ISA_AVX2) add_emulated("avx_vnni (emulated)", quant_init_avx_vnni_emulated, false);
#endif
        if ((cpu_isa() & vnni_512) == vnni_512) {
            add_isa("avx512_vnni", &isa_cases[0].k, vnni_512, false);
            add_isa("avx512_vnni, 16 bits", &isa_cases[0].k, vnni_512, true);
        }
#ifdef HAVE_AVX512_VNNI_EMULATED
        else if (cpu_isa() & MO_ISA_AVX2) {
            add_emulated("avx512_vnni (emulated)", quant_init_avx512_vnni_emulated, false);
        }
        if (cpu_isa() & MO_ISA_AVX2) add_emulated("avx512_vnni, 16 bits (emulated)", quant_init_avx512_words_emulated, true);
#endif
    }
#endif
    for (int i = 0; i < n_set; i++) printf("%s%s", i ? ", " : "quantised kernels: ", sets[i].name);
    printf("\n");
}

/* Where a block's f16 factors lie; -1: has no second one. */
static void factors_at(int32_t type, int *d, int *m)
{
    *d = type == MO_Q2_K    ? 80
         : type == MO_Q3_K  ? 108
         : type == MO_Q6_K  ? 208
         : type == MO_TQ1_0 ? 52
         : type == MO_TQ2_0 ? 64
         : type == MO_IQ1_M ? -1
                            : 0;
    *m = type == MO_Q2_K ? 82 : type == MO_Q4_1 || type == MO_Q5_1 || type == MO_Q4_K || type == MO_Q5_K ? 2 : -1;
}

/* m rows of k elements: random bytes (or `fill` if not negative) with factors of a sensible size. On the heap, exactly as
 * long as they are, so that the address sanitizer sees a read past the end. */
static uint8_t *blocks_new(int32_t type, int64_t m, int64_t k, int fill)
{
    const dtype_info *t = dtype_get(type);
    const int64_t n = m * k / t->n_block;
    uint8_t *w = malloc((size_t)n * (size_t)t->block_bytes);
    int at[2];

    if (!w) exit(2);
    factors_at(type, &at[0], &at[1]);
    for (int64_t b = 0; b < n; b++) {
        uint8_t *p = w + b * t->block_bytes;
        for (int i = 0; i < t->block_bytes; i++) p[i] = (uint8_t)(fill < 0 ? rnd() : (uint32_t)fill);
        for (int i = 0; i < 2; i++) {
            const uint16_t h = f32_to_f16(rnd_f() * 0.02f);
            if (at[i] >= 0) memcpy(p + at[i], &h, 2);
            if (type == MO_IQ1_M) /* its four nibbles lie at the top of four words */
                for (int e = 0; e < 4; e++) p[49 + 2 * e] = (uint8_t)((p[49 + 2 * e] & 15) | (h >> 4 * e & 15) << 4);
        }
    }
    return w;
}

static void multiply(const kernels *k, int n_thread, int32_t type, const uint8_t *w, int64_t m, int64_t kk, const float *x, int64_t n,
                     float *y)
{
    backend *be = test_backend_of(k, n_thread);
    weight ww;
    mo_error err;

    if (be->ops->weight(be, &ww, type, m, kk, w, &err) != MO_OK) {
        printf("%s\n", err.message);
        exit(2);
    }
    be->ops->matmul(be, y, m, &ww, x, kk, n, NULL);
    be->ops->weight_free(be, &ww);
}

/* What 16 bits may move each by: all of them have a scale that lets |x|, their sum and sums of 16 and 32 fit (q_words_tmpl.h) */
REFERENCE static double rounding_words(const float *x, int64_t n)
{
    double all = 0, total = 0, most = 0, from;

    for (int64_t e = 0; e < n; e++) all = fmax(all, fabs((double)x[e])), total += fabs((double)x[e]);
    from = fmax(all / 32767, total / ((1 << 19) - 256));
    for (int64_t e = 0; e < n; e += 16) {
        double a = 0, b = 0;
        for (int64_t i = e; i < e + 16; i++) a += x[i];
        for (int64_t i = e / 32 * 32; i < e / 32 * 32 + 32; i++) b += x[i];
        most = fmax(most, fmax(fabs(a), fabs(b)));
    }
    return fmax(from, (most + 16 * from) / 32700 * 1.001) * 0.5001;
}

/* What rounding n activations with one scale may move each by: blocks of 32 keep their largest steps of 4 out of the scale */
REFERENCE static double rounding(const float *x, int64_t n)
{
    double top[8] = { 0 }, all = 0, rest = 0;

    for (int64_t e = 0; e < n; e++) all = fmax(all, fabs((double)x[e]));
    if (n != 32) return all / 127 * 0.5001;
    for (int e = 0; e < 32; e++) top[e / 4] = fmax(top[e / 4], fabs((double)x[e]));
    for (int h = 0; h < Q_HIGH; h++) {
        int best = 0;
        for (int s = 0; s < 8; s++) best = top[s] > top[best] ? s : best;
        top[best] = 0;
    }
    for (int s = 0; s < 8; s++) rest = fmax(rest, top[s]);
    return fmax(rest / 127, all / (Q_LARGE * 128)) * 0.5001;
}

/* Half a step of the activations' rounding for every weight, and float32 sums. */
REFERENCE static bool within_rounding(const char *what, bool words, int32_t type, const uint8_t *w, int64_t m, int64_t k, const float *x,
                                      int64_t n, const float *y)
{
    const int64_t block = dtype_get(type)->n_block;
    float *wf = new_f(m * k, 0);
    double *step = malloc((size_t)(k / block) * sizeof *step);
    bool ok = true;

    dtype_to_f32(wf, w, type, m * k);
    for (int64_t i = 0; i < n && ok; i++) {
        for (int64_t b = 0; b < k; b += block) {
            const int64_t chunk = b / Q_CHUNK * Q_CHUNK;
            step[b / block] =
                words ? rounding_words(x + i * k + chunk, k - chunk < Q_CHUNK ? k - chunk : Q_CHUNK) : rounding(x + i * k + b, block);
        }
        for (int64_t r = 0; r < m && ok; r++) {
            double s = 0, bound = 0, size = 0;
            for (int64_t b = 0; b < k; b += block) {
                double top = 0, wabs = 0;
                for (int64_t e = b; e < b + block; e++) {
                    const double a = wf[r * k + e], c = x[i * k + e];
                    s += a * c;
                    wabs += fabs(a);
                    top = fmax(top, fabs(c));
                    size += fabs(a) * fmax(fabs(c), top); /* minima and offsets make terms larger than a * c */
                }
                bound += wabs * step[b / block];
                size += wabs * top;
            }
            if (fabs(y[i * m + r] - s) > bound + 2e-6 * size + 1e-6) {
                printf("%s: row %d, x %d: %g, want %g +- %g\n", what, (int)r, (int)i, (double)y[i * m + r], s, bound);
                ok = false;
            }
        }
    }
    free_f(wf, 0);
    free(step);
    return ok;
}

static bool one_shape(int32_t type, int64_t m, int64_t k, int64_t n, int fill, const float *given_x)
{
    uint8_t *w = blocks_new(type, m, k, fill);
    float *x = new_f(n * k, 1), *want = guard_new(m * n), *got = guard_new(m * n), *one = guard_new(m);
    char what[160];
    bool ok = true;

    if (given_x) memcpy(x, given_x, (size_t)(n * k) * sizeof *x);
    for (int s = 0; s < n_set && ok; s++) {
        const bool first = !s || sets[s].words != sets[s - 1].words; /* of a family, whose bits the others have */
        snprintf(what, sizeof what, "%s %s m %d k %d n %d", sets[s].name, dtype_get(type)->name, (int)m, (int)k, (int)n);
        multiply(&sets[s].k, s ? 2 : 1, type, w, m, k, x, n, first ? want : got);
        if (first) ok = within_rounding(what, sets[s].words, type, w, m, k, x, n, want) && guard_ok(want, m * n);
        else ok = same_bits(what, got, want, m * n) && guard_ok(got, m * n);
        for (int64_t i = 0; i < n && ok; i += 1 + n / 7) { /* alone = in the batch */
            multiply(&sets[s].k, 1, type, w, m, k, x + i * k, 1, one);
            ok = same_bits(what, one, want + i * m, m) && guard_ok(one, m);
        }
    }
    free(w);
    free_f(x, 1);
    guard_free(want);
    guard_free(got);
    guard_free(one);
    return ok;
}

TEST(shapes)
{
    static const int shape[][3] = {
        { 1, 256, 1 },  { 17, 512, 2 },  { 5, 256, 3 },    { 33, 768, 4 },   { 16, 256, 5 },   { 23, 256, 8 },
        { 70, 512, 9 }, { 64, 256, 11 }, { 129, 256, 22 }, { 20, 1024, 33 }, { 300, 512, 13 }, { 7, 256, 530 }
    };

    for (int t = 0; t < N_TYPE; t++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
            if (TEST_IS_SLOW && shape[i][0] * shape[i][2] > 3800) continue; /* the largest by far */
            CHECK(one_shape(types[t], shape[i][0], shape[i][1], shape[i][2], -1, NULL));
        }
}

/* Lengths that no 256 divides: types with blocks of 32. Few rows among them that have one, two, three blocks past four of them, in either
 * half of a chunk, and less than four. */
TEST(rows_of_part_chunks)
{
    static const int shape[][3] = { { 9, 32, 1 },     { 18, 192, 3 }, { 31, 576, 2 }, { 40, 64, 10 }, { 19, 576, 17 },
                                    { 66, 1152, 12 }, { 3, 352, 40 }, { 34, 160, 1 }, { 35, 224, 4 }, { 17, 288, 2 },
                                    { 33, 320, 3 },   { 16, 352, 1 }, { 20, 416, 4 }, { 48, 448, 2 }, { 18, 96, 2 } };

    for (int t = 0; t < N_TYPE; t++)
        for (size_t i = 0; dtype_get(types[t])->n_block == 32 && i < sizeof shape / sizeof *shape; i++)
            CHECK(one_shape(types[t], shape[i][0], shape[i][1], shape[i][2], -1, NULL));
}

/* The largest sums a pair of products and a sub-block can reach: all weights alike, activations all of one sign, or in step. */
TEST(extremes)
{
    static const int fill[] = { 0, 0x7f, 0x80, 0x81, 0xf0, 0x0f, 0xff };
    enum { K = 512, N = 12 };
    float *x = new_f(K * N, 0);

    for (int i = 0; i < N; i++)
        for (int e = 0; e < K; e++) x[i * K + e] = i % 4 == 0 ? 1 : i % 4 == 1 ? -1 : i % 4 == 2 ? (e % 2 ? -3 : 3) : e % 32 < 16 ? 2 : -2;
    for (int t = 0; t < N_TYPE; t++)
        for (size_t f = 0; f < sizeof fill / sizeof *fill; f++) CHECK(one_shape(types[t], 18, K, N, fill[f], x));
    free_f(x, 0);
}

/* Sums of a sub-block at the edge of 16 bits and just past it: |q| of 1023 times 32 where those of two are kept in one word,
 * 2184 times 15 and 1057 times 31 for the others. All rows of x alike, so that none decides for its neighbours. */
TEST(sums_of_16_bits)
{
    static const int fill[] = { 0, 0x0f, 0x7f, 0xff }, sum[] = { 1016, 1023, 1024, 1057, 1058, 2184, 2185 };
    static const int32_t super[] = { MO_Q2_K, MO_Q3_K, MO_Q4_K, MO_Q5_K, MO_Q6_K };
    enum { K = 512, N = 18 };
    float *x = new_f(K * N, 0);

    for (size_t u = 0; u < sizeof sum / sizeof *sum; u++)
        for (int sign = -1; sign <= 1; sign += 2) {
            const int n = sum[u] > 16 * 127 ? 32 : 16; /* q = x: the largest is 127 */
            for (int e = 0; e < K; e++) {
                const int left = sum[u] - 127, each = left / (n - 1);
                const float v = (float)(e % n == 0 ? 127 : each + (e % n <= left % (n - 1)));
                for (int i = 0; i < N; i++) x[i * K + e] = e % 32 < n ? (float)sign * v : 0;
            }
            for (size_t t = 0; t < sizeof super / sizeof *super; t++)
                for (size_t f = 0; f < sizeof fill / sizeof *fill; f++) CHECK(one_shape(super[t], 18, K, N, fill[f], x));
        }
    free_f(x, 0);
}

/* The largest sum of a chunk's products with 16 bits: Q6_K's -32 times -128, and activations that share the most. */
TEST(sums_of_a_chunk)
{
    enum { K = 512, M = 40, N = 13, BYTES = 210 };
    uint8_t *w = blocks_new(MO_Q6_K, M, K, 0);
    float *x = new_f(N * K, 0), *y = guard_new(N * M);

    for (int b = 0; b < M * K / Q_CHUNK; b++) memset(w + b * BYTES + 192, 0x80, 16);
    for (int i = 0; i < N; i++)
        for (int e = 0; e < K; e++) x[i * K + e] = i % 3 == 0 ? 1 : i % 3 == 1 ? (e % 16 == 3 ? 5 : 0.01f) : e % 2 ? -1 : 1;
    for (int s = 0; s < n_set; s++)
        for (int n = 1; n <= N; n += 12) {
            multiply(&sets[s].k, 2, MO_Q6_K, w, M, K, x, n, y);
            CHECK(within_rounding(sets[s].name, sets[s].words, MO_Q6_K, w, M, K, x, n, y));
        }
    CHECK(guard_ok(y, N * M));
    free(w), free_f(x, 0), guard_free(y);
}

/* Channels many times as large as their neighbours, as trained models have them, in some of the rows only */
TEST(outliers)
{
    enum { N = 40 };
    static const int n[] = { 1, 3, 6, 12, N };

    for (int t = 0; t < N_TYPE; t++) {
        const int k = dtype_get(types[t])->n_block == 32 ? 576 : 512;
        float *x = new_f(N * k, 0);
        for (int i = 0; i < N; i++)
            for (int e = 0; e < k; e++) {
                float *v = &x[i * k + e];
                if (i % 5 == 0 && e % 32 == 7 + i % 16) *v *= 200;
                if (i % 5 == 1 && e % 32 >= 28) *v *= 3;
                if (i % 5 == 2 && (e % 37 == 5 || e % 41 == 3)) *v *= -50;
                if (i % 5 == 3) *v = e == 40 ? 1e6f : e / 32 == 3 ? (float)(e == 111) : *v;
            }
        for (size_t j = 0; j < sizeof n / sizeof *n; j++) CHECK(one_shape(types[t], 35, k, n[j], -1, x));
        free_f(x, 0);
    }
}

/* Zeros give zeros; a row with an infinity or a NaN gives NaN and leaves its neighbours alone; tiny numbers do no harm. */
TEST(strange_activations)
{
    enum { M = 20, K = 512 };

    for (int t = 0; t < N_TYPE; t++)
        for (int s = 0; s < n_set; s++)
            for (int n = 5; n <= 12; n += 7) {
                uint8_t *w = blocks_new(types[t], M, K, -1);
                float *x = new_f(n * K, 0), *y = guard_new(n * M), *z = guard_new(n * M);
                for (int e = 0; e < K; e++) x[e] = 0, x[K + e] = 1e-40f;
                multiply(&sets[s].k, 2, types[t], w, M, K, x, n, y);
                for (int i = 0; i < 2 * M; i++) CHECK(y[i] == 0);
                x[2 * K + 17] = INFINITY, x[3 * K + K - 1] = NAN;
                multiply(&sets[s].k, 2, types[t], w, M, K, x, n, z);
                for (int i = 2 * M; i < 4 * M; i++) CHECK(isnan(z[i]));
                CHECK(same_bits("other rows", z + 4 * M, y + 4 * M, (n - 4) * M) && guard_ok(z, n * M));
                free(w), free_f(x, 0), guard_free(y), guard_free(z);
            }
}

TEST(epilogue_and_strides)
{
    enum { M = 37, K = 256, N = 11, LD = 50 };
    const float bias_scale = 0.5f;

    for (int t = 0; t < N_TYPE; t++) {
        uint8_t *w = blocks_new(types[t], M, K, -1);
        float *x = new_f(N * (K + 3), 0), *xd = new_f(N * K, 0), *bias = new_f(M, 0), *y = guard_new(N * LD), *plain = guard_new(N * M);
        const epilogue ep = { .bias = bias, .act = ACT_RELU, .scale = bias_scale, .accumulate = true };
        backend *be = test_backend_of(&sets[n_set - 1].k, 2);
        weight ww;
        mo_error err;
        for (int i = 0; i < N; i++) memcpy(xd + i * K, x + i * (K + 3), K * sizeof *x);
        for (int i = 0; i < N * LD; i++) y[i] = (float)i;
        CHECK_OK(be->ops->weight(be, &ww, types[t], M, K, w, &err));
        be->ops->matmul(be, plain, M, &ww, xd, K, N, NULL);
        be->ops->matmul(be, y, LD, &ww, x, K + 3, N, &ep);
        for (int i = 0; i < N; i++)
            for (int r = 0; r < LD; r++) {
                const float held = (float)(i * LD + r), v = fmaxf(plain[i * M + (r < M ? r : 0)] + bias[r < M ? r : 0], 0) * bias_scale;
                CHECK_NEAR(y[i * LD + r], r < M ? v + held : held, 1e-4);
            }
        CHECK(guard_ok(y, N * LD));
        free(w), free_f(x, 0), free_f(xd, 0), free_f(bias, 0), guard_free(y), guard_free(plain);
    }
}

/* Results that go past the caches are those of parts that do not. Where no kernel does so a copy stands in for it. */
static void (*real_stream)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n_row, int64_t n);
static _Atomic int n_streamed;

static void stream_counted(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n_row, int64_t n)
{
    n_streamed++;
    CHECK((uintptr_t)y % 64 == 0 && ldy % 16 == 0);
    if (real_stream) real_stream(y, ldy, x, ldx, n_row, n);
    else
        for (int64_t i = 0; i < n_row; i++) memcpy(y + i * ldy, x + i * ldx, (size_t)n * sizeof *y);
}

TEST(large_results)
{
    enum { M = 8500, LD = 8512, K = 32, N = 500, PART = 125, LEFT = 7 };
    uint8_t *w = blocks_new(MO_Q4_0, M, K, -1);
    float *x = new_f(N * K, 0), *y = aligned_alloc(64, sizeof *y * N * LD), *part = aligned_alloc(64, sizeof *y * PART * LD);

    if (!y || !part) exit(2);
    for (int s = 0; s < n_set; s++) {
        kernels k = sets[s].k;
        backend *be;
        weight ww;
        mo_error err;

        real_stream = k.stream_rows;
        k.stream_rows = stream_counted;
        n_streamed = 0;
        be = test_backend_of(&k, 2);
        CHECK_OK(be->ops->weight(be, &ww, MO_Q4_0, M, K, w, &err));
        for (int64_t i = 0; i < (int64_t)N * LD; i++) y[i] = LEFT;
        be->ops->matmul(be, y, LD, &ww, x, K, N, NULL);
        CHECK(n_streamed > 0);
        n_streamed = 0;
        for (int64_t i = 0; i < N; i++) {
            if (i % PART == 0) be->ops->matmul(be, part, LD, &ww, x + i * K, K, PART, NULL);
            CHECK(same_bits(sets[s].name, y + i * LD, part + i % PART * LD, M));
            for (int r = M; r < LD; r++) CHECK(y[i * LD + r] == LEFT);
        }
        CHECK(n_streamed == 0);
        be->ops->weight_free(be, &ww);
    }
    free(w), free_f(x, 0), free(y), free(part);
}

/* ---- dense weights packed as int8 (kernels.int8) ---- */

static const int32_t dense[] = { MO_F16, MO_BF16, MO_F32 };
enum { W_CHUNK = Q_CHUNK, X_BLOCK = Q_DENSE_BLOCK };

REFERENCE static double top_of(const float *x, int64_t from, int64_t block, int64_t k)
{
    double top = 0;

    for (int64_t e = from / block * block; e < k && e < (from / block + 1) * block; e++) top = fmax(top, fabs((double)x[e]));
    return top;
}

/* Half a step of a weight and half a step of an activation, and float32 sums. */
REFERENCE static bool within_dense_rounding(const char *what, const float *w, int64_t m, int64_t k, const float *x, int64_t n,
                                            const float *y)
{
    for (int64_t i = 0; i < n; i += 1 + n / 5)
        for (int64_t r = 0; r < m; r += 1 + m / 40) {
            double s = 0, bound = 0, size = 0, dw = 0, dx = 0;
            for (int64_t e = 0; e < k; e++) {
                const double a = w[r * k + e], b = x[i * k + e];
                if (e % W_CHUNK == 0) dw = top_of(w + r * k, e, W_CHUNK, k) / 127 * 0.5001;
                if (e % X_BLOCK == 0) dx = top_of(x + i * k, e, X_BLOCK, k) / 127 * 0.5001;
                s += a * b;
                bound += fabs(a) * dx + fabs(b) * dw + dx * dw;
                size += fabs(a * b);
            }
            if (!(fabs(y[i * m + r] - s) <= bound + 2e-6 * size)) {
                printf("%s: row %d, x %d: %g, want %g +- %g\n", what, (int)r, (int)i, (double)y[i * m + r], s, bound);
                return false;
            }
        }
    return true;
}

/* An element of k in a hundred is large, as encoders have it. */
static float *outliers_new(int64_t n, int64_t k)
{
    float *x = new_f(n * k, 1);

    for (int64_t e = 7; e < n * k; e += 100) x[e] *= 50;
    return x;
}

static bool one_dense(int32_t type, int64_t m, int64_t k, int64_t n)
{
    float *wf = new_f(m * k, 0), *x = outliers_new(n, k), *want = guard_new(m * n), *got = guard_new(m * n), *one = guard_new(m);
    uint8_t *w = to_type(wf, type, m * k);
    char what[160];
    bool ok = true;

    for (int s = 0; s < n_set && !sets[s].words && ok; s++) {
        kernels kk = sets[s].k;
        kk.int8 = true;
        snprintf(what, sizeof what, "%s int8 %s m %d k %d n %d", sets[s].name, dtype_get(type)->name, (int)m, (int)k, (int)n);
        multiply(&kk, s ? 2 : 1, type, w, m, k, x, n, s ? got : want);
        if (!s) ok = within_dense_rounding(what, wf, m, k, x, n, want) && guard_ok(want, m * n);
        else ok = same_bits(what, got, want, m * n) && guard_ok(got, m * n);
        for (int64_t i = 0; i < n && ok; i += 1 + n / 7) { /* alone = in the batch */
            multiply(&kk, 1, type, w, m, k, x + i * k, 1, one);
            ok = same_bits(what, one, want + i * m, m) && guard_ok(one, m);
        }
    }
    free(w), free_f(wf, 0), free_f(x, 1), guard_free(want), guard_free(got), guard_free(one);
    return ok;
}

TEST(dense_shapes) /* widths of encoders, and lengths that no block divides */
{
    static const int shape[][3] = { { 1, 1, 1 },      { 17, 3, 2 },     { 16, 63, 3 },   { 5, 64, 4 },     { 33, 65, 5 },
                                    { 18, 255, 12 },  { 23, 257, 13 },  { 70, 588, 9 },  { 40, 1152, 25 }, { 21, 4304, 50 },
                                    { 129, 320, 22 }, { 300, 512, 16 }, { 7, 256, 530 }, { 64, 1024, 37 } };

    for (size_t t = 0; t < sizeof dense / sizeof *dense; t++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) CHECK(one_dense(dense[t], shape[i][0], shape[i][1], shape[i][2]));
}

/* The largest sums; and weights and activations that are zero, tiny, infinite or no number: each spoils its own row only. */
TEST(dense_strange)
{
    enum { M = 36, K = 515, N = 14 };

    for (int s = 0; s < n_set && !sets[s].words; s++) {
        float *wf = new_f(M * K, 0), *x = new_f(N * K, 0), *y = guard_new(N * M), *plain = guard_new(N * M);
        kernels kk = sets[s].k;
        kk.int8 = true;
        for (int e = 0; e < K; e++) {
            wf[e] = 0, wf[K + e] = 1e-40f, wf[2 * K + e] = 3, wf[3 * K + e] = e % 2 ? -2 : 2;
            x[e] = 0, x[K + e] = 1e-40f, x[2 * K + e] = 1, x[3 * K + e] = e % 2 ? 5 : -5;
        }
        multiply(&kk, 2, MO_F32, (uint8_t *)wf, M, K, x, N, plain);
        for (int i = 0; i < N; i++)
            for (int r = 0; r < M; r++)
                if (i < 2 || r < 2) CHECK(plain[i * M + r] == 0);
        CHECK_NEAR(plain[2 * M + 2], 3 * K, 1e-2);
        CHECK_NEAR(plain[3 * M + 3], -10 * K, 2e-2);
        wf[20 * K + 300] = NAN, wf[35 * K + K - 1] = -INFINITY;
        x[6 * K] = INFINITY, x[13 * K + K - 1] = NAN;
        multiply(&kk, 2, MO_F32, (uint8_t *)wf, M, K, x, N, y);
        for (int i = 0; i < N; i++)
            for (int r = 0; r < M; r++)
                if (r == 20 || r == 35 || i == 6 || i == 13) CHECK(isnan(y[i * M + r]));
                else CHECK(same_bits(sets[s].name, y + i * M + r, plain + i * M + r, 1));
        CHECK(guard_ok(y, N * M));
        free_f(wf, 0), free_f(x, 0), guard_free(y), guard_free(plain);
    }
}

/* Packed weights count what they take; their rows are looked up as they were; what is only looked up is not packed. */
TEST(dense_bound)
{
    enum { M = 19, K = 300 };
    float *wf = new_f(M * K, 0), *row = guard_new(K);
    uint8_t *w = to_type(wf, MO_F16, M * K);
    const cpu_backend_opts opts = { .n_thread = 2, .isa_mask = MO_ISA_ALL, .int8 = true };
    const int32_t id = 17;
    backend *be;
    weight ww, table;
    mo_error err;

    CHECK_OK(cpu_backend_new(&be, &opts, &err));
    CHECK_INT(be->ops->weight_bytes(be, MO_F16, M, K), 2 * 16 * (2 * 4 + 320)); /* strips, rows, scales, whole blocks */
    CHECK_INT(be->ops->weight_bytes(be, MO_Q8_0, 32, 256), 0);
    CHECK_OK(be->ops->weight(be, &ww, MO_F16, M, K, w, &err));
    CHECK_OK(be->ops->table(be, &table, MO_F16, M, K, w, &err));
    CHECK(ww.packed && !table.packed);
    be->ops->embed(be, row, K, &ww, &id, 1, 1.0f);
    CHECK(same_bits("looked up", row, wf + id * K, K));
    be->ops->weight_free(be, &ww);
    be->ops->weight_free(be, &table);
    mo_alloc_fail_after(0);
    CHECK_INT(be->ops->weight(be, &ww, MO_F16, M, K, w, &err), MO_E_NOMEM);
    mo_alloc_fail_after(-1);
    CHECK(!ww.packed && !ww.data);
    be->ops->destroy(be);
    free(w), free_f(wf, 0), guard_free(row);
}

/* exact_quant: the float32 values themselves are multiplied, and a row alone gives the same bits. */
TEST(exact)
{
    enum { M = 21, K = 1536, N = 40 }; /* many rows, decoded in parts */

    for (int t = 0; t < N_TYPE; t++) {
        const cpu_backend_opts opts = { .n_thread = 2, .isa_mask = MO_ISA_ALL, .exact_quant = true };
        uint8_t *w = blocks_new(types[t], M, K, -1);
        float *x = new_f(N * K, 0), *wf = new_f(M * K, 0), *y = guard_new(N * M), one[M];
        backend *be;
        weight ww;
        mo_error err;
        CHECK_OK(cpu_backend_new(&be, &opts, &err));
        CHECK_OK(be->ops->weight(be, &ww, types[t], M, K, w, &err));
        be->ops->matmul(be, y, M, &ww, x, K, N, NULL);
        dtype_to_f32(wf, w, types[t], M * K);
        for (int i = 0; i < N; i++)
            for (int r = 0; r < M; r++) {
                double s = 0, size = 0;
                for (int e = 0; e < K; e++) s += (double)wf[r * K + e] * x[i * K + e], size += fabs((double)wf[r * K + e] * x[i * K + e]);
                CHECK_NEAR(y[i * M + r], s, 1e-6 * size + 1e-7);
            }
        be->ops->matmul(be, one, M, &ww, x + 7 * K, K, 1, NULL);
        CHECK(!memcmp(one, y + 7 * M, M * sizeof *one));
        be->ops->destroy(be);
        free(w), free_f(x, 0), free_f(wf, 0), guard_free(y);
    }
}

int main(void)
{
    sets_init();
    RUN(shapes);
    RUN(rows_of_part_chunks);
    RUN(extremes);
    RUN(sums_of_16_bits);
    RUN(sums_of_a_chunk);
    RUN(outliers);
    RUN(strange_activations);
    RUN(epilogue_and_strides);
    RUN(large_results);
    RUN(dense_shapes);
    RUN(dense_strange);
    RUN(dense_bound);
    RUN(exact);
    return test_end();
}
