/* Any bytes as config.json: what is accepted keeps the promises that forward passes rely on. */
#include <stdint.h>

#include "models/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    model_config c;
    mo_error err;

    if (model_config_parse(&c, (const char *)data, n, "fuzz", &err) != MO_OK) return 0;
    if (c.llm.n_layer < 1 || c.llm.n_kv_head < 1 || c.llm.n_head % c.llm.n_kv_head || c.llm.head_dim < 2 || c.llm.head_dim % 2 ||
        c.llm.n_vocab < 1 || c.llm.n_ff < 1 || c.llm.n_ctx_train < 1 || !(c.llm.rms_eps > 0) || !(c.llm.rope_theta >= 1) ||
        !(c.llm.logit_divisor > 0))
        __builtin_trap();
    if (c.has_vision && (c.vision.n_embd % c.vision.n_head || c.vision.image_size < c.vision.patch_size || c.resampler.n_head < 1 ||
                         c.slice.max_slice_nums < 1))
        __builtin_trap();
    if (c.has_audio && (c.audio.n_embd % c.audio.n_head || c.audio.pool_step < 1 || c.audio.n_ff != 4 * c.audio.n_embd)) __builtin_trap();
    model_config_free(&c);
    return 0;
}
