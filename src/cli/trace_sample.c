/* Stage `sample` of `minicpmo trace` (trace_sample.h). The cases give the uniform numbers, so that answers are exact.
 *
 * logits: {"synth": [NAME, [n]], "amp": A, "add": B, "set": [[id, value], ...]}: A * x(i) + B, then the listed ids replaced;
 * the same for every decision of a case.
 */
#include "cli/trace_sample.h"

#include <string.h>

#include "core/alloc.h"
#include "core/buf.h"
#include "models/checkpoint.h"
#include "session/forbidden.h"
#include "session/sampling.h"
#include "tokenizer/tokenizer.h"

/* The case's uniform numbers one after the other; a missing one is counted instead of invented. */
typedef struct u_list {
    const json_t *at; /* array */
    size_t i, n_missing;
} u_list;

/* One case while it runs. */
typedef struct sample_case {
    const json_t *input;
    const tokenizer *t;
    float *logits; /* [n_vocab] */
    size_t n_vocab;
    ids history, forbidden, chosen;
    u_list u;
} sample_case;

static double u_list_next(void *user)
{
    u_list *u = user;
    const json_t *x = json_array_get(u->at, u->i++);

    if (!x) u->n_missing++;
    return json_number_value(x);
}

static double number(const json_t *o, const char *key, double otherwise)
{
    const json_t *x = json_object_get(o, key);

    return json_is_number(x) ? json_number_value(x) : otherwise;
}

static int32_t integer(const json_t *o, const char *key) { return (int32_t)number(o, key, 0); }

static mo_status load_logits(sample_case *c, mo_error *err)
{
    const json_t *spec = json_object_get(c->input, "logits"), *set = json_object_get(spec, "set"), *pair;
    float add = (float)number(spec, "add", 0);
    size_t i;
    mo_status st = trace_synth_array(&c->logits, &c->n_vocab, spec, err);

    if (st != MO_OK) return st;
    if (c->n_vocab < 1 || c->n_vocab > INT32_MAX) return mo_fail(err, MO_E_FORMAT, "the case's logits have %zu entries", c->n_vocab);
    for (i = 0; i < c->n_vocab; i++) c->logits[i] += add;
    json_array_foreach(set, i, pair) {
        json_int_t id = json_integer_value(json_array_get(pair, 0));

        if (id < 0 || (size_t)id >= c->n_vocab) return mo_fail(err, MO_E_FORMAT, "the case sets the logit of token %lld", (long long)id);
        c->logits[id] = (float)json_number_value(json_array_get(pair, 1));
    }
    return MO_OK;
}

static mo_status load_history(sample_case *c, mo_error *err)
{
    const json_t *list = json_object_get(c->input, "history"), *x;
    size_t i;

    json_array_foreach(list, i, x) ids_put(&c->history, (int32_t)json_integer_value(x));
    return c->history.failed ? mo_fail(err, MO_E_NOMEM, "no memory for the case's history") : MO_OK;
}

/* How many decisions: `steps`, else one per entry of u. */
static size_t n_decision(const sample_case *c)
{
    const json_t *steps = json_object_get(c->input, "steps");

    return json_is_integer(steps) ? (size_t)json_integer_value(steps) : json_array_size(json_object_get(c->input, "u"));
}

static mo_status put_ids(trace_out *out, const char *name, const ids *v, mo_error *err)
{
    json_t *a = json_array();

    if (v->failed) {
        json_decref(a);
        return mo_fail(err, MO_E_NOMEM, "no memory for ids");
    }
    for (size_t i = 0; i < v->len; i++) json_array_append_new(a, json_integer(v->data[i]));
    return trace_put_json(out, name, a, err);
}

static mo_status u_complete(const sample_case *c, mo_error *err)
{
    return c->u.n_missing ? mo_fail(err, MO_E_FORMAT, "the case's u has too few numbers") : MO_OK;
}

static mo_status run_chat(sample_case *c, trace_out *out, mo_error *err)
{
    const json_t *in = c->input;
    sampler_params p = sampler_params_default();
    int32_t end[] = { tokenizer_find(c->t, "<|im_end|>"), tokenizer_find(c->t, "<|endoftext|>") };
    bool append = json_is_true(json_object_get(in, "append"));
    sampler *s = NULL;
    mo_status st;

    p.do_sample = json_is_true(json_object_get(in, "do_sample"));
    p.temperature = (float)number(in, "temperature", p.temperature);
    p.top_k = (int32_t)number(in, "top_k", p.top_k);
    p.top_p = (float)number(in, "top_p", p.top_p);
    p.min_p = (float)number(in, "min_p", 0);
    p.repetition_penalty = (float)number(in, "repetition_penalty", p.repetition_penalty);
    p.min_new_tokens = integer(in, "min_new_tokens");
    if ((st = sampler_open(&s, (int32_t)c->n_vocab, &p, (id_list){ end, 2 }, NULL, err)) != MO_OK) return st;
    c->u.at = json_object_get(in, "u");
    sampler_set_u(s, (u_source){ u_list_next, &c->u });
    for (size_t i = 0; i < c->history.len; i++) sampler_accept(s, c->history.data[i]);
    for (size_t i = 0; i < n_decision(c) && st == MO_OK; i++) {
        int32_t id;

        if ((st = sampler_next(s, c->logits, &id, err)) != MO_OK) break;
        ids_put(&c->chosen, id);
        if (append) sampler_accept(s, id);
    }
    sampler_close(s);
    if (st != MO_OK || (st = u_complete(c, err)) != MO_OK) return st;
    return put_ids(out, "ids", &c->chosen, err);
}

static mo_status run_stream(sample_case *c, trace_out *out, mo_error *err)
{
    const json_t *in = c->input;
    stream_params p = stream_params_default();
    int32_t end[] = { tokenizer_find(c->t, "<|tts_eos|>"), tokenizer_find(c->t, "<|im_end|>"), tokenizer_find(c->t, "</s>") };
    size_t n = n_decision(c);
    bool finished = false;
    stream_sampler *s = NULL;
    mo_status st;

    p.do_sample = json_is_true(json_object_get(in, "do_sample"));
    p.temperature = (float)number(in, "temperature", p.temperature);
    p.top_k = (int32_t)number(in, "top_k", p.top_k);
    p.top_p = (float)number(in, "top_p", p.top_p);
    p.repetition_penalty = (float)number(in, "repetition_penalty", p.repetition_penalty);
    p.length_penalty = (float)number(in, "length_penalty", p.length_penalty);
    if (n < 1 || n > INT32_MAX) return mo_fail(err, MO_E_FORMAT, "the case asks for %zu steps", n);
    if (json_is_true(json_object_get(in, "suppress_forbidden")) && (st = forbidden_for_stream(&c->forbidden, c->t, err)) != MO_OK)
        return st;
    st = stream_sampler_open(&s, (int32_t)c->n_vocab, &p, (id_list){ end, 3 }, (id_list){ c->forbidden.data, (int32_t)c->forbidden.len },
                             (int32_t)n, NULL, err);
    if (st != MO_OK) return st;
    c->u.at = json_object_get(in, "u");
    stream_sampler_set_u(s, (u_source){ u_list_next, &c->u });
    stream_sampler_earlier(s, (id_list){ c->history.data, (int32_t)c->history.len });
    for (size_t i = 0; i < n && !finished; i++) {
        int32_t id;

        if ((st = stream_sampler_next(s, c->logits, &id, &finished, err)) != MO_OK) break;
        if (!finished) ids_put(&c->chosen, id);
    }
    stream_sampler_close(s);
    if (st != MO_OK || (st = u_complete(c, err)) != MO_OK || (st = put_ids(out, "ids", &c->chosen, err)) != MO_OK) return st;
    return trace_put_json(out, "finished", json_boolean(finished), err);
}

static mo_status run_duplex(sample_case *c, trace_out *out, mo_error *err)
{
    const json_t *in = c->input, *mode = json_object_get(in, "mode");
    duplex_params p = duplex_params_default();
    duplex_ids special = { tokenizer_find(c->t, "<|chunk_eos|>"), tokenizer_find(c->t, "<|turn_eos|>"),
                           tokenizer_find(c->t, "<|im_end|>") };
    duplex_sampler *s = NULL;
    mo_status st;

    p.do_sample = !(json_is_string(mode) && !strcmp(json_string_value(mode), "greedy"));
    p.temperature = (float)number(in, "temperature", p.temperature);
    p.top_k = (int32_t)number(in, "top_k", p.top_k);
    p.top_p = (float)number(in, "top_p", p.top_p);
    p.repetition_penalty = (float)number(in, "text_repetition_penalty", p.repetition_penalty);
    p.repetition_window = (int32_t)number(in, "text_repetition_window_size", p.repetition_window);
    p.length_penalty = (float)number(in, "length_penalty", p.length_penalty);
    if ((st = forbidden_for_duplex(&c->forbidden, c->t, err)) != MO_OK) return st;
    st = duplex_sampler_open(&s, (int32_t)c->n_vocab, &p, special, (id_list){ c->forbidden.data, (int32_t)c->forbidden.len }, NULL, err);
    if (st != MO_OK) return st;
    duplex_sampler_set_u(s, (u_source){ u_list_next, &c->u });
    for (size_t i = 0; i < c->history.len; i++) duplex_sampler_record(s, c->history.data[i]);
    for (size_t i = 0; i < n_decision(c); i++) {
        int32_t id;

        c->u.at = json_array_get(json_object_get(in, "u"), i); /* each decision has its own pair */
        c->u.i = 0;
        if ((st = duplex_sampler_next(s, c->logits, &id, err)) != MO_OK) break;
        ids_put(&c->chosen, id);
        if (id != special.chunk_eos) ids_put(&c->history, id);
    }
    duplex_sampler_close(s);
    if (st != MO_OK || (st = u_complete(c, err)) != MO_OK || (st = put_ids(out, "ids", &c->chosen, err)) != MO_OK) return st;
    return put_ids(out, "history", &c->history, err);
}

mo_status trace_sample_case(const tokenizer *t, const json_t *input, trace_out *out, mo_error *err)
{
    const char *kind = json_string_value(json_object_get(input, "sampler"));
    sample_case c = { .input = input, .t = t };
    mo_status st;

    if ((st = load_logits(&c, err)) == MO_OK && (st = load_history(&c, err)) == MO_OK) {
        if (kind && !strcmp(kind, "chat")) st = run_chat(&c, out, err);
        else if (kind && !strcmp(kind, "stream")) st = run_stream(&c, out, err);
        else if (kind && !strcmp(kind, "duplex")) st = run_duplex(&c, out, err);
        else st = mo_fail(err, MO_E_FORMAT, "the case's sampler is '%s', must be chat, stream or duplex", kind ? kind : "missing");
    }
    ids_free(&c.history);
    ids_free(&c.forbidden);
    ids_free(&c.chosen);
    mo_free(c.logits);
    return st;
}

mo_status trace_sample_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    tokenizer *t;
    mo_status st;

    *known = !strcmp(stage, "sample");
    if (!*known) return MO_OK;
    if ((st = checkpoint_open_tokenizer(&t, ctx->model_dir, err)) != MO_OK) return st;
    st = trace_sample_case(t, input, out, err);
    tokenizer_close(t);
    return st;
}
