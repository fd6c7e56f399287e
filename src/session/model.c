/* Opening and closing the engine, and the memory plan (model.h).
 *
 * The plan is the load code run dry on the real headers: the same binders, the same scratch carving. What a checkpoint
 * lacks is not loaded and said in the log.
 */
#include "session/model.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cpu.h"
#include "core/memory.h"
#include "session/draw.h"
#include "session/speculate.h"

enum { UBATCH_DEFAULT = 512, UBATCH_MAX = 4096, CTX_DEFAULT = 8192 };

/* Tokenizer memory per vocabulary entry: text, two hash tables, merges; measured on the 151,748-entry vocabulary. */
enum { TOKENIZER_BYTES_PER_ID = 96 };

const char *mo_version(void) { return MO_VERSION; }

mo_model_opts mo_model_opts_default(void) { return (mo_model_opts){ .vision = MO_AUTO, .audio = MO_AUTO, .n_ubatch = UBATCH_DEFAULT }; }

mo_session_opts mo_session_opts_default(void)
{
    return (mo_session_opts){ .temperature = 0.7f,
                              .top_k = 100,
                              .top_p = 0.8f,
                              .repetition_penalty = 1.02f,
                              .max_tokens = 4096,
                              .speculate = MO_AUTO,
                              .image_ids = MO_AUTO };
}

char *format_bytes(char out[16], uint64_t n)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double x = (double)n;
    int i = 0;

    while (x >= 1024 && i < 4) {
        x /= 1024;
        i++;
    }
    snprintf(out, 16, i ? "%.1f %s" : "%.0f %s", x, unit[i]);
    return out;
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

vision_pass model_vision_carve(scratch *s, const model_config *c)
{
    int64_t n_in = 3 * (int64_t)c->vision.patch_size * c->vision.patch_size;
    vision_pass p;

    p.patch = ARENA_FLOATS(&s->dev, VISION_ROWS * n_in);
    p.hidden = ARENA_FLOATS(&s->dev, VISION_ROWS * (int64_t)c->vision.n_embd);
    p.embeds = ARENA_FLOATS(&s->dev, VISION_TILES * (int64_t)c->resampler.n_query * c->resampler.n_embd);
    p.host = ARENA_FLOATS(&s->host, VISION_ROWS * n_in);
    return p;
}

audio_pass model_audio_carve(scratch *s, const model_config *c)
{
    int64_t n_pos = c->audio.n_pos;
    audio_pass p;

    p.mel = ARENA_FLOATS(&s->dev, 2 * n_pos * c->audio.n_mel);
    p.hidden = ARENA_FLOATS(&s->dev, n_pos * c->audio.n_embd);
    p.embeds = ARENA_FLOATS(&s->dev, n_pos / c->audio.pool_step * c->llm.n_embd);
    p.host = ARENA_FLOATS(&s->host, 2 * n_pos * c->audio.n_mel);
    p.pcm = ARENA_FLOATS(&s->host, MEL_MAX_SAMPLES);
    return p;
}

/* The users of the shared scratch, one after another: the peak is what it must hold. */
static scratch plan_scratch(const model_config *c, int32_t n_ubatch, bool vision, bool audio)
{
    scratch s = scratch_plan();
    scratch_mark m = scratch_now(&s);

    llm_carve(&s, &c->llm, n_ubatch);
    scratch_release(&s, m);
    if (vision) {
        model_vision_carve(&s, c);
        siglip_scratch(&s, &c->vision, VISION_ROWS);
        resampler_scratch(&s, &c->resampler, VISION_ROWS);
        scratch_release(&s, m);
    }
    if (audio) {
        model_audio_carve(&s, c);
        whisper_scratch(&s, &c->audio, c->llm.n_embd, AUDIO_ROWS);
        scratch_release(&s, m);
    }
    return s;
}

/* ---- plan ------------------------------------------------------------------------------------------------------- */

static void plan_add(mo_plan *p, uint64_t *module, const bind_bytes *b)
{
    p->weights_mapped += b->mapped;
    p->weights_copied += b->copied;
    p->weights_repacked += b->repacked;
    p->weights_lookup += b->lookup;
    *module += b->mapped + b->copied + b->repacked;
}

static void plan_total(mo_plan *p)
{
    p->total = p->weights_mapped + p->weights_copied + p->weights_repacked + p->scratch + p->kv_cache + p->tokenizer + p->session;
    p->available = memory_available();
}

static mo_status plan_model(mo_model *m, mo_error *err)
{
    const model_config *c = &m->cfg;
    mo_plan *p = &m->plan;
    bind_bytes b, r;
    mo_status st;

    memset(p, 0, sizeof *p);
    if ((st = llm_load(NULL, m->be, m->ts, &c->llm, true, &b, err)) != MO_OK) return st;
    plan_add(p, &p->llm, &b);
    if (c->has_vision) {
        if ((st = siglip_plan(&b, m->be, m->ts, &c->vision, err)) != MO_OK) return st;
        if ((st = resampler_plan(&r, m->be, m->ts, &c->resampler, err)) != MO_OK) return st;
        plan_add(p, &p->vision, &b);
        plan_add(p, &p->vision, &r);
    }
    if (c->has_audio) {
        if ((st = whisper_plan(&b, m->be, m->ts, &c->audio, c->llm.n_embd, err)) != MO_OK) return st;
        plan_add(p, &p->audio, &b);
    }
    scratch s = plan_scratch(c, m->opts.n_ubatch, c->has_vision, c->has_audio);
    if (scratch_overflow(&s)) return mo_fail(err, MO_E_LIMIT, "the working memory of this configuration is larger than an address space");
    p->scratch = s.dev.peak + s.host.peak;
    p->tokenizer = (uint64_t)c->llm.n_vocab * TOKENIZER_BYTES_PER_ID;
    plan_total(p);
    return MO_OK;
}

int32_t session_n_ctx(const model_config *c, const mo_session_opts *o)
{
    int32_t n = o->n_ctx ? o->n_ctx : CTX_DEFAULT;

    if (!o->n_ctx && n > c->llm.n_ctx_train) n = c->llm.n_ctx_train;
    return kv_pages_for(n) * KV_PAGE;
}

kv_shape session_kv_shape(const llm_config *c, const mo_session_opts *o)
{
    static const int32_t type[] = { [MO_KV_F16] = MO_F16, [MO_KV_F32] = MO_F32, [MO_KV_Q8_0] = MO_Q8_0 };

    return llm_kv_shape(c, type[o->kv_type]);
}

int32_t session_logit_rows(const mo_model *m, const mo_session_opts *o)
{
    if (o->speculate == MO_OFF) return 1;
    return m->opts.n_ubatch < DRAFT_MAX + 1 ? m->opts.n_ubatch : DRAFT_MAX + 1;
}

void model_plan_session(mo_plan *p, const mo_model *m, const mo_session_opts *o)
{
    const model_config *c = &m->cfg;
    kv_shape kv = session_kv_shape(&c->llm, o);
    int32_t n_ctx = session_n_ctx(c, o);

    p->kv_cache = (uint64_t)kv_page_bytes(&kv) * (uint64_t)kv_pages_for(n_ctx);
    /* logits, sampling's working copies, one pass of embeddings being fed, what positions were made of */
    p->session = (uint64_t)c->llm.n_vocab * ((uint64_t)session_logit_rows(m, o) * sizeof(float) + 24) +
                 (uint64_t)m->opts.n_ubatch * (uint64_t)c->llm.n_embd * sizeof(float) + (uint64_t)n_ctx * sizeof(int64_t);
    plan_total(p);
}

/* "needs 18.8 GiB (…), this machine can give 7.1 GiB" */
static mo_status plan_fits(const mo_plan *p, mo_error *err)
{
    char total[16], weights[16], scratch_[16], kv[16], have[16];

    if (!p->available || p->total <= p->available) return MO_OK;
    return mo_fail(err, MO_E_NOMEM,
                   "this needs %s of memory (weights %s, scratch %s, KV cache %s) and the machine can give %s; close other programs, leave "
                   "modules out, or use a smaller context or model",
                   format_bytes(total, p->total), format_bytes(weights, p->weights_mapped + p->weights_copied + p->weights_repacked),
                   format_bytes(scratch_, p->scratch), format_bytes(kv, p->kv_cache), format_bytes(have, p->available));
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void say(const mo_model *m, const char *message)
{
    if (m->opts.log) m->opts.log(m->opts.user, message);
}

static mo_status check_opts(const mo_model_opts *o, unsigned *isa, mo_error *err)
{
    int64_t mask = cpu_isa_parse(o->isa);

    if (mask < 0)
        return mo_fail(err, MO_E_ARG, "unknown instruction set in '%s'; known: generic, avx2, avx512, avx512_bf16, neon, …, all", o->isa);
    if (o->n_thread < 0 || o->n_thread > 1024)
        return mo_fail(err, MO_E_ARG, "n_thread is %d; it must be 0 (every core) to 1024", o->n_thread);
    if (o->fast && o->exact) return mo_fail(err, MO_E_ARG, "fast and exact exclude each other");
    if (o->int8 && o->exact) return mo_fail(err, MO_E_ARG, "int8 and exact exclude each other");
    if (o->int16 && (o->int8 || o->exact)) return mo_fail(err, MO_E_ARG, "int16 and %s exclude each other", o->int8 ? "int8" : "exact");
    if (o->n_ubatch < 1 || o->n_ubatch > UBATCH_MAX)
        return mo_fail(err, MO_E_ARG, "n_ubatch is %d; it must be 1 to %d", o->n_ubatch, UBATCH_MAX);
    *isa = (unsigned)mask;
    return MO_OK;
}

/* Decide whether a module is loaded: the configuration, the tensors and the caller must agree. */
static mo_status choose_module(mo_model *m, bool *has, mo_switch want, const char *probe, const char *what, mo_error *err)
{
    char message[128];
    bool there = *has && tensors_find(m->ts, probe);

    if (want == MO_ON && !there) return mo_fail(err, MO_E_UNSUPPORTED, "this checkpoint has no %s encoder (no tensor '%s')", what, probe);
    *has = there && want != MO_OFF;
    if (!there) {
        snprintf(message, sizeof message, "this checkpoint has no %s encoder", what);
        say(m, message);
    } else if (want == MO_OFF) {
        snprintf(message, sizeof message, "the %s encoder is left out as asked", what);
        say(m, message);
    }
    return MO_OK;
}

/* The mel spectrogram and the working memory of a pass are made for the one audio encoder of the family. */
static mo_status check_audio(const audio_config *c, mo_error *err)
{
    if (c->n_mel == MEL_BANDS && c->n_pos == MEL_MAX_SAMPLES / MEL_HOP / 2) return MO_OK;
    return mo_fail(err, MO_E_UNSUPPORTED, "an audio encoder of %d mel bands and %d positions; this build knows %d and %d", c->n_mel,
                   c->n_pos, MEL_BANDS, MEL_MAX_SAMPLES / MEL_HOP / 2);
}

/* Which files, and what they say of the model; the caller's paths are not kept. */
static mo_status open_files(mo_model *m, const char *path, mo_error *err)
{
    const checkpoint_opts o = { m->opts.vision_path, m->opts.audio_path, m->opts.vision == MO_OFF, m->opts.audio == MO_OFF };
    char message[512];
    checkpoint c;
    mo_status st = checkpoint_open(&c, path, &o, err);

    m->opts.vision_path = m->opts.audio_path = NULL;
    if (st != MO_OK) return st;
    m->cfg = c.cfg;
    m->ts = c.ts;
    m->meta = c.meta;
    c.cfg = (model_config){ 0 };
    c.ts = NULL;
    c.meta = NULL;
    checkpoint_name(m->name, &m->cfg, m->meta);
    st = checkpoint_chat(&m->chat, &m->cfg, m->meta, err);
    if (st == MO_OK && m->chat.origin != CHAT_OF_MEMBER) {
        snprintf(message, sizeof message, "conversations are written as %s, %s", chat_kind_text(m->chat.kind),
                 chat_origin_text(m->chat.origin));
        say(m, message);
    }
    if (c.vision_path) {
        snprintf(message, sizeof message, "vision encoder: %.400s", c.vision_path);
        say(m, message);
    }
    if (c.audio_path) {
        snprintf(message, sizeof message, "audio encoder: %.400s", c.audio_path);
        say(m, message);
    }
    checkpoint_close(&c);
    return st;
}

static void progress(const mo_model *m, const char *what, double fraction)
{
    if (m->opts.progress) m->opts.progress(m->opts.user, what, fraction);
}

enum { PROGRESS_TOKENIZER = 30, PROGRESS_PRELOAD = 80 }; /* percent that are done when weights begin, and when they are read ahead */

/* Weights that are packed take their time; without any, loading is over at once. */
static void packed(void *user, size_t bytes)
{
    mo_model *m = user;
    const int end = m->opts.preload ? PROGRESS_PRELOAD : 99;

    m->n_packed += bytes;
    progress(m, "loading",
             (PROGRESS_TOKENIZER + (end - PROGRESS_TOKENIZER) * (double)m->n_packed / (double)m->plan.weights_repacked) / 100);
}

/* Configuration, tensors, backend and plan; no weights yet. */
static mo_status open_plan(mo_model **out, const char *path, const mo_model_opts *opts, mo_error *err)
{
    cpu_backend_opts cpu = { 0 };
    char what[80];
    mo_status st;
    mo_model *m;

    *out = NULL;
    if (!path) return mo_fail(err, MO_E_ARG, "model path is NULL");
    if (!(m = mo_zalloc(sizeof *m))) return mo_fail(err, MO_E_NOMEM, "no memory for a model handle");
    m->opts = opts ? *opts : mo_model_opts_default();
    m->scratch = scratch_plan();
    pthread_mutex_init(&m->step_lock, NULL);
    if ((st = check_opts(&m->opts, &cpu.isa_mask, err)) != MO_OK) goto fail;
    cpu.n_thread = m->opts.n_thread;
    cpu.fast = m->opts.fast != 0;
    cpu.int8 = m->opts.int8 != 0;
    cpu.int16 = m->opts.int16 != 0;
    cpu.packed = packed;
    cpu.user = m;
    cpu.exact_quant = m->opts.exact != 0;
    m->opts.isa = NULL; /* the caller's string: not kept */
    if ((st = open_files(m, path, err)) != MO_OK) goto fail;
    if ((st = choose_module(m, &m->cfg.has_vision, m->opts.vision, "vpm.embeddings.patch_embedding.weight", "vision", err)) != MO_OK)
        goto fail;
    if ((st = choose_module(m, &m->cfg.has_audio, m->opts.audio, "apm.conv1.weight", "audio", err)) != MO_OK) goto fail;
    if (m->cfg.has_audio && (st = check_audio(&m->cfg.audio, err)) != MO_OK) goto fail;
    if ((st = cpu_backend_new(&m->be, &cpu, err)) != MO_OK) goto fail;
    cpu_backend_describe(m->be, what, sizeof what);
    snprintf(m->device, sizeof m->device, "CPU: %s", what);
    if ((st = plan_model(m, err)) != MO_OK) goto fail;
    *out = m;
    return MO_OK;
fail:
    mo_model_close(m);
    return st;
}

static mo_status load_modules(mo_model *m, mo_error *err)
{
    const model_config *c = &m->cfg;
    mo_status st;

    if ((st = llm_load(&m->llm, m->be, m->ts, &c->llm, false, NULL, err)) != MO_OK) return st;
    if (!m->opts.int8) progress(m, "loading", 0.6);
    if (c->has_vision) {
        siglip_positions pos = c->member == MEMBER_V25 ? SIGLIP_POS_ROW0 : SIGLIP_POS_REFERENCE;
        if ((st = siglip_load(&m->vision, m->be, m->ts, &c->vision, pos, err)) != MO_OK) return st;
        if ((st = resampler_load(&m->resampler, m->be, m->ts, &c->resampler, err)) != MO_OK) return st;
    }
    if (!m->opts.int8) progress(m, "loading", 0.8);
    if (c->has_audio) {
        if ((st = whisper_load(&m->audio, m->be, m->ts, &c->audio, c->llm.n_embd, err)) != MO_OK) return st;
        if ((st = mel_bank_new(&m->mel, err)) != MO_OK) return st;
    }
    m->scratch = plan_scratch(c, m->opts.n_ubatch, c->has_vision, c->has_audio);
    return scratch_alloc(&m->scratch, m->be, err);
}

/* Every matrix that decode reads where it is mapped, piece by piece as the progress bar likes it, from `from` to `to` of it.
 * False: there is none, all are packed. */
static bool populate(const mo_model *m, double from, double to)
{
    const llm *l = m->llm;
    const int32_t n_layer = l->cfg.n_layer;
    bool any = false;

    for (int32_t i = 0; i <= n_layer; i++) {
        const llm_layer *y = &l->layer[i];
        const weight *all[] = { &y->w_q, &y->w_k, &y->w_v, &y->w_o, &y->w_gate, &y->w_up, &y->w_down }, *head[] = { &l->head };
        const weight **w = i < n_layer ? all : head;
        for (size_t k = 0; k < (i < n_layer ? sizeof all / sizeof *all : 1); k++) {
            if (w[k]->packed) continue;
            any = true;
            (void)memory_populate(w[k]->data, w[k]->row_bytes * (size_t)w[k]->n_row);
        }
        progress(m, "loading", from + (to - from) * i / (n_layer + 1));
    }
    return any;
}

/* A second reading only where the first found them in small pages. */
static void preload(const mo_model *m)
{
    const double enough = 0.9, from = PROGRESS_PRELOAD / 100.0, half = (from + 1) / 2;
    char message[128];

    if (!populate(m, from, half)) return;
    if (tensors_huge_share(m->ts) < enough) {
        tensors_forget(m->ts);
        (void)populate(m, half, 1);
    }
    snprintf(message, sizeof message, "the weights are in memory, %.0f %% of them in huge pages", 100 * tensors_huge_share(m->ts));
    say(m, message);
}

mo_status mo_model_open(mo_model **out, const char *path, const mo_model_opts *opts, mo_error *err)
{
    mo_status st;
    mo_model *m;

    *out = NULL;
    if ((st = open_plan(&m, path, opts, err)) != MO_OK) return st;
    if ((st = plan_fits(&m->plan, err)) != MO_OK) goto fail;
    progress(m, "loading", 0);
    if ((st = checkpoint_tokenizer(&m->tok, path, m->meta, err)) != MO_OK) goto fail;
    progress(m, "loading", PROGRESS_TOKENIZER / 100.0);
    if ((st = load_modules(m, err)) != MO_OK) goto fail;
    if (m->opts.preload) preload(m);
    progress(m, "loading", 1);
    *out = m;
    return MO_OK;
fail:
    mo_model_close(m);
    return st;
}

void mo_model_close(mo_model *m)
{
    if (!m) return;
    llm_free(m->llm);
    siglip_free(m->vision);
    resampler_free(m->resampler);
    whisper_free(m->audio);
    mel_bank_free(m->mel);
    if (m->be) {
        scratch_free(&m->scratch, m->be);
        m->be->ops->destroy(m->be);
    }
    tokenizer_close(m->tok);
    chat_format_free(&m->chat);
    gguf_free(m->meta);
    tensors_close(m->ts);
    model_config_free(&m->cfg);
    pthread_mutex_destroy(&m->step_lock);
    mo_free(m);
}

mo_status mo_plan_memory(mo_plan *out, const char *path, const mo_model_opts *mopts, const mo_session_opts *sopts, mo_error *err)
{
    mo_session_opts so = sopts ? *sopts : mo_session_opts_default();
    mo_status st;
    mo_model *m;

    memset(out, 0, sizeof *out);
    if ((st = open_plan(&m, path, mopts, err)) != MO_OK) return st;
    if ((st = session_check_opts(&so, &m->cfg, err)) == MO_OK) {
        model_plan_session(&m->plan, m, &so);
        *out = m->plan;
    }
    mo_model_close(m);
    return st;
}

mo_status model_session_fits(const mo_model *m, const mo_session_opts *o, mo_error *err)
{
    mo_plan p = { .available = memory_available() };

    model_plan_session(&p, m, o); /* the model itself is there already */
    return plan_fits(&p, err);
}

const char *mo_model_name(const mo_model *m) { return m->name; }

const char *mo_model_chat(const mo_model *m, const char **how)
{
    if (how) *how = m->chat.origin == CHAT_OF_MEMBER ? NULL : chat_origin_text(m->chat.origin);
    return chat_kind_text(m->chat.kind);
}

int mo_model_chat_is_default(const mo_model *m) { return m->chat.origin == CHAT_UNRECOGNISED || m->chat.origin == CHAT_NO_TEMPLATE; }
int mo_model_has_vision(const mo_model *m) { return m->vision != NULL; }
int mo_model_has_audio(const mo_model *m) { return m->audio != NULL; }
const char *mo_model_device(const mo_model *m) { return m->device; }
