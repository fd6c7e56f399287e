/* The perceiver resampler (spec vision 5.1, 5.2; HF Resampler): see resampler.h.
 *
 *   x' = LN_kv(W_kv hidden)                     values see x', keys see x' + place
 *   o  = out(attention(q, W_k (x' + place) + b_k, W_v x' + b_v))     q = W_q LN_q(query) + b_q, the same for every tile
 *   y  = LN_post(o) proj                         proj as stored: y[j] = sum_i o[i] proj[i][j]
 *
 * The place of patch (r, c) is [sin c w | cos c w | sin r w | cos r w]: one table of [sin t w | cos t w] serves both halves,
 * the first half of a key row by column and the second by row.
 */
#include "models/resampler.h"

#include <math.h>
#include <string.h>

#define LN_EPS 1e-6f

enum { ROWS_PER_TILE = 256 }; /* a pass of n rows takes up to n / 256 + 1 tiles: tiles are usually of 700 to 1100 patches */

struct resampler {
    backend *be;
    resampler_config c;
    float *q;                     /* [n_query, n_embd] projected queries */
    weight w_kv;                  /* [n_embd, kv_dim] */
    weight w_q, w_k, w_v, w_o;    /* [n_embd, n_embd] */
    float *b_q, *b_k, *b_v, *b_o; /* [n_embd] */
    float *ln_q_g, *ln_q_b, *ln_kv_g, *ln_kv_b, *ln_post_g, *ln_post_b;
    /* An official checkpoint multiplies by proj from the right, our matmul needs rows of its transpose: a copy, made once. It
     * is the one weight that is not used in place: 32 MiB in BF16 at width 4096. GGUF files hold the transpose already. */
    weight proj_t;
    void *proj_t_data;
    float omega[]; /* [n_embd / 4] host */
};

/* ---- loading ---- */

/* q, k and v: thirds of one matrix, or (GGUF) three. */
static void bind_qkv(binder *b, resampler *m)
{
    static const char *const name[] = { "q", "k", "v" };
    weight *w[] = { &m->w_q, &m->w_k, &m->w_v };
    float **bias[] = { &m->b_q, &m->b_k, &m->b_v };
    int64_t d = m->c.n_embd;

    for (int i = 0; i < 3; i++) {
        if (bind_has(b, "resampler.attn.q_proj.weight")) {
            bind_weight(b, w[i], d, d, "resampler.attn.%s_proj.weight", name[i]);
            bind_vector(b, bias[i], d, "resampler.attn.%s_proj.bias", name[i]);
        } else {
            bind_weight_rows(b, w[i], i * d, d, 3 * d, d, "resampler.attn.in_proj_weight");
            bind_vector_part(b, bias[i], i * d, d, 3 * d, "resampler.attn.in_proj_bias");
        }
    }
}

static void bind_all(binder *b, resampler *m)
{
    int64_t d = m->c.n_embd;

    bind_vector(b, &m->q, m->c.n_query * d, "resampler.query");
    bind_weight(b, &m->w_kv, d, m->c.kv_dim, "resampler.kv_proj.weight");
    bind_qkv(b, m);
    bind_weight(b, &m->w_o, d, d, "resampler.attn.out_proj.weight");
    bind_vector(b, &m->b_o, d, "resampler.attn.out_proj.bias");
    bind_vector(b, &m->ln_q_g, d, "resampler.ln_q.weight");
    bind_vector(b, &m->ln_q_b, d, "resampler.ln_q.bias");
    bind_vector(b, &m->ln_kv_g, d, "resampler.ln_kv.weight");
    bind_vector(b, &m->ln_kv_b, d, "resampler.ln_kv.bias");
    bind_vector(b, &m->ln_post_g, d, "resampler.ln_post.weight");
    bind_vector(b, &m->ln_post_b, d, "resampler.ln_post.bias");
    if (bind_has(b, "resampler.proj.weight")) bind_weight(b, &m->proj_t, d, d, "resampler.proj.weight");
    else bind_weight_transposed(b, &m->proj_t, &m->proj_t_data, d, d, "resampler.proj");
}

/* q <- W_q LN_q(query) + b_q, once. */
static mo_status project_queries(resampler *m, mo_error *err)
{
    const backend_ops *op = m->be->ops;
    int64_t n = m->c.n_query, d = m->c.n_embd;
    void *t;
    mo_status st = op->alloc(m->be, &t, (size_t)(n * d) * sizeof(float), err);

    if (st != MO_OK) return st;
    op->layer_norm(m->be, t, d, m->q, d, m->ln_q_g, m->ln_q_b, n, d, LN_EPS);
    op->matmul(m->be, m->q, d, &m->w_q, t, d, n, &(epilogue){ .bias = m->b_q });
    st = op->sync(m->be, err);
    op->dealloc(m->be, t);
    return st;
}

static mo_status load(resampler **out, binder *b, const resampler_config *c)
{
    resampler *m;
    int32_t n_omega = c->n_embd / 4;
    mo_status st;

    *out = NULL;
    if (c->n_query < 1 || c->n_head < 1 || c->n_embd % 4 || c->n_embd % c->n_head)
        return mo_fail(b->err, MO_E_FORMAT, "resampler: %d queries of width %d with %d heads do not fit together", c->n_query, c->n_embd,
                       c->n_head);
    if (!(m = mo_zalloc(sizeof *m + (size_t)n_omega * sizeof(float)))) return mo_fail(b->err, MO_E_NOMEM, "resampler");
    m->be = b->be;
    m->c = *c;
    for (int32_t i = 0; i < n_omega; i++) m->omega[i] = 1.0f / powf(10000.0f, (float)i / (float)n_omega);
    bind_all(b, m);
    st = bind_status(b);
    if (st == MO_OK && !b->plan) st = project_queries(m, b->err);
    if (st != MO_OK) {
        resampler_free(m);
        return st;
    }
    *out = m;
    return MO_OK;
}

mo_status resampler_load(resampler **out, backend *be, const tensors *ts, const resampler_config *c, mo_error *err)
{
    binder b = bind_begin(be, ts, false, err);

    return load(out, &b, c);
}

mo_status resampler_plan(bind_bytes *out, backend *be, const tensors *ts, const resampler_config *c, mo_error *err)
{
    binder b = bind_begin(be, ts, true, err);
    resampler *m;
    mo_status st = load(&m, &b, c);

    resampler_free(m);
    *out = b.bytes;
    return st;
}

void resampler_free(resampler *m)
{
    if (!m) return;
    weight *w[] = { &m->w_kv, &m->w_q, &m->w_k, &m->w_v, &m->w_o, &m->proj_t };
    float **v[] = { &m->q,      &m->b_q,     &m->b_k,     &m->b_v,       &m->b_o,      &m->ln_q_g,
                    &m->ln_q_b, &m->ln_kv_g, &m->ln_kv_b, &m->ln_post_g, &m->ln_post_b };

    for (size_t i = 0; i < sizeof w / sizeof *w; i++) unbind_weight(m->be, w[i]);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) unbind_vector(m->be, v[i]);
    mo_free(m->proj_t_data);
    mo_free(m);
}

/* ---- forward ---- */

typedef struct pass_rows {
    float *x, *t, *k;       /* [n, n_embd]: x'; x' + place, later the values; keys */
    float *q, *o;           /* [n_tile * n_query, n_embd] */
    float *place;           /* [side, n_embd / 2]: [sin t w | cos t w] of coordinate t */
    float *line;            /* [n_embd / 2] host: one row of place */
    int32_t *row, *col;     /* [n] host: a patch's coordinates */
    int32_t *k_row, *q_row; /* [n_tile + 1] host */
} pass_rows;

static int tiles_per_pass(int64_t n_row) { return (int)(n_row / ROWS_PER_TILE + 1); }

static pass_rows carve(scratch *s, const resampler_config *c, int64_t n)
{
    pass_rows r;
    int64_t d = c->n_embd, n_tile = tiles_per_pass(n);

    r.x = ARENA_FLOATS(&s->dev, n * d);
    r.t = ARENA_FLOATS(&s->dev, n * d);
    r.k = ARENA_FLOATS(&s->dev, n * d);
    r.q = ARENA_FLOATS(&s->dev, n_tile * c->n_query * d);
    r.o = ARENA_FLOATS(&s->dev, n_tile * c->n_query * d);
    r.place = ARENA_FLOATS(&s->dev, n * (d / 2)); /* a side has at most n patches */
    r.line = ARENA_FLOATS(&s->host, d / 2);
    r.row = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    r.col = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    r.k_row = arena_take(&s->host, (size_t)n_tile + 1, sizeof(int32_t));
    r.q_row = arena_take(&s->host, (size_t)n_tile + 1, sizeof(int32_t));
    return r;
}

void resampler_scratch(scratch *s, const resampler_config *c, int64_t n_row)
{
    scratch_mark m = scratch_now(s);

    (void)carve(s, c, n_row);
    scratch_release(s, m);
}

/* Coordinates of every patch, row ranges of every tile, and the sine table as far as the largest side. */
static void fill_places(const resampler *m, const pass_rows *r, const tile_size *tile, int n_tile)
{
    int32_t n_omega = m->c.n_embd / 4, side = 0, n = 0;

    r->k_row[0] = r->q_row[0] = 0;
    for (int i = 0; i < n_tile; i++) {
        for (int32_t y = 0; y < tile[i].rows; y++)
            for (int32_t x = 0; x < tile[i].cols; x++, n++) {
                r->row[n] = y;
                r->col[n] = x;
            }
        r->k_row[i + 1] = n;
        r->q_row[i + 1] = (i + 1) * m->c.n_query;
        if (tile[i].rows > side) side = tile[i].rows;
        if (tile[i].cols > side) side = tile[i].cols;
    }
    for (int32_t t = 0; t < side; t++) {
        for (int32_t i = 0; i < n_omega; i++) {
            float angle = (float)t * m->omega[i];
            r->line[i] = sinf(angle);
            r->line[n_omega + i] = cosf(angle);
        }
        m->be->ops->upload(m->be, r->place + (int64_t)t * 2 * n_omega, r->line, (size_t)n_omega * 2 * sizeof(float));
    }
}

static void pass_forward(const resampler *m, float *y, const float *hidden, const tile_size *tile, int n_tile, int64_t n,
                         const pass_rows *r)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t d = m->c.n_embd, half = d / 2, n_q = (int64_t)n_tile * m->c.n_query;
    attn_dense_args attn = attn_dense_of(r->o, r->q, r->k, r->t, d, m->c.n_head);

    attn.q_row = r->q_row;
    attn.k_row = r->k_row;
    attn.n_item = n_tile;
    fill_places(m, r, tile, n_tile);
    op->matmul(be, r->x, d, &m->w_kv, hidden, m->c.kv_dim, n, NULL);
    op->layer_norm(be, r->x, d, r->x, d, m->ln_kv_g, m->ln_kv_b, n, d, LN_EPS);
    op->add_rows(be, r->t, d, r->x, d, r->place, half, r->col, n, half);
    op->add_rows(be, r->t + half, d, r->x + half, d, r->place, half, r->row, n, half);
    op->matmul(be, r->k, d, &m->w_k, r->t, d, n, &(epilogue){ .bias = m->b_k });
    op->matmul(be, r->t, d, &m->w_v, r->x, d, n, &(epilogue){ .bias = m->b_v });

    for (int i = 0; i < n_tile; i++) op->copy(be, r->q + (int64_t)i * m->c.n_query * d, m->q, (size_t)(m->c.n_query * d) * sizeof(float));
    op->attn_dense(be, &attn);
    op->matmul(be, r->q, d, &m->w_o, r->o, d, n_q, &(epilogue){ .bias = m->b_o });
    op->layer_norm(be, r->q, d, r->q, d, m->ln_post_g, m->ln_post_b, n_q, d, LN_EPS);
    op->matmul(be, y, d, &m->proj_t, r->q, d, n_q, NULL);
}

mo_status resampler_forward(resampler *m, float *embeds, const float *hidden, const tile_size *tile, int n_tile, int64_t n_row, scratch *s,
                            mo_error *err)
{
    scratch_mark mark = scratch_now(s);
    pass_rows r;
    mo_status st;

    if ((st = tiles_check(tile, n_tile, n_row, err)) != MO_OK) return st;
    r = carve(s, &m->c, n_row);
    if (scratch_overflow(s)) {
        scratch_reset(s, mark);
        return mo_fail(err, MO_E_STATE, "resampler: scratch was planned for fewer than %lld rows", (long long)n_row);
    }
    for (int i = 0; i < n_tile;) {
        int64_t n;
        int k = tile_group(tile, n_tile, i, n_row, tiles_per_pass(n_row), &n);

        pass_forward(m, embeds, hidden, tile + i, k, n, &r);
        hidden += n * m->c.kv_dim;
        embeds += (int64_t)k * m->c.n_query * m->c.n_embd;
        i += k;
    }
    scratch_release(s, mark);
    return m->be->ops->sync(m->be, err);
}
