/* Sizes and switches from GGUF files (config_gguf.h). What a tensor's shape tells is taken from the shape: metadata may be
 * missing or wrong (a vision file's image_size is the size of a slice, not of the position table), a shape is what is there.
 */
#include "models/config_gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "models/gguf_kind.h"

enum { REQUIRED = INT32_MIN };

/* Reads values and remembers the first thing that was wrong. `arch` stands before keys that begin with a dot. */
typedef struct reader {
    const gguf *g;
    const tensors *ts;
    char arch[32];
    mo_error *err;
    mo_status st;
} reader;

static const char *full_key(const reader *r, const char *key, char out[96])
{
    snprintf(out, 96, "%s%s", *key == '.' ? r->arch : "", key);
    return out;
}

static void fail(reader *r, mo_status st, const char *sentence)
{
    if (r->st == MO_OK) r->st = mo_fail(r->err, st, "'%.300s': %s", r->g->file, sentence);
}

static void must(reader *r, bool fact, const char *sentence)
{
    if (!fact) fail(r, MO_E_FORMAT, sentence);
}

static int32_t get_int(reader *r, const char *key, int32_t def, int32_t lo, int32_t hi)
{
    char full[96];
    int64_t v;

    full_key(r, key, full);
    if (r->st != MO_OK) return 0;
    if (!gguf_find(r->g, full)) {
        if (def == REQUIRED) r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s' has no key '%s'", r->g->file, full);
        return def;
    }
    if (gguf_get_int(r->g, full, &v) && v >= lo && v <= hi) return (int32_t)v;
    r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': '%s' must be an integer from %d to %d", r->g->file, full, (int)lo, (int)hi);
    return 0;
}

static double get_real(reader *r, const char *key, double def, double lo, double hi)
{
    char full[96];
    double v;

    full_key(r, key, full);
    if (r->st != MO_OK || !gguf_find(r->g, full)) return def;
    if (gguf_get_real(r->g, full, &v) && v >= lo && v <= hi) return v;
    r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': '%s' must be a number from %g to %g", r->g->file, full, lo, hi);
    return def;
}

/* A size that a tensor tells: its dimension `i`. */
static int32_t shape_of(reader *r, const char *name, int32_t i, int32_t hi)
{
    const tensor *t;

    if (r->st != MO_OK || (r->st = tensors_get(r->ts, name, &t, r->err)) != MO_OK) return 0;
    if (i < t->n_dim && t->dim[i] >= 1 && t->dim[i] <= hi) return (int32_t)t->dim[i];
    r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': tensor '%s' has an impossible shape", r->g->file, name);
    return 0;
}

static reader reader_of(const gguf *g, const tensors *ts, mo_error *err)
{
    reader r = { .g = g, .ts = ts, .err = err };
    gguf_text arch = { 0 };

    gguf_get_text(g, "general.architecture", &arch);
    snprintf(r.arch, sizeof r.arch, "%.*s", (int)(arch.n < 31 ? arch.n : 31), arch.n ? arch.s : "");
    return r;
}

/* ---- what a file is --------------------------------------------------------------------------------------------- */

static const char *const llm_archs[] = { "qwen3", "qwen2", "llama", "minicpm" };

gguf_role gguf_role_of(const gguf *g)
{
    switch (gguf_kind_of(g)) {
    case GGUF_KIND_LLM: return GGUF_ROLE_LLM;
    case GGUF_KIND_VISION: return GGUF_ROLE_VISION;
    case GGUF_KIND_AUDIO: return GGUF_ROLE_AUDIO;
    default: return GGUF_ROLE_OTHER;
    }
}

/* Which tokens the vocabulary has: what tells members of the same backbone apart. */
typedef struct vocabulary {
    bool listen, tts_bos, spk_bos, slice, im_start, header;
} vocabulary;

static vocabulary look_at_vocabulary(reader *r)
{
    vocabulary v = { 0 };
    const struct {
        const char *text;
        bool *has;
    } known[] = { { "<|listen|>", &v.listen }, { "<|tts_bos|>", &v.tts_bos },   { "<|spk_bos|>", &v.spk_bos },
                  { "<slice>", &v.slice },     { "<|im_start|>", &v.im_start }, { "<|start_header_id|>", &v.header } };
    gguf_text *token;
    size_t n;

    if (r->st != MO_OK || (r->st = gguf_get_texts(r->g, "tokenizer.ggml.tokens", &token, &n, r->err)) != MO_OK) return v;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (gguf_text_is(token[i], known[k].text)) *known[k].has = true;
    mo_free(token);
    return v;
}

/* clip.minicpmv_version, as the converters write it; arch NULL: any. */
typedef struct known_version {
    int32_t version;
    const char *arch;
    model_member member;
} known_version;

static const known_version known_versions[] = {
    { 100045, NULL, MEMBER_O45 }, { 6, "qwen3", MEMBER_V45 }, { 6, "llama", MEMBER_V40 }, { 5, NULL, MEMBER_V40 },
    { 40, NULL, MEMBER_V40 },     { 4, NULL, MEMBER_O26 },    { 3, NULL, MEMBER_V26 },    { 2, NULL, MEMBER_V25 },
    { 25, NULL, MEMBER_V25 },     { 1, NULL, MEMBER_V20 },    { 20, NULL, MEMBER_V20 },
};

/* Without a version, or with one that several members share (26, 45, 451): by backbone and vocabulary. */
static model_member member_by_vocabulary(const char *arch, const vocabulary *v)
{
    if (!v->slice) return MEMBER_TEXT;
    if (!strcmp(arch, "qwen3")) return v->listen && v->tts_bos ? MEMBER_O45 : MEMBER_V45;
    if (!strcmp(arch, "qwen2")) return v->spk_bos ? MEMBER_O26 : MEMBER_V26;
    if (!strcmp(arch, "llama")) return v->header ? MEMBER_V25 : MEMBER_V40;
    return MEMBER_V20;
}

static void read_member(reader *r, model_config *c, const gguf *vision)
{
    vocabulary v;
    int64_t version = -1;
    bool known = false;

    for (size_t i = 0; i < sizeof llm_archs / sizeof *llm_archs; i++) known |= !strcmp(r->arch, llm_archs[i]);
    if (!known) {
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED,
                        "'%.300s' has architecture '%s'; this build knows the language models qwen3, qwen2, llama and minicpm", r->g->file,
                        r->arch);
        return;
    }
    snprintf(c->model_type, sizeof c->model_type, "%s", r->arch);
    if (vision && gguf_get_int(vision, "clip.minicpmv_version", &version)) {
        snprintf(c->version, sizeof c->version, "%" PRId64, version);
        for (size_t i = 0; i < sizeof known_versions / sizeof *known_versions && !c->member; i++)
            if (known_versions[i].version == version && (!known_versions[i].arch || !strcmp(known_versions[i].arch, r->arch)))
                c->member = known_versions[i].member;
        if (c->member) return;
    }
    v = look_at_vocabulary(r);
    c->member = member_by_vocabulary(r->arch, &v);
    if (vision && c->member == MEMBER_TEXT)
        fail(r, MO_E_FORMAT, "there is a vision encoder, but the vocabulary has no token <slice>: the files do not belong together");
}

/* ---- the language model ----------------------------------------------------------------------------------------- */

/* MiniCPM4-3B's rotary factors, which converted files may lack (spec: language-models 5.3; from its config.json). */
static const float minicpm4_factor[64] = {
    0.9977997200264581f, 1.014658295992452f,  1.0349680404997148f, 1.059429246056193f,  1.0888815016813513f, 1.1243301355211495f,
    1.166977103606075f,  1.2182568066927284f, 1.2798772354275727f, 1.3538666751582975f, 1.4426259039919596f, 1.5489853358570191f,
    1.6762658237220625f, 1.8283407612492941f, 2.0096956085876183f, 2.225478927469756f,  2.481536379650452f,  2.784415934557119f,
    3.1413289096347365f, 3.560047844772632f,  4.048719380066383f,  4.615569542115128f,  5.2684819496549835f, 6.014438591970396f,
    6.858830049237097f,  7.804668263503327f,  8.851768731513417f,  9.99600492938444f,   11.228766118181639f, 12.536757560834843f,
    13.902257701387796f, 15.303885189125953f, 16.717837610115794f, 18.119465097853947f, 19.484965238406907f, 20.792956681060105f,
    22.02571786985731f,  23.16995406772833f,  24.217054535738416f, 25.16289275000465f,  26.007284207271347f, 26.753240849586767f,
    27.40615325712662f,  27.973003419175363f, 28.461674954469114f, 28.880393889607006f, 29.237306864684626f, 29.540186419591297f,
    29.79624387177199f,  30.01202719065413f,  30.193382037992453f, 30.34545697551969f,  30.47273746338473f,  30.579096895249787f,
    30.66785612408345f,  30.741845563814174f, 30.80346599254902f,  30.85474569563567f,  30.897392663720595f, 30.932841297560394f,
    30.962293553185553f, 30.986754758742034f, 31.007064503249293f, 31.02392307921529f,
};

static bool is_minicpm4_3b(const reader *r, const llm_config *l)
{
    return !strcmp(r->arch, "llama") && l->n_embd == 2560 && l->n_layer == 32 && l->n_head == 32 && l->n_kv_head == 2 &&
           l->head_dim == 128 && l->n_vocab == 73448;
}

/* Divisors of the frequencies: a tensor of head_dim / 2 numbers. */
static void read_rope_factors(reader *r, llm_config *l)
{
    static const char *const name[] = { "rope_factors_long.weight", "rope_factors_short.weight", "rope_freqs.weight" };
    const int32_t n = l->head_dim / 2;
    const tensor *t = NULL;
    const void *from;

    for (int i = 0; i < 3 && !t; i++) t = tensors_find(r->ts, name[i]);
    if (t)
        must(r, t->type == MO_F32 && t->n_dim == 1 && t->dim[0] == n,
             "the tensor of rotary factors must be F32 and have half a head's length");
    if (r->st != MO_OK || (!t && !is_minicpm4_3b(r, l))) return;
    from = t ? t->data : minicpm4_factor;
    if (!(l->rope_factor = mo_calloc((size_t)n, sizeof(float)))) {
        fail(r, MO_E_NOMEM, "no memory for rotary factors");
        return;
    }
    memcpy(l->rope_factor, from, (size_t)n * sizeof(float));
    for (int32_t i = 0; i < n; i++)
        must(r, l->rope_factor[i] >= 1e-6f && l->rope_factor[i] <= 1e6f, "rotary factors must be numbers from 1e-6 to 1e6");
}

static void read_rope(reader *r, llm_config *l)
{
    char full[96];
    gguf_text type = { "none", 4 };

    l->rope_theta = get_real(r, ".rope.freq_base", 10000, 1, 1e12);
    l->rope_attn_factor = (float)get_real(r, ".rope.scaling.attn_factor", 1, 1e-3, 1e3);
    must(r, get_int(r, ".rope.dimension_count", l->head_dim, 1, 1 << 16) == l->head_dim,
         "rope.dimension_count is not the head's length; this build rotates whole heads");
    gguf_get_text(r->g, full_key(r, ".rope.scaling.type", full), &type);
    if (!gguf_text_is(type, "none") && !gguf_text_is(type, "longrope"))
        fail(r, MO_E_UNSUPPORTED, "its rope.scaling.type is one this build does not know; it knows none and longrope");
    if (r->st == MO_OK) read_rope_factors(r, l);
}

static void read_scales(reader *r, llm_config *l)
{
    l->embd_scale = l->residual_scale = l->logit_divisor = 1;
    if (strcmp(r->arch, "minicpm") || r->st != MO_OK) return;
    l->embd_scale = (float)get_real(r, ".embedding_scale", 12, 1e-6, 1e6);
    l->residual_scale = (float)get_real(r, ".residual_scale", 1.4 / sqrt(l->n_layer), 1e-6, 1e6);
    l->logit_divisor = (float)get_real(r, ".logit_scale", l->n_embd / 256.0, 1e-6, 1e6);
}

static void read_llm(reader *r, llm_config *l)
{
    strcpy(l->prefix, "llm."); /* as gguf_names.c has it */
    l->n_embd = get_int(r, ".embedding_length", REQUIRED, 1, 1 << 17);
    l->n_layer = get_int(r, ".block_count", REQUIRED, 1, 1024);
    l->n_head = get_int(r, ".attention.head_count", REQUIRED, 1, 1024);
    l->n_kv_head = get_int(r, ".attention.head_count_kv", l->n_head, 1, 1024);
    l->n_ff = get_int(r, ".feed_forward_length", REQUIRED, 1, 1 << 20);
    l->n_ctx_train = get_int(r, ".context_length", 4096, 1, 1 << 28);
    l->rms_eps = (float)get_real(r, ".attention.layer_norm_rms_epsilon", 1e-6, 1e-12, 1e-1);
    l->n_vocab = shape_of(r, "llm.model.embed_tokens.weight", 0, 1 << 24);
    if (r->st != MO_OK) return;
    must(r, l->n_head % l->n_kv_head == 0, "attention.head_count must be a multiple of attention.head_count_kv");
    l->head_dim = get_int(r, ".attention.key_length", l->n_embd / l->n_head, 2, 1024);
    must(r, l->head_dim >= 2 && l->head_dim % 2 == 0, "a head's length must be even");
    must(r, l->head_dim <= HEAD_DIM_MAX, "a head is longer than 512, the longest this build knows");
    must(r, get_int(r, ".attention.value_length", l->head_dim, 1, 1024) == l->head_dim, "attention.key_length and value_length differ");
    l->is_tied = !tensors_find(r->ts, "llm.lm_head.weight");
    l->has_qk_norm = tensors_find(r->ts, "llm.model.layers.0.self_attn.q_norm.weight");
    l->has_qkv_bias = tensors_find(r->ts, "llm.model.layers.0.self_attn.q_proj.bias");
    l->rope_pairs = !strcmp(r->arch, "llama") || !strcmp(r->arch, "minicpm"); /* their converters permute q and k */
    read_scales(r, l);
    if (r->st == MO_OK) read_rope(r, l);
}

/* ---- encoders --------------------------------------------------------------------------------------------------- */

static void read_vision(reader *r, model_config *c)
{
    vision_config *v = &c->vision;
    int32_t n_pos, side;

    if (c->member == MEMBER_V20 || c->member == MEMBER_V10) { /* interpolated positions, a stored query position */
        fail(r, MO_E_UNSUPPORTED, "it is the vision encoder of MiniCPM-V 2.0 or 1.0, which this build does not know: leave it out");
        return;
    }
    v->n_embd = shape_of(r, "vpm.embeddings.patch_embedding.weight", 0, 1 << 16);
    v->patch_size = shape_of(r, "vpm.embeddings.patch_embedding.weight", 3, 256);
    n_pos = shape_of(r, "vpm.embeddings.position_embedding.weight", 0, 1 << 20);
    v->n_ff = shape_of(r, "vpm.encoder.layers.0.mlp.fc1.weight", 0, 1 << 20);
    v->n_layer = get_int(r, "clip.vision.block_count", REQUIRED, 1, 1024);
    v->n_head = get_int(r, "clip.vision.attention.head_count", REQUIRED, 1, 1024);
    v->ln_eps = (float)get_real(r, "clip.vision.attention.layer_norm_epsilon", 1e-6, 1e-12, 1e-1);
    c->resampler.n_query = shape_of(r, "resampler.query", 0, 4096);
    c->resampler.n_embd = shape_of(r, "resampler.query", 1, 1 << 17);
    if (r->st != MO_OK) return;
    for (side = 1; side * side < n_pos; side++) {
    }
    must(r, side * side == n_pos, "the table of patch positions is not square");
    must(r, v->n_embd % v->n_head == 0, "the vision encoder's width is no multiple of its head count");
    must(r, v->n_embd / v->n_head <= HEAD_DIM_MAX, "the vision encoder's heads are longer than 512, the longest this build knows");
    must(r, c->resampler.n_embd == c->llm.n_embd, "the vision file was made for a language model of another width");
    must(r, c->llm.n_embd % 128 == 0, "the embedding length must be a multiple of 128 for the resampler's heads");
    v->image_size = side * v->patch_size;
    c->resampler.n_head = c->llm.n_embd / 128;
    c->resampler.kv_dim = v->n_embd;
    c->slice = (slice_config){ .max_slice_nums = 9,
                               .scale_resolution = 448,
                               .patch_size = v->patch_size,
                               .slice_mode = true,
                               .use_image_id = c->member != MEMBER_V25 };
    c->has_vision = true;
}

static void read_audio(reader *r, model_config *c)
{
    audio_config *a = &c->audio;

    a->n_embd = shape_of(r, "apm.conv1.weight", 0, 1 << 16);
    a->n_mel = shape_of(r, "apm.conv1.weight", 1, 1024);
    a->n_pos = shape_of(r, "apm.embed_positions.weight", 0, 1 << 20);
    a->n_ff = shape_of(r, "apm.layers.0.fc1.weight", 0, 1 << 20);
    a->n_layer = get_int(r, "encoder_layers", get_int(r, "num_hidden_layers", 24, 1, 1024), 1, 1024);
    a->n_head = get_int(r, "encoder_attention_heads", 16, 1, 1024);
    a->pool_step = get_int(r, "audio_pool_step", c->member == MEMBER_O26 ? 2 : 5, 1, 1024);
    a->chunk_length_s = 1; /* the files do not say; every released configuration does */
    if (r->st != MO_OK) return;
    must(r, a->n_embd % a->n_head == 0, "the audio encoder's width is no multiple of its head count");
    must(r, a->n_embd / a->n_head <= HEAD_DIM_MAX, "the audio encoder's heads are longer than 512, the longest this build knows");
    must(r, shape_of(r, "audio_projection_layer.linear2.weight", 0, 1 << 17) == c->llm.n_embd,
         "the audio file was made for a language model of another width");
    c->has_audio = true;
}

mo_status model_config_from_gguf(model_config *out, const gguf *llm, const gguf *vision, const gguf *audio, const tensors *ts,
                                 mo_error *err)
{
    reader r = reader_of(llm, ts, err);

    memset(out, 0, sizeof *out);
    read_member(&r, out, vision);
    if (r.st == MO_OK) read_llm(&r, &out->llm);
    if (r.st == MO_OK && vision) {
        r.g = vision;
        read_vision(&r, out);
    }
    if (r.st == MO_OK && audio) {
        r.g = audio;
        read_audio(&r, out);
    }
    out->stream_input = out->member == MEMBER_O45 || out->member == MEMBER_O26;
    if (r.st != MO_OK) model_config_free(out);
    return r.st;
}
