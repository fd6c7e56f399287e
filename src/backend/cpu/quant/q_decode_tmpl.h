/* Block decoders: 32 elements at a time as a vector of bytes, scales as integers. Plain C vectors, compiled once per
 * instruction set; included after its vec file (which gives q_lut, q_half and Q_SCALE).
 *
 * decode_<type>(b, j): elements [32 j, 32 j + 32) of block b. Unsigned, unless the type is listed as signed in q_table_tmpl.h.
 * scales_<type>(b, s, mn): per sub-block s[] (as Q_SCALE makes it) and mn[] (what is multiplied with the sums of x).
 */
#define Q_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define Q_UNROLL _Pragma("unroll")
#else
#define Q_UNROLL _Pragma("GCC unroll 16")
#endif

typedef uint8_t b16 __attribute__((vector_size(16)));

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

/* 32 bits to bytes of 0 or 16 */
Q_INLINE b32 fifth_bits(const uint8_t *p)
{
    const b32 bit = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
    b16 v = { p[0], p[1], p[2], p[3] };
    b32 w = __builtin_shufflevector(v, v, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    return (b32)((w & bit) == bit) & 16;
}

/* ---- blocks of 32 ---- */

Q_INLINE b32 decode_q4_0(const uint8_t *b, int j) { (void)j; return nibbles(b + 2); }
Q_INLINE b32 decode_q4_1(const uint8_t *b, int j) { (void)j; return nibbles(b + 4); }
Q_INLINE b32 decode_q5_0(const uint8_t *b, int j) { (void)j; return nibbles(b + 6) | fifth_bits(b + 2); }
Q_INLINE b32 decode_q5_1(const uint8_t *b, int j) { (void)j; return nibbles(b + 8) | fifth_bits(b + 4); }
Q_INLINE b32 decode_q8_0(const uint8_t *b, int j) { (void)j; return ld32(b + 2); }
Q_INLINE b32 decode_iq4_nl(const uint8_t *b, int j) { (void)j; return q_lut(iq4_levels, nibbles(b + 2)); }

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

Q_INLINE void scales_q2_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    for (int i = 0; i < 16; i++) {
        s[i] = Q_SCALE(b[i] & 15);
        mn[i] = b[i] >> 4;
    }
}

/* Elements are stored with 4 (or 32) added: mn takes that back, in integers. */
Q_INLINE void scales_q3_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    for (int i = 0; i < 16; i++) {
        int v = get_scale_q3k(b + 96, i);
        s[i] = Q_SCALE(v);
        mn[i] = (int16_t)(4 * v);
    }
}

Q_INLINE void scales_q6_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    for (int i = 0; i < 16; i++) {
        int v = (int8_t)b[192 + i];
        s[i] = Q_SCALE(v);
        mn[i] = (int16_t)(32 * v);
    }
}

/* Four 6-bit fields at a time, as bytes of a word. */
Q_INLINE void scales_q45_k(const uint8_t *b, int32_t *s, int16_t *mn)
{
    uint32_t w[3], v[4];
    uint8_t e[16];

    memcpy(w, b + 4, 12);
    v[0] = w[0] & 0x3f3f3f3f;
    v[1] = (w[2] & 0x0f0f0f0f) | ((w[0] >> 2) & 0x30303030);
    v[2] = w[1] & 0x3f3f3f3f;
    v[3] = ((w[2] >> 4) & 0x0f0f0f0f) | ((w[1] >> 2) & 0x30303030);
    memcpy(e, v, 16);
    for (int i = 0; i < 8; i++) s[i] = Q_SCALE(e[i]);
    for (int i = 0; i < 8; i++) mn[i] = e[8 + i];
}
#define scales_q4_k scales_q45_k
#define scales_q5_k scales_q45_k

Q_INLINE void scales_iq4_xs(const uint8_t *b, int32_t *s, int16_t *mn)
{
    const unsigned hi = get_u16(b + 2);
    for (int i = 0; i < 8; i++) {
        int v = (int)(((b[4 + i / 2] >> (4 * (i % 2))) & 15) | ((hi >> (2 * i)) & 3) << 4) - 32;
        s[i] = Q_SCALE(v);
        mn[i] = (int16_t)(Q_SIGNED_BIAS * v);
    }
}
