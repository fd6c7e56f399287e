/* Tokens of an answer (generate.h). */
#include "session/generate.h"

#include <string.h>

#include "core/clock.h"

/* Show what a token adds, as far as no stop text may be in it. */
static mo_status show(mo_session *s, const int32_t *id, size_t n, bool final, mo_error *err)
{
    size_t from = s->answer.len;
    mo_status st;

    buf_clear(&s->piece);
    if ((st = detokenizer_push(&s->detok, id, n, final, &s->piece, err)) != MO_OK) return st;
    if ((st = stop_push(s->stop, s->piece.data ? s->piece.data : "", s->piece.len, final, &s->answer, err)) != MO_OK) return st;
    pthread_mutex_lock(&s->box_lock);
    buf_put(&s->box.text, s->answer.data + from, s->answer.len - from);
    if (s->answer.failed || s->box.text.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the answer's text");
    pthread_mutex_unlock(&s->box_lock);
    return st;
}

/* Guesses that were fed and not chosen leave the cache. */
static void drop_draft(mo_session *s, int32_t n)
{
    kv_seq_truncate(&s->kv, s->kv.len - n);
    s->n_draft = 0;
}

mo_status generate_end(mo_session *s, mo_end_reason reason, mo_error *err)
{
    drop_draft(s, s->n_draft);
    s->figures.reason = reason;
    s->is_ended = true;
    return show(s, NULL, 0, true, err);
}

/* A chosen token joins the answer. n_past: cached positions before it. */
static mo_status take(mo_session *s, int32_t id, int32_t n_past, mo_error *err)
{
    mo_status st;

    sampler_accept(s->sampler, id);
    s->n_generated++;
    if (sampler_is_end(s->sampler, id)) return generate_end(s, MO_END_STOP, err);
    if (id == s->id_speech_end) s->past_speech_end = true; /* the answer's text ends here, the model's turn does not */
    if (!s->past_speech_end && (st = show(s, &id, 1, false, err)) != MO_OK) return st;
    if (stop_hit(s->stop)) return generate_end(s, MO_END_STOP_TEXT, err);
    if (s->n_generated >= s->o.max_tokens) return generate_end(s, MO_END_MAX_TOKENS, err);
    if (n_past + 1 > s->n_ctx) return generate_end(s, MO_END_CONTEXT, err);
    return MO_OK;
}

/* How many guesses may follow a token that is about to be fed: as many as could still be chosen, and have room. */
static int32_t draft_limit(const mo_session *s)
{
    int32_t n = s->o.max_tokens - s->n_generated - 1, n_room = s->n_ctx - s->kv.len - 1;

    return n < n_room ? n : n_room;
}

/* Feed the chosen token and what is guessed to follow; logits of all. */
static mo_status feed(mo_session *s, int32_t id, mo_error *err)
{
    int32_t n_end = (s->id_stop[0] >= 0) + (s->id_stop[1] >= 0), n_past = s->kv.len;
    int32_t n = drafter_propose(&s->draft, s->key, n_past, id, draft_limit(s), s->id_stop, n_end);
    llm_batch b = { .n_row = n + 1, .token = s->feed_token, .seq = s->feed_seq, .want = s->want };
    double start = clock_ms();
    mo_status st;

    s->feed_token[0] = id;
    memcpy(s->feed_token + 1, s->draft.token, (size_t)n * sizeof *s->feed_token);
    memset(s->want, LLM_WANT_LOGITS, (size_t)n + 1);
    if ((st = llm_forward(s->m->llm, &s->m->scratch, s->m->opts.n_ubatch, &b, s->logits, NULL, err)) != MO_OK) return st;
    drafter_took(&s->draft, n, clock_ms() - start);
    for (int32_t i = 0; i <= n; i++) s->key[n_past + i] = s->feed_token[i];
    s->n_draft = n;
    s->figures.n_drafted += n;
    return MO_OK;
}

mo_status generate_step(mo_session *s, mo_error *err)
{
    const float *row = s->logits;
    mo_status st;
    int32_t id;

    for (;; row += s->m->cfg.llm.n_vocab) {
        if ((st = sampler_next(s->sampler, row, &id, err)) != MO_OK) break;
        if ((st = take(s, id, s->kv.len - s->n_draft, err)) != MO_OK || s->is_ended) break;
        if (!drafter_saw(&s->draft, id)) break;
        s->n_draft--; /* it is cached already, and the next row is what follows it */
        s->figures.n_accepted++;
    }
    drop_draft(s, s->n_draft);
    return st != MO_OK || s->is_ended ? st : feed(s, id, err);
}
