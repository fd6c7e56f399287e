/* 16-bit block fixed point for AVX2 without VNNI (i16_tmpl.h). */
#include "backend/cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/tmpl/parts_tmpl.h"

#define INLINE static inline __attribute__((always_inline))

typedef __m256i vi;

INLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
INLINE void vi_store(void *p, vi a) { _mm256_storeu_si256(p, a); }
INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
INLINE vf vi_to_f(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE vi quantize(vf lo, vf hi, vf s) { return _mm256_packs_epi32(_mm256_cvtps_epi32(vf_mul(lo, s)), _mm256_cvtps_epi32(vf_mul(hi, s))); }
INLINE vf lane_sums(vf lo, vf hi) { return _mm256_hadd_ps(lo, hi); }

INLINE vi bits_max16(vi m, const void *p) { return _mm256_max_epi16(m, _mm256_and_si256(vi_load(p), _mm256_set1_epi16(0x7fff))); }
INLINE vi bits_max32(vi m, const void *p)
{
    const vi mask = _mm256_set1_epi32(0x7fffffff);
    m = _mm256_max_epi32(m, _mm256_and_si256(vi_load(p), mask));
    return _mm256_max_epi32(m, _mm256_and_si256(vi_load((const uint8_t *)p + 32), mask));
}
INLINE __m128i fold16(vi m) { return _mm_max_epi16(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1)); }
INLINE __m128i fold32(vi m) { return _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1)); }

/* acc += w * x, 16 products, in two instructions. Written out because compilers rebalance the sums, copy them from register to
 * register or spill them, which costs a third of the speed. */
INLINE void dot(vi *acc, vi w, vi x)
{
    vi t;
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(*acc), "=&x"(t) : "x"(w), "x"(x));
}
/* The same for the last use of x, whose register it takes: beside 12 sums and two vectors of weights there are two left. */
INLINE void dot_last(vi *acc, vi w, vi x) { __asm__("vpmaddwd %2, %1, %1\n\tvpaddd %1, %0, %0" : "+x"(*acc), "+x"(x) : "x"(w)); }

INLINE vi vi_all(const uint8_t *p) { return _mm256_castps_si256(vf_all(p)); }

#include "backend/cpu/x86/i16_tmpl.h"

void kernels_init_avx2_i16(kernels *k) { i16_fill(k); }
