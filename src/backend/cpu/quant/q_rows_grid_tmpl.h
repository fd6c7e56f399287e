/* Few rows of the types in q_grid_tmpl.h with vectors of 64 bytes. Included after q_rows_tmpl.h. */
#define NOINLINE __attribute__((noinline))

/* 32 bytes and 32 bytes */
Q_INLINE vu z_join(b32 a, b32 b) { return z_pair(&a, &b); }

/* bias ± v, by 64 signs */
Q_INLINE vu z_add_signed(vu v, uint64_t neg, const uint32_t bias)
{
    const __m512i b = _mm512_set1_epi32((int32_t)EACH_BYTE(bias));
    return (vu)_mm512_mask_sub_epi8(_mm512_add_epi8(b, (__m512i)v), neg, b, (__m512i)v);
}

/* Scales of vectors of 64 elements, from the bytes in the head */
Q_INLINE void z_scales_16(vi s[NZ], const rows_head *h, int r)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) s[z] = z_halves(h->scale[z][r], 0, 1, 2, 3);
}
Q_INLINE void z_scales_32(vi s[NZ], const rows_head *h, int r)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z += 2) {
        s[z] = z_halves(h->scale[z / 2][r], 0, 0, 1, 1);
        s[z + 1] = z_halves(h->scale[z / 2][r], 2, 2, 3, 3);
    }
}

/* Four scales s as 2 s + 1: they count as minima too, times the bias. */
Q_INLINE void head_odd(rows_head *h, int i, vu s)
{
    h->min[i] = s << 1 | EACH_BYTE(1);
    memcpy(h->scale[i], &h->min[i], sizeof h->scale[i]);
}
/* The lowest four nibbles to bytes */
Q_INLINE vu four_nibbles(vu v)
{
    v = (v & 0xff) | (v << 8 & 0xff0000);
    return (v | v << 4) & EACH_BYTE(15);
}
Q_INLINE vf z_factor(const uint8_t *b, size_t rb)
{
    uint16_t d[QL];
    Q_UNROLL
    for (int r = 0; r < QL; r++) memcpy(&d[r], b + (size_t)r * rb, 2);
    return q_f16s(d);
}

Q_INLINE void head_iq2_xxs(rows_head *h, const uint8_t *b, size_t rb)
{
    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        vu t[8];
        turn(t, b + 2 + 32 * i, rb);
        turn(t + 4, b + 18 + 32 * i, rb);
        head_odd(h, i, t[1] >> 28 | t[3] >> 28 << 8 | t[5] >> 28 << 16 | t[7] >> 28 << 24);
    }
    h->d = z_factor(b, rb) * 0.125f;
}
static NOINLINE void elements_iq2_xxs(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) {
        const uint64_t neg = even_signs(sevens(get_u32(b + 6 + 16 * z) | get_u64(b + 10 + 16 * z) >> 32 << 32));
        q[z] = z_add_signed(z_join(grid_iq2_xxs(b, 2 * z), grid_iq2_xxs(b, 2 * z + 1)), neg, BIAS_IQ2);
    }
}

/* 16 nibbles at p of each row */
Q_INLINE void head_16_nibbles(rows_head *h, const uint8_t *p, size_t rb)
{
    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        const vu w = words_of(p + 4 * i, rb);
        head_odd(h, 2 * i, four_nibbles(w));
        head_odd(h, 2 * i + 1, four_nibbles(w >> 16));
    }
}
Q_INLINE void head_iq2_xs(rows_head *h, const uint8_t *b, size_t rb)
{
    head_16_nibbles(h, b + 66, rb);
    h->d = z_factor(b, rb) * 0.125f;
}
static NOINLINE void elements_iq2_xs(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) {
        const uint64_t neg = even_signs(top_sevens(get_u64(b + 2 + 16 * z)) | top_sevens(get_u64(b + 10 + 16 * z)) << 32);
        q[z] = z_add_signed(z_join(grid_iq2_xs(b, 2 * z), grid_iq2_xs(b, 2 * z + 1)), neg, BIAS_IQ2);
    }
}

Q_INLINE void head_iq2_s(rows_head *h, const uint8_t *b, size_t rb)
{
    head_16_nibbles(h, b + 74, rb);
    h->d = z_factor(b, rb) * 0.125f;
}
static NOINLINE void elements_iq2_s(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++)
        q[z] = z_add_signed(z_join(grid_iq2_s(b, 2 * z), grid_iq2_s(b, 2 * z + 1)), get_u64(b + 34 + 8 * z), BIAS_IQ2);
}

Q_INLINE void head_iq3_xxs(rows_head *h, const uint8_t *b, size_t rb)
{
    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        vu t[4];
        turn(t, b + 66 + 16 * i, rb);
        head_odd(h, i, t[0] >> 28 | t[1] >> 28 << 8 | t[2] >> 28 << 16 | t[3] >> 28 << 24);
    }
    h->d = z_factor(b, rb) * 0.25f;
}
static NOINLINE void elements_iq3_xxs(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++)
        q[z] = z_add_signed(z_join(grid_iq3_xxs(b, 2 * z), grid_iq3_xxs(b, 2 * z + 1)), even_signs(sevens(get_u64(b + 66 + 8 * z))),
                            BIAS_IQ3_XXS);
}

Q_INLINE void head_iq3_s(rows_head *h, const uint8_t *b, size_t rb)
{
    const vu w = words_of(b + 106, rb);
    head_odd(h, 0, four_nibbles(w));
    head_odd(h, 1, four_nibbles(w >> 16));
    h->d = z_factor(b, rb);
}
static NOINLINE void elements_iq3_s(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++)
        q[z] = z_add_signed(z_join(grid_iq3_s(b, 2 * z), grid_iq3_s(b, 2 * z + 1)), get_u64(b + 74 + 8 * z), BIAS_IQ3_S);
}

Q_INLINE void head_iq1_s(rows_head *h, const uint8_t *b, size_t rb)
{
    vu t[4];

    turn(t, b + 34, rb);
    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        const vu u = t[2 * i] >> 12 & 0x70007, w = t[2 * i + 1] >> 12 & 0x70007;
        head_odd(h, i, (u & 7) | (u >> 8 & 0x700) | (w & 7) << 16 | (w << 8 & 0x7000000));
    }
    h->d = z_factor(b, rb) * 0.125f;
}
static NOINLINE void elements_iq1_s(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) q[z] = z_join(decode_iq1_s(b, 2 * z), decode_iq1_s(b, 2 * z + 1));
}

Q_INLINE void head_iq1_m(rows_head *h, const uint8_t *b, size_t rb)
{
    vu d = { 0 };

    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        const vu w = words_of(b + 48 + 4 * i, rb);
        Q_UNROLL
        for (int k = 0; k < 2; k++) {
            const vu v = w >> (16 * k);
            head_odd(h, 2 * i + k, (v & 7) | (v << 5 & 0x700) | (v << 10 & 0x70000) | (v << 15 & 0x7000000));
            d |= (v >> 12 & 15) << (8 * i + 4 * k);
        }
    }
    h->d = q_f16_low((vi)d) * 0.125f;
}
static NOINLINE void elements_iq1_m(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) q[z] = z_join(decode_iq1_m(b, 2 * z), decode_iq1_m(b, 2 * z + 1));
}

Q_INLINE void head_ones(rows_head *h)
{
    head_odd(h, 0, (vu){ 0 });
    head_odd(h, 1, (vu){ 0 });
}
Q_INLINE void head_tq1_0(rows_head *h, const uint8_t *b, size_t rb)
{
    head_ones(h);
    h->d = z_factor(b + 52, rb);
}
static NOINLINE void elements_tq1_0(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < NZ; z++) q[z] = z_join(decode_tq1_0(b, 2 * z), decode_tq1_0(b, 2 * z + 1));
}
Q_INLINE void head_tq2_0(rows_head *h, const uint8_t *b, size_t rb)
{
    head_ones(h);
    h->d = z_factor(b + 64, rb);
}
static NOINLINE void elements_tq2_0(vu q[NZ], const uint8_t *b) { two_bits(q, b); }

/* Elements come by a call: inlined 16 times for each number of activation rows, they take a compiler minutes. */
#define ROW(name, sub)                                                                                                                     \
    Q_INLINE void row_##name(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)                                              \
    {                                                                                                                                      \
        elements_##name(q, b);                                                                                                             \
        z_scales_##sub(s, h, r);                                                                                                           \
    }
ROW(iq1_s, 32)
ROW(iq1_m, 16)
ROW(iq2_xxs, 32)
ROW(iq2_xs, 16)
ROW(iq2_s, 16)
ROW(iq3_xxs, 32)
ROW(iq3_s, 32)
ROW(tq1_0, 32)
ROW(tq2_0, 32)
#undef ROW

#define ROWS_GRID(name, bytes, sub, bias) ((rows_type){ bytes, sub, OFF_BIAS, bias, ORDER_PLAIN, head_##name, row_##name })
#define ROWS_iq1_s                        ROWS_GRID(iq1_s, 50, 32, BIAS_IQ1)
#define ROWS_iq1_m                        ROWS_GRID(iq1_m, 56, 16, BIAS_IQ1)
#define ROWS_iq2_xxs                      ROWS_GRID(iq2_xxs, 66, 32, BIAS_IQ2)
#define ROWS_iq2_xs                       ROWS_GRID(iq2_xs, 74, 16, BIAS_IQ2)
#define ROWS_iq2_s                        ROWS_GRID(iq2_s, 82, 16, BIAS_IQ2)
#define ROWS_iq3_xxs                      ROWS_GRID(iq3_xxs, 98, 32, BIAS_IQ3_XXS)
#define ROWS_iq3_s                        ROWS_GRID(iq3_s, 110, 32, BIAS_IQ3_S)
#define ROWS_tq1_0                        ROWS_GRID(tq1_0, 54, 32, BIAS_TQ)
#define ROWS_tq2_0                        ROWS_GRID(tq2_0, 66, 32, BIAS_TQ)
