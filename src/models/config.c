/* config.json to model_config: which member of the family it is, and every size and switch with its default and its range.
 *
 * Members are told apart as in the family overview (spec: family 2.5); defaults are the released checkpoints' values where
 * the reference's class defaults are known to be wrong for them (spec: omni-session 1.2, language-models 1 and 5, vision 10.1).
 * A test checkpoint is too narrow for the width rules: its "synth": {"backbone": NAME} says which language model it has.
 */
#include "models/config.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"

enum { CONFIG_MAX_BYTES = 16 << 20, REQUIRED = INT32_MIN };

/* Reads values and remembers the first thing that was wrong, so that a list of sizes reads as a list. */
typedef struct reader {
    const char *where; /* file, for messages */
    mo_error *err;
    mo_status st;
} reader;

static const json_t *child(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v; /* null counts as absent, as in Python's `config.x or default` */
}

/* An integer in [lo, hi]; 4.0 counts as 4. */
static int32_t get_int(reader *r, const json_t *o, const char *part, const char *key, int32_t def, int32_t lo, int32_t hi)
{
    const json_t *v = child(o, key);
    double d;

    if (r->st != MO_OK) return 0;
    if (!v && def != REQUIRED) return def;
    if (!v) {
        r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s' has no %s%s", r->where, part, key);
        return 0;
    }
    d = json_number_value(v);
    if (!json_is_number(v) || d != floor(d) || d < lo || d > hi) {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        r->st = mo_fail(r->err, MO_E_FORMAT, "'%.250s': %s%s is %.60s; an integer from %d to %d is needed", r->where, part, key,
                        text ? text : "?", (int)lo, (int)hi);
        free(text); /* jansson's own allocation */
        return 0;
    }
    return (int32_t)d;
}

static double get_real(reader *r, const json_t *o, const char *part, const char *key, double def, double lo, double hi)
{
    const json_t *v = child(o, key);
    double d = json_number_value(v);

    if (r->st != MO_OK) return 0;
    if (!v) return def;
    if (!json_is_number(v) || !(d >= lo && d <= hi)) {
        r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': %s%s must be a number from %g to %g", r->where, part, key, lo, hi);
        return 0;
    }
    return d;
}

static bool get_bool(reader *r, const json_t *o, const char *part, const char *key, bool def)
{
    const json_t *v = child(o, key);

    if (r->st != MO_OK || !v) return def;
    if (!json_is_boolean(v)) r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': %s%s must be true or false", r->where, part, key);
    return json_is_true(v);
}

static const char *get_string(reader *r, const json_t *o, const char *part, const char *key, const char *def)
{
    const json_t *v = child(o, key);

    if (r->st != MO_OK || !v) return def;
    if (!json_is_string(v)) {
        r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': %s%s must be a string", r->where, part, key);
        return def;
    }
    return json_string_value(v);
}

/* A sub-object; absent is NULL, for which every get_… gives its default. */
static const json_t *get_object(reader *r, const json_t *o, const char *key)
{
    const json_t *v = child(o, key);

    if (v && !json_is_object(v) && r->st == MO_OK) r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': %s must be an object", r->where, key);
    return v;
}

/* A fact about several values at once. */
static void must(reader *r, bool fact, const char *sentence)
{
    if (r->st == MO_OK && !fact) r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': %s", r->where, sentence);
}

/* A value that is well formed but only one choice of which is built. */
static void must_be(reader *r, const char *part, const char *key, const char *got, const char *want)
{
    if (r->st == MO_OK && strcmp(got, want))
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED, "'%.250s': %s%s is '%.60s'; this build knows '%s'", r->where, part, key, got, want);
}

/* ---- which member ---- */

static const char *const member_names[] = {
    [MEMBER_UNKNOWN] = "unknown",   [MEMBER_O45] = "MiniCPM-o 4.5",   [MEMBER_V45] = "MiniCPM-V 4.5",        [MEMBER_V40] = "MiniCPM-V 4.0",
    [MEMBER_O26] = "MiniCPM-o 2.6", [MEMBER_V26] = "MiniCPM-V 2.6",   [MEMBER_V25] = "MiniCPM-Llama3-V 2.5", [MEMBER_V20] = "MiniCPM-V 2.0",
    [MEMBER_V10] = "MiniCPM-V 1.0", [MEMBER_OMNILMM] = "OmniLMM-12B", [MEMBER_TEXT] = "language model",
};

const char *model_member_name(model_member m)
{
    return (unsigned)m < sizeof member_names / sizeof *member_names ? member_names[m] : "unknown";
}

/* The kinds of decoder block, as transformers names them. */
typedef enum backbone { BB_UNKNOWN, BB_QWEN3, BB_QWEN2, BB_LLAMA, BB_MINICPM, BB_MISTRAL } backbone;

static backbone backbone_by_name(const char *s)
{
    static const char *const name[] = { "", "qwen3", "qwen2", "llama", "minicpm", "mistral" };

    for (int i = 1; i < (int)(sizeof name / sizeof *name); i++)
        if (!strcmp(s, name[i])) return (backbone)i;
    return BB_UNKNOWN;
}

/* "2.6", 2.6 and 4 all occur. */
static void read_version(reader *r, model_config *c, const json_t *root)
{
    const json_t *v = child(root, "version");

    if (!v || r->st != MO_OK) return;
    if (json_is_string(v) && strlen(json_string_value(v)) < sizeof c->version)
        snprintf(c->version, sizeof c->version, "%s", json_string_value(v));
    else if (json_is_number(v) && fabs(json_number_value(v)) < 1000) snprintf(c->version, sizeof c->version, "%.1f", json_number_value(v));
    else r->st = mo_fail(r->err, MO_E_FORMAT, "'%.300s': version must be a short string or a number", r->where);
}

typedef struct known_version {
    const char *type, *version;
    model_member member;
    backbone bb;
} known_version;

static const known_version known_versions[] = {
    { "minicpmo", "4.5", MEMBER_O45, BB_QWEN3 }, { "minicpmo", "2.6", MEMBER_O26, BB_QWEN2 }, { "minicpmv", "4.5", MEMBER_V45, BB_QWEN3 },
    { "minicpmv", "4.0", MEMBER_V40, BB_LLAMA }, { "minicpmv", "2.6", MEMBER_V26, BB_QWEN2 },
};

/* MiniCPM-V without a version: 2.0 and 1.0 are recognised by width and queries, everything else is 2.5. */
static model_member unversioned_v(const json_t *root, backbone hint)
{
    bool is_2b = hint ? hint == BB_MINICPM
                      : json_integer_value(child(root, "hidden_size")) == 2304 &&
                            (!child(root, "query_num") || json_integer_value(child(root, "query_num")) == 64);

    if (!is_2b) return MEMBER_V25;
    return json_is_true(child(root, "slice_mode")) ? MEMBER_V20 : MEMBER_V10;
}

static backbone read_member(reader *r, model_config *c, const json_t *root)
{
    const char *type = get_string(r, root, "", "model_type", ""),
               *name = get_string(r, get_object(r, root, "synth"), "synth.", "backbone", "");
    backbone hint = backbone_by_name(name), bb = BB_UNKNOWN;

    read_version(r, c, root);
    if (r->st == MO_OK && *name && !hint)
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED,
                        "'%.250s': synth.backbone is '%.60s'; this build knows qwen3, qwen2, llama, minicpm and mistral", r->where, name);
    if (r->st != MO_OK) return BB_UNKNOWN;
    for (size_t i = 0; i < sizeof known_versions / sizeof *known_versions; i++)
        if (!strcmp(type, known_versions[i].type) && !strcmp(c->version, known_versions[i].version)) {
            c->member = known_versions[i].member;
            bb = known_versions[i].bb;
        }
    if (!c->member && !strcmp(type, "minicpmv") && !*c->version) {
        c->member = unversioned_v(root, hint);
        bb = c->member == MEMBER_V25 ? BB_LLAMA : BB_MINICPM;
    } else if (!c->member && !strcmp(type, "omnilmm")) {
        c->member = MEMBER_OMNILMM;
        bb = BB_MISTRAL;
    } else if (!c->member && (bb = backbone_by_name(type))) {
        c->member = MEMBER_TEXT;
    }
    if (!c->member) {
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED,
                        "'%.200s': model_type '%.60s'%s%.16s; this build knows minicpmo 4.5 and 2.6, minicpmv 4.5, 4.0, 2.6, 2.5, 2.0 and "
                        "1.0, omnilmm, and plain qwen3, qwen2, llama, mistral and minicpm",
                        r->where, type, *c->version ? " version " : "", c->version);
        return BB_UNKNOWN;
    }
    snprintf(c->model_type, sizeof c->model_type, "%s", type); /* all known ones are short */
    return hint ? hint : bb;
}

/* ---- the language model ---- */

/* longrope: a divisor for every rotary frequency, one list for short contexts and one for long ones. A list that
 * differs from the other is only right up to original_max_position_embeddings, so the context ends there. */
static void read_longrope(reader *r, llm_config *l, const json_t *s)
{
    const json_t *shorts = child(s, "short_factor"), *longs = child(s, "long_factor");
    size_t n = (size_t)l->head_dim / 2;
    double factor = get_real(r, s, "rope_scaling.", "factor", 1.0, 1e-3, 1e6), attn;
    int32_t n_ctx = get_int(r, s, "rope_scaling.", "original_max_position_embeddings", l->n_ctx_train, 2, 1 << 28);

    must(r, json_array_size(shorts) == n && json_array_size(longs) == n,
         "rope_scaling.short_factor and long_factor must have head_dim / 2 numbers");
    if (r->st != MO_OK) return;
    if (!(l->rope_factor = mo_calloc(n, sizeof(float)))) {
        r->st = mo_fail(r->err, MO_E_NOMEM, "no memory for %zu rotary factors", n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *f = json_array_get(shorts, i), *g = json_array_get(longs, i);
        double d = json_number_value(f);
        must(r, json_is_number(f) && json_is_number(g) && d >= 1e-6 && d <= 1e6, "rope_scaling factors must be numbers from 1e-6 to 1e6");
        l->rope_factor[i] = (float)d;
        if (d != json_number_value(g) && n_ctx < l->n_ctx_train) l->n_ctx_train = n_ctx;
    }
    attn = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(n_ctx));
    l->rope_attn_factor = (float)get_real(r, s, "rope_scaling.", "attention_factor", attn, 1e-3, 1e3);
}

static void read_rope(reader *r, llm_config *l, const json_t *root, double theta)
{
    const json_t *p = get_object(r, root, "rope_parameters"); /* newer files keep theta and scaling together */
    const json_t *s = p ? p : get_object(r, root, "rope_scaling");
    const char *type = get_string(r, s, "rope_scaling.", "rope_type", get_string(r, s, "rope_scaling.", "type", "default"));

    l->rope_theta = get_real(r, p && child(p, "rope_theta") ? p : root, "", "rope_theta", theta, 1, 1e12);
    l->rope_attn_factor = 1;
    if (r->st != MO_OK) return;
    if (!strcmp(type, "longrope") || !strcmp(type, "su")) read_longrope(r, l, s);
    else if (strcmp(type, "default"))
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED, "'%.250s': rope_scaling of type '%.60s'; this build knows default and longrope", r->where,
                        type);
}

/* What a config.json may leave out, by backbone; the numbers are the released models'. */
typedef struct backbone_default {
    double rope_theta, rms_eps;
    int32_t n_ctx, head_dim; /* head_dim 0: n_embd / n_head */
    bool is_tied;
} backbone_default;

static backbone_default defaults_of(backbone bb, model_member m)
{
    switch (bb) {
    case BB_QWEN3: return (backbone_default){ 1e6, 1e-6, 40960, 128, false };
    case BB_QWEN2: return (backbone_default){ 1e6, 1e-6, 32768, 0, false };
    case BB_MINICPM: return (backbone_default){ 1e4, 1e-5, 4096, 0, true };
    case BB_MISTRAL: return (backbone_default){ 1e4, 1e-5, 32768, 0, false };
    default: break;
    }
    if (m == MEMBER_V40) return (backbone_default){ 1e4, 1e-6, 32768, 128, false }; /* 2560 / 32 = 80 would be wrong */
    if (m == MEMBER_V25) return (backbone_default){ 5e5, 1e-5, 8192, 0, false };
    return (backbone_default){ 1e4, 1e-6, 2048, 0, false };
}

/* A window that is never reached changes nothing, so the context ends where it would be. */
static void read_window(reader *r, llm_config *l, const json_t *root, backbone bb)
{
    if (bb == BB_MISTRAL) {
        int32_t window = get_int(r, root, "", "sliding_window", l->n_ctx_train, 1, 1 << 28);
        if (window < l->n_ctx_train) l->n_ctx_train = window;
    } else if (get_bool(r, root, "", "use_sliding_window", false)) {
        if (r->st == MO_OK)
            r->st = mo_fail(r->err, MO_E_UNSUPPORTED, "'%.300s': use_sliding_window is true; this build knows full attention", r->where);
    }
}

static void read_scales(reader *r, llm_config *l, const json_t *root, backbone bb)
{
    bool is_2b = bb == BB_MINICPM;

    l->residual_scale = l->logit_divisor = 1;
    l->embd_scale = (float)get_real(r, root, "", "scale_emb", is_2b ? 12 : 1, 1e-6, 1e6);
    if (!is_2b || r->st != MO_OK) return;
    l->residual_scale = (float)(get_real(r, root, "", "scale_depth", 1.4, 1e-6, 1e6) / sqrt(l->n_layer));
    l->logit_divisor = (float)(l->n_embd / get_real(r, root, "", "dim_model_base", 256, 1, 1e6));
}

static void read_llm(reader *r, model_config *c, const json_t *root, backbone bb)
{
    llm_config *l = &c->llm;
    backbone_default d = defaults_of(bb, c->member);

    l->n_embd = get_int(r, root, "", "hidden_size", REQUIRED, 1, 1 << 17);
    l->n_layer = get_int(r, root, "", "num_hidden_layers", REQUIRED, 1, 1024);
    l->n_head = get_int(r, root, "", "num_attention_heads", REQUIRED, 1, 1024);
    l->n_kv_head = get_int(r, root, "", "num_key_value_heads", l->n_head, 1, 1024);
    l->n_ff = get_int(r, root, "", "intermediate_size", REQUIRED, 1, 1 << 20);
    l->n_vocab = get_int(r, root, "", "vocab_size", REQUIRED, 1, 1 << 24);
    l->n_ctx_train = get_int(r, root, "", "max_position_embeddings", d.n_ctx, 1, 1 << 28);
    l->rms_eps = (float)get_real(r, root, "", "rms_norm_eps", d.rms_eps, 1e-12, 1e-1);
    if (r->st != MO_OK) return;
    must(r, d.head_dim || child(root, "head_dim") || l->n_embd % l->n_head == 0,
         "hidden_size is no multiple of num_attention_heads and there is no head_dim");
    l->head_dim = get_int(r, root, "", "head_dim", d.head_dim ? d.head_dim : l->n_embd / l->n_head, 2, 1024);
    must(r, l->head_dim % 2 == 0, "head_dim must be even");
    must(r, l->head_dim <= HEAD_DIM_MAX, "head_dim is above 512, the longest head this build knows");
    must(r, l->n_kv_head && l->n_head % l->n_kv_head == 0, "num_attention_heads must be a multiple of num_key_value_heads");
    l->is_tied = get_bool(r, root, "", "tie_word_embeddings", d.is_tied);
    l->has_qk_norm = bb == BB_QWEN3;
    l->has_qkv_bias = bb == BB_QWEN2;
    must_be(r, "", "hidden_act", get_string(r, root, "", "hidden_act", "silu"), "silu");
    if (bb != BB_QWEN2 && get_bool(r, root, "", "attention_bias", false) && r->st == MO_OK)
        r->st = mo_fail(r->err, MO_E_UNSUPPORTED, "'%.300s': attention_bias is true; this build knows biases in qwen2 only", r->where);
    read_window(r, l, root, bb);
    read_scales(r, l, root, bb);
    if (r->st == MO_OK) read_rope(r, l, root, d.rope_theta);
    strcpy(l->prefix, c->member == MEMBER_OMNILMM || c->member == MEMBER_TEXT ? "" : "llm.");
}

/* ---- the parts around it ---- */

static void read_slice(reader *r, slice_config *s, const json_t *o, const char *part)
{
    s->max_slice_nums = get_int(r, o, part, "max_slice_nums", s->max_slice_nums, 1, 1024);
    s->scale_resolution = get_int(r, o, part, "scale_resolution", s->scale_resolution, 14, 16384);
    s->patch_size = get_int(r, o, part, "patch_size", s->patch_size, 1, 256);
}

/* Which of the two files says what: use_image_id and slice_mode stand beside slice_config in config.json. */
static void read_slice_switches(reader *r, slice_config *s, const json_t *o)
{
    s->slice_mode = get_bool(r, o, "", "slice_mode", s->slice_mode);
    s->use_image_id = get_bool(r, o, "", "use_image_id", s->use_image_id);
}

static void read_vision(reader *r, model_config *c, const json_t *root)
{
    const json_t *o = get_object(r, root, "vision_config");
    bool is_timm = c->member == MEMBER_V20 || c->member == MEMBER_V10; /* no vision_config: SigLIP so400m/14 at 384, last block dropped */
    vision_config *v = &c->vision;

    v->n_embd = get_int(r, o, "vision_config.", "hidden_size", 1152, 4, 1 << 16);
    v->n_layer = get_int(r, o, "vision_config.", "num_hidden_layers", 27, 1, 1024);
    v->n_head = get_int(r, o, "vision_config.", "num_attention_heads", 16, 1, 1024);
    v->n_ff = get_int(r, o, "vision_config.", "intermediate_size", 4304, 1, 1 << 20);
    v->patch_size = get_int(r, o, "vision_config.", "patch_size", 14, 1, 256);
    v->image_size = get_int(r, o, "vision_config.", "image_size", is_timm ? 378 : 980, 1, 16384);
    v->ln_eps = (float)get_real(r, o, "vision_config.", "layer_norm_eps", 1e-6, 1e-12, 1e-1);
    if (r->st != MO_OK) return;
    /* The class default is true, but every released checkpoint of the NaViT kind says false and has all its layers. */
    if (get_bool(r, root, "", "drop_vision_last_layer", is_timm) && v->n_layer > 1) v->n_layer--;
    must(r, v->n_embd % v->n_head == 0, "vision_config: hidden_size must be a multiple of num_attention_heads");
    must(r, v->n_embd / v->n_head <= HEAD_DIM_MAX,
         "vision_config: hidden_size / num_attention_heads is above 512, the longest head this build knows");
    must(r, v->image_size >= v->patch_size, "vision_config: image_size is smaller than patch_size");
    must_be(r, "vision_config.", "hidden_act", get_string(r, o, "vision_config.", "hidden_act", "gelu_pytorch_tanh"), "gelu_pytorch_tanh");

    c->resampler.n_query = get_int(r, root, "", "query_num", c->member == MEMBER_V25 ? 96 : 64, 1, 4096);
    c->resampler.n_embd = c->llm.n_embd;
    c->resampler.n_head = c->llm.n_embd / 128;
    c->resampler.kv_dim = v->n_embd;
    must(r, c->llm.n_embd % 128 == 0, "hidden_size must be a multiple of 128 for the resampler's heads");

    /* 9 and not the class default 1: what every released processor file says */
    c->slice =
        (slice_config){ .max_slice_nums = 9, .scale_resolution = 448, .patch_size = v->patch_size, .slice_mode = c->member != MEMBER_V10 };
    c->slice.use_image_id = c->member != MEMBER_V25 && !is_timm;
    read_slice(r, &c->slice, get_object(r, root, "slice_config"), "slice_config.");
    read_slice_switches(r, &c->slice, root);
    must(r, c->slice.patch_size == v->patch_size, "slice_config.patch_size and vision_config.patch_size differ");
}

static void read_audio(reader *r, model_config *c, const json_t *root)
{
    const json_t *o = get_object(r, root, "audio_config");
    audio_config *a = &c->audio;

    a->n_embd = get_int(r, o, "audio_config.", "d_model", 1024, 2, 1 << 16);
    a->n_layer = get_int(r, o, "audio_config.", "encoder_layers", 24, 1, 1024);
    a->n_head = get_int(r, o, "audio_config.", "encoder_attention_heads", 16, 1, 1024);
    a->n_ff = get_int(r, o, "audio_config.", "encoder_ffn_dim", 4096, 1, 1 << 20);
    a->n_mel = get_int(r, o, "audio_config.", "num_mel_bins", 80, 1, 1024);
    a->n_pos = get_int(r, o, "audio_config.", "max_source_positions", 1500, 1, 1 << 20);
    a->pool_step = get_int(r, root, "", "audio_pool_step", c->member == MEMBER_O26 ? 2 : 5, 1, 1024);
    a->chunk_length_s = (float)get_real(r, root, "", "audio_chunk_length", 1.0, -1, 3600);
    if (r->st != MO_OK) return;
    must(r, a->n_embd % a->n_head == 0, "audio_config: d_model must be a multiple of encoder_attention_heads");
    must(r, a->n_embd / a->n_head <= HEAD_DIM_MAX,
         "audio_config: d_model / encoder_attention_heads is above 512, the longest head this build knows");
    /* the projector's input width is encoder_ffn_dim / 4, what it is fed is d_model wide */
    must(r, a->n_ff == 4 * a->n_embd, "audio_config: encoder_ffn_dim must be 4 * d_model");
    must_be(r, "audio_config.", "activation_function", get_string(r, o, "audio_config.", "activation_function", "gelu"), "gelu");
}

static void read_tts(reader *r, model_config *c, const json_t *root)
{
    const json_t *o = get_object(r, root, "tts_config");
    tts_config *t = &c->tts;

    t->n_embd = get_int(r, o, "tts_config.", "hidden_size", 768, 2, 1 << 16);
    t->n_layer = get_int(r, o, "tts_config.", "num_hidden_layers", 20, 1, 1024);
    t->n_head = get_int(r, o, "tts_config.", "num_attention_heads", 12, 1, 1024);
    t->n_kv_head = get_int(r, o, "tts_config.", "num_key_value_heads", t->n_head, 1, 1024);
    t->n_ff = get_int(r, o, "tts_config.", "intermediate_size", 3072, 1, 1 << 20);
    t->n_ctx_train = get_int(r, o, "tts_config.", "max_position_embeddings", 4096, 1, 1 << 28);
    t->n_text = get_int(r, o, "tts_config.", "num_text_tokens", 152064, 1, 1 << 24);
    t->n_code = get_int(r, o, "tts_config.", "num_audio_tokens", 6562, 2, 1 << 24);
    t->n_vq = get_int(r, o, "tts_config.", "num_vq", 1, 1, 64);
    t->llm_dim = get_int(r, o, "tts_config.", "llm_dim", c->llm.n_embd, 1, 1 << 17);
    t->audio_bos_id = get_int(r, o, "tts_config.", "audio_bos_token_id", 151687, 0, INT32_MAX);
    t->text_eos_id = get_int(r, o, "tts_config.", "text_eos_token_id", 151692, 0, INT32_MAX);
    t->normalize_hidden = get_bool(r, o, "tts_config.", "normalize_projected_hidden", true);
    t->rms_eps = 1e-6f; /* the constructor forwards neither: the Llama class defaults hold */
    t->rope_theta = 10000;
    if (r->st != MO_OK) return;
    must(r, t->n_embd % t->n_head == 0 && t->n_embd / t->n_head % 2 == 0,
         "tts_config: hidden_size must be an even multiple of num_attention_heads");
    t->head_dim = t->n_embd / t->n_head;
    must(r, t->head_dim <= HEAD_DIM_MAX, "tts_config: hidden_size / num_attention_heads is above 512, the longest head this build knows");
    must(r, t->n_head % t->n_kv_head == 0, "tts_config: num_attention_heads must be a multiple of num_key_value_heads");
    must(r, t->llm_dim == c->llm.n_embd, "tts_config.llm_dim must be the language model's hidden_size");
    must(r, t->audio_bos_id < t->n_text && t->text_eos_id < t->n_text,
         "tts_config: audio_bos_token_id and text_eos_token_id must be below num_text_tokens");
    must_be(r, "tts_config.", "condition_type", get_string(r, o, "tts_config.", "condition_type", "hidden_text_merge"),
            "hidden_text_merge");
    must_be(r, "tts_config.", "backbone_model", get_string(r, o, "tts_config.", "backbone_model", "llama"), "llama");
    must_be(r, "tts_config.", "projector_type", get_string(r, o, "tts_config.", "projector_type", "mlp"), "mlp");
}

static void read_root(reader *r, model_config *c, const json_t *root)
{
    backbone bb = read_member(r, c, root);
    bool is_omni = c->member == MEMBER_O45 || c->member == MEMBER_O26,
         is_image_text = c->member && c->member != MEMBER_TEXT && c->member != MEMBER_OMNILMM;

    if (r->st != MO_OK) return;
    read_llm(r, c, root, bb);
    c->has_vision = get_bool(r, root, "", "init_vision", is_image_text) && is_image_text;
    c->has_audio = get_bool(r, root, "", "init_audio", is_omni) && is_omni;
    c->has_tts = get_bool(r, root, "", "init_tts", is_omni) && is_omni;
    c->stream_input = get_bool(r, root, "", "stream_input", is_omni); /* the class default is false; the checkpoints need true */
    if (c->has_vision && r->st == MO_OK) read_vision(r, c, root);
    if (c->has_audio && r->st == MO_OK) read_audio(r, c, root);
    if (c->has_tts && c->member == MEMBER_O45 && r->st == MO_OK) read_tts(r, c, root); /* 2.6 speaks with another decoder */
}

void model_config_free(model_config *c)
{
    mo_free(c->llm.rope_factor);
    memset(c, 0, sizeof *c);
}

static mo_status load_json(json_t **out, const char *json, size_t n, const char *where, mo_error *err)
{
    json_error_t je;

    if (!(*out = json_loadb(json, n, 0, &je))) {
        if (json_error_code(&je) == json_error_out_of_memory) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", where);
        return mo_fail(err, MO_E_FORMAT, "'%.250s' is no valid JSON: %.100s (line %d)", where, je.text, je.line);
    }
    if (json_is_object(*out)) return MO_OK;
    json_decref(*out);
    return mo_fail(err, MO_E_FORMAT, "'%.300s' is no JSON object", where);
}

mo_status model_config_parse(model_config *out, const char *json, size_t n, const char *where, mo_error *err)
{
    reader r = { where, err, MO_OK };
    json_t *root;
    mo_status st;

    memset(out, 0, sizeof *out);
    if ((st = load_json(&root, json, n, where, err)) != MO_OK) return st;
    read_root(&r, out, root);
    json_decref(root);
    if (r.st != MO_OK) model_config_free(out);
    return r.st;
}

/* The processor's own file goes before config.json: it is what the official processor slices by. */
static mo_status overlay_processor(model_config *c, const char *path, mo_error *err)
{
    reader r = { path, err, MO_OK };
    json_t *root;
    char *json;
    size_t n;
    mo_status st;

    if (!file_exists(path)) return MO_OK;
    if ((st = file_read(&json, &n, path, CONFIG_MAX_BYTES, err)) != MO_OK) return st;
    st = load_json(&root, json, n, path, err);
    mo_free(json);
    if (st != MO_OK) return st;
    read_slice(&r, &c->slice, root, "");
    read_slice_switches(&r, &c->slice, root);
    must(&r, c->slice.patch_size == c->vision.patch_size, "patch_size differs from config.json's vision_config.patch_size");
    json_decref(root);
    return r.st;
}

mo_status model_config_load(model_config *out, const char *dir, mo_error *err)
{
    char *path = path_join(dir, "config.json"), *processor = path_join(dir, "preprocessor_config.json"), *json = NULL;
    size_t n;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (!path || !processor) st = mo_fail(err, MO_E_NOMEM, "no memory to read the configuration in '%.300s'", dir);
    else st = file_read(&json, &n, path, CONFIG_MAX_BYTES, err);
    if (st == MO_OK) st = model_config_parse(out, json, n, path, err);
    if (st == MO_OK && out->has_vision) st = overlay_processor(out, processor, err);
    if (st != MO_OK) model_config_free(out);
    mo_free(json);
    mo_free(path);
    mo_free(processor);
    return st;
}
