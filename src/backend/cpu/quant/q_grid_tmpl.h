/* Types of less than 4 bits: groups of elements from codebooks (IQ1, IQ2, IQ3; core/quants/iq_grids.h) and ternary ones
 * (TQ1, TQ2). Layouts: core/quants/dequant_iq.c. Included after q_unpack_tmpl.h.
 *
 * Elements get a bias that makes them unsigned bytes, small enough for pairs of products to fit 16 bits. It comes off like
 * the minimum of a sub-block, in integers. IQ1 counts in eighths, so that its shift of an eighth is a whole number.
 *
 *               elements             bias      scale of a sub-block     times
 *     IQ1       8 v - 1, 8 v + 1     9         2 s + 1                  d / 8
 *     IQ2       ± 8, 25, 43          64        2 s + 1                  d / 8
 *     IQ3_XXS   ± 4, 12 … 44, 52, 62 64        2 s + 1                  d / 4
 *     IQ3_S     ± 1, 3 … 15          16        2 s + 1                  d
 *     TQ        -1, 0, 1             1         1                        d
 *
 * Elements are decoded row by row, table look-ups have no lanes; panels are transposed from there.
 */
#include "core/quants/iq_grids.h"

enum { BIAS_IQ1 = 9, BIAS_IQ2 = 64, BIAS_IQ3_XXS = 64, BIAS_IQ3_S = 16, BIAS_TQ = 1 };

Q_INLINE uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- elements ---- */

/* Groups of the codebook in a vector; made of words, or they would go through memory */
Q_INLINE b32 eights(const uint64_t *table, unsigned a, unsigned b, unsigned c, unsigned d)
{
    typedef uint64_t w4 __attribute__((vector_size(32)));
    return (b32)(w4){ table[a], table[b], table[c], table[d] };
}
/* q: the low 8 bits of 8 indices; high: a ninth bit of each */
Q_INLINE b32 fours(const uint32_t *table, const uint8_t *q, unsigned high)
{
    typedef uint32_t w8 __attribute__((vector_size(32)));
#define AT(e) table[q[e] | (high << (8 - (e)) & 256)]
    return (b32)(w8){ AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7) };
#undef AT
}

/* bias ± v */
Q_INLINE b32 add_signed(b32 v, uint32_t neg, int bias)
{
    const b32 m = bytes_where((const uint8_t *)&neg);
    return ((v ^ m) - m) + (uint8_t)bias;
}

/* Bytes of seven signs: the eighth makes their number even. */
Q_INLINE uint64_t even_signs(uint64_t v)
{
    uint64_t p = v ^ v >> 4; /* bit 0 of each byte is what counts */
    p ^= p >> 2;
    return v | ((p ^ p >> 1) & 0x0101010101010101) << 7;
}
/* Four times seven bits of each half, from the lowest, to bytes */
Q_INLINE uint64_t sevens(uint64_t v)
{
    v = (v & 0x00003fff00003fff) | (v & 0x0fffc0000fffc000) << 2;
    return (v & 0x007f007f007f007f) | (v & 0x3f803f803f803f80) << 1;
}
/* The top seven bits of four 16-bit words to bytes */
Q_INLINE uint64_t top_sevens(uint64_t v)
{
    v = v >> 9 & 0x007f007f007f007f;
    v = (v | v >> 8) & 0x0000ffff0000ffff;
    return (v | v >> 16) & 0xffffffff;
}

Q_INLINE b32 grid_iq2_xxs(const uint8_t *b, int j)
{
    const uint8_t *q = b + 2 + 8 * j;
    return eights(iq2_xxs_bytes, q[0], q[1], q[2], q[3]);
}
Q_INLINE b32 decode_iq2_xxs(const uint8_t *b, int j)
{
    return add_signed(grid_iq2_xxs(b, j), (uint32_t)even_signs(sevens(get_u32(b + 6 + 8 * j))), BIAS_IQ2);
}

Q_INLINE b32 grid_iq2_xs(const uint8_t *b, int j)
{
    const uint8_t *q = b + 2 + 8 * j;
    return eights(iq2_xs_bytes, get_u16(q) & 511, get_u16(q + 2) & 511, get_u16(q + 4) & 511, get_u16(q + 6) & 511);
}
Q_INLINE b32 decode_iq2_xs(const uint8_t *b, int j)
{
    return add_signed(grid_iq2_xs(b, j), (uint32_t)even_signs(top_sevens(get_u64(b + 2 + 8 * j))), BIAS_IQ2);
}

Q_INLINE b32 grid_iq2_s(const uint8_t *b, int j)
{
    const uint8_t *q = b + 2 + 4 * j;
    const unsigned h = b[66 + j];
    return eights(iq2_s_bytes, q[0] | (h << 8 & 768), q[1] | (h << 6 & 768), q[2] | (h << 4 & 768), q[3] | (h << 2 & 768));
}
Q_INLINE b32 decode_iq2_s(const uint8_t *b, int j) { return add_signed(grid_iq2_s(b, j), get_u32(b + 34 + 4 * j), BIAS_IQ2); }

Q_INLINE b32 grid_iq3_xxs(const uint8_t *b, int j) { return fours(iq3_xxs_bytes, b + 2 + 8 * j, 0); }
Q_INLINE b32 decode_iq3_xxs(const uint8_t *b, int j)
{
    return add_signed(grid_iq3_xxs(b, j), (uint32_t)even_signs(sevens(get_u32(b + 66 + 4 * j))), BIAS_IQ3_XXS);
}

Q_INLINE b32 grid_iq3_s(const uint8_t *b, int j) { return fours(iq3_s_bytes, b + 2 + 8 * j, b[66 + j]); }
Q_INLINE b32 decode_iq3_s(const uint8_t *b, int j) { return add_signed(grid_iq3_s(b, j), get_u32(b + 74 + 4 * j), BIAS_IQ3_S); }

/* The table has 8 (v + 1): 2 more is 8 v + 1 with its bias, 0 more is 8 v - 1. */
Q_INLINE b32 decode_iq1_s(const uint8_t *b, int j)
{
    const uint8_t *q = b + 2 + 4 * j;
    const unsigned h = get_u16(b + 34 + 2 * j);
    const b32 v = eights(iq1_bytes, q[0] | (h << 8 & 1792), q[1] | (h << 5 & 1792), q[2] | (h << 2 & 1792), q[3] | (h >> 1 & 1792));
    return v + (uint8_t)(2 - (h >> 14 & 2));
}
Q_INLINE b32 decode_iq1_m(const uint8_t *b, int j)
{
    const uint8_t *q = b + 4 * j;
    const unsigned h = get_u16(b + 32 + 2 * j);
    const b32 v = eights(iq1_bytes, q[0] | (h << 8 & 1792), q[1] | (h << 4 & 1792), q[2] | (h & 1792), q[3] | (h >> 4 & 1792));
    typedef uint64_t w4 __attribute__((vector_size(32)));
    const w4 minus = (w4)(((w4){ 0 } + h) & (w4){ 8, 128, 2048, 32768 }) != 0;
    return v + ((b32)~minus & 2);
}

/* A byte's digits in base 3, five of them, as a fraction of 256: digit k is the top of q * 3^k. */
Q_INLINE b32 trits(b32 q) { return (b32)(q > 85) + (b32)(q > 170); }

Q_INLINE b32 decode_tq1_0(const uint8_t *b, int j)
{
    const b32 pow3[8] = {
        (b32){ 0 } + 1,
        (b32){ 0 } + 3,
        (b32){ 0 } + 9,
        (b32){ 0 } + 27,
        (b32){ 0 } + 81,
        { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3 },
        { 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27, 27 },
        { 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 81, 1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27 },
    };
    b32 q = ld32(b + (j < 5 ? 0 : 20));

    if (j == 5 || j == 6)
        q = __builtin_shufflevector(q, q, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 12, 13, 14, 15, 16, 17, 18, 19,
                                    20, 21, 22, 23, 24, 25, 26, 27);
    if (j == 7)
        q = __builtin_shufflevector(q, q, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 28, 29, 30, 31,
                                    28, 29, 30, 31, 28, 29, 30, 31);
    return -trits(q * pow3[j]);
}
Q_INLINE b32 decode_tq2_0(const uint8_t *b, int j) { return (ld32(b + 32 * (j / 4)) >> (2 * (j % 4))) & 3; }

/* ---- scales ---- */

Q_INLINE float factor_iq2_xxs(const uint8_t *b) { return q_f16(b) * 0.125f; }
#define factor_iq2_xs factor_iq2_xxs
#define factor_iq2_s  factor_iq2_xxs
#define factor_iq1_s  factor_iq2_xxs
Q_INLINE float factor_iq3_xxs(const uint8_t *b) { return q_f16(b) * 0.25f; }
Q_INLINE float factor_iq3_s(const uint8_t *b) { return q_f16(b); }
/* Its nibbles are the tops of four words. */
Q_INLINE float factor_iq1_m(const uint8_t *b)
{
    const uint8_t h[2] = { (uint8_t)(b[49] >> 4 | (b[51] & 0xf0)), (uint8_t)(b[53] >> 4 | (b[55] & 0xf0)) };
    return q_f16(h) * 0.125f;
}
Q_INLINE float factor_tq1_0(const uint8_t *b) { return q_f16(b + 52); }
Q_INLINE float factor_tq2_0(const uint8_t *b) { return q_f16(b + 64); }

/* 8 scales, s in the table above */
Q_INLINE void put_odd(int32_t *s, int16_t *mn, i8x v, int bias)
{
    put_scales(s, 2 * v + 1);
    put_mins(mn, bias * (2 * v + 1));
}
/* 8 nibbles to bytes */
Q_INLINE uint64_t wide_nibbles(uint64_t v)
{
    v = (v | v << 16) & 0x0000ffff0000ffff;
    v = (v | v << 8) & 0x00ff00ff00ff00ff;
    return (v | v << 4) & 0x0f0f0f0f0f0f0f0f;
}

Q_INLINE void scales_iq2_xxs(const uint8_t *b, int32_t *s, int16_t *mn)
{
    put_odd(s, mn, (i8x){ b[9], b[17], b[25], b[33], b[41], b[49], b[57], b[65] } >> 4, BIAS_IQ2);
}
Q_INLINE void scales_iq3_xxs(const uint8_t *b, int32_t *s, int16_t *mn)
{
    put_odd(s, mn, (i8x){ b[69], b[73], b[77], b[81], b[85], b[89], b[93], b[97] } >> 4, BIAS_IQ3_XXS);
}
Q_INLINE void scales_iq3_s(const uint8_t *b, int32_t *s, int16_t *mn)
{
    put_odd(s, mn, q_widen(wide_nibbles(get_u32(b + 106))), BIAS_IQ3_S);
}
Q_INLINE void scales_16_nibbles(const uint8_t *p, int32_t *s, int16_t *mn)
{
    put_odd(s, mn, q_widen(wide_nibbles(get_u32(p))), BIAS_IQ2);
    put_odd(s + 8, mn + 8, q_widen(wide_nibbles(get_u32(p + 4))), BIAS_IQ2);
}
Q_INLINE void scales_iq2_xs(const uint8_t *b, int32_t *s, int16_t *mn) { scales_16_nibbles(b + 66, s, mn); }
Q_INLINE void scales_iq2_s(const uint8_t *b, int32_t *s, int16_t *mn) { scales_16_nibbles(b + 74, s, mn); }
Q_INLINE void scales_iq1_s(const uint8_t *b, int32_t *s, int16_t *mn)
{
    put_odd(s, mn, (i8x){ b[35], b[37], b[39], b[41], b[43], b[45], b[47], b[49] } >> 4 & 7, BIAS_IQ1);
}
Q_INLINE void scales_iq1_m(const uint8_t *b, int32_t *s, int16_t *mn)
{
    const i8x by = { 0, 3, 6, 9, 0, 3, 6, 9 };
    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        const int32_t v = get_u16(b + 48 + 4 * i), w = get_u16(b + 50 + 4 * i);
        put_odd(s + 8 * i, mn + 8 * i, (i8x){ v, v, v, v, w, w, w, w } >> by & 7, BIAS_IQ1);
    }
}
Q_INLINE void scales_tq1_0(const uint8_t *b, int32_t *s, int16_t *mn)
{
    (void)b;
    put_scales(s, (i8x){ 0 } + 1);
    put_mins(mn, (i8x){ 0 } + BIAS_TQ);
}
#define scales_tq2_0 scales_tq1_0

/* ---- panels ---- */

Q_INLINE void unpack_rows(const unpack_at *u, const int bytes, const int sub, decode_fn decode, scales_fn scales, factor_fn factor)
{
    enum { WORDS = 4 };

    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;
        int32_t scale[QL][16];
        int16_t min[QL][16];
        vu t[WORDS];

        for (int r = 0; r < QL; r++) {
            scales(b + (size_t)r * u->rb, scale[r], min[r]);
            u->p->d[0][r0 + r] = factor(b + (size_t)r * u->rb);
        }
        for (int i = 0; i < Q_CHUNK / sub; i += WORDS) {
            turn(t, (const uint8_t *)&scale[0][i], sizeof scale[0]);
            for (int k = 0; k < WORDS; k++) memcpy(&u->p->scale[i + k][r0], &t[k], sizeof t[k]);
        }
        for (int i = 0; i < Q_CHUNK / sub / 2; i += WORDS) {
            turn(t, (const uint8_t *)&min[0][2 * i], sizeof min[0]);
            for (int k = 0; k < WORDS; k++) memcpy(&u->p->min[i + k][r0], &t[k], sizeof t[k]);
        }
        Q_UNROLL
        for (int j = 0; j < 8; j++) {
            b32 q[QL];
            if (!r0) ask(u, 2 * j, bytes), ask(u, 2 * j + 1, bytes);
            for (int r = 0; r < QL; r++) q[r] = decode(b + (size_t)r * u->rb, j);
            for (int h = 0; h < 2; h++) {
                turn(t, (const uint8_t *)&q[0] + 16 * h, sizeof q[0]);
                for (int k = 0; k < WORDS; k++) put_step(u->p, 8 * j + 4 * h + k, r0, t[k]);
            }
        }
    }
}

#define unpack_iq1_s(u)   unpack_rows(u, 50, 32, decode_iq1_s, scales_iq1_s, factor_iq1_s)
#define unpack_iq1_m(u)   unpack_rows(u, 56, 16, decode_iq1_m, scales_iq1_m, factor_iq1_m)
#define unpack_iq2_xxs(u) unpack_rows(u, 66, 32, decode_iq2_xxs, scales_iq2_xxs, factor_iq2_xxs)
#define unpack_iq2_xs(u)  unpack_rows(u, 74, 16, decode_iq2_xs, scales_iq2_xs, factor_iq2_xs)
#define unpack_iq2_s(u)   unpack_rows(u, 82, 16, decode_iq2_s, scales_iq2_s, factor_iq2_s)
#define unpack_iq3_xxs(u) unpack_rows(u, 98, 32, decode_iq3_xxs, scales_iq3_xxs, factor_iq3_xxs)
#define unpack_iq3_s(u)   unpack_rows(u, 110, 32, decode_iq3_s, scales_iq3_s, factor_iq3_s)
#define unpack_tq1_0(u)   unpack_rows(u, 54, 32, decode_tq1_0, scales_tq1_0, factor_tq1_0)
#define unpack_tq2_0(u)   unpack_rows(u, 66, 32, decode_tq2_0, scales_tq2_0, factor_tq2_0)
