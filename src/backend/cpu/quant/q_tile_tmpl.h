/* Many rows: unpacking weights into panels, and the tile kernels (quant.h). Included after q_decode_tmpl.h.
 *
 * Accumulators come in two sizes. On AVX2 without VNNI the product of unsigned weights and signed activations sums pairs
 * into 16 bits, and several steps stay there before they overflow: n_add is how many (the largest weight is wmax:
 * 2 * wmax * 127 * n_add <= 32767). Then they are multiplied by the sub-block's scale, which also widens them to 32 bits.
 * Elsewhere accumulators have 32 bits and n_add is as long as a sub-block.
 *
 * With Q_JOIN the sums of two sub-blocks, where they fit 16 bits, are put in one word and multiplied by both scales at once
 * (on Zen 4 every kind of multiplication takes the units of the dot products, shifts and blends do not).
 *
 * Loops over small constant counts are unrolled; isum waits on the stack while a sub-block's accumulators have the
 * registers.
 */
enum {
    NV = Q_ROWS / QL,  /* vectors across a panel */
    TV = NV * Q_PANELS /* across the panels of a tile */
};
/* Where vector r across a tile has its part of FIELD, an array of a panel's rows; the same for 4 elements of every row, a step, from
 * the first panel's on */
#define ROWS_OF(p, FIELD, r) (&(p)[(r) / NV].FIELD[(r) % NV * QL])
#define STEP_OF(w, r)        ((w) + (size_t)((r) / NV) * sizeof(q_panel) + (r) % NV * (QL * 4))
Q_INLINE const uint8_t *steps_of(const q_panel *p) { return (const uint8_t *)p + offsetof(q_panel, q); }

#if Q_WIDE_SIGNED /* panels of 16-bit elements are made row by row */
typedef struct row_buf {
    uint8_t q[2 * Q_CHUNK];
    int32_t scale[16];
    int32_t min[8];
} row_buf;

typedef uint32_t d4 __attribute__((vector_size(16)));

/* Word s of row r to o[s * Q_ROWS + r]: 4 x 4 transpositions. Rows are sizeof(row_buf) apart. */
static void interleave(void *o, const void *rows, int n_step)
{
    for (int r = 0; r < Q_ROWS; r += 4)
        for (int s = 0; s < n_step; s += 4) {
            const uint8_t *p = (const uint8_t *)rows + (size_t)r * sizeof(row_buf) + 4 * s;
            d4 a, b, c, d, t, u, v, w;
            memcpy(&a, p, 16);
            memcpy(&b, p + sizeof(row_buf), 16);
            memcpy(&c, p + 2 * sizeof(row_buf), 16);
            memcpy(&d, p + 3 * sizeof(row_buf), 16);
            t = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            u = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            v = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            w = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            a = __builtin_shufflevector(t, u, 0, 1, 4, 5);
            b = __builtin_shufflevector(t, u, 2, 3, 6, 7);
            c = __builtin_shufflevector(v, w, 0, 1, 4, 5);
            d = __builtin_shufflevector(v, w, 2, 3, 6, 7);
            memcpy((uint32_t *)o + s * Q_ROWS + r, &a, 16);
            memcpy((uint32_t *)o + (s + 1) * Q_ROWS + r, &b, 16);
            memcpy((uint32_t *)o + (s + 2) * Q_ROWS + r, &c, 16);
            memcpy((uint32_t *)o + (s + 3) * Q_ROWS + r, &d, 16);
        }
}

/* 32 decoded signed bytes to 16-bit elements 32 j … of a row buffer */
Q_INLINE void put_q(uint8_t *row, int j, b32 v)
{
    int8_t s[32];
    int16_t w[32];

    memcpy(s, &v, 32);
    for (int i = 0; i < 32; i++) w[i] = s[i];
    memcpy(row + 64 * j, w, 64);
}
#endif

/* Bytes of 4 n elements are n steps of 4, or 2 n of 2. */
#define Q_STEPS(n, sgn) ((sgn) && Q_WIDE_SIGNED ? (n) / 2 : (n) / 4)

#ifndef Q_OWN_TILE_STEPS
/* a = n_step steps' products, or `on` top of what it has; the vectors of n activation rows and TV of weights */
Q_INLINE void tile_steps(va a[][TV], const uint8_t *w, const uint8_t *x, size_t ldx, const int n, const int n_step, const bool sgn,
                         const bool on)
{
    if (!on) {
        Q_UNROLL
        for (int i = 0; i < n; i++) Q_UNROLL
        for (int r = 0; r < TV; r++) a[i][r] = (va){ 0 };
    }
    Q_UNROLL
    for (int s = 0; s < n_step; s++) {
        va ww[TV];
        Q_UNROLL
        for (int r = 0; r < TV; r++) ww[r] = q_load(STEP_OF(w + s * Q_ROWS * 4, r));
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            const va xx = q_bcast(x + (size_t)i * ldx + 4 * s);
            Q_UNROLL
            for (int r = 0; r < TV; r++) a[i][r] = q_dot(a[i][r], ww[r], xx, sgn);
        }
    }
}
#endif

/* The last touch to a panel whose first n columns are unpacked */
#ifndef Q_PANEL_DONE
#define Q_PANEL_DONE(p, n) (void)0
#endif

Q_INLINE vf vf_at(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

Q_INLINE void vf_put(float *p, vf v) { memcpy(p, &v, sizeof v); }

enum { MIN_NONE, MIN_FLOAT, MIN_INT };

/* imin = the minima of sub-blocks times the sums of x */
Q_INLINE void tile_mins(vi imin[][TV], const q_panel *p, const uint8_t *x, size_t ldx, const int n, const int sub, const int mins)
{
    const uint8_t *xs = x + offsetof(q_act, sum);

    if (!mins) return;
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) imin[i][r] = (vi){ 0 };
    Q_UNROLL
    for (int s = 0; s < Q_CHUNK / sub / 2; s++) Q_UNROLL
    for (int i = 0; i < n; i++) {
        const va xx = q_bcast(xs + (size_t)i * ldx + 4 * s);
        Q_UNROLL
        for (int r = 0; r < TV; r++) imin[i][r] = q_pairs(imin[i][r], q_load(ROWS_OF(p, min[s], r)), xx);
    }
}

/* A super-block's float32 terms */
Q_INLINE void tile_floats(float *acc, int64_t ldacc, const q_panel *p, const uint8_t *x, size_t ldx, const int n, vi isum[][TV],
                          vi imin[][TV], const int mins)
{
    Q_UNROLL
    for (int i = 0; i < n; i++) {
        float dx;
        memcpy(&dx, x + (size_t)i * ldx, sizeof dx);
        Q_UNROLL
        for (int r = 0; r < TV; r++) {
            float *o = acc + i * ldacc + r * QL;
            vf t = vf_at(ROWS_OF(p, d[0], r)) * __builtin_convertvector(mins == MIN_INT ? isum[i][r] - imin[i][r] : isum[i][r], vf);
            if (mins == MIN_FLOAT) t -= vf_at(ROWS_OF(p, m[0], r)) * __builtin_convertvector(imin[i][r], vf);
            vf_put(o, vf_at(o) + t * dx);
        }
    }
}

/* Sub-block s's scale where a word has those of two */
Q_INLINE va scale_half(const q_panel *p, int s, int r)
{
    const va v = q_load(ROWS_OF(p, scale[s / 2], r));
    return (va)((vi)(s % 2 ? v : v << 16) >> 16);
}

/* sub: elements of a sub-block; paired: a word has the scales of two */
Q_INLINE void tile_super(float *acc, int64_t ldacc, const q_panel *p, const uint8_t *x, size_t ldx, const int n, const int sub,
                         const int n_add, const int mins, const bool sgn, const bool paired)
{
    const int steps = Q_STEPS(sub, sgn), part = steps < n_add ? steps : n_add;
    const uint8_t *xq = x + offsetof(q_act, q), *w = steps_of(p);
    vi isum[Q_TILE_X][TV], imin[Q_TILE_X][TV];

    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) isum[i][r] = (vi){ 0 };
    for (int s = 0; s < Q_CHUNK / sub; s++) {
        Q_UNROLL
        for (int h = 0; h < steps / part; h++, w += part * Q_ROWS * 4, xq += part * 4) {
            va a[Q_TILE_X][TV];
            tile_steps(a, w, xq, ldx, n, part, sgn, false);
            Q_UNROLL
            for (int r = 0; r < TV; r++) {
                const va sc = paired ? scale_half(p, s, r) : q_load(ROWS_OF(p, scale[s], r));
                Q_UNROLL
                for (int i = 0; i < n; i++) isum[i][r] = q_fold(isum[i][r], a[i][r], sc, sgn);
            }
        }
    }
    tile_mins(imin, p, x, ldx, n, sub, mins);
    tile_floats(acc, ldacc, p, x, ldx, n, isum, imin, mins);
}

#if Q_JOIN
/* The same where the sums of a sub-block, less `bias` of every element, fit 16 bits: those of two sub-blocks are multiplied
 * by their scales together, and the bias comes off through the sums of x rather than the minima. */
Q_INLINE void tile_super_16(float *acc, int64_t ldacc, const q_panel *p, const uint8_t *x, size_t ldx, const int n, const int sub,
                            const int bias, const int mins)
{
    const uint8_t *xq = x + offsetof(q_act, q), *xs = x + offsetof(q_act, sum), *w = steps_of(p);
    vi isum[Q_TILE_X][TV], imin[Q_TILE_X][TV];

    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) isum[i][r] = (vi){ 0 };
    for (int s = 0; s < Q_CHUNK / sub / 2; s++, w += 2 * sub * Q_ROWS, xq += 2 * sub, xs += 4) {
        va a[Q_TILE_X][TV], b[Q_TILE_X][TV];
        tile_steps(a, w, xq, ldx, n, sub / 4, false, false);
        tile_steps(b, w + sub * Q_ROWS, xq + sub, ldx, n, sub / 4, false, false);
        Q_UNROLL
        for (int r = 0; r < TV; r++) {
            const va sc = q_load(ROWS_OF(p, scale[s], r));
            Q_UNROLL
            for (int i = 0; i < n; i++) {
                va v = q_join(a[i][r], b[i][r]);
                if (bias) v = q_less(v, q_bcast(xs + (size_t)i * ldx), bias);
                isum[i][r] = q_dot16(isum[i][r], sc, v);
            }
        }
    }
    tile_mins(imin, p, x, ldx, n, sub, bias ? MIN_NONE : mins);
    tile_floats(acc, ldacc, p, x, ldx, n, isum, imin, bias ? MIN_NONE : mins);
}

/* Whether they fit: weights of 0 … max, or with a bias of -bias … bias - 1. Bounds are compared as the integers their bits
 * are, which leaves the units that multiply alone. */
Q_INLINE bool fits_16(const uint8_t *x, size_t ldx, int n, const int max, const int bias)
{
    const float limit = (float)(32767 / (bias ? bias : max));
    int32_t most, top = 0;

    memcpy(&most, &limit, sizeof most);
    for (int i = 0; i < n; i++) {
        int32_t d;
        memcpy(&d, x + (size_t)i * ldx + ACT_REACH * sizeof(float), sizeof d);
        top = d > top ? d : top;
    }
    return top <= most;
}
#endif

/* CALL(n) with a constant n of 1 … 4; Q_SMALL: with n as it is */
#if Q_SMALL
#define CALL_1_4(CALL, n) CALL(n);
#else
#define CALL_1_4(CALL, n)                                                                                                                  \
    switch (n) {                                                                                                                           \
    case 1: CALL(1); break;                                                                                                                \
    case 2: CALL(2); break;                                                                                                                \
    case 3: CALL(3); break;                                                                                                                \
    case 4: CALL(4); break;                                                                                                                \
    }
#endif

/* sum[i] = 128 times the high parts of block b, of a panel of bytes: few elements of an activation row have any. */
#ifdef Q_OWN_TILE_STEPS /* all of them: a panel of this kind has no step of 4 elements on its own */
Q_INLINE void tile_high(vi sum[][TV], const uint8_t *q, const uint8_t *x, size_t ldx, const int n, int b, const bool sgn)
{
    va a[Q_TILE_X][TV];

    tile_steps(a, q + b * 32 * Q_ROWS, x + offsetof(q_act_block, high) + 32 * b, ldx, n, Q_STEPS(32, sgn), sgn, false);
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) sum[i][r] = q_total(a[i][r], sgn) * 128;
}
#else
Q_INLINE void tile_high(vi sum[][TV], const uint8_t *q, const uint8_t *x, size_t ldx, const int n, int b, const bool sgn)
{
    Q_UNROLL
    for (int i = 0; i < n; i++) {
        const q_act_block *xa = (const q_act_block *)(const void *)(x + (size_t)i * ldx);
        va a[TV];

        Q_UNROLL
        for (int r = 0; r < TV; r++) a[r] = (va){ 0 };
        Q_UNROLL
        for (int h = 0; h < Q_HIGH; h++) {
            const va xx = q_bcast((const uint8_t *)xa->high_step[b][h]);
            const uint8_t *w = q + xa->at[b][h];
            Q_UNROLL
            for (int r = 0; r < TV; r++) a[r] = q_dot(a[r], q_load(STEP_OF(w, r)), xx, sgn);
        }
        Q_UNROLL
        for (int r = 0; r < TV; r++) sum[i][r] = q_total(a[r], sgn) * 128;
    }
}
#endif

/* bias: what every stored element has added */
Q_INLINE void tile_block(float *acc, int64_t ldacc, const q_panel *p, const uint8_t *x, size_t ldx, const int n, int n_block,
                         const int n_add, const int bias, const bool has_min, const bool sgn)
{
    const int steps = Q_STEPS(32, sgn), part = steps < n_add ? steps : n_add;
    const uint8_t *xq = x + offsetof(q_act, q), *w = steps_of(p);
    vf y[Q_TILE_X][TV];

    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) y[i][r] = vf_at(acc + i * ldacc + r * QL);
    for (int b = 0; b < n_block; b++) {
        vi isum[Q_TILE_X][TV];

        if (sgn && Q_WIDE_SIGNED) { /* 16-bit elements have all of it */
            Q_UNROLL
            for (int i = 0; i < n; i++) Q_UNROLL
            for (int r = 0; r < TV; r++) isum[i][r] = (vi){ 0 };
        } else {
            tile_high(isum, steps_of(p), x, ldx, n, b, sgn);
        }
        Q_UNROLL
        for (int h = 0; h < steps / part; h++, w += part * Q_ROWS * 4, xq += part * 4) {
            va a[Q_TILE_X][TV];
            if (Q_ADD_ALL) {
                tile_steps((va(*)[TV])isum, w, xq, ldx, n, part, sgn, true);
                continue;
            }
            tile_steps(a, w, xq, ldx, n, part, sgn, false);
            Q_UNROLL
            for (int i = 0; i < n; i++) Q_UNROLL
            for (int r = 0; r < TV; r++) isum[i][r] += q_total(a[i][r], sgn);
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            const q_act_block *xa = (const q_act_block *)(const void *)(x + (size_t)i * ldx);
            const float dx = xa->a.d[b];
            Q_UNROLL
            for (int r = 0; r < TV; r++) {
                vf t = vf_at(ROWS_OF(p, d[b], r)) * __builtin_convertvector(bias ? isum[i][r] - xa->times.less[b] : isum[i][r], vf);
                if (has_min) t += vf_at(ROWS_OF(p, m[b], r)) * xa->times.sum[b];
                y[i][r] += t * dx;
            }
        }
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) vf_put(acc + i * ldacc + r * QL, y[i][r]);
}
