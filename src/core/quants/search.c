/* The searches behind the encoders (search.h). Spec: formats 3 (qx, q3, qkx2); the importance-weighted variants follow
 * ggml-org/llama.cpp ggml/src/ggml-quants.c (make_qkx3_quants, make_qp_quants). All arithmetic float32, in the order of the
 * spec, so that the bytes agree with files made elsewhere.
 */
#include "core/quants/search.h"

#include <math.h>
#include <string.h>

static const float TINY = 1e-15f; /* a group below this is zero */

int nearest(float x)
{
    float v = x + 12582912.0f; /* 1.5 * 2^23: the integer lands in the low bits of the mantissa */
    int32_t i;

    memcpy(&i, &v, 4);
    return (i & 0x007fffff) - 0x00400000;
}

float extreme(const float *x, int n)
{
    float best = 0, most = 0;

    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            best = x[i];
        }
    return best;
}

float mean_square(const float *x, int64_t n)
{
    float sum = 0;

    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum / (float)n;
}

void importance_weights(float *w, const float *x, const float *importance, float sigma2, int n)
{
    for (int i = 0; i < n; i++) w[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
}

static float all_zero(uint8_t *q, int n)
{
    for (int i = 0; i < n; i++) q[i] = 0;
    return 0;
}

/* Sums for the best scale of x ~ scale * l:  lx = sum w x l,  l2 = sum w l^2. */
typedef struct fit {
    float lx, l2;
} fit;

static fit fit_symmetric(const float *x, const float *w, int n, int n_max, float iscale)
{
    fit f = { 0, 0 };

    for (int i = 0; i < n; i++) {
        const int l = clamp_int(nearest(iscale * x[i]), -n_max, n_max - 1);
        const float wi = w ? w[i] : x[i] * x[i];
        f.lx += wi * x[i] * (float)l;
        f.l2 += wi * (float)l * (float)l;
    }
    return f;
}

float search_symmetric(uint8_t *q, const float *x, const float *w, int n, int n_max)
{
    const float most = extreme(x, n);
    float iscale = -(float)n_max / most, scale, best;
    fit f;

    if (!(fabsf(most) >= TINY)) return all_zero(q, n);
    f = fit_symmetric(x, w, n, n_max, iscale);
    scale = f.l2 != 0 ? f.lx / f.l2 : 0;
    best = scale * f.lx;
    for (int is = -9; is <= 9; is++) {
        const float try = -((float)n_max + 0.1f * (float)is) / most;
        if (is == 0) continue;
        f = fit_symmetric(x, w, n, n_max, try);
        if (f.l2 > 0 && f.lx * f.lx > best * f.l2) {
            iscale = try;
            scale = f.lx / f.l2;
            best = scale * f.lx;
        }
    }
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(n_max + clamp_int(nearest(iscale * x[i]), -n_max, n_max - 1));
    return scale;
}

float search_descent(uint8_t *q, const float *x, int n, int n_max)
{
    const float most = extreme(x, n), iscale = -(float)n_max / most;
    int l[32];
    fit f;

    if (!(fabsf(most) >= TINY)) return all_zero(q, n);
    f = fit_symmetric(x, NULL, n, n_max, iscale);
    for (int i = 0; i < n; i++) l[i] = clamp_int(nearest(iscale * x[i]), -n_max, n_max - 1);
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++) {
            const float w = x[i] * x[i];
            float lx = f.lx - w * x[i] * (float)l[i], l2;
            int nl;
            if (!(lx > 0)) continue;
            l2 = f.l2 - w * (float)l[i] * (float)l[i];
            nl = clamp_int(nearest(x[i] * l2 / lx), -n_max, n_max - 1);
            if (nl == l[i]) continue;
            lx += w * x[i] * (float)nl;
            l2 += w * (float)nl * (float)nl;
            if (l2 > 0 && lx * lx * f.l2 > f.lx * f.lx * l2) {
                l[i] = nl;
                f = (fit){ lx, l2 };
                changed = 1;
            }
        }
    }
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(l[i] + n_max);
    return f.l2 > 0 ? f.lx / f.l2 : 0;
}

static float error_of(const uint8_t *q, const float *x, const float *w, int n, float scale, float min, bool absolute)
{
    float sum = 0;

    for (int i = 0; i < n; i++) {
        const float d = scale * (float)q[i] + min - x[i];
        sum += w[i] * (absolute ? fabsf(d) : d * d);
    }
    return sum;
}

/* The trap: an accepted candidate's minimum is where the next candidates start from, the maximum never moves. */
float search_asymmetric(uint8_t *q, float *min_out, const float *x, const float *w, int n, int n_max, const search_range *r)
{
    float min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0], scale, best;
    uint8_t l[32];

    for (int i = 1; i < n; i++) {
        if (x[i] < min) min = x[i];
        if (x[i] > max) max = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (min > 0) min = 0;
    if (!(max > min)) {
        *min_out = -min;
        return all_zero(q, n);
    }
    scale = (float)n_max / (max - min);
    for (int i = 0; i < n; i++) q[i] = (uint8_t)clamp_int(nearest(scale * (x[i] - min)), 0, n_max);
    scale = 1 / scale;
    best = error_of(q, x, w, n, scale, min, r->absolute);
    for (int is = 0; is <= r->n_step; is++) {
        const float iscale = (r->first + r->step * (float)is + (float)n_max) / (max - min);
        float sum_l = 0, sum_l2 = 0, sum_xl = 0, d, try, at, err;
        for (int i = 0; i < n; i++) {
            l[i] = (uint8_t)clamp_int(nearest(iscale * (x[i] - min)), 0, n_max);
            sum_l += w[i] * (float)l[i];
            sum_l2 += w[i] * (float)l[i] * (float)l[i];
            sum_xl += w[i] * (float)l[i] * x[i];
        }
        d = sum_w * sum_l2 - sum_l * sum_l;
        if (!(d > 0)) continue;
        try = (sum_w * sum_xl - sum_x * sum_l) / d;
        at = (sum_l2 * sum_x - sum_l * sum_xl) / d;
        if (at > 0) {
            at = 0;
            try = sum_xl / sum_l2;
        }
        err = error_of(l, x, w, n, try, at, r->absolute);
        if (err < best) {
            memcpy(q, l, (size_t)n);
            best = err;
            scale = try;
            min = at;
        }
    }
    *min_out = -min;
    return scale;
}

static float error_positive(const float *x, const float *w, int n, int n_max, float iscale)
{
    const float scale = 1 / iscale;
    float sum = 0;

    for (int i = 0; i < n; i++) {
        const float d = x[i] - scale * (float)clamp_int(nearest(iscale * x[i]), 0, n_max);
        sum += w[i] * d * d;
    }
    return sum;
}

float search_positive(uint8_t *q, const float *x, const float *w, int n, int n_max)
{
    float max = 0, iscale, best;
    fit f = { 0, 0 };

    for (int i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    if (!(max >= TINY)) return all_zero(q, n);
    iscale = (float)n_max / max;
    best = error_positive(x, w, n, n_max, iscale);
    for (int is = -4; is <= 4; is++) {
        const float try = (0.1f * (float)is + (float)n_max) / max;
        const float err = error_positive(x, w, n, n_max, try);
        if (is && err < best) {
            best = err;
            iscale = try;
        }
    }
    for (int i = 0; i < n; i++) {
        q[i] = (uint8_t)clamp_int(nearest(iscale * x[i]), 0, n_max);
        f.lx += w[i] * x[i] * (float)q[i];
        f.l2 += w[i] * (float)q[i] * (float)q[i];
    }
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++) {
            float lx = f.lx - w[i] * x[i] * (float)q[i], l2 = f.l2 - w[i] * (float)q[i] * (float)q[i];
            int nl;
            if (!(lx > 0 && l2 > 0)) continue;
            nl = clamp_int(nearest(x[i] * l2 / lx), 0, n_max);
            if (nl == q[i]) continue;
            lx += w[i] * x[i] * (float)nl;
            l2 += w[i] * (float)nl * (float)nl;
            if (lx * lx * f.l2 > f.lx * f.lx * l2) {
                q[i] = (uint8_t)nl;
                f = (fit){ lx, l2 };
                changed = 1;
            }
        }
    }
    return f.l2 > 0 ? f.lx / f.l2 : 0;
}
