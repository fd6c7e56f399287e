/* Vector primitives for AVX-512 F, BW, DQ, VL: 16 lanes, 32 registers (names: generic/vec_generic.h).
 * Tile 2 x 12: 24 accumulators, 2 weight vectors, activations by one.
 * MO_EMULATE_AVX512: the tests' build, where SIMDe stands in for the instruction set. */
#ifndef MO_VEC_AVX512_H
#define MO_VEC_AVX512_H

#if defined(MO_EMULATE_AVX512)
#include "simde_avx512.h"
#elif !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__) || !defined(__FMA__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma"
#endif

#include <immintrin.h>
#include <stdint.h>

enum { VL = 16, FEW_X = 6, TILE_X = 12, ATTN_R = 8, VF_REGS = 32 };

typedef __m512 vf;

static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_set1(float a) { return _mm512_set1_ps(a); }
/* A load of its own: in the operand of each multiply-add, where GCC would put it, it is made twice a tile's step. */
static inline vf vf_all(const void *p)
{
    vf r = _mm512_set1_ps(*(const float *)p);
#if !defined(MO_EMULATE_AVX512)
    __asm__("" : "+v"(r));
#endif
    return r;
}
static inline vf vf_load(const void *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(void *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_gt_select(vf a, vf b, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
static inline vf vf_pow2(vf a)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127)), 23));
}
#if !defined(MO_EMULATE_AVX512)
/* a * 2^n, but 0 where x < low; overflow gives infinity, so exp needs no other guards */
#define VF_SCALE_ABOVE
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_scale_above(vf a, vf n, vf x, float low)
{
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_GE_OQ), a, n);
}
#endif
static inline vf vf_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
static inline vf vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline void vf_store_f16(void *p, vf a) { _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }

static inline vf vf_load_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }
static inline void vf_store_i8(void *p, vf a) { _mm_storeu_si128(p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a))); }

static inline __m256 vf_half(vf a, int high)
{
    const __m512d d = _mm512_castps_pd(a);
    return _mm256_castpd_ps(high ? _mm512_extractf64x4_pd(d, 1) : _mm512_castpd512_pd256(d));
}
static inline int vf_leaf(int i) { return i / 2 + i % 2 * 8; }
/* lanes i and i + 8 first, then ((0+1)+(2+3)) + ((4+5)+(6+7)) */
static inline void vf_hsum4(float *out, vf a, vf b, vf c, vf d)
{
    const __m256 s =
        _mm256_hadd_ps(_mm256_hadd_ps(_mm256_add_ps(vf_half(a, 0), vf_half(a, 1)), _mm256_add_ps(vf_half(b, 0), vf_half(b, 1))),
                       _mm256_hadd_ps(_mm256_add_ps(vf_half(c, 0), vf_half(c, 1)), _mm256_add_ps(vf_half(d, 0), vf_half(d, 1))));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
static inline float vf_hsum(vf a)
{
    float t[4];
    vf_hsum4(t, a, a, a, a);
    return t[0];
}
static inline float vf_hmax(vf a)
{
    const __m256 h = _mm256_max_ps(vf_half(a, 0), vf_half(a, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline void vf_transpose(vf *r)
{
    __m512 t[16], u[16];

    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* u[i + c]: in 128-bit lane l, column 4l + c of rows i .. i + 3 */
        u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int c = 0; c < 4; c++) { /* and those lanes are a 4 x 4 of their own */
        const __m512 a = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x44), b = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xee);
        const __m512 d = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x44), e = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xee);
        r[c] = _mm512_shuffle_f32x4(a, d, 0x88);
        r[4 + c] = _mm512_shuffle_f32x4(a, d, 0xdd);
        r[8 + c] = _mm512_shuffle_f32x4(b, e, 0x88);
        r[12 + c] = _mm512_shuffle_f32x4(b, e, 0xdd);
    }
}

#if !defined(MO_EMULATE_AVX512)
/* The columns of 16 rows of 16 16-bit elements, in the order of vf_leaf: half as many shuffles as for the same in float32. */
#define VF_LEAF_COLS16
static inline void load_leaf_cols16(uint16_t col[16][16], const uint8_t *p, size_t row_bytes)
{
    const __m512i order = _mm512_setr_epi64(0, 1, 4, 5, 2, 3, 6, 7);
    __m512i r[8], t[8];

    for (int i = 0; i < 8; i++) { /* 128-bit lanes: an 8 x 8 each, of rows 0 to 7 and elements 0 to 7, 8 to 15; of rows 8 to 15 */
        const __m256i low = _mm256_loadu_si256((const void *)(p + (size_t)i * row_bytes));
        r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_loadu_si256((const void *)(p + (size_t)(i + 8) * row_bytes)), 1);
    }
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* r[i + c]: columns 2c and 2c + 1 of rows i .. i + 3 */
        r[i] = _mm512_unpacklo_epi32(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi32(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi32(t[i + 1], t[i + 3]);
    }
    for (int c = 0; c < 4; c++) { /* columns 2c and 2c + 1, each beside its neighbour in the tree, 8 further */
        _mm512_storeu_si512(col[4 * c], _mm512_permutexvar_epi64(order, _mm512_unpacklo_epi64(r[c], r[4 + c])));
        _mm512_storeu_si512(col[4 * c + 2], _mm512_permutexvar_epi64(order, _mm512_unpackhi_epi64(r[c], r[4 + c])));
    }
}
#endif

#endif
