/* Matrix products as bf16 dot products: each lane of a step is a pair of bf16 weights times a pair of bf16 activations,
 * added to a float32 accumulator (VDPBF16PS). Twice the arithmetic of the float32 kernels, 8 bits of each factor; on only
 * when asked for (cpu_backend_opts.fast). F16 and F32 weights are rounded to bf16 on the way.
 */
#include "backend/cpu/kernels.h"

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx512.h"
#if !defined(MO_EMULATE_AVX512) && !defined(__AVX512BF16__)
#error "this file needs -mavx512bf16"
#endif
#include "backend/cpu/tmpl/math_tmpl.h"

/* 32 floats, rounded to nearest even, in order */
static inline __m512i bf16_pack(vf lo, vf hi) { return (__m512i)_mm512_cvtne2ps_pbh(hi, lo); }

static inline __m512i bf16_from_f32(const void *p) { return bf16_pack(vf_load(p), vf_load((const uint8_t *)p + 64)); }
static inline __m512i bf16_from_f16(const void *p) { return bf16_pack(vf_load_f16(p), vf_load_f16((const uint8_t *)p + 32)); }
static inline __m512i bf16_load(const void *p) { return _mm512_loadu_si512(p); }

#define DOT_T              __m512i
#define DOT_K              32
#define DOT_FMA(w, x, acc) _mm512_dpbf16_ps(acc, (__m512bh)(w), (__m512bh)(x))
#define DOT_LOAD(p)        bf16_load(p)
#define DOT_STORE(p, v)    _mm512_storeu_si512(p, v)
#define DOT_ROUND(p)       bf16_from_f32(p)
#define DOT_ALL(p)         _mm512_castps_si512(vf_all(p))
#define DOT_VF(v)          _mm512_castsi512_ps(v)
#include "backend/cpu/tmpl/matmul_tmpl.h"

#define W_NAME  f32
#define W_LABEL "F32, bf16 dot"
#define W_ELEM  4
#define W_LOAD  bf16_from_f32
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

#define W_NAME  f16
#define W_LABEL "F16, bf16 dot"
#define W_ELEM  2
#define W_LOAD  bf16_from_f16
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

#define W_NAME  bf16
#define W_LABEL "BF16, bf16 dot"
#define W_ELEM  2
#define W_LOAD  bf16_load
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

void kernels_init_avx512_bf16(kernels *k)
{
    k->matmul[MO_F32] = &matmul_f32;
    k->matmul[MO_F16] = &matmul_f16;
    k->matmul[MO_BF16] = &matmul_bf16;
    k->isa |= MO_ISA_AVX512_BF16;
}
