/* Which official name a GGUF tensor has: one table per kind of file (spec: language-models 3.2, vision 9.2, audio-encoder 4.2).
 *
 * Loaders ask for one name, the checkpoint's own. Where a converter changed the content, the official name would be a lie, so
 * such tensors get a name of ours that says what they are, and loaders take whichever is there:
 *
 *     resampler.attn.{q,k,v}_proj.*   in_proj divided in three
 *     resampler.proj.weight           proj transposed, ready for a matmul from the left
 *
 * Rows of q and k that were permuted for interleaved rotation keep their names: that is known from the architecture.
 */
#include "formats/gguf_names.h"

#include <stdio.h>

/* '#' stands for a block's number. What follows a name, ".weight" or ".bias", is kept. */
typedef struct gguf_name {
    const char *gguf, *official;
} gguf_name;

static const gguf_name llm_names[] = {
    { "token_embd", "llm.model.embed_tokens" },
    { "output_norm", "llm.model.norm" },
    { "output", "llm.lm_head" },
    { "blk.#.attn_norm", "llm.model.layers.#.input_layernorm" },
    { "blk.#.attn_q", "llm.model.layers.#.self_attn.q_proj" },
    { "blk.#.attn_k", "llm.model.layers.#.self_attn.k_proj" },
    { "blk.#.attn_v", "llm.model.layers.#.self_attn.v_proj" },
    { "blk.#.attn_q_norm", "llm.model.layers.#.self_attn.q_norm" },
    { "blk.#.attn_k_norm", "llm.model.layers.#.self_attn.k_norm" },
    { "blk.#.attn_output", "llm.model.layers.#.self_attn.o_proj" },
    { "blk.#.ffn_norm", "llm.model.layers.#.post_attention_layernorm" },
    { "blk.#.ffn_gate", "llm.model.layers.#.mlp.gate_proj" },
    { "blk.#.ffn_up", "llm.model.layers.#.mlp.up_proj" },
    { "blk.#.ffn_down", "llm.model.layers.#.mlp.down_proj" },
};

static const gguf_name vision_names[] = {
    { "v.patch_embd", "vpm.embeddings.patch_embedding" },
    { "v.position_embd", "vpm.embeddings.position_embedding" },
    { "v.post_ln", "vpm.post_layernorm" },
    { "v.blk.#.attn_q", "vpm.encoder.layers.#.self_attn.q_proj" },
    { "v.blk.#.attn_k", "vpm.encoder.layers.#.self_attn.k_proj" },
    { "v.blk.#.attn_v", "vpm.encoder.layers.#.self_attn.v_proj" },
    { "v.blk.#.attn_out", "vpm.encoder.layers.#.self_attn.out_proj" },
    { "v.blk.#.ln1", "vpm.encoder.layers.#.layer_norm1" },
    { "v.blk.#.ln2", "vpm.encoder.layers.#.layer_norm2" },
    { "v.blk.#.ffn_up", "vpm.encoder.layers.#.mlp.fc1" }, /* these two change places where ffn_swapped */
    { "v.blk.#.ffn_down", "vpm.encoder.layers.#.mlp.fc2" },
    { "resampler.kv", "resampler.kv_proj" },
    { "resampler.attn.q", "resampler.attn.q_proj" },
    { "resampler.attn.k", "resampler.attn.k_proj" },
    { "resampler.attn.v", "resampler.attn.v_proj" },
    { "resampler.attn.out", "resampler.attn.out_proj" },
};

static const gguf_name audio_names[] = {
    { "encoder.conv1", "apm.conv1" },
    { "encoder.conv2", "apm.conv2" },
    { "encoder.positional_embedding", "apm.embed_positions.weight" },
    { "encoder.ln_post", "apm.layer_norm" },
    { "encoder.blocks.#.attn.query", "apm.layers.#.self_attn.q_proj" },
    { "encoder.blocks.#.attn.key", "apm.layers.#.self_attn.k_proj" },
    { "encoder.blocks.#.attn.value", "apm.layers.#.self_attn.v_proj" },
    { "encoder.blocks.#.attn.out", "apm.layers.#.self_attn.out_proj" },
    { "encoder.blocks.#.attn_ln", "apm.layers.#.self_attn_layer_norm" },
    { "encoder.blocks.#.mlp.0", "apm.layers.#.fc1" },
    { "encoder.blocks.#.mlp.2", "apm.layers.#.fc2" },
    { "encoder.blocks.#.mlp_ln", "apm.layers.#.final_layer_norm" },
    { "audio_projector.linear1", "audio_projection_layer.linear1" },
    { "audio_projector.linear2", "audio_projection_layer.linear2" },
};

#define NAMES(t)                                                                                                                           \
    {                                                                                                                                      \
        t, sizeof t / sizeof *t, false                                                                                                     \
    }

static const tensor *find(const gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n_tensor; i++)
        if (!strcmp(g->list[i].name, name)) return &g->list[i];
    return NULL;
}

/* The first of the two takes rows of the encoder's width. */
static bool is_ffn_swapped(const gguf *g)
{
    const tensor *t = find(g, "v.blk.0.ffn_down.weight");
    int64_t width;

    if (!t || t->n_dim != 2) return false;
    if (gguf_get_int(g, "clip.vision.embedding_length", &width)) return t->dim[1] == width;
    return t->dim[0] > t->dim[1];
}

gguf_naming gguf_naming_for(const char *architecture)
{
    static const gguf_naming llm = NAMES(llm_names), vision = NAMES(vision_names), audio = NAMES(audio_names);
    gguf_naming m = vision;

    if (!strcmp(architecture, "whisper")) return audio;
    if (strcmp(architecture, "clip")) return llm;
    m.ffn_swapped = true;
    return m;
}

gguf_naming gguf_naming_of(const gguf *g)
{
    gguf_text arch = { 0 };
    gguf_naming m;

    gguf_get_text(g, "general.architecture", &arch);
    m = gguf_naming_for(gguf_text_is(arch, "clip") ? "clip" : gguf_text_is(arch, "whisper") ? "whisper" : "");
    m.ffn_swapped = m.ffn_swapped && is_ffn_swapped(g);
    return m;
}

/* name against pattern: the digits that '#' stands for, and what follows ("", ".weight", ".bias"). */
static bool match(const char *pattern, const char *name, const char **digits, int *n_digit, const char **rest)
{
    *n_digit = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern) return false;
            continue;
        }
        *digits = name;
        while (*name >= '0' && *name <= '9' && *n_digit < 6) {
            name++;
            ++*n_digit;
        }
        if (!*n_digit) return false;
    }
    *rest = name;
    return !*name || !strcmp(name, ".weight") || !strcmp(name, ".bias");
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* The official name of a line; the two of a feed-forward change places where the file has them so. */
static const char *official_of(const gguf_naming *m, size_t i)
{
    const char *official = m->table[i].official;

    if (m->ffn_swapped && ends_with(official, ".mlp.fc1")) return "vpm.encoder.layers.#.mlp.fc2";
    if (m->ffn_swapped && ends_with(official, ".mlp.fc2")) return "vpm.encoder.layers.#.mlp.fc1";
    return official;
}

/* A pattern with the digits in the place of '#', and what follows. */
static void fill(char out[OFFICIAL_NAME_MAX], const char *pattern, const char *digits, int n_digit, const char *rest)
{
    const char *hash = strchr(pattern, '#');

    if (hash) snprintf(out, OFFICIAL_NAME_MAX, "%.*s%.*s%s%s", (int)(hash - pattern), pattern, n_digit, digits, hash + 1, rest);
    else snprintf(out, OFFICIAL_NAME_MAX, "%s%s", pattern, rest);
}

const char *gguf_official_name(const gguf_naming *m, const char *name, char out[OFFICIAL_NAME_MAX])
{
    const char *digits = "", *rest = "";
    int n_digit = 0;

    for (size_t i = 0; i < m->n; i++) {
        if (!match(m->table[i].gguf, name, &digits, &n_digit, &rest)) continue;
        fill(out, official_of(m, i), digits, n_digit, rest);
        return out;
    }
    return name;
}

const char *gguf_name_of(const gguf_naming *m, const char *official, char out[OFFICIAL_NAME_MAX])
{
    const char *digits = "", *rest = "";
    int n_digit = 0;

    for (size_t i = 0; i < m->n; i++) {
        if (!match(official_of(m, i), official, &digits, &n_digit, &rest)) continue;
        fill(out, m->table[i].gguf, digits, n_digit, rest);
        return out;
    }
    return NULL;
}
