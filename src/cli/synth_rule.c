/* The synthetic-checkpoint rule, version 1 (synth_rule.h). Bit for bit what ../shared/synth/synth.py computes. */
#include "cli/synth_rule.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/synth.h"

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool is_embedding(const char *name)
{
    static const char *const part[] = { "embed_tokens",       "emb_text",        "emb_code", "input_embedding",
                                        "position_embedding", "embed_positions", ".query" };

    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (strstr(name, part[i])) return true;
    return false;
}

void synth_base_amp(float *base, float *amp, const char *name, int n_dim, const int64_t *dim)
{
    int64_t fan_in = 1;

    *base = 0;
    *amp = 0.02f;
    if (ends_in(name, "running_mean")) return;
    if (ends_in(name, "running_var") || ends_in(name, ".alpha") || ends_in(name, "weight_g") || ends_in(name, ".original0") ||
        (n_dim == 1 && ends_in(name, "weight"))) {
        *base = 1;
        *amp = 0.1f;
        return;
    }
    if (ends_in(name, "bias") || n_dim == 1) return;
    if (is_embedding(name)) {
        *amp = 0.5f;
        return;
    }
    for (int i = 1; i < n_dim; i++) fan_in *= dim[i];
    *amp = sqrtf(3.0f / (float)fan_in);
}

/* synth_x() and the rounding in a loop the compiler can vectorise: 24 bits fit a signed conversion, which is cheaper. */
void synth_fill(uint16_t *restrict out, uint64_t key, float base, float amp, uint64_t start, size_t n)
{
    uint64_t z0 = key + (start + 1) * SYNTH_GOLDEN;

    for (size_t i = 0; i < n; i++) {
        float v = base + amp * ((float)(int32_t)(synth_mix(z0 + i * SYNTH_GOLDEN) >> 40) * 0x1p-23f - 1.0f);
        uint32_t u;

        memcpy(&u, &v, 4);
        out[i] = (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
    }
}
