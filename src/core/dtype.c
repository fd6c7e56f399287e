/* Element types and scalar conversions (dtype.h). */
#include "core/dtype.h"

#include "core/quants/quants.h"

static void f32_to_f32(float *y, const void *x, int64_t n) { memcpy(y, x, (size_t)n * sizeof *y); }

static void f16_rows_to_f32(float *y, const void *x, int64_t n)
{
    const uint16_t *h = x;
    for (int64_t i = 0; i < n; i++) y[i] = f16_to_f32(h[i]);
}

static void bf16_rows_to_f32(float *y, const void *x, int64_t n)
{
    const uint16_t *h = x;
    for (int64_t i = 0; i < n; i++) y[i] = bf16_to_f32(h[i]);
}

static void encode_f32(void *dst, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    memcpy(dst, x, (size_t)n * sizeof *x);
}

static void encode_f16(void *dst, const float *x, int64_t n, const float *importance)
{
    uint16_t *h = dst;
    (void)importance;
    for (int64_t i = 0; i < n; i++) h[i] = f32_to_f16(x[i]);
}

static void encode_bf16(void *dst, const float *x, int64_t n, const float *importance)
{
    uint16_t *h = dst;
    (void)importance;
    for (int64_t i = 0; i < n; i++) h[i] = f32_to_bf16(x[i]);
}

static const dtype_info table[MO_DTYPE_COUNT] = {
    [MO_F32] = { "F32", 1, 4, f32_to_f32, encode_f32 },
    [MO_F16] = { "F16", 1, 2, f16_rows_to_f32, encode_f16 },
    [MO_BF16] = { "BF16", 1, 2, bf16_rows_to_f32, encode_bf16 },
    [MO_Q4_0] = { "Q4_0", 32, 18, dequant_q4_0, encode_q4_0 },
    [MO_Q4_1] = { "Q4_1", 32, 20, dequant_q4_1, encode_q4_1 },
    [MO_Q5_0] = { "Q5_0", 32, 22, dequant_q5_0, encode_q5_0 },
    [MO_Q5_1] = { "Q5_1", 32, 24, dequant_q5_1, encode_q5_1 },
    [MO_Q8_0] = { "Q8_0", 32, 34, dequant_q8_0, encode_q8_0 },
    [MO_Q2_K] = { "Q2_K", 256, 84, dequant_q2_k, encode_q2_k },
    [MO_Q3_K] = { "Q3_K", 256, 110, dequant_q3_k, encode_q3_k },
    [MO_Q4_K] = { "Q4_K", 256, 144, dequant_q4_k, encode_q4_k },
    [MO_Q5_K] = { "Q5_K", 256, 176, dequant_q5_k, encode_q5_k },
    [MO_Q6_K] = { "Q6_K", 256, 210, dequant_q6_k, encode_q6_k },
    [MO_IQ4_NL] = { "IQ4_NL", 32, 18, dequant_iq4_nl, encode_iq4_nl },
    [MO_IQ4_XS] = { "IQ4_XS", 256, 136, dequant_iq4_xs, encode_iq4_xs },
    [MO_IQ1_S] = { "IQ1_S", 256, 50, dequant_iq1_s, NULL },
    [MO_IQ1_M] = { "IQ1_M", 256, 56, dequant_iq1_m, NULL },
    [MO_IQ2_XXS] = { "IQ2_XXS", 256, 66, dequant_iq2_xxs, NULL },
    [MO_IQ2_XS] = { "IQ2_XS", 256, 74, dequant_iq2_xs, NULL },
    [MO_IQ2_S] = { "IQ2_S", 256, 82, dequant_iq2_s, NULL },
    [MO_IQ3_XXS] = { "IQ3_XXS", 256, 98, dequant_iq3_xxs, NULL },
    [MO_IQ3_S] = { "IQ3_S", 256, 110, dequant_iq3_s, NULL },
    [MO_TQ1_0] = { "TQ1_0", 256, 54, dequant_tq1_0, NULL },
    [MO_TQ2_0] = { "TQ2_0", 256, 66, dequant_tq2_0, NULL },
    [MO_MXFP4] = { "MXFP4", 32, 17, dequant_mxfp4, NULL },
};

const dtype_info *dtype_get(int32_t type)
{
    if (type < 0 || type >= MO_DTYPE_COUNT || !table[type].name) return NULL;
    return &table[type];
}

int32_t dtype_by_name(const char *name)
{
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++)
        if (table[i].name && !strcmp(table[i].name, name)) return i;
    return -1;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff, u;
    float f;

    if (e == 31) {
        u = sign | 0x7f800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112) << 23 | m << 13;
    } else { /* zero or subnormal: m * 2^-24 is exact */
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u, sign, e, m, drop, half;

    memcpy(&u, &f, 4);
    sign = (u >> 16) & 0x8000;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | ((u >> 13) & 0x3ff));
    if (u >= 0x47800000u) return (uint16_t)(sign | 0x7c00); /* 65536 and up */
    e = u >> 23;
    if (e < 102) return (uint16_t)sign; /* below half of 2^-24 */
    m = (u & 0x7fffff) | 0x800000;
    if (e >= 113) { /* normal: keep 10 bits of 23 */
        u = u - (112u << 23);
        return (uint16_t)(sign | ((u + 0xfff + ((u >> 13) & 1)) >> 13)); /* a carry into the exponent is right */
    }
    drop = 126 - e; /* subnormal: value = m * 2^(e-150), unit 2^-24 */
    half = 1u << (drop - 1);
    return (uint16_t)(sign | ((m + half - 1 + ((m >> drop) & 1)) >> drop));
}

void dtype_to_f32(float *y, const void *x, int32_t type, int64_t n)
{
    const dtype_info *d = dtype_get(type);

    if (d) d->to_f32(y, x, n);
}

bool dtype_from_f32(void *dst, const float *x, int32_t type, int64_t n_row, int64_t n_col, const float *importance)
{
    const dtype_info *d = dtype_get(type);
    const size_t bytes = dtype_row_bytes(type, n_col);

    if (!d || !d->from_f32 || n_col % d->n_block) return false;
    for (int64_t r = 0; r < n_row; r++) d->from_f32((char *)dst + (size_t)r * bytes, x + r * n_col, n_col, importance);
    return true;
}
