/* Attention over plain rows as bf16 dot products (VDPBF16PS), for encoders under cpu_backend_opts.fast: queries, keys,
 * values and probabilities are rounded to bf16, scores and sums are float32.
 *
 *   scores   s[r, key..] = sum over pairs of d      q[r, d d+1] * kt[pair][key..]        lanes along keys
 *   values   o[r, d..]  += sum over pairs of keys   p[r, key key+1] * vp[pair][d..]      lanes along head_dim
 *
 * Panels hold pairs: kt [head_dim/2][ATTN_KEYS][2], vp [ATTN_KEYS/2][hd_pad][2] bf16. Each element is one chain in ascending
 * pairs, as in tmpl/attention_tmpl.h; a row that sees an odd number of keys has its last pair's second value blanked.
 */
#include "backend/cpu/kernels.h"

#include "backend/cpu/x86/vec_avx512.h"
#if !defined(MO_EMULATE_AVX512) && !defined(__AVX512BF16__)
#error "this file needs -mavx512bf16"
#endif
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/softmax_tmpl.h"

enum { PAIR_BYTES = 4 };

#define INLINE static inline __attribute__((always_inline))

/* 32 floats, rounded to nearest even, in order */
INLINE __m512i bf16_pack(vf lo, vf hi) { return (__m512i)_mm512_cvtne2ps_pbh(hi, lo); }
INLINE vf dot(vf acc, __m512i a, __m512i b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
INLINE __m512i pair_at(const uint8_t *p)
{
    int32_t t;
    memcpy(&t, p, sizeof t);
    return _mm512_set1_epi32(t);
}

/* 32 floats from p of which n are there, as pairs; n <= 0: zeros */
INLINE __m512i load_pairs(const float *p, int64_t n)
{
    if (n >= 2 * VL) return bf16_pack(vf_load(p), vf_load(p + VL));
    if (n <= 0) return _mm512_setzero_si512();
    return n > VL ? bf16_pack(vf_load(p), vf_load_n(p + VL, n - VL)) : bf16_pack(vf_load_n(p, n), vf_zero());
}

/* Blocks of VL keys x VL pairs are transposed in registers. */
static void pack_k(void *kt, const float *k, int64_t ldk, int n_key, int head_dim)
{
    const int n_pair = (head_dim + 1) / 2;
    vf b[VL];

    for (int i = 0; i < ATTN_KEYS; i += VL)
        for (int d = 0; d < n_pair; d += VL) {
            for (int j = 0; j < VL; j++)
                b[j] =
                    _mm512_castsi512_ps(i + j < n_key ? load_pairs(k + (i + j) * ldk + 2 * d, head_dim - 2 * d) : _mm512_setzero_si512());
            vf_transpose(b);
            for (int j = 0; j < VL && d + j < n_pair; j++) vf_store((uint8_t *)kt + ((d + j) * ATTN_KEYS + i) * PAIR_BYTES, b[j]);
        }
}

static void pack_v(void *vp, const float *v, int64_t ldv, int n_key, int head_dim, int hd_pad)
{
    static const uint16_t order[32] = { 0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };
    const __m512i interleave = _mm512_loadu_si512(order);
    uint8_t *o = vp;

    for (int i = 0; i < n_key; i += 2, v += 2 * ldv)
        for (int d = 0; d < hd_pad; d += VL, o += VL * PAIR_BYTES) {
            const bool whole = d + VL <= head_dim;
            const vf a = whole ? vf_load(v + d) : vf_load_n(v + d, head_dim - d);
            const vf b = i + 1 == n_key ? vf_zero() : whole ? vf_load(v + ldv + d) : vf_load_n(v + ldv + d, head_dim - d);
            _mm512_storeu_si512(o, _mm512_permutexvar_epi16(interleave, bf16_pack(a, b)));
        }
}

/* R rows x C vectors of  c[r] = alpha[r] * c[r] + sum_i a[r, pair i] * b[pair i];  alpha NULL: c starts from zero. `odd`: one more
 * pair whose second half counts for nothing. Inlined with constant R and C. */
INLINE void outer(const int R, const int C, float *c, int64_t ldc, const float *alpha, const uint8_t *a, int64_t lda, const uint8_t *b,
                  int64_t ldb, int n, bool odd)
{
    vf s[ATTN_R][3];

    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) s[r][j] = alpha ? vf_mul(vf_load(c + r * ldc + j * VL), vf_set1(alpha[r])) : vf_zero();
    for (int i = 0; i < n; i++, a += PAIR_BYTES, b += ldb) {
        __m512i bb[3];
        for (int j = 0; j < C; j++) bb[j] = _mm512_loadu_si512(b + j * 64);
        for (int r = 0; r < R; r++) {
            const __m512i aa = pair_at(a + r * lda);
            for (int j = 0; j < C; j++) s[r][j] = dot(s[r][j], aa, bb[j]);
        }
    }
    for (int r = 0; odd && r < R; r++)
        for (int j = 0; j < C; j++)
            s[r][j] = dot(s[r][j], pair_at(a + r * lda), _mm512_and_si512(_mm512_loadu_si512(b + j * 64), _mm512_set1_epi32(0xffff)));
    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) vf_store(c + r * ldc + j * VL, s[r][j]);
}

INLINE void outer_cols(const int R, int n_vec, float *c, int64_t ldc, const float *alpha, const uint8_t *a, int64_t lda, const uint8_t *b,
                       int64_t ldb, int n, bool odd)
{
    int j = 0;

    for (; n_vec - j == 3 || n_vec - j > 4; j += 3) outer(R, 3, c + j * VL, ldc, alpha, a, lda, b + j * 64, ldb, n, odd);
    for (; n_vec - j >= 2; j += 2) outer(R, 2, c + j * VL, ldc, alpha, a, lda, b + j * 64, ldb, n, odd);
    if (j < n_vec) outer(R, 1, c + j * VL, ldc, alpha, a, lda, b + j * 64, ldb, n, odd);
}

static void outer_any(int R, int n_vec, float *c, int64_t ldc, const float *alpha, const uint8_t *a, int64_t lda, const uint8_t *b,
                      int64_t ldb, int n, bool odd)
{
    while (R > 0) {
        const int step = R >= ATTN_R ? ATTN_R : R >= 4 ? 4 : R >= 2 ? 2 : 1;
        if (step == ATTN_R) outer_cols(ATTN_R, n_vec, c, ldc, alpha, a, lda, b, ldb, n, odd);
        else if (step == 4) outer_cols(4, n_vec, c, ldc, alpha, a, lda, b, ldb, n, odd);
        else if (step == 2) outer_cols(2, n_vec, c, ldc, alpha, a, lda, b, ldb, n, odd);
        else outer_cols(1, n_vec, c, ldc, alpha, a, lda, b, ldb, n, odd);
        c += step * ldc, a += step * lda, R -= step;
        if (alpha) alpha += step;
    }
}

/* n (whole vectors) floats of each of R rows as bf16; a last single vector is padded with zeros. */
INLINE void round_rows(uint8_t *o, int64_t ldo, const float *x, int64_t ldx, int R, int n)
{
    for (int r = 0; r < R; r++)
        for (int i = 0; i < n; i += 2 * VL) _mm512_storeu_si512(o + r * ldo + i * 2, load_pairs(x + r * ldx + i, n - i));
}

static void tile(const attn_strip *t, const void *k, const void *v, int64_t ld)
{
    enum { LDP = ATTN_KEYS * 2, LDQ = (ATTN_HEAD_DIM_MAX + VL) * 2 };
    _Alignas(64) uint8_t q[ATTN_ROWS_MAX * LDQ], p[ATTN_ROWS_MAX * LDP];
    float alpha[ATTN_ROWS_MAX];
    const int n_key = t->n_key[0], n_vec = (n_key + VL - 1) / VL; /* the same for all rows */

    round_rows(q, LDQ, t->q, t->hd_pad, t->n_row, t->hd_pad);
    outer_any(t->n_row, n_vec, t->s, ATTN_KEYS, NULL, q, LDQ, k, ATTN_KEYS * PAIR_BYTES, (t->head_dim + 1) / 2, false);
    attn_softmax(t, alpha);
    round_rows(p, LDP, t->s, ATTN_KEYS, t->n_row, n_vec * VL);
    outer_any(t->n_row, t->hd_pad / VL, t->o, t->hd_pad, alpha, p, LDP, v, ld * PAIR_BYTES, n_key / 2, n_key % 2);
}

void kernels_init_avx512_bf16_attention(kernels *k)
{
    k->attn_pack_k_pairs = pack_k;
    k->attn_pack_v_pairs = pack_v;
    k->attn_tile_pairs = tile;
}
