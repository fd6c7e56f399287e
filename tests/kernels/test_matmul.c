/* Matrix products: against sums in double, and the promise that a row's bits depend on nothing but the row. */
#include "../test.h"
#include "kernel_test.h"

static const int32_t types[] = { MO_F32, MO_F16, MO_BF16 };

/* k products of about 1 in n_lane sums: partial sums of about sqrt(k), k / n_lane roundings of them per lane. The bf16 dot product
 * rounds both factors to 8 bits. */
static double tolerance(const isa_case *isa, int64_t k)
{
    const bool i16 = isa->k.matmul[MO_F32]->block, bf16 = !i16 && isa->k.matmul[MO_F32]->k_step > isa->k.n_lane;
    return 1e-5 + 1.2e-7 * (double)k / sqrt(isa->k.n_lane) + (bf16 ? 1.5e-2 : i16 ? 1.5e-3 : 0) * sqrt((double)k);
}

typedef struct problem {
    int64_t m, k, n;
    int32_t type;
    float *wf, *x, *bias;
    void *wd;
    weight w;
} problem;

static problem problem_new(backend *be, int64_t m, int64_t k, int64_t n, int32_t type)
{
    problem p = { .m = m, .k = k, .n = n, .type = type, .wf = new_f(m * k, 0), .x = new_f(n * k, 1), .bias = new_f(m, 1) };
    mo_error err;

    p.wd = to_type(p.wf, type, m * k);
    if (be->ops->weight(be, &p.w, type, m, k, p.wd, &err) != MO_OK) {
        printf("%s\n", err.message);
        exit(2);
    }
    return p;
}

static void problem_free(problem *p)
{
    free_f(p->wf, 0);
    free_f(p->x, 1);
    free_f(p->bias, 1);
    free(p->wd);
}

REFERENCE static void reference(float *y, const problem *p)
{
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t r = 0; r < p->m; r++) {
            double s = 0;
            for (int64_t k = 0; k < p->k; k++) s += (double)p->wf[r * p->k + k] * p->x[i * p->k + k];
            y[i * p->m + r] = (float)s;
        }
}

static bool one_shape(const isa_case *isa, int64_t m, int64_t k, int64_t n, int32_t type)
{
    backend *be = test_backend(isa, 2);
    problem p = problem_new(be, m, k, n, type);
    float *want = new_f(m * n, 0), *got = guard_new(m * n), *one = guard_new(m);
    char what[120];
    bool ok;

    snprintf(what, sizeof what, "%s %s m %d k %d n %d", isa->name, dtype_get(type)->name, (int)m, (int)k, (int)n);
    reference(want, &p);
    be->ops->matmul(be, got, m, &p.w, p.x, k, n, NULL);
    ok = near_f(what, got, want, m * n, tolerance(isa, k), 0) && guard_ok(got, m * n);
    for (int64_t i = 0; i < n && ok; i++) { /* alone = in the batch */
        be->ops->matmul(be, one, m, &p.w, p.x + i * k, k, 1, NULL);
        ok = same_bits(what, one, got + i * m, m) && guard_ok(one, m);
    }
    guard_free(got);
    guard_free(one);
    free_f(want, 0);
    problem_free(&p);
    return ok;
}

TEST(shapes)
{
    static const int shape[][3] = {
        { 1, 1, 1 },       { 3, 5, 2 },       { 4, 8, 3 },      { 5, 16, 4 },     { 7, 33, 7 },    { 64, 72, 9 },   { 65, 1152, 13 },
        { 130, 1000, 25 }, { 68, 2050, 31 },  { 17, 4304, 12 }, { 300, 64, 64 },  { 9, 20000, 8 }, { 4, 40000, 8 }, { 1, 31, 50 },
        { 33, 300, 37 },   { 300, 200, 300 }, { 40, 9000, 30 }, { 9, 24600, 26 }, /* several runs of panels; long rows; too long to pack */
    };

    for (int i = 0; i < n_isa_case; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
                if (TEST_IS_SLOW && types[t] == MO_BF16 && shape[s][0] * shape[s][2] > 50000) continue;
                CHECK(one_shape(&isa_cases[i], shape[s][0], shape[s][1], shape[s][2], types[t]));
            }
}

TEST(random_shapes)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int j = 0; j < 40; j++) CHECK(one_shape(&isa_cases[i], rnd_int(1, 90), rnd_int(1, 700), rnd_int(1, 80), types[rnd_int(0, 2)]));
}

/* More rows than x_pack holds at once: chunks must join. */
TEST(many_chunks)
{
    for (int i = 0; i < n_isa_case; i++) {
        const int64_t k = 8000, m = 9, n = 560;
        backend *be = test_backend(&isa_cases[i], 2);
        problem p = problem_new(be, m, k, n, MO_BF16);
        float *got = guard_new(m * n), *one = guard_new(m);
        bool ok = true;

        be->ops->matmul(be, got, m, &p.w, p.x, k, n, NULL);
        for (int64_t r = 0; r < n && ok; r++) {
            be->ops->matmul(be, one, m, &p.w, p.x + r * k, k, 1, NULL);
            ok = same_bits(isa_cases[i].name, one, got + r * m, m);
        }
        ok = ok && guard_ok(got, m * n);
        guard_free(got);
        guard_free(one);
        problem_free(&p);
        CHECK(ok);
    }
}

/* 1 thread = 2 = 3, rows of y and x apart, all epilogues, unaligned weights. */
TEST(threads_and_strides)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int j = 0; j < 12; j++) {
            const int64_t m = rnd_int(1, 200), k = rnd_int(1, 900), n = rnd_int(1, 60), ldx = k + 3, ldy = m + 5;
            const int32_t type = types[rnd_int(0, 2)];
            float *wf = new_f(m * k, 0), *x = new_f(n * ldx, 1), *bias = new_f(m, 1), *start = new_f(n * ldy, 0), *y[3];
            uint8_t *wd = to_type(wf, type, m * k), *off = malloc((size_t)(m * k) * 4 + 1);
            const epilogue ep = { .bias = j & 1 ? bias : NULL, .act = (activation)(j % 5), .scale = j & 2 ? 0.5f : 0, .accumulate = j & 4 };
            bool ok = true;

            memcpy(off + 1, wd, (size_t)m * dtype_row_bytes(type, k));
            for (int t = 0; t < 3; t++) {
                backend *be = test_backend(&isa_cases[i], t + 1);
                weight w;
                ok = ok && be->ops->weight(be, &w, type, m, k, t == 1 ? off + 1 : wd, NULL) == MO_OK;
                y[t] = guard_new(n * ldy);
                memcpy(y[t], start, (size_t)(n * ldy) * sizeof **y);
                be->ops->matmul(be, y[t], ldy, &w, x, ldx, n, &ep);
                ok = ok && guard_ok(y[t], n * ldy) && same_bits("threads", y[t], y[0], n * ldy);
            }
            for (int64_t r = 0; r < n && ok; r++) /* between the rows nothing changes */
                ok = same_bits("gap", y[0] + r * ldy + m, start + r * ldy + m, ldy - m);
            for (int64_t r = 0; r < n && ok; r++)
                for (int64_t c = 0; c < m && ok; c++) {
                    double s = 0, a;
                    for (int64_t q = 0; q < k; q++) s += (double)wf[c * k + q] * x[r * ldx + q];
                    if (ep.bias) s += bias[c];
                    switch (ep.act) {
                    case ACT_RELU: a = s > 0 ? s : 0; break;
                    case ACT_SILU: a = s / (1 + exp(-s)); break;
                    case ACT_GELU_ERF: a = 0.5 * s * (1 + erf(s / sqrt(2))); break;
                    case ACT_GELU_TANH: a = 0.5 * s * (1 + tanh(0.7978845608028654 * (s + 0.044715 * s * s * s))); break;
                    default: a = s;
                    }
                    if (ep.scale != 0) a *= (double)ep.scale;
                    if (ep.accumulate) a += start[r * ldy + c];
                    ok = fabs(a - y[0][r * ldy + c]) <= 2 * tolerance(&isa_cases[i], k) + 1e-6 * fabs(a);
                    if (!ok) printf("%s: row %d column %d is %.9g, want %.9g\n", isa_cases[i].name, (int)r, (int)c, y[0][r * ldy + c], a);
                }
            for (int t = 0; t < 3; t++) guard_free(y[t]);
            free_f(wf, 0), free_f(x, 1), free_f(bias, 1), free_f(start, 0), free(wd), free(off);
            CHECK(ok);
        }
}

TEST(refusals)
{
    backend *be = test_backend(&isa_cases[0], 1);
    weight w;
    mo_error err;

    CHECK_INT(be->ops->weight(be, &w, 5, 4, 4, NULL, &err), MO_E_UNSUPPORTED);
    CHECK_INT(be->ops->weight(be, &w, MO_F32, 4, (int64_t)1 << 40, NULL, &err), MO_E_UNSUPPORTED);
    CHECK_INT(be->ops->weight(be, &w, MO_F32, 0, 4, NULL, &err), MO_E_ARG);
}

int main(void)
{
    isa_cases_init();
    RUN(shapes);
    RUN(random_shapes);
    RUN(many_chunks);
    RUN(threads_and_strides);
    RUN(refusals);
    return test_end();
}
