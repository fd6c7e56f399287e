/* Every kernel for AVX-512 F, BW, DQ, VL. */
#include "backend/cpu/kernels.h"

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/rows_tmpl.h"
#include "backend/cpu/tmpl/matmul_tmpl.h"
#include "backend/cpu/tmpl/attention_tmpl.h"
#include "backend/cpu/tmpl/table_tmpl.h"

void kernels_init_avx512(kernels *k)
{
    table_fill(k);
    k->isa |= MO_ISA_AVX512;
}
