/* What a GGUF file says beside its tensors (gguf_keys.h). */
#include "models/gguf_keys.h"

#include <jansson.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/file.h"
#include "models/gguf_layout.h"

enum { TEMPLATE_MAX = 16 << 20, QUANTIZATION_VERSION = 2 };

static void put_text(gguf_writer *w, const char *key, const char *s) { gguf_put_text(w, key, s, strlen(s)); }

static void put_general(gguf_writer *w, const char *arch, const char *name, const char *description, const file_type *type)
{
    put_text(w, "general.architecture", arch);
    if (*description) { /* encoders' own converters write no more */
        put_text(w, "general.description", description);
    } else {
        put_text(w, "general.type", "model");
        put_text(w, "general.name", name);
    }
    gguf_put_u32(w, "general.file_type", type->id);
    if (!*description || file_type_is_quantised(type)) gguf_put_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
}

/* ---- the language model ----------------------------------------------------------------------------------------- */

typedef struct key {
    char s[96];
} key;

static key of(const char *arch, const char *name)
{
    key k;

    snprintf(k.s, sizeof k.s, "%s.%s", arch, name);
    return k;
}

static void put_rope(gguf_writer *w, const char *arch, const llm_config *l)
{
    gguf_put_u32(w, of(arch, "rope.dimension_count").s, (uint32_t)l->head_dim);
    gguf_put_f32(w, of(arch, "rope.freq_base").s, (float)l->rope_theta);
    if (!l->rope_factor) return;
    put_text(w, of(arch, "rope.scaling.type").s, "longrope");
    gguf_put_u32(w, of(arch, "rope.scaling.original_context_length").s, (uint32_t)l->n_ctx_train);
    gguf_put_f32(w, of(arch, "rope.scaling.attn_factor").s, l->rope_attn_factor);
}

static void put_llm(gguf_writer *w, const model_config *c, const char *name, const file_type *type)
{
    const char *arch = layout_arch(c);
    const llm_config *l = &c->llm;

    put_general(w, arch, name, "", type);
    gguf_put_u32(w, of(arch, "vocab_size").s, (uint32_t)l->n_vocab);
    gguf_put_u32(w, of(arch, "context_length").s, (uint32_t)l->n_ctx_train);
    gguf_put_u32(w, of(arch, "embedding_length").s, (uint32_t)l->n_embd);
    gguf_put_u32(w, of(arch, "block_count").s, (uint32_t)l->n_layer);
    gguf_put_u32(w, of(arch, "feed_forward_length").s, (uint32_t)l->n_ff);
    gguf_put_u32(w, of(arch, "attention.head_count").s, (uint32_t)l->n_head);
    gguf_put_u32(w, of(arch, "attention.head_count_kv").s, (uint32_t)l->n_kv_head);
    gguf_put_u32(w, of(arch, "attention.key_length").s, (uint32_t)l->head_dim);
    gguf_put_u32(w, of(arch, "attention.value_length").s, (uint32_t)l->head_dim);
    gguf_put_f32(w, of(arch, "attention.layer_norm_rms_epsilon").s, l->rms_eps);
    put_rope(w, arch, l);
    if (strcmp(arch, "minicpm")) return;
    gguf_put_f32(w, "minicpm.embedding_scale", l->embd_scale);
    gguf_put_f32(w, "minicpm.residual_scale", l->residual_scale);
    gguf_put_f32(w, "minicpm.logit_scale", l->logit_divisor);
}

/* ---- encoders --------------------------------------------------------------------------------------------------- */

/* clip.minicpmv_version; -1: there is none for this member. */
static int32_t vision_version(model_member m)
{
    switch (m) {
    case MEMBER_O45: return 100045;
    case MEMBER_V45: return 6;
    case MEMBER_V40: return 5;
    case MEMBER_O26: return 4;
    case MEMBER_V26: return 3;
    case MEMBER_V25: return 2;
    default: return -1;
    }
}

static mo_status put_vision(gguf_writer *w, const model_config *c, const char *name, const file_type *type, mo_error *err)
{
    static const float half[3] = { 0.5f, 0.5f, 0.5f };
    const int32_t version = vision_version(c->member);
    const vision_config *v = &c->vision;

    if (version < 0)
        return mo_fail(err, MO_E_UNSUPPORTED, "the vision encoder of %s has no GGUF form that is known here", model_member_name(c->member));
    put_general(w, "clip", name, "image encoder for MiniCPM-V", type);
    gguf_put_bool(w, "clip.has_text_encoder", false);
    gguf_put_bool(w, "clip.has_vision_encoder", true);
    gguf_put_bool(w, "clip.has_minicpmv_projector", true);
    put_text(w, "clip.projector_type", "resampler");
    gguf_put_i32(w, "clip.minicpmv_version", version);
    gguf_put_u32(w, "clip.minicpmv_query_num", (uint32_t)c->resampler.n_query);
    gguf_put_u32(w, "clip.vision.image_size", (uint32_t)c->slice.scale_resolution); /* of a slice, not of the position table */
    gguf_put_u32(w, "clip.vision.patch_size", (uint32_t)v->patch_size);
    gguf_put_u32(w, "clip.vision.embedding_length", (uint32_t)v->n_embd);
    gguf_put_u32(w, "clip.vision.feed_forward_length", (uint32_t)v->n_ff);
    gguf_put_u32(w, "clip.vision.projection_dim", 0);
    gguf_put_u32(w, "clip.vision.attention.head_count", (uint32_t)v->n_head);
    gguf_put_f32(w, "clip.vision.attention.layer_norm_epsilon", v->ln_eps);
    gguf_put_u32(w, "clip.vision.block_count", (uint32_t)v->n_layer);
    gguf_put_reals(w, "clip.vision.image_mean", half, 3);
    gguf_put_reals(w, "clip.vision.image_std", half, 3);
    gguf_put_bool(w, "clip.use_gelu", true);
    return MO_OK;
}

static void put_audio(gguf_writer *w, const model_config *c, const char *name, const file_type *type)
{
    const audio_config *a = &c->audio;

    put_general(w, "whisper", name, "audio encoder for MiniCPM-omni", type);
    gguf_put_u32(w, "encoder_attention_heads", (uint32_t)a->n_head);
    gguf_put_u32(w, "encoder_ffn_dim", (uint32_t)a->n_ff);
    gguf_put_u32(w, "encoder_layers", (uint32_t)a->n_layer);
    gguf_put_u32(w, "num_hidden_layers", (uint32_t)a->n_layer);
    gguf_put_u32(w, "d_model", (uint32_t)a->n_embd);
    if (a->n_pos != 1500) gguf_put_u32(w, "max_source_positions", (uint32_t)a->n_pos); /* what readers take for granted */
    gguf_put_u32(w, "audio_pool_step", (uint32_t)a->pool_step);
    gguf_put_u32(w, "use_f16", type->base != MO_F32);
}

mo_status gguf_put_config(gguf_writer *w, const model_config *c, gguf_role role, const char *name, const file_type *type, mo_error *err)
{
    if (role == GGUF_ROLE_VISION) return put_vision(w, c, name, type, err);
    if (role == GGUF_ROLE_AUDIO) put_audio(w, c, name, type);
    else put_llm(w, c, name, type);
    return MO_OK;
}

void gguf_put_filters(gguf_writer *w, const float *filters, int32_t n_mel, int32_t n_bin)
{
    gguf_put_u32(w, "n_mel", (uint32_t)n_mel);
    gguf_put_u32(w, "n_fft", (uint32_t)n_bin); /* so called there */
    gguf_put_reals(w, "filters", filters, (size_t)n_mel * (size_t)n_bin);
}

/* ---- tokenizer -------------------------------------------------------------------------------------------------- */

/* {"chat_template": "…"} or a list of {"name", "template"}, of which "default" counts: mo_strdup'd, NULL if there is none. */
static mo_status template_in_json(char **out, const char *path, mo_error *err)
{
    json_t *root, *t;
    size_t n, i;
    char *text;
    const char *found = NULL;
    mo_status st = file_read(&text, &n, path, TEMPLATE_MAX, err);

    if (st != MO_OK) return st;
    root = json_loadb(text, n, 0, NULL);
    mo_free(text);
    t = json_object_get(root, "chat_template");
    if (json_is_string(t)) found = json_string_value(t);
    for (i = 0; i < json_array_size(t); i++) {
        const json_t *one = json_array_get(t, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && !strcmp(name, "default")) found = json_string_value(json_object_get(one, "template"));
    }
    if (found && !(*out = mo_strdup(found))) st = mo_fail(err, MO_E_NOMEM, "no memory for a chat template");
    json_decref(root);
    return st;
}

/* *out NULL: the folder has none. */
static mo_status read_template(char **out, const char *dir, mo_error *err)
{
    static const char *const files[] = { "chat_template.jinja", "chat_template.json", "tokenizer_config.json" };
    mo_status st = MO_OK;
    size_t n;

    *out = NULL;
    for (int i = 0; i < 3 && st == MO_OK && !*out; i++) {
        char *path = path_join(dir, files[i]);
        if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
        if (file_exists(path)) st = i ? template_in_json(out, path, err) : file_read(out, &n, path, TEMPLATE_MAX, err);
        mo_free(path);
    }
    return st;
}

static void put_id(gguf_writer *w, const char *k, int32_t id)
{
    if (id >= 0) gguf_put_u32(w, k, (uint32_t)id);
}

/* gguf_text and tokenizer_text are the same two members. */
static gguf_text *texts_of(const tokenizer_text *t, size_t n)
{
    gguf_text *out = mo_calloc(n + 1, sizeof *out);

    for (size_t i = 0; out && i < n; i++) out[i] = (gguf_text){ t[i].s, t[i].n };
    return out;
}

static mo_status put_vocabulary(gguf_writer *w, const tokenizer_lists *l, mo_error *err)
{
    gguf_text *tokens = texts_of(l->tokens, l->n_token), *merges = texts_of(l->merges, l->n_merge);
    mo_status st = MO_OK;

    if (!tokens || !merges) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for a vocabulary");
    } else {
        put_text(w, "tokenizer.ggml.model", "gpt2");
        put_text(w, "tokenizer.ggml.pre", l->pre);
        gguf_put_texts(w, "tokenizer.ggml.tokens", tokens, l->n_token);
        gguf_put_ints(w, "tokenizer.ggml.token_type", l->types, l->n_token);
        gguf_put_texts(w, "tokenizer.ggml.merges", merges, l->n_merge);
        put_id(w, "tokenizer.ggml.bos_token_id", l->bos);
        put_id(w, "tokenizer.ggml.eos_token_id", l->eos);
        put_id(w, "tokenizer.ggml.padding_token_id", l->pad);
        put_id(w, "tokenizer.ggml.unknown_token_id", l->unk);
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", l->add_bos);
    }
    mo_free(tokens);
    mo_free(merges);
    return st;
}

mo_status gguf_put_tokenizer(gguf_writer *w, const tokenizer *t, int32_t n_vocab, const char *dir, mo_error *err)
{
    tokenizer_dump d;
    char *template = NULL;
    mo_status st = tokenizer_dump_lists(&d, t, n_vocab, err);

    if (st != MO_OK) return st;
    st = put_vocabulary(w, &d.lists, err);
    if (st == MO_OK && dir) st = read_template(&template, dir, err);
    if (template) put_text(w, "tokenizer.chat_template", template);
    mo_free(template);
    tokenizer_dump_free(&d);
    return st;
}
