/* Golden stage `llm`: ids or embeddings into the language model, its outputs and its cache out
 * (../shared/golden/llm/README.md).
 *
 *     input in chunks -> drops -> `then` -> hidden, logits, cache of a layer -> greedy continuation
 */
#include "cli/trace_llm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/llm_rig.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/cpu.h"
#include "session/sampling.h"

enum { N_UBATCH = 64, TOP_LOGITS = 20 };

typedef struct rig {
    llm_rig l;
    int32_t next_pos; /* rotary position of the next row */
    ids input, then;  /* ids; -1 where an embedding is given */
    float *embd;      /* given embeddings or NULL */
    float *hidden;    /* rows asked for, in order */
    int64_t n_hidden;
    float *logits; /* [n_vocab] of the last row */
    float *nll;    /* [rows of the input - 1], of a trained model; else NULL */
} rig;

static void rig_close(rig *r)
{
    llm_rig_close(&r->l);
    ids_free(&r->input);
    ids_free(&r->then);
    mo_free(r->embd);
    mo_free(r->hidden);
    mo_free(r->logits);
    mo_free(r->nll);
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

static void put_ids(ids *v, const json_t *list)
{
    const json_t *id;
    size_t i;

    json_array_foreach(list, i, id) ids_put(v, (int32_t)json_integer_value(id));
}

static mo_status read_input(rig *r, const json_t *input, mo_error *err)
{
    const json_t *embeds = json_object_get(input, "embeds");
    mo_status st;
    size_t n;

    put_ids(&r->input, json_object_get(input, "ids"));
    put_ids(&r->then, json_object_get(input, "then"));
    if (embeds) {
        if ((st = trace_synth_array(&r->embd, &n, embeds, err)) != MO_OK) return st;
        for (size_t i = 0; i < n / (size_t)r->l.ck.cfg.llm.n_embd; i++) ids_put(&r->input, -1);
    }
    r->next_pos = (int32_t)json_integer_value(json_object_get(input, "position_offset"));
    return r->input.failed || r->then.failed ? mo_fail(err, MO_E_NOMEM, "no memory for the input") : MO_OK;
}

/* ---- feeding ---------------------------------------------------------------------------------------------------- */

/* Feed ids (or embd rows) at the positions that follow; all rows' hidden states into hidden unless NULL, and logits: those of
 * the last row, or of all of them. */
static mo_status feed_rows(rig *r, const int32_t *id, const float *embd, int32_t n, float *hidden, float *logits, bool all, mo_error *err)
{
    kv_seq **seq = mo_calloc((size_t)n, sizeof(kv_seq *));
    int32_t *pos = mo_calloc((size_t)n, sizeof *pos);
    uint8_t *want = mo_calloc((size_t)n, 1);
    mo_status st = MO_OK;

    if (!seq || !pos || !want) st = mo_fail(err, MO_E_NOMEM, "no memory for %d rows", n);
    for (int32_t i = 0; st == MO_OK && i < n; i++) {
        seq[i] = &r->l.kv;
        pos[i] = r->next_pos + i;
        want[i] = (uint8_t)((hidden ? LLM_WANT_HIDDEN : 0) | (all || i == n - 1 ? LLM_WANT_LOGITS : 0));
    }
    if (st == MO_OK) {
        llm_batch b = { .n_row = n, .token = id, .embd = embd, .seq = seq, .pos = pos, .want = want };
        st = llm_forward(r->l.m, &r->l.s, N_UBATCH, &b, logits, hidden, err);
    }
    if (st == MO_OK) r->next_pos += n;
    mo_free(seq);
    mo_free(pos);
    mo_free(want);
    return st;
}

static mo_status feed(rig *r, const int32_t *id, const float *embd, int32_t n, float *hidden, mo_error *err)
{
    return feed_rows(r, id, embd, n, hidden, r->logits, false, err);
}

/* ln sum exp of n numbers. */
static double log_sum_exp(const float *x, int64_t n)
{
    double most = x[0], sum = 0;

    for (int64_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - most);
    return log(sum) + most;
}

/* The input in one go, with the logits of every position: r->nll[i] = -ln p(id i + 1). */
static mo_status feed_measured(rig *r, mo_error *err)
{
    const int64_t d = r->l.ck.cfg.llm.n_embd, n_vocab = r->l.ck.cfg.llm.n_vocab;
    const int32_t n = (int32_t)r->input.len;
    float *logits = mo_calloc((size_t)n_vocab * LLM_LOGIT_ROWS, sizeof *logits);
    mo_status st = MO_OK;

    r->nll = mo_calloc((size_t)n, sizeof *r->nll);
    if (!logits || !r->nll) st = mo_fail(err, MO_E_NOMEM, "no memory for the logits");
    for (int32_t i = 0; st == MO_OK && i < n; i += LLM_LOGIT_ROWS) {
        const int32_t k = n - i < LLM_LOGIT_ROWS ? n - i : LLM_LOGIT_ROWS;
        if ((st = feed_rows(r, r->input.data + i, NULL, k, r->hidden + i * d, logits, true, err)) != MO_OK) break;
        for (int32_t j = 0; j < k && i + j + 1 < n; j++) {
            const float *row = logits + j * n_vocab;
            r->nll[i + j] = (float)(log_sum_exp(row, n_vocab) - (double)row[r->input.data[i + j + 1]]);
        }
        memcpy(r->logits, logits + (k - 1) * n_vocab, (size_t)n_vocab * sizeof *logits);
    }
    r->n_hidden = n;
    mo_free(logits);
    return st;
}

static mo_status feed_input(rig *r, const json_t *chunks, mo_error *err)
{
    int64_t d = r->l.ck.cfg.llm.n_embd;
    int32_t n = (int32_t)r->input.len, at = 0;
    size_t i_chunk = 0;
    mo_status st = MO_OK;

    while (st == MO_OK && at < n) {
        int32_t k = chunks ? (int32_t)json_integer_value(json_array_get(chunks, i_chunk++)) : n;
        if (k < 1 || k > n - at) return mo_fail(err, MO_E_FORMAT, "the chunks do not add up to the input's %d rows", n);
        st = feed(r, r->input.data + at, r->embd ? r->embd + at * d : NULL, k, r->hidden + at * d, err);
        at += k;
    }
    r->n_hidden = n;
    return st;
}

/* The drops, in turn; what was dropped goes to the outputs. */
static mo_status drop(rig *r, const json_t *drops, trace_out *out, mo_error *err)
{
    json_t *done = json_array();
    const json_t *d;
    mo_status st;
    size_t i;

    json_array_foreach(drops, i, d) {
        int32_t preserve = (int32_t)json_integer_value(json_object_get(d, "preserve"));
        int32_t length = (int32_t)json_integer_value(json_object_get(d, "length"));

        st = kv_seq_drop(&r->l.kv, preserve, length, r->l.m->inv_freq, r->l.m->rope, NULL);
        json_array_append_new(done, json_boolean(st == MO_OK));
    }
    r->next_pos = r->l.kv.len;
    st = trace_put_json(out, "dropped", done, err);
    return st == MO_OK ? trace_put_json(out, "cache_length", json_integer(r->l.kv.len), err) : st;
}

/* ---- outputs ---------------------------------------------------------------------------------------------------- */

typedef struct ranked {
    float x;
    int32_t id;
} ranked;

static int by_logit(const void *a, const void *b)
{
    const ranked *p = a, *q = b;

    if (p->x != q->x) return p->x < q->x ? 1 : -1;
    return p->id - q->id;
}

static mo_status put_logits(rig *r, const json_t *input, trace_out *out, mo_error *err)
{
    int64_t n = r->l.ck.cfg.llm.n_vocab, stride = json_integer_value(json_object_get(input, "logit_stride")),
            n_top = n < TOP_LOGITS ? n : TOP_LOGITS;
    int64_t top = json_integer_value(json_object_get(input, "top")), n_some = 0, dim;
    ranked *rank = mo_calloc((size_t)n, sizeof *rank);
    float *some = mo_calloc((size_t)n, sizeof *some), lse;
    json_t *id = json_array();
    mo_status st;

    if (!rank || !some) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for the logits");
        goto done;
    }
    for (int64_t i = 0; i < n; i++) rank[i] = (ranked){ r->logits[i], (int32_t)i };
    qsort(rank, (size_t)n, sizeof *rank, by_logit);
    lse = (float)log_sum_exp(r->logits, n);
    for (int64_t i = 0; i<n; i += stride> 0 ? stride : 1) some[n_some++] = r->logits[i];
    if ((st = trace_put_array(out, "logits", "f4", 1, &n_some, some, err)) != MO_OK) goto done;
    for (int64_t i = 0; i < n_top; i++) some[i] = rank[i].x;
    if ((st = trace_put_array(out, "top_logits", "f4", 1, &n_top, some, err)) != MO_OK) goto done;
    dim = 1;
    if ((st = trace_put_array(out, "logsumexp", "f4", 1, &dim, &lse, err)) != MO_OK) goto done;
    for (int64_t i = 0; i < top && i < n; i++) json_array_append_new(id, json_integer(rank[i].id));
    st = trace_put_json(out, "top_ids", json_incref(id), err);
done:
    json_decref(id);
    mo_free(rank);
    mo_free(some);
    return st;
}

static mo_status put_cache(rig *r, const json_t *kv, trace_out *out, mo_error *err)
{
    int32_t layer = (int32_t)json_integer_value(json_object_get(kv, "layer"));
    int64_t dim[3] = { r->l.ck.cfg.llm.n_kv_head, r->l.kv.len, r->l.ck.cfg.llm.head_dim };
    size_t n = (size_t)(dim[0] * dim[1] * dim[2]);
    float *k, *v;
    mo_status st;

    if (layer < 0 || layer >= r->l.ck.cfg.llm.n_layer) return mo_fail(err, MO_E_FORMAT, "there is no layer %d", layer);
    k = mo_calloc(n, sizeof *k);
    v = mo_calloc(n, sizeof *v);
    if (k && v) {
        kv_seq_read(&r->l.kv, layer, k, v);
        st = trace_put_array(out, "k", "f4", 3, dim, k, err);
        if (st == MO_OK) st = trace_put_array(out, "v", "f4", 3, dim, v, err);
    } else {
        st = mo_fail(err, MO_E_NOMEM, "no memory for the cache");
    }
    mo_free(k);
    mo_free(v);
    return st;
}

/* n ids by argmax after the repetition penalty on what was generated here. End tokens do not stop it, but for the one that a
 * GGUF file names. */
static mo_status put_greedy(rig *r, const json_t *input, trace_out *out, mo_error *err)
{
    int64_t n = json_integer_value(json_object_get(input, "greedy"));
    const json_t *penalty = json_object_get(input, "repetition_penalty");
    sampler_params p = sampler_params_default();
    json_t *list = json_array();
    int64_t eos = -1;
    sampler *s = NULL;
    mo_status st;

    if (r->l.ck.meta) gguf_get_int(r->l.ck.meta, "tokenizer.ggml.eos_token_id", &eos);
    p.do_sample = false;
    p.repetition_penalty = penalty ? (float)json_number_value(penalty) : 1.0f;
    st = sampler_open(&s, r->l.ck.cfg.llm.n_vocab, &p, (id_list){ NULL, 0 }, NULL, err);
    for (int64_t i = 0; st == MO_OK && i < n; i++) {
        int32_t id;
        if ((st = sampler_next(s, r->logits, &id, err)) != MO_OK) break;
        sampler_accept(s, id);
        json_array_append_new(list, json_integer(id));
        if (id == eos) break;
        if (i + 1 < n) st = feed(r, &id, NULL, 1, NULL, err);
    }
    if (st == MO_OK) st = trace_put_json(out, "greedy", json_incref(list), err);
    json_decref(list);
    sampler_close(s);
    return st;
}

/* ---- the stage -------------------------------------------------------------------------------------------------- */

static mo_status run(rig *r, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const json_t *drops = json_object_get(input, "drops"), *kv = json_object_get(input, "kv");
    size_t n_row, width;
    const cpu_backend_opts cpu = trace_backend_opts(ctx);
    mo_status st;

    if ((st = llm_rig_open(&r->l, ctx->model_dir, err)) != MO_OK) return st;
    if ((st = read_input(r, input, err)) != MO_OK) return st;
    n_row = r->input.len + r->then.len;
    width = (size_t)r->l.ck.cfg.llm.n_embd;
    if (!r->input.len) return mo_fail(err, MO_E_FORMAT, "the input is empty");
    if ((st = llm_rig_start(&r->l, &cpu, N_UBATCH, (int32_t)n_row + (int32_t)json_integer_value(json_object_get(input, "greedy")) + 1,
                            MO_F32, err)) != MO_OK)
        return st;
    r->logits = mo_calloc((size_t)r->l.ck.cfg.llm.n_vocab, sizeof(float));
    r->hidden = mo_calloc(n_row * width, sizeof(float));
    if (!r->logits || !r->hidden) return mo_fail(err, MO_E_NOMEM, "no memory for the outputs");

    st = r->l.ck.meta && !r->embd && !json_object_get(input, "chunks") ? feed_measured(r, err)
                                                                       : feed_input(r, json_object_get(input, "chunks"), err);
    if (st != MO_OK) return st;
    if (drops) {
        if ((st = drop(r, drops, out, err)) != MO_OK) return st;
        if ((st = feed(r, r->then.data, NULL, (int32_t)r->then.len, r->hidden, err)) != MO_OK) return st;
        r->n_hidden = (int64_t)r->then.len;
    }
    int64_t dim[2] = { r->n_hidden, r->l.ck.cfg.llm.n_embd };
    if ((st = trace_put_array(out, "hidden", "f4", 2, dim, r->hidden, err)) != MO_OK) return st;
    if ((st = put_logits(r, input, out, err)) != MO_OK) return st;
    dim[0] = r->n_hidden - 1;
    if (r->nll && (st = trace_put_array(out, "nll", "f4", 1, dim, r->nll, err)) != MO_OK) return st;
    if (kv && (st = put_cache(r, kv, out, err)) != MO_OK) return st;
    return json_object_get(input, "greedy") ? put_greedy(r, input, out, err) : MO_OK;
}

mo_status trace_llm_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    rig r;
    mo_status st;

    *known = !strcmp(stage, "llm");
    if (!*known) return MO_OK;
    memset(&r, 0, sizeof r);
    st = run(&r, ctx, input, out, err);
    rig_close(&r);
    return st;
}
