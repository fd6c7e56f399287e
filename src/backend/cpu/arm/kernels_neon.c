/* Every kernel for AArch64's base instruction set: float32 multiply-add, float16 conversion. */
#include "backend/cpu/kernels.h"

#include "core/cpu.h"
#include "backend/cpu/arm/vec_neon.h"
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/rows_tmpl.h"
#include "backend/cpu/tmpl/matmul_tmpl.h"
#include "backend/cpu/tmpl/attention_tmpl.h"
#include "backend/cpu/tmpl/table_tmpl.h"

void kernels_init_neon(kernels *k)
{
    table_fill(k);
    k->isa |= MO_ISA_NEON;
}
