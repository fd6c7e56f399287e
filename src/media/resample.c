/* Sample rate conversion as resampy 0.4's kaiser_best does it (audio spec 1.1), because the reference loads with it.
 *
 * The filter is a Kaiser-windowed sinc of 50 zero crossings a side, tabulated at 8192 points a crossing and read with
 * linear interpolation. Output t looks at p = t / ratio = k + frac:
 *
 *     y[t] = s * (sum_j h(8192 s frac + j step) x[k - j]  +  sum_j h(8192 s (1 - frac) + j step) x[k + 1 + j])
 *
 * s = min(1, ratio); step = floor(8192 s), truncated as in the original, so at 44.1 and 48 kHz the taps stand a little
 * too close: a quirk of the reference that we keep. With ratio = n_phase / m in lowest terms frac takes n_phase values only, so
 * the weights of a phase are computed once, in the order of x, and an output is one dot product; odd pairs of rates have too many
 * phases to keep and compute the weights for each output. Weights and sums are double.
 */
#include "media/audio.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

enum {
    N_TABLE = 8192,        /* points a zero crossing */
    N_HALF = 50 * N_TABLE, /* the table is h[0 .. N_HALF] */
    N_KEPT_MAX = 1 << 20   /* weights of all phases together that are worth keeping (8 MiB) */
};

#define KAISER_BETA 12.984585292873842
#define ROLLOFF     0.9173473712608761

typedef struct filter {
    double ratio, s, scale;
    int32_t step;
    int64_t n_wing; /* most taps a side */
    double *h;      /* [N_HALF + 1] or NULL: few enough points are needed to compute them as we go */
} filter;

/* One phase: y = sum_i w[i] * x[k - n_left + 1 + i], i < n_left + n_right. */
typedef struct phase {
    double *w;
    int64_t n_left, n_right;
} phase;

/* Modified Bessel function of order 0, power series: sum of ((x/2)^k / k!)^2. x <= 13 here: 45 terms are plenty. */
static double bessel_i0(double x)
{
    double q = x * x / 4, term = 1, sum = 1;

    for (int k = 1; k < 60 && term > sum * 1e-18; k++) {
        term *= q / ((double)k * k);
        sum += term;
    }
    return sum;
}

/* scale: ROLLOFF / I0(KAISER_BETA) */
static double filter_point(double scale, int64_t i)
{
    double u = (double)i / N_HALF, v = M_PI * ROLLOFF * (double)i / N_TABLE;

    return scale * (i ? sin(v) / v : 1) * bessel_i0(KAISER_BETA * sqrt(1 - u * u));
}

static double filter_at(const filter *f, int64_t i) { return f->h ? f->h[i] : filter_point(f->scale, i); }

/* Weights of one wing from table position u, written at w[0], w[dir], w[2 dir]...; returns how many. */
static int64_t fill_wing(double *w, int dir, const filter *f, double u)
{
    int64_t o = (int64_t)u, n = (N_HALF + 1 - o) / f->step;
    double eta = u - (double)o;

    for (int64_t j = 0; j < n; j++) {
        double a = filter_at(f, o + j * f->step);
        /* Past the table's end the original interpolates towards nothing: a slope of 0. */
        double b = o + j * f->step < N_HALF ? filter_at(f, o + j * f->step + 1) : a;
        w[dir * j] = f->s * (a + eta * (b - a));
    }
    return n;
}

/* p->w has room for 2 * n_wing. The left wing runs backwards from its end, the right one follows it. */
static void fill_phase(phase *p, const filter *f, double frac)
{
    double g = f->s * frac;
    double *mid = p->w + f->n_wing;

    p->n_left = fill_wing(mid - 1, -1, f, N_TABLE * g);
    p->n_right = fill_wing(mid, 1, f, N_TABLE * (f->s - g));
    p->w = mid - p->n_left;
}

/* Eight partial sums keep the adders busy; the sum's order differs from the original's by less than float32 shows. */
static double dot(const float *x, const double *w, int64_t n)
{
    double a[8] = { 0 }, sum;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) a[l] += (double)x[i + l] * w[i + l];
    sum = ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7]));
    for (; i < n; i++) sum += (double)x[i] * w[i];
    return sum;
}

/* The output sample between x[k] and x[k + 1]; taps before the start and past the end fall away. */
static float apply(const phase *p, const float *x, int64_t n, int64_t k)
{
    int64_t first = k - p->n_left + 1, past = k + 1 + p->n_right, skip = first < 0 ? -first : 0;
    double y;

    if (past > n) past = n;
    y = dot(x + first + skip, p->w + skip, past - first - skip);
    return (float)(y > FLT_MAX ? FLT_MAX : y < -FLT_MAX ? -FLT_MAX : y); /* an overshoot of the largest values stays finite */
}

/* n_phase weights sets, then one for frac just below 1: t / ratio may round to the sample before a whole one. */
static mo_status plan_phases(phase **out, double **mem, const filter *f, int64_t n_phase, int64_t m, mo_error *err)
{
    size_t n_value = (size_t)(n_phase + 1) * 2 * (size_t)f->n_wing;
    phase *ph = mo_calloc((size_t)n_phase + 1, sizeof *ph);
    double *w = mo_malloc(n_value * sizeof *w);

    if (!ph || !w) {
        mo_free(ph);
        mo_free(w);
        return mo_fail(err, MO_E_NOMEM, "no memory for a resampling filter of %zu weights", n_value);
    }
    for (int64_t i = 0; i <= n_phase; i++) {
        ph[i].w = w + i * 2 * f->n_wing;
        fill_phase(&ph[i], f, i < n_phase ? (double)(i * m % n_phase) / (double)n_phase : nextafter(1.0, 0.0));
    }
    *out = ph;
    *mem = w;
    return MO_OK;
}

static mo_status run_kept(float *y, int64_t n_y, const float *x, int64_t n, const filter *f, int64_t n_phase, int64_t m, mo_error *err)
{
    phase *ph = NULL;
    double *mem = NULL;
    mo_status st = plan_phases(&ph, &mem, f, n_phase, m, err);

    if (st != MO_OK) return st;
    for (int64_t t = 0, i = 0; t < n_y; t++, i = i + 1 < n_phase ? i + 1 : 0) {
        int64_t k = (int64_t)((double)t / f->ratio);
        bool below = i == 0 && k < t / n_phase * m;

        if (k < n) y[t] = apply(&ph[below ? n_phase : i], x, n, k);
    }
    mo_free(ph);
    mo_free(mem);
    return MO_OK;
}

static mo_status run_each(float *y, int64_t n_y, const float *x, int64_t n, const filter *f, mo_error *err)
{
    double *w = mo_malloc((size_t)f->n_wing * 2 * sizeof *w);

    if (!w) return mo_fail(err, MO_E_NOMEM, "no memory for a resampling filter of %lld weights", (long long)f->n_wing * 2);
    for (int64_t t = 0; t < n_y; t++) {
        double p = (double)t / f->ratio;
        int64_t k = (int64_t)p;
        phase ph = { w, 0, 0 };

        if (k >= n) break;
        fill_phase(&ph, f, p - (double)k);
        y[t] = apply(&ph, x, n, k);
    }
    mo_free(w);
    return MO_OK;
}

/* n_set: how many sets of weights will be computed. Few of them need few points, cheaper than the whole table. */
static mo_status filter_init(filter *f, int32_t from_hz, int32_t to_hz, int64_t n_set, mo_error *err)
{
    f->h = NULL;
    f->ratio = (double)to_hz / from_hz;
    f->s = f->ratio < 1 ? f->ratio : 1;
    f->scale = ROLLOFF / bessel_i0(KAISER_BETA);
    f->step = (int32_t)(N_TABLE * f->s);
    if (!f->step) return mo_fail(err, MO_E_UNSUPPORTED, "cannot resample from %d Hz to %d Hz: too far apart", from_hz, to_hz);
    f->n_wing = (N_HALF + 1) / f->step;
    if (n_set < N_HALF / (4 * f->n_wing)) return MO_OK;
    if (!(f->h = mo_malloc((N_HALF + 1) * sizeof *f->h))) return mo_fail(err, MO_E_NOMEM, "no memory for the resampling filter");
    for (int64_t i = 0; i <= N_HALF; i++) f->h[i] = filter_point(f->scale, i);
    return MO_OK;
}

static int32_t gcd(int32_t a, int32_t b)
{
    while (b) {
        int32_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* y has room for ceil(n * to / from) zeros, the last of which may stay one: the original makes floor(n * ratio). */
static mo_status resample_into(float *y, const float *x, int64_t n, int32_t from_hz, int32_t to_hz, mo_error *err)
{
    int32_t g = gcd(from_hz, to_hz);
    int64_t n_phase = to_hz / g, m = from_hz / g, n_y = n * to_hz / from_hz, n_set = n_phase < n_y ? n_phase + 1 : n_y;
    mo_status st;
    filter f;

    if ((st = filter_init(&f, from_hz, to_hz, n_set, err)) != MO_OK) return st;
    if (n_phase < n_y && (n_phase + 1) * 2 * f.n_wing <= N_KEPT_MAX) st = run_kept(y, n_y, x, n, &f, n_phase, m, err);
    else st = run_each(y, n_y, x, n, &f, err);
    mo_free(f.h);
    return st;
}

mo_status audio_resample(float **out, int64_t *n_out, const float *x, int64_t n, int32_t from_hz, int32_t to_hz, mo_error *err)
{
    int64_t scaled;
    size_t n_bytes;
    mo_status st = MO_OK;
    float *y;

    *out = NULL;
    *n_out = 0;
    if (n < 0 || (n && !x)) return mo_fail(err, MO_E_ARG, "no samples to resample");
    if (from_hz < 1 || to_hz < 1 || from_hz > AUDIO_MAX_RATE_HZ || to_hz > AUDIO_MAX_RATE_HZ)
        return mo_fail(err, MO_E_ARG, "cannot resample from %d Hz to %d Hz: rates go from 1 to %d Hz", from_hz, to_hz, AUDIO_MAX_RATE_HZ);
    if (__builtin_mul_overflow(n, (int64_t)to_hz, &scaled) || scaled > INT64_MAX - from_hz)
        return mo_fail(err, MO_E_LIMIT, "%lld samples are too many to resample", (long long)n);
    scaled = (scaled + from_hz - 1) / from_hz;
    if (!mo_size_mul((size_t)scaled, sizeof *y, &n_bytes) || !(y = mo_zalloc(n_bytes)))
        return mo_fail(err, MO_E_NOMEM, "no memory for %lld sound samples", (long long)scaled);
    if (from_hz == to_hz) {
        if (n) memcpy(y, x, n_bytes);
    } else {
        st = resample_into(y, x, n, from_hz, to_hz, err);
    }
    if (st != MO_OK) {
        mo_free(y);
        return st;
    }
    *out = y;
    *n_out = scaled;
    return MO_OK;
}
