/* Models of every file type and block type, multiplied with activations of 16 bits and of 8: how far that takes hidden states and logits
 * from the same weights in float32 (`--exact`), and that a batch has the bits of its rows alone.
 */
#include "backend/cpu/quant/quant.h"
#include "core/quants/quants.h"
#include "made.h"

/* Rows of 512, so that no one block carries a result. */
static const char config[] = MADE_LLM("qwen3", ", \"tie_word_embeddings\": false");

enum { N_VOCAB = 288, N_EMBD = 256, N_OUT = N_VOCAB + N_EMBD };

/* What rounding activations may cost, as error over size (L2). To 8 bits: measured are 1.1 to 1.3 % where every 32 activations have a scale
 * of their own, 2.0 to 2.6 % where 256 share one, whatever the weights; rounding alone makes 0.5 % and 0.7 % of a product of normal numbers,
 * two layers and the head add up. To 16 bits: 0.04 %. */
static double bound_of(const checkpoint *ck, bool words)
{
    if (words) return 0.001;
    for (size_t i = 0; i < tensors_count(ck->ts); i++)
        if (dtype_get(tensors_at(ck->ts, i)->type)->n_block == QK) return 0.03;
    return 0.015;
}

static char hf[64];

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Logits, then hidden states, [N_ID, N_OUT]. */
static mo_status outputs(float *out, const checkpoint *ck, const cpu_backend_opts *cpu, int n_batch, mo_error *err)
{
    return made_outputs(ck, cpu, n_batch, out, out + N_ID * N_VOCAB, err);
}

static double error_over_size(const float *got, const float *want, int n)
{
    double e = 0, s = 0;

    for (int i = 0; i < n; i++) e += ((double)got[i] - want[i]) * ((double)got[i] - want[i]), s += (double)want[i] * want[i];
    return sqrt(e / s);
}

static const char *const isas[] = { "generic", "avx2", "avx2,avx_vnni", "avx2,avx512", "neon", "neon,dotprod", "all" };

/* What an option asks for; of nothing, 16 bits come where they are fast. */
typedef enum asked { NOTHING, INT8, INT16 } asked;

static void check_kernels(const char *name, const checkpoint *ck, const char *isa, const float *exact, asked bits, float *got, float *part)
{
    enum { N = N_ID * N_OUT };
    static const int batch[] = { 1, 3, 7, 16 };
    const cpu_backend_opts cpu = { .n_thread = 1, .isa_mask = (unsigned)cpu_isa_parse(isa), .int8 = bits == INT8, .int16 = bits == INT16 };
    const bool words = quant_has_words(cpu_isa() & cpu.isa_mask) && (bits == INT16 || (bits == NOTHING && cpu_words_are_fast()));
    const double bound = bound_of(ck, words);
    double logits, hidden;
    mo_error err = { 0 };

    CHECK_OK(outputs(got, ck, &cpu, N_ID, &err));
    logits = error_over_size(got, exact, N_ID * N_VOCAB);
    hidden = error_over_size(got + N_ID * N_VOCAB, exact + N_ID * N_VOCAB, N_ID * N_EMBD);
    if (words || cpu.isa_mask == 0)
        printf("%-8s %2d bits: logits %.4f %%, hidden states %.4f %%\n", name, words ? 16 : 8, 100 * logits, 100 * hidden);
    if (!(logits < bound && hidden < bound))
        TEST_FAIL("%s on %s%s: logits %.5f, hidden %.5f", name, isa,
                  bits == INT8    ? " in int8"
                  : bits == INT16 ? " in int16"
                                  : "",
                  logits, hidden);
    for (int k = 0; k < 4; k++) {
        CHECK_OK(outputs(part, ck, &cpu, batch[k], &err));
        if (memcmp(part, got, N * sizeof *got)) TEST_FAIL("%s on %s: other bits in calls of %d rows", name, isa, batch[k]);
    }
}

/* On every instruction set of this machine */
static void check_model(const char *name, const checkpoint *ck)
{
    enum { N = N_ID * N_OUT };
    float *all = calloc(3 * N, sizeof *all);
    mo_error err = { 0 };

    CHECK(all);
    for (size_t i = 0; i < sizeof isas / sizeof *isas && !test_this_failed; i++) {
        const cpu_backend_opts cpu = { .n_thread = 1, .isa_mask = (unsigned)cpu_isa_parse(isas[i]), .exact_quant = true };

        if (strcmp(isas[i], "all") && (cpu.isa_mask & ~cpu_isa())) continue;
        CHECK_OK(outputs(all, ck, &cpu, N_ID, &err));
        check_kernels(name, ck, isas[i], all, NOTHING, all + N, all + 2 * N);
        if (quant_has_words(cpu_isa() & cpu.isa_mask))
            check_kernels(name, ck, isas[i], all, cpu_words_are_fast() ? INT8 : INT16, all + N, all + 2 * N);
    }
    free(all);
}

/* ---- what we write ----------------------------------------------------------------------------------------------- */

TEST(file_types)
{
    const file_type *t;
    mo_error err = { 0 };
    char path[128];

    snprintf(path, sizeof path, "%s.gguf", hf);
    for (int i = 0; (t = file_type_at(i)) && !test_this_failed; i++) {
        checkpoint ck;
        if (!file_type_is_quantised(t) || t->needs_imatrix) continue;
        CHECK_OK(made_type(hf, path, GGUF_ROLE_LLM, t->name, &err));
        CHECK_OK(made_open_llm(&ck, path, &err));
        check_model(t->name, &ck);
        checkpoint_close(&ck);
        unlink(path);
    }
}

/* ---- what we only read: blocks of random bits with the spread of the weights they replace --------------------------- */

static uint32_t next_random(uint32_t *s) { return (*s = *s * 1664525u + 1013904223u) >> 16; }

/* Every d of n blocks */
static void set_factor(uint8_t *b, int32_t type, int64_t n, float d)
{
    const size_t bytes = (size_t)dtype_get(type)->block_bytes;
    const uint16_t h = f32_to_f16(d);

    for (; n > 0; n--, b += bytes) {
        if (type == MO_IQ1_M)
            for (int e = 0; e < 4; e++) b[49 + 2 * e] = (uint8_t)((b[49 + 2 * e] & 15) | (h >> 4 * e & 15) << 4);
        else memcpy(b + (type == MO_TQ1_0 ? 52 : type == MO_TQ2_0 ? 64 : 0), &h, 2);
    }
}

static double spread(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * x[i];
    return sqrt(s / (double)n);
}

/* Blocks instead of the numbers of t; the caller frees them after the model. */
static uint8_t *blocks_like(const tensor *t, int32_t type, uint32_t *seed)
{
    const int64_t n = t->dim[0] * t->dim[1];
    const size_t bytes = dtype_row_bytes(type, n);
    uint8_t *b = malloc(bytes);
    float *x = malloc((size_t)n * sizeof *x);
    double want;

    if (!b || !x) abort();
    for (size_t i = 0; i < bytes; i++) b[i] = (uint8_t)next_random(seed);
    if (type == MO_TQ2_0) /* its codes are 0, 1, 2: a 3 becomes a 1, and values are 0 on average */
        for (size_t i = 0; i < bytes; i++) b[i] = (uint8_t)(b[i] & ~((b[i] & b[i] >> 1 & 0x55) << 1));
    memcpy(x, t->data, (size_t)n * sizeof *x); /* F32, at any address */
    want = spread(x, n);
    set_factor(b, type, n / QK, 1);
    dtype_to_f32(x, b, type, n);
    set_factor(b, type, n / QK, (float)(want / spread(x, n)));
    free(x);
    return b;
}

/* tensors are const to everybody else. */
static void replace(const tensor *t, int32_t type, uint8_t *blocks)
{
    tensor changed = *t;

    changed.type = type;
    changed.data = blocks;
    changed.n_bytes = dtype_row_bytes(type, t->dim[0] * t->dim[1]);
    memcpy((void *)(uintptr_t)t, &changed, sizeof changed);
}

TEST(block_types_that_are_only_read)
{
    static const int32_t type[] = { MO_IQ1_S, MO_IQ1_M, MO_IQ2_XXS, MO_IQ2_XS, MO_IQ2_S, MO_IQ3_XXS, MO_IQ3_S, MO_TQ1_0, MO_TQ2_0 };
    mo_error err = { 0 };
    uint32_t seed = 1;

    for (size_t k = 0; k < sizeof type / sizeof *type && !test_this_failed; k++) {
        checkpoint ck;
        uint8_t *made[64];
        int n = 0;
        CHECK_OK(made_open_llm(&ck, hf, &err));
        for (size_t i = 0; i < tensors_count(ck.ts); i++) {
            const tensor *t = tensors_at(ck.ts, i);
            if (t->n_dim != 2 || t->dim[1] % QK || strstr(t->name, "embed") || n == 64) continue;
            made[n] = blocks_like(t, type[k], &seed);
            replace(t, type[k], made[n++]);
        }
        CHECK_INT(n, 15); /* seven of each layer, and the head */
        check_model(dtype_get(type[k])->name, &ck);
        checkpoint_close(&ck);
        while (n) free(made[--n]);
    }
}

int main(void)
{
    tiny_opts o = { .config = config, .type = MO_F32 };
    mo_error err = { 0 };

    if (tiny_write(hf, &o, &err) != MO_OK) return fprintf(stderr, "%s\n", err.message), 2;
    RUN(file_types);
    RUN(block_types_that_are_only_read);
    tiny_remove(hf);
    return test_end();
}
