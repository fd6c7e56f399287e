/* Opening what a path names (checkpoint.h). */
#include "models/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "models/checkpoint_files.h"
#include "models/config_gguf.h"
#include "models/gguf_kind.h"

void checkpoint_close(checkpoint *c)
{
    gguf_free(c->meta);
    tensors_close(c->ts);
    model_config_free(&c->cfg);
    mo_free(c->vision_path);
    mo_free(c->audio_path);
    memset(c, 0, sizeof *c);
}

static mo_status open_hf(checkpoint *c, const char *path, const checkpoint_opts *o, mo_error *err)
{
    mo_status st;

    if (o->vision_path || o->audio_path)
        return mo_fail(err, MO_E_ARG, "'%.300s' is a Hugging Face folder: it has its encoders in it, files for them cannot be named", path);
    if ((st = model_config_load(&c->cfg, path, err)) != MO_OK) return st;
    return tensors_open_safetensors(&c->ts, path, err);
}

/* An encoder's file: the caller's, or one that is found. *out NULL: there is none. */
static mo_status add_encoder(checkpoint *c, gguf **out, char **taken, const char *llm_path, const char *named, gguf_role role,
                             mo_error *err)
{
    const char *what = role == GGUF_ROLE_VISION ? "vision" : "audio";
    mo_status st;

    *out = NULL;
    if (named && !(*taken = mo_strdup(named))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if (!named && (st = checkpoint_find_encoder(taken, llm_path, role, err)) != MO_OK) return st;
    if (!*taken) return MO_OK;
    if ((st = gguf_add(c->ts, out, *taken, err)) != MO_OK) return st;
    if (gguf_role_of(*out) == role) return MO_OK;
    return mo_fail(err, MO_E_FORMAT, "'%.300s' is no %s encoder", *taken, what);
}

static mo_status no_llm(const gguf *g, const char *path, mo_error *err)
{
    const gguf_kind k = gguf_kind_of(g);

    if (k == GGUF_KIND_UNKNOWN)
        return mo_fail(err, MO_E_FORMAT,
                       "'%.300s' is a GGUF file, but no language model (it has no vocabulary) nor another file of this family", path);
    return mo_fail(err, MO_E_FORMAT,
                   "'%.300s' is no language model but a model's part (%s): name the language model's file, or the folder of both", path,
                   gguf_kind_text(k));
}

static mo_status open_gguf(checkpoint *c, const char *path, const checkpoint_opts *o, mo_error *err)
{
    gguf *vision = NULL, *audio = NULL;
    mo_status st;

    if ((st = tensors_new(&c->ts, err)) != MO_OK) return st;
    if ((st = gguf_add(c->ts, &c->meta, path, err)) != MO_OK) return st;
    if (gguf_role_of(c->meta) != GGUF_ROLE_LLM) return no_llm(c->meta, path, err);
    if (!o->no_vision) st = add_encoder(c, &vision, &c->vision_path, path, o->vision_path, GGUF_ROLE_VISION, err);
    if (st == MO_OK && !o->no_audio) st = add_encoder(c, &audio, &c->audio_path, path, o->audio_path, GGUF_ROLE_AUDIO, err);
    if (st == MO_OK) st = tensors_index(c->ts, err);
    if (st == MO_OK) st = model_config_from_gguf(&c->cfg, c->meta, vision, audio, c->ts, err);
    gguf_free(vision);
    gguf_free(audio);
    return st;
}

mo_status checkpoint_open(checkpoint *out, const char *path, const checkpoint_opts *opts, mo_error *err)
{
    const checkpoint_opts o = opts ? *opts : (checkpoint_opts){ 0 };
    char *file;
    mo_status st;

    memset(out, 0, sizeof *out);
    if ((st = checkpoint_find_llm(&file, path, err)) != MO_OK) return st;
    st = file ? open_gguf(out, file, &o, err) : open_hf(out, path, &o, err);
    mo_free(file);
    if (st != MO_OK) checkpoint_close(out);
    return st;
}

/* ---- tokenizer -------------------------------------------------------------------------------------------------- */

static int32_t id_of(const gguf *g, const char *key)
{
    int64_t v;

    return gguf_get_int(g, key, &v) && v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
}

/* The same bytes in the tokenizer's own words; both point into the file. */
static tokenizer_text *texts_of(const gguf_text *t, size_t n)
{
    tokenizer_text *out = mo_calloc(n + 1, sizeof *out);

    for (size_t i = 0; out && i < n; i++) out[i] = (tokenizer_text){ t[i].s, t[i].n };
    return out;
}

static mo_status get_texts(tokenizer_text **out, size_t *n, const gguf *g, const char *key, mo_error *err)
{
    gguf_text *t;
    mo_status st = gguf_get_texts(g, key, &t, n, err);

    *out = NULL;
    if (st != MO_OK) return st;
    if (!(*out = texts_of(t, *n))) st = mo_fail(err, MO_E_NOMEM, "no memory for the vocabulary of '%.300s'", g->file);
    mo_free(t);
    return st;
}

static mo_status tokenizer_from_gguf(tokenizer **out, const gguf *g, mo_error *err)
{
    tokenizer_lists l = { .bos = id_of(g, "tokenizer.ggml.bos_token_id"),
                          .eos = id_of(g, "tokenizer.ggml.eos_token_id"),
                          .pad = id_of(g, "tokenizer.ggml.padding_token_id"),
                          .unk = id_of(g, "tokenizer.ggml.unknown_token_id") };
    gguf_text model = { 0 }, pre = { 0 };
    tokenizer_text *tokens = NULL, *merges = NULL;
    int32_t *types = NULL;
    float *scores = NULL;
    char pre_name[64];
    size_t n_type = 0, n_score = 0;
    bool is_spm;
    mo_status st;

    gguf_get_text(g, "tokenizer.ggml.model", &model);
    is_spm = gguf_text_is(model, "llama");
    if (!is_spm && !gguf_text_is(model, "gpt2"))
        return mo_fail(
            err, MO_E_UNSUPPORTED,
            "the vocabulary of '%.300s' is of kind '%.*s'; this build knows byte-level BPE ('gpt2') and SentencePiece BPE ('llama')",
            g->file, (int)(model.n < 40 ? model.n : 40), model.n ? model.s : "");
    if (gguf_get_text(g, "tokenizer.ggml.pre", &pre)) {
        snprintf(pre_name, sizeof pre_name, "%.*s", (int)(pre.n < 63 ? pre.n : 63), pre.s);
        l.pre = pre_name;
    }
    l.add_bos = l.space_prefix = is_spm; /* what such a file means by leaving them out */
    gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &l.add_bos);
    gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &l.space_prefix);
    if ((st = get_texts(&tokens, &l.n_token, g, "tokenizer.ggml.tokens", err)) != MO_OK) goto done;
    if (is_spm && (st = gguf_get_reals(g, "tokenizer.ggml.scores", &scores, &n_score, err)) != MO_OK) goto done;
    if (!is_spm && (st = get_texts(&merges, &l.n_merge, g, "tokenizer.ggml.merges", err)) != MO_OK) goto done;
    if (gguf_find(g, "tokenizer.ggml.token_type") && (st = gguf_get_ints(g, "tokenizer.ggml.token_type", &types, &n_type, err)) != MO_OK)
        goto done;
    if (types && n_type != l.n_token) {
        st = mo_fail(err, MO_E_FORMAT, "'%.300s' has %zu tokens but %zu token types", g->file, l.n_token, n_type);
        goto done;
    }
    if (scores && n_score != l.n_token) {
        st = mo_fail(err, MO_E_FORMAT, "'%.300s' has %zu tokens but %zu scores", g->file, l.n_token, n_score);
        goto done;
    }
    if (is_spm) { /* SentencePiece's own ids for these, which files may leave unsaid */
        if (l.unk < 0) l.unk = 0;
        if (l.bos < 0) l.bos = 1;
        if (l.eos < 0) l.eos = 2;
    }
    l.scores = scores;
    l.tokens = tokens;
    l.merges = merges;
    l.types = types;
    if ((st = tokenizer_open_lists(out, &l, err)) != MO_OK) mo_fail_in(err, st, "vocabulary of '%.200s'", g->file);
done:
    mo_free(tokens);
    mo_free(merges);
    mo_free(types);
    mo_free(scores);
    return st;
}

mo_status checkpoint_tokenizer(tokenizer **out, const char *path, const gguf *meta, mo_error *err)
{
    *out = NULL;
    return meta ? tokenizer_from_gguf(out, meta, err) : tokenizer_open_hf(out, path, err);
}

mo_status checkpoint_open_tokenizer(tokenizer **out, const char *path, mo_error *err)
{
    gguf *meta = NULL;
    file_map map = { 0 };
    char *file;
    mo_status st;

    *out = NULL;
    if ((st = checkpoint_find_llm(&file, path, err)) != MO_OK) return st;
    if (file && (st = file_map_open(&map, file, err)) == MO_OK) st = gguf_parse(&meta, map.data, map.size, file, err);
    if (st == MO_OK) st = checkpoint_tokenizer(out, path, meta, err);
    gguf_free(meta);
    file_map_close(&map);
    mo_free(file);
    return st;
}

/* ---- name ------------------------------------------------------------------------------------------------------- */

/* A file's words go to terminals: printable ASCII only. */
void checkpoint_name(char out[CHECKPOINT_NAME], const model_config *c, const gguf *meta)
{
    gguf_text name = { 0 };
    size_t n = 0;

    if (c->member == MEMBER_TEXT && meta) gguf_get_text(meta, "general.name", &name);
    for (size_t i = 0; i < name.n && n < CHECKPOINT_NAME - 1; i++)
        if (name.s[i] >= 0x20 && name.s[i] < 0x7f) out[n++] = name.s[i];
    out[n] = 0;
    if (!n) snprintf(out, CHECKPOINT_NAME, "%s", model_member_name(c->member));
}

/* ---- template --------------------------------------------------------------------------------------------------- */

mo_status checkpoint_chat(chat_format *out, const model_config *c, const gguf *meta, mo_error *err)
{
    gguf_text t = { 0 };

    *out = (chat_format){ .origin = CHAT_OF_MEMBER };
    switch (c->member) {
    case MEMBER_O45: out->kind = CHAT_O45; return MO_OK;
    case MEMBER_V45: out->kind = CHAT_V45; return MO_OK;
    case MEMBER_V40: out->kind = CHAT_V40; return MO_OK;
    case MEMBER_O26: out->kind = CHAT_O26; return MO_OK;
    case MEMBER_V26: out->kind = CHAT_V26; return MO_OK;
    case MEMBER_V25: out->kind = CHAT_V25; return MO_OK;
    case MEMBER_V20: out->kind = CHAT_V20; return MO_OK;
    case MEMBER_V10: out->kind = CHAT_V10; return MO_OK;
    case MEMBER_OMNILMM: out->kind = CHAT_OMNILMM; return MO_OK;
    case MEMBER_TEXT:
    case MEMBER_UNKNOWN: break;
    }
    if (meta) {
        gguf_get_text(meta, "tokenizer.chat_template", &t);
        return chat_recognise(out, t.s, t.n, err);
    }
    out->origin = CHAT_NO_TEMPLATE;
    out->kind = c->llm.has_qk_norm ? CHAT_V45 : CHAT_V26; /* Qwen3 or Qwen2 ChatML */
    return MO_OK;
}
