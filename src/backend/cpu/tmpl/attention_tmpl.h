/* Attention over one tile of keys, online softmax (attn_tile_fn in kernels.h). Included after math_tmpl.h.
 *
 * Three small products per strip of up to ATTN_R query rows:
 *   scores, keys transposed   s[r, key..]  = sum_d q[r, d] * kt[d, key..]     lanes along keys; encoders, many rows per tile
 *   scores, keys as stored    s[r, key]    = lanes of q[r, :] * k[key, :]     lanes along head_dim; paged caches, one row too
 *   values                    o[r, d..]   += sum_key p[r, key] * v[key, d..]  lanes along head_dim
 * Each element is one chain in ascending d or key, so rows and columns may be grouped into any register tile.
 * Method: Milakov & Gimelshein 2018 (online normaliser), Dao et al. 2022 (tiling).
 */
#include "backend/cpu/tmpl/softmax_tmpl.h"

/* R rows x C vectors of  c[r] (+)= sum_i a[r * lda + i] * b[i * ldb ..], inlined with constant R and C.
 * alpha: c starts as alpha[r] * c[r]; NULL: from zero. LOAD reads VL elements of ELEM bytes. */
#define ATTN_OUTER(NAME, LOAD, ELEM)                                                                                                       \
    static inline __attribute__((always_inline)) void NAME(const int R, const int C, float *c, int64_t ldc, const float *alpha,            \
                                                           const float *a, int64_t lda, const uint8_t *b, int64_t ldb, int n)              \
    {                                                                                                                                      \
        vf s[ATTN_R][3];                                                                                                                   \
        for (int r = 0; r < R; r++)                                                                                                        \
            for (int j = 0; j < C; j++) s[r][j] = alpha ? vf_mul(vf_load(c + r * ldc + j * VL), vf_set1(alpha[r])) : vf_zero();            \
        for (int i = 0; i < n; i++, b += ldb * ELEM) {                                                                                     \
            vf bb[3];                                                                                                                      \
            for (int j = 0; j < C; j++) bb[j] = LOAD(b + j * VL * ELEM);                                                                   \
            for (int r = 0; r < R; r++) {                                                                                                  \
                const vf aa = vf_set1(a[r * lda + i]);                                                                                     \
                for (int j = 0; j < C; j++) s[r][j] = vf_fma(aa, bb[j], s[r][j]);                                                          \
            }                                                                                                                              \
        }                                                                                                                                  \
        for (int r = 0; r < R; r++)                                                                                                        \
            for (int j = 0; j < C; j++) vf_store(c + r * ldc + j * VL, s[r][j]);                                                           \
    }                                                                                                                                      \
    /* All n_vec column vectors, in threes; a rest of four as two and two, because single columns starve the multiplier. */                \
    static inline __attribute__((always_inline)) void NAME##_cols(const int R, int n_vec, float *c, int64_t ldc, const float *alpha,       \
                                                                  const float *a, int64_t lda, const uint8_t *b, int64_t ldb, int n)       \
    {                                                                                                                                      \
        int j = 0;                                                                                                                         \
        for (; n_vec - j == 3 || n_vec - j > 4; j += 3) NAME(R, 3, c + j * VL, ldc, alpha, a, lda, b + j * VL * ELEM, ldb, n);             \
        for (; n_vec - j >= 2; j += 2) NAME(R, 2, c + j * VL, ldc, alpha, a, lda, b + j * VL * ELEM, ldb, n);                              \
        if (j < n_vec) NAME(R, 1, c + j * VL, ldc, alpha, a, lda, b + j * VL * ELEM, ldb, n);                                              \
    }                                                                                                                                      \
    static void NAME##_any(int R, int n_vec, float *c, int64_t ldc, const float *alpha, const float *a, int64_t lda, const void *b,        \
                           int64_t ldb, int n)                                                                                             \
    {                                                                                                                                      \
        while (R > 0) {                                                                                                                    \
            int step = R >= ATTN_R ? ATTN_R : R >= 4 ? 4 : R >= 2 ? 2 : 1;                                                                 \
            if (step == ATTN_R) NAME##_cols(ATTN_R, n_vec, c, ldc, alpha, a, lda, b, ldb, n);                                              \
            else if (step == 4) NAME##_cols(ATTN_R < 4 ? 1 : 4, n_vec, c, ldc, alpha, a, lda, b, ldb, n);                                  \
            else if (step == 2) NAME##_cols(2, n_vec, c, ldc, alpha, a, lda, b, ldb, n);                                                   \
            else NAME##_cols(1, n_vec, c, ldc, alpha, a, lda, b, ldb, n);                                                                  \
            c += step * ldc, a += step * lda, R -= step;                                                                                   \
            if (alpha) alpha += step;                                                                                                      \
        }                                                                                                                                  \
    }
ATTN_OUTER(attn_outer_f32, vf_load, 4)
ATTN_OUTER(attn_outer_f16, vf_load_f16, 2)

/* R query rows x 4 keys of dot products along head_dim. */
#define ATTN_DOT(NAME, LOAD, ELEM)                                                                                                         \
    static inline __attribute__((always_inline)) void NAME##_n(const int R, const int K, float *s, const float *q, int hd_pad,             \
                                                               const uint8_t *k, int64_t ld)                                               \
    {                                                                                                                                      \
        vf a[DOT_R][4];                                                                                                                    \
        float sum[4];                                                                                                                      \
        for (int r = 0; r < R; r++)                                                                                                        \
            for (int j = 0; j < 4; j++) a[r][j] = vf_zero();                                                                               \
        for (int d = 0; d < hd_pad; d += VL) {                                                                                             \
            vf b[DOT_R];                                                                                                                   \
            for (int r = 0; r < R; r++) b[r] = vf_load(q + r * hd_pad + d);                                                                \
            for (int j = 0; j < K; j++) {                                                                                                  \
                const vf kk = LOAD(k + (j * ld + d) * ELEM);                                                                               \
                for (int r = 0; r < R; r++) a[r][j] = vf_fma(kk, b[r], a[r][j]);                                                           \
            }                                                                                                                              \
        }                                                                                                                                  \
        for (int r = 0; r < R; r++) {                                                                                                      \
            vf_hsum4(sum, a[r][0], a[r][1], a[r][2], a[r][3]);                                                                             \
            memcpy(s + r * ATTN_KEYS, sum, (size_t)K * sizeof *sum);                                                                       \
        }                                                                                                                                  \
    }                                                                                                                                      \
    static inline __attribute__((always_inline)) void NAME##_rows(const int R, float *s, const float *q, int hd_pad, const uint8_t *k,     \
                                                                  int64_t ld, int n_key)                                                   \
    {                                                                                                                                      \
        int i = 0;                                                                                                                         \
        for (; i + 4 <= n_key; i += 4) NAME##_n(R, 4, s + i, q, hd_pad, k + i * ld * ELEM, ld);                                            \
        for (; i < n_key; i++) NAME##_n(R, 1, s + i, q, hd_pad, k + i * ld * ELEM, ld);                                                    \
    }                                                                                                                                      \
    static void NAME(int R, float *s, const float *q, int hd_pad, const void *k, int64_t ld, int n_key)                                    \
    {                                                                                                                                      \
        for (; R >= DOT_R; R -= DOT_R, s += DOT_R * ATTN_KEYS, q += DOT_R * hd_pad) NAME##_rows(DOT_R, s, q, hd_pad, k, ld, n_key);        \
        for (; R > 0; R--, s += ATTN_KEYS, q += hd_pad) NAME##_rows(1, s, q, hd_pad, k, ld, n_key);                                        \
    }
ATTN_DOT(attn_dot_f32, vf_load, 4)
ATTN_DOT(attn_dot_f16, vf_load_f16, 2)

static void attn_tile_t(const attn_strip *t, const void *k, const void *v, int64_t ld, int n_key)
{
    float alpha[ATTN_ROWS_MAX];

    attn_outer_f32_any(t->n_row, (n_key + VL - 1) / VL, t->s, ATTN_KEYS, NULL, t->q, t->hd_pad, k, ATTN_KEYS, t->head_dim);
    attn_softmax(t, alpha, n_key);
    attn_outer_f32_any(t->n_row, t->hd_pad / VL, t->o, t->hd_pad, alpha, t->s, ATTN_KEYS, v, ld, n_key);
}

static void attn_tile_f32(const attn_strip *t, const void *k, const void *v, int64_t ld, int n_key)
{
    float alpha[ATTN_ROWS_MAX];

    attn_dot_f32(t->n_row, t->s, t->q, t->hd_pad, k, ld, n_key);
    attn_softmax(t, alpha, n_key);
    attn_outer_f32_any(t->n_row, t->hd_pad / VL, t->o, t->hd_pad, alpha, t->s, ATTN_KEYS, v, ld, n_key);
}

static void attn_tile_f16(const attn_strip *t, const void *k, const void *v, int64_t ld, int n_key)
{
    float alpha[ATTN_ROWS_MAX];

    attn_dot_f16(t->n_row, t->s, t->q, t->hd_pad, k, ld, n_key);
    attn_softmax(t, alpha, n_key);
    attn_outer_f16_any(t->n_row, t->hd_pad / VL, t->o, t->hd_pad, alpha, t->s, ATTN_KEYS, v, ld, n_key);
}

/* Blocks of VL keys x VL dims are transposed in registers. */
static void attn_pack_kt(float *kt, const float *k, int64_t ldk, int n_key, int head_dim)
{
    vf b[VL];

    for (int i = 0; i < ATTN_KEYS; i += VL)
        for (int d = 0; d < head_dim; d += VL) {
            const int nd = head_dim - d < VL ? head_dim - d : VL;
            for (int j = 0; j < VL; j++) {
                const float *p = k + (i + j) * ldk + d;
                b[j] = i + j >= n_key ? vf_zero() : nd == VL ? vf_load(p) : vf_load_n(p, nd);
            }
            vf_transpose(b);
            for (int j = 0; j < nd; j++) vf_store(kt + (d + j) * ATTN_KEYS + i, b[j]);
        }
}
