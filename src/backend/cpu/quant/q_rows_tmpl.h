/* Few rows with vectors of 64 bytes: along the rows (quant.h). Included after q_unpack_tmpl.h.
 *
 * Q_ROWS weight rows at a time, a chunk of each. What they hold of scales, minima and factors is decoded for all of them
 * together, a lane a row. Their elements are decoded row by row, 64 in a vector, and multiplied in registers by the n
 * activation rows; each row leaves a vector of partial sums, and 16 of those are summed across lanes together into a
 * vector with a lane for each row, which goes through the float32 arithmetic.
 */
enum { NZ = Q_CHUNK / 64 };   /* vectors of a chunk */
enum { ROWS_K_MIN = 4 * 32 }; /* shorter rows go through panels */

typedef struct rows_head {
    uint32_t scale[4][Q_ROWS]; /* 4 bytes each: scales of sub-blocks */
    vu min[4];                 /* 4 bytes each: minima, of the types that have them */
    vf d, m;
} rows_head;

/* The 4 x 4 lanes' sums of rows 4 i … 4 i + 3: lane l has one element of each */
Q_INLINE vi sums_of_4(vi a, vi b, vi c, vi d)
{
    const vi ab = ZIP(a, b, 0, 4, 1, 5) + ZIP(a, b, 2, 6, 3, 7), cd = ZIP(c, d, 0, 4, 1, 5) + ZIP(c, d, 2, 6, 3, 7);
    return (vi)_mm512_unpacklo_epi64((__m512i)ab, (__m512i)cd) + (vi)_mm512_unpackhi_epi64((__m512i)ab, (__m512i)cd);
}

#define PARTS(a, b, i, j, k, l)                                                                                                            \
    __builtin_shufflevector(a, b, 4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * j, 4 * j + 1, 4 * j + 2, 4 * j + 3, 4 * k, 4 * k + 1,        \
                            4 * k + 2, 4 * k + 3, 4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3)

/* Four of those to one: lane 4 i + e is row 4 i + e */
Q_INLINE vi sums_of_16(const vi u[4])
{
    const vi a = PARTS(u[0], u[1], 0, 2, 4, 6) + PARTS(u[0], u[1], 1, 3, 5, 7),
             b = PARTS(u[2], u[3], 0, 2, 4, 6) + PARTS(u[2], u[3], 1, 3, 5, 7);
    return PARTS(a, b, 0, 2, 4, 6) + PARTS(a, b, 1, 3, 5, 7);
}

/* The same four to one for each quarter of their lanes */
Q_INLINE void sums_of_quarters(vi s[4], const vi u[4])
{
    const vi a = PARTS(u[0], u[1], 0, 1, 4, 5), b = PARTS(u[0], u[1], 2, 3, 6, 7), c = PARTS(u[2], u[3], 0, 1, 4, 5),
             d = PARTS(u[2], u[3], 2, 3, 6, 7);

    s[0] = PARTS(a, c, 0, 2, 4, 6);
    s[1] = PARTS(a, c, 1, 3, 5, 7);
    s[2] = PARTS(b, d, 0, 2, 4, 6);
    s[3] = PARTS(b, d, 1, 3, 5, 7);
}

Q_INLINE vu z_load(const void *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}
/* 32 bytes from each of two places; the same twice */
Q_INLINE vu z_pair(const void *p, const void *q)
{
    typedef uint32_t v8 __attribute__((vector_size(32)));
    v8 a, b;
    memcpy(&a, p, 32);
    memcpy(&b, q, 32);
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
/* 16 bytes from p, p + step, … */
Q_INLINE vu z_four(const void *from, size_t step)
{
    const uint8_t *p = from;
    return (vu)q_four(p, p + step, p + 2 * step, p + 3 * step);
}

/* Unsigned byte a of every word to the 16-bit elements of the first quarter of the vector, b to the second's, … */
#define HALF(i)  (0x80008000u | 0x10001u * (i))
#define WORD(i)  (0x80808000u | (i))
#define TWICE(i) (0x10001u * (uint32_t)(i))
Q_INLINE vi z_halves(uint32_t w, const int a, const int b, const int c, const int d)
{
    return (vi)_mm512_shuffle_epi8(_mm512_set1_epi32((int32_t)w),
                                   (__m512i)(vu){ HALF(a), HALF(a), HALF(a), HALF(a), HALF(b), HALF(b), HALF(b), HALF(b), HALF(c), HALF(c),
                                                  HALF(c), HALF(c), HALF(d), HALF(d), HALF(d), HALF(d) });
}
/* 16 signed bytes to 16-bit elements; element i, i + 1, … in the quarters of a vector */
Q_INLINE __m256i halves_of(const uint8_t *p) { return _mm256_cvtepi8_epi16(load16(p)); }
Q_INLINE vi z_spread(__m256i s, const int i)
{
    const vu at = { TWICE(i),     TWICE(i),     TWICE(i),     TWICE(i),     TWICE(i + 1), TWICE(i + 1), TWICE(i + 1), TWICE(i + 1),
                    TWICE(i + 2), TWICE(i + 2), TWICE(i + 2), TWICE(i + 2), TWICE(i + 3), TWICE(i + 3), TWICE(i + 3), TWICE(i + 3) };
    return (vi)_mm512_permutexvar_epi16((__m512i)at, _mm512_castsi256_si512(s));
}
/* 16 added to the bytes of v where high has a bit in common with `bit` */
Q_INLINE vu z_add_where(vu v, vu high, vu bit, uint32_t add)
{
    return (vu)_mm512_mask_add_epi8((__m512i)v, _mm512_test_epi8_mask((__m512i)high, (__m512i)bit), (__m512i)v,
                                    _mm512_set1_epi32((int32_t)add));
}
/* v in the lower, w in the upper half */
#define HALVES(v, w) ((vu){ v, v, v, v, v, v, v, v, w, w, w, w, w, w, w, w })

/* ---- super-blocks whose products of a pair fit 16 bits: elements of row b, and their scales as 16-bit elements ---- */

Q_INLINE void head_q45_k(rows_head *h, const uint8_t *b, size_t rb)
{
    const vu w0 = words_of(b + 4, rb), w1 = words_of(b + 8, rb), w2 = words_of(b + 12, rb), f = words_of(b, rb);
    const vu s0 = w0 & EACH_BYTE(63), s1 = (w2 & EACH_BYTE(15)) | (w0 >> 2 & EACH_BYTE(48));

    memcpy(h->scale[0], &s0, sizeof s0);
    memcpy(h->scale[1], &s1, sizeof s1);
    h->min[0] = w1 & EACH_BYTE(63);
    h->min[1] = (w2 >> 4 & EACH_BYTE(15)) | (w1 >> 2 & EACH_BYTE(48));
    h->d = q_f16_low((vi)f);
    h->m = q_f16_low((vi)(f >> 16));
}
#define head_q4_k head_q45_k
#define head_q5_k head_q45_k

Q_INLINE void row_q4_k(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_load(b + 16 + 64 * z);
        const uint32_t w = h->scale[z][r];
        q[2 * z] = v & EACH_BYTE(15);
        q[2 * z + 1] = v >> 4 & EACH_BYTE(15);
        s[2 * z] = z_halves(w, 0, 0, 2, 2);
        s[2 * z + 1] = z_halves(w, 1, 1, 3, 3);
    }
}

Q_INLINE void row_q5_k(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    const vu high = z_pair(b + 16, b + 16);
    const vu bits = HALVES(EACH_BYTE(1), EACH_BYTE(4));

    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_load(b + 48 + 64 * z);
        const uint32_t w = h->scale[z][r];
        q[2 * z] = z_add_where(v & EACH_BYTE(15), high, bits << (4 * z), EACH_BYTE(16));
        q[2 * z + 1] = z_add_where(v >> 4 & EACH_BYTE(15), high, bits << (4 * z + 1), EACH_BYTE(16));
        s[2 * z] = z_halves(w, 0, 0, 2, 2);
        s[2 * z + 1] = z_halves(w, 1, 1, 3, 3);
    }
}

Q_INLINE void head_q6_k(rows_head *h, const uint8_t *b, size_t rb)
{
    uint16_t d[QL];
    Q_UNROLL
    for (int r = 0; r < QL; r++) memcpy(&d[r], b + 208 + (size_t)r * rb, 2);
    h->d = q_f16s(d);
}
Q_INLINE void row_q6_k(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    const __m256i w = halves_of(b + 192);

    (void)h, (void)r;
    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_load(b + 64 * z), high = z_pair(b + 128 + 32 * z, b + 128 + 32 * z);
        const vu by = HALVES(0, 2), t = high >> by;
        q[2 * z] = (v & EACH_BYTE(15)) | (t << 4 & EACH_BYTE(48));
        q[2 * z + 1] = (v >> 4 & EACH_BYTE(15)) | (t & EACH_BYTE(48));
        s[2 * z] = z_spread(w, 8 * z);
        s[2 * z + 1] = z_spread(w, 8 * z + 4);
    }
}

/* The row's next block asked into L1 besides: no other type gains by it. */
Q_INLINE void row_q6_k_ask(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    Q_UNROLL
    for (int o = 256; o < 512; o += 64) __builtin_prefetch(b + o);
    row_q6_k(q, s, b, h, r);
}

Q_INLINE void head_q2_k(rows_head *h, const uint8_t *b, size_t rb)
{
    const vu f = words_of(b + 80, rb);
    Q_UNROLL
    for (int i = 0; i < 4; i++) {
        const vu w = words_of(b + 4 * i, rb), s = w & EACH_BYTE(15);
        memcpy(h->scale[i], &s, sizeof s);
        h->min[i] = w >> 4 & EACH_BYTE(15);
    }
    h->d = q_f16_low((vi)f);
    h->m = q_f16_low((vi)(f >> 16));
}

/* 2 bits of 64 bytes in the order of the elements */
Q_INLINE void two_bits(vu q[NZ], const uint8_t *b)
{
    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_pair(b + 32 * z, b + 32 * z) >> HALVES(0, 2);
        q[2 * z] = v & EACH_BYTE(3);
        q[2 * z + 1] = v >> 4 & EACH_BYTE(3);
    }
}
Q_INLINE void row_q2_k(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    two_bits(q, b + 16);
    Q_UNROLL
    for (int z = 0; z < NZ; z++) s[z] = z_halves(h->scale[z][r], 0, 1, 2, 3);
}

Q_INLINE void head_q3_k(rows_head *h, const uint8_t *b, size_t rb)
{
    const vu w0 = words_of(b + 96, rb), w1 = words_of(b + 100, rb), hi = words_of(b + 104, rb);
    uint16_t d[QL];

    Q_UNROLL
    for (int i = 0; i < 4; i++) {
        h->min[i] = ((i % 2 ? w1 : w0) >> (i / 2 * 4) & EACH_BYTE(15)) | (hi >> (2 * i) & EACH_BYTE(3)) << 4;
        memcpy(h->scale[i], &h->min[i], sizeof h->scale[i]);
    }
    Q_UNROLL
    for (int r = 0; r < QL; r++) memcpy(&d[r], b + 108 + (size_t)r * rb, 2);
    h->d = q_f16s(d);
}
Q_INLINE void row_q3_k(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    const vu high = z_pair(b, b);

    two_bits(q, b + 32);
    Q_UNROLL
    for (int z = 0; z < NZ; z++) {
        q[z] = z_add_where(q[z], high, HALVES(EACH_BYTE(1), EACH_BYTE(2)) << (2 * z), EACH_BYTE(4));
        s[z] = (vi)_mm512_sub_epi16((__m512i)z_halves(h->scale[z][r], 0, 1, 2, 3), _mm512_set1_epi16(32));
    }
}

/* Bytes of 4 bits as levels, 128 added: 16 bytes each of 4 sub-blocks, first the low and then the high ones. */
Q_INLINE vu z_levels(vu v)
{
    const __m128i t = _mm_xor_si128(load16(iq4_levels), _mm_set1_epi8(-128));
    return (vu)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), (__m512i)v);
}

Q_INLINE void head_iq4_xs(rows_head *h, const uint8_t *b, size_t rb)
{
    const vu f = words_of(b, rb), low = words_of(b + 4, rb), high = f >> 16;

    Q_UNROLL
    for (int i = 0; i < 2; i++) {
        h->min[i] = (vu){ 0 };
        Q_UNROLL
        for (int j = 0; j < 4; j++) h->min[i] |= ((low >> (16 * i + 4 * j) & 15) | (high >> (8 * i + 2 * j) & 3) << 4) << (8 * j);
        memcpy(h->scale[i], &h->min[i], sizeof h->scale[i]);
    }
    h->d = q_f16_low((vi)f);
}
Q_INLINE void row_iq4_xs(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_load(b + 8 + 64 * z);
        q[2 * z] = z_levels(v & EACH_BYTE(15));
        q[2 * z + 1] = z_levels(v >> 4 & EACH_BYTE(15));
        s[z] = (vi)_mm512_shuffle_epi8(_mm512_set1_epi32((int32_t)h->scale[z][r]),
                                       (__m512i)(vu){ WORD(0), WORD(0), WORD(0), WORD(0), WORD(1), WORD(1), WORD(1), WORD(1), WORD(2),
                                                      WORD(2), WORD(2), WORD(2), WORD(3), WORD(3), WORD(3), WORD(3) }) -
               32;
    }
}

/* ---- super-blocks ---- */

typedef struct rows_x {
    vu q[NZ];    /* in the order of the rows' elements */
    __m256i neg; /* sums of 16 elements, negative */
    vi pair[8];  /* sums of two sub-blocks in every lane */
    float d;
} rows_x;

/* How minima come off: in float32; in integers, shifted, of scales that `min` holds with 32 added; the same of the signed
 * scales in a Q6_K block; in integers, a bias times scales that `min` holds. */
enum { OFF_FLOAT, OFF_SCALES, OFF_SCALES_6, OFF_BIAS };

/* The order of a row's elements: as they are; 32 and 32 of every 128; 16 and 16, as signed levels with 128 added, whose
 * products need 32 bits. */
enum { ORDER_PLAIN, ORDER_32, ORDER_LEVELS };

typedef struct rows_type {
    int bytes, sub, off, by, order; /* by: the shift of OFF_SCALES, the bias of OFF_BIAS */
    void (*head)(rows_head *h, const uint8_t *b, size_t rb);
    void (*row)(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r);
} rows_type;

Q_INLINE void rows_x_make(rows_x *o, const uint8_t *x, const int sub, const int order)
{
    const q_act *a = (const q_act *)(const void *)x;

    Q_UNROLL
    for (int z = 0; z < NZ; z++) {
        const int8_t *p = a->q + 128 * (z / 2);
        if (order == ORDER_PLAIN) o->q[z] = z_load(p + 64 * (z % 2));
        if (order == ORDER_32) o->q[z] = z_pair(p + 32 * (z % 2), p + 32 * (z % 2) + 64);
        if (order == ORDER_LEVELS) o->q[z] = z_four(p + 16 * (z % 2), 32);
    }
    o->neg = _mm256_sub_epi16(_mm256_setzero_si256(), load32(a->sum));
    Q_UNROLL
    for (int i = 0; i < Q_CHUNK / sub / 2; i++) {
        int32_t pair;
        memcpy(&pair, a->sum + 2 * i, 4);
        o->pair[i] = (vi){ 0 } + pair;
    }
    o->d = a->d[0];
}

/* sum over sub-blocks of min times sum of x, two of which are a pair: a lane a row */
Q_INLINE vi rows_min(const rows_head *h, const vi *pair, const int n_word, const int off, const int shift)
{
    vi t = { 0 };

    Q_UNROLL
    for (int i = 0; i < n_word; i++) {
        /* bytes 0, 1 and 2, 3 as pairs of halves */
        vu a = (h->min[i] & 0xff) | (h->min[i] << 8 & 0xff0000), b = (h->min[i] >> 16 & 0xff) | (h->min[i] >> 8 & 0xff0000);
        if (off == OFF_SCALES) {
            a = (vu)_mm512_slli_epi16(_mm512_sub_epi16((__m512i)a, _mm512_set1_epi16(32)), shift);
            b = (vu)_mm512_slli_epi16(_mm512_sub_epi16((__m512i)b, _mm512_set1_epi16(32)), shift);
        }
        t = q_dot16(q_dot16(t, (vi)a, pair[2 * i]), (vi)b, pair[2 * i + 1]);
    }
    return t;
}

Q_INLINE void rows_super(float *out, int64_t ldo, const unpack_at *at, const uint8_t *x, size_t ldx, const int n, int64_t k,
                         const rows_type t)
{
    const size_t rb = at->rb;
    const uint8_t *w = at->w;
    unpack_at ahead = *at;
    vf y[ROWS_X_MAX];

    Q_UNROLL
    for (int i = 0; i < n; i++) y[i] = (vf){ 0 };
    for (int64_t c = 0; c < k / Q_CHUNK; c++, w += t.bytes, x += ldx, ahead.ahead += t.bytes) {
        rows_head h;
        rows_x xs[ROWS_X_MAX];
        vi u[ROWS_X_MAX][4];

        t.head(&h, w, rb);
        Q_UNROLL
        for (int i = 0; i < n; i++) rows_x_make(&xs[i], x + (size_t)i * sizeof(q_act), t.sub, t.order);
        Q_UNROLL
        for (int g = 0; g < 4; g++) {
            vi a[ROWS_X_MAX][4];
            Q_UNROLL
            for (int e = 0; e < 4; e++) {
                const uint8_t *b = w + (size_t)(4 * g + e) * rb;
                vu q[NZ];
                vi s[NZ];
                t.row(q, s, b, &h, 4 * g + e);
                ask(&ahead, 4 * g + e, t.bytes);
                Q_UNROLL
                for (int i = 0; i < n; i++) {
                    vi v = { 0 };
                    if (t.off == OFF_SCALES_6)
                        v = (vi)_mm512_zextsi256_si512(_mm256_madd_epi16(_mm256_slli_epi16(halves_of(b + 192), 5), xs[i].neg));
                    if (t.order == ORDER_LEVELS)
                        v = q_dot8(q_dot8(v, (vi)q[0], (vi)xs[i].q[0]), (vi)q[1], (vi)xs[i].q[1]) * s[0] +
                            q_dot8(q_dot8((vi){ 0 }, (vi)q[2], (vi)xs[i].q[2]), (vi)q[3], (vi)xs[i].q[3]) * s[1];
                    if (t.order == ORDER_LEVELS) {
                        a[i][e] = v;
                        continue;
                    }
                    Q_UNROLL
                    for (int z = 0; z < NZ; z++) v = q_dot16(v, (vi)_mm512_maddubs_epi16((__m512i)q[z], (__m512i)xs[i].q[z]), s[z]);
                    a[i][e] = v;
                }
            }
            Q_UNROLL
            for (int i = 0; i < n; i++) u[i][g] = sums_of_4(a[i][0], a[i][1], a[i][2], a[i][3]);
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            vi s = sums_of_16(u[i]);
            vf f;
            if (t.off == OFF_SCALES) s -= rows_min(&h, xs[i].pair, Q_CHUNK / t.sub / 4, t.off, t.by);
            if (t.off == OFF_BIAS) s -= t.by * rows_min(&h, xs[i].pair, Q_CHUNK / t.sub / 4, OFF_FLOAT, 0);
            f = h.d * __builtin_convertvector(s, vf);
            if (t.off == OFF_FLOAT) f -= h.m * __builtin_convertvector(rows_min(&h, xs[i].pair, Q_CHUNK / t.sub / 4, t.off, 0), vf);
            y[i] += f * xs[i].d;
        }
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], Q_ROWS * sizeof(float));
}

#define ROWS_q4_k   ((rows_type){ 144, 32, OFF_FLOAT, 0, ORDER_32, head_q4_k, row_q4_k })
#define ROWS_q5_k   ((rows_type){ 176, 32, OFF_FLOAT, 0, ORDER_32, head_q5_k, row_q5_k })
#define ROWS_q6_k   ((rows_type){ 210, 16, OFF_SCALES_6, 0, ORDER_PLAIN, head_q6_k, row_q6_k_ask })
#define ROWS_q2_k   ((rows_type){ 84, 16, OFF_FLOAT, 0, ORDER_PLAIN, head_q2_k, row_q2_k })
#define ROWS_q3_k   ((rows_type){ 110, 16, OFF_SCALES, 2, ORDER_PLAIN, head_q3_k, row_q3_k })
#define ROWS_iq4_xs ((rows_type){ 136, 32, OFF_SCALES, 7, ORDER_LEVELS, head_iq4_xs, row_iq4_xs })

/* ---- blocks of 32, four in a vector ---- */

typedef struct rows_blocks_type {
    int bytes, at_q, kind;
    bool two;
    int bias;
} rows_blocks_type;

/* 0 or 16 in the bytes of v by the 16 bits of each quarter */
Q_INLINE vu z_fifth(vu v, vu bits, const int half)
{
    const uint32_t a = half ? 0x02020202 : 0, b = a + 0x01010101;
    const vu spread = { a, a, b, b, a, a, b, b, a, a, b, b, a, a, b, b }, low = 0x08040201 + (vu){ 0 }, one = low << 4;
    const vu bit = __builtin_shufflevector(low, one, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return z_add_where(v, (vu)_mm512_shuffle_epi8((__m512i)bits, (__m512i)spread), bit, EACH_BYTE(16));
}

/* Four blocks, of an even number of bytes each, in two vectors: those `from` and `to` bytes from the first block on hold 16 bytes at `at` of
 * each, and what lies before if that fits. Nothing past the last block is read, nothing before the first. */
typedef struct four_at {
    int bytes, at, from, to;
} four_at;

Q_INLINE four_at four_of(const int bytes, const int at)
{
    const int end = 3 * bytes + at + 16;
    return (four_at){ bytes, at, end > 128 ? at : 0, end - 64 };
}

/* The compiler would load them anew for each use, across a line of the cache every time. */
Q_INLINE void four_load(vu v[2], const uint8_t *b, const four_at f)
{
    v[0] = z_load(b + f.from);
    v[1] = z_load(b + f.to);
    __asm__("" : "+v"(v[0]), "+v"(v[1]));
}

/* Their 16-bit words in another order */
typedef uint16_t vw __attribute__((vector_size(64)));
Q_INLINE vu z_words(const vu v[2], vw order) { return (vu)_mm512_permutex2var_epi16((__m512i)v[0], (__m512i)order, (__m512i)v[1]); }

/* Where they have the word `o` bytes from the first block on; those of a block's 16 bytes; the word at o of each block; two at o of block j */
#define WORD_IN(f, o)    (uint16_t)((o) - (f).from < 64 ? ((o) - (f).from) / 2 : ((o) - (f).to) / 2 + 32)
#define WORD_OF(f, j, e) WORD_IN(f, (j) * (f).bytes + (f).at + 2 * (e))
#define WORDS_OF(f, j)                                                                                                                     \
    WORD_OF(f, j, 0), WORD_OF(f, j, 1), WORD_OF(f, j, 2), WORD_OF(f, j, 3), WORD_OF(f, j, 4), WORD_OF(f, j, 5), WORD_OF(f, j, 6),          \
        WORD_OF(f, j, 7)
#define FIRST_OF(f, o)   WORD_IN(f, o), WORD_IN(f, (f).bytes + (o)), WORD_IN(f, 2 * (f).bytes + (o)), WORD_IN(f, 3 * (f).bytes + (o))
#define PAIR_OF(f, j, o) WORD_IN(f, (j) * (f).bytes + (o)), WORD_IN(f, (j) * (f).bytes + (o) + 2), 0, 0, 0, 0, 0, 0

Q_INLINE vw four_words(const four_at f) { return (vw){ WORDS_OF(f, 0), WORDS_OF(f, 1), WORDS_OF(f, 2), WORDS_OF(f, 3) }; }

/* The first 16 elements of four blocks, the last 16 of each; and in every quarter of `factors` their four d and four m */
Q_INLINE void four_blocks(vu *lo, vu *hi, vu *factors, const uint8_t *b, const rows_blocks_type t)
{
    const four_at a = four_of(t.bytes, t.at_q), h = four_of(t.bytes, t.at_q + 16);
    const int high = t.at_q - 4; /* where fifth bits are */
    vu w[2], v;

    four_load(w, b, a);
    v = z_words(w, four_words(a));
    *factors = z_words(w, (vw){ FIRST_OF(a, 0), FIRST_OF(a, 2), FIRST_OF(a, 0), FIRST_OF(a, 2), FIRST_OF(a, 0), FIRST_OF(a, 2),
                                FIRST_OF(a, 0), FIRST_OF(a, 2) });
    *lo = v & EACH_BYTE(15);
    *hi = v >> 4 & EACH_BYTE(15);
    if (t.kind == BITS_5) {
        const vu bits = z_words(w, (vw){ PAIR_OF(a, 0, high), PAIR_OF(a, 1, high), PAIR_OF(a, 2, high), PAIR_OF(a, 3, high) });
        *lo = z_fifth(*lo, bits, 0);
        *hi = z_fifth(*hi, bits, 1);
    }
    if (t.kind == BITS_LEVELS) {
        *lo = z_levels(*lo);
        *hi = z_levels(*hi);
    }
    if (t.kind == BITS_8) {
        four_load(w, b, h);
        *lo = v ^ EACH_BYTE(128);
        *hi = z_words(w, four_words(h)) ^ EACH_BYTE(128);
    }
}

/* Row 4 g + e's factors to the e-th quarter of f[g] */
Q_INLINE void put_factors(vu f[4], int g, int e, vu factors)
{
    f[g] = e ? (vu)_mm512_mask_mov_epi64((__m512i)f[g], (__mmask8)(3 << 2 * e), (__m512i)factors) : factors;
}

/* Those of each block, a lane a row: `of` 0 d, 4 m */
Q_INLINE void factors_of(vf d[4], const vu f[4], const int of)
{
#define OF_4(i, j)                                                                                                                         \
    (uint16_t)(32 * (i) + of + (j)), (uint16_t)(32 * (i) + 8 + of + (j)), (uint16_t)(32 * (i) + 16 + of + (j)),                            \
        (uint16_t)(32 * (i) + 24 + of + (j))
    const vw order = { OF_4(0, 0), OF_4(1, 0), OF_4(0, 1), OF_4(1, 1), OF_4(0, 2), OF_4(1, 2), OF_4(0, 3), OF_4(1, 3) };
#undef OF_4
    const vu a = z_words(f, order), b = z_words(f + 2, order);
    const __m512i low = (__m512i)PARTS(a, b, 0, 4, 1, 5), high = (__m512i)PARTS(a, b, 2, 6, 3, 7);

    d[0] = (vf)_mm512_cvtph_ps(_mm512_castsi512_si256(low));
    d[1] = (vf)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(low, 1));
    d[2] = (vf)_mm512_cvtph_ps(_mm512_castsi512_si256(high));
    d[3] = (vf)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(high, 1));
}

/* 16 bytes from p, p + step, …, of which the first `skip` places count as zero */
Q_INLINE vi x_four(const void *p, size_t step, const int skip)
{
    const vi v = (vi)z_four(p, step);
    return skip ? (vi)_mm512_maskz_mov_epi32((__mmask16)(0xffff << 4 * skip), (__m512i)v) : v;
}

/* Four blocks of 16 rows, the first of which is block j of a chunk of x. The first `skip` of them do not count; j may be less than 0
 * by so much. */
Q_INLINE void rows_4_blocks(vf *y, const unpack_at *at, const uint8_t *x, const int j, const int n, const rows_blocks_type t,
                            const int skip)
{
    vi u[ROWS_X_MAX][4];
    vu f[4];
    vf d[4], m[4];

    Q_UNROLL
    for (int g = 0; g < 4; g++) {
        vi a[ROWS_X_MAX][4];
        Q_UNROLL
        for (int e = 0; e < 4; e++) {
            vu lo, hi, factors;
            ask_part(at, 4 * g + e, j * t.bytes, (j + 4) * t.bytes);
            four_blocks(&lo, &hi, &factors, at->w + (size_t)(4 * g + e) * at->rb, t);
            put_factors(f, g, e, factors);
            Q_UNROLL
            for (int i = 0; i < n; i++) {
                const uint8_t *q = x + (size_t)i * sizeof(q_act_block) + 32 * j, *high = q + offsetof(q_act_block, high);
                vi v = { 0 };
                q += offsetof(q_act_block, a.q);
                v = q_dot8(v, (vi)lo, x_four(high, 32, skip));
                v = q_dot8(v, (vi)hi, x_four(high + 16, 32, skip)) * 128;
                v = q_dot8(v, (vi)lo, x_four(q, 32, skip));
                a[i][e] = q_dot8(v, (vi)hi, x_four(q + 16, 32, skip));
            }
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) u[i][g] = sums_of_4(a[i][0], a[i][1], a[i][2], a[i][3]);
    }
    factors_of(d, f, 0);
    if (t.two) factors_of(m, f, 4);
    Q_UNROLL
    for (int i = 0; i < n; i++) {
        const q_act_block *xa = (const q_act_block *)(const void *)x + i;
        vi s[4];
        sums_of_quarters(s, u[i]);
        Q_UNROLL
        for (int b = 0; b < 4; b++) {
            vf v;
            if (b < skip) continue;
            v = d[b] * __builtin_convertvector(t.bias ? s[b] - xa->times.less[j + b] : s[b], vf);
            if (t.two) v += m[b] * xa->times.sum[j + b];
            y[i] += v * xa->a.d[j + b];
        }
    }
}

Q_INLINE void rows_blocks(float *out, int64_t ldo, const unpack_at *at, const uint8_t *x, size_t ldx, const int n, int64_t k,
                          const rows_blocks_type t)
{
    unpack_at u = *at;
    vf y[ROWS_X_MAX];

    Q_UNROLL
    for (int i = 0; i < n; i++) y[i] = (vf){ 0 };
    for (; k > 0; k -= Q_CHUNK, x += ldx, u.ahead += 8 * t.bytes) {
        const int left = k < Q_CHUNK ? (int)(k / 32) : 8, skip = (8 - left) % 4;

        if (left >= 4) rows_4_blocks(y, &u, x, 0, n, t, 0), u.w += 4 * t.bytes;
        if (left == 8) rows_4_blocks(y, &u, x, 4, n, t, 0), u.w += 4 * t.bytes;
        if (skip) { /* the row's last four, the first of them again */
            u.w -= skip * t.bytes;
            rows_4_blocks(y, &u, x, left / 4 * 4 - skip, n, t, skip);
        }
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], Q_ROWS * sizeof(float));
}

#define ROWS_q4_0   ((rows_blocks_type){ 18, 2, BITS_4, false, 8 })
#define ROWS_q4_1   ((rows_blocks_type){ 20, 4, BITS_4, true, 0 })
#define ROWS_q5_0   ((rows_blocks_type){ 22, 6, BITS_5, false, 16 })
#define ROWS_q5_1   ((rows_blocks_type){ 24, 8, BITS_5, true, 0 })
#define ROWS_q8_0   ((rows_blocks_type){ 34, 2, BITS_8, false, 128 })
#define ROWS_iq4_nl ((rows_blocks_type){ 18, 2, BITS_LEVELS, false, 128 })
