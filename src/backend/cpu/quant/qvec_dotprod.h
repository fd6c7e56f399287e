/* What the quantised kernels need of NEON with dot products: four products of signed bytes summed into each 32-bit lane.
 * Unsigned weights are below 128, so they pass as signed. */
#ifndef MO_QVEC_DOTPROD_H
#define MO_QVEC_DOTPROD_H

#ifndef __ARM_FEATURE_DOTPROD
#error "this file needs -march=armv8.2-a+dotprod"
#endif

#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/quant/quant.h"
#include "core/quants/quants.h"

#define Q_LANES     4
#define Q_PANEL_FEW 0
#define Q_JOIN      0
#define Q_ASK_LEVEL 2
enum { QL = Q_LANES, MR = 4 };
#define Q_DENSE_X     4
#define Q_WIDE_SIGNED 0
#define Q_SIGNED_BIAS 0
#define Q_ADD_ALL     1
#define Q_SCALE(v)    (v)

typedef uint8_t b32 __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(16)));
typedef int32_t i8x __attribute__((vector_size(32))); /* 8 scales */
typedef int16_t h8x __attribute__((vector_size(16)));
typedef vi va, vm, vmi;
typedef vf vmf;

#define QV static inline __attribute__((always_inline))

QV float q_f16(const uint8_t *p)
{
    __fp16 h;
    memcpy(&h, p, sizeof h);
    return h;
}
QV int8x16_t half(b32 v, int i)
{
    return i ? (int8x16_t)__builtin_shufflevector(v, v, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31)
             : (int8x16_t)__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
QV b32 q_lut(const int8_t *table, b32 i)
{
    const int8x16_t t = vld1q_s8(table);
    const int8x16_t lo = vqtbl1q_s8(t, (uint8x16_t)half(i, 0)), hi = vqtbl1q_s8(t, (uint8x16_t)half(i, 1));
    return (b32)__builtin_shufflevector(lo, hi, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                                        25, 26, 27, 28, 29, 30, 31);
}
QV i8x q_widen(uint64_t w)
{
    const uint16x8_t h = vmovl_u8(vcreate_u8(w));
    return (i8x)__builtin_shufflevector(vmovl_u16(vget_low_u16(h)), vmovl_u16(vget_high_u16(h)), 0, 1, 2, 3, 4, 5, 6, 7);
}
QV h8x q_narrow(i8x v)
{
    return (h8x)vcombine_s16(vmovn_s32((int32x4_t)__builtin_shufflevector(v, v, 0, 1, 2, 3)),
                             vmovn_s32((int32x4_t)__builtin_shufflevector(v, v, 4, 5, 6, 7)));
}
/* Keeps a sum one chain: gcc would rebalance a long one and spill its parts. */
#define Q_KEEP(v) __asm__("" : "+w"(v))

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
    return (va)vdupq_n_s32(v);
}
QV va q_dot(va a, va w, va x, bool sgn)
{
    (void)sgn;
    return (va)vdotq_s32((int32x4_t)a, (int8x16_t)w, (int8x16_t)x);
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
QV vi q_pairs(vi sum, va mn, va x) { return sum + ((mn << 16) >> 16) * ((x << 16) >> 16) + (mn >> 16) * (x >> 16); }

/* Unpacking */
QV vi q_rows_of_16(const uint8_t *p, size_t rb)
{
    (void)rb;
    return q_load(p);
}
QV vf q_f16s(const uint16_t *h) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h))); }
QV vf q_f16_low(vi v) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)v))); }
QV vi q_levels(vi i) { return (vi)vqtbl1q_s8(vld1q_s8(iq4_levels), (uint8x16_t)i); }

/* Matvec */
QV vm mv_half(b32 w, const int8_t *x, int i) { return (vm)vdotq_s32(vdupq_n_s32(0), half(w, i), vld1q_s8(x + 16 * i)); }
QV vm mv_dot_1(b32 w, const int8_t *x, bool sgn)
{
    (void)sgn;
    return (vm)vdotq_s32((int32x4_t)mv_half(w, x, 0), half(w, 1), vld1q_s8(x + 16));
}
QV vm mv_dot(vm sum, b32 w, const int8_t *x, int32_t s, bool sgn) { return sum + mv_dot_1(w, x, sgn) * s; }
QV vm mv_dot2(vm sum, b32 w, const int8_t *x, int32_t s0, int32_t s1, bool sgn)
{
    (void)sgn;
    return sum + mv_half(w, x, 0) * s0 + mv_half(w, x, 1) * s1;
}
QV vm mv_pairs(const int16_t *mn, const int16_t *sum, int n)
{
    int32x4_t s = vdupq_n_s32(0);
    for (int i = 0; i < n; i += 4) s = vmlal_s16(s, vld1_s16(mn + i), vld1_s16(sum + i));
    return (vm)s;
}
QV vmi mv_sums(const vm *s)
{
    return (vmi)vpaddq_s32(vpaddq_s32((int32x4_t)s[0], (int32x4_t)s[1]), vpaddq_s32((int32x4_t)s[2], (int32x4_t)s[3]));
}

#endif
