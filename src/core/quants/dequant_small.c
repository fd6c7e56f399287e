/* Decoders of the types with blocks of 32: a scale, sometimes a minimum, and 4, 5 or 8 bits a value (spec: formats 2).
 *
 * The low nibbles of a block's bytes are its first 16 values, the high nibbles the last 16.
 */
#include "core/quants/quants.h"

void dequant_q4_0(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 18, y += 32) {
        const float d = get_f16(b);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)((b[2 + i] & 15) - 8) * d;
            y[i + 16] = (float)((b[2 + i] >> 4) - 8) * d;
        }
    }
}

void dequant_q4_1(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 20, y += 32) {
        const float d = get_f16(b), m = get_f16(b + 2);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)(b[4 + i] & 15) * d + m;
            y[i + 16] = (float)(b[4 + i] >> 4) * d + m;
        }
    }
}

void dequant_q5_0(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 22, y += 32) {
        const float d = get_f16(b);
        const uint32_t high = get_u32(b + 2);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)((b[6 + i] & 15) + (int)(high >> i & 1) * 16 - 16) * d;
            y[i + 16] = (float)((b[6 + i] >> 4) + (int)(high >> (i + 16) & 1) * 16 - 16) * d;
        }
    }
}

void dequant_q5_1(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 24, y += 32) {
        const float d = get_f16(b), m = get_f16(b + 2);
        const uint32_t high = get_u32(b + 4);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)((b[8 + i] & 15) + (int)(high >> i & 1) * 16) * d + m;
            y[i + 16] = (float)((b[8 + i] >> 4) + (int)(high >> (i + 16) & 1) * 16) * d + m;
        }
    }
}

void dequant_q8_0(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 34, y += 32) {
        const float d = get_f16(b);
        for (int i = 0; i < 32; i++) y[i] = (float)(int8_t)b[2 + i] * d;
    }
}

const int8_t iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

void dequant_iq4_nl(float *y, const void *x, int64_t n)
{
    for (const uint8_t *b = x; n > 0; n -= 32, b += 18, y += 32) {
        const float d = get_f16(b);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)iq4_levels[b[2 + i] & 15];
            y[i + 16] = d * (float)iq4_levels[b[2 + i] >> 4];
        }
    }
}

/* OCP microscaling FP4: E2M1 values (doubled here, so that they are integers) under a shared power of two. */
void dequant_mxfp4(float *y, const void *x, int64_t n)
{
    static const int8_t level[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

    for (const uint8_t *b = x; n > 0; n -= 32, b += 17, y += 32) {
        const uint32_t u = b[0] < 2 ? (uint32_t)0x00200000 << b[0] : (uint32_t)(b[0] - 1) << 23; /* 2^(e - 128); below 2 subnormal */
        float d;
        memcpy(&d, &u, 4);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)level[b[1 + i] & 15] * d;
            y[i + 16] = (float)level[b[1 + i] >> 4] * d;
        }
    }
}
