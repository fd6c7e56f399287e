/* What the quantised kernels need of AVX2, without VNNI: products of unsigned and signed bytes sum pairs into 16 bits.
 *
 *   va   a tile's accumulator: 16 x int16, or 8 x int32 for signed weights, whose elements are widened to 16 bits in the
 *        panel (their bytes use the whole range, so that a pair of products could not be added to another)
 */
#ifndef MO_QVEC_AVX2_H
#define MO_QVEC_AVX2_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c"
#endif

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/quant/quant.h"
#include "core/quants/quants.h"

enum { QL = 8, MR = 8 };
#define Q_TILE_X 4
#define Q_WIDE_SIGNED 1
#define Q_SIGNED_BIAS 0
#define Q_ADD_ALL 0
#define Q_SCALE(v) ((int32_t)((uint32_t)(v) << 16 | ((uint32_t)(v) & 0xffff))) /* both halves of a lane */

typedef uint8_t b32 __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));
typedef __m256i va;
typedef vi vm, vmi;
typedef vf vmf;

#define QV static inline __attribute__((always_inline))

QV float q_f16(const uint8_t *p) { return _cvtsh_ss(get_u16(p)); }
QV b32 q_lut(const int8_t *table, b32 i)
{
    return (b32)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table)), (__m256i)i);
}

/* Tile */
QV va q_load(const void *p) { return _mm256_loadu_si256(p); }
QV va q_bcast(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
QV va q_dot(va a, va w, va x, bool sgn)
{
    return sgn ? _mm256_add_epi32(a, _mm256_madd_epi16(w, x)) : _mm256_add_epi16(a, _mm256_maddubs_epi16(w, x));
}
QV vi q_fold(vi sum, va a, va scale, bool sgn)
{
    return sum + (vi)(sgn ? _mm256_mullo_epi32(a, _mm256_srai_epi32(scale, 16)) : _mm256_madd_epi16(a, scale));
}
QV vi q_total(va a, bool sgn) { return (vi)(sgn ? a : _mm256_madd_epi16(a, _mm256_set1_epi16(1))); }
QV vi q_pairs(vi sum, va mn, va x) { return sum + (vi)_mm256_madd_epi16(mn, x); }

/* Matvec */
QV __m256i mv_products(b32 w, const int8_t *x, bool sgn)
{
    const __m256i a = (__m256i)w, b = q_load(x);
    return sgn ? _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a)) : _mm256_maddubs_epi16(a, b);
}
QV vm mv_dot_1(b32 w, const int8_t *x, bool sgn) { return (vm)_mm256_madd_epi16(mv_products(w, x, sgn), _mm256_set1_epi16(1)); }
QV vm mv_dot(vm sum, b32 w, const int8_t *x, int32_t s, bool sgn)
{
    return sum + (vm)_mm256_madd_epi16(mv_products(w, x, sgn), _mm256_set1_epi32(s));
}
QV vm mv_dot2(vm sum, b32 w, const int8_t *x, int32_t s0, int32_t s1, bool sgn)
{
    return sum + (vm)_mm256_madd_epi16(mv_products(w, x, sgn), _mm256_blend_epi32(_mm256_set1_epi32(s0), _mm256_set1_epi32(s1), 0xf0));
}
QV vm mv_pairs(const int16_t *mn, const int16_t *sum, int n)
{
    if (n == 16) return (vm)_mm256_madd_epi16(q_load(mn), q_load(sum));
    return (vm)_mm256_zextsi128_si256(_mm_madd_epi16(_mm_loadu_si128((const __m128i *)(const void *)mn), _mm_loadu_si128((const __m128i *)(const void *)sum)));
}
QV vmi mv_sums(const vm *s)
{
    const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32((__m256i)s[0], (__m256i)s[1]), _mm256_hadd_epi32((__m256i)s[2], (__m256i)s[3]));
    const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32((__m256i)s[4], (__m256i)s[5]), _mm256_hadd_epi32((__m256i)s[6], (__m256i)s[7]));
    return (vmi)_mm256_permute2x128_si256(a, b, 0x20) + (vmi)_mm256_permute2x128_si256(a, b, 0x31);
}

#endif
