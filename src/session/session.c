/* A conversation's life: push, answer, step, pull (include/minicpmo.h).
 *
 *     IDLE --mo_session_answer--> ENCODE --media encoded--> FEED --prompt cached--> GENERATE --end--> IDLE
 */
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "session/encode.h"
#include "session/generate.h"
#include "session/session.h"
#include "tokenizer/pyjson.h"
#include "tokenizer/unicode.h"

enum { TEXT_RESERVE = 64 << 10, IMAGE_SLICES_MAX = 100 };

/* ---- life ------------------------------------------------------------------------------------------------------- */

mo_status session_check_opts(const mo_session_opts *o, const model_config *c, mo_error *err)
{
    if (o->n_ctx < 0 || o->n_ctx > c->llm.n_ctx_train)
        return mo_fail(err, MO_E_ARG, "a context of %d positions; this model takes 1 to %d", o->n_ctx, c->llm.n_ctx_train);
    if ((int)o->kv_type < MO_KV_F16 || o->kv_type > MO_KV_Q8_0) return mo_fail(err, MO_E_ARG, "unknown KV cache type %d", (int)o->kv_type);
    if (o->max_tokens < 1) return mo_fail(err, MO_E_ARG, "max_tokens is %d; it must be at least 1", o->max_tokens);
    if (o->min_tokens < 0) return mo_fail(err, MO_E_ARG, "min_tokens is %d; it must not be negative", o->min_tokens);
    if (o->speculate < MO_AUTO || o->speculate > MO_ON)
        return mo_fail(err, MO_E_ARG, "speculate is %d; it must be MO_OFF, MO_ON or MO_AUTO", o->speculate);
    if (o->max_slices < 0 || o->max_slices > IMAGE_SLICES_MAX)
        return mo_fail(err, MO_E_ARG, "max_slices is %d; it must be 0 to %d", o->max_slices, IMAGE_SLICES_MAX);
    const kv_shape kv = session_kv_shape(&c->llm, o);
    return kv_shape_check(&kv, err);
}

static mo_status open_sampler(mo_session *s, mo_error *err)
{
    const mo_session_opts *o = &s->o;
    sampler_params p = sampler_params_default();
    id_list ends = { s->id_stop, 0 };

    p.do_sample = !o->greedy;
    p.temperature = o->temperature;
    p.top_k = o->top_k;
    p.top_p = o->top_p;
    p.min_p = o->min_p;
    p.repetition_penalty = o->repetition_penalty;
    p.min_new_tokens = o->min_tokens;
    p.seed = o->seed;
    while (ends.n < 2 && s->id_stop[ends.n] >= 0) ends.n++;
    return sampler_open(&s->sampler, s->m->cfg.llm.n_vocab, &p, ends, NULL, err);
}

/* Ids that end an answer, by name: whichever the vocabulary has. */
static void find_ends(mo_session *s)
{
    static const char *const name[] = { "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>" };
    const int32_t eos = tokenizer_get_roles(s->m->tok).eos;
    int n = 0;

    s->id_stop[0] = s->id_stop[1] = -1;
    for (size_t i = 0; i < sizeof name / sizeof *name && n < 2; i++) {
        int32_t id = tokenizer_find(s->m->tok, name[i]);
        if (id >= 0 && id < s->m->cfg.llm.n_vocab) s->id_stop[n++] = id;
    }
    if (n < 2 && eos >= 0 && eos < s->m->cfg.llm.n_vocab && (!n || s->id_stop[0] != eos)) s->id_stop[n++] = eos; /* a name we do not know */
    s->id_speech_end = tokenizer_find(s->m->tok, "<|tts_eos|>");
}

static void buf_reserve(buf *b, size_t n)
{
    for (size_t i = 0; i < n && !b->failed; i += 64) buf_put(b, "                                                                ", 64);
    if (!b->failed) buf_clear(b);
}

static mo_status allocate(mo_session *s, mo_error *err)
{
    const llm_config *c = &s->m->cfg.llm;
    size_t n_ubatch = (size_t)s->m->opts.n_ubatch;
    kv_shape kv = session_kv_shape(c, &s->o);
    mo_status st;

    s->key = mo_calloc((size_t)s->n_ctx, sizeof *s->key);
    s->logits = mo_calloc((size_t)c->n_vocab * (size_t)session_logit_rows(s->m, &s->o), sizeof *s->logits);
    s->embd = mo_calloc(n_ubatch * (size_t)c->n_embd, sizeof *s->embd);
    s->feed_token = mo_calloc(n_ubatch, sizeof *s->feed_token);
    s->want = mo_calloc(n_ubatch, sizeof *s->want);
    s->feed_seq = mo_calloc(n_ubatch, sizeof(kv_seq *));
    buf_reserve(&s->box.text, TEXT_RESERVE);
    buf_reserve(&s->box.taken, TEXT_RESERVE);
    buf_reserve(&s->answer, TEXT_RESERVE);
    buf_reserve(&s->piece, 4096);
    if (!s->key || !s->logits || !s->embd || !s->feed_token || !s->want || !s->feed_seq || s->box.text.failed || s->box.taken.failed ||
        s->answer.failed || s->piece.failed)
        return mo_fail(err, MO_E_NOMEM, "no memory for a session of %d positions", s->n_ctx);
    for (size_t i = 0; i < n_ubatch; i++) s->feed_seq[i] = &s->kv;
    if ((st = kv_pool_init(&s->pool, s->m->be, &kv, kv_pages_for(s->n_ctx), err)) != MO_OK) return st;
    return kv_seq_init(&s->kv, &s->pool, s->n_ctx, err);
}

mo_status mo_session_new(mo_session **out, mo_model *m, const mo_session_opts *opts, mo_error *err)
{
    mo_session_opts o = opts ? *opts : mo_session_opts_default();
    mo_session *s;
    mo_status st;

    *out = NULL;
    if (!m) return mo_fail(err, MO_E_ARG, "model is NULL");
    if ((st = session_check_opts(&o, &m->cfg, err)) != MO_OK) return st;
    if ((st = model_session_fits(m, &o, err)) != MO_OK) return st;
    if (!(s = mo_zalloc(sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for a session handle");
    s->m = m;
    s->o = o;
    s->n_ctx = session_n_ctx(&m->cfg, &o);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->box_lock, NULL);
    atomic_fetch_add(&m->n_session, 1);
    find_ends(s);
    drafter_init(&s->draft, o.speculate, session_logit_rows(m, &o) - 1);
    if ((st = open_sampler(s, err)) != MO_OK || (st = allocate(s, err)) != MO_OK) {
        mo_session_free(s);
        return st;
    }
    *out = s;
    return MO_OK;
}

void mo_session_free(mo_session *s)
{
    if (!s) return;
    kv_seq_free(&s->kv);
    kv_pool_free(&s->pool);
    turn_free(&s->turn);
    conversation_free(&s->conv);
    sampler_close(s->sampler);
    stop_close(s->stop);
    for (size_t i = 0; i < s->n_stop_text; i++) mo_free(s->stop_text[i]);
    buf *b[] = { &s->box.text, &s->box.taken, &s->tools, &s->piece, &s->answer };
    for (size_t i = 0; i < sizeof b / sizeof *b; i++) buf_free(b[i]);
    void *p[] = { s->key, s->logits, s->embd, s->feed_token, s->want, s->feed_seq };
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) mo_free(p[i]);
    atomic_fetch_sub(&s->m->n_session, 1);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->box_lock);
    mo_free(s);
}

/* ---- push ------------------------------------------------------------------------------------------------------- */

/* Take the lock if the conversation may be changed now. */
static mo_status lock_idle(mo_session *s, mo_error *err)
{
    pthread_mutex_lock(&s->lock);
    if (s->phase == PHASE_IDLE) return MO_OK;
    pthread_mutex_unlock(&s->lock);
    return mo_fail(err, MO_E_STATE, "an answer is being made: step until it ends, or interrupt it");
}

mo_status mo_session_begin(mo_session *s, const char *role, mo_error *err)
{
    mo_status st = lock_idle(s, err);

    if (st != MO_OK) return st;
    st = conversation_begin(&s->conv, role, err);
    if (st == MO_OK) s->open = true;
    pthread_mutex_unlock(&s->lock);
    return st;
}

/* Take the lock if something may be pushed now. */
static mo_status lock_open(mo_session *s, mo_error *err)
{
    mo_status st = lock_idle(s, err);

    if (st != MO_OK || s->open) return st;
    pthread_mutex_unlock(&s->lock);
    return mo_fail(err, MO_E_STATE, "no message was begun: mo_session_begin() comes before what is pushed");
}

mo_status mo_session_push_text(mo_session *s, const char *text, size_t n, mo_error *err)
{
    mo_status st;

    if (!text && n) return mo_fail(err, MO_E_ARG, "text is NULL");
    /* Also keeps a text from posing as a picture: media travel through the prompt as bytes that are no UTF-8. */
    if (!utf8_is_valid(text, n)) return mo_fail(err, MO_E_ARG, "a text of %zu bytes is not UTF-8", n);
    if ((st = lock_open(s, err)) != MO_OK) return st;
    st = conversation_add_text(&s->conv, text, n, err);
    pthread_mutex_unlock(&s->lock);
    return st;
}

/* Slices the picture and frees it. */
static mo_status push_image(mo_session *s, image *im, mo_error *err)
{
    const slice_config *c = &s->m->cfg.slice;
    mo_status st = lock_open(s, err);

    if (st == MO_OK) {
        int32_t n_slice = s->o.max_slices ? s->o.max_slices : c->max_slice_nums;
        st = conversation_add_image(&s->conv, im, n_slice, c->scale_resolution, c->patch_size, VISION_ROWS, err);
        pthread_mutex_unlock(&s->lock);
    }
    image_free(im);
    return st;
}

static mo_status can_see(const mo_session *s, mo_error *err)
{
    return s->m->vision ? MO_OK
                        : mo_fail(err, MO_E_UNSUPPORTED, "%s as loaded here cannot see: it has no vision encoder", mo_model_name(s->m));
}

static mo_status can_hear(const mo_session *s, mo_error *err)
{
    return s->m->audio ? MO_OK
                       : mo_fail(err, MO_E_UNSUPPORTED, "%s as loaded here cannot hear: it has no audio encoder", mo_model_name(s->m));
}

mo_status mo_session_push_image(mo_session *s, const void *file_bytes, size_t n, mo_error *err)
{
    mo_status st;
    image im;

    if ((st = can_see(s, err)) != MO_OK || (st = image_decode(&im, file_bytes, n, err)) != MO_OK) return st;
    return push_image(s, &im, err);
}

mo_status mo_session_push_image_file(mo_session *s, const char *path, mo_error *err)
{
    mo_status st;
    image im;

    if (!path) return mo_fail(err, MO_E_ARG, "image path is NULL");
    if ((st = can_see(s, err)) != MO_OK || (st = image_open(&im, path, err)) != MO_OK) return st;
    return push_image(s, &im, err);
}

mo_status mo_session_push_image_rgb(mo_session *s, const uint8_t *rgb, int32_t width, int32_t height, mo_error *err)
{
    mo_status st;
    image im;

    if (!rgb) return mo_fail(err, MO_E_ARG, "image is NULL");
    if ((st = can_see(s, err)) != MO_OK || (st = image_new(&im, width, height, err)) != MO_OK) return st;
    memcpy(im.rgb, rgb, (size_t)width * (size_t)height * 3);
    return push_image(s, &im, err);
}

mo_status mo_session_push_audio(mo_session *s, const float *pcm_, int64_t n_sample, mo_error *err)
{
    mo_status st;

    if (!pcm_) return mo_fail(err, MO_E_ARG, "sound is NULL");
    if ((st = can_hear(s, err)) != MO_OK || (st = lock_open(s, err)) != MO_OK) return st;
    st = conversation_add_audio(&s->conv, pcm_, n_sample, err);
    pthread_mutex_unlock(&s->lock);
    return st;
}

mo_status mo_session_push_audio_file(mo_session *s, const char *path, mo_error *err)
{
    mo_status st;
    pcm p;

    if (!path) return mo_fail(err, MO_E_ARG, "audio path is NULL");
    if ((st = can_hear(s, err)) != MO_OK || (st = audio_open(&p, path, AUDIO_RATE_HZ, err)) != MO_OK) return st;
    st = mo_session_push_audio(s, p.x, p.n, err);
    pcm_free(&p);
    return st;
}

mo_status mo_session_set_tools(mo_session *s, const char *json, mo_error *err)
{
    py_value *v = NULL;
    buf b = { 0 }, old;
    mo_status st;

    if (json && (st = py_parse(&v, json, strlen(json), err)) != MO_OK) return mo_fail_in(err, st, "tools");
    py_free(v);
    if (json) buf_puts(&b, json);
    st = b.failed ? mo_fail(err, MO_E_NOMEM, "no memory for the tools") : lock_idle(s, err);
    if (st == MO_OK) {
        old = s->tools;
        s->tools = b;
        b = old;
        pthread_mutex_unlock(&s->lock);
    }
    buf_free(&b);
    return st;
}

mo_status mo_session_add_stop(mo_session *s, const char *text, mo_error *err)
{
    size_t n = text ? strlen(text) : 0;
    mo_status st;

    if (n < 1 || n > SESSION_STOP_BYTES)
        return mo_fail(err, MO_E_ARG, "a stop text of %zu bytes; it must have 1 to %d", n, SESSION_STOP_BYTES);
    if ((st = lock_idle(s, err)) != MO_OK) return st;
    if (s->n_stop_text == SESSION_STOPS_MAX) st = mo_fail(err, MO_E_LIMIT, "more than %d stop texts", SESSION_STOPS_MAX);
    else if (!(s->stop_text[s->n_stop_text] = mo_strdup(text))) st = mo_fail(err, MO_E_NOMEM, "no memory for a stop text");
    else s->n_stop_text++;
    pthread_mutex_unlock(&s->lock);
    return st;
}

mo_status mo_session_clear(mo_session *s, mo_error *err)
{
    mo_status st = lock_idle(s, err);

    if (st != MO_OK) return st;
    conversation_free(&s->conv);
    s->open = false;
    kv_seq_truncate(&s->kv, 0);
    pthread_mutex_unlock(&s->lock);
    return MO_OK;
}

char *mo_session_to_json(const mo_session *s)
{
    mo_session *w = (mo_session *)(uintptr_t)s; /* the lock is taken, nothing is changed */
    buf b = { 0 };
    bool ok;

    pthread_mutex_lock(&w->lock);
    ok = conversation_json(&s->conv, &b);
    pthread_mutex_unlock(&w->lock);
    if (!ok) buf_free(&b);
    return b.data;
}

void mo_string_free(char *p) { mo_free(p); }

void mo_session_interrupt(mo_session *s) { atomic_store(&s->interrupt, true); }

/* ---- events ----------------------------------------------------------------------------------------------------- */

int mo_session_pull(mo_session *s, mo_event *out)
{
    outbox *b = &s->box;
    int got = 1;

    pthread_mutex_lock(&s->box_lock);
    if (b->has_progress) {
        *out = b->progress;
        b->has_progress = false;
    } else if (b->text.len) {
        buf t = b->taken;
        b->taken = b->text;
        b->text = t;
        buf_clear(&b->text);
        *out = (mo_event){ .type = MO_EVENT_TEXT, .text = b->taken.data, .n_text = b->taken.len };
    } else if (b->has_end) {
        *out = b->end;
        b->has_end = false;
    } else {
        got = 0;
    }
    pthread_mutex_unlock(&s->box_lock);
    return got;
}

static void emit_progress(mo_session *s, const char *what, int64_t done, int64_t total)
{
    pthread_mutex_lock(&s->box_lock);
    s->box.progress = (mo_event){ .type = MO_EVENT_PROGRESS, .text = what, .n_text = strlen(what), .done = done, .total = total };
    s->box.has_progress = true;
    pthread_mutex_unlock(&s->box_lock);
}

/* ---- the end of an answer --------------------------------------------------------------------------------------- */

static void set_phase(mo_session *s, phase p)
{
    pthread_mutex_lock(&s->lock);
    s->phase = p;
    pthread_mutex_unlock(&s->lock);
}

/* The answer failed: the conversation stays as it was when the answer was asked for. */
static mo_status give_up(mo_session *s, mo_status st)
{
    set_phase(s, PHASE_IDLE);
    return st;
}

/* The answer becomes a message. What was computed stays cached for the next prompt to compare with. */
static mo_status finish(mo_session *s, mo_error *err)
{
    mo_status st = MO_OK;

    pthread_mutex_lock(&s->lock);
    if (s->phase == PHASE_GENERATE || s->answer.len) {
        int32_t n = s->conv.n_message;
        st = conversation_begin(&s->conv, "assistant", err);
        if (st == MO_OK && s->answer.len) st = conversation_add_text(&s->conv, s->answer.data, s->answer.len, err);
        if (st != MO_OK) conversation_truncate(&s->conv, n);
        else s->open = false;
    }
    s->phase = PHASE_IDLE; /* from here on another thread may ask for the next answer: the last thing a step does */
    if (st == MO_OK) {
        s->figures.type = MO_EVENT_END;
        s->figures.n_generated = s->n_generated;
        pthread_mutex_lock(&s->box_lock);
        s->box.end = s->figures;
        s->box.has_end = true;
        pthread_mutex_unlock(&s->box_lock);
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

/* ---- answering -------------------------------------------------------------------------------------------------- */

static turn_opts turn_options(const mo_session *s)
{
    return (turn_opts){ .thinking = s->o.thinking != 0,
                        .omni = s->o.omni != 0,
                        .speech_mark = s->o.speech_mark != 0,
                        .image_ids = s->o.image_ids,
                        .tools = s->tools.len ? s->tools.data : NULL };
}

static mo_status prepare_answer(mo_session *s, mo_error *err)
{
    turn_opts o = turn_options(s);
    mo_status st;

    if (!s->conv.n_message || !strcmp(s->conv.message[s->conv.n_message - 1].role, "assistant"))
        return mo_fail(err, MO_E_STATE, "there is no message to answer: begin one by the user first");
    if ((st = encode_plan_sounds(&s->conv, true, err)) != MO_OK) return st;
    turn_free(&s->turn);
    if ((st = turn_layout(&s->turn, s->m, &s->conv, &o, err)) != MO_OK) return st;
    if (s->turn.n < 1) return mo_fail(err, MO_E_STATE, "the prompt is empty");
    if (s->turn.n + 1 > s->n_ctx)
        return mo_fail(err, MO_E_LIMIT,
                       "the prompt has %d positions and the context %d; use a larger context, fewer slices, or clear the conversation",
                       s->turn.n, s->n_ctx);
    stop_close(s->stop);
    s->stop = NULL;
    if ((st = stop_open(&s->stop, (const char *const *)s->stop_text, s->n_stop_text, false, err)) != MO_OK) return st;
    sampler_reset(s->sampler, s->o.seed);
    detokenizer_init(&s->detok, s->m->tok, false);
    buf_clear(&s->answer);
    drafter_begin(&s->draft);
    s->n_generated = s->n_draft = 0;
    s->past_speech_end = s->is_ended = false;
    s->figures = (mo_event){ .n_prompt = s->turn.n };
    atomic_store(&s->interrupt, false);
    return MO_OK;
}

mo_status mo_session_answer(mo_session *s, mo_error *err)
{
    mo_status st = lock_idle(s, err);

    if (st != MO_OK) return st;
    if ((st = prepare_answer(s, err)) == MO_OK) {
        pthread_mutex_lock(&s->box_lock);
        s->box.has_progress = s->box.has_end = false;
        buf_clear(&s->box.text);
        pthread_mutex_unlock(&s->box_lock);
        s->phase = PHASE_ENCODE;
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

/* ENCODE: one pass of media; when none is left, lay the rows into the prompt and keep what is cached already. */
static mo_status step_encode(mo_session *s, mo_error *err)
{
    encode_state state;
    mo_status st;
    bool more;

    if ((st = encode_step(s->m, &s->conv, s->m->cfg.audio.chunk_length_s, &state, &more, err)) != MO_OK) return st;
    if (more) {
        emit_progress(s, "encoding", state.done, state.total);
        return MO_OK;
    }
    if ((st = turn_fill(&s->turn, s->m, &s->conv, err)) != MO_OK) return st;
    s->n_fed = turn_common(&s->turn, s->key, s->kv.len);
    if (s->n_fed == s->turn.n) s->n_fed--; /* the last position is fed again: its logits are needed */
    s->figures.n_reused = s->n_fed;
    kv_seq_truncate(&s->kv, s->n_fed);
    set_phase(s, PHASE_FEED);
    return MO_OK;
}

/* FEED: up to n_ubatch positions of the prompt. */
static mo_status step_feed(mo_session *s, mo_error *err)
{
    const turn *t = &s->turn;
    size_t width = (size_t)s->m->cfg.llm.n_embd;
    int32_t n = t->n - s->n_fed < s->m->opts.n_ubatch ? t->n - s->n_fed : s->m->opts.n_ubatch;
    bool last = s->n_fed + n == t->n;
    llm_batch b = { .n_row = n, .token = s->feed_token, .embd = s->embd, .seq = s->feed_seq, .want = s->want };
    mo_status st;

    for (int32_t i = 0; i < n; i++) {
        const float *row = t->row[s->n_fed + i];
        s->feed_token[i] = row ? -1 : t->prompt.ids.data[s->n_fed + i];
        if (row) memcpy(s->embd + (size_t)i * width, row, width * sizeof *row);
        s->want[i] = last && i == n - 1 ? LLM_WANT_LOGITS : 0;
    }
    if ((st = llm_forward(s->m->llm, &s->m->scratch, s->m->opts.n_ubatch, &b, s->logits, NULL, err)) != MO_OK) return st;
    memcpy(s->key + s->n_fed, t->key + s->n_fed, (size_t)n * sizeof *s->key);
    s->n_fed += n;
    emit_progress(s, "reading", s->n_fed, t->n);
    if (last) set_phase(s, PHASE_GENERATE);
    return MO_OK;
}

mo_status mo_session_step(mo_session *s, mo_error *err)
{
    double start = clock_ms(), *spent;
    mo_status st;
    phase p;

    pthread_mutex_lock(&s->lock);
    p = s->phase; /* nobody else changes it while it is not IDLE */
    pthread_mutex_unlock(&s->lock);
    if (p == PHASE_IDLE || p == PHASE_SCORE) return mo_fail(err, MO_E_AGAIN, "there is nothing to do");
    spent = p == PHASE_ENCODE ? &s->figures.encode_ms : p == PHASE_FEED ? &s->figures.prefill_ms : &s->figures.decode_ms;
    if (atomic_exchange(&s->interrupt, false)) {
        st = generate_end(s, MO_END_INTERRUPTED, err);
    } else {
        pthread_mutex_lock(&s->m->step_lock);
        st = p == PHASE_ENCODE ? step_encode(s, err) : p == PHASE_FEED ? step_feed(s, err) : generate_step(s, err);
        pthread_mutex_unlock(&s->m->step_lock);
    }
    *spent += clock_ms() - start;
    if (st == MO_OK && s->is_ended) st = finish(s, err);
    return st == MO_OK ? st : give_up(s, st);
}
