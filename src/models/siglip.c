/* SigLIP-NaViT vision tower (spec vision 4.3; HF modeling_navit_siglip.py): see siglip.h.
 *
 * Per pass of n rows (whole tiles):
 *   x = pos_table[pos] + conv(patch)                    the convolution is one matmul: patches do not overlap
 *   per layer   a = LN1(x); x += out(attn(a));  a = LN2(x); x += fc2(gelu_tanh(fc1(a)))
 *   x = post_layernorm(x)
 * x lives in the caller's output rows. The position table stays a mapped weight: a row is fetched as an embedding and the
 * convolution accumulates on it, which is the same sum.
 */
#include "models/siglip.h"

#include <math.h>
#include <string.h>

typedef struct siglip_layer {
    float *ln1_g, *ln1_b, *ln2_g, *ln2_b; /* [n_embd] */
    weight w_q, w_k, w_v, w_o;            /* [n_embd, n_embd] */
    float *b_q, *b_k, *b_v, *b_o;         /* [n_embd] */
    weight w_fc1, w_fc2;                  /* [n_ff, n_embd], [n_embd, n_ff] */
    float *b_fc1, *b_fc2;                 /* [n_ff], [n_embd] */
} siglip_layer;

struct siglip {
    backend *be;
    vision_config c;
    siglip_positions positions;
    int n_layer; /* in the checkpoint */
    siglip_layer *layer;
    weight w_patch; /* [n_embd, 3 * patch * patch] */
    float *b_patch; /* [n_embd] */
    weight pos;     /* [side * side, n_embd] */
    float *ln_g, *ln_b;
};

static int32_t table_side(const vision_config *c) { return c->image_size / c->patch_size; }
static int64_t patch_len(const vision_config *c) { return 3 * (int64_t)c->patch_size * c->patch_size; }

/* ---- loading ---- */

static void bind_layer(binder *b, siglip_layer *l, const vision_config *c, int il)
{
    static const char p[] = "vpm.encoder.layers";
    int64_t e = c->n_embd, f = c->n_ff;

    bind_vector(b, &l->ln1_g, e, "%s.%d.layer_norm1.weight", p, il);
    bind_vector(b, &l->ln1_b, e, "%s.%d.layer_norm1.bias", p, il);
    bind_weight(b, &l->w_q, e, e, "%s.%d.self_attn.q_proj.weight", p, il);
    bind_vector(b, &l->b_q, e, "%s.%d.self_attn.q_proj.bias", p, il);
    bind_weight(b, &l->w_k, e, e, "%s.%d.self_attn.k_proj.weight", p, il);
    bind_vector(b, &l->b_k, e, "%s.%d.self_attn.k_proj.bias", p, il);
    bind_weight(b, &l->w_v, e, e, "%s.%d.self_attn.v_proj.weight", p, il);
    bind_vector(b, &l->b_v, e, "%s.%d.self_attn.v_proj.bias", p, il);
    bind_weight(b, &l->w_o, e, e, "%s.%d.self_attn.out_proj.weight", p, il);
    bind_vector(b, &l->b_o, e, "%s.%d.self_attn.out_proj.bias", p, il);
    bind_vector(b, &l->ln2_g, e, "%s.%d.layer_norm2.weight", p, il);
    bind_vector(b, &l->ln2_b, e, "%s.%d.layer_norm2.bias", p, il);
    bind_weight(b, &l->w_fc1, f, e, "%s.%d.mlp.fc1.weight", p, il);
    bind_vector(b, &l->b_fc1, f, "%s.%d.mlp.fc1.bias", p, il);
    bind_weight(b, &l->w_fc2, e, f, "%s.%d.mlp.fc2.weight", p, il);
    bind_vector(b, &l->b_fc2, e, "%s.%d.mlp.fc2.bias", p, il);
}

static mo_status load(siglip **out, binder *b, const vision_config *c, siglip_positions positions)
{
    siglip *m;
    int64_t side = table_side(c);

    *out = NULL;
    if (c->n_head < 1 || c->n_embd % c->n_head || side < 1)
        return mo_fail(b->err, MO_E_FORMAT, "vision tower: %d heads of %d columns, image side %d, patch %d do not fit together", c->n_head,
                       c->n_embd, c->image_size, c->patch_size);
    if (!(m = mo_zalloc(sizeof *m))) return mo_fail(b->err, MO_E_NOMEM, "vision tower");
    m->be = b->be;
    m->c = *c;
    m->positions = positions;
    m->n_layer = bind_count_layers(b, "vpm.encoder.layers.");
    if (m->n_layer < 1) m->n_layer = c->n_layer; /* bind_layer names what is missing */
    if (!(m->layer = mo_calloc((size_t)m->n_layer, sizeof *m->layer))) {
        b->st = mo_fail(b->err, MO_E_NOMEM, "vision tower: %d layers", m->n_layer);
        goto fail;
    }

    bind_weight(b, &m->w_patch, c->n_embd, patch_len(c), "vpm.embeddings.patch_embedding.weight");
    bind_vector(b, &m->b_patch, c->n_embd, "vpm.embeddings.patch_embedding.bias");
    bind_lookup(b, &m->pos, side * side, c->n_embd, "vpm.embeddings.position_embedding.weight");
    for (int il = 0; il < m->n_layer; il++) bind_layer(b, &m->layer[il], c, il);
    bind_vector(b, &m->ln_g, c->n_embd, "vpm.post_layernorm.weight");
    bind_vector(b, &m->ln_b, c->n_embd, "vpm.post_layernorm.bias");
    if (bind_status(b) != MO_OK) goto fail;
    *out = m;
    return MO_OK;
fail:
    siglip_free(m);
    return b->st;
}

mo_status siglip_load(siglip **out, backend *be, const tensors *ts, const vision_config *c, siglip_positions positions, mo_error *err)
{
    binder b = bind_begin(be, ts, false, err);

    return load(out, &b, c, positions);
}

mo_status siglip_plan(bind_bytes *out, backend *be, const tensors *ts, const vision_config *c, mo_error *err)
{
    binder b = bind_begin(be, ts, true, err);
    siglip *m;
    mo_status st = load(&m, &b, c, SIGLIP_POS_REFERENCE);

    siglip_free(m);
    *out = b.bytes;
    return st;
}

static void free_layer(backend *be, siglip_layer *l)
{
    weight *w[] = { &l->w_q, &l->w_k, &l->w_v, &l->w_o, &l->w_fc1, &l->w_fc2 };
    float **v[] = { &l->ln1_g, &l->ln1_b, &l->ln2_g, &l->ln2_b, &l->b_q, &l->b_k, &l->b_v, &l->b_o, &l->b_fc1, &l->b_fc2 };

    for (size_t i = 0; i < sizeof w / sizeof *w; i++) unbind_weight(be, w[i]);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) unbind_vector(be, v[i]);
}

void siglip_free(siglip *m)
{
    if (!m) return;
    for (int il = 0; m->layer && il < m->n_layer; il++) free_layer(m->be, &m->layer[il]);
    unbind_weight(m->be, &m->w_patch);
    unbind_weight(m->be, &m->pos);
    unbind_vector(m->be, &m->b_patch);
    unbind_vector(m->be, &m->ln_g);
    unbind_vector(m->be, &m->ln_b);
    mo_free(m->layer);
    mo_free(m);
}

int siglip_n_layer(const siglip *m) { return m->n_layer; }

/* ---- positions ---- */

/* Element i of torch.arange(start, end, step, dtype=float32) with `count` elements, on x86. Blocks of 16 are made by two
 * vectors of 8: the vector's first value is rounded to float32 before the multiples of step are added in double; what is
 * left over is computed one by one. Exact ties of a bucket fall to one side or the other by this rounding. */
static float arange_f32(int64_t i, int64_t count, double start, double step)
{
    float base;

    if (i >= count / 16 * 16) return (float)(start + step * (double)i);
    base = (float)(start + step * (double)(i / 8 * 8));
    return (float)((double)base + (double)(i % 8) * step);
}

void siglip_buckets(int32_t *out, int32_t n, int32_t n_side)
{
    double edge = 1.0 / n_side, step = 1.0f / (float)n;
    int64_t n_edge = (int64_t)ceil((1.0 - edge) / edge), k = 0;

    /* both sequences rise, so each patch goes on where the last one stopped */
    for (int32_t i = 0; i < n; i++) {
        float at = arange_f32(i, n, 0, step);
        while (k < n_edge && k < n_side - 1 && arange_f32(k, n_edge, edge, edge) <= at) k++;
        out[i] = (int32_t)k;
    }
}

/* pos[k] for the patches of one tile; `line` has room for rows + cols. */
static void tile_positions(int32_t *pos, int32_t *line, tile_size t, int32_t side, siglip_positions how)
{
    int32_t *row = line, *col = line + t.rows;

    if (how == SIGLIP_POS_ROW0) {
        siglip_buckets(pos, (int32_t)tile_patches(t), side);
        return;
    }
    if (how == SIGLIP_POS_FLOOR) {
        for (int32_t i = 0; i < t.rows; i++) row[i] = (int32_t)((int64_t)i * side / t.rows);
        for (int32_t i = 0; i < t.cols; i++) col[i] = (int32_t)((int64_t)i * side / t.cols);
    } else {
        siglip_buckets(row, t.rows, side);
        siglip_buckets(col, t.cols, side);
    }
    for (int32_t r = 0; r < t.rows; r++)
        for (int32_t c = 0; c < t.cols; c++) *pos++ = row[r] * side + col[c];
}

/* ---- forward ---- */

typedef struct pass_rows {
    float *a;         /* [n, n_embd] normed input; then the attention's output */
    float *q, *k, *v; /* [n, n_embd] */
    float *ff;        /* [n, n_ff] in the place of q, k, v */
    int32_t *pos;     /* [n] host */
    int32_t *line;    /* [2n + 2] host: the buckets of a side */
    int32_t *first;   /* [n_tile + 1] host; n_tile <= n */
} pass_rows;

static pass_rows carve(scratch *s, const vision_config *c, int64_t n)
{
    pass_rows r;
    size_t mark, end;

    r.a = ARENA_FLOATS(&s->dev, n * c->n_embd);
    mark = s->dev.used;
    r.q = ARENA_FLOATS(&s->dev, n * c->n_embd);
    r.k = ARENA_FLOATS(&s->dev, n * c->n_embd);
    r.v = ARENA_FLOATS(&s->dev, n * c->n_embd);
    end = s->dev.used;
    arena_release(&s->dev, mark);
    r.ff = ARENA_FLOATS(&s->dev, n * c->n_ff);
    if (s->dev.used < end) s->dev.used = end;

    r.pos = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    r.line = arena_take(&s->host, (size_t)(2 * n + 2), sizeof(int32_t));
    r.first = arena_take(&s->host, (size_t)n + 1, sizeof(int32_t));
    return r;
}

void siglip_scratch(scratch *s, const vision_config *c, int64_t n_row)
{
    scratch_mark m = scratch_now(s);

    (void)carve(s, c, n_row);
    scratch_release(s, m);
}

static void layer_forward(const siglip *m, const siglip_layer *l, float *x, const pass_rows *r, int n_tile, int64_t n)
{
    const backend_ops *op = m->be->ops;
    backend *be = m->be;
    int64_t e = m->c.n_embd, f = m->c.n_ff;
    attn_dense_args attn = attn_dense_of(r->a, r->q, r->k, r->v, e, m->c.n_head);

    attn.q_row = attn.k_row = r->first;
    attn.n_item = n_tile;
    op->layer_norm(be, r->a, e, x, e, l->ln1_g, l->ln1_b, n, e, m->c.ln_eps);
    op->matmul_group(be,
                     (const matmul_part[]){ { r->q, e, &l->w_q, &(epilogue){ .bias = l->b_q } },
                                            { r->k, e, &l->w_k, &(epilogue){ .bias = l->b_k } },
                                            { r->v, e, &l->w_v, &(epilogue){ .bias = l->b_v } } },
                     3, r->a, e, n);
    op->attn_dense(be, &attn);
    op->matmul(be, x, e, &l->w_o, r->a, e, n, &(epilogue){ .bias = l->b_o, .accumulate = true });

    op->layer_norm(be, r->a, e, x, e, l->ln2_g, l->ln2_b, n, e, m->c.ln_eps);
    op->matmul(be, r->ff, f, &l->w_fc1, r->a, e, n, &(epilogue){ .bias = l->b_fc1, .act = ACT_GELU_TANH });
    op->matmul(be, x, e, &l->w_fc2, r->ff, f, n, &(epilogue){ .bias = l->b_fc2, .accumulate = true });
}

/* One pass: n rows of n_tile whole tiles; x [n, n_embd] is the output. */
static void pass_forward(const siglip *m, float *x, const float *patch, const tile_size *tile, int n_tile, int64_t n, const pass_rows *r)
{
    const backend_ops *op = m->be->ops;
    int64_t e = m->c.n_embd;

    r->first[0] = 0;
    for (int i = 0; i < n_tile; i++) {
        tile_positions(r->pos + r->first[i], r->line, tile[i], table_side(&m->c), m->positions);
        r->first[i + 1] = r->first[i] + (int32_t)tile_patches(tile[i]);
    }
    op->embed(m->be, x, e, &m->pos, r->pos, n, 1.0f);
    op->matmul(m->be, x, e, &m->w_patch, patch, patch_len(&m->c), n, &(epilogue){ .bias = m->b_patch, .accumulate = true });
    for (int il = 0; il < m->n_layer; il++) layer_forward(m, &m->layer[il], x, r, n_tile, n);
    op->layer_norm(m->be, x, e, x, e, m->ln_g, m->ln_b, n, e, m->c.ln_eps);
}

mo_status siglip_forward(siglip *m, float *hidden, const float *patch, const tile_size *tile, int n_tile, int64_t n_row, scratch *s,
                         mo_error *err)
{
    scratch_mark mark = scratch_now(s);
    pass_rows r;
    mo_status st;

    if ((st = tiles_check(tile, n_tile, n_row, err)) != MO_OK) return st;
    r = carve(s, &m->c, n_row);
    if (scratch_overflow(s)) {
        scratch_reset(s, mark);
        return mo_fail(err, MO_E_STATE, "vision tower: scratch was planned for fewer than %lld rows", (long long)n_row);
    }
    for (int i = 0; i < n_tile;) {
        int64_t n;
        int k = tile_group(tile, n_tile, i, n_row, INT32_MAX, &n);

        pass_forward(m, hidden, patch, tile + i, k, n, &r);
        hidden += n * m->c.n_embd;
        patch += n * patch_len(&m->c);
        i += k;
    }
    scratch_release(s, mark);
    return m->be->ops->sync(m->be, err);
}
