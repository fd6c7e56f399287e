/* What the quantised kernels need of VNNI: four products of unsigned and signed bytes summed into each 32-bit lane.
 * Tiles use 256-bit vectors with AVX-VNNI, 512-bit vectors with AVX-512 VNNI (a vector is then a whole panel row); signed
 * weights have 128 added in panels, which comes off through the sums of x.
 * With MO_EMULATE_VNNI the two instructions are made of others, so that the kernels can be tested on any AVX2 machine. */
#ifndef MO_QVEC_VNNI_H
#define MO_QVEC_VNNI_H

#include "backend/cpu/quant/qvec_x86.h"

#if defined(MO_EMULATE_VNNI)
#elif Q_VNNI_512 && (!defined(__AVX512VNNI__) || !defined(__AVX512VL__) || !defined(__AVX512BW__))
#error "this file needs -mavx512f -mavx512bw -mavx512vl -mavx512vnni"
#elif !Q_VNNI_512 && !defined(__AVXVNNI__)
#error "this file needs -mavxvnni"
#endif

#define Q_WIDE_SIGNED 0
#define Q_SIGNED_BIAS 128
#define Q_ADD_ALL     1
#define Q_SCALE(v)    (v)

#if Q_VNNI_512
#define Q_LANES     16
#define Q_PANEL_FEW 1
#ifndef Q_JOIN
#define Q_JOIN 1
#endif
enum { QL = Q_LANES };
#define Q_DENSE_X 6
typedef int32_t vi __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));
#else
#define Q_LANES     8
#define Q_PANEL_FEW 0
#define Q_JOIN      0
enum { QL = Q_LANES };
#define Q_DENSE_X   4
typedef int32_t vi __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));
#endif
#define Q_ASK_LEVEL 2
#if defined(MO_EMULATE_VNNI)
#define Q_ALONG_ROWS 0 /* AVX-512 alone has its 64-byte vectors */
#else
#define Q_ALONG_ROWS Q_VNNI_512
#endif
enum { ROWS_X_MAX = Q_ALONG_ROWS ? 4 : 0 }; /* activation rows that one matvec takes along the rows of weights (q_rows_tmpl.h) */
typedef vi va;

/* dot8: sum + 4 products of bytes; dot16: sum + 2 products of 16-bit elements */
#if defined(MO_EMULATE_VNNI)
QV vm mv_dot8(vm sum, b32 w, b32 x)
{
    for (int e = 0; e < 32; e++) sum[e / 4] += w[e] * (int8_t)x[e];
    return sum;
}
QV vi q_dot8(vi sum, vi w, vi x)
{
    for (int e = 0; e < 4; e++) sum += ((w >> (8 * e)) & 255) * ((x << (24 - 8 * e)) >> 24);
    return sum;
}
QV vi q_dot16(vi sum, vi a, vi b) { return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16); }
#elif Q_VNNI_512
QV vm mv_dot8(vm sum, b32 w, b32 x) { return (vm)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)w, (__m256i)x); }
QV vi q_dot8(vi sum, vi w, vi x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
QV vi q_dot16(vi sum, vi a, vi b) { return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
#else
QV vm mv_dot8(vm sum, b32 w, b32 x) { return (vm)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x); }
QV vi q_dot8(vi sum, vi w, vi x) { return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x); }
QV vi q_dot16(vi sum, vi a, vi b) { return (vi)_mm256_dpwssd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b); }
#endif

#if Q_VNNI_512
/* *sum += 2 products of 16-bit elements. Written out: GCC 12 copies accumulators from register to register and spills them. */
QV void q_add_words(vi *sum, vi a, vi b)
{
#if defined(MO_EMULATE_VNNI)
    *sum = q_dot16(*sum, a, b);
#else
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#endif
}
/* a * b + c, rounded once */
QV vf q_fma(vf a, vf b, vf c)
{
#if defined(MO_EMULATE_VNNI)
    for (int i = 0; i < QL; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
}
#endif

/* Tile */
QV va q_load(const void *p)
{
    va v;
    memcpy(&v, p, sizeof v);
    return v;
}
QV va q_bcast(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return (va){ 0 } + v;
}
QV va q_dot(va a, va w, va x, bool sgn)
{
    (void)sgn;
    return q_dot8(a, w, x);
}
QV va q_dot_bytes(va a, va w, va x) { return q_dot(a, w, x, true); }
QV vi q_fold(vi sum, va a, va scale, bool sgn)
{
    (void)sgn;
    return sum + a * scale;
}
QV vi q_total(va a, bool sgn)
{
    (void)sgn;
    return a;
}
QV vi q_pairs(vi sum, va mn, va x) { return q_dot16(sum, mn, x); }
#if Q_JOIN
/* Two sums that fit 16 bits in one word; sums of x times bias, a power of two, taken off both */
typedef int16_t vh __attribute__((vector_size(4 * Q_LANES)));
#if defined(MO_EMULATE_VNNI)
QV va q_join(va a, va b) { return (a & 0xffff) | b << 16; }
#else
QV va q_join(va a, va b) { return (va)_mm512_mask_blend_epi16(0xaaaaaaaa, (__m512i)a, (__m512i)(b << 16)); }
#endif
QV va q_less(va v, va sums, const int bias) { return (va)((vh)v - (vh)((vh)sums << __builtin_ctz((unsigned)bias))); }
#endif

/* Unpacking */
#if Q_VNNI_512 && !defined(MO_EMULATE_VNNI)
QV vi q_four(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d)
{
    __m512i v = _mm512_castsi128_si512(load16(a));
    v = _mm512_inserti32x4(v, load16(b), 1);
    v = _mm512_inserti32x4(v, load16(c), 2);
    return (vi)_mm512_inserti32x4(v, load16(d), 3);
}
QV vi q_rows_of_16(const uint8_t *p, size_t rb) { return q_four(p, p + 4 * rb, p + 8 * rb, p + 12 * rb); }
QV vf q_f16s(const uint16_t *h) { return (vf)_mm512_cvtph_ps(load32(h)); }
QV vf q_f16_low(vi v) { return (vf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)v)); }
QV vi q_levels(vi i) { return (vi)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(load16(iq4_levels)), (__m512i)i); }
#elif !Q_VNNI_512
QV vi q_rows_of_16(const uint8_t *p, size_t rb) { return (vi)rows_of_16(p, rb); }
QV vf q_f16s(const uint16_t *h) { return f16s(h); }
QV vf q_f16_low(vi v) { return f16_low((__m256i)v); }
QV vi q_levels(vi i) { return (vi)q_lut(iq4_levels, (b32)i); }
#else
QV vi q_rows_of_16(const uint8_t *p, size_t rb)
{
    vi v;
    for (int i = 0; i < 4; i++) memcpy((uint8_t *)&v + 16 * i, p + (size_t)(4 * i) * rb, 16);
    return v;
}
QV vf q_f16s(const uint16_t *h)
{
    vf v;
    for (int i = 0; i < QL; i++) v[i] = _cvtsh_ss(h[i]);
    return v;
}
QV vf q_f16_low(vi a)
{
    vf v;
    for (int i = 0; i < QL; i++) v[i] = _cvtsh_ss((uint16_t)a[i]);
    return v;
}
QV vi q_levels(vi i)
{
    uint8_t b[64];
    vi v;
    memcpy(b, &i, 64);
    for (int e = 0; e < 64; e++) b[e] = (uint8_t)iq4_levels[b[e]];
    memcpy(&v, b, 64);
    return v;
}
#endif

/* Matvec */
QV vm mv_dot_1(b32 w, const int8_t *x, bool sgn)
{
    const __m256i a = (__m256i)w, b = load32(x);
    return sgn ? mv_dot8((vm){ 0 }, (b32)_mm256_abs_epi8(a), (b32)_mm256_sign_epi8(b, a)) : mv_dot8((vm){ 0 }, w, (b32)b);
}
QV vm mv_dot(vm sum, b32 w, const int8_t *x, int32_t s, bool sgn) { return sum + mv_dot_1(w, x, sgn) * s; }
QV vm mv_dot2(vm sum, b32 w, const int8_t *x, int32_t s0, int32_t s1, bool sgn)
{
    return sum + mv_dot_1(w, x, sgn) * (vm)_mm256_blend_epi32(_mm256_set1_epi32(s0), _mm256_set1_epi32(s1), 0xf0);
}

#endif
