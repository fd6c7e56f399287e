/* Block-quantised weights times activations of 16 bits, for AVX-512 VNNI (quant.h). Included after q_rows_grid_tmpl.h.
 *
 * int8 activations cost a product 0.5 to 0.7 % of its size, and a deep model adds that up to a few per cent. A product of pairs of 16
 * bits takes twice as many instructions, but no others: a weight is multiplied by its sub-block's scale when it is unpacked, so that a
 * whole super-block is one chain of multiply-adds.
 *
 *     x ~ dx * q     of each chunk; |q| <= 32767, and as large as these allow:
 *                    sum of |q| < W_REACH: a weight with its scale is at most 4096, so a chunk's sum fits 32 bits;
 *                    sums of q of 16 and of 32 elements fit 16 bits, for the minima.
 *
 *     super-blocks (256)   y = fma(fma(-dmin, M, d * I), dx, y)     I = sum (scale * q_w) q,  M = sum_j min_j sum q
 *     blocks of 32         y = fma(t, dx, y), t = fma(d, I, t), then fma(m, S, t), block after block of a chunk
 *
 * Elements are taken apart by two, as words of bytes give them: of each 32, those of even number come first.
 */
enum {
    W_ROWS = 2 * QL, /* weight rows of a panel */
    WV = W_ROWS / QL,
    W_TILE_X = 12,
    W_REACH = 1 << 19,
    W_SCALED_MAX = 4096 /* |weight * scale|: -32 * -128 in Q6_K */
};
_Static_assert((int64_t)W_SCALED_MAX *W_REACH == 1LL << 31, "a chunk's sum");
_Static_assert(Q_ACC % W_ROWS == 0, "sums of a block");

/* One chunk of an activation row */
typedef struct words_act {
    float sum[8];      /* sums of q of each 32 elements */
    int16_t sum16[16]; /* of each 16 */
    int16_t sum32[8];  /* of each 32 */
    float d;
    _Alignas(32) int16_t q[Q_CHUNK];
} words_act;

/* One chunk of W_ROWS weight rows */
typedef struct words_panel {
    float d[8][W_ROWS], m[8][W_ROWS]; /* of each block; super-blocks: [0] */
    int32_t min[8][W_ROWS];           /* of two sub-blocks, int16 each */
    int32_t q[Q_CHUNK / 2][W_ROWS];   /* pairs of elements */
} words_panel;

typedef int16_t wh __attribute__((vector_size(4 * Q_LANES))); /* pairs of 16-bit elements, a lane each */
typedef uint16_t wuh __attribute__((vector_size(4 * Q_LANES)));

Q_INLINE vf every(float f) { return f - (vf){ 0 }; } /* what a compiler may take for f itself: + 0 is not that of -0 */

/* ---- activations ---- */

/* The largest |x| of a chunk, as bits, and the sum of all */
Q_INLINE void words_size(int32_t *top, float *total, const float *x)
{
    vi most = { 0 };
    vf sum = { 0 };
    int32_t m[QL];
    float s[QL];

    for (int i = 0; i < Q_CHUNK; i += QL) {
        const vi u = q_load(x + i) & 0x7fffffff, larger = u > most; /* ordered as integers, NaN above infinity */
        most = (u & larger) | (most & ~larger);
        sum += (vf)u;
    }
    memcpy(m, &most, sizeof m);
    memcpy(s, &sum, sizeof s);
    *top = 0;
    *total = 0;
    for (int i = 0; i < QL; i++) {
        *top = m[i] > *top ? m[i] : *top;
        *total += s[i];
    }
}

/* q = x / from, rounded; sums. Returns the largest of their magnitudes, if they did not fit. */
Q_INLINE int32_t words_round(words_act *a, const float *x, float from)
{
    typedef int16_t half __attribute__((vector_size(2 * Q_LANES)));
    const float id = 1 / from;
    int32_t q[Q_CHUNK], s16[16], most = 0;

    for (int i = 0; i < Q_CHUNK; i += QL) {
        const vi v = (vi)(vf_at(x + i) * id + Q_MAGIC) - Q_MAGIC_BITS;
        memcpy(q + i, &v, sizeof v);
    }
    for (int i = 0; i < 16; i++) {
        int32_t s = 0;
        for (int e = 0; e < 16; e++) s += q[16 * i + e];
        s16[i] = s;
    }
    for (int i = 0; i < 16; i++) {
        const int32_t s = s16[i], t = s + s16[i ^ 1];
        most = s > most ? s : -s > most ? -s : most;
        most = t > most ? t : -t > most ? -t : most;
        a->sum16[i] = (int16_t)s;
        a->sum32[i / 2] = (int16_t)t;
        a->sum[i / 2] = (float)t;
    }
    for (int g = 0; g < Q_CHUNK; g += 32) {
        const vi u = q_load(q + g), v = q_load(q + g + 16);
        const half even =
            __builtin_convertvector(__builtin_shufflevector(u, v, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), half);
        const half odd =
            __builtin_convertvector(__builtin_shufflevector(u, v, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), half);
        memcpy(a->q + g, &even, sizeof even);
        memcpy(a->q + g + 16, &odd, sizeof odd);
    }
    return most > INT16_MAX ? most : 0;
}

static void words_pack_chunk(words_act *a, const float *x)
{
    int32_t top, over;
    float amax, total, from;

    words_size(&top, &total, x);
    memcpy(&amax, &top, sizeof amax);
    if (top >= 0x7f800000 || amax < 1e-30f) {
        memset(a, 0, sizeof *a);
        if (top >= 0x7f800000) a->d = NAN;
        return;
    }
    total = fminf(total / (W_REACH - Q_CHUNK), amax / (W_REACH / Q_CHUNK - 1)); /* the sum of huge numbers may be infinite */
    from = fmaxf(amax / 32767, total);
    while ((over = words_round(a, x, from))) from *= (float)over / 32700; /* elements mostly of one sign: rare */
    a->d = from;
}

static void words_pack(void *dst, size_t stride, const float *x, int64_t k)
{
    for (; k > 0; k -= Q_CHUNK, x += Q_CHUNK, dst = (uint8_t *)dst + stride) {
        float tail[Q_CHUNK];

        if (k < Q_CHUNK) {
            memset(tail, 0, sizeof tail);
            memcpy(tail, x, (size_t)k * sizeof *x);
        }
        words_pack_chunk(dst, k < Q_CHUNK ? tail : x);
    }
}

/* ---- weights ---- */

/* A type: sub: elements of a sub-block, or 0: blocks of 32; bias: what its bytes have added; mins: it has minima. */
typedef struct words_type {
    int chunk, sub, bias;
    bool mins;
    void (*fill)(const unpack_at *u);
} words_type;

Q_INLINE wh even_bytes(wh v) { return v & 255; }
Q_INLINE wh odd_bytes(wh v) { return (wh)((wuh)v >> 8); }
Q_INLINE wh w_load(const void *p)
{
    wh v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Scales of a sub-block, as 16 bits twice */
Q_INLINE wh words_scale(const int32_t *s)
{
    const vi v = q_load(s) & 0xffff;
    return (wh)(v | v << 16);
}

/* Q_ROWS rows of bytes to rows [r0, r0 + Q_ROWS) of a panel of words */
Q_INLINE void words_widen(words_panel *o, int r0, const q_panel *p, int n_col, const words_type t)
{
    const size_t row = Q_ROWS * sizeof(float);
    const int n_d = t.sub ? 1 : n_col / 32;

    for (int g = 0; g < n_col / 32; g++) {
        const uint8_t *q = p->q + 32 * g * Q_ROWS;
        wh s[2];
        if (t.sub) s[0] = words_scale(p->scale[32 * g / t.sub]), s[1] = words_scale(p->scale[(32 * g + 16) / t.sub]);
        Q_UNROLL
        for (int i = 0; i < 8; i++, q += 4 * Q_ROWS) {
            wh even = even_bytes(w_load(q)) - (int16_t)t.bias, odd = odd_bytes(w_load(q)) - (int16_t)t.bias;
            if (t.sub) even *= s[i / 4], odd *= s[i / 4];
            memcpy(&o->q[16 * g + i][r0], &even, sizeof even);
            memcpy(&o->q[16 * g + 8 + i][r0], &odd, sizeof odd);
        }
    }
    for (int j = 0; j < n_d; j++) {
        memcpy(&o->d[j][r0], p->d[j], row);
        if (t.mins) memcpy(&o->m[j][r0], p->m[j], row);
    }
    for (int j = 0; t.sub && t.mins && j < Q_CHUNK / t.sub / 2; j++) memcpy(&o->min[j][r0], p->min[j], row);
}

/* n <= W_ROWS rows at u.w */
Q_INLINE void words_fill(words_panel *o, unpack_at u, int n, const words_type t)
{
    q_panel bytes;

    u.p = &bytes;
    for (int r0 = 0; r0 < W_ROWS; r0 += Q_ROWS, u.w += Q_ROWS * u.rb, u.ahead += Q_ROWS * u.ahead_step, n -= Q_ROWS) {
        fill_rows(u, n, t.chunk, t.fill);
        words_widen(o, r0, &bytes, u.n_col, t);
    }
}

/* ---- many rows ---- */

/* a = n_step pairs of each weight row times those of n rows of x. A cache line from `ahead` on is asked for with each. */
Q_INLINE void words_steps(vi a[][WV], const int32_t (*w)[W_ROWS], const int16_t *x, const int n, int n_step, const uint8_t *ahead)
{
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < WV; r++) a[i][r] = (vi){ 0 };
    for (; n_step > 0; n_step--, w++, x += 2, ahead += 64) {
        const vi w0 = q_load(w[0]), w1 = q_load(w[0] + QL);
        __builtin_prefetch(ahead);
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            const vi b = q_bcast((const uint8_t *)x + i * sizeof(words_act));
            q_add_words(&a[i][0], w0, b);
            q_add_words(&a[i][1], w1, b);
        }
    }
}

/* acc += t * dx */
Q_INLINE void words_add(float *acc, vf t[][WV], const words_act *x, const int n)
{
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < WV; r++) {
        float *o = acc + i * Q_ACC + r * QL;
        vf_put(o, q_fma(t[i][r], every(x[i].d), vf_at(o)));
    }
}

/* n_min: pairs of sub-blocks with minima, or 0 */
Q_INLINE void words_super(float *acc, const words_panel *p, const words_act *x, const int n, const int n_min)
{
    vi a[W_TILE_X][WV];
    vf t[W_TILE_X][WV];

    words_steps(a, p->q, x->q, n, Q_CHUNK / 2, (const uint8_t *)(x + n));
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < WV; r++) t[i][r] = vf_at(&p->d[0][r * QL]) * __builtin_convertvector(a[i][r], vf);
    if (n_min) {
        words_steps(a, p->min, n_min == 8 ? x->sum16 : x->sum32, n, n_min, (const uint8_t *)(x + n));
        Q_UNROLL
        for (int i = 0; i < n; i++) Q_UNROLL
        for (int r = 0; r < WV; r++) t[i][r] = q_fma(-vf_at(&p->m[0][r * QL]), __builtin_convertvector(a[i][r], vf), t[i][r]);
    }
    words_add(acc, t, x, n);
}

Q_INLINE void words_blocks(float *acc, const words_panel *p, const words_act *x, const int n, int n_block, const bool mins)
{
    vf t[W_TILE_X][WV];

    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < WV; r++) t[i][r] = (vf){ 0 };
    for (int b = 0; b < n_block; b++) {
        vi a[W_TILE_X][WV];
        words_steps(a, p->q + 16 * b, x->q + 32 * b, n, 16, (const uint8_t *)(x + n) + 1024 * b);
        Q_UNROLL
        for (int i = 0; i < n; i++) Q_UNROLL
        for (int r = 0; r < WV; r++) {
            t[i][r] = q_fma(__builtin_convertvector(a[i][r], vf), vf_at(&p->d[b][r * QL]), t[i][r]);
            if (mins) t[i][r] = q_fma(every(x[i].sum[b]), vf_at(&p->m[b][r * QL]), t[i][r]);
        }
    }
    words_add(acc, t, x, n);
}

#if Q_SMALL
#define CALL_1_12(CALL, n) CALL(n);
#else
#define CALL_1_12(CALL, n)                                                                                                                 \
    switch (n) {                                                                                                                           \
    case 5: CALL(5); break;                                                                                                                \
    case 6: CALL(6); break;                                                                                                                \
    case 7: CALL(7); break;                                                                                                                \
    case 8: CALL(8); break;                                                                                                                \
    case 9: CALL(9); break;                                                                                                                \
    case 10: CALL(10); break;                                                                                                              \
    case 11: CALL(11); break;                                                                                                              \
    case 12: CALL(12); break;                                                                                                              \
    default: CALL_1_4(CALL, n)                                                                                                             \
    }
#endif

#define WORDS_TILE(name, CALL)                                                                                                             \
    static void words_tile_##name(float *acc, const void *panel, const uint8_t *x_, int n, int n_col)                                      \
    {                                                                                                                                      \
        const words_panel *p = panel;                                                                                                      \
        const words_act *x = (const words_act *)(const void *)x_;                                                                          \
        (void)n_col;                                                                                                                       \
        CALL_1_12(CALL, n)                                                                                                                 \
    }
#define SUPER(i)    words_super(acc, p, x, i, 0)
#define SUPER_32(i) words_super(acc, p, x, i, 4)
#define SUPER_16(i) words_super(acc, p, x, i, 8)
#define BLOCKS(i)   words_blocks(acc, p, x, i, n_col / 32, false)
#define BLOCKS_M(i) words_blocks(acc, p, x, i, n_col / 32, true)
WORDS_TILE(super, SUPER)
WORDS_TILE(super_32, SUPER_32)
WORDS_TILE(super_16, SUPER_16)
WORDS_TILE(blocks, BLOCKS)
WORDS_TILE(blocks_m, BLOCKS_M)

typedef void (*words_tile_fn)(float *acc, const void *panel, const uint8_t *x, int n, int n_col);

/* ---- few rows ---- */

/* nr <= W_ROWS weight rows at u.w times n activation rows, through a panel that lives for one use */
Q_INLINE void words_few(float *out, int64_t ldo, unpack_at u, int nr, const uint8_t *x, size_t ldx, int n, int64_t k, const words_type t,
                        words_tile_fn tile)
{
    float acc[Q_FEW_MAX][Q_ACC];
    words_panel p;

    memset(acc, 0, (size_t)n * sizeof *acc);
    for (int64_t c = 0; c < k; c += Q_CHUNK, u.w += t.chunk, u.ahead += t.chunk, x += ldx) {
        u.n_col = k - c < Q_CHUNK ? (int)(k - c) : Q_CHUNK;
        words_fill(&p, u, nr, t);
        for (int i = 0; i < n; i += W_TILE_X)
            tile(acc[i], &p, x + (size_t)i * sizeof(words_act), n - i < W_TILE_X ? n - i : W_TILE_X, u.n_col);
    }
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, acc[i], (size_t)nr * sizeof(float));
}

#if Q_ALONG_ROWS
/* A chunk of x in the order of 64 bytes of a row: those of even number and those of odd */
typedef struct words_x {
    vu even[NZ], odd[NZ];
    vi pair[8]; /* sums of two sub-blocks in every lane */
    vf d;
} words_x;

Q_INLINE void words_x_make(words_x *o, const words_act *a, const int sub, const int order)
{
    const int16_t *sum = sub == 16 ? a->sum16 : a->sum32;

    Q_UNROLL
    for (int z = 0; z < NZ; z++) {
        const int16_t *p = a->q + 128 * (z / 2); /* 16 of even number, 16 of odd, four times */
        if (order == ORDER_PLAIN) p += 64 * (z % 2), o->even[z] = z_pair(p, p + 32), o->odd[z] = z_pair(p + 16, p + 48);
        if (order == ORDER_32) p += 32 * (z % 2), o->even[z] = z_pair(p, p + 64), o->odd[z] = z_pair(p + 16, p + 80);
        if (order == ORDER_LEVELS) p += 8 * (z % 2), o->even[z] = z_four(p, 64), o->odd[z] = z_four(p + 16, 64);
    }
    Q_UNROLL
    for (int i = 0; i < 8; i++) {
        int32_t pair;
        if (sub != 16 && i >= 4) break;
        memcpy(&pair, sum + 2 * i, 4);
        o->pair[i] = (vi){ 0 } + pair;
    }
    o->d = every(a->d);
}

/* Q_ROWS rows of super-blocks: t.row's bytes, less `bias`, times its scales */
Q_INLINE void words_rows_super(float *out, int64_t ldo, const unpack_at *at, const uint8_t *x, size_t ldx, const int n, int64_t k,
                               const rows_type t, const int bias)
{
    const uint8_t *w = at->w;
    unpack_at ahead = *at;
    vf y[ROWS_X_MAX];

    Q_UNROLL
    for (int i = 0; i < n; i++) y[i] = (vf){ 0 };
    for (int64_t c = 0; c < k / Q_CHUNK; c++, w += t.bytes, x += ldx, ahead.ahead += t.bytes) {
        rows_head h;
        words_x xs[ROWS_X_MAX];
        vi u[ROWS_X_MAX][4];

        t.head(&h, w, at->rb);
        Q_UNROLL
        for (int i = 0; i < n; i++) words_x_make(&xs[i], (const words_act *)(const void *)x + i, t.sub, t.order);
        Q_UNROLL
        for (int g = 0; g < 4; g++) {
            vi a[ROWS_X_MAX][4];
            Q_UNROLL
            for (int e = 0; e < 4; e++) {
                vu q[NZ];
                vi s[NZ];
                t.row(q, s, w + (size_t)(4 * g + e) * at->rb, &h, 4 * g + e);
                ask(&ahead, 4 * g + e, t.bytes);
                Q_UNROLL
                for (int i = 0; i < n; i++) a[i][e] = (vi){ 0 };
                Q_UNROLL
                for (int z = 0; z < NZ; z++) {
                    const wh even = (even_bytes((wh)q[z]) - (int16_t)bias) * (wh)s[z],
                             odd = (odd_bytes((wh)q[z]) - (int16_t)bias) * (wh)s[z];
                    Q_UNROLL
                    for (int i = 0; i < n; i++) a[i][e] = q_dot16(q_dot16(a[i][e], (vi)even, (vi)xs[i].even[z]), (vi)odd, (vi)xs[i].odd[z]);
                }
            }
            Q_UNROLL
            for (int i = 0; i < n; i++) u[i][g] = sums_of_4(a[i][0], a[i][1], a[i][2], a[i][3]);
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            vf f = h.d * __builtin_convertvector(sums_of_16(u[i]), vf);
            if (t.off == OFF_FLOAT)
                f = q_fma(-h.m, __builtin_convertvector(rows_min(&h, xs[i].pair, Q_CHUNK / t.sub / 4, OFF_FLOAT, 0), vf), f);
            y[i] = q_fma(f, xs[i].d, y[i]);
        }
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], Q_ROWS * sizeof(float));
}

/* IQ4_XS's scales as the others have them */
Q_INLINE void words_row_iq4_xs(vu q[NZ], vi s[NZ], const uint8_t *b, const rows_head *h, int r)
{
    Q_UNROLL
    for (int z = 0; z < 2; z++) {
        const vu v = z_load(b + 8 + 64 * z);
        q[2 * z] = z_levels(v & EACH_BYTE(15));
        q[2 * z + 1] = z_levels(v >> 4 & EACH_BYTE(15));
        s[2 * z] = s[2 * z + 1] = (vi)((wh)z_halves(h->scale[z][r], 0, 1, 2, 3) - 32);
    }
}

/* Four blocks of Q_ROWS rows, as in rows_4_blocks: f = their sum on top of it */
Q_INLINE void words_4_blocks(vf *f, const unpack_at *at, const words_act *x, const int j, const int n, const rows_blocks_type t,
                             const int skip)
{
    vi u[ROWS_X_MAX][4];
    vu factors[4];
    vf d[4], m[4];

    Q_UNROLL
    for (int g = 0; g < 4; g++) {
        vi a[ROWS_X_MAX][4];
        Q_UNROLL
        for (int e = 0; e < 4; e++) {
            vu q[2], own;
            ask_part(at, 4 * g + e, j * t.bytes, (j + 4) * t.bytes);
            four_blocks(&q[0], &q[1], &own, at->w + (size_t)(4 * g + e) * at->rb, t);
            put_factors(factors, g, e, own);
            Q_UNROLL
            for (int i = 0; i < n; i++) {
                const uint8_t *p =
                    (const uint8_t *)(x + i) + offsetof(words_act, q) + 64 * j; /* of a block: 16 of even number, 16 of odd */
                vi v = { 0 };
                Q_UNROLL
                for (int z = 0; z < 2; z++) {
                    v = q_dot16(v, (vi)even_bytes((wh)q[z]), x_four(p + 16 * z, 64, skip));
                    v = q_dot16(v, (vi)odd_bytes((wh)q[z]), x_four(p + 16 * z + 32, 64, skip));
                }
                a[i][e] = v;
            }
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) u[i][g] = sums_of_4(a[i][0], a[i][1], a[i][2], a[i][3]);
    }
    factors_of(d, factors, 0);
    if (t.two) factors_of(m, factors, 4);
    Q_UNROLL
    for (int i = 0; i < n; i++) {
        vi s[4];
        sums_of_quarters(s, u[i]);
        Q_UNROLL
        for (int b = 0; b < 4; b++) {
            if (b < skip) continue;
            f[i] = q_fma(__builtin_convertvector(t.bias ? s[b] - t.bias * x[i].sum32[j + b] : s[b], vf), d[b], f[i]);
            if (t.two) f[i] = q_fma(every(x[i].sum[j + b]), m[b], f[i]);
        }
    }
}

Q_INLINE void words_rows_blocks(float *out, int64_t ldo, const unpack_at *at, const uint8_t *x, size_t ldx, const int n, int64_t k,
                                const rows_blocks_type t)
{
    unpack_at u = *at;
    vf y[ROWS_X_MAX];

    Q_UNROLL
    for (int i = 0; i < n; i++) y[i] = (vf){ 0 };
    for (; k > 0; k -= Q_CHUNK, x += ldx, u.ahead += 8 * t.bytes) {
        const words_act *xa = (const words_act *)(const void *)x;
        const int left = k < Q_CHUNK ? (int)(k / 32) : 8, skip = (8 - left) % 4;
        vf f[ROWS_X_MAX];

        Q_UNROLL
        for (int i = 0; i < n; i++) f[i] = (vf){ 0 };
        if (left >= 4) words_4_blocks(f, &u, xa, 0, n, t, 0), u.w += 4 * t.bytes;
        if (left == 8) words_4_blocks(f, &u, xa, 4, n, t, 0), u.w += 4 * t.bytes;
        if (skip) { /* the row's last four, the first of them again */
            u.w -= skip * t.bytes;
            words_4_blocks(f, &u, xa, left / 4 * 4 - skip, n, t, skip);
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) y[i] = q_fma(f[i], every(xa[i].d), y[i]);
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], Q_ROWS * sizeof(float));
}

#endif

/* ---- every type ---- */

#if Q_ALONG_ROWS
#define WORDS_ROWS(ROWS)                                                                                                                   \
    if (n <= ROWS_X_MAX && n_row - r >= Q_ROWS && k >= ROWS_K_MIN) {                                                                       \
        CALL_1_4(ROWS, n)                                                                                                                  \
        step = Q_ROWS;                                                                                                                     \
        continue;                                                                                                                          \
    }
#else
#define WORDS_ROWS(ROWS)
#endif

/* TYPE: name of its decoders, TILE: of its tile, ROWS(n): Q_ROWS rows times n activation rows */
#define WORDS_TYPE(TYPE, LABEL, CHUNK, SUB, BIAS, MINS, TILE, ROWS)                                                                        \
    static __attribute__((noinline)) void words_fill_##TYPE(const unpack_at *u) { unpack_##TYPE(u); }                                      \
    static void words_unpack_##TYPE(void *panel, const uint8_t *w, size_t rb, int n, int n_col)                                            \
    {                                                                                                                                      \
        words_fill(panel, (unpack_at){ .w = w, .rb = rb, .n_col = n_col, .ahead = w + (CHUNK), .ahead_step = rb }, n,                      \
                   (words_type){ CHUNK, SUB, BIAS, MINS, words_fill_##TYPE });                                                             \
    }                                                                                                                                      \
    static void words_matvec_##TYPE(float *out, int64_t ldo, const uint8_t *w, size_t rb, int64_t n_row, const uint8_t *x, size_t ldx,     \
                                    int n, int64_t k)                                                                                      \
    {                                                                                                                                      \
        int step;                                                                                                                          \
        for (int64_t r = 0; r < n_row; r += step, w += (size_t)step * rb, out += step) {                                                   \
            unpack_at u = { .w = w, .rb = rb, .ahead = w + Q_ROWS * rb, .ahead_step = rb };                                                \
            WORDS_ROWS(ROWS)                                                                                                               \
            step = n_row - r < W_ROWS ? (int)(n_row - r) : W_ROWS;                                                                         \
            u.ahead = w + W_ROWS * rb;                                                                                                     \
            words_few(out, ldo, u, step, x, ldx, n, k, (words_type){ CHUNK, SUB, BIAS, MINS, words_fill_##TYPE }, words_tile_##TILE);      \
        }                                                                                                                                  \
    }                                                                                                                                      \
    static const quant_kernel words_##TYPE = {                                                                                             \
        .name = LABEL,                                                                                                                     \
        .panel_rows = W_ROWS,                                                                                                              \
        .panel_bytes = sizeof(words_panel),                                                                                                \
        .n_strip = 1,                                                                                                                      \
        .tile_x = W_TILE_X,                                                                                                                \
        .few_bytes = sizeof(words_act),                                                                                                    \
        .many_bytes = sizeof(words_act),                                                                                                   \
        .pack_few = words_pack,                                                                                                            \
        .pack_many = words_pack,                                                                                                           \
        .unpack = words_unpack_##TYPE,                                                                                                     \
        .tile = words_tile_##TILE,                                                                                                         \
        .n_few = Q_FEW_MAX,                                                                                                                \
        .n_along = ROWS_X_MAX,                                                                                                             \
        .matvec = words_matvec_##TYPE,                                                                                                     \
    };
