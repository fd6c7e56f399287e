/* The tensors of a small vision tower, resampler and audio encoder under their official names. */
#ifndef MADE_MODELS_H
#define MADE_MODELS_H

#include "made.h"
#include "models/config.h"

static const vision_config made_vision = {
    .n_layer = 3, .n_embd = 48, .n_head = 2, .n_ff = 88, .patch_size = 2, .image_size = 140, .ln_eps = 1e-6f
};
static const resampler_config made_resampler = { .n_query = 6, .n_embd = 64, .n_head = 4, .kv_dim = 48 };
static const audio_config made_audio = {
    .n_layer = 2, .n_embd = 32, .n_head = 2, .n_ff = 72, .n_mel = 8, .n_pos = 130, .pool_step = 5, .chunk_length_s = 1
};
enum { MADE_OUT = 40 };

static inline void made_block(made *m, int64_t e, int64_t f, const char *p, int il, const char *ln1, const char *ln2, const char *mlp,
                              bool k_bias)
{
    static const char *const proj[] = { "q", "k", "v", "out" };

    made_1(m, e, "%s.%d.%s.weight", p, il, ln1);
    made_1(m, e, "%s.%d.%s.bias", p, il, ln1);
    made_1(m, e, "%s.%d.%s.weight", p, il, ln2);
    made_1(m, e, "%s.%d.%s.bias", p, il, ln2);
    for (int i = 0; i < 4; i++) {
        made_2(m, e, e, "%s.%d.self_attn.%s_proj.weight", p, il, proj[i]);
        if (i != 1 || k_bias) made_1(m, e, "%s.%d.self_attn.%s_proj.bias", p, il, proj[i]);
    }
    made_2(m, f, e, "%s.%d.%sfc1.weight", p, il, mlp);
    made_1(m, f, "%s.%d.%sfc1.bias", p, il, mlp);
    made_2(m, e, f, "%s.%d.%sfc2.weight", p, il, mlp);
    made_1(m, e, "%s.%d.%sfc2.bias", p, il, mlp);
}

static inline void made_add_vision(made *m, const vision_config *c)
{
    int64_t e = c->n_embd, side = c->image_size / c->patch_size;

    made_put(m, "vpm.embeddings.patch_embedding.weight", 4, e, 3, c->patch_size, c->patch_size);
    made_1(m, e, "vpm.embeddings.patch_embedding.bias");
    made_2(m, side * side, e, "vpm.embeddings.position_embedding.weight");
    for (int il = 0; il < c->n_layer; il++) made_block(m, e, c->n_ff, "vpm.encoder.layers", il, "layer_norm1", "layer_norm2", "mlp.", true);
    made_1(m, e, "vpm.post_layernorm.weight");
    made_1(m, e, "vpm.post_layernorm.bias");
}

static inline void made_add_resampler(made *m, const resampler_config *c)
{
    int64_t d = c->n_embd;

    made_2(m, c->n_query, d, "resampler.query");
    made_2(m, d, c->kv_dim, "resampler.kv_proj.weight");
    made_2(m, 3 * d, d, "resampler.attn.in_proj_weight");
    made_1(m, 3 * d, "resampler.attn.in_proj_bias");
    made_2(m, d, d, "resampler.attn.out_proj.weight");
    made_1(m, d, "resampler.attn.out_proj.bias");
    for (int i = 0; i < 3; i++) {
        static const char *const ln[] = { "ln_q", "ln_kv", "ln_post" };
        made_1(m, d, "resampler.%s.weight", ln[i]);
        made_1(m, d, "resampler.%s.bias", ln[i]);
    }
    made_2(m, d, d, "resampler.proj");
}

static inline void made_add_audio(made *m, const audio_config *c, int64_t d)
{
    int64_t e = c->n_embd;

    made_put(m, "apm.conv1.weight", 3, e, c->n_mel, 3, 1);
    made_1(m, e, "apm.conv1.bias");
    made_put(m, "apm.conv2.weight", 3, e, e, 3, 1);
    made_1(m, e, "apm.conv2.bias");
    made_2(m, c->n_pos, e, "apm.embed_positions.weight");
    for (int il = 0; il < c->n_layer; il++)
        made_block(m, e, c->n_ff, "apm.layers", il, "self_attn_layer_norm", "final_layer_norm", "", false);
    made_1(m, e, "apm.layer_norm.weight");
    made_1(m, e, "apm.layer_norm.bias");
    made_2(m, d, e, "audio_projection_layer.linear1.weight");
    made_1(m, d, "audio_projection_layer.linear1.bias");
    made_2(m, d, d, "audio_projection_layer.linear2.weight");
    made_1(m, d, "audio_projection_layer.linear2.bias");
}

#endif
