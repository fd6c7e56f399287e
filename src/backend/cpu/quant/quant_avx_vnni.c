/* Quantised matrix products for AVX2 with VEX-encoded VNNI. */
#define Q_VNNI_512 0
#include "backend/cpu/quant/qvec_vnni.h"

#include "backend/cpu/quant/q_decode_tmpl.h"
#include "backend/cpu/quant/q_act_tmpl.h"
#include "backend/cpu/quant/q_tile_tmpl.h"
#include "backend/cpu/quant/q_unpack_tmpl.h"
#include "backend/cpu/quant/q_grid_tmpl.h"
#include "backend/cpu/quant/q_matvec_tmpl.h"
#include "backend/cpu/quant/q_table_tmpl.h"

void quant_init_avx_vnni(quant_table t) { quant_fill(t); }
