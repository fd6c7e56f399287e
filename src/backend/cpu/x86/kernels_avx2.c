/* Every kernel for AVX2 + FMA + F16C. */
#include "backend/cpu/kernels.h"

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/rows_tmpl.h"
#include "backend/cpu/tmpl/matmul_tmpl.h"
#include "backend/cpu/tmpl/attention_tmpl.h"
#include "backend/cpu/tmpl/table_tmpl.h"

void kernels_init_avx2(kernels *k)
{
    table_fill(k);
    k->isa |= MO_ISA_AVX2;
}
