/* One weight type's kernels and its record. Included by q_table_tmpl.h once per type, with
 *   T        name of its decoders                  T_LABEL  its name
 *   T_BYTES  of a block                            T_D, T_M where d and m (dmin, or 0) lie in it; or T_FACTOR: d of a block
 *   T_SUB    elements of a sub-block, or 0: a block of 32 without scales inside
 *   T_MAX    largest weight, as decoded            T_SIGNED decoded as signed bytes
 *   T_MINS   super-blocks: MIN_…; blocks: MIN_NONE or MIN_FLOAT
 *   T_BIAS   what every decoded element has added
 *   T_TILE   a type above whose tile does for this one: the same T_SUB and T_MINS, T_MAX no smaller; or its own is made
 *   T_JOIN   super-blocks: whether a word of the panel has the scales of two sub-blocks (put_scales_2); 0 if not given
 */
#define T_CAT_(a, b) a##_##b
#define T_CAT(a, b)  T_CAT_(a, b)
#define T_FN(f)      T_CAT(f, T)

/* Signed elements whose panel has a bias: it comes off like the minimum of a super-block, or like any bias of a block. */
#define T_PANEL_BIAS (T_SIGNED && !Q_WIDE_SIGNED ? Q_SIGNED_BIAS : 0)
#define T_PANEL_MINS (T_SUB && T_PANEL_BIAS ? MIN_INT : T_MINS)
#define T_N_ADD      (T_SIGNED ? Q_CHUNK : Q_ADD(T_MAX))
/* Blocks: the bias of a panel's elements */
#define T_BLOCK_BIAS (T_PANEL_BIAS + T_BIAS)
#define T_PACK_BLOCK                                                                                                                       \
    (T_BLOCK_BIAS == 128 ? pack_block_128 : T_BLOCK_BIAS == 16 ? pack_block_16 : T_BLOCK_BIAS == 8 ? pack_block_8 : pack_block)

#ifndef T_JOIN
#define T_JOIN 0
#endif

#ifndef T_FACTOR
Q_INLINE float T_FN(factor)(const uint8_t *b) { return q_f16(b + T_D); }
#define T_FACTOR T_FN(factor)
#endif

#define T_CHUNK (T_BYTES * (T_SUB ? 1 : 8)) /* bytes of a chunk */
#if T_SUB
#define T_ACT q_act
#else
#define T_ACT q_act_block
#endif
#define T_MANY (T_SIGNED && Q_WIDE_SIGNED ? sizeof(q_act_wide) : sizeof(T_ACT))

#if T_SIGNED && Q_WIDE_SIGNED
static void T_FN(unpack_many)(void *panel, const uint8_t *w, size_t rb, int n, int n_col)
{
    q_panel *p = panel;
    row_buf row[Q_ROWS];

    if (n < Q_ROWS) {
        memset(row, 0, sizeof row);
        memset(p->d, 0, sizeof p->d);
        memset(p->m, 0, sizeof p->m);
    }
    for (int r = 0; r < n; r++, w += rb) {
        for (int o = 0; o < T_BYTES * (T_SUB ? 1 : 8); o += 64) __builtin_prefetch(w + T_BYTES * (T_SUB ? 1 : 8) + o);
#if T_SUB
        int16_t mn[16];
        T_FN(scales)(w, row[r].scale, mn);
        memcpy(row[r].min, mn, sizeof row[r].min);
        Q_UNROLL
        for (int j = 0; j < 8; j++) put_q(row[r].q, j, T_FN(decode)(w, j));
        p->d[0][r] = T_FACTOR(w);
        if (T_MINS == MIN_FLOAT) p->m[0][r] = q_f16(w + T_M);
#else
        for (int j = 0; j < n_col / 32; j++) {
            const uint8_t *b = w + j * T_BYTES;
            put_q(row[r].q, j, T_FN(decode)(b, 0));
            p->d[j][r] = T_FACTOR(b);
            if (T_MINS == MIN_FLOAT) p->m[j][r] = q_f16(b + T_M);
        }
#endif
    }
    interleave(p->q, row[0].q, Q_STEPS(n_col, T_SIGNED));
#if T_SUB
    interleave(p->scale, row[0].scale, Q_CHUNK / T_SUB);
    if (T_PANEL_MINS) interleave(p->min, row[0].min, Q_CHUNK / T_SUB / 2);
#endif
}
#else
static __attribute__((noinline)) void T_FN(fill)(const unpack_at *u) { T_FN(unpack)(u); }

static void T_FN(unpack_many)(void *panel, const uint8_t *w, size_t rb, int n, int n_col)
{
    q_panel *p = panel;

    fill_panels((unpack_at){ .p = p, .w = w, .rb = rb, .n_col = n_col, .ahead = w + T_CHUNK, .ahead_step = rb }, n, T_CHUNK, T_FN(fill));
    Q_PANEL_DONE(p, n_col);
}
#endif

#ifdef T_TILE
#define T_TILE_FN T_CAT(tile, T_TILE)
#else
#define T_TILE_FN T_FN(tile)
#if T_JOIN
#define TILE_NAME tile_32
#else
#define TILE_NAME tile
#endif
static void T_FN(TILE_NAME)(float *acc, const void *p, const uint8_t *x, int n, int n_col)
{
#if T_SUB
#define TILE_CALL(i) tile_super(acc, Q_ACC, p, x, T_MANY, i, T_SUB, T_N_ADD, T_PANEL_MINS, T_SIGNED, T_JOIN)
#else
#define TILE_CALL(i) tile_block(acc, Q_ACC, p, x, T_MANY, i, n_col / 32, T_N_ADD, T_BLOCK_BIAS, T_MINS == MIN_FLOAT, T_SIGNED)
#endif
    (void)n_col;
    CALL_1_4(TILE_CALL, n)
#undef TILE_CALL
}
#undef TILE_NAME

#if T_JOIN
static void T_FN(tile)(float *acc, const void *p, const uint8_t *x, int n, int n_col)
{
#define TILE_CALL(i) tile_super_16(acc, Q_ACC, p, x, T_MANY, i, T_SUB, T_BIAS, T_MINS)
    if (!fits_16(x, T_MANY, n, T_MAX, T_BIAS)) {
        T_FN(tile_32)(acc, p, x, n, n_col);
        return;
    }
    CALL_1_4(TILE_CALL, n)
#undef TILE_CALL
}
#endif
#endif

#if Q_PANEL_FEW
/* nr weight rows at w times n activation rows through panels that live for one use. Not inlined:
 * matvec is long, and what GCC 12 makes of it varies by a tenth with what stands in it. */
static __attribute__((noinline)) void T_FN(few_panels)(float *out, int64_t ldo, q_panel *p, const uint8_t *w, size_t rb, int nr,
                                                       const uint8_t *x, size_t ldx, int n, int64_t k)
{
    float acc[Q_FEW_MAX][Q_ACC];
    unpack_at u = { .p = p, .w = w, .rb = rb, .ahead = w + Q_PANELS * Q_ROWS * rb, .ahead_step = rb };

    memset(acc, 0, (size_t)n * sizeof *acc);
    for (int64_t c = 0; c < k; c += Q_CHUNK, u.w += T_CHUNK, u.ahead += T_CHUNK, x += ldx) {
        u.n_col = k - c < Q_CHUNK ? (int)(k - c) : Q_CHUNK;
        fill_panels(u, nr, T_CHUNK, T_FN(fill));
        for (int i = 0; i < n; i += Q_TILE_X)
            T_TILE_FN(acc[i], u.p, x + (size_t)i * sizeof(T_ACT), n - i < Q_TILE_X ? n - i : Q_TILE_X, u.n_col);
    }
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, acc[i], (size_t)nr * sizeof(float));
}

/* What is ahead is the next rows: as many streams as these have. */
static void T_FN(matvec)(float *out, int64_t ldo, const uint8_t *w, size_t rb, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                         int64_t k)
{
    enum { STEP = Q_PANELS * Q_ROWS };
    q_panel p[Q_PANELS];

#if Q_ALONG_ROWS
    for (; n <= ROWS_X_MAX && n_row >= Q_ROWS && k >= ROWS_K_MIN; n_row -= Q_ROWS, w += Q_ROWS * rb, out += Q_ROWS) {
        const unpack_at u = { .w = w, .rb = rb, .ahead = w + Q_ROWS * rb, .ahead_step = rb };
#if T_SUB
#define ROWS_CALL(i) rows_super(out, ldo, &u, x, ldx, i, k, T_FN(ROWS))
#else
#define ROWS_CALL(i) rows_blocks(out, ldo, &u, x, ldx, i, k, T_FN(ROWS))
#endif
        CALL_1_4(ROWS_CALL, n)
#undef ROWS_CALL
    }
#endif
    for (; n_row > 0; n_row -= STEP, w += STEP * rb, out += STEP)
        T_FN(few_panels)(out, ldo, p, w, rb, n_row < STEP ? (int)n_row : STEP, x, ldx, n, k);
}
#else
static void T_FN(matvec)(float *out, int64_t ldo, const uint8_t *w, size_t rb, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                         int64_t k)
{
#if T_SUB
#define MATVEC_CALL(i)                                                                                                                     \
    matvec_super(out, ldo, w, rb, nr, x, ldx, i, k, T_BYTES, T_FACTOR, T_M, T_FN(decode), T_FN(scales), T_SUB, T_MINS, T_SIGNED)
#else
#define MATVEC_CALL(i)                                                                                                                     \
    matvec_block(out, ldo, w, rb, nr, x, ldx, i, k, T_BYTES, T_FACTOR, T_M, T_FN(decode), T_BIAS, T_MINS == MIN_FLOAT, T_SIGNED)
#endif
    for (int64_t r = 0; r < n_row; r += MR, w += MR * rb, out += MR) {
        const int nr = n_row - r < MR ? (int)(n_row - r) : MR;
        CALL_1_4(MATVEC_CALL, n)
    }
#undef MATVEC_CALL
}
#endif

static const quant_kernel T_FN(kernel) = {
    .name = T_LABEL,
    .panel_rows = Q_PANELS * Q_ROWS,
    .panel_bytes = Q_PANELS * sizeof(q_panel),
    .n_strip = (T_SIGNED && Q_WIDE_SIGNED ? 2 : 4) / Q_PANELS,
    .tile_x = Q_TILE_X,
    .few_bytes = sizeof(T_ACT),
    .many_bytes = T_MANY,
#if T_SUB
    .pack_few = T_SUB == 16 ? pack_super_16 : pack_super_32,
    .pack_many = T_SIGNED      ? pack_super_32_wide
                 : T_SUB == 16 ? pack_super_16
                               : pack_super_32,
#else
    .pack_few = T_PACK_BLOCK,
    .pack_many = T_SIGNED && Q_WIDE_SIGNED ? pack_block_wide : T_PACK_BLOCK,
#endif
    .unpack = T_FN(unpack_many),
#if Q_PANEL_FEW
    .n_few = Q_FEW_MAX,
    .n_along = ROWS_X_MAX,
#else
    .n_few = Q_FEW,
#endif
    .tile = T_TILE_FN,
    .matvec = T_FN(matvec),
};

#undef T
#undef T_LABEL
#undef T_BYTES
#undef T_D
#undef T_FACTOR
#undef T_M
#undef T_SUB
#undef T_MAX
#undef T_SIGNED
#undef T_MINS
#undef T_BIAS
#undef T_CHUNK
#undef T_TILE
#undef T_TILE_FN
#undef T_JOIN
#undef T_ACT
#undef T_MANY
