/* The stream sampler: half-duplex replies, generated in chunks that alternate with speech.
 *
 *     logits -> forbidden ids -> repetition penalty {last 128 ids of earlier chunks} + {this chunk}
 *            -> length penalty on terminators -> argmax, or temperature -> top-k -> top-p -> draw
 *
 * Source: ../shared/spec/omni-session.md 4.4.
 */
#include "session/sampling.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "session/sampling_common.h"

struct stream_sampler {
    sampling_base base;
    stream_params params;
    int32_t *terminator, *forbidden;
    int32_t n_terminator, n_forbidden;
    int32_t n_chunk_max;
    int32_t n_earlier, n_chunk; /* ids in recent: first the earlier chunks', then this chunk's */
    int32_t *recent;            /* [STREAM_WINDOW + n_chunk_max] */
};

stream_params stream_params_default(void)
{
    return (stream_params){
        .do_sample = true, .temperature = 0.7f, .top_k = 100, .top_p = 0.8f, .repetition_penalty = 1.02f, .length_penalty = 1.0f
    };
}

mo_status stream_params_check(const stream_params *p, mo_error *err)
{
    mo_status st;

    if ((st = sampling_check("temperature", p->temperature, 0, 100, err)) != MO_OK ||
        (st = sampling_check("top_k", p->top_k, 0, INT32_MAX, err)) != MO_OK ||
        (st = sampling_check("top_p", p->top_p, 0, 1, err)) != MO_OK ||
        (st = sampling_check_positive("repetition_penalty", p->repetition_penalty, 100, err)) != MO_OK)
        return st;
    return sampling_check_positive("length_penalty", p->length_penalty, 100, err);
}

mo_status stream_sampler_open(stream_sampler **out, int32_t n_vocab, const stream_params *p, id_list terminators, id_list forbidden,
                              int32_t n_chunk_max, draw_scratch *shared, mo_error *err)
{
    stream_sampler *s;
    mo_status st;

    *out = NULL;
    if ((st = stream_params_check(p, err)) != MO_OK) return st;
    if ((st = sampling_check("tokens per chunk", n_chunk_max, 1, 1 << 20, err)) != MO_OK) return st;
    if (!(s = mo_zalloc(sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for a stream sampler");
    s->params = *p;
    s->n_chunk_max = n_chunk_max;
    if ((st = sampling_base_open(&s->base, n_vocab, p->seed, shared, err)) != MO_OK) goto fail;
    if ((st = sampling_ids_copy(&s->terminator, &s->n_terminator, terminators, n_vocab, err)) != MO_OK) goto fail;
    if ((st = sampling_ids_copy(&s->forbidden, &s->n_forbidden, forbidden, n_vocab, err)) != MO_OK) goto fail;
    if (!(s->recent = mo_calloc(STREAM_WINDOW + (size_t)n_chunk_max, sizeof *s->recent))) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for a stream sampler's history");
        goto fail;
    }
    *out = s;
    return MO_OK;
fail:
    stream_sampler_close(s);
    return st;
}

void stream_sampler_close(stream_sampler *s)
{
    if (!s) return;
    sampling_base_close(&s->base);
    mo_free(s->terminator);
    mo_free(s->forbidden);
    mo_free(s->recent);
    mo_free(s);
}

void stream_sampler_set_u(stream_sampler *s, u_source u) { s->base.u = u; }

void stream_sampler_begin_turn(stream_sampler *s) { s->n_earlier = s->n_chunk = 0; }

void stream_sampler_begin_chunk(stream_sampler *s)
{
    int32_t n = s->n_earlier + s->n_chunk, keep = n < STREAM_WINDOW ? n : STREAM_WINDOW;

    memmove(s->recent, s->recent + (n - keep), (size_t)keep * sizeof *s->recent);
    s->n_earlier = keep;
    s->n_chunk = 0;
}

void stream_sampler_earlier(stream_sampler *s, id_list ids)
{
    stream_sampler_begin_chunk(s);
    for (int32_t i = 0; i < ids.n; i++) {
        if (ids.id[i] < 0 || ids.id[i] >= s->base.scratch->n_vocab) continue;
        if (s->n_earlier == STREAM_WINDOW) memmove(s->recent, s->recent + 1, (size_t)--s->n_earlier * sizeof *s->recent);
        s->recent[s->n_earlier++] = ids.id[i];
    }
}

/* The edits commute as far as the reference's order matters: penalties are taken from the untouched logits, so that an id
 * met twice is penalised once, and a forbidden id is -inf whether masked before or after. */
static void edit(const stream_sampler *s, const float *logits, float *scores)
{
    const stream_params *p = &s->params;
    int32_t n = s->n_earlier + s->n_chunk;

    if (p->repetition_penalty != 1.0f)
        for (int32_t i = 0; i < n; i++) scores[s->recent[i]] = draw_penalised(logits[s->recent[i]], p->repetition_penalty);
    for (int32_t i = 0; i < s->n_forbidden; i++) scores[s->forbidden[i]] = -INFINITY;
    if (p->length_penalty != 1.0f)
        for (int32_t i = 0; i < s->n_terminator; i++)
            scores[s->terminator[i]] = draw_penalised(scores[s->terminator[i]], p->length_penalty);
}

mo_status stream_sampler_next(stream_sampler *s, const float *logits, int32_t *id, bool *finished, mo_error *err)
{
    const stream_params *p = &s->params;
    draw_scratch *d = s->base.scratch;
    draw_filter f = { .temperature = p->temperature, .top_k = p->top_k, .top_k_exact = true, .top_p = p->top_p, .top_p_exceeds = true };
    mo_status st;

    if (s->n_chunk == s->n_chunk_max) return mo_fail(err, MO_E_LIMIT, "the chunk already has its %d tokens", (int)s->n_chunk_max);
    memcpy(d->scores, logits, (size_t)d->n_vocab * sizeof *logits);
    edit(s, logits, d->scores);
    if (!p->do_sample || p->temperature < TEMPERATURE_MIN) st = draw_argmax(d->scores, d->n_vocab, id, err);
    else st = draw_sample(d, &f, sampling_base_u(&s->base), id, err);
    if (st != MO_OK) return st;
    *finished = sampling_ids_have(s->terminator, s->n_terminator, *id);
    if (!*finished) s->recent[s->n_earlier + s->n_chunk++] = *id;
    return MO_OK;
}

void stream_sampler_copy(stream_sampler *dst, const stream_sampler *src)
{
    dst->n_earlier = src->n_earlier;
    dst->n_chunk = src->n_chunk;
    memcpy(dst->recent, src->recent, (size_t)(src->n_earlier + src->n_chunk) * sizeof *dst->recent);
    dst->base.rng = src->base.rng;
}
