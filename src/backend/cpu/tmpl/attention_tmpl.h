/* Attention over one tile of keys, online softmax (attn_tile_fn in kernels.h). Included after math_tmpl.h.
 *
 * Two small products per strip of up to ATTN_R query rows, both with lanes along the second factor's columns:
 *   scores   s[r, key..]  = sum_d q[r, d] * kt[d, key..]     keys stand transposed: no sums across lanes
 *   values   o[r, d..]   += sum_key p[r, key] * v[key, d..]
 * Each element is one chain in ascending d or key, so rows and columns may be grouped into any register tile, and stored
 * types are converted (exactly) in registers or beforehand, with the same bits.
 * Method: Milakov & Gimelshein 2018 (online normaliser), Dao et al. 2022 (tiling).
 */
#include "backend/cpu/tmpl/softmax_tmpl.h"

static const float attn_ones[ATTN_ROWS_MAX] = { 1, 1, 1, 1, 1, 1, 1, 1 };

/* The most and the least keys that rows of the strip see. */
static inline int attn_n_key(const attn_strip *t, int *least)
{
    int most = t->n_key[0];

    *least = most;
    for (int r = 1; r < t->n_row; r++) {
        if (t->n_key[r] > most) most = t->n_key[r];
        if (t->n_key[r] < *least) *least = t->n_key[r];
    }
    return most;
}

enum { Q8_BLOCK = 32, Q8_BLOCKS_MAX = ATTN_HEAD_DIM_MAX / Q8_BLOCK };

/* The second factor of a product: rows ld elements apart. scale: of Q8_0, as float32. */
typedef struct attn_matrix {
    const uint8_t *p;
    int64_t ld;
    const float *scale;
    ptrdiff_t ahead; /* what is wanted next lies so many bytes further: fetched line by line beside the products */
} attn_matrix;

/* VL elements of row i from column j on. A product of an int8 and a float16 scale is exact in float32. */
static inline vf attn_load_f32(const attn_matrix *b, int64_t i, int64_t j) { return vf_load(b->p + (i * b->ld + j) * 4); }
static inline vf attn_load_f16(const attn_matrix *b, int64_t i, int64_t j) { return vf_load_f16(b->p + (i * b->ld + j) * 2); }
static inline vf attn_load_q8_k(const attn_matrix *b, int64_t i, int64_t j)
{
    return vf_mul(vf_load_i8(b->p + i * b->ld + j), vf_load(b->scale + i / Q8_BLOCK * ATTN_KEYS + j));
}
static inline vf attn_load_q8_v(const attn_matrix *b, int64_t i, int64_t j)
{
    return vf_mul(vf_load_i8(b->p + i * b->ld + j), vf_set1(b->scale[(i * b->ld + j) / Q8_BLOCK]));
}

/* For the level-2 cache: a tile of keys and values is the whole of level 1. */
static inline void attn_fetch(const uint8_t *p) { __builtin_prefetch(p, 0, 2); }

/* Most columns (of VL) of a tile of R rows whose sums and operands fit the registers. */
static inline __attribute__((always_inline)) int attn_cols_max(const int R)
{
    return R * 4 + 4 + 1 <= VF_REGS ? 4 : R * 3 + 3 + 1 <= VF_REGS ? 3 : 2;
}

/* R rows x C vectors, from column j on, of  c[r] (+)= sum_i a[r * lda + i] * b[i], i0 <= i < n, inlined with constant R and C.
 * alpha: c starts as alpha[r] * c[r]; NULL: from zero. */
#define ATTN_OUTER(NAME, LOAD, ELEM)                                                                                                       \
    static inline __attribute__((always_inline)) void NAME(const int R, const int C, float *c, int64_t ldc, const float *alpha,            \
                                                           const float *a, int64_t lda, const attn_matrix *b, int64_t j, int i0, int n)    \
    {                                                                                                                                      \
        vf s[ATTN_R][4];                                                                                                                   \
        for (int r = 0; r < R; r++)                                                                                                        \
            for (int k = 0; k < C; k++) s[r][k] = alpha ? vf_mul(vf_load(c + r * ldc + j + k * VL), vf_set1(alpha[r])) : vf_zero();        \
        for (int i = i0; i < n; i++) {                                                                                                     \
            vf bb[4];                                                                                                                      \
            if (b->ahead)                                                                                                                  \
                for (int p = 0; p < C * VL * ELEM; p += 64) attn_fetch(b->p + (i * b->ld + j) * ELEM + b->ahead + p);                      \
            for (int k = 0; k < C; k++) bb[k] = LOAD(b, i, j + k * VL);                                                                    \
            for (int r = 0; r < R; r++) {                                                                                                  \
                const vf aa = vf_set1(a[r * lda + i]);                                                                                     \
                for (int k = 0; k < C; k++) s[r][k] = vf_fma(aa, bb[k], s[r][k]);                                                          \
            }                                                                                                                              \
        }                                                                                                                                  \
        for (int r = 0; r < R; r++)                                                                                                        \
            for (int k = 0; k < C; k++) vf_store(c + r * ldc + j + k * VL, s[r][k]);                                                       \
    }                                                                                                                                      \
    /* All n_vec column vectors; single ones starve the multiplier, so one too many for a tile is shared by two. */                        \
    static inline __attribute__((always_inline)) void NAME##_cols(const int R, int n_vec, float *c, int64_t ldc, const float *alpha,       \
                                                                  const float *a, int64_t lda, const attn_matrix *b, int i0, int n)        \
    {                                                                                                                                      \
        const int most = attn_cols_max(R);                                                                                                 \
        for (int j = 0; j < n_vec;) {                                                                                                      \
            const int left = n_vec - j, step = left == most + 1 ? most - 1 : left < most ? left : most;                                    \
            if (most >= 4 && step == 4) NAME(R, 4, c, ldc, alpha, a, lda, b, j *VL, i0, n);                                                \
            else if (most >= 3 && step == 3) NAME(R, 3, c, ldc, alpha, a, lda, b, j *VL, i0, n);                                           \
            else if (step == 2) NAME(R, 2, c, ldc, alpha, a, lda, b, j *VL, i0, n);                                                        \
            else NAME(R, 1, c, ldc, alpha, a, lda, b, j *VL, i0, n);                                                                       \
            j += step;                                                                                                                     \
        }                                                                                                                                  \
    }                                                                                                                                      \
    static void NAME##_any(int R, int n_vec, float *c, int64_t ldc, const float *alpha, const float *a, int64_t lda, const attn_matrix *b, \
                           int i0, int n)                                                                                                  \
    {                                                                                                                                      \
        while (R > 0) {                                                                                                                    \
            const int step = R >= ATTN_R ? ATTN_R : R >= 4 ? 4 : R;                                                                        \
            if (step == ATTN_R) NAME##_cols(ATTN_R, n_vec, c, ldc, alpha, a, lda, b, i0, n);                                               \
            else if (step == 4) NAME##_cols(ATTN_R < 4 ? 1 : 4, n_vec, c, ldc, alpha, a, lda, b, i0, n);                                   \
            else if (step == 3) NAME##_cols(3, n_vec, c, ldc, alpha, a, lda, b, i0, n);                                                    \
            else if (step == 2) NAME##_cols(2, n_vec, c, ldc, alpha, a, lda, b, i0, n);                                                    \
            else NAME##_cols(1, n_vec, c, ldc, alpha, a, lda, b, i0, n);                                                                   \
            c += step * ldc, a += step * lda, R -= step;                                                                                   \
            if (alpha) alpha += step;                                                                                                      \
        }                                                                                                                                  \
    }
ATTN_OUTER(attn_outer_f32, attn_load_f32, 4)
ATTN_OUTER(attn_outer_f16, attn_load_f16, 2)
ATTN_OUTER(attn_outer_q8_k, attn_load_q8_k, 1)
ATTN_OUTER(attn_outer_q8_v, attn_load_q8_v, 1)

/* Scores of the tile, softmax, values: keys that all rows see for all of them, then the rest for each run of equal rows. Scores that a
 * row must not see are computed beside the others' and overwritten. */
#define ATTN_TILE(KERNEL_K, KERNEL_V, t, k, v)                                                                                             \
    do {                                                                                                                                   \
        float alpha[ATTN_ROWS_MAX];                                                                                                        \
        int least, most = attn_n_key(t, &least);                                                                                           \
        KERNEL_K((t)->n_row, (most + VL - 1) / VL, (t)->s, ATTN_KEYS, NULL, (t)->q, (t)->hd_pad, k, 0, (t)->head_dim);                     \
        attn_softmax(t, alpha);                                                                                                            \
        KERNEL_V((t)->n_row, (t)->hd_pad / VL, (t)->o, (t)->hd_pad, alpha, (t)->s, ATTN_KEYS, v, 0, least);                                \
        for (int r = 0, n; r < (t)->n_row; r += n) {                                                                                       \
            for (n = 1; r + n < (t)->n_row && (t)->n_key[r + n] == (t)->n_key[r];) n++;                                                    \
            if ((t)->n_key[r] > least)                                                                                                     \
                KERNEL_V(n, (t)->hd_pad / VL, (t)->o + r * (t)->hd_pad, (t)->hd_pad, attn_ones, (t)->s + r * ATTN_KEYS, ATTN_KEYS, v,      \
                         least, (t)->n_key[r]);                                                                                            \
        }                                                                                                                                  \
    } while (0)

static void attn_tile_f32(const attn_strip *t, const void *k, const void *v, int64_t ld)
{
    const attn_matrix km = { k, ATTN_KEYS, NULL, t->k_ahead }, vm = { v, ld, NULL, t->v_ahead };

    ATTN_TILE(attn_outer_f32_any, attn_outer_f32_any, t, &km, &vm);
}

static void attn_tile_f16(const attn_strip *t, const void *k, const void *v, int64_t ld)
{
    const attn_matrix km = { k, ATTN_KEYS, NULL, t->k_ahead }, vm = { v, ld, NULL, t->v_ahead };

    ATTN_TILE(attn_outer_f16_any, attn_outer_f16_any, t, &km, &vm);
}

/* The scales of a panel of n int8, which follow them. */
static inline void attn_scales_q8(float *scale, const void *panel, int n, ptrdiff_t ahead)
{
    const uint8_t *p = (const uint8_t *)panel + n;

    for (int i = 0; i < n / Q8_BLOCK; i += VL) vf_store(scale + i, vf_load_f16(p + 2 * i));
    for (int i = 0; i < n / Q8_BLOCK * 2; i += 64) attn_fetch(p + i + ahead);
}

static void attn_tile_q8_0(const attn_strip *t, const void *k, const void *v, int64_t ld)
{
    float ks[Q8_BLOCKS_MAX * ATTN_KEYS], vs[Q8_BLOCKS_MAX * ATTN_KEYS];
    const attn_matrix km = { k, ATTN_KEYS, ks, t->k_ahead }, vm = { v, ld, vs, t->v_ahead };

    attn_scales_q8(ks, k, ATTN_KEYS * t->head_dim, t->k_ahead);
    attn_scales_q8(vs, v, ATTN_KEYS * t->head_dim, t->v_ahead);
    ATTN_TILE(attn_outer_q8_k_any, attn_outer_q8_v_any, t, &km, &vm);
}

static void attn_unpack_q8_0(float *kt, float *v32, const void *k, const void *v, int n_key, int head_dim)
{
    float ks[Q8_BLOCKS_MAX * ATTN_KEYS], vs[Q8_BLOCKS_MAX * ATTN_KEYS];
    const attn_matrix km = { k, ATTN_KEYS, ks, 0 }, vm = { v, head_dim, vs, 0 };

    attn_scales_q8(ks, k, ATTN_KEYS * head_dim, 0);
    attn_scales_q8(vs, v, ATTN_KEYS * head_dim, 0);
    for (int d = 0; d < head_dim; d++)
        for (int i = 0; i < ATTN_KEYS; i += VL) vf_store(kt + d * ATTN_KEYS + i, attn_load_q8_k(&km, d, i));
    for (int i = 0; i < n_key; i++)
        for (int d = 0; d < head_dim; d += VL) vf_store(v32 + i * head_dim + d, attn_load_q8_v(&vm, i, d));
}

static void attn_merge(float *o, float *m, float *l, const float *part_o, float part_m, float part_l, int n)
{
    const float m_new = part_m > *m ? part_m : *m;
    float a[VL], b[VL];
    vf av, bv;

    vf_store(a, av = vf_exp(vf_set1(*m - m_new)));
    vf_store(b, bv = vf_exp(vf_set1(part_m - m_new)));
    for (int i = 0; i < n; i += VL) vf_store(o + i, vf_fma(vf_load(part_o + i), bv, vf_mul(vf_load(o + i), av)));
    *l = *l * a[0] + part_l * b[0];
    *m = m_new;
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
