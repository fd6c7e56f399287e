/* Quantised matrix products for AVX-512 with VNNI. */
#define Q_VNNI_512 1
#define Q_PANELS   2
#include "backend/cpu/quant/qvec_vnni.h"

#include "backend/cpu/quant/q_decode_tmpl.h"
#include "backend/cpu/quant/q_act_tmpl.h"
#include "backend/cpu/quant/q_tile_tmpl.h"
#include "backend/cpu/quant/q_unpack_tmpl.h"
#include "backend/cpu/quant/q_grid_tmpl.h"
#if Q_ALONG_ROWS
#include "backend/cpu/quant/q_rows_tmpl.h"
#include "backend/cpu/quant/q_rows_grid_tmpl.h"
#endif
#include "backend/cpu/quant/q_table_tmpl.h"

void quant_init_avx512_vnni(quant_table t) { quant_fill(t); }
