/* Vector primitives for AArch64's base instruction set: 4 lanes, 32 registers (names: generic/vec_generic.h).
 * Tile 2 x 12: 24 accumulators, 2 weight vectors, activations by one. */
#ifndef MO_VEC_NEON_H
#define MO_VEC_NEON_H

#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for AArch64"
#endif

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum { VL = 4, FEW_X = 6, TILE_X = 12, ATTN_R = 8, VF_REGS = 32 };

typedef float32x4_t vf;

static inline vf vf_zero(void) { return vdupq_n_f32(0); }
static inline vf vf_set1(float a) { return vdupq_n_f32(a); }
static inline vf vf_all(const void *p) { return vreinterpretq_f32_u32(vld1q_dup_u32(p)); }
/* by bytes: stored weights and caches may be unaligned */
static inline vf vf_load(const void *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
static inline void vf_store(void *p, vf a) { vst1q_u8(p, vreinterpretq_u8_f32(a)); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_gt_select(vf a, vf b, vf x, vf y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }
static inline vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); }
static inline vf vf_abs(vf a) { return vabsq_f32(a); }
static inline vf vf_round(vf a) { return vrndnq_f32(a); }
static inline vf vf_pow2(vf a) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127)), 23)); }
static inline vf vf_load_bf16(const void *p) { return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16)); }
static inline vf vf_load_f16(const void *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
static inline void vf_store_f16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(a))); }
static inline vf vf_load_i8(const void *p)
{
    int32_t t;
    memcpy(&t, p, sizeof t);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8((uint32_t)t)))));
}
static inline void vf_store_i8(void *p, vf a)
{
    const int16x4_t h = vqmovn_s32(vcvtnq_s32_f32(a));
    const int32_t t = vget_lane_s32(vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(h, h))), 0);
    memcpy(p, &t, sizeof t);
}

static inline int vf_leaf(int i) { return i; }
/* (0+1)+(2+3) for each */
static inline void vf_hsum4(float *out, vf a, vf b, vf c, vf d) { vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))); }
static inline float vf_hsum(vf a)
{
    a = vpaddq_f32(a, a);
    return vgetq_lane_f32(vpaddq_f32(a, a), 0);
}
static inline float vf_hmax(vf a) { return vmaxvq_f32(a); }
static inline void vf_transpose(vf *r)
{
    const float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]), c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);

    r[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    r[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    r[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    r[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
}

#endif
