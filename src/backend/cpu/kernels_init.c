/* Chooses kernels for the instruction sets of this machine (kernels.h). */
#include "backend/cpu/kernels.h"

#include <string.h>

#include "core/cpu.h"

void kernels_init(kernels *k, unsigned isa, kernels_mode mode, bool words)
{
    const bool fast = mode != KERNELS_FLOAT32;

    memset(k, 0, sizeof *k);
    kernels_init_generic(k);
#if defined(__x86_64__)
    if (isa & MO_ISA_AVX2) kernels_init_avx2(k);
    if ((isa & MO_ISA_AVX2) && !(isa & MO_ISA_AVX512) && fast) kernels_init_avx2_i16(k);
    if (isa & MO_ISA_AVX512) kernels_init_avx512(k);
    if ((isa & MO_ISA_AVX512) && fast) {
        const bool vnni = isa & MO_ISA_AVX512_VNNI, bf16 = isa & MO_ISA_AVX512_BF16;
        if (bf16 && (!vnni || cpu_bf16_is_fast())) {
            kernels_init_avx512_bf16(k);
            kernels_init_avx512_bf16_attention(k);
        } else if (vnni) {
            kernels_init_avx512_i16(k);
        }
    }
#elif defined(__aarch64__)
    if (isa & MO_ISA_NEON) kernels_init_neon(k);
#endif
    k->isa |= quant_init(k->quant, isa, words);
    k->int8 = mode == KERNELS_INT8;
    (void)fast;
}
