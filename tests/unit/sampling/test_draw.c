/* The draw against its naive form, its statistics, its edge cases. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/instrumented.h"
#include "core/rng.h"
#include "naive.h"
#include "session/draw.h"
#include "test.h"

static rng g;

static float uniform(float lo, float hi) { return lo + (hi - lo) * (float)rng_uniform(&g); }

/* Logits of several characters: smooth, coarse (many ties), peaked, ascending, with holes, huge, tiny. */
static void make_scores(float *v, int32_t n, int kind)
{
    for (int32_t i = 0; i < n; i++) {
        v[i] = uniform(-8, 8);
        if (kind == 1) v[i] = floorf(v[i]);
        if (kind == 2) v[i] = v[i] > 7.9f ? v[i] * 3 : v[i] - 20;
        if (kind == 3) v[i] = (float)i / (float)n * 10;
        if (kind == 4 && i % 3) v[i] = i % 2 ? NAN : -INFINITY;
        if (kind == 5) v[i] *= 1e30f;
        if (kind == 6) v[i] *= 1e-41f;
        if (kind == 7) v[i] = -3.25f;
        if (kind == 8) v[i] = 1.41f + (float)(i % 5) * 0x1p-23f; /* / 0.7 is beyond 2: some become equal */
    }
}

static draw_filter make_filter(int32_t n)
{
    static const float temperature[] = { 1, 0.7f, 0.1f, 2, 1e-6f, 37 };
    const int32_t top_k[] = { 0, 1, 5, 100, n - 1, n, n + 7, n / 2 + 1 };
    static const float top_p[] = { 1, 0.8f, 0.3f, 1e-6f, 0, 0.999f, 0.5f };
    static const float min_p[] = { 0, 0, 0, 0.1f, 0.5f, 1 };

    return (draw_filter){ .temperature = temperature[rng_next(&g) % 6],
                          .top_k = top_k[rng_next(&g) % 8],
                          .top_p = top_p[rng_next(&g) % 7],
                          .min_p = min_p[rng_next(&g) % 6],
                          .top_k_exact = rng_next(&g) & 1,
                          .top_p_exceeds = rng_next(&g) & 1 };
}

/* Same survivors and same id, over shapes around the block length. */
TEST(agrees_with_naive)
{
    static const int32_t sizes[] = { 1, 2, 17, 63, 64, 65, 128, 500, 1000, 4097 };
    mo_error err = { 0 };

    for (int round = 0; round < (MO_INSTRUMENTED ? 300 : 4000); round++) {
        int32_t n = sizes[rng_next(&g) % (round % 10 ? 9 : 10)], m;
        draw_scratch *s;
        float *v = malloc((size_t)n * sizeof *v);
        naive_item *item = malloc((size_t)n * sizeof *item);
        draw_filter f = make_filter(n);
        int bad = 0;

        make_scores(v, n, round % 9);
        CHECK_OK(draw_scratch_open(&s, n, &err));
        m = naive_filter(item, v, n, &f);
        for (int i = 0; i < 5 && !bad; i++) {
            double u = i ? rng_uniform(&g) : 0;
            int32_t got = -1, want;
            int near;
            mo_status st;

            memcpy(s->scores, v, (size_t)n * sizeof *v);
            st = draw_sample(s, &f, u, &got, &err);
            want = naive_draw(item, m, u, &near);
            bad = m ? st != MO_OK || (!near && got != want) : st != MO_E_STATE;
            if (bad)
                TEST_FAIL("round %d: n %d kind %d T %g k %d%s p %g%s min %g u %.17g: %d of %d, want %d", round, (int)n, round % 9,
                          (double)f.temperature, (int)f.top_k, f.top_k_exact ? "!" : "", (double)f.top_p, f.top_p_exceeds ? ">" : "",
                          (double)f.min_p, u, (int)got, (int)m, (int)want);
        }
        draw_scratch_close(s);
        free(v);
        free(item);
        if (bad) return;
    }
}

/* Chi-squared over the kept ids at the 1e-6 level (mean + 5 standard deviations is far beyond it here). */
TEST(frequencies_follow_probabilities)
{
    enum { N = 3000, DRAWS = MO_INSTRUMENTED ? 20000 : 200000 };
    draw_filter f = { .temperature = 1.3f, .top_k = 40, .top_p = 0.95f };
    static float v[N];
    static naive_item item[N];
    int count[N] = { 0 };
    double chi2 = 0;
    draw_scratch *s;
    mo_error err = { 0 };
    int32_t m;

    make_scores(v, N, 0);
    m = naive_filter(item, v, N, &f);
    CHECK(m > 10 && m <= 40);
    CHECK_OK(draw_scratch_open(&s, N, &err));
    for (int i = 0; i < DRAWS; i++) {
        int32_t id;

        memcpy(s->scores, v, sizeof v);
        CHECK_OK(draw_sample(s, &f, rng_uniform(&g), &id, &err));
        count[id]++;
    }
    draw_scratch_close(s);
    for (int32_t i = 0; i < m; i++) {
        double expected = item[i].p * DRAWS;

        chi2 += (count[item[i].id] - expected) * (count[item[i].id] - expected) / expected;
        count[item[i].id] = 0;
    }
    for (int i = 0; i < N; i++) CHECK_INT(count[i], 0);
    CHECK(chi2 < m - 1 + 6 * sqrt(2.0 * m));
}

TEST(would_give_is_the_draw)
{
    enum { N = 700 };
    draw_filter f = { .temperature = 1, .top_p = 1 };
    mo_error err = { 0 };
    draw_scratch *s;
    float v[N];
    int n_yes = 0;

    CHECK_OK(draw_scratch_open(&s, N, &err));
    for (int i = 0; i < 3000; i++) {
        int32_t id, asked = (int32_t)(rng_next(&g) % N);
        double u = rng_uniform(&g);
        int bad;

        make_scores(v, N, i % 5);
        v[asked] = uniform(-2, 16);
        memcpy(s->scores, v, sizeof v);
        CHECK_OK(draw_sample(s, &f, u, &id, &err));
        bad = draw_would_give(v, N, asked, u) != (id == asked);
        n_yes += id == asked;
        CHECK(!bad);
    }
    CHECK(n_yes > 300); /* both answers occurred */
    for (int i = 0; i < N; i++) v[i] = -INFINITY;
    CHECK(!draw_would_give(v, N, 3, 0.5));
    CHECK(!draw_would_give(v, N, -1, 0.5));
    CHECK(!draw_would_give(v, N, N, 0.5));
    draw_scratch_close(s);
}

TEST(argmax_takes_the_first)
{
    mo_error err = { 0 };
    float v[200];
    int32_t id;

    for (int i = 0; i < 200; i++) v[i] = i == 70 || i == 130 ? 5.0f : i % 2 ? NAN : -(float)i;
    CHECK_OK(draw_argmax(v, 200, &id, &err));
    CHECK_INT(id, 70);
    v[199] = INFINITY;
    CHECK_OK(draw_argmax(v, 200, &id, &err));
    CHECK_INT(id, 199);
    for (int i = 0; i < 200; i++) v[i] = i % 2 ? NAN : -INFINITY;
    CHECK_INT(draw_argmax(v, 200, &id, &err), MO_E_STATE);
    CHECK(strlen(err.message) > 10);
}

TEST(infinite_logit_is_certain)
{
    draw_filter f = { .temperature = 0.7f, .top_k = 3, .top_p = 0.8f };
    mo_error err = { 0 };
    draw_scratch *s;
    int32_t id;

    CHECK_OK(draw_scratch_open(&s, 100, &err));
    for (int i = 0; i < 100; i++) s->scores[i] = (float)i;
    s->scores[31] = INFINITY;
    CHECK_OK(draw_sample(s, &f, 0.999, &id, &err));
    CHECK_INT(id, 31);
    draw_scratch_close(s);
}

TEST(no_memory)
{
    mo_error err = { 0 };
    draw_scratch *s;

    for (int i = 0; i < 6; i++) {
        mo_alloc_fail_after(i);
        CHECK_INT(draw_scratch_open(&s, 100, &err), MO_E_NOMEM);
        CHECK(!s);
    }
    mo_alloc_fail_after(-1);
    CHECK_INT(draw_scratch_open(&s, 0, &err), MO_E_ARG);
}

TEST(rng_repeats)
{
    rng a, b;
    double sum = 0;

    rng_seed(&a, 0);
    /* splitmix64 of seed 0 begins with these; the published check values of the algorithm */
    CHECK(a.s[0] == 0xE220A8397B1DCDAFu && a.s[1] == 0x6E789E6AA1B965F4u);
    b = a;
    for (int i = 0; i < 100000; i++) {
        double u = rng_uniform(&a);

        CHECK(u >= 0 && u < 1 && u == rng_uniform(&b));
        sum += u;
    }
    CHECK_NEAR(sum / 100000, 0.5, 0.005);
}

int main(void)
{
    rng_seed(&g, 20260);
    RUN(agrees_with_naive);
    RUN(frequencies_follow_probabilities);
    RUN(would_give_is_the_draw);
    RUN(argmax_takes_the_first);
    RUN(infinite_logit_is_certain);
    RUN(no_memory);
    RUN(rng_repeats);
    return test_end();
}
