/* Block decoders: 32 elements at a time as a vector of bytes, scales as integers. Plain C vectors, compiled once per
 * instruction set; included after its vec file (which gives q_lut, q_widen, q_narrow and Q_SCALE).
 *
 * decode_<type>(b, j): elements [32 j, 32 j + 32) of block b. Unsigned, unless the type is listed as signed in q_table_tmpl.h.
 * scales_<type>(b, s, mn): per sub-block s[] (as Q_SCALE makes it) and mn[] (what is multiplied with the sums of x).
 * factor_<type>(b): d.
 */
#include "core/instrumented.h"

#define Q_INLINE static inline __attribute__((always_inline))
/* Kernels are made for every constant number of activation rows, their loops unrolled: a compiler's minutes. Where speed is
 * not the point (Q_SMALL: instrumented, emulated or plain C) one body takes any number. */
#ifndef Q_SMALL
#if defined(MO_EMULATE_VNNI)
#define Q_SMALL 1
#else
#define Q_SMALL MO_INSTRUMENTED
#endif
#endif
#if Q_SMALL
#define Q_UNROLL
#elif defined(__clang__)
#define Q_UNROLL _Pragma("unroll")
#else
#define Q_UNROLL _Pragma("GCC unroll 16")
#endif

typedef uint8_t b16 __attribute__((vector_size(16)));
typedef b32 (*decode_fn)(const uint8_t *b, int j);
typedef void (*scales_fn)(const uint8_t *b, int32_t *s, int16_t *mn);
typedef float (*factor_fn)(const uint8_t *b);

Q_INLINE b32 ld32(const uint8_t *p)
{
    b32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The 32 nibbles of 16 bytes: all the low ones, then all the high ones. */
Q_INLINE b32 nibbles(const uint8_t *p)
{
    b16 v, hi;
    memcpy(&v, p, sizeof v);
    hi = v >> 4;
    v &= 15;
    return __builtin_shufflevector(v, hi, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
                                   27, 28, 29, 30, 31);
}

/* 32 bits to bytes of 0 or 255 */
Q_INLINE b32 bytes_where(const uint8_t *p)
{
    const b32 bit = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
    b16 v = { p[0], p[1], p[2], p[3] };
    b32 w = __builtin_shufflevector(v, v, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    return (b32)((w & bit) == bit);
}

Q_INLINE b32 fifth_bits(const uint8_t *p) { return bytes_where(p) & 16; }

/* ---- blocks of 32 ---- */

Q_INLINE b32 decode_q4_0(const uint8_t *b, int j)
{
    (void)j;
    return nibbles(b + 2);
}
Q_INLINE b32 decode_q4_1(const uint8_t *b, int j)
{
    (void)j;
    return nibbles(b + 4);
}
Q_INLINE b32 decode_q5_0(const uint8_t *b, int j)
{
    (void)j;
    return nibbles(b + 6) | fifth_bits(b + 2);
}
Q_INLINE b32 decode_q5_1(const uint8_t *b, int j)
{
    (void)j;
    return nibbles(b + 8) | fifth_bits(b + 4);
}
Q_INLINE b32 decode_q8_0(const uint8_t *b, int j)
{
    (void)j;
    return ld32(b + 2);
}
Q_INLINE b32 decode_iq4_nl(const uint8_t *b, int j)
{
    (void)j;
    return q_lut(iq4_levels, nibbles(b + 2));
}

/* ---- super-blocks of 256: j = 4 h + s in the spec's letters ---- */

Q_INLINE b32 decode_q2_k(const uint8_t *b, int j) { return (ld32(b + 16 + 32 * (j / 4)) >> (2 * (j % 4))) & 3; }
Q_INLINE b32 decode_q3_k(const uint8_t *b, int j)
{
    return ((ld32(b + 32 + 32 * (j / 4)) >> (2 * (j % 4))) & 3) | ((ld32(b) >> j) & 1) << 2;
}
Q_INLINE b32 decode_q4_k(const uint8_t *b, int j)
{
    b32 v = ld32(b + 16 + 32 * (j / 2));
    return j % 2 ? v >> 4 : v & 15;
}
Q_INLINE b32 decode_q5_k(const uint8_t *b, int j)
{
    b32 v = ld32(b + 48 + 32 * (j / 2));
    return (j % 2 ? v >> 4 : v & 15) | ((ld32(b + 16) >> j) & 1) << 4;
}
Q_INLINE b32 decode_q6_k(const uint8_t *b, int j)
{
    b32 v = ld32(b + 64 * (j / 4) + 32 * (j % 2));
    return (j % 4 < 2 ? v & 15 : v >> 4) | ((ld32(b + 128 + 32 * (j / 4)) >> (2 * (j % 4))) & 3) << 4;
}
Q_INLINE b32 decode_iq4_xs(const uint8_t *b, int j) { return q_lut(iq4_levels, nibbles(b + 8 + 16 * j)); }

/* Scales and minima are made 8 at a time; put_scales stores what q_fold and mv_dot take. */
Q_INLINE void put_scales(int32_t *s, i8x v)
{
    v = Q_SCALE(v);
    memcpy(s, &v, sizeof v);
}

Q_INLINE void put_mins(int16_t *mn, i8x v)
{
    const h8x h = q_narrow(v);
    memcpy(mn, &h, sizeof h);
}

/* The bytes of two words as integers */
Q_INLINE i8x bytes_of(uint32_t w0, uint32_t w1) { return q_widen(w0 | (uint64_t)w1 << 32); }

Q_INLINE void scales_q2_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    for (int i = 0; i < 16; i += 8) {
        const i8x v = bytes_of(get_u32(b + i), get_u32(b + i + 4));
        put_scales(s + i, v & 15);
        put_mins(mn + i, v >> 4);
    }
}

/* Elements are stored with 4 (or 32) added: mn takes that back, in integers. */
Q_INLINE void scales_q3_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    const uint32_t w0 = get_u32(b + 96), w1 = get_u32(b + 100), hi = get_u32(b + 104), low4 = 0x0f0f0f0f, low2 = 0x03030303;
    const i8x u = bytes_of((w0 & low4) | (hi & low2) << 4, (w1 & low4) | (hi >> 2 & low2) << 4) - 32;
    const i8x v = bytes_of((w0 >> 4 & low4) | (hi >> 4 & low2) << 4, (w1 >> 4 & low4) | (hi >> 6 & low2) << 4) - 32;

    put_scales(s, u);
    put_scales(s + 8, v);
    put_mins(mn, 4 * u);
    put_mins(mn + 8, 4 * v);
}

Q_INLINE void scales_q6_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    for (int i = 0; i < 16; i += 8) {
        const i8x v = (bytes_of(get_u32(b + 192 + i), get_u32(b + 196 + i)) ^ 128) - 128; /* signed */
        put_scales(s + i, v);
        put_mins(mn + i, 32 * v);
    }
}

/* 6-bit fields, four at a time. */
Q_INLINE void scales_q45_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    const uint32_t w0 = get_u32(b + 4), w1 = get_u32(b + 8), w2 = get_u32(b + 12);

    put_scales(s, bytes_of(w0 & 0x3f3f3f3f, (w2 & 0x0f0f0f0f) | (w0 >> 2 & 0x30303030)));
    put_mins(mn, bytes_of(w1 & 0x3f3f3f3f, (w2 >> 4 & 0x0f0f0f0f) | (w1 >> 2 & 0x30303030)));
}
#define scales_q4_k scales_q45_k
#define scales_q5_k scales_q45_k

Q_INLINE void scales_iq4_xs(const uint8_t *b, int32_t *s, int16_t *mn)
{
    const i8x low = { 0, 4, 8, 12, 16, 20, 24, 28 }, high = { 0, 2, 4, 6, 8, 10, 12, 14 };
    const i8x v = ((((i8x){ 0 } + (int32_t)get_u32(b + 4)) >> low & 15) | (((i8x){ 0 } + get_u16(b + 2)) >> high & 3) << 4) - 32;

    put_scales(s, v);
    put_mins(mn, Q_SIGNED_BIAS * v);
}
