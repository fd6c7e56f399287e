/* The official module trees as lists of tensors (spec: language-models 3.1, vision 4, audio-encoder, tts-lm; the exact
 * lists for two configurations are ../shared/golden/tensors). One function a module, in the module's own order. */
#include "cli/synth_tensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

/* Append a tensor of n_dim dimensions, the rest ignored. */
static void put4(synth_list *l, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3, const char *name)
{
    synth_tensor *t;

    if (l->failed) return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 256;
        synth_tensor *more = mo_realloc(l->list, cap * sizeof *more);
        if (!more) {
            l->failed = true;
            return;
        }
        l->list = more;
        l->cap = cap;
    }
    t = &l->list[l->n++];
    *t = (synth_tensor){ .n_dim = n_dim, .dim = { d0, d1, d2, d3 }, .n = 1 };
    memcpy(t->name, name, sizeof t->name);
    for (int i = 0; i < n_dim; i++) t->n *= (uint64_t)t->dim[i];
}

static void vec(synth_list *l, int64_t n, const char *fmt, ...) MO_PRINTF(3, 4);
static void mat(synth_list *l, int64_t n_row, int64_t n_col, const char *fmt, ...) MO_PRINTF(4, 5);
static void conv1d(synth_list *l, int64_t n_out, int64_t n_in, int64_t k, const char *fmt, ...) MO_PRINTF(5, 6);
static void conv2d(synth_list *l, int64_t n_out, int64_t n_in, int64_t k, const char *fmt, ...) MO_PRINTF(5, 6);

#define PUT(...)                                                                                                                           \
    do {                                                                                                                                   \
        char name[sizeof l->list->name] = "";                                                                                              \
        va_list ap;                                                                                                                        \
        va_start(ap, fmt);                                                                                                                 \
        vsnprintf(name, sizeof name, fmt, ap);                                                                                             \
        va_end(ap);                                                                                                                        \
        put4(l, __VA_ARGS__, name);                                                                                                        \
    } while (0)

static void vec(synth_list *l, int64_t n, const char *fmt, ...) { PUT(1, n, 0, 0, 0); }
static void mat(synth_list *l, int64_t n_row, int64_t n_col, const char *fmt, ...) { PUT(2, n_row, n_col, 0, 0); }
static void conv1d(synth_list *l, int64_t n_out, int64_t n_in, int64_t k, const char *fmt, ...) { PUT(3, n_out, n_in, k, 0); }
static void conv2d(synth_list *l, int64_t n_out, int64_t n_in, int64_t k, const char *fmt, ...) { PUT(4, n_out, n_in, k, k); }

/* NAME.weight [n_out, n_in], NAME.bias [n_out] */
static void linear(synth_list *l, int64_t n_out, int64_t n_in, const char *prefix, const char *name)
{
    mat(l, n_out, n_in, "%s%s.weight", prefix, name);
    vec(l, n_out, "%s%s.bias", prefix, name);
}

static void layer_norm(synth_list *l, int64_t n, const char *prefix, const char *name)
{
    vec(l, n, "%s%s.weight", prefix, name);
    vec(l, n, "%s%s.bias", prefix, name);
}

/* One decoder block: the language model's and the TTS model's. */
typedef struct block_shape {
    int64_t n_embd, n_q, n_kv, n_ff, head_dim; /* n_q, n_kv: rows of q_proj and of k_proj, v_proj */
    bool has_qkv_bias, has_qk_norm;
} block_shape;

static void decoder_block(synth_list *l, const block_shape *s, const char *p)
{
    static const char *const qkv[] = { "q_proj", "k_proj", "v_proj" };

    for (int i = 0; i < 3; i++) {
        int64_t n = i ? s->n_kv : s->n_q;
        mat(l, n, s->n_embd, "%sself_attn.%s.weight", p, qkv[i]);
        if (s->has_qkv_bias) vec(l, n, "%sself_attn.%s.bias", p, qkv[i]);
    }
    mat(l, s->n_embd, s->n_q, "%sself_attn.o_proj.weight", p);
    if (s->has_qk_norm) {
        vec(l, s->head_dim, "%sself_attn.q_norm.weight", p);
        vec(l, s->head_dim, "%sself_attn.k_norm.weight", p);
    }
    mat(l, s->n_ff, s->n_embd, "%smlp.gate_proj.weight", p);
    mat(l, s->n_ff, s->n_embd, "%smlp.up_proj.weight", p);
    mat(l, s->n_embd, s->n_ff, "%smlp.down_proj.weight", p);
    vec(l, s->n_embd, "%sinput_layernorm.weight", p);
    vec(l, s->n_embd, "%spost_attention_layernorm.weight", p);
}

static void list_llm(synth_list *l, const llm_config *c)
{
    block_shape s = {
        c->n_embd,     (int64_t)c->n_head * c->head_dim, (int64_t)c->n_kv_head * c->head_dim, c->n_ff, c->head_dim, c->has_qkv_bias,
        c->has_qk_norm
    };
    char p[48];

    mat(l, c->n_vocab, c->n_embd, "%smodel.embed_tokens.weight", c->prefix);
    for (int il = 0; il < c->n_layer; il++) {
        snprintf(p, sizeof p, "%smodel.layers.%d.", c->prefix, il);
        decoder_block(l, &s, p);
    }
    vec(l, c->n_embd, "%smodel.norm.weight", c->prefix);
    if (!c->is_tied) mat(l, c->n_vocab, c->n_embd, "%slm_head.weight", c->prefix);
}

static void list_vision(synth_list *l, const vision_config *c)
{
    int64_t side = c->image_size / c->patch_size, d = c->n_embd;
    char p[48];

    conv2d(l, d, 3, c->patch_size, "vpm.embeddings.patch_embedding.weight");
    vec(l, d, "vpm.embeddings.patch_embedding.bias");
    mat(l, side * side, d, "vpm.embeddings.position_embedding.weight");
    for (int il = 0; il < c->n_layer; il++) {
        snprintf(p, sizeof p, "vpm.encoder.layers.%d.", il);
        linear(l, d, d, p, "self_attn.k_proj");
        linear(l, d, d, p, "self_attn.v_proj");
        linear(l, d, d, p, "self_attn.q_proj");
        linear(l, d, d, p, "self_attn.out_proj");
        layer_norm(l, d, p, "layer_norm1");
        linear(l, c->n_ff, d, p, "mlp.fc1");
        linear(l, d, c->n_ff, p, "mlp.fc2");
        layer_norm(l, d, p, "layer_norm2");
    }
    layer_norm(l, d, "vpm.", "post_layernorm");
}

static void list_resampler(synth_list *l, const resampler_config *c)
{
    int64_t d = c->n_embd;

    mat(l, c->n_query, d, "resampler.query");
    mat(l, d, d, "resampler.proj");
    mat(l, d, c->kv_dim, "resampler.kv_proj.weight");
    mat(l, 3 * d, d, "resampler.attn.in_proj_weight");
    vec(l, 3 * d, "resampler.attn.in_proj_bias");
    linear(l, d, d, "resampler.", "attn.out_proj");
    layer_norm(l, d, "resampler.", "ln_q");
    layer_norm(l, d, "resampler.", "ln_kv");
    layer_norm(l, d, "resampler.", "ln_post");
}

static void list_audio(synth_list *l, const audio_config *c, int64_t n_llm)
{
    int64_t d = c->n_embd;
    char p[48];

    conv1d(l, d, c->n_mel, 3, "apm.conv1.weight");
    vec(l, d, "apm.conv1.bias");
    conv1d(l, d, d, 3, "apm.conv2.weight");
    vec(l, d, "apm.conv2.bias");
    mat(l, c->n_pos, d, "apm.embed_positions.weight");
    for (int il = 0; il < c->n_layer; il++) {
        snprintf(p, sizeof p, "apm.layers.%d.", il);
        mat(l, d, d, "%sself_attn.k_proj.weight", p); /* Whisper: keys have no bias */
        linear(l, d, d, p, "self_attn.v_proj");
        linear(l, d, d, p, "self_attn.q_proj");
        linear(l, d, d, p, "self_attn.out_proj");
        layer_norm(l, d, p, "self_attn_layer_norm");
        linear(l, c->n_ff, d, p, "fc1");
        linear(l, d, c->n_ff, p, "fc2");
        layer_norm(l, d, p, "final_layer_norm");
    }
    layer_norm(l, d, "apm.", "layer_norm");
    linear(l, n_llm, c->n_ff / 4, "audio_projection_layer.", "linear1");
    linear(l, n_llm, n_llm, "audio_projection_layer.", "linear2");
}

static void list_tts(synth_list *l, const tts_config *c)
{
    block_shape s = { c->n_embd, c->n_embd, (int64_t)c->n_kv_head * c->head_dim, c->n_ff, c->head_dim, false, false };
    int64_t d = c->n_embd;
    char p[48];

    mat(l, c->n_text, d, "tts.emb_text.weight");
    mat(l, 32000, d, "tts.model.embed_tokens.weight"); /* never used: the Llama class has it with its default vocabulary */
    for (int il = 0; il < c->n_layer; il++) {
        snprintf(p, sizeof p, "tts.model.layers.%d.", il);
        decoder_block(l, &s, p);
    }
    vec(l, d, "tts.model.norm.weight");
    linear(l, d, c->llm_dim, "tts.projector_spk.", "linear1");
    linear(l, d, d, "tts.projector_spk.", "linear2");
    linear(l, d, c->llm_dim, "tts.projector_semantic.", "linear1");
    linear(l, d, d, "tts.projector_semantic.", "linear2");
    for (int i = 0; i < c->n_vq; i++) mat(l, c->n_code, d, "tts.emb_code.%d.weight", i);
    for (int i = 0; i < c->n_vq; i++) {
        mat(l, c->n_code, 1, "tts.head_code.%d.parametrizations.weight.original0", i);
        mat(l, c->n_code, d, "tts.head_code.%d.parametrizations.weight.original1", i);
    }
}

mo_status synth_list_make(synth_list *out, const model_config *c, mo_error *err)
{
    memset(out, 0, sizeof *out);
    list_llm(out, &c->llm);
    if (c->has_vision) {
        if (c->member == MEMBER_V20 || c->member == MEMBER_V10)
            return mo_fail(err, MO_E_UNSUPPORTED, "the vision tower of %s cannot be written; set init_vision to false",
                           model_member_name(c->member));
        list_vision(out, &c->vision);
        list_resampler(out, &c->resampler);
    }
    if (c->has_audio) list_audio(out, &c->audio, c->llm.n_embd);
    if (c->has_tts && c->member == MEMBER_O45) list_tts(out, &c->tts);
    return out->failed ? mo_fail(err, MO_E_NOMEM, "no memory for the list of tensors") : MO_OK;
}

void synth_list_free(synth_list *l)
{
    mo_free(l->list);
    memset(l, 0, sizeof *l);
}
