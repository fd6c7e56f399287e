/* Quantised matrix products for NEON with matrix products of bytes. */
#include "backend/cpu/quant/qvec_i8mm.h"

#include "backend/cpu/quant/q_decode_tmpl.h"
#include "backend/cpu/quant/q_act_tmpl.h"
#include "backend/cpu/quant/q_tile_tmpl.h"
#include "backend/cpu/quant/q_unpack_tmpl.h"
#include "backend/cpu/quant/q_grid_tmpl.h"
#include "backend/cpu/quant/q_matvec_tmpl.h"
#include "backend/cpu/quant/q_table_tmpl.h"

void quant_init_i8mm(quant_table t) { quant_fill(t); }
