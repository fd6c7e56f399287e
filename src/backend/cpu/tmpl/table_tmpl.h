/* Fills the kernel table with this file's set. Defines KERNELS_INIT(k); the last include of an instruction set's file. */

#define W_NAME  f32
#define W_LABEL "F32"
#define W_ELEM  4
#define W_LOAD  vf_load
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

#define W_NAME  f16
#define W_LABEL "F16"
#define W_ELEM  2
#define W_LOAD  vf_load_f16
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

#define W_NAME  bf16
#define W_LABEL "BF16"
#define W_ELEM  2
#define W_LOAD  vf_load_bf16
#include "backend/cpu/tmpl/matmul_weight_tmpl.h"

static void table_fill(kernels *k)
{
    k->n_lane = VL;
    k->attn_rows = ATTN_R;
    k->matmul[MO_F32] = &matmul_f32;
    k->matmul[MO_F16] = &matmul_f16;
    k->matmul[MO_BF16] = &matmul_bf16;
    k->epilogue = epilogue_row;
    k->to_f32[MO_F32] = f32_to_f32_row;
    k->to_f32[MO_F16] = f16_to_f32_row;
    k->to_f32[MO_BF16] = bf16_to_f32_row;
    k->to_f16 = to_f16_row;
    k->to_q8_0 = to_q8_0_row;
    k->rms_norm = rms_norm_row;
    k->layer_norm = layer_norm_row;
    k->rope = rope_row;
    k->swiglu = swiglu_row;
    k->add = add_row;
    k->scale = scale_row;
    k->attn_tile[MO_F32] = attn_tile_f32;
    k->attn_tile[MO_F16] = attn_tile_f16;
    k->attn_tile[MO_Q8_0] = attn_tile_q8_0;
    k->attn_unpack_q8_0 = attn_unpack_q8_0;
    k->attn_merge = attn_merge;
    k->attn_pack_kt = attn_pack_kt;
}
