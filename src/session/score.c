/* How well the model foresees a text (mo_session_score), and a text as ids.
 *
 *     ids --n_ubatch at a time--> hidden rows --a few at a time--> logits --> -ln p(next id)
 *
 * Hidden rows first: the logits of a whole pass would be hundreds of megabytes.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "session/session.h"
#include "tokenizer/unicode.h"

/* ---- ids -------------------------------------------------------------------------------------------------------- */

mo_status mo_model_tokenize(const mo_model *m, const char *text, size_t n, int32_t **id, size_t *n_id, mo_error *err)
{
    ids v = { 0 };
    mo_status st;

    *id = NULL;
    *n_id = 0;
    if (!text && n) return mo_fail(err, MO_E_ARG, "text is NULL");
    if (!utf8_is_valid(text, n)) return mo_fail(err, MO_E_ARG, "a text of %zu bytes is not UTF-8", n);
    st = tokenizer_encode_plain(m->tok, text ? text : "", n, &v, err);
    for (size_t i = 0; st == MO_OK && i < v.len; i++)
        if (v.data[i] < 0 || v.data[i] >= m->cfg.llm.n_vocab)
            st = mo_fail(err, MO_E_FORMAT, "the tokenizer gives id %d and the model has a vocabulary of %d: they do not belong together",
                         v.data[i], m->cfg.llm.n_vocab);
    if (st != MO_OK) {
        ids_free(&v);
        return st;
    }
    *id = v.data;
    *n_id = v.len;
    return MO_OK;
}

void mo_ids_free(int32_t *id) { mo_free(id); }

int32_t mo_model_n_vocab(const mo_model *m) { return m->cfg.llm.n_vocab; }

int32_t mo_model_bos(const mo_model *m)
{
    tokenizer_roles r = tokenizer_get_roles(m->tok);

    return r.add_bos && r.bos < m->cfg.llm.n_vocab ? r.bos : -1;
}

/* ---- scores ----------------------------------------------------------------------------------------------------- */

typedef struct score {
    mo_session *s;
    const int32_t *id;
    int32_t n, first; /* of the text; position whose token is the first to be scored */
    float *nll;
    mo_logits_fn row;
    void *user;
} score;

/* -ln softmax(x)[id]; summed in double. */
static float surprise(const float *x, int32_t n, int32_t id)
{
    float most = x[0];
    double sum = 0;

    for (int32_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    for (int32_t i = 0; i < n; i++) sum += (double)expf(x[i] - most);
    return (float)(log(sum) + (double)most - (double)x[id]);
}

/* The hidden rows of positions [at, at + n), in s->embd, to what the tokens that follow them are foreseen with. */
static mo_status judge(const score *c, int32_t at, int32_t n, mo_error *err)
{
    mo_session *s = c->s;
    mo_model *m = s->m;
    int32_t n_vocab = m->cfg.llm.n_vocab, most = session_logit_rows(m, &s->o);
    mo_status st = MO_OK;

    for (int32_t i = 0; st == MO_OK && i < n; i += most) {
        int32_t k = n - i < most ? n - i : most;
        const float *hidden = s->embd + (int64_t)i * m->cfg.llm.n_embd;

        st = llm_logits(m->llm, &m->scratch, m->opts.n_ubatch, hidden, k, s->logits, err);
        for (int32_t j = 0; st == MO_OK && j < k; j++) {
            const float *x = s->logits + (int64_t)j * n_vocab;
            int32_t pos = at + i + j + 1;
            if (c->nll) c->nll[pos] = surprise(x, n_vocab, c->id[pos]);
            if (c->row && (st = c->row(c->user, pos, x)) != MO_OK) mo_fail(err, st, "the caller ended the scoring at position %d", pos);
        }
    }
    return st;
}

/* Positions [at, at + n) through the model, and what is to be scored of them. */
static mo_status pass(const score *c, int32_t at, int32_t n, mo_error *err)
{
    mo_session *s = c->s;
    llm_batch b = { .n_row = n, .token = c->id + at, .seq = s->feed_seq, .want = s->want };
    int32_t skip = c->first - 1 > at ? c->first - 1 - at : 0; /* rows that foresee nothing of interest */
    mo_status st;

    for (int32_t i = 0; i < n; i++) s->want[i] = i < skip ? 0 : LLM_WANT_HIDDEN;
    pthread_mutex_lock(&s->m->step_lock);
    st = llm_forward(s->m->llm, &s->m->scratch, s->m->opts.n_ubatch, &b, NULL, s->embd, err);
    for (int32_t i = 0; st == MO_OK && i < n; i++) s->key[at + i] = c->id[at + i];
    if (st == MO_OK && skip < n) st = judge(c, at + skip, n - skip, err);
    pthread_mutex_unlock(&s->m->step_lock);
    return st;
}

static mo_status check(const score *c, mo_error *err)
{
    int32_t n_vocab = c->s->m->cfg.llm.n_vocab;

    if (!c->id) return mo_fail(err, MO_E_ARG, "the ids are NULL");
    if (c->first < 1 || c->first >= c->n || c->n > c->s->n_ctx)
        return mo_fail(err, MO_E_ARG, "scoring from position %d of %d; it must be 1 or more and below their number, and that at most %d",
                       c->first, c->n, c->s->n_ctx);
    for (int32_t i = 0; i < c->n; i++)
        if (c->id[i] < 0 || c->id[i] >= n_vocab)
            return mo_fail(err, MO_E_ARG, "token %d at position %d is outside the vocabulary of %d", c->id[i], i, n_vocab);
    return MO_OK;
}

/* From IDLE to PHASE_SCORE, in which nothing else may change the session, and back. */
static bool change_phase(mo_session *s, phase from, phase to)
{
    bool ok;

    pthread_mutex_lock(&s->lock);
    ok = s->phase == from;
    if (ok) s->phase = to;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

mo_status mo_session_score(mo_session *s, const int32_t *id, int32_t n, int32_t first, float *nll, mo_logits_fn row, void *user,
                           mo_error *err)
{
    const score c = { s, id, n, first, nll, row, user };
    int32_t n_ubatch = s->m->opts.n_ubatch;
    mo_status st = check(&c, err);

    if (st != MO_OK) return st;
    if (!change_phase(s, PHASE_IDLE, PHASE_SCORE))
        return mo_fail(err, MO_E_STATE, "an answer is being made: step until it ends, or interrupt it");
    atomic_store(&s->interrupt, false);
    kv_seq_truncate(&s->kv, 0);
    for (int32_t at = 0; st == MO_OK && at < n - 1; at += n_ubatch) {
        if (atomic_exchange(&s->interrupt, false)) st = mo_fail(err, MO_E_INTERRUPTED, "interrupted");
        else st = pass(&c, at, n - 1 - at < n_ubatch ? n - 1 - at : n_ubatch, err);
    }
    change_phase(s, PHASE_SCORE, PHASE_IDLE);
    return st;
}
