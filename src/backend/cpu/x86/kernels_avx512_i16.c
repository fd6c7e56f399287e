/* 16-bit block fixed point for AVX-512 with VNNI (i16_tmpl.h). */
#include "backend/cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx512.h"
#if !defined(MO_EMULATE_AVX512) && !defined(__AVX512VNNI__)
#error "this file needs -mavx512vnni"
#endif

#include "backend/cpu/tmpl/parts_tmpl.h"

#define INLINE static inline __attribute__((always_inline))

typedef __m512i vi;

INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void vi_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vf vi_to_f(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE vi quantize(vf lo, vf hi, vf s) { return _mm512_packs_epi32(_mm512_cvtps_epi32(vf_mul(lo, s)), _mm512_cvtps_epi32(vf_mul(hi, s))); }
INLINE vf lane_sums(vf lo, vf hi) { return vf_add(_mm512_shuffle_ps(lo, hi, 0x88), _mm512_shuffle_ps(lo, hi, 0xdd)); }

INLINE vi bits_max16(vi m, const void *p) { return _mm512_max_epi16(m, _mm512_and_si512(vi_load(p), _mm512_set1_epi16(0x7fff))); }
INLINE vi bits_max32(vi m, const void *p)
{
    const vi mask = _mm512_set1_epi32(0x7fffffff);
    m = _mm512_max_epi32(m, _mm512_and_si512(vi_load(p), mask));
    return _mm512_max_epi32(m, _mm512_and_si512(vi_load((const uint8_t *)p + 64), mask));
}
INLINE __m256i vi_half(vi m, int high) { return high ? _mm512_extracti64x4_epi64(m, 1) : _mm512_castsi512_si256(m); }
INLINE __m128i fold16(vi m)
{
    const __m256i h = _mm256_max_epi16(vi_half(m, 0), vi_half(m, 1));
    return _mm_max_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
INLINE __m128i fold32(vi m)
{
    const __m256i h = _mm256_max_epi32(vi_half(m, 0), vi_half(m, 1));
    return _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

/* acc += w * x, 32 products. Written out: GCC 12 copies accumulators from register to register and spills them. */
INLINE void dot(vi *acc, vi w, vi x)
{
#if defined(MO_EMULATE_AVX512)
    *acc = _mm512_dpwssd_epi32(*acc, w, x);
#else
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*acc) : "v"(w), "v"(x));
#endif
}

INLINE void dot_last(vi *acc, vi w, vi x) { dot(acc, w, x); }

INLINE vi vi_all(const uint8_t *p) { return _mm512_castps_si512(vf_all(p)); }

#include "backend/cpu/x86/i16_tmpl.h"

void kernels_init_avx512_i16(kernels *k)
{
    i16_fill(k);
    k->isa |= MO_ISA_AVX512_VNNI;
}
