/* CPU features (cpu.h). A set counts only if the operating system saves its registers too: XGETBV says so on x86-64. */
#include "core/cpu.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)

static uint64_t xgetbv0(void)
{
    uint32_t a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

/* Bit numbers: Intel SDM vol. 2, CPUID leaves 1 and 7. */
unsigned cpu_isa(void)
{
    unsigned a, b, c, d, isa = 0, max;
    uint64_t xcr0;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c >> 27 & 1)) return 0; /* OSXSAVE */
    xcr0 = xgetbv0();
    if ((xcr0 & 6) != 6 || !(c >> 28 & 1)) return 0; /* YMM state, AVX */
    const int has_fma_f16c = (c >> 12 & 1) && (c >> 29 & 1);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    max = a;
    if (!has_fma_f16c || !(b >> 5 & 1)) return 0;
    isa |= MO_ISA_AVX2;
    if ((xcr0 & 0xe6) == 0xe6 && (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1)) { /* ZMM; F DQ BW VL */
        isa |= MO_ISA_AVX512;
        if (c >> 11 & 1) isa |= MO_ISA_AVX512_VNNI;
    }
    if (max >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        if (a >> 4 & 1) isa |= MO_ISA_AVX_VNNI;
        if ((isa & MO_ISA_AVX512) && (a >> 5 & 1)) isa |= MO_ISA_AVX512_BF16;
    }
    return isa;
}

static bool is_amd(void)
{
    unsigned max, id[3];

    return __get_cpuid(0, &max, &id[0], &id[2], &id[1]) && !memcmp(id, "AuthenticAMD", sizeof id); /* in ebx, edx, ecx */
}

bool cpu_bf16_is_fast(void) { return is_amd(); }
bool cpu_streams_stores(void) { return is_amd(); }

bool cpu_words_are_fast(void)
{
    unsigned a, b, c, d;

    if (!is_amd() || !__get_cpuid(1, &a, &b, &c, &d)) return true;
    return (a >> 8 & 15) + (a >> 20 & 255) != 0x19; /* family and extended family: AMD APM vol. 3, CPUID leaf 1 */
}

#elif defined(__aarch64__)

bool cpu_bf16_is_fast(void) { return false; }
bool cpu_words_are_fast(void) { return false; }
bool cpu_streams_stores(void) { return false; }

/* fp32 FMA and fp16 conversion are in the base instruction set. Bits: Linux uapi asm/hwcap.h. */
unsigned cpu_isa(void)
{
    unsigned isa = MO_ISA_NEON;
#if defined(__linux__)
    if (getauxval(AT_HWCAP) >> 20 & 1) isa |= MO_ISA_DOTPROD;
    if (getauxval(AT_HWCAP2) >> 13 & 1) isa |= MO_ISA_I8MM;
#endif
    return isa;
}

#else

bool cpu_bf16_is_fast(void) { return false; }
bool cpu_words_are_fast(void) { return false; }
bool cpu_streams_stores(void) { return false; }
unsigned cpu_isa(void) { return MO_ISA_GENERIC; }

#endif

static const struct {
    const char *name;
    unsigned bit;
} names[] = {
    { "avx2", MO_ISA_AVX2 },
    { "avx512", MO_ISA_AVX512 },
    { "avx512_bf16", MO_ISA_AVX512_BF16 },
    { "avx512_vnni", MO_ISA_AVX512_VNNI },
    { "avx_vnni", MO_ISA_AVX_VNNI },
    { "neon", MO_ISA_NEON },
    { "dotprod", MO_ISA_DOTPROD },
    { "i8mm", MO_ISA_I8MM },
};

int64_t cpu_isa_parse(const char *list)
{
    int64_t isa = 0;

    if (!list) return MO_ISA_ALL;
    while (*list) {
        size_t n = strcspn(list, ","), i;
        if (n == 3 && !memcmp(list, "all", 3)) {
            isa = MO_ISA_ALL;
        } else if (!(n == 7 && !memcmp(list, "generic", 7))) {
            for (i = 0; i < sizeof names / sizeof *names; i++)
                if (strlen(names[i].name) == n && !memcmp(list, names[i].name, n)) break;
            if (i == sizeof names / sizeof *names) return -1;
            isa |= names[i].bit;
        }
        list += n;
        if (*list == ',') list++;
    }
    return isa;
}

void cpu_isa_format(unsigned isa, char *out, int n)
{
    int at = 0;

    if (n <= 0) return;
    out[0] = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (isa & names[i].bit && at < n) at += snprintf(out + at, (size_t)(n - at), "%s%s", at ? "," : "", names[i].name);
    if (!at) snprintf(out, (size_t)n, "generic");
}
