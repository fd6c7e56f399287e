/* Every kernel in plain C: fills the whole table and is the definition of correct. */
#include "backend/cpu/kernels.h"

#include "backend/cpu/generic/vec_generic.h"
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/rows_tmpl.h"
#include "backend/cpu/tmpl/matmul_tmpl.h"
#include "backend/cpu/tmpl/attention_tmpl.h"
#include "backend/cpu/tmpl/table_tmpl.h"

void kernels_init_generic(kernels *k) { table_fill(k); }
