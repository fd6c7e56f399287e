/* Shared parts of the kernel tests (kernel_test.h). */
#include "kernel_test.h"

isa_case isa_cases[ISA_CASE_MAX];
int n_isa_case;

#ifdef HAVE_AVX512_EMULATED
void kernels_init_avx512_emulated(kernels *k);
void kernels_init_avx512_i16_emulated(kernels *k);
void kernels_init_avx512_bf16_emulated(kernels *k);
void kernels_init_avx512_bf16_attention_emulated(kernels *k);
#endif

static kernels *add_case(const char *name, unsigned isa, bool fast)
{
    isa_case *c = &isa_cases[n_isa_case++];

    c->name = name;
    kernels_init(&c->k, isa, fast ? KERNELS_FAST : KERNELS_FLOAT32, cpu_words_are_fast());
    return &c->k;
}

void isa_cases_init(void)
{
    const char *env = getenv("MO_ISA");
    const int64_t parsed = cpu_isa_parse(env);
    unsigned mask, have;

    if (parsed < 0) {
        fprintf(stderr, "MO_ISA=%s: unknown instruction set\n", env);
        exit(2);
    }
    mask = (unsigned)parsed;
    have = cpu_isa() & mask;
    add_case("generic", 0, false);
    if (have & MO_ISA_AVX2) add_case("avx2", MO_ISA_AVX2, false);
    if (have & MO_ISA_AVX2) add_case("avx2 (16-bit blocks)", MO_ISA_AVX2, true);
    if (have & MO_ISA_NEON) add_case("neon", MO_ISA_NEON, false);
#ifdef __x86_64__
    if (have & MO_ISA_AVX512) add_case("avx512", MO_ISA_AVX2 | MO_ISA_AVX512, false);
    if (have & MO_ISA_AVX512_VNNI) add_case("avx512 (16-bit blocks)", MO_ISA_AVX2 | MO_ISA_AVX512 | MO_ISA_AVX512_VNNI, true);
    if (have & MO_ISA_AVX512_BF16) add_case("avx512_bf16", MO_ISA_AVX2 | MO_ISA_AVX512 | MO_ISA_AVX512_BF16, true);
#ifdef HAVE_AVX512_EMULATED
    if ((mask & MO_ISA_AVX512) && !(have & MO_ISA_AVX512)) kernels_init_avx512_emulated(add_case("avx512 (emulated)", 0, false));
    if ((mask & MO_ISA_AVX512_VNNI) && !(have & MO_ISA_AVX512_VNNI)) {
        kernels *k = add_case("avx512 (16-bit blocks, emulated)", 0, false);
        kernels_init_avx512_emulated(k);
        kernels_init_avx512_i16_emulated(k);
    }
    if ((mask & MO_ISA_AVX512_BF16) && !(have & MO_ISA_AVX512_BF16)) {
        kernels *k = add_case("avx512_bf16 (emulated)", 0, false);
        kernels_init_avx512_emulated(k);
        kernels_init_avx512_bf16_emulated(k);
        kernels_init_avx512_bf16_attention_emulated(k);
    }
#endif
#endif
    for (int i = 0; i < n_isa_case; i++) printf("%s%s", i ? ", " : "running on: ", isa_cases[i].name);
    printf("\n");
}

enum { KEPT_MAX = 96 };
static struct {
    kernels k; /* a copy: a test may fill the same variable with other tables, one after another */
    int n_thread;
    backend *be;
} kept[KEPT_MAX];
static int n_kept;

static void drop_backends(void)
{
    while (n_kept > 0) n_kept--, kept[n_kept].be->ops->destroy(kept[n_kept].be);
}

backend *test_backend_of(const kernels *k, int n_thread)
{
    mo_error err;

    for (int i = 0; i < n_kept; i++)
        if (!memcmp(&kept[i].k, k, sizeof *k) && kept[i].n_thread == n_thread) return kept[i].be;
    if (!n_kept) atexit(drop_backends);
    if (n_kept == KEPT_MAX || cpu_backend_new_kernels(&kept[n_kept].be, k, n_thread, &err) != MO_OK) {
        fprintf(stderr, "no backend: %s\n", n_kept < KEPT_MAX ? err.message : "more than a test should need");
        exit(2);
    }
    kept[n_kept].k = *k;
    kept[n_kept].n_thread = n_thread;
    return kept[n_kept++].be;
}

backend *test_backend(const isa_case *isa, int n_thread) { return test_backend_of(&isa->k, n_thread); }

static uint64_t rnd_state = 88172645463325252u;

uint32_t rnd(void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return (uint32_t)(rnd_state >> 32);
}

int rnd_int(int lo, int hi) { return lo + (int)(rnd() % (uint32_t)(hi - lo + 1)); }

float rnd_f(void)
{
    float s = 0;
    for (int i = 0; i < 4; i++) s += (float)rnd() / 4294967296.0f - 0.5f;
    return s * 1.7f;
}

float *new_f(int64_t n, int offset)
{
    float *p = malloc((size_t)(n + offset) * sizeof *p);
    if (!p) exit(2);
    for (int64_t i = 0; i < n + offset; i++) p[i] = rnd_f();
    return p + offset;
}

void free_f(float *p, int offset) { free(p - offset); }

enum { GUARD = 32 };
static const float CANARY = -1.2345e30f;

float *guard_new(int64_t n)
{
    float *p = malloc((size_t)(n + 2 * GUARD) * sizeof *p);
    if (!p) exit(2);
    for (int64_t i = 0; i < n + 2 * GUARD; i++) p[i] = CANARY;
    return p + GUARD;
}

bool guard_ok(const float *p, int64_t n)
{
    for (int i = 1; i <= GUARD; i++)
        if (p[-i] != CANARY || p[n + i - 1] != CANARY) {
            printf("written %d floats outside of the output\n", i);
            return false;
        }
    return true;
}

void guard_free(float *p) { free(p - GUARD); }

bool near_f(const char *what, const float *a, const float *b, int64_t n, double tol_abs, double tol_rel)
{
    double worst = 0;
    int64_t at = 0;

    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - b[i]) / (tol_abs + tol_rel * fabs((double)b[i]));
        if (!(e <= worst)) worst = e, at = i;
        if (worst != worst) break;
    }
    if (worst <= 1) return true;
    printf("%s: element %lld is %.9g, want %.9g (%.3g times the tolerance)\n", what, (long long)at, a[at], b[at], worst);
    return false;
}

bool same_bits(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a)) {
            printf("%s: element %lld is %.9g, want the same bits as %.9g\n", what, (long long)i, a[i], b[i]);
            return false;
        }
    return true;
}

void *to_type(float *x, int32_t type, int64_t n)
{
    uint8_t *p = malloc(dtype_row_bytes(type, n) + 1);

    if (!p) exit(2);
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        if (type == MO_F32) memcpy(p + 4 * i, x + i, 4);
        else {
            h = type == MO_F16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
            memcpy(p + 2 * i, &h, 2);
        }
    }
    dtype_to_f32(x, p, type, n);
    return p;
}
