/* Growable byte strings and id lists (buf.h). */
#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

/* Room for `need` elements of `size` bytes, doubling. */
static bool grow(void **data, size_t *cap, size_t need, size_t size)
{
    size_t n = *cap ? *cap : 32, bytes;
    void *p;

    if (need <= *cap) return true;
    while (n < need) {
        if (n > SIZE_MAX / 2) return false;
        n *= 2;
    }
    if (!mo_size_mul(n, size, &bytes) || !(p = mo_realloc(*data, bytes))) return false;
    *data = p;
    *cap = n;
    return true;
}

void buf_put(buf *b, const void *p, size_t n)
{
    void *data = b->data;
    size_t need;

    if (b->failed) return;
    if (!mo_size_add(b->len, n, &need) || !mo_size_add(need, 1, &need) || !grow(&data, &b->cap, need, 1)) {
        b->failed = true;
        return;
    }
    b->data = data;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_puts(buf *b, const char *s) { buf_put(b, s, strlen(s)); }

void buf_printf(buf *b, const char *fmt, ...)
{
    char small[512], *big;
    va_list ap, again;
    int n;

    if (b->failed) return;
    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
    } else if (n >= 0 && (big = mo_malloc((size_t)n + 1))) {
        vsnprintf(big, (size_t)n + 1, fmt, again);
        buf_put(b, big, (size_t)n);
        mo_free(big);
    } else {
        b->failed = true;
    }
    va_end(again);
}

void buf_clear(buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void buf_free(buf *b)
{
    mo_free(b->data);
    memset(b, 0, sizeof *b);
}

void ids_put_n(ids *v, const int32_t *id, size_t n)
{
    void *data = v->data;
    size_t need;

    if (v->failed || !n) return;
    if (!mo_size_add(v->len, n, &need) || !grow(&data, &v->cap, need, sizeof *id)) {
        v->failed = true;
        return;
    }
    v->data = data;
    memcpy(v->data + v->len, id, n * sizeof *id);
    v->len += n;
}

void ids_put(ids *v, int32_t id) { ids_put_n(v, &id, 1); }

void ids_clear(ids *v)
{
    v->len = 0;
    v->failed = false;
}

void ids_free(ids *v)
{
    mo_free(v->data);
    memset(v, 0, sizeof *v);
}
