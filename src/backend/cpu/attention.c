/* Attention: splits queries into blocks of rows over threads and walks the keys in tiles of ATTN_KEYS from key 0, with an
 * online softmax (attn_tile_fn in kernels.h). The full score matrix never exists.
 *
 *   task = (item or sequence, head or kv head, block of query rows [, span of keys])
 *   for each tile of keys:  [bring K and V of the tile into panels]  for each strip of rows: tile kernel
 *
 * A row's bits depend only on its own query, its keys and how many of them it sees: tiles start at fixed keys, and a kernel adds
 * nothing of what a row does not see.
 *
 * Paged caches are walked in spans of SPAN_KEYS from key 0, each with a softmax of its own; then the spans are merged in
 * ascending order, always: so a few rows over many keys can be split over threads by spans, with the bits of any other call.
 *
 * Keys stand transposed in both, so that scores need no sums across lanes: encoders transpose a tile when they bring it into a
 * panel, paged caches hold them so.
 */
#include "backend/cpu/cpu_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/alloc.h"

enum {
    BLOCK_ROWS = 384,         /* most query rows of a task: enough to pay for packing a tile */
    BLOCK_FLOATS = 384 * 128, /* of q, and of o: fewer rows when heads are wide */
    PACK_ROWS = 12,           /* paged: from here on a tile is converted once instead of per strip */
    SPAN_KEYS = 4 * KV_PAGE,  /* short enough to share 512 positions of three heads among two threads */
    TASKS_PER_THREAD = 4,     /* fewer tasks than that are split by spans */
    PANEL_FLOATS = ATTN_KEYS * ATTN_HEAD_DIM_MAX
};

/* A task's working set in the thread's scratch. */
typedef struct block {
    float *q, *o;                 /* [n_row, hd_pad] */
    float *k, *v;                 /* panels of one tile */
    float *s;                     /* [ATTN_ROWS_MAX, ATTN_KEYS] */
    float *m, *l;                 /* [BLOCK_ROWS] */
    float *sum_o, *sum_m, *sum_l; /* paged: o, m, l of the spans before */
    int32_t *n_vis;               /* [BLOCK_ROWS] keys each row sees */
    int n_row, head_dim, hd_pad;
    int32_t max_vis;
    ptrdiff_t k_ahead, v_ahead; /* see attn_strip */
} block;

enum { BLOCK_BYTES = (3 * BLOCK_FLOATS + 2 * PANEL_FLOATS + ATTN_ROWS_MAX * ATTN_KEYS + 5 * BLOCK_ROWS) * 4 };
_Static_assert((int)BLOCK_BYTES <= (int)SCRATCH_BYTES, "attention outgrew the scratch");

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static block block_over(void *scratch, int head_dim, int n_lane)
{
    float *f = scratch;
    block b = { .head_dim = head_dim, .hd_pad = (int)mo_round_up((size_t)head_dim, (size_t)n_lane) };

    b.q = f, f += BLOCK_FLOATS;
    b.o = f, f += BLOCK_FLOATS;
    b.k = f, f += PANEL_FLOATS;
    b.v = f, f += PANEL_FLOATS;
    b.s = f, f += ATTN_ROWS_MAX * ATTN_KEYS;
    b.m = f, f += BLOCK_ROWS;
    b.l = f, f += BLOCK_ROWS;
    b.sum_o = f, f += BLOCK_FLOATS;
    b.sum_m = f, f += BLOCK_ROWS;
    b.sum_l = f, f += BLOCK_ROWS;
    b.n_vis = (int32_t *)f;
    return b;
}

static int block_rows_max(const cpu_backend *c, int head_dim)
{
    const int hd_pad = (int)mo_round_up((size_t)head_dim, (size_t)c->k.n_lane);
    const int rows = BLOCK_FLOATS / hd_pad / c->k.attn_rows * c->k.attn_rows;

    return rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
}

/* Row r of the block: its query times scale. */
static void block_row(const cpu_backend *c, block *b, int r, const float *q, float scale, int32_t n_vis)
{
    float *qr = b->q + (size_t)r * (size_t)b->hd_pad;

    c->k.scale(qr, q, scale, b->head_dim);
    for (int d = b->head_dim; d < b->hd_pad; d++) qr[d] = 0;
    b->n_vis[r] = n_vis;
    if (n_vis > b->max_vis) b->max_vis = n_vis;
}

/* Nothing summed yet. */
static void block_clear(const block *b)
{
    memset(b->o, 0, (size_t)b->n_row * (size_t)b->hd_pad * sizeof(float));
    for (int r = 0; r < b->n_row; r++) b->m[r] = -INFINITY, b->l[r] = 0;
}

static void row_out(const cpu_backend *c, float *y, const float *o, float l, int head_dim)
{
    c->k.scale(y, o, l > 0 ? 1.0f / l : 0.0f, head_dim);
}

/* Rows from r on as a strip, of those of n_key keys from key0 on that they see; alike: only rows that see the same number. Returns how
 * many; the strip is empty if row r sees none. */
static int next_strip(const cpu_backend *c, const block *b, attn_strip *t, int r, int32_t key0, int n_key, bool alike)
{
    const int end = (int)min64(b->n_row, r - r % c->k.attn_rows + c->k.attn_rows);

    *t = (attn_strip){
        .q = b->q + (size_t)r * (size_t)b->hd_pad,
        .o = b->o + (size_t)r * (size_t)b->hd_pad,
        .m = b->m + r,
        .l = b->l + r,
        .s = b->s,
        .head_dim = b->head_dim,
        .hd_pad = b->hd_pad,
        .k_ahead = r ? 0 : b->k_ahead,
        .v_ahead = r ? 0 : b->v_ahead,
    };
    for (; r < end; r++) {
        const int64_t vis = min64((int64_t)b->n_vis[r] - key0, n_key);
        if (vis <= 0) return t->n_row ? t->n_row : 1;
        if (alike && t->n_row && vis != t->n_key[0]) break;
        t->n_key[t->n_row++] = (int)vis;
    }
    return t->n_row;
}

/* Keys [key0, key0 + n_key) for every row of the block that sees any of them. */
static void block_tile(const cpu_backend *c, const block *b, attn_tile_fn fn, const void *k, const void *v, int64_t ld, int32_t key0,
                       int n_key)
{
    attn_strip t;

    for (int r = 0; r < b->n_row;) {
        r += next_strip(c, b, &t, r, key0, n_key, fn == c->k.attn_tile_pairs);
        if (t.n_row) fn(&t, k, v, ld);
    }
}

/* ---- encoders: plain rows ---- */

typedef struct dense_job {
    cpu_backend *c;
    const attn_dense_args *a;
    int rows; /* of a block */
    int64_t n_task;
    _Atomic int64_t next;
} dense_job;

/* One tile of keys and values as panels, and every row of the block on them. */
static void dense_tile(const cpu_backend *c, const block *b, const float *k, int64_t ldk, const float *v, int64_t ldv, int32_t key0,
                       int n_key)
{
    if (c->k.attn_tile_pairs) {
        c->k.attn_pack_k_pairs(b->k, k, ldk, n_key, b->head_dim);
        c->k.attn_pack_v_pairs(b->v, v, ldv, n_key, b->head_dim, b->hd_pad);
        block_tile(c, b, c->k.attn_tile_pairs, b->k, b->v, b->hd_pad, key0, n_key);
        return;
    }
    c->k.attn_pack_kt(b->k, k, ldk, n_key, b->head_dim);
    for (int i = 0; i < n_key; i++) {
        float *row = b->v + (size_t)i * (size_t)b->hd_pad;
        memcpy(row, v + i * ldv, (size_t)b->head_dim * sizeof *row);
        for (int d = b->head_dim; d < b->hd_pad; d++) row[d] = 0;
    }
    block_tile(c, b, c->k.attn_tile[MO_F32], b->k, b->v, b->hd_pad, key0, n_key);
}

static void dense_block(cpu_backend *c, const attn_dense_args *a, void *scratch, int item, int head, int q0, int n_row)
{
    block b = block_over(scratch, a->head_dim, c->k.n_lane);
    const int32_t k0 = a->k_row[item], n_k = a->k_row[item + 1] - k0;
    const int64_t col = (int64_t)head * a->head_dim;

    b.n_row = n_row;
    for (int r = 0; r < n_row; r++)
        block_row(c, &b, r, a->q + (q0 + r) * a->ldq + col, a->scale, a->n_visible ? (int32_t)min64(a->n_visible[q0 + r], n_k) : n_k);
    block_clear(&b);
    for (int32_t key = 0; key < b.max_vis; key += ATTN_KEYS) {
        const int n_key = (int)min64(ATTN_KEYS, b.max_vis - key);
        dense_tile(c, &b, a->k + (int64_t)(k0 + key) * a->ldk + col, a->ldk, a->v + (int64_t)(k0 + key) * a->ldv + col, a->ldv, key, n_key);
    }
    for (int r = 0; r < n_row; r++) row_out(c, a->y + (q0 + r) * a->ldy + col, b.o + (size_t)r * (size_t)b.hd_pad, b.l[r], a->head_dim);
}

static void dense_part(void *arg, int i_thread, int n_thread)
{
    dense_job *j = arg;
    const attn_dense_args *a = j->a;
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        int item = 0;
        for (;; item++) {
            const int64_t n_block = (a->q_row[item + 1] - a->q_row[item] + j->rows - 1) / j->rows, n = n_block * a->n_head;
            if (task < n) {
                const int q0 = a->q_row[item] + (int)(task % n_block) * j->rows;
                dense_block(j->c, a, j->c->scratch[i_thread], item, (int)(task / n_block), q0,
                            (int)min64(j->rows, a->q_row[item + 1] - q0));
                break;
            }
            task -= n;
        }
    }
}

void cpu_attn_dense(backend *be, const attn_dense_args *a)
{
    cpu_backend *c = cpu_of(be);
    dense_job j = { .c = c, .a = a, .rows = block_rows_max(c, a->head_dim) };

    for (int i = 0; i < a->n_item; i++) j.n_task += (int64_t)((a->q_row[i + 1] - a->q_row[i] + j.rows - 1) / j.rows) * a->n_head;
    if (j.n_task == 1) dense_part(&j, 0, 1);
    else if (j.n_task) pool_run(c->pool, dense_part, &j);
}

/* ---- paged caches ---- */

typedef struct paged_job {
    cpu_backend *c;
    const attn_paged_args *a;
    int tokens; /* of a block: rows / (n_head / n_kv_head) */
    int hd_pad;
    int n_span;  /* 0: a task does all spans; else it does one of so many, and they are merged afterwards */
    float *part; /* [row, n_head, n_span, PART_HEAD + hd_pad]: m, l, then o */
    int64_t n_task;
    _Atomic int64_t next;
} paged_job;

enum { PART_HEAD = 16 }; /* floats, so that o is aligned */

static float *part_at(const paged_job *j, int64_t row, int head, int span)
{
    return j->part + ((row * j->a->n_head + head) * j->n_span + span) * (PART_HEAD + j->hd_pad);
}

/* Keys and values of one tile for every row of the block: as they lie in the page, or by way of float32 panels. */
static void paged_tile(const cpu_backend *c, const block *b, int32_t type, const uint8_t *k, const uint8_t *v, int32_t key0, int n_key)
{
    const bool padded = b->hd_pad != b->head_dim, convert = type != MO_F32 && (padded || b->n_row >= PACK_ROWS);
    const size_t row = dtype_row_bytes(type, b->head_dim);

    if (convert && type == MO_Q8_0) { /* head_dim is whole blocks: nothing is padded */
        c->k.attn_unpack_q8_0(b->k, b->v, k, v, n_key, b->head_dim);
    } else if (convert || padded) {
        c->k.to_f32[type](b->k, k, (int64_t)b->head_dim * ATTN_KEYS);
        for (int i = 0; i < n_key; i++) {
            float *y = b->v + (size_t)i * (size_t)b->hd_pad;
            c->k.to_f32[type](y, v + (size_t)i * row, b->head_dim);
            for (int d = b->head_dim; d < b->hd_pad; d++) y[d] = 0;
        }
    } else {
        block_tile(c, b, c->k.attn_tile[type], k, v, b->hd_pad, key0, n_key);
        return;
    }
    block_tile(c, b, c->k.attn_tile[MO_F32], b->k, b->v, b->hd_pad, key0, n_key);
}

/* Every key of one span for every row of the block. */
static void paged_span(const cpu_backend *c, block *b, const attn_paged_args *a, const attn_seq *s, int kv_head, int span)
{
    const size_t head_bytes = kv_page_head_bytes(a->kv_type, a->head_dim);
    const int32_t end = (int32_t)min64(b->max_vis, (int64_t)(span + 1) * SPAN_KEYS);

    block_clear(b);
    for (int32_t key = span * SPAN_KEYS; key < end; key += KV_PAGE) {
        const uint8_t *k = (const uint8_t *)s->page[key / KV_PAGE] + s->layer_offset + (size_t)kv_head * head_bytes;
        const bool last = key + KV_PAGE >= b->max_vis;
        b->k_ahead = b->v_ahead = last ? 0 : (ptrdiff_t)((uintptr_t)s->page[key / KV_PAGE + 1] - (uintptr_t)s->page[key / KV_PAGE]);
        paged_tile(c, b, a->kv_type, k, k + (size_t)a->n_kv_head * head_bytes, key, (int)min64(KV_PAGE, b->max_vis - key));
    }
}

/* Adds the span just done to those before it. */
static void block_merge(const cpu_backend *c, const block *b, int span)
{
    for (int r = 0; r < b->n_row; r++) {
        const float *o = b->o + (size_t)r * (size_t)b->hd_pad;
        float *sum = b->sum_o + (size_t)r * (size_t)b->hd_pad;
        if (!span) {
            memcpy(sum, o, (size_t)b->hd_pad * sizeof *sum);
            b->sum_m[r] = b->m[r], b->sum_l[r] = b->l[r];
        } else if (b->n_vis[r] > span * SPAN_KEYS) {
            c->k.attn_merge(sum, b->sum_m + r, b->sum_l + r, o, b->m[r], b->l[r], b->hd_pad);
        }
    }
}

/* Tokens [t0, t0 + n_token) of a sequence: all spans to the end, or one of them to its part. */
static void paged_block(const paged_job *j, void *scratch, const attn_seq *s, int kv_head, int t0, int n_token, int only_span)
{
    const attn_paged_args *a = j->a;
    const int g = a->n_head / a->n_kv_head;
    cpu_backend *c = j->c;
    block b = block_over(scratch, a->head_dim, c->k.n_lane);

    b.n_row = n_token * g;
    for (int r = 0; r < b.n_row; r++) {
        const int row = s->row + t0 + r / g;
        block_row(c, &b, r, a->q + row * a->ldq + (int64_t)(kv_head * g + r % g) * a->head_dim, a->scale, a->n_visible[row]);
    }
    if (!j->n_span) {
        for (int span = 0; span * SPAN_KEYS < b.max_vis; span++) {
            paged_span(c, &b, a, s, kv_head, span);
            block_merge(c, &b, span);
        }
        for (int r = 0; r < b.n_row; r++)
            row_out(c, a->y + (s->row + t0 + r / g) * a->ldy + (int64_t)(kv_head * g + r % g) * a->head_dim,
                    b.sum_o + (size_t)r * (size_t)b.hd_pad, b.sum_l[r], a->head_dim);
        return;
    }
    if (only_span * SPAN_KEYS >= b.max_vis) return;
    paged_span(c, &b, a, s, kv_head, only_span);
    for (int r = 0; r < b.n_row; r++) {
        float *part = part_at(j, s->row + t0 + r / g, kv_head * g + r % g, only_span);
        part[0] = b.m[r], part[1] = b.l[r];
        memcpy(part + PART_HEAD, b.o + (size_t)r * (size_t)b.hd_pad, (size_t)b.hd_pad * sizeof *part);
    }
}

/* Merges the spans of (row, head) pairs [i0, i1), all rows of all sequences counted through. */
static void merge_parts(cpu_backend *c, const void *arg, int64_t i0, int64_t i1)
{
    const paged_job *j = arg;
    const attn_paged_args *a = j->a;
    const attn_seq *s = a->seq;
    int64_t first = 0; /* row of s in that count */

    for (int64_t i = i0; i < i1; i++) {
        const int head = (int)(i % a->n_head);
        while (i / a->n_head - first >= s->n_row) first += s->n_row, s++;
        const int64_t row = s->row + (i / a->n_head - first);
        float *sum = part_at(j, row, head, 0);
        for (int span = 1; span * SPAN_KEYS < a->n_visible[row]; span++) {
            const float *p = part_at(j, row, head, span);
            c->k.attn_merge(sum + PART_HEAD, sum, sum + 1, p + PART_HEAD, p[0], p[1], j->hd_pad);
        }
        row_out(c, a->y + row * a->ldy + (int64_t)head * a->head_dim, sum + PART_HEAD, sum[1], a->head_dim);
    }
}

static void paged_part(void *arg, int i_thread, int n_thread)
{
    paged_job *j = arg;
    const attn_paged_args *a = j->a;
    int64_t task;

    (void)n_thread;
    while ((task = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_task) {
        const attn_seq *s = a->seq;
        const int span = j->n_span ? (int)(task % j->n_span) : 0;
        if (j->n_span) task /= j->n_span;
        for (;; s++) {
            const int64_t n_block = (s->n_row + j->tokens - 1) / j->tokens, n = n_block * a->n_kv_head;
            if (task < n) {
                /* later blocks see more keys: give them out first */
                const int t0 = (int)(n_block - 1 - task / a->n_kv_head) * j->tokens;
                paged_block(j, j->c->scratch[i_thread], s, (int)(task % a->n_kv_head), t0, (int)min64(j->tokens, s->n_row - t0), span);
                break;
            }
            task -= n;
        }
    }
}

/* Few tasks over many keys become more, if what they sum fits into the memory that matmul packs activations in. */
static void split_spans(paged_job *j, int64_t n_row, int32_t max_vis)
{
    const int64_t n_span = (max_vis + SPAN_KEYS - 1) / SPAN_KEYS;
    const int64_t floats = n_row * j->a->n_head * n_span * (PART_HEAD + j->hd_pad);

    if (n_span < 2 || j->c->n_thread < 2 || j->n_task >= TASKS_PER_THREAD * j->c->n_thread || floats * 4 > X_PACK_BYTES) return;
    j->n_span = (int)n_span;
    j->part = (float *)(void *)j->c->x_pack;
    j->n_task *= n_span;
}

void cpu_attn_paged(backend *be, const attn_paged_args *a)
{
    cpu_backend *c = cpu_of(be);
    const int g = a->n_head / a->n_kv_head, rows = block_rows_max(c, a->head_dim);
    paged_job j = {
        .c = c, .a = a, .tokens = rows / g > 0 ? rows / g : 1, .hd_pad = (int)mo_round_up((size_t)a->head_dim, (size_t)c->k.n_lane)
    };
    int64_t work = 0, n_row = 0, last_row = 0;
    int32_t max_vis = 0;

    for (int i = 0; i < a->n_seq; i++) {
        const attn_seq *s = &a->seq[i];
        j.n_task += (int64_t)((s->n_row + j.tokens - 1) / j.tokens) * a->n_kv_head;
        n_row += s->n_row;
        if (s->row + s->n_row > last_row) last_row = s->row + s->n_row;
        for (int r = 0; r < s->n_row; r++) {
            const int32_t vis = a->n_visible[s->row + r];
            work += (int64_t)vis * a->n_head * a->head_dim;
            if (vis > max_vis) max_vis = vis;
        }
    }
    if (work < 16384) {
        paged_part(&j, 0, 1);
        return;
    }
    split_spans(&j, last_row, max_vis);
    if (j.n_task == 1) paged_part(&j, 0, 1);
    else pool_run(c->pool, paged_part, &j);
    if (j.n_span) cpu_rows(c, n_row * a->n_head, (int64_t)j.n_span * j.hd_pad, merge_parts, &j);
}
