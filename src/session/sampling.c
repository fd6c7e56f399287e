/* The chat sampler: what Hugging Face generate() does under the model's chat(), in its order.
 *
 *     logits -> repetition penalty (set of generated ids) -> presence, frequency -> end ids: length penalty, min_new_tokens
 *            -> argmax, or temperature -> top-k -> top-p -> min-p -> draw
 *
 * Presence, frequency and length penalties are additions of ours, neutral by default.
 * Source: ../shared/spec/omni-session.md 3.5 and ../shared/golden/llm/README.md, stage sample.
 */
#include "session/sampling.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "session/sampling_common.h"

struct sampler {
    sampling_base base;
    sampler_params params;
    int32_t *end_id; /* [n_end] */
    int32_t n_end;
    int32_t n_accepted; /* tokens so far, with repeats */
    size_t n_word;
    uint64_t *seen;  /* [n_word] one bit per vocabulary id: the history as a set */
    uint16_t *count; /* [n_vocab] times generated, saturating; only if presence or frequency penalty is on */
};

sampler_params sampler_params_default(void)
{
    return (sampler_params){
        .do_sample = true, .temperature = 0.7f, .top_k = 100, .top_p = 0.8f, .repetition_penalty = 1.02f, .length_penalty = 1.0f
    };
}

mo_status sampler_params_check(const sampler_params *p, mo_error *err)
{
    mo_status st;

    if ((st = sampling_check("temperature", p->temperature, 0, 100, err)) != MO_OK ||
        (st = sampling_check("top_k", p->top_k, 0, INT32_MAX, err)) != MO_OK ||
        (st = sampling_check("top_p", p->top_p, 0, 1, err)) != MO_OK || (st = sampling_check("min_p", p->min_p, 0, 1, err)) != MO_OK ||
        (st = sampling_check_positive("repetition_penalty", p->repetition_penalty, 100, err)) != MO_OK ||
        (st = sampling_check("presence_penalty", p->presence_penalty, -2, 2, err)) != MO_OK ||
        (st = sampling_check("frequency_penalty", p->frequency_penalty, -2, 2, err)) != MO_OK ||
        (st = sampling_check_positive("length_penalty", p->length_penalty, 100, err)) != MO_OK)
        return st;
    return sampling_check("min_new_tokens", p->min_new_tokens, 0, INT32_MAX, err);
}

static bool counts(const sampler_params *p) { return p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f; }

mo_status sampler_open(sampler **out, int32_t n_vocab, const sampler_params *p, id_list end_ids, draw_scratch *shared, mo_error *err)
{
    sampler *s;
    mo_status st;

    *out = NULL;
    if ((st = sampler_params_check(p, err)) != MO_OK) return st;
    if (!(s = mo_zalloc(sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for a sampler");
    s->params = *p;
    if ((st = sampling_base_open(&s->base, n_vocab, p->seed, shared, err)) != MO_OK) goto fail;
    if ((st = sampling_ids_copy(&s->end_id, &s->n_end, end_ids, n_vocab, err)) != MO_OK) goto fail;
    s->n_word = ((size_t)n_vocab + 63) / 64;
    if (!(s->seen = mo_calloc(s->n_word, sizeof *s->seen)) || (counts(p) && !(s->count = mo_calloc((size_t)n_vocab, sizeof *s->count)))) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for a sampler's history of %d tokens", (int)n_vocab);
        goto fail;
    }
    *out = s;
    return MO_OK;
fail:
    sampler_close(s);
    return st;
}

void sampler_close(sampler *s)
{
    if (!s) return;
    sampling_base_close(&s->base);
    mo_free(s->end_id);
    mo_free(s->seen);
    mo_free(s->count);
    mo_free(s);
}

void sampler_set_u(sampler *s, u_source u) { s->base.u = u; }

/* Penalties on every id of the history. A sparse bitmap: 2372 words for 151,748 ids, a microsecond to walk. */
static void penalise_history(const sampler *s, float *scores)
{
    const sampler_params *p = &s->params;

    if (!s->n_accepted || (p->repetition_penalty == 1.0f && !s->count)) return;
    for (size_t iw = 0; iw < s->n_word; iw++)
        for (uint64_t w = s->seen[iw]; w; w &= w - 1) {
            size_t id = iw * 64 + (size_t)__builtin_ctzll(w);

            if (p->repetition_penalty != 1.0f) scores[id] = draw_penalised(scores[id], p->repetition_penalty);
            if (s->count) scores[id] -= p->presence_penalty + p->frequency_penalty * (float)s->count[id];
        }
}

static void edit_ends(const sampler *s, float *scores)
{
    const sampler_params *p = &s->params;

    for (int32_t i = 0; i < s->n_end; i++) {
        float *x = &scores[s->end_id[i]];

        if (s->n_accepted < p->min_new_tokens) *x = -INFINITY;
        else if (p->length_penalty != 1.0f) *x = draw_penalised(*x, p->length_penalty);
    }
}

mo_status sampler_next(sampler *s, const float *logits, int32_t *id, mo_error *err)
{
    const sampler_params *p = &s->params;
    draw_scratch *d = s->base.scratch;
    draw_filter f = { .temperature = p->temperature, .top_k = p->top_k, .top_p = p->top_p, .min_p = p->min_p };

    memcpy(d->scores, logits, (size_t)d->n_vocab * sizeof *logits);
    penalise_history(s, d->scores);
    edit_ends(s, d->scores);
    if (!p->do_sample || p->temperature < TEMPERATURE_MIN) return draw_argmax(d->scores, d->n_vocab, id, err);
    return draw_sample(d, &f, sampling_base_u(&s->base), id, err);
}

void sampler_accept(sampler *s, int32_t id)
{
    if (id < 0 || id >= s->base.scratch->n_vocab) return;
    s->seen[(size_t)id / 64] |= (uint64_t)1 << (id % 64);
    if (s->count && s->count[id] < UINT16_MAX) s->count[id]++;
    if (s->n_accepted < INT32_MAX) s->n_accepted++;
}

bool sampler_is_end(const sampler *s, int32_t id) { return sampling_ids_have(s->end_id, s->n_end, id); }

void sampler_reset(sampler *s, uint64_t seed)
{
    memset(s->seen, 0, s->n_word * sizeof *s->seen);
    if (s->count) memset(s->count, 0, (size_t)s->base.scratch->n_vocab * sizeof *s->count);
    s->n_accepted = 0;
    rng_seed(&s->base.rng, seed);
}

void sampler_copy(sampler *dst, const sampler *src)
{
    memcpy(dst->seen, src->seen, dst->n_word * sizeof *dst->seen);
    if (dst->count && src->count) memcpy(dst->count, src->count, (size_t)dst->base.scratch->n_vocab * sizeof *dst->count);
    dst->n_accepted = src->n_accepted;
    dst->base.rng = src->base.rng;
}
