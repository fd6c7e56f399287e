/* Every kernel for AVX-512 F, BW, DQ, VL. */
#include "backend/cpu/kernels.h"

#include "core/cpu.h"
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/tmpl/math_tmpl.h"
#include "backend/cpu/tmpl/rows_tmpl.h"
#include "backend/cpu/tmpl/matmul_tmpl.h"
#include "backend/cpu/tmpl/attention_tmpl.h"
#include "backend/cpu/tmpl/table_tmpl.h"

static void stream_rows(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n_row, int64_t n)
{
    for (int64_t r = 0; r < n_row; r++, y += ldy, x += ldx) {
        int64_t i = 0;
        for (; i + VL <= n; i += VL) _mm512_stream_ps(y + i, vf_load(x + i));
        for (; i < n; i++) y[i] = x[i];
    }
    _mm_sfence(); /* before whoever waits for this thread reads them */
}

void kernels_init_avx512(kernels *k)
{
    table_fill(k);
    if (cpu_streams_stores()) k->stream_rows = stream_rows;
    k->isa |= MO_ISA_AVX512;
}
