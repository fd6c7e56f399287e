/* What a language model remembers of its sequences: pages of keys and values.
 *
 * A pool owns pages of KV_PAGE positions (all layers of a position are in one page). A sequence is a table of pages and
 * a length. Pages are shared by reference count: a fork copies the table, and whoever writes into a shared page first
 * takes a copy of it. Nothing is allocated after the pool and the tables are made.
 *
 * Thread: one at a time per pool (the engine's).
 */
#ifndef MO_MODELS_KV_CACHE_H
#define MO_MODELS_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"

/* Shape of one position: n_layer times K and V of n_kv_head * head_dim elements. */
typedef struct kv_shape {
    int32_t n_layer, n_kv_head, head_dim;
    int32_t type; /* MO_F32, MO_F16 or MO_Q8_0 */
} kv_shape;

typedef struct kv_pool {
    backend *be;
    kv_shape shape;
    size_t layer_bytes, page_bytes;
    char *base;         /* [n_page, page_bytes] backend memory */
    int32_t *n_ref;     /* [n_page] 0: free */
    int32_t *free_list; /* [n_free] */
    int32_t n_page, n_free;
} kv_pool;

typedef struct kv_seq {
    kv_pool *pool;
    void **page;      /* [n_page_max] addresses, for the backend */
    int32_t *page_id; /* [n_page_max] */
    int32_t n_page, n_page_max;
    int32_t len; /* cached positions */
} kv_seq;

size_t kv_page_bytes(const kv_shape *shape);
static inline int32_t kv_pages_for(int64_t n_pos) { return (int32_t)((n_pos + KV_PAGE - 1) / KV_PAGE); }

/* MO_E_UNSUPPORTED with a sentence: heads of this width cannot be stored in the type's blocks. */
mo_status kv_shape_check(const kv_shape *shape, mo_error *err);

/* n_page pages, resident from the start: a session that was granted its memory cannot run out of it later. */
mo_status kv_pool_init(kv_pool *p, backend *be, const kv_shape *shape, int32_t n_page, mo_error *err);
void kv_pool_free(kv_pool *p); /* accepts a zeroed pool; no sequence may be left */

/* An empty sequence of at most n_ctx positions. */
mo_status kv_seq_init(kv_seq *s, kv_pool *pool, int32_t n_ctx, mo_error *err);
void kv_seq_free(kv_seq *s); /* gives its pages back; accepts a zeroed sequence */

/* Make positions [len, len + n) writable: takes pages, unshares the one being continued. MO_E_LIMIT: past n_ctx or no
 * page is free; the sequence is then as before. Does not change len: the forward pass does. */
mo_status kv_seq_reserve(kv_seq *s, int32_t n, mo_error *err);
void kv_seq_truncate(kv_seq *s, int32_t len); /* forget positions [len, ...) */

/* dst (empty, same pool) becomes a copy of src's first `len` positions, sharing pages. */
mo_status kv_seq_fork(kv_seq *dst, const kv_seq *src, int32_t len, mo_error *err);

/* Forget positions [preserve, preserve + n) and move what follows down, its keys turned back by n positions and rounded again
 * (spec: omni-session 5.8). Returns MO_E_LIMIT and changes nothing if the span does not fit or n <= 0.
 * MO_E_LIMIT also when a shared page needs a copy and no page is free. */
mo_status kv_seq_drop(kv_seq *s, int32_t preserve, int32_t n, const float *inv_freq, rope_style style, mo_error *err);

/* One layer as float32 [n_kv_head, len, head_dim] in host memory. */
void kv_seq_read(const kv_seq *s, int32_t layer, float *k, float *v);

/* The backend's view of rows [row, row + n_row) of a batch in one layer. */
static inline attn_seq kv_seq_view(const kv_seq *s, int32_t layer, int row, int n_row)
{
    return (attn_seq){ .row = row, .n_row = n_row, .page = s->page, .layer_offset = (size_t)layer * s->pool->layer_bytes };
}

#endif
