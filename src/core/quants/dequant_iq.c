/* Decoders of the types below 4 bits: codebook types IQ1, IQ2, IQ3 and ternary TQ1, TQ2. Super-blocks of 256.
 *
 * A codebook index stands for a group of four or eight values (iq_grids.c); signs are stored apart. Layouts:
 * ggml-org/llama.cpp ggml/src/ggml-common.h (block_iq2_xxs and its sisters), arithmetic: ggml-quants.c, dequantize_row_….
 */
#include "core/quants/iq_grids.h"
#include "core/quants/quants.h"

static const float iq2_level[4] = { 8, 25, 43, 0 };
static const float iq3_xxs_level[8] = { 4, 12, 20, 28, 36, 44, 52, 62 };
static const float iq3_s_level[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };

/* Seven signs are stored; the eighth makes their number even. */
static unsigned even_signs(uint32_t seven)
{
    unsigned s = seven & 127;
    return s | (unsigned)__builtin_parity(s) << 7;
}

static float signed_by(float v, unsigned signs, int i) { return signs >> i & 1 ? -v : v; }

static void put_eight(float *y, float scale, uint16_t grid, unsigned signs)
{
    for (int i = 0; i < 8; i++) y[i] = signed_by(scale * iq2_level[grid >> 2 * i & 3], signs, i);
}

static void put_four(float *y, float scale, uint16_t grid, const float level[8], unsigned signs)
{
    for (int i = 0; i < 4; i++) y[i] = signed_by(scale * level[grid >> 3 * i & 7], signs, i);
}

/* 0 d; 2 [8] {u32 four indices; u32 four times seven signs, scale in the top 4 bits} */
void dequant_iq2_xxs(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 66) {
        const float d = get_f16(b);
        for (int s = 0; s < 8; s++) {
            const uint8_t *q = b + 2 + 8 * s;
            const uint32_t aux = get_u32(q + 4);
            const float scale = d * (0.5f + (float)(aux >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, y += 8) put_eight(y, scale, iq2_xxs_grid[q[l]], even_signs(aux >> 7 * l));
        }
    }
}

/* 0 d; 2 u16[32]: 9 bits index, 7 signs; 66 scales[8], a nibble for 16 values */
void dequant_iq2_xs(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 74) {
        const float d = get_f16(b);
        for (int g = 0; g < 32; g++, y += 8) {
            const uint16_t q = get_u16(b + 2 + 2 * g);
            const int sc = (b[66 + g / 4] >> 4 * (g / 2 % 2)) & 15;
            put_eight(y, d * (0.5f + (float)sc) * 0.25f, iq2_xs_grid[q & 511], even_signs(q >> 9));
        }
    }
}

/* 0 d; 2 qs[32]; 34 signs[32]; 66 qh[8], two high bits for each of four indices; 74 scales[8] */
void dequant_iq2_s(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 82) {
        const float d = get_f16(b);
        for (int g = 0; g < 32; g++, y += 8) {
            const int high = (b[66 + g / 4] >> 2 * (g % 4)) & 3, sc = (b[74 + g / 4] >> 4 * (g / 2 % 2)) & 15;
            put_eight(y, d * (0.5f + (float)sc) * 0.25f, iq2_s_grid[b[2 + g] | high << 8], b[34 + g]);
        }
    }
}

/* 0 d; 2 qs[64]; 66 u32[8]: four times seven signs, scale in the top 4 bits */
void dequant_iq3_xxs(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 98) {
        const float d = get_f16(b);
        for (int g = 0; g < 32; g++, y += 8) {
            const uint32_t aux = get_u32(b + 66 + g / 4 * 4);
            const float scale = d * (0.5f + (float)(aux >> 28)) * 0.5f;
            const unsigned signs = even_signs(aux >> 7 * (g % 4));
            put_four(y, scale, iq3_xxs_grid[b[2 + 2 * g]], iq3_xxs_level, signs);
            put_four(y + 4, scale, iq3_xxs_grid[b[3 + 2 * g]], iq3_xxs_level, signs >> 4);
        }
    }
}

/* 0 d; 2 qs[64]; 66 qh[8], a high bit for each index; 74 signs[32]; 106 scales[4], a nibble for 32 values */
void dequant_iq3_s(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 110) {
        const float d = get_f16(b);
        for (int g = 0; g < 32; g++, y += 8) {
            const int s = g / 4, sc = (b[106 + s / 2] >> 4 * (s % 2)) & 15, high = b[66 + s] >> 2 * (g % 4);
            const float scale = d * (float)(1 + 2 * sc);
            put_four(y, scale, iq3_s_grid[b[2 + 2 * g] | (high & 1) << 8], iq3_s_level, b[74 + g]);
            put_four(y + 4, scale, iq3_s_grid[b[3 + 2 * g] | (high >> 1 & 1) << 8], iq3_s_level, b[74 + g] >> 4);
        }
    }
}

/* Eight ternary values, each shifted by delta. */
static void put_ternary(float *y, float scale, uint16_t grid, float delta)
{
    for (int i = 0; i < 8; i++) y[i] = scale * ((float)((grid >> 2 * i & 3) - 1) + delta);
}

/* 0 d; 2 qs[32]; 34 u16 qh[8]: three high bits for each of four indices, 3 bits scale, sign of delta */
void dequant_iq1_s(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 50) {
        const float d = get_f16(b);
        for (int g = 0; g < 32; g++, y += 8) {
            const uint16_t high = get_u16(b + 34 + g / 4 * 2);
            const float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            put_ternary(y, scale, iq1_grid[b[2 + g] | (high >> 3 * (g % 4) & 7) << 8], high & 0x8000 ? -0.125f : 0.125f);
        }
    }
}

/* 0 qs[32]; 32 qh[16]: a nibble for each index, three high bits and the sign of delta; 48 u16 scales[4]: 3 bits for 16 values,
 * and a nibble of the f16 scale of all in the top of each */
void dequant_iq1_m(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 56) {
        uint16_t sc[4], bits = 0;
        for (int i = 0; i < 4; i++) {
            sc[i] = get_u16(b + 48 + 2 * i);
            bits = (uint16_t)(bits | (sc[i] >> 12) << 4 * i);
        }
        const float d = f16_to_f32(bits);
        for (int g = 0; g < 32; g++, y += 8) {
            const int high = b[32 + g / 2] >> 4 * (g % 2), three = sc[g / 8] >> 3 * (g / 2 % 4) & 7;
            put_ternary(y, d * (float)(2 * three + 1), iq1_grid[b[g] | (high & 7) << 8], high & 8 ? -0.125f : 0.125f);
        }
    }
}

/* The digit of a byte that holds five base-3 digits as a fraction of 256: digit k is the top of q * 3^k. */
static float trit(uint8_t q, int k)
{
    static const uint8_t pow3[5] = { 1, 3, 9, 27, 81 };
    const uint8_t shifted = (uint8_t)(q * pow3[k]);

    return (float)((shifted * 3 >> 8) - 1);
}

/* 0 qs[48]: five values a byte, bytes in groups of 32 and 16; 48 qh[4]: four values a byte; 52 d */
void dequant_tq1_0(float *y, const void *x, int64_t n)
{
    static const struct {
        int at, bytes, digits;
    } part[3] = { { 0, 32, 5 }, { 32, 16, 5 }, { 48, 4, 4 } };

    for (const uint8_t *b = x; n > 0; n -= QK, b += 54) {
        const float d = get_f16(b + 52);
        for (int p = 0; p < 3; p++)
            for (int k = 0; k < part[p].digits; k++)
                for (int i = 0; i < part[p].bytes; i++) *y++ = trit(b[part[p].at + i], k) * d;
    }
}

/* 0 qs[64]: four values a byte, spread as in the K types; 64 d */
void dequant_tq2_0(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 66, y += QK) {
        const float d = get_f16(b + 64);
        for (int e = 0; e < QK; e++) y[e] = (float)(((b[e / 128 * 32 + e % 32] >> 2 * (e % 128 / 32)) & 3) - 1) * d;
    }
}
