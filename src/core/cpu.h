/* Which instruction sets this machine and its operating system let us use, and their names. */
#ifndef MO_CORE_CPU_H
#define MO_CORE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MO_ISA_GENERIC = 0,
    MO_ISA_AVX2 = 1 << 0,   /* AVX2, FMA, F16C */
    MO_ISA_AVX512 = 1 << 1, /* F, BW, DQ, VL */
    MO_ISA_AVX512_BF16 = 1 << 2,
    MO_ISA_AVX512_VNNI = 1 << 3,
    MO_ISA_AVX_VNNI = 1 << 4,
    MO_ISA_NEON = 1 << 8, /* AArch64 base: fp32 FMA, fp16 conversion */
    MO_ISA_DOTPROD = 1 << 9,
    MO_ISA_I8MM = 1 << 10,
    MO_ISA_ALL = 0x7fffffff
};

unsigned cpu_isa(void); /* CPU and OS state (XGETBV) both checked */

/* Whether AVX-512 BF16 is taken to multiply faster than float32 does: on AMD. Measured: twice the rate on Zen 4, half of it on
 * Emerald Rapids (12 instructions of either in 8.9 and 2.2 ns), whose like have AMX for that. */
bool cpu_bf16_is_fast(void);

/* Whether AVX-512 VNNI is taken to multiply words at a rate that makes up for being half that of bytes: not on Zen 4, whose two units of
 * 256 bits are the limit of either (AMD family 19h); elsewhere other instructions limit what bytes reach. */
bool cpu_words_are_fast(void);

/* Whether large results are taken to be written faster past the caches: on AMD, where it was measured (Zen 4). */
bool cpu_streams_stores(void);

/* "generic,avx2" -> mask of what may be used; unknown names return -1. "all" or NULL gives MO_ISA_ALL. */
int64_t cpu_isa_parse(const char *list);

/* Writes "avx2,avx512,..." ("generic" for 0). */
void cpu_isa_format(unsigned isa, char *out, int n);

#endif
