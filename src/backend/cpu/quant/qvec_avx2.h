/* What the quantised kernels need of AVX2, without VNNI: products of unsigned and signed bytes sum pairs into 16 bits.
 *
 *   va   a tile's accumulator: 16 x int16, or 8 x int32 for signed weights, whose elements are widened to 16 bits in the
 *        panel (their bytes use the whole range, so that a pair of products could not be added to another)
 */
#ifndef MO_QVEC_AVX2_H
#define MO_QVEC_AVX2_H

#include "backend/cpu/quant/qvec_x86.h"

#define Q_LANES     8
#define Q_PANEL_FEW 0
#define Q_JOIN      0
#define Q_ASK_LEVEL 2
enum { QL = Q_LANES };
#define Q_DENSE_X     4
#define Q_WIDE_SIGNED 1
#define Q_SIGNED_BIAS 0
#define Q_ADD_ALL     0
#define Q_SCALE(v)    ((v) << 16 | ((v)&0xffff)) /* of a vector: both halves of each lane */

typedef int32_t vi __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));
typedef __m256i va;

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
    a = sgn ? _mm256_add_epi32(a, _mm256_madd_epi16(w, x)) : _mm256_add_epi16(a, _mm256_maddubs_epi16(w, x));
    Q_KEEP(a);
    return a;
}
/* Both of signed bytes, |w| and |x| <= 127: a pair of products fits 16 bits. */
QV va q_dot_bytes(va a, va w, va x)
{
    const va p = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));

    return _mm256_add_epi32(a, _mm256_madd_epi16(p, _mm256_set1_epi16(1)));
}
QV vi q_fold(vi sum, va a, va scale, bool sgn)
{
    return sum + (vi)(sgn ? _mm256_mullo_epi32(a, _mm256_srai_epi32(scale, 16)) : _mm256_madd_epi16(a, scale));
}
QV vi q_total(va a, bool sgn) { return (vi)(sgn ? a : _mm256_madd_epi16(a, _mm256_set1_epi16(1))); }
QV vi q_pairs(vi sum, va mn, va x) { return sum + (vi)_mm256_madd_epi16(mn, x); }

/* Unpacking */
QV vi q_rows_of_16(const uint8_t *p, size_t rb) { return (vi)rows_of_16(p, rb); }
QV vf q_f16s(const uint16_t *h) { return f16s(h); }
QV vf q_f16_low(vi v) { return f16_low((__m256i)v); }
QV vi q_levels(vi i) { return (vi)q_lut(iq4_levels, (b32)i); }

/* Matvec */
QV __m256i mv_products(b32 w, const int8_t *x, bool sgn)
{
    const __m256i a = (__m256i)w, b = load32(x);
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

#endif
