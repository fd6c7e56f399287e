/* The duplex sampler: each decision of a one-second unit is listen, speak, a text token or an end.
 *
 *     draw from softmax(logits): <|chunk_eos|>?  -> that, unrecorded
 *     forbidden ids (with chunk_eos) -> repetition penalty {last 512 ids} -> length penalty on turn_eos -> listen settings
 *            -> argmax, or temperature -> top-k -> top-p -> draw, recorded
 *
 * TRAP: the repetition penalty above 1 divides, below 1 multiplies by 1/p, whatever the logit's sign, so that it favours
 * repeats among negative logits. The reference's behaviour, kept. Source: ../shared/spec/omni-session.md 5.6.
 */
#include "session/sampling.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "session/sampling_common.h"

struct duplex_sampler {
    sampling_base base;
    duplex_params params;
    duplex_ids ids;
    int32_t *forbidden;
    int32_t n_forbidden;
    int32_t *recent;          /* [repetition_window] ring */
    int32_t n_recent, i_next; /* filled length; where the next id goes */
};

duplex_params duplex_params_default(void)
{
    return (duplex_params){ .do_sample = true,
                            .temperature = 0.7f,
                            .top_k = 20,
                            .top_p = 0.8f,
                            .repetition_penalty = 1.05f,
                            .repetition_window = 512,
                            .length_penalty = 1.1f,
                            .listen_prob_scale = 1.0f };
}

mo_status duplex_params_check(const duplex_params *p, mo_error *err)
{
    mo_status st;

    if ((st = sampling_check("temperature", p->temperature, 0, 100, err)) != MO_OK ||
        (st = sampling_check("top_k", p->top_k, 0, INT32_MAX, err)) != MO_OK ||
        (st = sampling_check("top_p", p->top_p, 0, 1, err)) != MO_OK ||
        (st = sampling_check_positive("text_repetition_penalty", p->repetition_penalty, 100, err)) != MO_OK ||
        (st = sampling_check("text_repetition_window_size", p->repetition_window, 1, 65536, err)) != MO_OK ||
        (st = sampling_check_positive("length_penalty", p->length_penalty, 100, err)) != MO_OK ||
        (st = sampling_check("listen_prob_scale", p->listen_prob_scale, 0, 100, err)) != MO_OK)
        return st;
    return sampling_check("listen_top_k", p->listen_top_k, 0, INT32_MAX, err);
}

mo_status duplex_sampler_open(duplex_sampler **out, int32_t n_vocab, const duplex_params *p, duplex_ids ids, id_list forbidden,
                              draw_scratch *shared, mo_error *err)
{
    duplex_sampler *s;
    mo_status st;

    *out = NULL;
    if ((st = duplex_params_check(p, err)) != MO_OK) return st;
    if (ids.chunk_eos < 0 || ids.chunk_eos >= n_vocab || ids.turn_eos < 0 || ids.turn_eos >= n_vocab || ids.listen >= n_vocab)
        return mo_fail(err, MO_E_ARG, "duplex needs <|chunk_eos|> and <|turn_eos|> within the vocabulary of %d, got %d and %d",
                       (int)n_vocab, (int)ids.chunk_eos, (int)ids.turn_eos);
    if (!(s = mo_zalloc(sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for a duplex sampler");
    s->params = *p;
    s->ids = ids;
    if ((st = sampling_base_open(&s->base, n_vocab, p->seed, shared, err)) != MO_OK) goto fail;
    if ((st = sampling_ids_copy(&s->forbidden, &s->n_forbidden, forbidden, n_vocab, err)) != MO_OK) goto fail;
    if (!(s->recent = mo_calloc((size_t)p->repetition_window, sizeof *s->recent))) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for a duplex sampler's history");
        goto fail;
    }
    *out = s;
    return MO_OK;
fail:
    duplex_sampler_close(s);
    return st;
}

void duplex_sampler_close(duplex_sampler *s)
{
    if (!s) return;
    sampling_base_close(&s->base);
    mo_free(s->forbidden);
    mo_free(s->recent);
    mo_free(s);
}

void duplex_sampler_set_u(duplex_sampler *s, u_source u) { s->base.u = u; }

void duplex_sampler_record(duplex_sampler *s, int32_t id)
{
    if (id < 0 || id >= s->base.scratch->n_vocab) return;
    s->recent[s->i_next] = id;
    s->i_next = (s->i_next + 1) % s->params.repetition_window;
    if (s->n_recent < s->params.repetition_window) s->n_recent++;
}

/* Forbidden ids end as -inf whether masked first, as in the reference, or last. Repeats are penalised once,
 * since each time it is the untouched logit that is divided. */
static void edit(const duplex_sampler *s, const float *logits, float *scores)
{
    const duplex_params *p = &s->params;
    float inverse = (float)(1.0 / (double)p->repetition_penalty);

    if (p->repetition_penalty != 1.0f)
        for (int32_t i = 0; i < s->n_recent; i++) {
            int32_t id = s->recent[i];

            scores[id] = p->repetition_penalty > 1.0f ? logits[id] / p->repetition_penalty : logits[id] * inverse;
        }
    for (int32_t i = 0; i < s->n_forbidden; i++) scores[s->forbidden[i]] = -INFINITY;
    scores[s->ids.chunk_eos] = -INFINITY;
    if (p->length_penalty != 1.0f) scores[s->ids.turn_eos] = draw_penalised(scores[s->ids.turn_eos], p->length_penalty);
    if (s->ids.listen >= 0 && p->listen_prob_scale != 1.0f) scores[s->ids.listen] *= p->listen_prob_scale;
}

/* Is `listen` among the listen_top_k best? */
static bool listens_at_once(const duplex_sampler *s, const float *scores)
{
    int32_t n_above = 0, n = s->base.scratch->n_vocab;
    float x;

    if (s->ids.listen < 0 || !s->params.listen_top_k) return false;
    x = scores[s->ids.listen];
    for (int32_t i = 0; i < n; i++) n_above += scores[i] > x;
    return x > -INFINITY && n_above < s->params.listen_top_k;
}

static bool ends_chunk(duplex_sampler *s, const float *logits, bool greedy)
{
    int32_t n = s->base.scratch->n_vocab, best;

    if (!greedy) return draw_would_give(logits, n, s->ids.chunk_eos, sampling_base_u(&s->base));
    return draw_argmax(logits, n, &best, NULL) == MO_OK && best == s->ids.chunk_eos;
}

mo_status duplex_sampler_next(duplex_sampler *s, const float *logits, int32_t *id, mo_error *err)
{
    const duplex_params *p = &s->params;
    draw_scratch *d = s->base.scratch;
    bool greedy = !p->do_sample || p->temperature < TEMPERATURE_MIN;
    draw_filter f = { .temperature = p->temperature, .top_k = p->top_k, .top_p = p->top_p > 0.0f ? p->top_p : 1.0f, .top_p_exceeds = true };
    mo_status st;

    if (ends_chunk(s, logits, greedy)) {
        *id = s->ids.chunk_eos;
        return MO_OK;
    }
    memcpy(d->scores, logits, (size_t)d->n_vocab * sizeof *logits);
    edit(s, logits, d->scores);
    if (listens_at_once(s, d->scores)) {
        *id = s->ids.listen;
        return MO_OK;
    }
    if (greedy) st = draw_argmax(d->scores, d->n_vocab, id, err);
    else st = draw_sample(d, &f, sampling_base_u(&s->base), id, err);
    if (st == MO_OK) duplex_sampler_record(s, *id);
    return st;
}

void duplex_sampler_reset(duplex_sampler *s, uint64_t seed)
{
    s->n_recent = s->i_next = 0;
    rng_seed(&s->base.rng, seed);
}

void duplex_sampler_copy(duplex_sampler *dst, const duplex_sampler *src)
{
    memcpy(dst->recent, src->recent, (size_t)src->n_recent * sizeof *dst->recent);
    dst->n_recent = src->n_recent;
    dst->i_next = src->i_next;
    dst->base.rng = src->base.rng;
}
