/* What the quantised kernels of every x86 set share: 256-bit vectors, 8 weight rows of a matvec at a time. */
#ifndef MO_QVEC_X86_H
#define MO_QVEC_X86_H

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

enum { MR = 8 };

typedef uint8_t b32 __attribute__((vector_size(32)));
typedef int32_t vm __attribute__((vector_size(32)));
typedef vm vmi;
typedef vm i8x; /* 8 scales */
typedef int16_t h8x __attribute__((vector_size(16)));
typedef float vmf __attribute__((vector_size(32)));

#define QV static inline __attribute__((always_inline))

QV float q_f16(const uint8_t *p) { return _cvtsh_ss(get_u16(p)); }
QV b32 q_lut(const int8_t *table, b32 i)
{
    return (b32)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table)), (__m256i)i);
}

/* 8 bytes as integers, and back to 16 bits */
QV i8x q_widen(uint64_t w) { return (i8x)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)w)); }
QV h8x q_narrow(i8x v) { return (h8x)_mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1)); }

/* Keeps a sum one chain: gcc would rebalance a long one and spill its parts. */
#define Q_KEEP(v) __asm__("" : "+x"(v))

QV __m256i load32(const void *p) { return _mm256_loadu_si256(p); }
QV __m128i load16(const void *p) { return _mm_loadu_si128(p); }

/* Unpacking, 8 rows: 16 bytes of rows 0 and 4; halves to floats */
QV __m256i rows_of_16(const uint8_t *p, size_t rb)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p)), load16(p + 4 * rb), 1);
}
QV vmf f16s(const uint16_t *h) { return (vmf)_mm256_cvtph_ps(load16(h)); }
QV vmf f16_low(__m256i v)
{
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    return (vmf)_mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

/* Partial sums of mn[i] * sum[i], n = 8 or 16 */
QV vm mv_pairs(const int16_t *mn, const int16_t *sum, int n)
{
    if (n == 16) return (vm)_mm256_madd_epi16(load32(mn), load32(sum));
    return (vm)_mm256_zextsi128_si256(_mm_madd_epi16(load16(mn), load16(sum)));
}
QV vmi mv_sums(const vm *s)
{
    const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32((__m256i)s[0], (__m256i)s[1]), _mm256_hadd_epi32((__m256i)s[2], (__m256i)s[3]));
    const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32((__m256i)s[4], (__m256i)s[5]), _mm256_hadd_epi32((__m256i)s[6], (__m256i)s[7]));
    return (vmi)_mm256_permute2x128_si256(a, b, 0x20) + (vmi)_mm256_permute2x128_si256(a, b, 0x31);
}

#endif
