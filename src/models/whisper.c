/* Whisper encoder (spec audio-encoder 3.1 to 3.3, 3.6, 4.1; HF MiniCPMWhisperEncoder): loading and the parts of
 * whisper_parts.h. The offline driver with the reference's masks is whisper_offline.c.
 */
#include <math.h>
#include <string.h>

#include "models/whisper_parts.h"

#define LN_EPS 1e-5f

/* ---- loading ---- */

static void bind_layer(binder *b, whisper_layer *l, const audio_config *c, int il)
{
    static const char p[] = "apm.layers";
    int64_t e = c->n_embd, f = c->n_ff;

    bind_vector(b, &l->ln1_g, e, "%s.%d.self_attn_layer_norm.weight", p, il);
    bind_vector(b, &l->ln1_b, e, "%s.%d.self_attn_layer_norm.bias", p, il);
    bind_weight(b, &l->w_q, e, e, "%s.%d.self_attn.q_proj.weight", p, il);
    bind_vector(b, &l->b_q, e, "%s.%d.self_attn.q_proj.bias", p, il);
    bind_weight(b, &l->w_k, e, e, "%s.%d.self_attn.k_proj.weight", p, il);
    bind_weight(b, &l->w_v, e, e, "%s.%d.self_attn.v_proj.weight", p, il);
    bind_vector(b, &l->b_v, e, "%s.%d.self_attn.v_proj.bias", p, il);
    bind_weight(b, &l->w_o, e, e, "%s.%d.self_attn.out_proj.weight", p, il);
    bind_vector(b, &l->b_o, e, "%s.%d.self_attn.out_proj.bias", p, il);
    bind_vector(b, &l->ln2_g, e, "%s.%d.final_layer_norm.weight", p, il);
    bind_vector(b, &l->ln2_b, e, "%s.%d.final_layer_norm.bias", p, il);
    bind_weight(b, &l->w_fc1, f, e, "%s.%d.fc1.weight", p, il);
    bind_vector(b, &l->b_fc1, f, "%s.%d.fc1.bias", p, il);
    bind_weight(b, &l->w_fc2, e, f, "%s.%d.fc2.weight", p, il);
    bind_vector(b, &l->b_fc2, e, "%s.%d.fc2.bias", p, il);
}

static void bind_all(binder *b, whisper *m)
{
    int64_t e = m->c.n_embd, d = m->n_out;

    bind_weight(b, &m->w_conv1, e, 3 * (int64_t)m->c.n_mel, "apm.conv1.weight");
    bind_vector(b, &m->b_conv1, e, "apm.conv1.bias");
    bind_weight(b, &m->w_conv2, e, 3 * e, "apm.conv2.weight");
    bind_vector(b, &m->b_conv2, e, "apm.conv2.bias");
    bind_lookup(b, &m->pos, m->c.n_pos, e, "apm.embed_positions.weight");
    for (int il = 0; il < m->n_layer; il++) bind_layer(b, &m->layer[il], &m->c, il);
    bind_vector(b, &m->ln_g, e, "apm.layer_norm.weight");
    bind_vector(b, &m->ln_b, e, "apm.layer_norm.bias");
    bind_weight(b, &m->w_proj1, d, e, "audio_projection_layer.linear1.weight");
    bind_vector(b, &m->b_proj1, d, "audio_projection_layer.linear1.bias");
    bind_weight(b, &m->w_proj2, d, d, "audio_projection_layer.linear2.weight");
    bind_vector(b, &m->b_proj2, d, "audio_projection_layer.linear2.bias");
}

static mo_status load(whisper **out, binder *b, const audio_config *c, int32_t n_out)
{
    whisper *m;

    *out = NULL;
    if (c->n_head < 1 || c->n_embd % c->n_head || c->pool_step < 1 || c->n_pos < 1 || n_out < 1)
        return mo_fail(b->err, MO_E_FORMAT, "audio encoder: %d heads of %d columns, pool step %d, %d positions do not fit together",
                       c->n_head, c->n_embd, c->pool_step, c->n_pos);
    if (!(m = mo_zalloc(sizeof *m))) return mo_fail(b->err, MO_E_NOMEM, "audio encoder");
    m->be = b->be;
    m->c = *c;
    m->n_out = n_out;
    m->n_layer = bind_count_layers(b, "apm.layers.");
    if (m->n_layer < 1) m->n_layer = c->n_layer; /* bind_layer names what is missing */
    if (!(m->layer = mo_calloc((size_t)m->n_layer, sizeof *m->layer))) {
        b->st = mo_fail(b->err, MO_E_NOMEM, "audio encoder: %d layers", m->n_layer);
        goto fail;
    }
    bind_all(b, m);
    if (bind_status(b) != MO_OK) goto fail;
    *out = m;
    return MO_OK;
fail:
    whisper_free(m);
    return b->st;
}

mo_status whisper_load(whisper **out, backend *be, const tensors *ts, const audio_config *c, int32_t n_out, mo_error *err)
{
    binder b = bind_begin(be, ts, false, err);

    return load(out, &b, c, n_out);
}

mo_status whisper_plan(bind_bytes *out, backend *be, const tensors *ts, const audio_config *c, int32_t n_out, mo_error *err)
{
    binder b = bind_begin(be, ts, true, err);
    whisper *m;
    mo_status st = load(&m, &b, c, n_out);

    whisper_free(m);
    *out = b.bytes;
    return st;
}

static void free_layer(backend *be, whisper_layer *l)
{
    weight *w[] = { &l->w_q, &l->w_k, &l->w_v, &l->w_o, &l->w_fc1, &l->w_fc2 };
    float **v[] = { &l->ln1_g, &l->ln1_b, &l->ln2_g, &l->ln2_b, &l->b_q, &l->b_v, &l->b_o, &l->b_fc1, &l->b_fc2 };

    for (size_t i = 0; i < sizeof w / sizeof *w; i++) unbind_weight(be, w[i]);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) unbind_vector(be, v[i]);
}

void whisper_free(whisper *m)
{
    if (!m) return;
    weight *w[] = { &m->w_conv1, &m->w_conv2, &m->pos, &m->w_proj1, &m->w_proj2 };
    float **v[] = { &m->b_conv1, &m->b_conv2, &m->ln_g, &m->ln_b, &m->b_proj1, &m->b_proj2 };

    for (int il = 0; m->layer && il < m->n_layer; il++) free_layer(m->be, &m->layer[il]);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) unbind_weight(m->be, w[i]);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) unbind_vector(m->be, v[i]);
    mo_free(m->layer);
    mo_free(m);
}

/* ---- parts ---- */

whisper_bufs whisper_carve(scratch *s, const audio_config *c, int32_t n_out, int64_t n)
{
    whisper_bufs r;
    int64_t e = c->n_embd, n_cols = 2 * n * 3 * c->n_mel;
    size_t mark, end;

    if (n_cols < n * 3 * e) n_cols = n * 3 * e;
    r.x = ARENA_FLOATS(&s->dev, n * e);
    r.a = ARENA_FLOATS(&s->dev, n * e);
    mark = s->dev.used;
    r.q = ARENA_FLOATS(&s->dev, n * e);
    r.k = ARENA_FLOATS(&s->dev, n * e);
    r.v = ARENA_FLOATS(&s->dev, n * e);
    end = s->dev.used;
    arena_release(&s->dev, mark);
    r.ff = ARENA_FLOATS(&s->dev, n * c->n_ff);
    if (s->dev.used > end) end = s->dev.used;
    arena_release(&s->dev, mark);
    r.cols = ARENA_FLOATS(&s->dev, n_cols);
    r.conv = ARENA_FLOATS(&s->dev, 2 * n * e);
    if (s->dev.used > end) end = s->dev.used;
    arena_release(&s->dev, mark);
    r.proj = ARENA_FLOATS(&s->dev, n * n_out);
    r.pooled = ARENA_FLOATS(&s->dev, (n / c->pool_step + 1) * n_out);
    if (s->dev.used < end) s->dev.used = end;
    return r;
}

void whisper_stem(const whisper *m, const whisper_bufs *r, stem_item_fn item, const void *arg, int n_item, const int32_t *pos_id)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t e = m->c.n_embd, c1 = 3 * (int64_t)m->c.n_mel, c2 = 3 * e, n1 = 0, n2 = 0;

    for (int i = 0; i < n_item; i++) {
        stem_item it = item(arg, i);
        op->im2col_1d(be, r->cols + n1 * c1, c1, it.mel, m->c.n_mel, it.n_frame, m->c.n_mel, 3, 1, 1, it.n_conv1);
        n1 += it.n_conv1;
    }
    op->matmul(be, r->conv, e, &m->w_conv1, r->cols, c1, n1, &(epilogue){ .bias = m->b_conv1, .act = ACT_GELU_ERF });

    n1 = 0;
    for (int i = 0; i < n_item; i++) {
        stem_item it = item(arg, i);
        /* row t reads rows 2t-1 .. 2t+1 of conv1; a shift of `skip` rows is a shift of the padding */
        op->im2col_1d(be, r->cols + n2 * c2, c2, r->conv + n1 * e, e, it.n_conv1, e, 3, 2, 1 - 2 * it.skip, it.n_row);
        n1 += it.n_conv1;
        n2 += it.n_row;
    }
    /* positions first and the convolution accumulated on them: the same sum, and the table stays a mapped weight */
    op->embed(be, r->x, e, &m->pos, pos_id, n2, 1.0f);
    op->matmul(be, r->x, e, &m->w_conv2, r->cols, c2, n2, &(epilogue){ .bias = m->b_conv2, .act = ACT_GELU_ERF, .accumulate = true });
}

void whisper_layer_qkv(const whisper *m, const whisper_layer *l, const whisper_bufs *r, int64_t n)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t e = m->c.n_embd;

    op->layer_norm(be, r->a, e, r->x, e, l->ln1_g, l->ln1_b, n, e, LN_EPS);
    op->matmul_group(be,
                     (const matmul_part[]){ { r->q, e, &l->w_q, &(epilogue){ .bias = l->b_q } },
                                            { r->k, e, &l->w_k, NULL },
                                            { r->v, e, &l->w_v, &(epilogue){ .bias = l->b_v } } },
                     3, r->a, e, n);
}

void whisper_layer_rest(const whisper *m, const whisper_layer *l, const whisper_bufs *r, int64_t n)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t e = m->c.n_embd, f = m->c.n_ff;

    op->matmul(be, r->x, e, &l->w_o, r->a, e, n, &(epilogue){ .bias = l->b_o, .accumulate = true });
    op->layer_norm(be, r->a, e, r->x, e, l->ln2_g, l->ln2_b, n, e, LN_EPS);
    op->matmul(be, r->ff, f, &l->w_fc1, r->a, e, n, &(epilogue){ .bias = l->b_fc1, .act = ACT_GELU_ERF });
    op->matmul(be, r->x, e, &l->w_fc2, r->ff, f, n, &(epilogue){ .bias = l->b_fc2, .accumulate = true });
}

void whisper_final_norm(const whisper *m, float *y, const float *x, int64_t n)
{
    int64_t e = m->c.n_embd;

    m->be->ops->layer_norm(m->be, y, e, x, e, m->ln_g, m->ln_b, n, e, LN_EPS);
}

/* The mean is taken before the second linear layer, not after it: a mean of linear images is the image of the mean, and
 * there are pool_step times fewer rows to multiply. */
void whisper_project(const whisper *m, const whisper_bufs *r, float *embeds, const float *hidden, const int32_t *n_row, int n_item)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t d = m->n_out, n = 0, n_token = 0;

    for (int i = 0; i < n_item; i++) n += n_row[i];
    op->matmul(be, r->proj, d, &m->w_proj1, hidden, m->c.n_embd, n, &(epilogue){ .bias = m->b_proj1, .act = ACT_RELU });
    n = 0;
    for (int i = 0; i < n_item; i++) {
        op->mean_rows(be, r->pooled + n_token * d, d, r->proj + n * d, d, n_row[i], d, m->c.pool_step);
        n += n_row[i];
        n_token += n_row[i] / m->c.pool_step;
    }
    if (n_token) op->matmul(be, embeds, d, &m->w_proj2, r->pooled, d, n_token, &(epilogue){ .bias = m->b_proj2 });
}
