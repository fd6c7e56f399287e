/* Moving keys and values: into pages, down within pages (a sliding window that drops its oldest part), and out.
 * Page layout: backend.h at KV_PAGE. */
#include "backend/cpu/cpu_internal.h"

#include <string.h>

typedef struct kv_geometry {
    int n_kv_head, head_dim;
    int32_t type;
    int elem, n_scale; /* bytes of an element; scales of a row (Q8_0) */
    size_t head_bytes; /* K or V of one head in a page */
} kv_geometry;

/* K or V of one head at one position, as stored. */
typedef struct kv_row {
    _Alignas(64) uint8_t elem[ATTN_HEAD_DIM_MAX * sizeof(float)];
    uint16_t scale[ATTN_HEAD_DIM_MAX / 32];
} kv_row;

static kv_geometry geometry(int n_kv_head, int head_dim, int32_t type)
{
    const bool blocks = type == MO_Q8_0;

    return (kv_geometry){ .n_kv_head = n_kv_head,
                          .head_dim = head_dim,
                          .type = type,
                          .elem = blocks ? 1 : dtype_get(type)->block_bytes,
                          .n_scale = blocks ? head_dim / 32 : 0,
                          .head_bytes = kv_page_head_bytes(type, head_dim) };
}

/* K of one head in the page of position pos; V is v_offset further. */
static uint8_t *panel_at(const attn_seq *s, const kv_geometry *g, int head, int32_t pos)
{
    return (uint8_t *)s->page[pos / KV_PAGE] + s->layer_offset + (size_t)head * g->head_bytes;
}

static size_t v_offset(const kv_geometry *g) { return (size_t)g->n_kv_head * g->head_bytes; }

static void row_round(const cpu_backend *c, const kv_geometry *g, kv_row *row, const float *x)
{
    if (g->type == MO_Q8_0) c->k.to_q8_0((int8_t *)row->elem, row->scale, x, g->head_dim);
    else if (g->type == MO_F16) c->k.to_f16(row->elem, x, g->head_dim);
    else memcpy(row->elem, x, (size_t)g->head_dim * sizeof *x);
}

static void row_floats(const cpu_backend *c, const kv_geometry *g, float *x, const kv_row *row)
{
    if (g->type != MO_Q8_0) {
        c->k.to_f32[g->type](x, row->elem, g->head_dim);
        return;
    }
    for (int d = 0; d < g->head_dim; d++) x[d] = (float)(int8_t)row->elem[d] * f16_to_f32(row->scale[d / 32]);
}

/* Column `col` of a panel [n, KV_PAGE] to or from a row of n elements of `size` bytes. */
static inline __attribute__((always_inline)) void column_copy(uint8_t *panel, uint8_t *row, const size_t size, int n, int col, bool put)
{
    panel += (size_t)col * size;
    for (int i = 0; i < n; i++, panel += KV_PAGE * size, row += size) {
        if (put) memcpy(panel, row, size);
        else memcpy(row, panel, size);
    }
}

static void column(uint8_t *panel, void *row, int size, int n, int col, bool put)
{
    if (size == 1) column_copy(panel, row, 1, n, col, put);
    else if (size == 2) column_copy(panel, row, 2, n, col, put);
    else column_copy(panel, row, 4, n, col, put);
}

/* Position pos of a head's K panel: a column of it. */
static void k_copy(const kv_geometry *g, uint8_t *panel, int32_t pos, kv_row *row, bool put)
{
    column(panel, row->elem, g->elem, g->head_dim, pos % KV_PAGE, put);
    column(panel + (size_t)g->elem * KV_PAGE * (size_t)g->head_dim, row->scale, 2, g->n_scale, pos % KV_PAGE, put);
}

/* Position pos of a head's V panel: a row of it. */
static void v_copy(const kv_geometry *g, uint8_t *panel, int32_t pos, kv_row *row, bool put)
{
    const size_t n = (size_t)g->elem * (size_t)g->head_dim, n_scale = 2 * (size_t)g->n_scale, at = (size_t)(pos % KV_PAGE);
    uint8_t *elem = panel + at * n, *scale = panel + KV_PAGE * n + at * n_scale;

    if (put) {
        memcpy(elem, row->elem, n);
        memcpy(scale, row->scale, n_scale);
    } else {
        memcpy(row->elem, elem, n);
        memcpy(row->scale, scale, n_scale);
    }
}

typedef struct store_args {
    const attn_seq *seq;
    int n_seq;
    const int32_t *at;
    const float *k, *v;
    int64_t ld;
    kv_geometry g;
} store_args;

/* Rows are counted through all sequences. */
static void store_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const store_args *p = arg;
    const attn_seq *s = p->seq;
    int64_t first = 0; /* of s in that count */
    kv_row stored;

    for (int64_t i = r0; i < r1; i++) {
        while (i - first >= s->n_row) first += s->n_row, s++;
        const int64_t row = s->row + (i - first);
        for (int h = 0; h < p->g.n_kv_head; h++) {
            uint8_t *dst = panel_at(s, &p->g, h, p->at[row]);
            row_round(c, &p->g, &stored, p->k + row * p->ld + (int64_t)h * p->g.head_dim);
            k_copy(&p->g, dst, p->at[row], &stored, true);
            row_round(c, &p->g, &stored, p->v + row * p->ld + (int64_t)h * p->g.head_dim);
            v_copy(&p->g, dst + v_offset(&p->g), p->at[row], &stored, true);
        }
    }
}

void cpu_kv_store(backend *be, const attn_seq *seq, int n_seq, const int32_t *at, const float *k, const float *v, int64_t ld, int n_kv_head,
                  int head_dim, int32_t kv_type)
{
    const store_args p = { seq, n_seq, at, k, v, ld, geometry(n_kv_head, head_dim, kv_type) };
    int64_t n = 0;

    for (int i = 0; i < n_seq; i++) n += seq[i].n_row;
    cpu_rows(cpu_of(be), n, 2 * (int64_t)n_kv_head * head_dim, store_rows, &p);
}

typedef struct shift_args {
    const attn_seq *seq;
    int32_t dst, src, n;
    const float *cs, *sn;
    kv_geometry g;
    rope_style style;
} shift_args;

/* Heads are independent; within one, positions move upwards in order, so an overlap is read before it is written. */
static void shift_heads(cpu_backend *c, const void *arg, int64_t h0, int64_t h1)
{
    const shift_args *p = arg;
    const size_t vo = v_offset(&p->g);
    float x[ATTN_HEAD_DIM_MAX];
    kv_row row;

    for (int64_t h = h0; h < h1; h++)
        for (int32_t i = 0; i < p->n; i++) {
            const int32_t from = p->src + i, to = p->dst + i;
            uint8_t *src = panel_at(p->seq, &p->g, (int)h, from), *dst = panel_at(p->seq, &p->g, (int)h, to);
            k_copy(&p->g, src, from, &row, false);
            row_floats(c, &p->g, x, &row);
            c->k.rope(x, p->cs, p->sn, p->g.head_dim, p->style);
            row_round(c, &p->g, &row, x);
            k_copy(&p->g, dst, to, &row, true);
            v_copy(&p->g, src + vo, from, &row, false);
            v_copy(&p->g, dst + vo, to, &row, true);
        }
}

void cpu_kv_shift(backend *be, const attn_seq *seq, int32_t dst, int32_t src, int32_t n, int32_t shift, const float *inv_freq,
                  int n_kv_head, int head_dim, int32_t kv_type, rope_style style)
{
    float cs[ATTN_HEAD_DIM_MAX / 2], sn[ATTN_HEAD_DIM_MAX / 2];
    const shift_args p = { seq, dst, src, n, cs, sn, geometry(n_kv_head, head_dim, kv_type), style };

    cpu_rope_angles(cs, sn, shift, inv_freq, head_dim / 2);
    cpu_rows(cpu_of(be), n_kv_head, 2 * (int64_t)n * head_dim, shift_heads, &p);
}

void cpu_kv_read(backend *be, const attn_seq *seq, int32_t n, float *k, float *v, int n_kv_head, int head_dim, int32_t kv_type)
{
    const cpu_backend *c = cpu_of(be);
    const kv_geometry g = geometry(n_kv_head, head_dim, kv_type);
    kv_row row;

    for (int h = 0; h < n_kv_head; h++)
        for (int32_t i = 0; i < n; i++) {
            uint8_t *src = panel_at(seq, &g, h, i);
            k_copy(&g, src, i, &row, false);
            row_floats(c, &g, k + ((int64_t)h * n + i) * head_dim, &row);
            v_copy(&g, src + v_offset(&g), i, &row, false);
            row_floats(c, &g, v + ((int64_t)h * n + i) * head_dim, &row);
        }
}
