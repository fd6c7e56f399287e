/* Block-quantised types: one decoder and, where we write the type, one encoder each. Reached through dtype.h's table.
 *
 * Decoders take whole blocks from any address; every product and sum is rounded to float32 in the order of the spec
 * (formats 2), so their results are the reference's to the last bit (the build switches fused multiply-adds off).
 * Encoders take one row of n elements (whole blocks) and, optionally, an importance for each column.
 */
#ifndef MO_CORE_QUANTS_H
#define MO_CORE_QUANTS_H

#include <stdint.h>
#include <string.h>

#include "core/dtype.h"

enum { QK = 256 }; /* elements of a super-block */

/* Fields of a block: little endian, at any address. */
static inline uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t get_u32(const uint8_t *p) { return (uint32_t)get_u16(p) | (uint32_t)get_u16(p + 2) << 16; }
static inline float get_f16(const uint8_t *p) { return f16_to_f32(get_u16(p)); }

static inline void put_u16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    put_u16(p, v);
    put_u16(p + 2, v >> 16);
}

/* Store as f16 and give back what was stored. */
static inline float put_f16(uint8_t *p, float f)
{
    put_u16(p, f32_to_f16(f));
    return get_f16(p);
}

/* Scale and minimum j (of 8) of Q4_K and Q5_K: 6 bits each in 12 bytes. */
static inline void get_scale_min(const uint8_t *scales, int j, int *sc, int *mn)
{
    if (j < 4) {
        *sc = scales[j] & 63;
        *mn = scales[j + 4] & 63;
    } else {
        *sc = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
        *mn = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
    }
}

/* Scale b (of 16) of Q3_K: 6 bits in 12 bytes, -32 … 31. */
static inline int get_scale_q3k(const uint8_t *scales, int b)
{
    int lo = b < 8 ? scales[b] & 15 : scales[b - 8] >> 4, hi = (scales[8 + b % 4] >> 2 * (b / 4)) & 3;

    return (lo | hi << 4) - 32;
}

extern const int8_t iq4_levels[16]; /* values of IQ4_NL and IQ4_XS */

#define DEQUANT(name) void dequant_##name(float *y, const void *x, int64_t n)
DEQUANT(q4_0);
DEQUANT(q4_1);
DEQUANT(q5_0);
DEQUANT(q5_1);
DEQUANT(q8_0);
DEQUANT(mxfp4);
DEQUANT(q2_k);
DEQUANT(q3_k);
DEQUANT(q4_k);
DEQUANT(q5_k);
DEQUANT(q6_k);
DEQUANT(iq4_nl);
DEQUANT(iq4_xs);
DEQUANT(iq1_s);
DEQUANT(iq1_m);
DEQUANT(iq2_xxs);
DEQUANT(iq2_xs);
DEQUANT(iq2_s);
DEQUANT(iq3_xxs);
DEQUANT(iq3_s);
DEQUANT(tq1_0);
DEQUANT(tq2_0);
#undef DEQUANT

/* importance [n] >= 0, or NULL: all columns count alike */
#define ENCODE(name) void encode_##name(void *dst, const float *x, int64_t n, const float *importance)
ENCODE(q4_0);
ENCODE(q4_1);
ENCODE(q5_0);
ENCODE(q5_1);
ENCODE(q8_0);
ENCODE(q2_k);
ENCODE(q3_k);
ENCODE(q4_k);
ENCODE(q5_k);
ENCODE(q6_k);
ENCODE(iq4_nl);
ENCODE(iq4_xs);
#undef ENCODE

#endif
