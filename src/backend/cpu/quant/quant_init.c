/* Chooses the quantised kernels for the instruction sets of this machine (quant.h). */
#include <string.h>

#include "backend/cpu/quant/quant.h"
#include "core/cpu.h"

typedef struct quant_set {
    unsigned isa; /* all of these */
    void (*init)(quant_table t);
} quant_set;

enum { WORDS_ISA = MO_ISA_AVX2 | MO_ISA_AVX512 | MO_ISA_AVX512_VNNI }; /* what quant_init_avx512_words needs */

/* Best first. */
static const quant_set sets[] = {
#if defined(__x86_64__)
    { WORDS_ISA, quant_init_avx512_vnni },
    { MO_ISA_AVX2 | MO_ISA_AVX_VNNI, quant_init_avx_vnni },
    { MO_ISA_AVX2, quant_init_avx2 },
#elif defined(__aarch64__)
    { MO_ISA_NEON | MO_ISA_DOTPROD | MO_ISA_I8MM, quant_init_i8mm },
    { MO_ISA_NEON | MO_ISA_DOTPROD, quant_init_dotprod },
#endif
    { MO_ISA_GENERIC, quant_init_generic },
};

bool quant_has_words(unsigned isa) { return (isa & (unsigned)WORDS_ISA) == WORDS_ISA; }

unsigned quant_init(quant_table t, unsigned isa, bool words)
{
    const quant_set *s = sets;

    while ((s->isa & isa) != s->isa) s++;
    memset(t, 0, sizeof(quant_table));
    s->init(t);
#if defined(__x86_64__)
    if (words && quant_has_words(isa)) quant_init_avx512_words(t);
#endif
    return s->isa;
}
