/* Watching a language model's matmuls (importance.h). */
#include "models/importance.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

enum { N_WEIGHT = 7 }; /* of a block */

struct importance_watch {
    backend_ops ops; /* first: the backend's table while we watch, by which we are found again */
    const backend_ops *inner;
    const llm *m;
    imatrix *into;
    double *sum; /* [n_entry][its n_col] of this chunk, one after the other */
    double *count;
    size_t *at;    /* [n_entry] where each one's sums begin */
    size_t *entry; /* [n_layer * N_WEIGHT] which entry of `into` a weight has */
    float *row;    /* [widest] host memory */
    size_t n_sum;
};

static const char *const names[N_WEIGHT] = { "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down" };

static const weight *weight_of(const llm *m, int i)
{
    const llm_layer *l = &m->layer[i / N_WEIGHT];
    const weight *w[N_WEIGHT] = { &l->w_q, &l->w_k, &l->w_v, &l->w_o, &l->w_gate, &l->w_up, &l->w_down };

    return w[i % N_WEIGHT];
}

/* Rows of one matmul, if it is a block's. */
static void look(importance_watch *w, backend *be, const weight *of, const float *x, int64_t ldx, int64_t n)
{
    const int n_weight = w->m->cfg.n_layer * N_WEIGHT;
    double *sum;
    int i = 0;

    while (i < n_weight && weight_of(w->m, i) != of) i++;
    if (i == n_weight) return;
    sum = w->sum + w->at[w->entry[i]];
    for (int64_t r = 0; r < n; r++) {
        w->inner->download(be, w->row, x + r * ldx, (size_t)of->n_col * sizeof *w->row);
        for (int64_t c = 0; c < of->n_col; c++) sum[c] += (double)w->row[c] * (double)w->row[c];
    }
    w->count[w->entry[i]] += (double)n;
}

static void watched_matmul(backend *be, float *y, int64_t ldy, const weight *of, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    importance_watch *w = (importance_watch *)(uintptr_t)be->ops;

    look(w, be, of, x, ldx, n);
    w->inner->matmul(be, y, ldy, of, x, ldx, n, ep);
}

static void watched_group(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    importance_watch *w = (importance_watch *)(uintptr_t)be->ops;

    for (int i = 0; i < n_part; i++) look(w, be, part[i].w, x, ldx, n);
    w->inner->matmul_group(be, part, n_part, x, ldx, n);
}

/* The entry of weight i in `into`: there already, or made. */
static mo_status find_entry(importance_watch *w, int i, bool is_new, size_t *out, mo_error *err)
{
    const weight *of = weight_of(w->m, i);
    char name[64];

    snprintf(name, sizeof name, "blk.%d.%s.weight", i / N_WEIGHT, names[i % N_WEIGHT]);
    *out = w->into->n;
    if (is_new) {
        if (imatrix_add(w->into, name, of->n_col)) return MO_OK;
        return mo_fail(err, MO_E_NOMEM, "no memory for an importance matrix");
    }
    for (size_t k = 0; k < w->into->n; k++)
        if (!strcmp(w->into->entry[k].name, name) && w->into->entry[k].n_col == of->n_col) *out = k;
    if (*out < w->into->n) return MO_OK;
    return mo_fail(err, MO_E_FORMAT, "the importance matrix that is to be continued has no '%s' of %lld columns", name,
                   (long long)of->n_col);
}

static mo_status make_sums(importance_watch *w, mo_error *err)
{
    const imatrix *m = w->into;
    int64_t widest = 1;

    if (!(w->at = mo_calloc(m->n + 1, sizeof *w->at)) || !(w->count = mo_calloc(m->n + 1, sizeof *w->count))) goto nomem;
    for (size_t i = 0; i < m->n; i++) {
        w->at[i] = w->n_sum;
        w->n_sum += (size_t)m->entry[i].n_col;
        if (m->entry[i].n_col > widest) widest = m->entry[i].n_col;
    }
    if (!(w->sum = mo_calloc(w->n_sum + 1, sizeof *w->sum)) || !(w->row = mo_calloc((size_t)widest, sizeof *w->row))) goto nomem;
    return MO_OK;
nomem:
    return mo_fail(err, MO_E_NOMEM, "no memory for an importance matrix");
}

mo_status importance_begin(importance_watch **out, const llm *m, imatrix *into, mo_error *err)
{
    const int n_weight = m->cfg.n_layer * N_WEIGHT;
    const bool is_new = !into->n;
    importance_watch *w = mo_zalloc(sizeof *w);
    mo_status st = MO_OK;

    *out = NULL;
    if (!w || !(w->entry = mo_calloc((size_t)n_weight, sizeof *w->entry)))
        st = mo_fail(err, MO_E_NOMEM, "no memory for an importance matrix");
    if (st == MO_OK) {
        w->m = m;
        w->into = into;
        for (int i = 0; i < n_weight && st == MO_OK; i++) st = find_entry(w, i, is_new, &w->entry[i], err);
    }
    if (st == MO_OK) st = make_sums(w, err);
    if (st != MO_OK) {
        importance_end(w);
        return st;
    }
    w->inner = m->be->ops;
    w->ops = *w->inner;
    w->ops.matmul = watched_matmul;
    w->ops.matmul_group = watched_group;
    m->be->ops = &w->ops;
    *out = w;
    return MO_OK;
}

void importance_end(importance_watch *w)
{
    if (!w) return;
    if (w->inner) w->m->be->ops = w->inner;
    mo_free(w->sum);
    mo_free(w->count);
    mo_free(w->at);
    mo_free(w->entry);
    mo_free(w->row);
    mo_free(w);
}

mo_status importance_end_chunk(importance_watch *w, mo_error *err)
{
    for (size_t i = 0; i < w->into->n; i++) {
        imatrix_entry *e = &w->into->entry[i];
        for (int64_t c = 0; c < e->n_col; c++) {
            e->sum2[c] = (double)(float)(e->sum2[c] + w->sum[w->at[i] + (size_t)c]);
            if (!isfinite(e->sum2[c])) return mo_fail(err, MO_E_FORMAT, "what '%s' is multiplied with are not all numbers", e->name);
        }
        e->count += w->count[i];
    }
    memset(w->sum, 0, w->n_sum * sizeof *w->sum);
    memset(w->count, 0, w->into->n * sizeof *w->count);
    w->into->n_chunk++;
    return MO_OK;
}
