/* F16, BF16 and F32 weights as int8 (cpu_backend_opts.int8): packed once, when they are bound, in the order in which the tile
 * reads them; so nothing is unpacked, and few rows read every byte once, front to back. Included after q_act_tmpl.h.
 *
 *     [panel of D_ROWS weight rows][chunk of Q_CHUNK columns] = scale [D_ROWS] float, then q [step][D_ROWS][4 bytes]
 *
 * Columns are filled up with zeros to whole blocks of D_BLOCK. A row's scale holds for a chunk, an activation's for a block:
 * one large activation (encoders have columns of them) spoils its own block only. Bytes have Q_SIGNED_BIAS added where
 * the instruction wants them unsigned; sums of x, from which accumulators start, take that off again.
 *
 *     t = sum over the chunk's blocks  dx[block] * (sum of q * x),   y += t * scale
 *
 * every product and sum rounded by itself: all instruction sets give the same bits.
 */
enum {
    D_ROWS = Q_PANELS * Q_ROWS,
    D_BLOCK = 64,
    D_STEPS = D_BLOCK / 4,
    D_BLOCKS = Q_CHUNK / D_BLOCK,
    D_SCALE_BYTES = D_ROWS * sizeof(float),
    D_FEW = Q_PANELS * Q_DENSE_X /* activation rows of a matvec call */
};
_Static_assert((int)D_BLOCK == (int)Q_DENSE_BLOCK, "as in quant.h");

#if defined(__clang__)
#define D_UNROLL _Pragma("unroll 4")
#else
#define D_UNROLL _Pragma("GCC unroll 4")
#endif

typedef struct dense_act {
    float d[D_BLOCKS];
    int32_t start[D_BLOCKS]; /* -Q_SIGNED_BIAS * sum of q of the block */
    int8_t q[Q_CHUNK];
} dense_act;

static void dense_pack_x(void *dst, size_t stride, const float *x, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += Q_CHUNK, dst = (uint8_t *)dst + stride) {
        dense_act *a = dst;
        for (int b = 0; b < D_BLOCKS; b++) {
            const int64_t left = k - k0 - b * D_BLOCK;
            int32_t q[D_BLOCK], sum = 0;
            if (left >= D_BLOCK) {
                a->d[b] = act_scale(q, x + k0 + b * D_BLOCK, D_BLOCK);
            } else {
                memset(q, 0, sizeof q);
                a->d[b] = left > 0 ? act_scale(q, x + k0 + b * D_BLOCK, (int)left) : 0;
            }
            for (int e = 0; e < D_BLOCK; e++) sum += q[e];
            a->start[b] = -Q_SIGNED_BIAS * sum;
            for (int e = 0; e < D_BLOCK; e++) a->q[b * D_BLOCK + e] = (int8_t)q[e];
        }
    }
}

static void dense_pack_w(void *panel, const float *w, int64_t ldw, int n, int n_col)
{
    const int n_step = (n_col + D_BLOCK - 1) / D_BLOCK * D_STEPS;
    uint8_t *o = (uint8_t *)panel + D_SCALE_BYTES;
    int32_t q[Q_CHUNK];

    for (int r = 0; r < D_ROWS; r++) {
        if (n_col < Q_CHUNK || r >= n) memset(q, 0, sizeof q);
        ((float *)panel)[r] = r < n ? act_scale(q, w + r * ldw, n_col) : 0;
        for (int s = 0; s < n_step; s++)
            for (int e = 0; e < 4; e++) o[(s * D_ROWS + r) * 4 + e] = (uint8_t)(q[4 * s + e] + Q_SIGNED_BIAS);
    }
}

/* n rows of x, inlined with n constant. */
Q_INLINE void dense_rows(float *acc, const uint8_t *p, const uint8_t *x, const int n, int n_block)
{
    enum { ldx = sizeof(dense_act) };
    const uint8_t *w = p + D_SCALE_BYTES;
    vf t[Q_DENSE_X][TV];

    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) t[i][r] = (vf){ 0 };
    for (int b = 0; b < n_block; b++) {
        const uint8_t *xq = x + offsetof(dense_act, q) + b * D_BLOCK;
        va a[Q_DENSE_X][TV];
        Q_UNROLL
        for (int i = 0; i < n; i++) Q_UNROLL
        for (int r = 0; r < TV; r++) a[i][r] = q_bcast(x + (size_t)i * ldx + offsetof(dense_act, start) + 4 * (size_t)b);
        D_UNROLL
        for (int s = 0; s < D_STEPS; s++, w += D_ROWS * 4) {
            va ww[TV];
            Q_UNROLL
            for (int r = 0; r < TV; r++) ww[r] = q_load(w + r * (QL * 4));
            Q_UNROLL
            for (int i = 0; i < n; i++) {
                const va xx = q_bcast(xq + (size_t)i * ldx + 4 * s);
                Q_UNROLL
                for (int r = 0; r < TV; r++) a[i][r] = q_dot_bytes(a[i][r], ww[r], xx);
            }
        }
        Q_UNROLL
        for (int i = 0; i < n; i++) {
            float dx;
            memcpy(&dx, x + (size_t)i * ldx + 4 * (size_t)b, sizeof dx);
            Q_UNROLL
            for (int r = 0; r < TV; r++) t[i][r] += __builtin_convertvector((vi)a[i][r], vf) * dx;
        }
    }
    Q_UNROLL
    for (int i = 0; i < n; i++) Q_UNROLL
    for (int r = 0; r < TV; r++) {
        float *o = acc + i * Q_ACC + r * QL;
        vf_put(o, vf_at(o) + t[i][r] * vf_at((const float *)(const void *)p + r * QL));
    }
}

Q_INLINE void dense_any(float *acc, const uint8_t *p, const uint8_t *x, int n, int n_col)
{
    const int n_block = (n_col + D_BLOCK - 1) / D_BLOCK;

    while (n > 0) {
        const int step = n >= Q_DENSE_X ? Q_DENSE_X : n >= 4 ? 4 : n >= 2 ? 2 : 1;
        if (step == Q_DENSE_X) dense_rows(acc, p, x, Q_DENSE_X, n_block);
        else if (step == 4) dense_rows(acc, p, x, Q_DENSE_X > 4 ? 4 : 1, n_block);
        else if (step == 2) dense_rows(acc, p, x, 2, n_block);
        else dense_rows(acc, p, x, 1, n_block);
        acc += step * Q_ACC, x += (size_t)step * sizeof(dense_act), n -= step;
    }
}

static void dense_tile(float *acc, const void *p, const uint8_t *x, int n, int n_col) { dense_any(acc, p, x, n, n_col); }

static void dense_matvec(float *out, int64_t ldo, const uint8_t *w, size_t rb, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                         int64_t k)
{
    for (int64_t r = 0; r < n_row; r += D_ROWS, w += D_ROWS * rb) {
        const size_t nr = n_row - r < D_ROWS ? (size_t)(n_row - r) : D_ROWS;
        const uint8_t *p = w;
        float acc[D_FEW * Q_ACC];

        memset(acc, 0, (size_t)n * Q_ACC * sizeof *acc);
        for (int64_t k0 = 0, c = 0; k0 < k; k0 += Q_CHUNK, c++, p += D_SCALE_BYTES + Q_CHUNK * D_ROWS)
            dense_any(acc, p, x + (size_t)c * ldx, n, k - k0 < Q_CHUNK ? (int)(k - k0) : Q_CHUNK);
        for (int i = 0; i < n; i++) memcpy(out + i * ldo + r, acc + i * Q_ACC, nr * sizeof *acc);
    }
}

static const quant_kernel kernel_dense = {
    .name = "int8",
    .panel_rows = D_ROWS,
    .n_strip = 4 / Q_PANELS,
    .tile_x = Q_DENSE_X,
    .few_bytes = sizeof(dense_act),
    .many_bytes = sizeof(dense_act),
    .pack_few = dense_pack_x,
    .pack_many = dense_pack_x,
    .pack_weights = dense_pack_w,
    .tile = dense_tile,
    .n_few = D_FEW,
    .matvec = dense_matvec,
};
