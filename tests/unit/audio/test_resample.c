/* kaiser_best against the recipe of audio spec 1.1 written out plainly, and against sines whose answer is known. */
#include "media/audio.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "test.h"

static mo_error err;
static double table[409602];

static double i0(double x)
{
    /* (1/pi) integral of e^(x cos t), midpoint rule: converges faster than any power */
    double sum = 0;

    for (int i = 0; i < 64; i++) sum += exp(x * cos(M_PI * (i + 0.5) / 64));
    return sum / 64;
}

static void make_table(void)
{
    const double beta = 12.984585292873842, rho = 0.9173473712608761;

    for (int i = 0; i <= 409600; i++) {
        double u = i / 409600.0, v = M_PI * rho * i / 8192;
        table[i] = rho * (i ? sin(v) / v : 1) * i0(beta * sqrt(1 - u * u)) / i0(beta);
    }
}

static double recipe_wing(double u, int64_t step, const float *x, int64_t dir, int64_t n)
{
    int64_t o = (int64_t)floor(u);
    double sum = 0;

    if (n > (409601 - o) / step) n = (409601 - o) / step;
    for (int64_t j = 0; j < n; j++) {
        int64_t at = o + j * step;
        double slope = at < 409600 ? table[at + 1] - table[at] : 0;
        sum += (table[at] + (u - (double)o) * slope) * x[dir * j];
    }
    return sum;
}

static double recipe(const float *x, int64_t n, int64_t t, int32_t from_hz, int32_t to_hz)
{
    double ratio = (double)to_hz / from_hz, s = ratio < 1 ? ratio : 1, p = (double)t / ratio, g, y;
    int64_t k = (int64_t)floor(p), step = (int64_t)floor(8192 * s);

    if (t >= (int64_t)floor((double)n * ratio)) return 0;
    g = s * (p - (double)k);
    y = recipe_wing(8192 * g, step, x + k, -1, k + 1);
    y += recipe_wing(8192 * (s - g), step, x + k + 1, 1, n - k - 1);
    return y * s;
}

static const struct {
    int32_t from, to;
    int64_t n;
} pairs[] = {
    { 44100, 16000, 5000 }, { 48000, 16000, 5000 }, { 8000, 16000, 1000 },    { 11025, 16000, 2000 }, { 22050, 16000, 3000 },
    { 24000, 16000, 3000 }, { 32000, 16000, 3000 }, { 96000, 16000, 6000 },   { 16000, 24000, 2000 }, { 384000, 16000, 9000 },
    { 44056, 16000, 9000 }, { 15999, 16000, 3000 }, { 383999, 16000, 20000 }, { 7, 16000, 3 },        { 44100, 16000, 1 },
    { 44100, 16000, 2 },    { 44100, 16000, 3 },    { 44100, 16000, 150 },    { 48000, 16000, 1 },    { 1000000, 16000, 20000 },
    { 44100, 7, 100000 },
};

TEST(as_the_recipe_says)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int64_t n = pairs[i].n, n_y, step;
        float *x = malloc((size_t)n * sizeof *x), *y;
        double worst = 0;

        for (int64_t k = 0; k < n; k++) x[k] = (float)((double)rand() / RAND_MAX - 0.5);
        CHECK_OK(audio_resample(&y, &n_y, x, n, pairs[i].from, pairs[i].to, &err));
        CHECK_INT(n_y, (n * pairs[i].to + pairs[i].from - 1) / pairs[i].from);
        step = n_y > 6000 ? 7 : 1;
        for (int64_t t = 0; t < n_y; t += step) worst = fmax(worst, fabs(y[t] - recipe(x, n, t, pairs[i].from, pairs[i].to)));
        if (!(worst < 1e-7)) TEST_FAIL("%d -> %d Hz: off by %.2e", pairs[i].from, pairs[i].to, worst);
        free(x);
        mo_free(y);
    }
}

/* A windowed sinc has no delay: a sine comes out where it was. */
TEST(a_sine_stays_in_place)
{
    static const int32_t from[] = { 8000, 24000, 32000, 44100, 48000, 96000 };

    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        int64_t n = from[i], n_y;
        float *x = malloc((size_t)n * sizeof *x), *y;

        for (int64_t k = 0; k < n; k++) x[k] = (float)(0.5 * sin(2 * M_PI * 440 * (double)k / from[i]));
        CHECK_OK(audio_resample(&y, &n_y, x, n, from[i], 16000, &err));
        CHECK_INT(n_y, 16000);
        for (int64_t t = 1000; t < 15000; t++) CHECK_NEAR(y[t], 0.5 * sin(2 * M_PI * 440 * (double)t / 16000), 3e-4);
        free(x);
        mo_free(y);
    }
}

TEST(edges)
{
    float x[3] = { 0.5f, -0.25f, 0.125f }, *y;
    int64_t n;

    CHECK_OK(audio_resample(&y, &n, x, 3, 16000, 16000, &err));
    CHECK(n == 3 && !memcmp(x, y, sizeof x));
    mo_free(y);
    CHECK_OK(audio_resample(&y, &n, NULL, 0, 44100, 16000, &err));
    CHECK_INT(n, 0);
    mo_free(y);
    CHECK_INT(audio_resample(&y, &n, x, 3, 0, 16000, &err), MO_E_ARG);
    CHECK_INT(audio_resample(&y, &n, x, 3, 16000, -1, &err), MO_E_ARG);
    CHECK_INT(audio_resample(&y, &n, x, -1, 16000, 8000, &err), MO_E_ARG);
    CHECK_INT(audio_resample(&y, &n, x, 3, 1000001, 16000, &err), MO_E_ARG);
    CHECK_INT(audio_resample(&y, &n, x, 3, 1000000, 7, &err), MO_E_UNSUPPORTED);
    CHECK_INT(audio_resample(&y, &n, x, INT64_MAX, 8000, 16000, &err), MO_E_LIMIT);
    CHECK(!y && !n);
}

TEST(memory_runs_out)
{
    static const int32_t from[] = { 48000, 44100, 44057, 22051 };
    static float x[9000];
    float *y;
    int64_t n;

    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        for (int k = 0;; k++) {
            mo_status st;

            mo_alloc_fail_after(k);
            st = audio_resample(&y, &n, x, 9000, from[i], 16000, &err);
            mo_alloc_fail_after(-1);
            if (st == MO_OK) break;
            CHECK_INT(st, MO_E_NOMEM);
            CHECK(!y && k < 10);
        }
        mo_free(y);
    }
}

int main(void)
{
    make_table();
    RUN(as_the_recipe_says);
    RUN(a_sine_stays_in_place);
    RUN(edges);
    RUN(memory_runs_out);
    return test_end();
}
