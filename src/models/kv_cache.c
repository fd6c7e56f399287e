/* Paged keys and values with shared pages (kv_cache.h). */
#include "models/kv_cache.h"

#include <string.h>

#include "core/alloc.h"

size_t kv_page_bytes(const kv_shape *shape)
{
    size_t layer = mo_round_up(kv_page_layer_bytes(shape->type, shape->n_kv_head, shape->head_dim), MO_ALIGN);
    return layer * (size_t)shape->n_layer;
}

mo_status kv_shape_check(const kv_shape *shape, mo_error *err)
{
    const dtype_info *d = dtype_get(shape->type);

    if (kv_page_head_bytes(shape->type, shape->head_dim)) return MO_OK;
    return mo_fail(err, MO_E_UNSUPPORTED, "a KV cache of type %s has blocks of %d elements and this model's heads have %d; use f16",
                   d->name, d->n_block, shape->head_dim);
}

mo_status kv_pool_init(kv_pool *p, backend *be, const kv_shape *shape, int32_t n_page, mo_error *err)
{
    mo_status st;
    size_t bytes;

    memset(p, 0, sizeof *p);
    if (n_page < 1) return mo_fail(err, MO_E_ARG, "a KV cache of %d pages", n_page);
    if ((st = kv_shape_check(shape, err)) != MO_OK) return st;
    p->be = be;
    p->shape = *shape;
    p->page_bytes = kv_page_bytes(shape);
    p->layer_bytes = p->page_bytes / (size_t)shape->n_layer;
    if (!mo_size_mul(p->page_bytes, (size_t)n_page, &bytes)) return mo_fail(err, MO_E_LIMIT, "a KV cache of %d pages is too large", n_page);
    p->n_ref = mo_calloc((size_t)n_page, sizeof *p->n_ref);
    p->free_list = mo_calloc((size_t)n_page, sizeof *p->free_list);
    if (!p->n_ref || !p->free_list) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for the page table of a KV cache of %d pages", n_page);
        goto fail;
    }
    if ((st = be->ops->alloc(be, (void **)&p->base, bytes, err)) != MO_OK) {
        mo_fail_in(err, st, "KV cache of %d positions (%zu MiB)", n_page * KV_PAGE, bytes >> 20);
        goto fail;
    }
    p->n_page = p->n_free = n_page;
    for (int32_t i = 0; i < n_page; i++) p->free_list[i] = n_page - 1 - i; /* pages go out in address order */
    return MO_OK;
fail:
    kv_pool_free(p);
    return st;
}

void kv_pool_free(kv_pool *p)
{
    if (p->base) p->be->ops->dealloc(p->be, p->base);
    mo_free(p->n_ref);
    mo_free(p->free_list);
    memset(p, 0, sizeof *p);
}

static void *page_address(const kv_pool *p, int32_t id) { return p->base + (size_t)id * p->page_bytes; }

static int32_t page_take(kv_pool *p)
{
    int32_t id = p->free_list[--p->n_free];
    p->n_ref[id] = 1;
    return id;
}

static void page_drop(kv_pool *p, int32_t id)
{
    if (--p->n_ref[id] == 0) p->free_list[p->n_free++] = id;
}

mo_status kv_seq_init(kv_seq *s, kv_pool *pool, int32_t n_ctx, mo_error *err)
{
    memset(s, 0, sizeof *s);
    s->pool = pool;
    s->n_page_max = kv_pages_for(n_ctx);
    s->page = mo_calloc((size_t)s->n_page_max, sizeof *s->page);
    s->page_id = mo_calloc((size_t)s->n_page_max, sizeof *s->page_id);
    if (s->page && s->page_id) return MO_OK;
    kv_seq_free(s);
    return mo_fail(err, MO_E_NOMEM, "no memory for a sequence of %d positions", n_ctx);
}

void kv_seq_free(kv_seq *s)
{
    if (s->pool) kv_seq_truncate(s, 0);
    mo_free(s->page);
    mo_free(s->page_id);
    memset(s, 0, sizeof *s);
}

static void set_page(kv_seq *s, int32_t i, int32_t id)
{
    s->page_id[i] = id;
    s->page[i] = page_address(s->pool, id);
}

/* Page i is about to be written: make it this sequence's own. A page must be free (the caller counted). */
static void page_unshare(kv_seq *s, int32_t i)
{
    kv_pool *p = s->pool;
    int32_t old = s->page_id[i], id;

    if (p->n_ref[old] == 1) return;
    id = page_take(p);
    p->be->ops->copy(p->be, page_address(p, id), page_address(p, old), p->page_bytes);
    page_drop(p, old);
    set_page(s, i, id);
}

static int32_t n_shared(const kv_seq *s, int32_t first_page, int32_t n_page)
{
    int32_t n = 0;
    for (int32_t i = first_page; i < n_page; i++) n += s->pool->n_ref[s->page_id[i]] > 1;
    return n;
}

mo_status kv_seq_reserve(kv_seq *s, int32_t n, mo_error *err)
{
    int64_t end = (int64_t)s->len + n;
    int32_t need = kv_pages_for(end), first = s->len / KV_PAGE, n_new;

    if (n < 0) return mo_fail(err, MO_E_ARG, "cannot reserve %d positions", n);
    if (need > s->n_page_max)
        return mo_fail(err, MO_E_LIMIT,
                       "the context is full: %lld positions asked for, %d there; use a larger context or clear the conversation",
                       (long long)end, s->n_page_max * KV_PAGE);
    n_new = need - s->n_page + n_shared(s, first, s->n_page);
    if (n_new > s->pool->n_free)
        return mo_fail(err, MO_E_LIMIT, "the KV cache is full: %d more pages needed, %d free; end another session or use a larger cache",
                       n_new, s->pool->n_free);
    for (int32_t i = first; i < s->n_page; i++) page_unshare(s, i);
    while (s->n_page < need) {
        set_page(s, s->n_page, page_take(s->pool));
        s->n_page++;
    }
    return MO_OK;
}

void kv_seq_truncate(kv_seq *s, int32_t len)
{
    int32_t keep = kv_pages_for(len);

    while (s->n_page > keep) page_drop(s->pool, s->page_id[--s->n_page]);
    if (s->len > len) s->len = len;
}

mo_status kv_seq_fork(kv_seq *dst, const kv_seq *src, int32_t len, mo_error *err)
{
    int32_t n = kv_pages_for(len);

    if (dst->pool != src->pool || dst->len || len > src->len)
        return mo_fail(err, MO_E_ARG, "fork: the target is not an empty sequence of the same cache");
    if (n > dst->n_page_max)
        return mo_fail(err, MO_E_LIMIT, "fork: %d positions do not fit into a context of %d", len, dst->n_page_max * KV_PAGE);
    kv_seq_truncate(dst, 0);
    for (int32_t i = 0; i < n; i++) {
        set_page(dst, i, src->page_id[i]);
        dst->pool->n_ref[src->page_id[i]]++;
    }
    dst->n_page = n;
    dst->len = len;
    return MO_OK;
}

mo_status kv_seq_drop(kv_seq *s, int32_t preserve, int32_t n, const float *inv_freq, rope_style style, mo_error *err)
{
    const kv_shape *sh = &s->pool->shape;
    backend *be = s->pool->be;
    int32_t first = preserve / KV_PAGE, tail;

    if (preserve < 0 || n <= 0 || n > s->len || preserve > s->len - n)
        return mo_fail(err, MO_E_LIMIT, "cannot drop positions %d to %lld of a cache of %d", preserve, (long long)preserve + n, s->len);
    tail = s->len - preserve - n;
    if (tail) {
        /* Only the pages that receive the tail are written. */
        int32_t last = kv_pages_for((int64_t)preserve + tail);
        if (n_shared(s, first, last) > s->pool->n_free) return mo_fail(err, MO_E_LIMIT, "the KV cache is full: no page is free to unshare");
        for (int32_t i = first; i < last; i++) page_unshare(s, i);
        for (int32_t il = 0; il < sh->n_layer; il++) {
            attn_seq view = kv_seq_view(s, il, 0, 0);
            be->ops->kv_shift(be, &view, preserve, preserve + n, tail, -n, inv_freq, sh->n_kv_head, sh->head_dim, sh->type, style);
        }
    }
    kv_seq_truncate(s, preserve + tail);
    return MO_OK;
}

void kv_seq_read(const kv_seq *s, int32_t layer, float *k, float *v)
{
    const kv_shape *sh = &s->pool->shape;
    attn_seq view = kv_seq_view(s, layer, 0, 0);

    s->pool->be->ops->kv_read(s->pool->be, &view, s->len, k, v, sh->n_kv_head, sh->head_dim, sh->type);
}
