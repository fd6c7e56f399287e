/* AVX-512 by emulation, for tests on machines without it: SIMDe under the intrinsics' own names, on AVX2, plus the few that
 * SIMDe 0.7.4 lacks, as two AVX2 halves or in plain C. Included by x86/vec_avx512.h when MO_EMULATE_AVX512 is defined. */
#ifndef SIMDE_AVX512_H
#define SIMDE_AVX512_H

#ifndef SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_ENABLE_NATIVE_ALIASES
#endif
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#include <stdint.h>
#include <string.h>

static inline __m256 half_of(__m512 a, int high)
{
    float t[16];
    memcpy(t, &a, sizeof t);
    return _mm256_loadu_ps(t + 8 * high);
}

static inline __m512 join_ps(__m256 lo, __m256 hi)
{
    float t[16];
    __m512 r;
    _mm256_storeu_ps(t, lo);
    _mm256_storeu_ps(t + 8, hi);
    memcpy(&r, t, sizeof r);
    return r;
}

static inline __m512i join_epi32(__m256i lo, __m256i hi)
{
    int32_t t[16];
    __m512i r;
    memcpy(t, &lo, 32);
    memcpy(t + 8, &hi, 32);
    memcpy(&r, t, sizeof r);
    return r;
}

static inline __m512 emu_cvtph_ps(__m256i a)
{
    return join_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}

static inline __m256i emu_cvtps_ph(__m512 a)
{
    return _mm256_set_m128i(_mm256_cvtps_ph(half_of(a, 1), 0), _mm256_cvtps_ph(half_of(a, 0), 0));
}

static inline __m512i emu_cvtps_epi32(__m512 a) { return join_epi32(_mm256_cvtps_epi32(half_of(a, 0)), _mm256_cvtps_epi32(half_of(a, 1))); }

static inline __m512 emu_cvtepi32_ps(__m512i a)
{
    int32_t t[16];
    float f[16];
    __m512 r;
    memcpy(t, &a, sizeof t);
    for (int i = 0; i < 16; i++) f[i] = (float)t[i];
    memcpy(&r, f, sizeof r);
    return r;
}

static inline __m512i emu_cvtepi8_epi32(__m128i a)
{
    return join_epi32(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
}

static inline __m512i emu_cvtepu16_epi32(__m256i a)
{
    return join_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)));
}

/* Elements 0..15 from b, 16..31 from a, rounded to nearest even (Intel SDM, VCVTNE2PS2BF16). */
static inline __m512i emu_cvtne2ps_pbh(__m512 a, __m512 b)
{
    uint32_t u[32];
    uint16_t h[32];
    __m512i r;

    memcpy(u, &b, 64);
    memcpy(u + 16, &a, 64);
    for (int i = 0; i < 32; i++) h[i] = (uint16_t)((u[i] + 0x7fff + (u[i] >> 16 & 1)) >> 16);
    memcpy(&r, h, sizeof r);
    return r;
}

/* Lane i: acc + a[2i+1] b[2i+1] + a[2i] b[2i] (Intel SDM, VDPBF16PS). */
static inline __m512 emu_dpbf16_ps(__m512 acc, __m512i a, __m512i b)
{
    uint16_t x[32], y[32];
    float s[16];

    memcpy(s, &acc, 64);
    memcpy(x, &a, 64);
    memcpy(y, &b, 64);
    for (int i = 0; i < 32; i++) {
        const int k = i ^ 1; /* the odd one first */
        uint32_t p = (uint32_t)x[k] << 16, q = (uint32_t)y[k] << 16;
        float f, g;
        memcpy(&f, &p, 4);
        memcpy(&g, &q, 4);
        s[k / 2] += f * g;
    }
    memcpy(&acc, s, 64);
    return acc;
}

/* Lane i: acc + a[2i] b[2i] + a[2i+1] b[2i+1] of int16 (Intel SDM, VPDPWSSD). */
static inline __m512i emu_dpwssd_epi32(__m512i acc, __m512i a, __m512i b)
{
    int16_t x[32], y[32];
    int32_t s[16];

    memcpy(s, &acc, 64);
    memcpy(x, &a, 64);
    memcpy(y, &b, 64);
    for (int i = 0; i < 32; i++) s[i / 2] += x[i] * y[i];
    memcpy(&acc, s, 64);
    return acc;
}

/* Two 128-bit lanes of a, then two of b. */
static inline __m512 emu_shuffle_f32x4(__m512 a, __m512 b, int imm)
{
    float x[16], y[16], r[16];

    memcpy(x, &a, 64);
    memcpy(y, &b, 64);
    for (int i = 0; i < 4; i++) memcpy(r + 4 * i, (i < 2 ? x : y) + 4 * (imm >> (2 * i) & 3), 16);
    memcpy(&a, r, 64);
    return a;
}

#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(a, b, imm) emu_shuffle_f32x4(a, b, imm)
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtne2ps_pbh
#undef _mm512_dpbf16_ps
#undef __m512bh
#define _mm512_cvtph_ps(a)          emu_cvtph_ps(a)
#define _mm512_cvtps_ph(a, mode)    emu_cvtps_ph(a)
#define _mm512_cvtps_epi32(a)       emu_cvtps_epi32(a)
#define _mm512_cvtepi32_ps(a)       emu_cvtepi32_ps(a)
#define _mm512_cvtepi8_epi32(a)     emu_cvtepi8_epi32(a)
#define _mm512_cvtepu16_epi32(a)    emu_cvtepu16_epi32(a)
#define _mm512_cvtne2ps_pbh(a, b)   emu_cvtne2ps_pbh(a, b)
#define _mm512_dpbf16_ps(acc, a, b) emu_dpbf16_ps(acc, a, b)
#undef _mm512_dpwssd_epi32
#define _mm512_dpwssd_epi32(acc, a, b) emu_dpwssd_epi32(acc, a, b)
#define __m512bh                       __m512i

#endif
