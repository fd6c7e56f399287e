/* The language model's forward pass (llm.h). Reads like spec language-models 2:
 *
 *   h = embed(token)                                                      [n, n_embd]
 *   per layer:  a = rms(h);  q, k, v = W a (+ b);  q, k = rope(norm(q, k));  cache k, v
 *               h += rs * W_o attention(q, cache)
 *               b = rms(h);  h += rs * W_down( silu(W_gate b) * (W_up b) )
 *   hidden = rms(h);  logits = W_head hidden
 */
#include "models/llm.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"

/* ---- loading ---------------------------------------------------------------------------------------------------- */

static void bind_layer(binder *b, llm_layer *l, const llm_config *c, int il)
{
    const char *p = c->prefix;
    int64_t d = c->n_embd, q = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_kv_head * c->head_dim;

    bind_vector(b, &l->attn_norm, d, "%smodel.layers.%d.input_layernorm.weight", p, il);
    bind_weight(b, &l->w_q, q, d, "%smodel.layers.%d.self_attn.q_proj.weight", p, il);
    bind_weight(b, &l->w_k, kv, d, "%smodel.layers.%d.self_attn.k_proj.weight", p, il);
    bind_weight(b, &l->w_v, kv, d, "%smodel.layers.%d.self_attn.v_proj.weight", p, il);
    if (c->has_qkv_bias) {
        bind_vector(b, &l->b_q, q, "%smodel.layers.%d.self_attn.q_proj.bias", p, il);
        bind_vector(b, &l->b_k, kv, "%smodel.layers.%d.self_attn.k_proj.bias", p, il);
        bind_vector(b, &l->b_v, kv, "%smodel.layers.%d.self_attn.v_proj.bias", p, il);
    }
    if (c->has_qk_norm) {
        bind_vector(b, &l->q_norm, c->head_dim, "%smodel.layers.%d.self_attn.q_norm.weight", p, il);
        bind_vector(b, &l->k_norm, c->head_dim, "%smodel.layers.%d.self_attn.k_norm.weight", p, il);
    }
    bind_weight(b, &l->w_o, d, q, "%smodel.layers.%d.self_attn.o_proj.weight", p, il);
    bind_vector(b, &l->ffn_norm, d, "%smodel.layers.%d.post_attention_layernorm.weight", p, il);
    bind_weight(b, &l->w_gate, c->n_ff, d, "%smodel.layers.%d.mlp.gate_proj.weight", p, il);
    bind_weight(b, &l->w_up, c->n_ff, d, "%smodel.layers.%d.mlp.up_proj.weight", p, il);
    bind_weight(b, &l->w_down, d, c->n_ff, "%smodel.layers.%d.mlp.down_proj.weight", p, il);
}

/* Frequencies as the reference has them: a float32 quotient of the double power. */
static mo_status make_inv_freq(llm *m, mo_error *err)
{
    const llm_config *c = &m->cfg;
    int half = c->head_dim / 2;

    if (!(m->inv_freq = mo_calloc((size_t)half, sizeof *m->inv_freq)))
        return mo_fail(err, MO_E_NOMEM, "no memory for %d rotary frequencies", half);
    for (int i = 0; i < half; i++) {
        float power = (float)pow(c->rope_theta, 2.0 * i / c->head_dim);
        m->inv_freq[i] = 1.0f / (c->rope_factor ? c->rope_factor[i] * power : power);
    }
    return MO_OK;
}

/* The whole list; run dry it is the memory plan. */
static void bind_all(binder *b, llm *m)
{
    const llm_config *c = &m->cfg;
    /* "Use lm_head if present, else the embeddings": MiniCPM-V 2.0 ties and still carries one. */
    bool has_head = !c->is_tied || bind_has(b, "%slm_head.weight", c->prefix);

    if (has_head) bind_lookup(b, &m->embd, c->n_vocab, c->n_embd, "%smodel.embed_tokens.weight", c->prefix);
    else bind_weight(b, &m->embd, c->n_vocab, c->n_embd, "%smodel.embed_tokens.weight", c->prefix);
    /* The largest first: should it be packed, what packing takes beside it is not added to all the others. */
    if (has_head) bind_weight(b, &m->head, c->n_vocab, c->n_embd, "%slm_head.weight", c->prefix);
    for (int il = 0; il < c->n_layer; il++) bind_layer(b, &m->layer[il], c, il);
    bind_vector(b, &m->out_norm, c->n_embd, "%smodel.norm.weight", c->prefix);
}

mo_status llm_load(llm **out, backend *be, const tensors *ts, const llm_config *cfg, bool plan, bind_bytes *bytes, mo_error *err)
{
    binder b = bind_begin(be, ts, plan, err);
    mo_status st;
    llm *m;

    if (out) *out = NULL;
    if (!(m = mo_zalloc(sizeof *m))) return mo_fail(err, MO_E_NOMEM, "no memory for the language model");
    m->be = be;
    m->cfg = *cfg;
    m->rope = cfg->rope_pairs ? ROPE_PAIRS : ROPE_HALVES;
    if (!(m->layer = mo_calloc((size_t)cfg->n_layer, sizeof *m->layer))) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for %d layers", cfg->n_layer);
        goto fail;
    }
    if ((st = make_inv_freq(m, err)) != MO_OK) goto fail;
    bind_all(&b, m);
    if ((st = bind_status(&b)) != MO_OK) goto fail;
    if (bytes) *bytes = b.bytes;
    if (plan || !out) {
        llm_free(m);
        return MO_OK;
    }
    *out = m;
    return MO_OK;
fail:
    llm_free(m);
    return st;
}

void llm_free(llm *m)
{
    if (!m) return;
    for (int il = 0; m->layer && il < m->cfg.n_layer; il++) {
        llm_layer *l = &m->layer[il];
        weight *w[] = { &l->w_q, &l->w_k, &l->w_v, &l->w_o, &l->w_gate, &l->w_up, &l->w_down };
        float **v[] = { &l->attn_norm, &l->b_q, &l->b_k, &l->b_v, &l->q_norm, &l->k_norm, &l->ffn_norm };
        for (size_t i = 0; i < sizeof w / sizeof *w; i++) unbind_weight(m->be, w[i]);
        for (size_t i = 0; i < sizeof v / sizeof *v; i++) unbind_vector(m->be, v[i]);
    }
    unbind_weight(m->be, &m->embd);
    unbind_weight(m->be, &m->head);
    unbind_vector(m->be, &m->out_norm);
    mo_free(m->inv_freq);
    mo_free(m->layer);
    mo_free(m);
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

typedef struct rows {
    float *h, *a;                          /* [n, n_embd] residual stream; normed rows */
    float *q, *o;                          /* [n, n_head * head_dim] */
    float *k, *v;                          /* [n, n_kv_head * head_dim] */
    float *gate, *up;                      /* [n, n_ff] */
    float *angle;                          /* [n, head_dim] of the rotation of queries and keys */
    float *logits;                         /* [LLM_LOGIT_ROWS, n_vocab] */
    int32_t *at, *pos, *n_visible, *token; /* [n] host */
    attn_seq *seq;                         /* [n] host: at most one sequence per row */
    uint8_t *want;                         /* [n] host: of the rows that are left after the last layer's keys */
} rows;

static rows carve(scratch *s, const llm_config *c, int32_t n)
{
    int64_t n_q = (int64_t)n * c->n_head * c->head_dim, n_kv = (int64_t)n * c->n_kv_head * c->head_dim;
    arena *d = &s->dev;
    size_t shared;
    rows r;

    r.h = ARENA_FLOATS(d, (int64_t)n * c->n_embd);
    r.a = ARENA_FLOATS(d, (int64_t)n * c->n_embd);
    r.angle = ARENA_FLOATS(d, (int64_t)n * c->head_dim);
    /* Attention's rows, the feed-forward's and the logits are never alive together. */
    shared = d->used;
    r.q = ARENA_FLOATS(d, n_q);
    r.o = ARENA_FLOATS(d, n_q);
    r.k = ARENA_FLOATS(d, n_kv);
    r.v = ARENA_FLOATS(d, n_kv);
    arena_release(d, shared);
    r.gate = ARENA_FLOATS(d, (int64_t)n * c->n_ff);
    r.up = ARENA_FLOATS(d, (int64_t)n * c->n_ff);
    arena_release(d, shared);
    r.logits = ARENA_FLOATS(d, (int64_t)LLM_LOGIT_ROWS * c->n_vocab);
    r.at = arena_take(&s->host, (size_t)n, sizeof *r.at);
    r.pos = arena_take(&s->host, (size_t)n, sizeof *r.pos);
    r.n_visible = arena_take(&s->host, (size_t)n, sizeof *r.n_visible);
    r.token = arena_take(&s->host, (size_t)n, sizeof *r.token);
    r.seq = arena_take(&s->host, (size_t)n, sizeof *r.seq);
    r.want = arena_take(&s->host, (size_t)n, sizeof *r.want);
    return r;
}

void llm_carve(scratch *s, const llm_config *c, int32_t n_ubatch)
{
    scratch_mark m = scratch_now(s);

    carve(s, c, n_ubatch);
    scratch_release(s, m);
}

/* ---- forward ---------------------------------------------------------------------------------------------------- */

/* Embeddings of rows [first, first + n) into r->h: table rows and given rows, in runs. */
static void embed_rows(const llm *m, rows *r, const llm_batch *b, int32_t first, int32_t n)
{
    int64_t d = m->cfg.n_embd;
    int32_t i = 0, j;

    while (i < n) {
        bool given = !b->token || b->token[first + i] < 0;
        for (j = i; j < n && (!b->token || b->token[first + j] < 0) == given; j++)
            if (!given) r->token[j] = b->token[first + j];
        if (given) m->be->ops->upload(m->be, r->h + i * d, b->embd + (first + i) * d, (size_t)(j - i) * (size_t)d * sizeof(float));
        else m->be->ops->embed(m->be, r->h + i * d, d, &m->embd, r->token + i, j - i, m->cfg.embd_scale);
        i = j;
    }
}

/* Group rows [first, first + n) by sequence and reserve their cache positions. *n_seq groups in r->seq (layer 0). */
static mo_status place_rows(rows *r, const llm_batch *b, int32_t first, int32_t n, int32_t *n_seq, mo_error *err)
{
    *n_seq = 0;
    for (int32_t i = 0, j; i < n; i = j) {
        kv_seq *s = b->seq[first + i];
        mo_status st;

        for (j = i; j < n && b->seq[first + j] == s; j++) {
            r->at[j] = s->len + (j - i);
            r->n_visible[j] = r->at[j] + 1;
            r->pos[j] = b->pos ? b->pos[first + j] : r->at[j];
        }
        if ((st = kv_seq_reserve(s, j - i, err)) != MO_OK) return st;
        r->seq[(*n_seq)++] = kv_seq_view(s, 0, i, j - i);
    }
    return MO_OK;
}

/* Keys and values of all rows into the layer's cache; queries where all rows go on. Leaves the normed rows in r->a. */
static void store_keys(const llm *m, const rows *r, const kv_shape *kv, int n_seq, int32_t n, int il, bool queries)
{
    const backend_ops *op = m->be->ops;
    const llm_config *c = &m->cfg;
    const llm_layer *l = &m->layer[il];
    int64_t d = c->n_embd, n_q = (int64_t)c->n_head * c->head_dim, n_kv = (int64_t)c->n_kv_head * c->head_dim;
    epilogue bias_q = { .bias = l->b_q }, bias_k = { .bias = l->b_k }, bias_v = { .bias = l->b_v };
    matmul_part part[] = { { r->k, n_kv, &l->w_k, &bias_k }, { r->v, n_kv, &l->w_v, &bias_v }, { r->q, n_q, &l->w_q, &bias_q } };

    op->rms_norm(m->be, r->a, d, r->h, d, l->attn_norm, n, d, c->rms_eps);
    op->matmul_group(m->be, part, queries ? 3 : 2, r->a, d, n);
    op->norm_rope(m->be, r->k, n_kv, l->k_norm, c->rms_eps, r->angle, n, c->n_kv_head, c->head_dim, m->rope);
    op->kv_store(m->be, r->seq, n_seq, r->at, r->k, r->v, n_kv, c->n_kv_head, c->head_dim, kv->type);
}

static void attend(const llm *m, const rows *r, const kv_shape *kv, int n_seq, int32_t n, int il, bool queries)
{
    const backend_ops *op = m->be->ops;
    const llm_config *c = &m->cfg;
    const llm_layer *l = &m->layer[il];
    int64_t d = c->n_embd, n_q = (int64_t)c->n_head * c->head_dim;
    epilogue bias_q = { .bias = l->b_q }, residual = { .scale = c->residual_scale, .accumulate = true };
    attn_paged_args at = { .y = r->o,
                           .q = r->q,
                           .ldy = n_q,
                           .ldq = n_q,
                           .n_visible = r->n_visible,
                           .seq = r->seq,
                           .n_seq = n_seq,
                           .n_head = c->n_head,
                           .n_kv_head = c->n_kv_head,
                           .head_dim = c->head_dim,
                           .kv_type = kv->type,
                           .scale = 1.0f / sqrtf((float)c->head_dim) };

    if (!queries) op->matmul(m->be, r->q, n_q, &l->w_q, r->a, d, n, &bias_q);
    op->norm_rope(m->be, r->q, n_q, l->q_norm, c->rms_eps, r->angle, n, c->n_head, c->head_dim, m->rope);
    op->attn_paged(m->be, &at);
    op->matmul(m->be, r->h, d, &l->w_o, r->o, n_q, n, &residual);
}

static void feed_forward_block(const llm *m, const rows *r, int32_t n, int il)
{
    const backend_ops *op = m->be->ops;
    const llm_config *c = &m->cfg;
    const llm_layer *l = &m->layer[il];
    int64_t d = c->n_embd, f = c->n_ff;
    epilogue residual = { .scale = c->residual_scale, .accumulate = true };
    matmul_part part[] = { { r->gate, f, &l->w_gate, NULL }, { r->up, f, &l->w_up, NULL } };

    op->rms_norm(m->be, r->a, d, r->h, d, l->ffn_norm, n, d, c->rms_eps);
    op->matmul_group(m->be, part, 2, r->a, d, n);
    op->swiglu(m->be, r->gate, f, r->gate, f, r->up, f, n, f);
    op->matmul(m->be, r->h, d, &l->w_down, r->gate, f, n, &residual);
}

/* Of the rows only those that want an output are needed after the last layer's keys are stored: move them together at the
 * front of h and a, with their angles and sequences. want [n], NULL: none does. Returns how many. */
static int32_t keep_wanted(const llm *m, rows *r, const uint8_t *want, int32_t n, int32_t *n_seq)
{
    size_t row_bytes = (size_t)m->cfg.n_embd * sizeof(float);
    int64_t d = m->cfg.n_embd, hd = m->cfg.head_dim;
    int32_t kept = 0, kept_seq = 0;

    for (int32_t g = 0; want && g < *n_seq; g++) {
        attn_seq s = r->seq[g];
        int32_t start = kept;

        for (int32_t i = s.row; i < s.row + s.n_row; i++) {
            if (!want[i]) continue;
            if (kept < i) {
                m->be->ops->copy(m->be, r->h + kept * d, r->h + i * d, row_bytes);
                m->be->ops->copy(m->be, r->a + kept * d, r->a + i * d, row_bytes);
                m->be->ops->copy(m->be, r->angle + kept * hd, r->angle + i * hd, (size_t)hd * sizeof(float));
                r->n_visible[kept] = r->n_visible[i];
            }
            r->want[kept++] = want[i];
        }
        s.row = start;
        s.n_row = kept - start;
        if (s.n_row) r->seq[kept_seq++] = s;
    }
    *n_seq = kept_seq;
    return kept;
}

/* Where the next wanted row goes; advanced as rows are written. */
typedef struct sink {
    float *logits, *hidden;
} sink;

/* Normed rows [first, first + n) of r->a through lm_head; at most LLM_LOGIT_ROWS. */
static void head_rows(const llm *m, const rows *r, int32_t first, int32_t n, float *logits)
{
    const backend_ops *op = m->be->ops;
    const weight *head = m->head.data ? &m->head : &m->embd;
    int64_t d = m->cfg.n_embd, v = m->cfg.n_vocab;
    epilogue divide = { .scale = 1.0f / m->cfg.logit_divisor };

    op->matmul(m->be, r->logits, v, head, r->a + first * d, d, n, &divide);
    op->download(m->be, logits, r->logits, (size_t)n * (size_t)v * sizeof(float));
}

/* Runs of rows that want logits through lm_head, LLM_LOGIT_ROWS at a time. r->a holds the normed rows. */
static void write_logits(const llm *m, const rows *r, const uint8_t *want, int32_t n, sink *out)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t j = i;
        while (j < n && j - i < LLM_LOGIT_ROWS && (want[j] & LLM_WANT_LOGITS)) j++;
        if (j == i) continue;
        head_rows(m, r, i, j - i, out->logits);
        out->logits += (int64_t)(j - i) * m->cfg.n_vocab;
        i = j - 1;
    }
}

static void write_outputs(const llm *m, const rows *r, const uint8_t *want, int32_t n, sink *out)
{
    const backend_ops *op = m->be->ops;
    int64_t d = m->cfg.n_embd;

    op->rms_norm(m->be, r->a, d, r->h, d, m->out_norm, n, d, m->cfg.rms_eps);
    for (int32_t i = 0; i < n; i++) {
        if (!(want[i] & LLM_WANT_HIDDEN)) continue;
        op->download(m->be, out->hidden, r->a + i * d, (size_t)d * sizeof(float));
        out->hidden += d;
    }
    write_logits(m, r, want, n, out);
}

/* Rows of a sequence stand together in the whole batch, not only in the rows of one pass. */
static mo_status check_runs(const llm_batch *b, mo_error *err)
{
    for (int32_t i = 1; i < b->n_row; i++) {
        if (b->seq[i] == b->seq[i - 1]) continue;
        for (int32_t j = 0; j < i - 1; j++)
            if (b->seq[j] == b->seq[i]) return mo_fail(err, MO_E_ARG, "the rows of a sequence do not stand together (row %d)", i);
    }
    return MO_OK;
}

static bool same_shape(const kv_shape *a, const kv_shape *b)
{
    return a->n_layer == b->n_layer && a->n_kv_head == b->n_kv_head && a->head_dim == b->head_dim && a->type == b->type;
}

/* Everything that can be wrong with a batch, before anything is touched. */
static mo_status check_batch(const llm *m, const llm_batch *b, const float *logits, const float *hidden, mo_error *err)
{
    if (b->n_row < 1 || !b->seq) return mo_fail(err, MO_E_ARG, "a batch of %d rows", b->n_row);
    for (int32_t i = 0; i < b->n_row; i++) {
        int32_t id = b->token ? b->token[i] : -1;
        uint8_t want = b->want ? b->want[i] : 0;

        if (id >= m->cfg.n_vocab || id < -1)
            return mo_fail(err, MO_E_ARG, "token %d of row %d is outside the vocabulary of %d", id, i, m->cfg.n_vocab);
        if (id < 0 && !b->embd) return mo_fail(err, MO_E_ARG, "row %d has neither a token nor an embedding", i);
        if (!b->seq[i] || !b->seq[i]->pool) return mo_fail(err, MO_E_ARG, "row %d belongs to no sequence", i);
        kv_shape shape = llm_kv_shape(&m->cfg, b->seq[0]->pool->shape.type);
        if (!same_shape(&b->seq[i]->pool->shape, &shape))
            return mo_fail(err, MO_E_ARG, "row %d's KV cache was made for another model or type", i);
        if (((want & LLM_WANT_LOGITS) && !logits) || ((want & LLM_WANT_HIDDEN) && !hidden))
            return mo_fail(err, MO_E_ARG, "row %d asks for an output that has no place", i);
    }
    return check_runs(b, err);
}

/* One pass: rows [first, first + n) of the batch through all layers. */
static void layers(const llm *m, rows *r, const llm_batch *b, int32_t first, int32_t n, int32_t n_seq, sink *out)
{
    const kv_pool *pool = b->seq[first]->pool;

    for (int il = 0; il < m->cfg.n_layer; il++) {
        for (int i = 0; i < n_seq; i++) r->seq[i].layer_offset = (size_t)il * pool->layer_bytes;
        bool last = il == m->cfg.n_layer - 1, queries = !last || n == 1; /* the last layer's: of the rows that are kept */
        store_keys(m, r, &pool->shape, n_seq, n, il, queries);
        if (last) n = keep_wanted(m, r, b->want ? b->want + first : NULL, n, &n_seq);
        if (!n) return;
        attend(m, r, &pool->shape, n_seq, n, il, queries);
        feed_forward_block(m, r, n, il);
    }
    write_outputs(m, r, r->want, n, out);
}

mo_status llm_forward(const llm *m, scratch *s, int32_t n_ubatch, const llm_batch *b, float *logits, float *hidden, mo_error *err)
{
    sink out = { logits, hidden };
    scratch_mark mark = scratch_now(s);
    int32_t first, n_seq;
    mo_status st;
    rows r;

    if ((st = check_batch(m, b, logits, hidden, err)) != MO_OK) return st;
    r = carve(s, &m->cfg, n_ubatch);
    if (scratch_overflow(s)) st = mo_fail(err, MO_E_STATE, "the scratch was planned for fewer than %d rows", n_ubatch);
    for (first = 0; st == MO_OK && first < b->n_row; first += n_ubatch) {
        int32_t n = b->n_row - first < n_ubatch ? b->n_row - first : n_ubatch;

        if ((st = place_rows(&r, b, first, n, &n_seq, err)) != MO_OK) break;
        embed_rows(m, &r, b, first, n);
        m->be->ops->rope_angles(m->be, r.angle, r.pos, m->inv_freq, n, m->cfg.head_dim);
        layers(m, &r, b, first, n, n_seq, &out);
        for (int32_t i = 0; i < n; i++) b->seq[first + i]->len++;
        st = m->be->ops->sync(m->be, err);
    }
    if (st != MO_OK) { /* give back what earlier passes of this call appended, and pages taken for what was not */
        for (int32_t i = 0; i < first && i < b->n_row; i++) b->seq[i]->len--;
        for (int32_t i = 0; i < b->n_row; i++) kv_seq_truncate(b->seq[i], b->seq[i]->len);
    }
    scratch_release(s, mark);
    return st;
}

mo_status llm_logits(const llm *m, scratch *s, int32_t n_ubatch, const float *hidden, int32_t n, float *logits, mo_error *err)
{
    scratch_mark mark = scratch_now(s);
    rows r = carve(s, &m->cfg, n_ubatch);
    int32_t most = n_ubatch < LLM_LOGIT_ROWS ? n_ubatch : LLM_LOGIT_ROWS;
    int64_t d = m->cfg.n_embd, v = m->cfg.n_vocab;
    mo_status st = scratch_overflow(s) ? mo_fail(err, MO_E_STATE, "the scratch was planned for fewer than %d rows", n_ubatch) : MO_OK;

    for (int32_t i = 0; st == MO_OK && i < n; i += most) {
        int32_t k = n - i < most ? n - i : most;
        m->be->ops->upload(m->be, r.a, hidden + i * d, (size_t)k * (size_t)d * sizeof(float));
        head_rows(m, &r, 0, k, logits + i * v);
    }
    if (st == MO_OK) st = m->be->ops->sync(m->be, err);
    scratch_release(s, mark);
    return st;
}

mo_status llm_embed(const llm *m, scratch *s, int32_t n_ubatch, const int32_t *token, int32_t n, float *out, mo_error *err)
{
    scratch_mark mark = scratch_now(s);
    rows r = carve(s, &m->cfg, n_ubatch);
    int64_t d = m->cfg.n_embd;
    mo_status st =
        !r.token || scratch_overflow(s) ? mo_fail(err, MO_E_STATE, "the scratch was planned for fewer than %d rows", n_ubatch) : MO_OK;

    for (int32_t i = 0; st == MO_OK && i < n; i++)
        if (token[i] < 0 || token[i] >= m->cfg.n_vocab)
            st = mo_fail(err, MO_E_ARG, "token %d is outside the vocabulary of %d", token[i], m->cfg.n_vocab);
    for (int32_t i = 0; st == MO_OK && i < n; i += n_ubatch) {
        int32_t k = n - i < n_ubatch ? n - i : n_ubatch;
        llm_batch b = { .n_row = k, .token = token + i };
        embed_rows(m, &r, &b, 0, k);
        m->be->ops->download(m->be, out + i * d, r.h, (size_t)k * (size_t)d * sizeof(float));
    }
    scratch_release(s, mark);
    return st;
}
