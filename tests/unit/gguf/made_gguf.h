/* A tiny Hugging Face checkpoint as GGUF files, as the converters make them: names, divided and transposed matrices, the
 * swapped names of the vision encoder's feed-forward. Weights keep their bits, or become `type`.
 */
#ifndef MADE_GGUF_H
#define MADE_GGUF_H

#include "../session/talk.h"
#include "formats/gguf_write.h"

static const char *const made_names[][2] = {
    { "llm.model.embed_tokens", "token_embd" },
    { "llm.model.norm", "output_norm" },
    { "llm.lm_head", "output" },
    { "llm.model.layers.#.input_layernorm", "blk.#.attn_norm" },
    { "llm.model.layers.#.self_attn.q_proj", "blk.#.attn_q" },
    { "llm.model.layers.#.self_attn.k_proj", "blk.#.attn_k" },
    { "llm.model.layers.#.self_attn.v_proj", "blk.#.attn_v" },
    { "llm.model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm" },
    { "llm.model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm" },
    { "llm.model.layers.#.self_attn.o_proj", "blk.#.attn_output" },
    { "llm.model.layers.#.post_attention_layernorm", "blk.#.ffn_norm" },
    { "llm.model.layers.#.mlp.gate_proj", "blk.#.ffn_gate" },
    { "llm.model.layers.#.mlp.up_proj", "blk.#.ffn_up" },
    { "llm.model.layers.#.mlp.down_proj", "blk.#.ffn_down" },
    { "vpm.embeddings.patch_embedding", "v.patch_embd" },
    { "vpm.embeddings.position_embedding", "v.position_embd" },
    { "vpm.post_layernorm", "v.post_ln" },
    { "vpm.encoder.layers.#.self_attn.q_proj", "v.blk.#.attn_q" },
    { "vpm.encoder.layers.#.self_attn.k_proj", "v.blk.#.attn_k" },
    { "vpm.encoder.layers.#.self_attn.v_proj", "v.blk.#.attn_v" },
    { "vpm.encoder.layers.#.self_attn.out_proj", "v.blk.#.attn_out" },
    { "vpm.encoder.layers.#.layer_norm1", "v.blk.#.ln1" },
    { "vpm.encoder.layers.#.layer_norm2", "v.blk.#.ln2" },
    { "vpm.encoder.layers.#.mlp.fc1", "v.blk.#.ffn_down" },
    { "vpm.encoder.layers.#.mlp.fc2", "v.blk.#.ffn_up" },
    { "resampler.kv_proj", "resampler.kv" },
    { "resampler.attn.out_proj", "resampler.attn.out" },
    { "apm.conv1", "encoder.conv1" },
    { "apm.conv2", "encoder.conv2" },
    { "apm.embed_positions.weight", "encoder.positional_embedding" },
    { "apm.layer_norm", "encoder.ln_post" },
    { "apm.layers.#.self_attn.q_proj", "encoder.blocks.#.attn.query" },
    { "apm.layers.#.self_attn.k_proj", "encoder.blocks.#.attn.key" },
    { "apm.layers.#.self_attn.v_proj", "encoder.blocks.#.attn.value" },
    { "apm.layers.#.self_attn.out_proj", "encoder.blocks.#.attn.out" },
    { "apm.layers.#.self_attn_layer_norm", "encoder.blocks.#.attn_ln" },
    { "apm.layers.#.fc1", "encoder.blocks.#.mlp.0" },
    { "apm.layers.#.fc2", "encoder.blocks.#.mlp.2" },
    { "apm.layers.#.final_layer_norm", "encoder.blocks.#.mlp_ln" },
    { "audio_projection_layer.linear1", "audio_projector.linear1" },
    { "audio_projection_layer.linear2", "audio_projector.linear2" },
};

static inline void made_name(char out[64], const char *official)
{
    char pattern[128], number[8] = "", rest[16] = "";
    const char *p = official;
    size_t n = 0;

    while (*p && n < 120) { /* the first run of digits between dots is the block */
        if (!*number && p > official && p[-1] == '.' && *p >= '0' && *p <= '9') {
            size_t k = strspn(p, "0123456789");
            snprintf(number, sizeof number, "%.*s", (int)k, p);
            pattern[n++] = '#';
            p += k;
        } else {
            pattern[n++] = *p++;
        }
    }
    pattern[n] = 0;
    for (size_t i = 0; i < sizeof made_names / sizeof *made_names; i++) {
        size_t k = strlen(made_names[i][0]);
        const char *to = made_names[i][1], *hash = strchr(to, '#');
        if (strncmp(pattern, made_names[i][0], k) || (pattern[k] && strcmp(pattern + k, ".weight") && strcmp(pattern + k, ".bias")))
            continue;
        snprintf(rest, sizeof rest, "%s", pattern + k);
        if (hash) snprintf(out, 64, "%.*s%s%s%s", (int)(hash - to), to, number, hash + 1, rest);
        else snprintf(out, 64, "%s%s", to, rest);
        return;
    }
    snprintf(out, 64, "%s", official);
}

/* One tensor to be written: bytes, and whether they are ours. */
typedef struct made_tensor {
    char name[64];
    int32_t type, n_dim;
    int64_t dim[4];
    void *data; /* owned */
    size_t n;
} made_tensor;

typedef struct made_list {
    made_tensor t[256];
    int n;
} made_list;

static inline void made_add(made_list *l, const char *name, const tensor *like, const void *data, int64_t first_dim, int32_t type)
{
    made_tensor *t = &l->t[l->n++];
    int64_t n = 1;

    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = like->type;
    t->n_dim = like->n_dim;
    for (int32_t i = 0; i < like->n_dim; i++) n *= t->dim[i] = i ? like->dim[i] : first_dim;
    if (type && like->n_dim == 2 && t->dim[1] % dtype_get(type)->n_block == 0) {
        float *x = malloc((size_t)n * sizeof *x);
        t->type = type;
        t->n = dtype_row_bytes(type, t->dim[1]) * (size_t)t->dim[0];
        t->data = malloc(t->n);
        if (!x || !t->data) abort();
        dtype_to_f32(x, data, like->type, n);
        if (!dtype_from_f32(t->data, x, type, t->dim[0], t->dim[1], NULL)) abort();
        free(x);
        return;
    }
    t->n = (size_t)n * (size_t)dtype_get(like->type)->block_bytes;
    if (!(t->data = malloc(t->n))) abort();
    memcpy(t->data, data, t->n);
}

static inline void made_add_official(made_list *l, const tensor *t, int32_t type)
{
    const size_t size = (size_t)dtype_get(t->type)->block_bytes;
    char name[64];

    if (!strncmp(t->name, "resampler.attn.in_proj_", 23)) {
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "resampler.attn.%c.%s", "qkv"[i], t -> name + 23);
            made_add(l, name, t, (const char *)t->data + t->n_bytes / 3 * (size_t)i, t->dim[0] / 3, type);
        }
    } else if (!strcmp(t->name, "resampler.proj")) {
        char *transposed = malloc(t->n_bytes);
        if (!transposed) abort();
        for (int64_t r = 0; r < t->dim[0]; r++)
            for (int64_t c = 0; c < t->dim[1]; c++)
                memcpy(transposed + (size_t)(c * t->dim[0] + r) * size, (const char *)t->data + (size_t)(r * t->dim[1] + c) * size, size);
        made_add(l, "resampler.proj.weight", t, transposed, t->dim[1], type);
        free(transposed);
    } else {
        made_name(name, t->name);
        made_add(l, name, t, t->data, t->dim[0], type);
    }
}

static inline void made_vocabulary(gguf_writer *w)
{
    static char text[TINY_VOCAB][24];
    gguf_text token[TINY_VOCAB];
    int32_t type[TINY_VOCAB];
    int n = 0;

    for (unsigned cp = 0x21; cp <= 0x143; cp++) { /* the byte alphabet, as tokenizer_write_standin has it */
        if ((cp >= 0x7f && cp <= 0xa0) || cp == 0xad) continue;
        if (cp < 0x80) snprintf(text[n], sizeof text[n], "%c", (int)cp);
        else snprintf(text[n], sizeof text[n], "%c%c", (int)(0xc0 | cp >> 6), (int)(0x80 | (cp & 63)));
        type[n++] = 1;
    }
    for (int i = 0; i < TINY_SPECIAL; i++) {
        snprintf(text[n], sizeof text[n], "%s", tiny_special[i]);
        type[n++] = 3;
    }
    for (; n < TINY_VOCAB; n++) {
        snprintf(text[n], sizeof text[n], "[PAD%d]", n);
        type[n] = 5;
    }
    for (int i = 0; i < TINY_VOCAB; i++) token[i] = (gguf_text){ text[i], strlen(text[i]) };
    gguf_put_text(w, "tokenizer.ggml.model", "gpt2", 4);
    gguf_put_text(w, "tokenizer.ggml.pre", "qwen2", 5);
    gguf_put_texts(w, "tokenizer.ggml.tokens", token, TINY_VOCAB);
    gguf_put_ints(w, "tokenizer.ggml.token_type", type, TINY_VOCAB);
    gguf_put_texts(w, "tokenizer.ggml.merges", token, 0);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", TINY_IM_END);
}

static inline void made_keys(gguf_writer *w, int role, const model_config *c)
{
    static const char *const arch[] = { "qwen3", "clip", "whisper" };

    gguf_put_text(w, "general.architecture", arch[role], strlen(arch[role]));
    if (role == 0) {
        gguf_put_u32(w, "qwen3.block_count", (uint32_t)c->llm.n_layer);
        gguf_put_u32(w, "qwen3.context_length", (uint32_t)c->llm.n_ctx_train);
        gguf_put_u32(w, "qwen3.embedding_length", (uint32_t)c->llm.n_embd);
        gguf_put_u32(w, "qwen3.feed_forward_length", (uint32_t)c->llm.n_ff);
        gguf_put_u32(w, "qwen3.attention.head_count", (uint32_t)c->llm.n_head);
        gguf_put_u32(w, "qwen3.attention.head_count_kv", (uint32_t)c->llm.n_kv_head);
        gguf_put_u32(w, "qwen3.attention.key_length", (uint32_t)c->llm.head_dim);
        gguf_put_f32(w, "qwen3.attention.layer_norm_rms_epsilon", c->llm.rms_eps);
        gguf_put_f32(w, "qwen3.rope.freq_base", (float)c->llm.rope_theta);
        made_vocabulary(w);
    } else if (role == 1) {
        gguf_put_i32(w, "clip.minicpmv_version", 100045);
        gguf_put_u32(w, "clip.vision.block_count", (uint32_t)c->vision.n_layer);
        gguf_put_u32(w, "clip.vision.embedding_length", (uint32_t)c->vision.n_embd);
        gguf_put_u32(w, "clip.vision.attention.head_count", (uint32_t)c->vision.n_head);
        gguf_put_f32(w, "clip.vision.attention.layer_norm_epsilon", c->vision.ln_eps);
        gguf_put_u32(w, "clip.vision.image_size", 448);
    } else {
        gguf_put_u32(w, "encoder_layers", (uint32_t)c->audio.n_layer);
        gguf_put_u32(w, "encoder_attention_heads", (uint32_t)c->audio.n_head);
        gguf_put_u32(w, "audio_pool_step", (uint32_t)c->audio.pool_step);
    }
}

/* role 0: language model, 1: vision, 2: audio; type 0: weights as they are. */
static inline mo_status made_write(const char *path, const char *hf_dir, int role, int32_t type, mo_error *err)
{
    static const char *const prefix[3][2] = { { "llm.", "llm." }, { "vpm.", "resampler." }, { "apm.", "audio_projection_layer." } };
    made_list *l = calloc(1, sizeof *l);
    tensors *ts = NULL;
    gguf_writer *w;
    model_config c;
    mo_status st;

    if (!l) abort();
    if ((st = model_config_load(&c, hf_dir, err)) != MO_OK || (st = tensors_open_safetensors(&ts, hf_dir, err)) != MO_OK ||
        (st = gguf_write_begin(&w, path, err)) != MO_OK)
        return st;
    for (size_t i = 0; i < tensors_count(ts); i++) {
        const tensor *t = tensors_at(ts, i);
        if (!strncmp(t->name, prefix[role][0], strlen(prefix[role][0])) || !strncmp(t->name, prefix[role][1], strlen(prefix[role][1])))
            made_add_official(l, t, type);
    }
    made_keys(w, role, &c);
    for (int i = 0; i < l->n; i++) gguf_declare(w, l->t[i].name, l->t[i].type, l->t[i].n_dim, l->t[i].dim);
    for (int i = 0; i < l->n && st == MO_OK; i++) st = gguf_write_data(w, l->t[i].data, l->t[i].n, err);
    if (st == MO_OK) st = gguf_write_end(w, err);
    else gguf_write_abort(w);
    for (int i = 0; i < l->n; i++) free(l->t[i].data);
    free(l);
    tensors_close(ts);
    model_config_free(&c);
    return st;
}

#endif
