/* Decoders of the K types and IQ4_XS: super-blocks of 256 with quantised scales of sub-blocks (spec: formats 2).
 *
 * Values are spread over bytes by halves of 128: byte l of a half holds values l, l + 32, l + 64, l + 96 of it, 2 bits each.
 */
#include "core/quants/quants.h"

void dequant_q2_k(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 84, y += QK) {
        const float d = get_f16(b + 80), dmin = get_f16(b + 82);
        for (int e = 0; e < QK; e++) {
            const uint8_t sc = b[e / 16], q = (b[16 + e / 128 * 32 + e % 32] >> 2 * (e % 128 / 32)) & 3;
            y[e] = d * (float)(sc & 15) * (float)q - dmin * (float)(sc >> 4);
        }
    }
}

void dequant_q3_k(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 110, y += QK) {
        const float d = get_f16(b + 108);
        for (int e = 0; e < QK; e++) {
            const int low = (b[32 + e / 128 * 32 + e % 32] >> 2 * (e % 128 / 32)) & 3, high = (b[e % 32] >> e / 32) & 1;
            y[e] = d * (float)get_scale_q3k(b + 96, e / 16) * (float)(low - (high ? 0 : 4));
        }
    }
}

void dequant_q4_k(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 144, y += QK) {
        const float d = get_f16(b), dmin = get_f16(b + 2);
        for (int j = 0; j < 8; j++) {
            const uint8_t *q = b + 16 + j / 2 * 32;
            int sc, mn;
            get_scale_min(b + 4, j, &sc, &mn);
            const float scale = d * (float)sc, m = dmin * (float)mn;
            for (int i = 0; i < 32; i++) y[j * 32 + i] = scale * (float)(j % 2 ? q[i] >> 4 : q[i] & 15) - m;
        }
    }
}

void dequant_q5_k(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 176, y += QK) {
        const float d = get_f16(b), dmin = get_f16(b + 2);
        for (int j = 0; j < 8; j++) {
            const uint8_t *high = b + 16, *q = b + 48 + j / 2 * 32;
            int sc, mn;
            get_scale_min(b + 4, j, &sc, &mn);
            const float scale = d * (float)sc, m = dmin * (float)mn;
            for (int i = 0; i < 32; i++) y[j * 32 + i] = scale * (float)((j % 2 ? q[i] >> 4 : q[i] & 15) + (high[i] >> j & 1) * 16) - m;
        }
    }
}

void dequant_q6_k(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 210, y += QK) {
        const float d = get_f16(b + 208);
        for (int e = 0; e < QK; e++) {
            const int h = e / 128, s = e % 128 / 32, l = e % 32;
            const uint8_t ql = b[64 * h + 32 * (s % 2) + l];
            const int q = (s < 2 ? ql & 15 : ql >> 4) | ((b[128 + 32 * h + l] >> 2 * s) & 3) << 4;
            y[e] = d * (float)(int8_t)b[192 + e / 16] * (float)(q - 32);
        }
    }
}

void dequant_iq4_xs(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= QK, b += 136, y += QK) {
        const float d = get_f16(b);
        const uint16_t scales_h = get_u16(b + 2);
        for (int i = 0; i < 8; i++) {
            const uint8_t *q = b + 8 + 16 * i;
            const int sc = ((b[4 + i / 2] >> 4 * (i % 2)) & 15) | ((scales_h >> 2 * i) & 3) << 4;
            const float scale = d * (float)(sc - 32);
            for (int t = 0; t < 16; t++) {
                y[32 * i + t] = scale * (float)iq4_levels[q[t] & 15];
                y[32 * i + 16 + t] = scale * (float)iq4_levels[q[t] >> 4];
            }
        }
    }
}
