/* Row ops, activations and conversions against libm in double; the thread pool; the backend as an object. */
#include "../test.h"
#include "kernel_test.h"

#include <stdatomic.h>
#include <unistd.h>

static double silu(double x) { return x / (1 + exp(-x)); }
static double gelu_erf(double x) { return x * 0.5 * erfc(-x / sqrt(2)); }
static double gelu_tanh(double x) { return x / (1 + exp(-2 * 0.7978845608028654 * (x + 0.044715 * x * x * x))); }

/* Relative error of an activation over [-hi, hi]; below `floor` in size only the absolute error counts. */
static bool activation_ok(const isa_case *isa, activation act, double (*f)(double), double hi, double tol, double floor)
{
    enum { N = 20001 };
    float *x = malloc(N * sizeof *x), *y = guard_new(N), *z = guard_new(N);
    double worst = 0;
    int at = 0;
    bool ok;

    for (int i = 0; i < N; i++) x[i] = (float)(hi * (2.0 * i / (N - 1) - 1));
    isa->k.epilogue(y, x, NULL, N, act, 0, false);
    for (int i = 0; i < N; i++) {
        const double want = f(x[i]), e = fabs(y[i] - want) / fmax(fabs(want), floor);
        if (!(e <= worst)) worst = e, at = i;
    }
    ok = worst <= tol && guard_ok(y, N);
    if (!ok) printf("%s activation %d: f(%.9g) is %.9g, want %.9g (error %.3g)\n", isa->name, act, x[at], y[at], f(x[at]), worst);
    /* the place in a vector does not matter */
    for (int i = 0; i < N && ok; i += 97) {
        isa->k.epilogue(z, x + i, NULL, 1, act, 0, false);
        ok = same_bits("one element alone", z, y + i, 1);
    }
    free(x), guard_free(y), guard_free(z);
    return ok;
}

TEST(activations)
{
    for (int i = 0; i < n_isa_case; i++) {
        CHECK(activation_ok(&isa_cases[i], ACT_SILU, silu, 20, 4e-7, 1e-30));
        CHECK(activation_ok(&isa_cases[i], ACT_SILU, silu, 86, 1e-6, 1e-30)); /* e^-x of a rounded x: the exponent's error grows with x */
        CHECK(activation_ok(&isa_cases[i], ACT_GELU_TANH, gelu_tanh, 4, 1e-6, 1e-3));
        CHECK(activation_ok(&isa_cases[i], ACT_GELU_TANH, gelu_tanh, 30, 1e-6, 1e-2));
        CHECK(activation_ok(&isa_cases[i], ACT_GELU_ERF, gelu_erf, 4, 1e-6, 1e-30));
        CHECK(activation_ok(&isa_cases[i], ACT_GELU_ERF, gelu_erf, 12, isa_cases[i].k.isa ? 1e-6 : 5e-6,
                            1e-30)); /* generic: no fused a * a */
        CHECK(activation_ok(&isa_cases[i], ACT_GELU_ERF, gelu_erf, 50, 1e-6, 1e-3));
    }
}

/* swiglu with gate = big: silu(g) * up where exp's own error shows; and exp through silu at exact points. */
TEST(swiglu_rows)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int j = 0; j < 6; j++) {
            const int n = rnd_int(1, 9), d = rnd_int(1, 3000), ldg = d + 2, ldu = d + 1;
            float *g = new_f((int64_t)n * ldg, 1), *u = new_f((int64_t)n * ldu, 1), *y = guard_new((int64_t)n * d);
            backend *be = test_backend(&isa_cases[i], 2);
            be->ops->swiglu(be, y, d, g, ldg, u, ldu, n, d);
            for (int r = 0; r < n; r++)
                for (int c = 0; c < d; c++) {
                    const double want = silu(g[r * ldg + c]) * u[r * ldu + c];
                    CHECK_NEAR(y[r * d + c], want, 1e-6 * fabs(want) + 1e-12);
                }
            CHECK(guard_ok(y, (int64_t)n * d));
            be->ops->swiglu(be, g, ldg, g, ldg, u, ldu, n, d); /* in place */
            for (int r = 0; r < n; r++) CHECK(same_bits("in place", g + r * ldg, y + r * d, d));
            free_f(g, 1), free_f(u, 1), guard_free(y);
        }
}

TEST(norms)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int j = 0; j < 16; j++) {
            const int n = rnd_int(1, 40), d = j < 8 ? rnd_int(1, 70) : rnd_int(70, 4500), ldx = d + 3;
            float *x = new_f((int64_t)n * ldx, 1), *g = new_f(d, 1), *b = new_f(d, 1), *y = guard_new((int64_t)n * d);
            float *z = guard_new((int64_t)n * d), *one = guard_new(d);
            backend *be = test_backend(&isa_cases[i], 2), *be3 = test_backend(&isa_cases[i], 3);
            const double shift = j & 1 ? 20 : 0; /* a mean much larger than the deviation */

            for (int64_t k = 0; k < (int64_t)n * ldx; k++) x[k] += (float)shift;
            be->ops->rms_norm(be, y, d, x, ldx, g, n, d, 1e-6f);
            be->ops->layer_norm(be, z, d, x, ldx, g, b, n, d, 1e-6f);
            for (int r = 0; r < n; r++) {
                double ss = 0, mean = 0, var = 0;
                const float *p = x + r * ldx;
                for (int c = 0; c < d; c++) ss += (double)p[c] * p[c], mean += p[c];
                mean /= d;
                for (int c = 0; c < d; c++) var += (p[c] - mean) * (p[c] - mean);
                for (int c = 0; c < d; c++) {
                    const double rms = p[c] / sqrt(ss / d + 1e-6) * g[c], ln = (p[c] - mean) / sqrt(var / d + 1e-6) * g[c] + b[c];
                    /* the mean itself is rounded to float32: half an ulp of it over the deviation */
                    const double dev = fmax(sqrt(var / d), 1e-3);
                    CHECK_NEAR(y[r * d + c], rms, 4e-7 * fabs(rms) + 1e-9);
                    CHECK_NEAR(z[r * d + c], ln,
                               1e-6 * fabs(ln) + 4e-7 * (1 + (fabs(mean) + 4) / dev) * fabs((double)g[c]) + 2e-7 * fabs((double)b[c]));
                }
                be3->ops->rms_norm(be3, one, d, p, ldx, g, 1, d, 1e-6f);
                CHECK(same_bits("rms row alone", one, y + r * d, d));
                be3->ops->layer_norm(be3, one, d, p, ldx, g, b, 1, d, 1e-6f);
                CHECK(same_bits("layer norm row alone", one, z + r * d, d));
            }
            CHECK(guard_ok(y, (int64_t)n * d) && guard_ok(z, (int64_t)n * d) && guard_ok(one, d));
            be3->ops->rms_norm(be3, x, ldx, x, ldx, g, n, d, 1e-6f); /* in place, other threads */
            for (int r = 0; r < n; r++) CHECK(same_bits("rms in place", x + r * ldx, y + r * d, d));
            free_f(x, 1), free_f(g, 1), free_f(b, 1), guard_free(y), guard_free(z), guard_free(one);
        }
}

TEST(rope)
{
    static const int dims[] = { 2, 8, 20, 64, 128, 130 };

    for (int i = 0; i < n_isa_case; i++)
        for (size_t j = 0; j < 2 * sizeof dims / sizeof *dims; j++) {
            const int hd = dims[j / 2], n_head = 3, n = 50, ld = n_head * hd + 1;
            const rope_style style = j & 1 ? ROPE_PAIRS : ROPE_HALVES;
            float *x = new_f((int64_t)n * ld, 1), *x0 = malloc((size_t)n * (size_t)ld * sizeof *x0), *one = guard_new(ld),
                  *g = new_f(hd, 0), *angle = guard_new((int64_t)n * hd), inv[65];
            int32_t pos[50];
            backend *be = test_backend(&isa_cases[i], 2);

            for (int r = 0; r < n; r++) pos[r] = r * 813;
            for (int d = 0; d < hd / 2; d++) inv[d] = powf(10000, -2.0f * (float)d / (float)hd);
            memcpy(x0, x, (size_t)n * (size_t)ld * sizeof *x0);
            be->ops->rope_angles(be, angle, pos, inv, n, hd);
            CHECK(guard_ok(angle, (int64_t)n * hd));
            be->ops->norm_rope(be, x, ld, g, 1e-6f, angle, n, n_head, hd, style);
            for (int r = 0; r < n; r++) {
                for (int h = 0; h < n_head; h++) {
                    const float *p = x0 + r * ld + h * hd, *q = x + r * ld + h * hd;
                    double ss = 0, s;
                    for (int d = 0; d < hd; d++) ss += (double)p[d] * p[d];
                    s = 1 / sqrt(ss / hd + 1e-6);
                    for (int d = 0; d < hd / 2; d++) {
                        const int a = style == ROPE_PAIRS ? 2 * d : d, b = style == ROPE_PAIRS ? 2 * d + 1 : d + hd / 2;
                        const double w = (float)pos[r] * inv[d], u = p[a] * s * g[a], v = p[b] * s * g[b];
                        CHECK_NEAR(q[a], u * cos(w) - v * sin(w), 5e-7 * (fabs(u) + fabs(v)));
                        CHECK_NEAR(q[b], v * cos(w) + u * sin(w), 5e-7 * (fabs(u) + fabs(v)));
                    }
                }
                CHECK(same_bits("gap", x + r * ld + n_head * hd, x0 + r * ld + n_head * hd, 1));
                memcpy(one, x0 + r * ld, (size_t)ld * sizeof *one);
                be->ops->rope_angles(be, angle, pos + r, inv, 1, hd);
                be->ops->norm_rope(be, one, ld, g, 1e-6f, angle, 1, n_head, hd, style);
                CHECK(same_bits("row alone", one, x + r * ld, ld) && guard_ok(one, ld));
            }
            free_f(x, 1), free_f(g, 0), free(x0), guard_free(one), guard_free(angle);
        }
}

TEST(gathers)
{
    for (int i = 0; i < n_isa_case; i++) {
        backend *be = test_backend(&isa_cases[i], 2);
        const int n = 37, d = 51;
        float *a = new_f(n * d, 1), *b = new_f(n * d, 1), *y = guard_new(n * d * 4);
        int32_t row[37];

        for (int r = 0; r < n; r++) row[r] = rnd_int(0, n - 1);
        be->ops->add_rows(be, y, d, a, d, b, d, row, n, d);
        for (int r = 0; r < n; r++)
            for (int c = 0; c < d; c++) CHECK(y[r * d + c] == a[r * d + c] + b[row[r] * d + c]);
        be->ops->add_rows(be, y, d, a, d, b, d, NULL, n, d);
        for (int k = 0; k < n * d; k++) CHECK(y[k] == a[k] + b[k]);
        for (int group = 1; group <= 5; group++) {
            be->ops->mean_rows(be, y, d, a, d, n, d, group);
            for (int r = 0; r < n / group; r++)
                for (int c = 0; c < d; c++) {
                    double s = 0, m = 0;
                    for (int k = 0; k < group; k++) s += a[(r * group + k) * d + c], m += fabs((double)a[(r * group + k) * d + c]);
                    CHECK_NEAR(y[r * d + c], s / group, 2e-7 * m);
                }
        }
        for (int stride = 1; stride <= 2; stride++) { /* Whisper's convolutions, and a causal one */
            const int k = 3, pad = stride == 1 ? 2 : 1, n_out = (n + 2 * pad - k) / stride + 1, c = 17;
            float *col = guard_new((int64_t)n_out * c * k);
            be->ops->im2col_1d(be, col, c * k, a, d, n, c, k, stride, pad, n_out);
            for (int t = 0; t < n_out; t++)
                for (int ch = 0; ch < c; ch++)
                    for (int j = 0; j < k; j++) {
                        const int at = stride * t + j - pad;
                        CHECK(col[t * c * k + ch * k + j] == (at < 0 || at >= n ? 0 : a[at * d + ch]));
                    }
            CHECK(guard_ok(col, (int64_t)n_out * c * k));
            guard_free(col);
        }
        free_f(a, 1), free_f(b, 1), guard_free(y);
    }
}

/* Every f16 and bf16 bit pattern to float32, and every float32 that matters to f16. */
TEST(conversions)
{
    uint16_t *h = malloc(65536 * sizeof *h), *back = malloc(65536 * sizeof *back);
    float *y = guard_new(65536), *x = malloc(65536 * sizeof *x);

    for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    for (int i = 0; i < n_isa_case; i++) {
        const kernels *k = &isa_cases[i].k;
        k->to_f32[MO_F16](y, h, 65535);
        for (int j = 0; j < 65535; j++) CHECK(y[j] == f16_to_f32(h[j]) || (isnan(y[j]) && isnan(f16_to_f32(h[j]))));
        k->to_f32[MO_BF16](y, h, 65533);
        for (int j = 0; j < 65533; j++) CHECK(y[j] == bf16_to_f32(h[j]) || (isnan(y[j]) && isnan(bf16_to_f32(h[j]))));
        CHECK(guard_ok(y, 65536));
        for (int round = 0; round < 20; round++) {
            for (int j = 0; j < 65536; j++) { /* around the halfway points of f16, subnormals and overflow included */
                uint32_t u;
                const float f = f16_to_f32((uint16_t)j);
                memcpy(&u, &f, 4);
                u += (uint32_t)(round < 5 ? round - 2 : 0x1000 + round - 12);
                memcpy(x + j, &u, 4);
                if (isnan(x[j])) x[j] = 0;
            }
            k->to_f16(back, x, 65536);
            for (int j = 0; j < 65536; j++)
                if (back[j] != f32_to_f16(x[j])) {
                    TEST_FAIL("%s: %.9g to f16 is %04x, want %04x", isa_cases[i].name, x[j], back[j], f32_to_f16(x[j]));
                    return;
                }
        }
    }
    free(h), free(back), free(x), guard_free(y);
}

TEST(embeddings)
{
    static const int32_t types[] = { MO_F32, MO_F16, MO_BF16 };

    for (int i = 0; i < n_isa_case; i++)
        for (int t = 0; t < 3; t++) {
            const int rows = 20, d = 77, n = 9;
            float *wf = new_f(rows * d, 0), *y = guard_new(n * d);
            void *wd = to_type(wf, types[t], rows * d);
            int32_t id[9];
            weight w;
            backend *be = test_backend(&isa_cases[i], 2);

            CHECK(be->ops->weight(be, &w, types[t], rows, d, wd, NULL) == MO_OK);
            for (int r = 0; r < n; r++) id[r] = rnd_int(0, rows - 1);
            be->ops->embed(be, y, d, &w, id, n, 1);
            for (int r = 0; r < n; r++) CHECK(same_bits("embed", y + r * d, wf + id[r] * d, d));
            be->ops->embed(be, y, d, &w, id, n, 12);
            for (int k = 0; k < n * d; k++) CHECK(y[k] == wf[id[k / d] * d + k % d] * 12.0f);
            CHECK(guard_ok(y, n * d));
            be->ops->weight_free(be, &w);
            free_f(wf, 0), guard_free(y), free(wd);
        }
}

/* ---- the pool ---- */

typedef struct count {
    _Atomic int ran[8];
    int plain[8];
} count;

static void count_part(void *arg, int i, int n)
{
    count *c = arg;
    if (i >= 0 && i < n) atomic_fetch_add(&c->ran[i], 1);
    c->plain[i]++; /* ordered by the pool: ThreadSanitizer would see a missing fence */
}

TEST(pool_rounds)
{
    for (int n = 1; n <= 4; n++) {
        pool *p;
        count c = { 0 };
        mo_error err;

        CHECK_OK(pool_new(&p, n, &err));
        CHECK_INT(pool_size(p), n);
        for (int r = 0; r < 2000; r++) {
            pool_run(p, count_part, &c);
            if (r % 500 == 0) usleep(3000); /* long enough that members sleep */
            for (int i = 0; i < n; i++) CHECK_INT(c.plain[i], r + 1);
        }
        for (int i = 0; i < n; i++) CHECK_INT(atomic_load(&c.ran[i]), 2000);
        pool_free(p);
    }
    pool_free(NULL);
    CHECK(cpu_count() >= 1);
}

TEST(isa_names)
{
    char text[64];

    CHECK_INT(cpu_isa_parse("generic"), 0);
    CHECK_INT(cpu_isa_parse("generic,avx2"), MO_ISA_AVX2);
    CHECK_INT(cpu_isa_parse("avx2,avx512,neon"), MO_ISA_AVX2 | MO_ISA_AVX512 | MO_ISA_NEON);
    CHECK_INT(cpu_isa_parse("all"), MO_ISA_ALL);
    CHECK_INT(cpu_isa_parse(NULL), MO_ISA_ALL);
    CHECK_INT(cpu_isa_parse("avx3"), -1);
    cpu_isa_format(MO_ISA_AVX2 | MO_ISA_AVX512, text, sizeof text);
    CHECK_STR(text, "avx2,avx512");
    cpu_isa_format(0, text, sizeof text);
    CHECK_STR(text, "generic");
    cpu_isa_format(MO_ISA_AVX2 | MO_ISA_AVX512, text, 6);
    CHECK_STR(text, "avx2,");
}

/* Every allocation of creation fails once: an error, no leak (the sanitizer counts), and ops never allocate. */
TEST(allocations)
{
    const cpu_backend_opts opts = { .n_thread = 2, .isa_mask = MO_ISA_ALL };
    backend *be = NULL;
    mo_error err;
    char text[100];
    int tries = 0;

    for (;; tries++) {
        mo_alloc_fail_after(tries);
        const mo_status st = cpu_backend_new(&be, &opts, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(!be && tries < 50);
    }
    CHECK(tries >= 4);
    cpu_backend_describe(be, text, sizeof text);
    CHECK(strstr(text, "2 threads"));
    {
        float *x = new_f(64 * 512, 0), *y = new_f(64 * 512, 0);
        weight w;
        const int32_t q_row[2] = { 0, 64 };
        const attn_dense_args a = { y, x, x, x, 512, 512, 512, 512, q_row, q_row, NULL, 1, 8, 64, 0.1f };
        int64_t before;
        CHECK_OK(be->ops->weight(be, &w, MO_F32, 64, 512, x, &err));
        before = mo_alloc_count();
        be->ops->matmul(be, y, 64, &w, x, 512, 64, NULL);
        be->ops->matmul(be, y, 64, &w, x, 512, 1, NULL);
        be->ops->attn_dense(be, &a);
        be->ops->rms_norm(be, y, 512, x, 512, NULL, 64, 512, 1e-6f);
        CHECK_INT(mo_alloc_count(), before);
        free_f(x, 0), free_f(y, 0);
    }
    CHECK_INT(be->ops->sync(be, &err), MO_OK);
    be->ops->destroy(be);
}

int main(void)
{
    isa_cases_init();
    RUN(activations);
    RUN(swiglu_rows);
    RUN(norms);
    RUN(rope);
    RUN(gathers);
    RUN(conversions);
    RUN(embeddings);
    RUN(pool_rounds);
    RUN(isa_names);
    RUN(allocations);
    return test_end();
}
