/* One weight type's part of the matrix product: packing and matvec. Included after matmul_tmpl.h, once per type, with
 *   W_NAME  suffix of the functions     W_ELEM  bytes of a stored element
 *   W_LOAD  DOT_K stored elements -> DOT_T, exact (or rounded to bf16 in the bf16 file)
 */
static void MM_CAT(pack_w, W_NAME)(void *panel, size_t part_bytes, float *scale, const void *w, size_t row_bytes, int n, int64_t k)
{
    const uint8_t *p = w;
    uint8_t *o = panel, t[DOT_K * W_ELEM];

    (void)scale;
    for (int64_t i = 0; i < k; i += DOT_K, p += DOT_K * W_ELEM, o += STRIP_W * UNIT_BYTES) {
        vf u[VL];
        if (i * W_ELEM % 64 == 0) /* the rows behind these, from front to back: memory sees one stream */
            for (int j = 0; j < VL; j++) __builtin_prefetch((const uint8_t *)w + VL * (row_bytes + (size_t)(i * W_ELEM)) + 64 * j, 0, 2);
#if defined(VF_LEAF_COLS16) && W_ELEM == 2
        if (DOT_ELEM == 4 && n == VL && k - i >= DOT_K) {
            uint16_t col[16][16];
            load_leaf_cols16(col, p, row_bytes);
            for (int c = 0; c < VL; c++) vf_store(o + (size_t)c * part_bytes, DOT_VF(W_LOAD(col[c])));
            continue;
        }
#endif
        for (int j = 0; j < VL; j++) {
            const uint8_t *row = p + (size_t)(j < n ? j : n - 1) * row_bytes;
            u[j] = DOT_VF(k - i >= DOT_K ? W_LOAD(row) : W_LOAD(dot_tail(t, row - i * W_ELEM, i, k, W_ELEM)));
        }
        vf_transpose(u);
        for (int c = 0; c < VL; c++) vf_store(o + (size_t)c * part_bytes, u[vf_leaf(c)]);
    }
}

/* nw weight rows times n rows of x; inlined with both constant. */
static inline __attribute__((always_inline)) void MM_CAT(matvec_n, W_NAME)(float *out, int64_t ldo, const uint8_t *w, size_t rb,
                                                                           const int nw, const uint8_t *x, size_t ldx, const int n,
                                                                           int64_t k)
{
    vf a[FEW_X][TILE_W];
    DOT_T b[FEW_X];
    uint8_t t[DOT_K * W_ELEM];
    float sum[TILE_W];
    int64_t i = 0;

    for (int r = 0; r < n; r++)
        for (int j = 0; j < TILE_W; j++) a[r][j] = vf_zero();
    for (; i + DOT_K <= k; i += DOT_K) {
        /* Fetch the next nw rows from front to back (into L2) while these are used: memory sees one stream, not nw. */
        if (i * W_ELEM % 64 == 0)
            for (int j = 0; j < nw; j++) {
                __builtin_prefetch(w + (size_t)nw * (rb + (size_t)(i * W_ELEM)) + 64 * (size_t)j, 0, 2);
                if (n == 1 && NEAR_BYTES > 0) __builtin_prefetch(w + (size_t)j * rb + i * W_ELEM + NEAR_BYTES);
            }
        for (int r = 0; r < n; r++) b[r] = DOT_LOAD(x + (size_t)r * ldx + i * DOT_ELEM);
        for (int j = 0; j < nw; j++) {
            const DOT_T ww = W_LOAD(w + (size_t)j * rb + i * W_ELEM);
            for (int r = 0; r < n; r++) a[r][j] = DOT_FMA(ww, b[r], a[r][j]);
        }
    }
    if (i < k) {
        for (int r = 0; r < n; r++) b[r] = DOT_LOAD(x + (size_t)r * ldx + i * DOT_ELEM);
        for (int j = 0; j < nw; j++) {
            const DOT_T ww = W_LOAD(dot_tail(t, w + (size_t)j * rb, i, k, W_ELEM));
            for (int r = 0; r < n; r++) a[r][j] = DOT_FMA(ww, b[r], a[r][j]);
        }
    }
    for (int r = 0; r < n; r++) {
        vf_hsum4(sum, a[r][0], a[r][1], a[r][2], a[r][3]);
        memcpy(out + r * ldo, sum, (size_t)nw * sizeof *sum);
    }
}

/* nw weight rows times one row of x, row after row, the next row asked for beside each: memory sees one stream. A row is a chain of
 * multiply-adds, at whose latency two cores of Zen 4 still read faster than their memory. */
static inline __attribute__((always_inline)) void MM_CAT(matvec_1, W_NAME)(float *out, const uint8_t *w, size_t rb, const int nw,
                                                                           const uint8_t *x, int64_t k)
{
    vf a[TILE_W] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
    uint8_t t[DOT_K * W_ELEM];
    float sum[TILE_W];

    for (int j = 0; j < nw; j++, w += rb) {
        vf s = vf_zero();
        int64_t i = 0;
        for (; i + DOT_K <= k; i += DOT_K) {
            if (i * W_ELEM % 64 == 0) {
                __builtin_prefetch(w + rb + i * W_ELEM, 0, 2);
                __builtin_prefetch(w + i * W_ELEM + NEAR_BYTES);
            }
            s = DOT_FMA(W_LOAD(w + i * W_ELEM), DOT_LOAD(x + i * DOT_ELEM), s);
        }
        if (i < k) s = DOT_FMA(W_LOAD(dot_tail(t, w, i, k, W_ELEM)), DOT_LOAD(x + i * DOT_ELEM), s);
        a[j] = s;
    }
    vf_hsum4(sum, a[0], a[1], a[2], a[3]);
    memcpy(out, sum, (size_t)nw * sizeof *sum);
}

static void MM_CAT(matvec, W_NAME)(float *out, int64_t ldo, const void *w, size_t rb, int64_t n_row, const void *x, size_t ldx, int n,
                                   int64_t k)
{
    const uint8_t *p = w;
    int64_t r = 0;

    if (n == 1 && k * DOT_ELEM <= MATVEC_1_BYTES) {
        for (; r + TILE_W <= n_row; r += TILE_W, p += TILE_W * rb) MM_CAT(matvec_1, W_NAME)(out + r, p, rb, TILE_W, x, k);
        for (; r < n_row; r++, p += rb) MM_CAT(matvec_1, W_NAME)(out + r, p, rb, 1, x, k);
        return;
    }
#if MM_ANY_N
    for (; r + TILE_W <= n_row; r += TILE_W, p += TILE_W * rb) MM_CAT(matvec_n, W_NAME)(out + r, ldo, p, rb, TILE_W, x, ldx, n, k);
#else
    for (; r + TILE_W <= n_row; r += TILE_W, p += TILE_W * rb) switch (n) {
#define MATVEC_CASE(i)                                                                                                                     \
    case i:                                                                                                                                \
        if (FEW_X >= i) MM_CAT(matvec_n, W_NAME)(out + r, ldo, p, rb, TILE_W, x, ldx, FEW_X >= i ? i : 1, k);                              \
        break;
            MATVEC_CASE(1)
            MATVEC_CASE(2)
            MATVEC_CASE(3)
            MATVEC_CASE(4)
            MATVEC_CASE(5)
            MATVEC_CASE(6)
#undef MATVEC_CASE
        }
#endif
    for (; r < n_row; r++, p += rb)
        for (int i = 0; i < n; i++)
            MM_CAT(matvec_n, W_NAME)(out + i * ldo + r, ldo, p, rb, 1, (const uint8_t *)x + (size_t)i * ldx, ldx, 1, k);
}

static const matmul_type MM_CAT(matmul, W_NAME) = {
    .name = W_LABEL,
    .k_step = DOT_K,
    .few_x = FEW_X,
    .n_few = FEW_X > 2 ? 24 : 4, /* where it is quick, packing still costs as much as 30 rows */
    .tile_x = TILE_X,
    .pack_row = pack_row,
    .pack_x = pack_x,
    .pack_w = MM_CAT(pack_w, W_NAME),
    .tile = matmul_tile,
    .matvec = MM_CAT(matvec, W_NAME),
};

#undef W_NAME
#undef W_LABEL
#undef W_ELEM
#undef W_LOAD
