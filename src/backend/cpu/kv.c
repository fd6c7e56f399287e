/* Moving keys and values: into pages, down within pages (a sliding window that drops its oldest part), and out.
 * Page layout: backend.h at KV_PAGE. */
#include "backend/cpu/cpu_internal.h"

#include <string.h>

typedef struct kv_geometry {
    int n_kv_head, head_dim;
    int32_t type;
    size_t row_bytes; /* one head at one position */
} kv_geometry;

static kv_geometry geometry(int n_kv_head, int head_dim, int32_t type)
{
    return (kv_geometry){ n_kv_head, head_dim, type, dtype_row_bytes(type, head_dim) };
}

/* K of one head at one cache position; V is v_offset further. */
static uint8_t *kv_at(const attn_seq *s, const kv_geometry *g, int head, int32_t pos)
{
    return (uint8_t *)s->page[pos / KV_PAGE] + s->layer_offset + ((size_t)head * KV_PAGE + (size_t)(pos % KV_PAGE)) * g->row_bytes;
}

static size_t v_offset(const kv_geometry *g) { return (size_t)g->n_kv_head * KV_PAGE * g->row_bytes; }

static void put_row(const cpu_backend *c, const kv_geometry *g, void *dst, const float *x)
{
    if (g->type == MO_F16) c->k.to_f16(dst, x, g->head_dim);
    else memcpy(dst, x, g->row_bytes);
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

    for (int64_t i = r0; i < r1; i++) {
        while (i - first >= s->n_row) first += s->n_row, s++;
        const int64_t row = s->row + (i - first);
        for (int h = 0; h < p->g.n_kv_head; h++) {
            uint8_t *dst = kv_at(s, &p->g, h, p->at[row]);
            put_row(c, &p->g, dst, p->k + row * p->ld + (int64_t)h * p->g.head_dim);
            put_row(c, &p->g, dst + v_offset(&p->g), p->v + row * p->ld + (int64_t)h * p->g.head_dim);
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

    for (int64_t h = h0; h < h1; h++)
        for (int32_t i = 0; i < p->n; i++) {
            const uint8_t *src = kv_at(p->seq, &p->g, (int)h, p->src + i);
            uint8_t *dst = kv_at(p->seq, &p->g, (int)h, p->dst + i);
            c->k.to_f32[p->g.type](x, src, p->g.head_dim);
            c->k.rope(x, p->cs, p->sn, p->g.head_dim, p->style);
            put_row(c, &p->g, dst, x);
            memcpy(dst + vo, src + vo, p->g.row_bytes);
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

    for (int h = 0; h < n_kv_head; h++)
        for (int32_t i = 0; i < n; i++) {
            const uint8_t *src = kv_at(seq, &g, h, i);
            c->k.to_f32[kv_type](k + ((int64_t)h * n + i) * head_dim, src, head_dim);
            c->k.to_f32[kv_type](v + ((int64_t)h * n + i) * head_dim, src + v_offset(&g), head_dim);
        }
}
