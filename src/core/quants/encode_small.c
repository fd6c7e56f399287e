/* Encoders of the types with blocks of 32, and of IQ4_XS which shares IQ4_NL's search (spec: formats 3).
 *
 * Without importances Q4_0 … Q8_0 follow simple rules and their bytes are the reference's; with them a search finds scales.
 */
#include <math.h>

#include "core/quants/quants.h"
#include "core/quants/search.h"

/* v cut to an integer in [0, max]; NaN gives 0. */
static int cut(float v, int max) { return !(v > 0) ? 0 : v >= (float)max ? max : (int)v; }

/* 32 values of 4 bits: the first 16 in low nibbles. */
static void put_nibbles(uint8_t *p, const uint8_t *q)
{
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static uint32_t fifth_bits(const uint8_t *q)
{
    uint32_t high = 0;

    for (int i = 0; i < 32; i++) high |= (uint32_t)(q[i] >> 4 & 1) << i;
    return high;
}

/* Q4_0, Q5_0: q = x / d + n_max, the extreme value at -n_max. */
static float quantise_symmetric(uint8_t *q, const float *x, const float *importance, float sigma2, int n_max)
{
    float w[32], d, id;

    if (importance) {
        importance_weights(w, x, importance, sigma2, 32);
        return search_symmetric(q, x, w, 32, n_max);
    }
    d = extreme(x, 32) / -(float)n_max;
    id = d != 0 ? 1 / d : 0;
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)cut(x[i] * id + ((float)n_max + 0.5f), 2 * n_max - 1);
    return d;
}

/* Q4_1, Q5_1: q = (x - m) / d. */
static float quantise_asymmetric(uint8_t *q, float *m, const float *x, const float *importance, float sigma2, int n_max)
{
    static const search_range range = { -0.9f, 0.05f, 36, false };
    float w[32], min = x[0], max = x[0], d, id;

    if (importance) {
        importance_weights(w, x, importance, sigma2, 32);
        d = search_asymmetric(q, m, x, w, 32, n_max, &range);
        *m = -*m;
        return d;
    }
    for (int i = 1; i < 32; i++) {
        if (x[i] < min) min = x[i];
        if (x[i] > max) max = x[i];
    }
    d = (max - min) / (float)n_max;
    id = d != 0 ? 1 / d : 0;
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)cut((x[i] - min) * id + 0.5f, n_max);
    *m = min;
    return d;
}

void encode_q4_0(void *dst, const float *x, int64_t n, const float *importance)
{
    const float sigma2 = importance ? mean_square(x, n) : 0;
    uint8_t q[32], *b = dst;

    for (int64_t i = 0; i < n; i += 32, b += 18) {
        put_f16(b, quantise_symmetric(q, x + i, importance ? importance + i : NULL, sigma2, 8));
        put_nibbles(b + 2, q);
    }
}

void encode_q5_0(void *dst, const float *x, int64_t n, const float *importance)
{
    const float sigma2 = importance ? mean_square(x, n) : 0;
    uint8_t q[32], *b = dst;

    for (int64_t i = 0; i < n; i += 32, b += 22) {
        put_f16(b, quantise_symmetric(q, x + i, importance ? importance + i : NULL, sigma2, 16));
        put_u32(b + 2, fifth_bits(q));
        put_nibbles(b + 6, q);
    }
}

void encode_q4_1(void *dst, const float *x, int64_t n, const float *importance)
{
    const float sigma2 = importance ? mean_square(x, n) : 0;
    uint8_t q[32], *b = dst;
    float m;

    for (int64_t i = 0; i < n; i += 32, b += 20) {
        put_f16(b, quantise_asymmetric(q, &m, x + i, importance ? importance + i : NULL, sigma2, 15));
        put_f16(b + 2, m);
        put_nibbles(b + 4, q);
    }
}

void encode_q5_1(void *dst, const float *x, int64_t n, const float *importance)
{
    const float sigma2 = importance ? mean_square(x, n) : 0;
    uint8_t q[32], *b = dst;
    float m;

    for (int64_t i = 0; i < n; i += 32, b += 24) {
        put_f16(b, quantise_asymmetric(q, &m, x + i, importance ? importance + i : NULL, sigma2, 31));
        put_f16(b + 2, m);
        put_u32(b + 4, fifth_bits(q));
        put_nibbles(b + 8, q);
    }
}

void encode_q8_0(void *dst, const float *x, int64_t n, const float *importance)
{
    uint8_t *b = dst;

    (void)importance; /* eight bits lose so little that nothing is gained */
    for (int64_t i = 0; i < n; i += 32, b += 34) {
        const float d = fabsf(extreme(x + i, 32)) / 127, id = d != 0 ? 1 / d : 0;
        put_f16(b, d);
        for (int k = 0; k < 32; k++) {
            const float v = roundf(x[i + k] * id); /* half away from zero */
            b[2 + k] = (uint8_t)(int8_t)(v >= 127 ? 127 : v > -127 ? (int)v : v <= -127 ? -127 : 0);
        }
    }
}

/* ---- IQ4 ---- */

/* Index of the nearest level; a tie goes up. */
static int nearest_level(float v)
{
    int lo = 0, hi = 15;

    if (!(v > iq4_levels[0])) return 0;
    if (v >= iq4_levels[15]) return 15;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;
        if (v < iq4_levels[mid]) hi = mid;
        else lo = mid;
    }
    return v - (float)iq4_levels[hi - 1] < (float)iq4_levels[hi] - v ? hi - 1 : hi;
}

/* Scale of 32 values under weights w; 0 where they are (about) zero. */
static float search_levels(const float *x, const float *w)
{
    enum { N_TRY = 7 };
    const float most = extreme(x, 32);
    float d = 0, best = 0;

    if (!(fabsf(most) >= 1e-15f)) return 0;
    for (int t = -N_TRY - 1; t <= N_TRY; t++) { /* the first is the plain scale, accepted as it is */
        const bool first = t == -N_TRY - 1;
        const float id = first ? 1 / (-most / (float)iq4_levels[0]) : ((float)t + (float)iq4_levels[0]) / most;
        float qx = 0, q2 = 0;
        for (int i = 0; i < 32; i++) {
            const float q = iq4_levels[nearest_level(id * x[i])];
            qx += w[i] * q * x[i];
            q2 += w[i] * q * q;
        }
        if (first ? q2 != 0 : q2 > 0 && qx * qx > best * q2) {
            d = qx / q2;
            best = d * qx;
        }
    }
    return d;
}

static void level_weights(float *w, const float *x, const float *importance, float sigma2)
{
    if (importance) importance_weights(w, x, importance, sigma2, 32);
    else
        for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
}

void encode_iq4_nl(void *dst, const float *x, int64_t n, const float *importance)
{
    uint8_t q[32], *b = dst;
    float w[32];

    for (int64_t i = 0; i < n; i += 32, b += 18) {
        float d, id;
        level_weights(w, x + i, importance ? importance + i : NULL, mean_square(x + i, 32) * 2);
        d = search_levels(x + i, w);
        id = d != 0 ? 1 / d : 0;
        put_f16(b, d);
        for (int k = 0; k < 32; k++) q[k] = (uint8_t)nearest_level(id * x[i + k]);
        put_nibbles(b + 2, q);
    }
}

void encode_iq4_xs(void *dst, const float *x, int64_t n, const float *importance)
{
    uint8_t q[32], *b = dst;
    float w[32], scale[8];

    for (int64_t i = 0; i < n; i += QK, b += 136) {
        const float sigma2 = mean_square(x + i, QK) * 2;
        uint32_t high = 0;
        float d, id;

        for (int j = 0; j < 8; j++) {
            level_weights(w, x + i + 32 * j, importance ? importance + i + 32 * j : NULL, sigma2);
            scale[j] = search_levels(x + i + 32 * j, w);
        }
        d = -extreme(scale, 8) / 32;
        id = d != 0 ? 1 / d : 0;
        put_f16(b, d);
        memset(b + 4, 0, 4);
        for (int j = 0; j < 8; j++) {
            const int l = clamp_int(nearest(id * scale[j]), -32, 31);
            const float dl = d * (float)l, idl = dl != 0 ? 1 / dl : 0;
            for (int k = 0; k < 32; k++) q[k] = (uint8_t)nearest_level(idl * x[i + 32 * j + k]);
            put_nibbles(b + 8 + 16 * j, q);
            b[4 + j / 2] |= (uint8_t)(((l + 32) & 15) << 4 * (j % 2));
            high |= (uint32_t)((l + 32) >> 4) << 2 * j;
        }
        put_u16(b + 2, high);
    }
}
