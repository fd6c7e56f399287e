/* Encoders of the K types (spec: formats 3): a search for each sub-block's scale, scales quantised in turn, then the values
 * once more under the scales as they are stored. With importances other searches and weights are used, as llama.cpp does
 * (ggml/src/ggml-quants.c, quantize_row_…_K_impl).
 */
#include <math.h>

#include "core/quants/quants.h"
#include "core/quants/search.h"

/* 256 values of 2 bits into 64 bytes: see dequant_k.c. */
static void put_crumbs(uint8_t *p, const uint8_t *q)
{
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *v = q + 128 * h + l;
            p[32 * h + l] = (uint8_t)((v[0] & 3) | (v[32] & 3) << 2 | (v[64] & 3) << 4 | (v[96] & 3) << 6);
        }
}

/* q = (x + m) / d, to the nearest in [0, n_max]; d == 0: the search's values stay. */
static void requantise(uint8_t *q, const float *x, int n, float d, float m, int n_max)
{
    if (d == 0) return;
    for (int i = 0; i < n; i++) q[i] = (uint8_t)clamp_int(nearest((x[i] + m) / d), 0, n_max);
}

static void requantise_symmetric(uint8_t *q, const float *x, int n, float d, int n_max)
{
    if (d == 0) return;
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(clamp_int(nearest(x[i] / d), -n_max, n_max - 1) + n_max);
}

static float sum(const float *x, int n)
{
    float s = 0;

    for (int i = 0; i < n; i++) s += x[i];
    return s;
}

/* Quantise n sub-block scales (or minima), all >= 0, to [0, n_max]; returns what one step is. */
static float quantise_scales(uint8_t *q, const float *x, const float *w, int n, int n_max)
{
    float max = 0, inv;

    if (w) return search_positive(q, x, w, n, n_max);
    for (int i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    inv = max > 0 ? (float)n_max / max : 0;
    for (int i = 0; i < n; i++) q[i] = (uint8_t)clamp_int(nearest(inv * x[i]), 0, n_max);
    return max / (float)n_max;
}

static const search_range important_range = { -0.9f, 0.05f, 36, false };

static void block_q2_k(uint8_t *b, const float *x, const float *importance)
{
    static const search_range range = { -0.5f, 0.1f, 15, true };
    const float sigma2 = importance ? mean_square(x, QK) : 0;
    float w[16], scale[16], min[16], sum_w[16], d, dmin;
    uint8_t q[QK], ls[16], lm[16];

    for (int j = 0; j < 16; j++) {
        const float *xj = x + 16 * j;
        if (importance) importance_weights(w, xj, importance + 16 * j, sigma2, 16);
        else
            for (int i = 0; i < 16; i++) w[i] = fabsf(xj[i]);
        sum_w[j] = sum(w, 16);
        scale[j] = search_asymmetric(q + 16 * j, &min[j], xj, w, 16, 3, importance ? &important_range : &range);
    }
    d = put_f16(b + 80, quantise_scales(ls, scale, importance ? sum_w : NULL, 16, 15));
    dmin = put_f16(b + 82, quantise_scales(lm, min, importance ? sum_w : NULL, 16, 15));
    for (int j = 0; j < 16; j++) {
        b[j] = (uint8_t)(ls[j] | lm[j] << 4);
        requantise(q + 16 * j, x + 16 * j, 16, d * (float)ls[j], dmin * (float)lm[j], 3);
    }
    put_crumbs(b + 16, q);
}

/* Scales of Q3_K as 0 … 63 (32 is zero) and what a step of them is. */
static float scales_q3_k(uint8_t *ls, uint8_t *q, const float *x, const float *importance)
{
    const float sigma2 = importance ? mean_square(x, QK) * 2 : 0;
    float w[16], scale[16], sum_w[16], most, inv;

    for (int j = 0; j < 16; j++) {
        if (!importance) {
            scale[j] = search_descent(q + 16 * j, x + 16 * j, 16, 4);
            continue;
        }
        importance_weights(w, x + 16 * j, importance + 16 * j, sigma2, 16);
        sum_w[j] = sum(w, 16);
        scale[j] = search_symmetric(q + 16 * j, x + 16 * j, w, 16, 4);
    }
    if (importance) return search_symmetric(ls, scale, sum_w, 16, 32);
    memset(ls, 0, 16);
    if ((most = extreme(scale, 16)) == 0) return 0;
    inv = -32 / most;
    for (int j = 0; j < 16; j++) ls[j] = (uint8_t)(clamp_int(nearest(inv * scale[j]), -32, 31) + 32);
    return 1 / inv;
}

static void block_q3_k(uint8_t *b, const float *x, const float *importance)
{
    uint8_t q[QK], ls[16];
    const float d = put_f16(b + 108, scales_q3_k(ls, q, x, importance));

    memset(b, 0, 32);
    memset(b + 96, 0, 12);
    for (int j = 0; j < 16; j++) {
        b[96 + j % 8] |= (uint8_t)((ls[j] & 15) << 4 * (j / 8));
        b[104 + j % 4] |= (uint8_t)((ls[j] >> 4) << 2 * (j / 4));
    }
    for (int j = 0; j < 16; j++) requantise_symmetric(q + 16 * j, x + 16 * j, 16, d * (float)get_scale_q3k(b + 96, j), 4);
    for (int e = 0; e < QK; e++)
        if (q[e] > 3) {
            b[e % 32] |= (uint8_t)(1 << e / 32);
            q[e] = (uint8_t)(q[e] - 4);
        }
    put_crumbs(b + 32, q);
}

/* d, dmin and the 12 bytes of scales at b, values to q: what Q4_K and Q5_K share. */
static void quantise_q45_k(uint8_t *b, uint8_t *q, const float *x, const float *importance, int n_max)
{
    const search_range range = n_max == 15 ? (search_range){ -1.0f, 0.1f, 20, false } : (search_range){ -0.5f, 0.1f, 15, false };
    const float sigma2 = importance ? mean_square(x, QK) * 2 : 0;
    float w[32], scale[8], min[8], sum_w[8], d, dmin;
    uint8_t ls[8], lm[8];

    for (int j = 0; j < 8; j++) {
        const float *xj = x + 32 * j;
        if (importance) {
            importance_weights(w, xj, importance + 32 * j, sigma2, 32);
        } else {
            const float average = sqrtf(mean_square(xj, 32));
            for (int i = 0; i < 32; i++) w[i] = average + fabsf(xj[i]);
        }
        sum_w[j] = sum(w, 32);
        scale[j] = search_asymmetric(q + 32 * j, &min[j], xj, w, 32, n_max, importance ? &important_range : &range);
    }
    d = put_f16(b, quantise_scales(ls, scale, importance ? sum_w : NULL, 8, 63));
    dmin = put_f16(b + 2, quantise_scales(lm, min, importance ? sum_w : NULL, 8, 63));
    for (int j = 0; j < 4; j++) {
        b[4 + j] = (uint8_t)(ls[j] | (ls[j + 4] >> 4) << 6);
        b[8 + j] = (uint8_t)(lm[j] | (lm[j + 4] >> 4) << 6);
        b[12 + j] = (uint8_t)((ls[j + 4] & 15) | (lm[j + 4] & 15) << 4);
    }
    for (int j = 0; j < 8; j++) requantise(q + 32 * j, x + 32 * j, 32, d * (float)ls[j], dmin * (float)lm[j], n_max);
}

static void put_halves(uint8_t *p, const uint8_t *q)
{
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < 32; i++) p[32 * c + i] = (uint8_t)((q[64 * c + i] & 15) | (q[64 * c + 32 + i] & 15) << 4);
}

static void block_q4_k(uint8_t *b, const float *x, const float *importance)
{
    uint8_t q[QK];

    quantise_q45_k(b, q, x, importance, 15);
    put_halves(b + 16, q);
}

static void block_q5_k(uint8_t *b, const float *x, const float *importance)
{
    uint8_t q[QK];

    quantise_q45_k(b, q, x, importance, 31);
    memset(b + 16, 0, 32);
    for (int e = 0; e < QK; e++) b[16 + e % 32] |= (uint8_t)((q[e] >> 4) << e / 32);
    put_halves(b + 48, q);
}

static void block_q6_k(uint8_t *b, const float *x, const float *importance)
{
    float scale[16], most, inv, d;
    uint8_t q[QK];

    for (int j = 0; j < 16; j++) scale[j] = search_symmetric(q + 16 * j, x + 16 * j, importance ? importance + 16 * j : NULL, 16, 32);
    most = extreme(scale, 16);
    if (!(fabsf(most) >= 1e-15f)) {
        memset(b, 0, 210);
        return;
    }
    inv = -128 / most;
    d = put_f16(b + 208, 1 / inv);
    for (int j = 0; j < 16; j++) {
        const int sc = clamp_int(nearest(inv * scale[j]), -128, 127);
        b[192 + j] = (uint8_t)(int8_t)sc;
        requantise_symmetric(q + 16 * j, x + 16 * j, 16, d * (float)sc, 32);
    }
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *v = q + 128 * h + l;
            b[64 * h + l] = (uint8_t)((v[0] & 15) | (v[64] & 15) << 4);
            b[64 * h + 32 + l] = (uint8_t)((v[32] & 15) | (v[96] & 15) << 4);
            b[128 + 32 * h + l] = (uint8_t)(v[0] >> 4 | (v[32] >> 4) << 2 | (v[64] >> 4) << 4 | (v[96] >> 4) << 6);
        }
}

typedef void (*block_fn)(uint8_t *b, const float *x, const float *importance);

static void encode_row(void *dst, const float *x, int64_t n, const float *importance, block_fn block, int bytes)
{
    uint8_t *b = dst;

    for (int64_t i = 0; i < n; i += QK, b += bytes) block(b, x + i, importance ? importance + i : NULL);
}

void encode_q2_k(void *dst, const float *x, int64_t n, const float *importance) { encode_row(dst, x, n, importance, block_q2_k, 84); }
void encode_q3_k(void *dst, const float *x, int64_t n, const float *importance) { encode_row(dst, x, n, importance, block_q3_k, 110); }
void encode_q4_k(void *dst, const float *x, int64_t n, const float *importance) { encode_row(dst, x, n, importance, block_q4_k, 144); }
void encode_q5_k(void *dst, const float *x, int64_t n, const float *importance) { encode_row(dst, x, n, importance, block_q5_k, 176); }
void encode_q6_k(void *dst, const float *x, int64_t n, const float *importance) { encode_row(dst, x, n, importance, block_q6_k, 210); }
