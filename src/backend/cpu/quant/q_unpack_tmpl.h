/* Weights to panels (quant.h): rows become lanes. Included after q_decode_tmpl.h and q_tile_tmpl.h.
 *
 * 16 bytes of each of QL rows are four vectors after a transposition of 4 x 4 words: lane r of vector i holds bytes
 * [4 i, 4 i + 4) of row r. Only then are the elements taken out of them, so that a few operations on whole vectors decode 4
 * elements of every row at once, and scales likewise. What a row stores as words or halves (factors, scales) is first
 * copied beside its neighbours' with plain moves.
 */
typedef uint32_t vu __attribute__((vector_size(4 * Q_LANES)));

enum { CHUNK_BYTES_MAX = 8 * 34 }; /* of any type: Q8_0 */

#define Z4(n, b, i, j, k, l)                                                                                                               \
    (b) + (i) % 4 + (i) / 4 * (n), (b) + (j) % 4 + (j) / 4 * (n), (b) + (k) % 4 + (k) / 4 * (n), (b) + (l) % 4 + (l) / 4 * (n)
#if Q_LANES == 16
#define ZIP(a, b, i, j, k, l)                                                                                                              \
    __builtin_shufflevector(a, b, Z4(16, 0, i, j, k, l), Z4(16, 4, i, j, k, l), Z4(16, 8, i, j, k, l), Z4(16, 12, i, j, k, l))
#elif Q_LANES == 8
#define ZIP(a, b, i, j, k, l) __builtin_shufflevector(a, b, Z4(8, 0, i, j, k, l), Z4(8, 4, i, j, k, l))
#else
#define ZIP(a, b, i, j, k, l) __builtin_shufflevector(a, b, Z4(4, 0, i, j, k, l))
#endif

/* What a call works on. Ahead of it memory is asked for: piece i of 16 lies at ahead + i * ahead_step, and is as long as a
 * chunk of a row. */
typedef struct unpack_at {
    q_panel *p;
    const uint8_t *w; /* Q_ROWS rows, row_bytes apart */
    size_t rb;
    int n_col;
    const uint8_t *ahead;
    size_t ahead_step;
} unpack_at;

/* Piece i of what is ahead, from byte `from` of it on: every 64th of the piece */
Q_INLINE void ask_part(const unpack_at *u, int i, const int from, const int to)
{
    Q_UNROLL
    for (int o = (from + 63) / 64 * 64; o < to; o += 64) __builtin_prefetch(u->ahead + (size_t)i * u->ahead_step + o, 0, Q_ASK_LEVEL);
}
Q_INLINE void ask(const unpack_at *u, int i, const int bytes) { ask_part(u, i, 0, bytes); }

/* 16 bytes at p, p + rb, … of QL rows, transposed */
Q_INLINE void turn(vu t[4], const uint8_t *p, size_t rb)
{
    const vu a = (vu)q_rows_of_16(p, rb), b = (vu)q_rows_of_16(p + rb, rb), c = (vu)q_rows_of_16(p + 2 * rb, rb),
             d = (vu)q_rows_of_16(p + 3 * rb, rb);
    const vu ab = ZIP(a, b, 0, 4, 1, 5), cd = ZIP(c, d, 0, 4, 1, 5), ab2 = ZIP(a, b, 2, 6, 3, 7), cd2 = ZIP(c, d, 2, 6, 3, 7);

    t[0] = ZIP(ab, cd, 0, 1, 4, 5);
    t[1] = ZIP(ab, cd, 2, 3, 6, 7);
    t[2] = ZIP(ab2, cd2, 0, 1, 4, 5);
    t[3] = ZIP(ab2, cd2, 2, 3, 6, 7);
}

Q_INLINE void put_step(q_panel *p, int step, int r0, vu v) { memcpy(p->q + (step * Q_ROWS + r0) * 4, &v, sizeof v); }

/* The word at p of each of QL rows */
Q_INLINE vu words_of(const uint8_t *p, size_t rb)
{
    uint32_t w[QL];
    vu v;

    Q_UNROLL
    for (int r = 0; r < QL; r++) memcpy(&w[r], p + (size_t)r * rb, 4);
    memcpy(&v, w, sizeof v);
    return v;
}

/* Q_ROWS rows of whole chunks of `chunk` bytes, or what u->n_col says of them. n are left: those missing become zero. */
Q_INLINE void fill_rows(unpack_at u, int n, const int chunk, void (*fill)(const unpack_at *u))
{
    uint8_t rows[Q_ROWS * CHUNK_BYTES_MAX];
    const size_t bytes = (size_t)chunk * (size_t)u.n_col / Q_CHUNK;

    if (n < Q_ROWS) {
        memset(rows, 0, (size_t)(Q_ROWS * chunk));
        for (int r = 0; r < n; r++) memcpy(rows + r * chunk, u.w + (size_t)r * u.rb, bytes);
        u.w = rows;
        u.rb = (size_t)chunk;
    }
    fill(&u);
}

/* The panels of a tile */
Q_INLINE void fill_panels(unpack_at u, int n, const int chunk, void (*fill)(const unpack_at *u))
{
    for (int i = 0; i < Q_PANELS; i++, u.p++, u.w += Q_ROWS * u.rb, u.ahead += Q_ROWS * u.ahead_step, n -= Q_ROWS)
        fill_rows(u, n, chunk, fill);
}

#define EACH_BYTE(v) (0x01010101u * (v))

/* Sub-block j's scale: signed or unsigned byte j % 4 of a word */
Q_INLINE void put_scale(q_panel *p, int j, int r0, vi v)
{
    v = Q_SCALE(v);
    memcpy(&p->scale[j][r0], &v, sizeof v);
}
Q_INLINE vi byte_of(vu w, int i) { return (vi)(w >> (8 * i) & 255); }
Q_INLINE vi sbyte_of(vu w, int i) { return (vi)(w << (24 - 8 * i)) >> 24; }

/* Scales of sub-blocks j and j + 1; join: of a type whose sums may be joined */
Q_INLINE void put_scales_2(q_panel *p, int j, int r0, vi a, vi b, const bool join)
{
    if (Q_JOIN && join) a = (a & 0xffff) | b << 16, memcpy(&p->scale[j / 2][r0], &a, sizeof a);
    else put_scale(p, j, r0, a), put_scale(p, j + 1, r0, b);
}

/* Minima of sub-blocks 2 i and 2 i + 1 */
Q_INLINE void put_min(q_panel *p, int i, int r0, vi a, vi b)
{
    const vi v = (a & 0xffff) | b << 16;
    memcpy(&p->min[i][r0], &v, sizeof v);
}

Q_INLINE void put_float(float *o, vf v) { memcpy(o, &v, sizeof v); }

/* ---- blocks of 32, n_col / 32 of them ---- */

/* The f16 at p of each row; from the second one on the same copies */
Q_INLINE void block_factors(q_panel *p, const uint8_t *b, size_t rb, int j, int r0, const bool two)
{
    const vu w = two ? words_of(b, rb) : (vu){ 0 };
    uint16_t h[QL];

    if (two) {
        put_float(&p->d[j][r0], q_f16_low((vi)w));
        put_float(&p->m[j][r0], q_f16_low((vi)(w >> 16)));
        return;
    }
    Q_UNROLL
    for (int r = 0; r < QL; r++) memcpy(&h[r], b + (size_t)r * rb, 2);
    put_float(&p->d[j][r0], q_f16s(h));
}

enum { BITS_4, BITS_5, BITS_8, BITS_LEVELS };

/* bits 4 i … 4 i + 3 of each word to the fifth bits of 4 bytes */
Q_INLINE vu fifths(vu high, int i) { return (((high >> (4 * i) & 15) * 0x00204081u) & EACH_BYTE(1)) << 4; }

Q_INLINE void unpack_blocks(const unpack_at *u, const int bytes, const int at_q, const int kind, const bool two)
{
    for (int j = 0; j < u->n_col / 32; j++) {
        Q_UNROLL
        for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
            const uint8_t *b = u->w + j * bytes + (size_t)r0 * u->rb, *q = b + at_q;
            vu t[4], high = { 0 };

            if (!r0) ask(u, 2 * j, 8 * bytes);
            block_factors(u->p, b, u->rb, j, r0, two);
            if (kind == BITS_5) high = words_of(q - 4, u->rb);
            turn(t, q, u->rb);
            Q_UNROLL
            for (int i = 0; i < 4; i++) {
                vu lo = t[i] & EACH_BYTE(15), hi = t[i] >> 4 & EACH_BYTE(15);
                if (kind == BITS_8) lo = t[i] ^ EACH_BYTE(Q_SIGNED_BIAS);
                if (kind == BITS_LEVELS)
                    lo = (vu)q_levels((vi)lo) ^ EACH_BYTE(Q_SIGNED_BIAS), hi = (vu)q_levels((vi)hi) ^ EACH_BYTE(Q_SIGNED_BIAS);
                if (kind == BITS_5) lo |= fifths(high, i), hi |= fifths(high, 4 + i);
                put_step(u->p, 8 * j + i, r0, lo);
                if (kind != BITS_8) put_step(u->p, 8 * j + 4 + i, r0, hi);
            }
            if (!r0) ask(u, 2 * j + 1, 8 * bytes);
            if (kind != BITS_8) continue;
            turn(t, q + 16, u->rb);
            Q_UNROLL
            for (int i = 0; i < 4; i++) put_step(u->p, 8 * j + 4 + i, r0, t[i] ^ EACH_BYTE(Q_SIGNED_BIAS));
        }
    }
}

#define unpack_q4_0(u)   unpack_blocks(u, 18, 2, BITS_4, false)
#define unpack_q4_1(u)   unpack_blocks(u, 20, 4, BITS_4, true)
#define unpack_q5_0(u)   unpack_blocks(u, 22, 6, BITS_5, false)
#define unpack_q5_1(u)   unpack_blocks(u, 24, 8, BITS_5, true)
#define unpack_q8_0(u)   unpack_blocks(u, 34, 2, BITS_8, false)
#define unpack_iq4_nl(u) unpack_blocks(u, 18, 2, BITS_LEVELS, false)

/* ---- super-blocks ---- */

Q_INLINE void super_factors(q_panel *p, const uint8_t *b, size_t rb, int r0, const bool two) { block_factors(p, b, rb, 0, r0, two); }

/* Words of low bits: part i (16 bytes) of the 32 that sub-blocks j and j + 1 share as nibbles */
Q_INLINE void unpack_q45_k(const unpack_at *u, const int bytes, const int at_q, const bool five)
{
    Q_UNROLL
    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;
        const vu w0 = words_of(b + 4, u->rb), w1 = words_of(b + 8, u->rb), w2 = words_of(b + 12, u->rb);
        const vu s0 = w0 & EACH_BYTE(63), s1 = (w2 & EACH_BYTE(15)) | (w0 >> 2 & EACH_BYTE(48));
        const vu m0 = w1 & EACH_BYTE(63), m1 = (w2 >> 4 & EACH_BYTE(15)) | (w1 >> 2 & EACH_BYTE(48));
        vu high[8];

        super_factors(u->p, b, u->rb, r0, true);
        Q_UNROLL
        for (int j = 0; j < 4; j += 2) {
            put_scales_2(u->p, j, r0, byte_of(s0, j), byte_of(s0, j + 1), !five);
            put_scales_2(u->p, 4 + j, r0, byte_of(s1, j), byte_of(s1, j + 1), !five);
        }
        Q_UNROLL
        for (int i = 0; i < 2; i++) {
            put_min(u->p, i, r0, byte_of(m0, 2 * i), byte_of(m0, 2 * i + 1));
            put_min(u->p, 2 + i, r0, byte_of(m1, 2 * i), byte_of(m1, 2 * i + 1));
        }
        if (five) turn(high, b + 16, u->rb), turn(high + 4, b + 32, u->rb);
        for (int h = 0; h < 4; h++) {
            Q_UNROLL
            for (int g = 0; g < 2; g++) {
                vu t[4];
                turn(t, b + at_q + 32 * h + 16 * g, u->rb);
                if (!r0) ask(u, 4 * h + 2 * g, bytes), ask(u, 4 * h + 2 * g + 1, bytes);
                Q_UNROLL
                for (int i = 0; i < 4; i++) {
                    const int step = 16 * h + 4 * g + i;
                    vu lo = t[i] & EACH_BYTE(15), hi = t[i] >> 4 & EACH_BYTE(15);
                    if (five) {
                        lo |= (high[4 * g + i] & EACH_BYTE(1)) << 4;
                        hi |= (high[4 * g + i] & EACH_BYTE(2)) << 3;
                        high[4 * g + i] >>= 2;
                    }
                    put_step(u->p, step, r0, lo);
                    put_step(u->p, step + 8, r0, hi);
                }
            }
        }
    }
}
#define unpack_q4_k(u) unpack_q45_k(u, 144, 16, false)
#define unpack_q5_k(u) unpack_q45_k(u, 176, 48, true)

Q_INLINE void unpack_q6_k(const unpack_at *u)
{
    Q_UNROLL
    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;

        super_factors(u->p, b + 208, u->rb, r0, false);
        Q_UNROLL
        for (int j = 0; j < 4; j++) {
            const vu s = words_of(b + 192 + 4 * j, u->rb);
            Q_UNROLL
            for (int i = 0; i < 4; i += 2) put_scales_2(u->p, 4 * j + i, r0, sbyte_of(s, i), sbyte_of(s, i + 1), true);
            put_min(u->p, 2 * j, r0, 32 * sbyte_of(s, 0), 32 * sbyte_of(s, 1));
            put_min(u->p, 2 * j + 1, r0, 32 * sbyte_of(s, 2), 32 * sbyte_of(s, 3));
        }
        for (int h = 0; h < 2; h++) {
            Q_UNROLL
            for (int g = 0; g < 2; g++) {
                vu high[4], a[4], c[4];
                if (!r0)
                    for (int i = 0; i < 4; i++) ask(u, 8 * h + 4 * g + i, 210);
                turn(high, b + 128 + 32 * h + 16 * g, u->rb);
                turn(a, b + 64 * h + 16 * g, u->rb);
                turn(c, b + 64 * h + 32 + 16 * g, u->rb);
                Q_UNROLL
                for (int i = 0; i < 4; i++) {
                    const int step = 32 * h + 4 * g + i;
                    put_step(u->p, step, r0, (a[i] & EACH_BYTE(15)) | (high[i] << 4 & EACH_BYTE(48)));
                    put_step(u->p, step + 8, r0, (c[i] & EACH_BYTE(15)) | (high[i] << 2 & EACH_BYTE(48)));
                    put_step(u->p, step + 16, r0, (a[i] >> 4 & EACH_BYTE(15)) | (high[i] & EACH_BYTE(48)));
                    put_step(u->p, step + 24, r0, (c[i] >> 4 & EACH_BYTE(15)) | (high[i] >> 2 & EACH_BYTE(48)));
                }
            }
        }
    }
}

/* 2 bits from 64 bytes, and for Q3_K a third from 32 */
Q_INLINE void unpack_q23_k(const unpack_at *u, const uint8_t *b, int r0, const int at_q, const int bytes, const bool three)
{
    vu high[8];

    if (three) turn(high, b, u->rb), turn(high + 4, b + 16, u->rb);
    for (int h = 0; h < 2; h++) {
        Q_UNROLL
        for (int g = 0; g < 2; g++) {
            vu t[4];
            if (!r0)
                for (int i = 0; i < 4; i++) ask(u, 8 * h + 4 * g + i, bytes);
            turn(t, b + at_q + 32 * h + 16 * g, u->rb);
            Q_UNROLL
            for (int i = 0; i < 4; i++) Q_UNROLL
            for (int s = 0; s < 4; s++) {
                vu v = t[i] >> (2 * s) & EACH_BYTE(3);
                if (three) v |= s < 2 ? high[4 * g + i] << (2 - s) & EACH_BYTE(4) : high[4 * g + i] >> (s - 2) & EACH_BYTE(4);
                put_step(u->p, 32 * h + 8 * s + 4 * g + i, r0, v);
            }
            if (three) {
                Q_UNROLL
                for (int i = 0; i < 4; i++) high[4 * g + i] >>= 4;
            }
        }
    }
}

Q_INLINE void unpack_q2_k(const unpack_at *u)
{
    Q_UNROLL
    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;

        super_factors(u->p, b + 80, u->rb, r0, true);
        Q_UNROLL
        for (int j = 0; j < 4; j++) {
            const vu w = words_of(b + 4 * j, u->rb), s = w & EACH_BYTE(15), m = w >> 4 & EACH_BYTE(15);
            Q_UNROLL
            for (int i = 0; i < 4; i += 2) put_scales_2(u->p, 4 * j + i, r0, byte_of(s, i), byte_of(s, i + 1), true);
            put_min(u->p, 2 * j, r0, byte_of(m, 0), byte_of(m, 1));
            put_min(u->p, 2 * j + 1, r0, byte_of(m, 2), byte_of(m, 3));
        }
        unpack_q23_k(u, b, r0, 16, 84, false);
    }
}

Q_INLINE void unpack_q3_k(const unpack_at *u)
{
    Q_UNROLL
    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;
        const vu w0 = words_of(b + 96, u->rb), w1 = words_of(b + 100, u->rb), hi = words_of(b + 104, u->rb);

        super_factors(u->p, b + 108, u->rb, r0, false);
        Q_UNROLL
        for (int j = 0; j < 4; j++) {
            const vu s = ((j % 2 ? w1 : w0) >> (j / 2 * 4) & EACH_BYTE(15)) | (hi >> (2 * j) & EACH_BYTE(3)) << 4;
            vi v[4];
            Q_UNROLL
            for (int i = 0; i < 4; i++) v[i] = byte_of(s, i) - 32;
            Q_UNROLL
            for (int i = 0; i < 4; i += 2) put_scales_2(u->p, 4 * j + i, r0, v[i], v[i + 1], true);
            put_min(u->p, 2 * j, r0, 4 * v[0], 4 * v[1]);
            put_min(u->p, 2 * j + 1, r0, 4 * v[2], 4 * v[3]);
        }
        unpack_q23_k(u, b, r0, 32, 110, true);
    }
}

Q_INLINE void unpack_iq4_xs(const unpack_at *u)
{
    Q_UNROLL
    for (int r0 = 0; r0 < Q_ROWS; r0 += QL) {
        const uint8_t *b = u->w + (size_t)r0 * u->rb;
        const vu high = words_of(b, u->rb) >> 16, low = words_of(b + 4, u->rb);

        super_factors(u->p, b, u->rb, r0, false);
        Q_UNROLL
        for (int j = 0; j < 8; j += 2) {
            const vi s0 = (vi)((low >> (4 * j) & 15) | (high >> (2 * j) & 3) << 4) - 32;
            const vi s1 = (vi)((low >> (4 * j + 4) & 15) | (high >> (2 * j + 2) & 3) << 4) - 32;
            put_scale(u->p, j, r0, s0);
            put_scale(u->p, j + 1, r0, s1);
            if (Q_SIGNED_BIAS) put_min(u->p, j / 2, r0, Q_SIGNED_BIAS * s0, Q_SIGNED_BIAS * s1);
        }
        for (int j = 0; j < 8; j++) {
            vu t[4];
            if (!r0) ask(u, 2 * j, 136), ask(u, 2 * j + 1, 136);
            turn(t, b + 8 + 16 * j, u->rb);
            Q_UNROLL
            for (int i = 0; i < 4; i++) {
                put_step(u->p, 8 * j + i, r0, (vu)q_levels((vi)(t[i] & EACH_BYTE(15))) ^ EACH_BYTE(Q_SIGNED_BIAS));
                put_step(u->p, 8 * j + 4 + i, r0, (vu)q_levels((vi)(t[i] >> 4 & EACH_BYTE(15))) ^ EACH_BYTE(Q_SIGNED_BIAS));
            }
        }
    }
}
