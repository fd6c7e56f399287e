/* Vector primitives without an instruction set: four lanes in the compiler's own vector type, which any target can lower.
 *
 * Every vec_*.h defines the same names; tmpl/ is written over them.
 *   VL lanes of float32 in a vf.  Activation rows: FEW_X of a matvec, TILE_X of a matmul tile, ATTN_R of an attention tile: chosen
 *   so that accumulators and operands fit the VF_REGS registers.
 *   vf_fma(a, b, c) is a * b + c, fused where the set has it.  vf_hsum4 sums four vectors in the order every output uses, a binary
 *   tree over the lanes; vf_leaf(i) is the lane that is its i-th leaf.  vf_all(p) has all lanes from the float at p.
 */
#ifndef MO_VEC_GENERIC_H
#define MO_VEC_GENERIC_H

#include <stdint.h>
#include <string.h>

#include "core/dtype.h"

enum { VL = 4, FEW_X = 2, TILE_X = 4, ATTN_R = 4, VF_REGS = 16 };

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

static inline vf vf_zero(void) { return (vf){ 0, 0, 0, 0 }; }
static inline vf vf_set1(float a) { return (vf){ a, a, a, a }; }
static inline vf vf_all(const void *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return vf_set1(f);
}
static inline vf vf_load(const void *p)
{
    vf r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void vf_store(void *p, vf a) { memcpy(p, &a, sizeof a); }
static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_sub(vf a, vf b) { return a - b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
static inline vf vf_div(vf a, vf b) { return a / b; }
static inline vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
/* a > b ? x : y per lane */
static inline vf vf_gt_select(vf a, vf b, vf x, vf y)
{
    vi m = a > b;
    return (vf)(((vi)x & m) | ((vi)y & ~m));
}
static inline vf vf_max(vf a, vf b) { return vf_gt_select(a, b, a, b); }
static inline vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
/* nearest integer, |a| < 2^22 */
static inline vf vf_round(vf a)
{
    const vf magic = vf_set1(0x1.8p23f);
    return (a + magic) - magic;
}
/* 2^a for integers a in [-126, 127] */
static inline vf vf_pow2(vf a)
{
    vi n = (vi)(a + vf_set1(0x1.8p23f)) - (vi)vf_set1(0x1.8p23f);
    return (vf)((n + 127) << 23);
}
static inline vf vf_load_bf16(const void *p)
{
    uint16_t h[VL];
    memcpy(h, p, sizeof h);
    return (vf)((vi){ h[0], h[1], h[2], h[3] } << 16);
}
static inline vf vf_load_f16(const void *p)
{
    uint16_t h[VL];
    memcpy(h, p, sizeof h);
    return (vf){ f16_to_f32(h[0]), f16_to_f32(h[1]), f16_to_f32(h[2]), f16_to_f32(h[3]) };
}
static inline void vf_store_f16(void *p, vf a)
{
    uint16_t h[VL] = { f32_to_f16(a[0]), f32_to_f16(a[1]), f32_to_f16(a[2]), f32_to_f16(a[3]) };
    memcpy(p, h, sizeof h);
}
static inline vf vf_load_i8(const void *p)
{
    int8_t b[VL];
    memcpy(b, p, sizeof b);
    return (vf){ b[0], b[1], b[2], b[3] };
}
/* rounded to nearest even; |a| < 127.5, other values give any number */
static inline void vf_store_i8(void *p, vf a)
{
    const vi n = (vi)(a + vf_set1(0x1.8p23f)) - (vi)vf_set1(0x1.8p23f);
    const int8_t b[VL] = { (int8_t)n[0], (int8_t)n[1], (int8_t)n[2], (int8_t)n[3] };
    memcpy(p, b, sizeof b);
}
static inline int vf_leaf(int i) { return i; }
static inline float vf_hsum(vf a) { return (a[0] + a[1]) + (a[2] + a[3]); }
static inline float vf_hmax(vf a)
{
    float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
static inline void vf_hsum4(float *out, vf a, vf b, vf c, vf d)
{
    out[0] = vf_hsum(a);
    out[1] = vf_hsum(b);
    out[2] = vf_hsum(c);
    out[3] = vf_hsum(d);
}
/* r[i][j] = r[j][i] over VL vectors */
static inline void vf_transpose(vf *r)
{
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < i; j++) {
            float t = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = t;
        }
}

#endif
