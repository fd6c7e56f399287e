/* Binding tensors by name: see bind.h. One function finds and checks, one copies; the rest are their public shapes. */
#include "models/bind.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

enum { NAME_MAX_BYTES = 256 };

binder bind_begin(backend *be, const tensors *ts, bool plan, mo_error *err)
{
    return (binder){ .be = be, .ts = ts, .plan = plan, .err = err };
}

/* "1024x80x3" */
static void shape_text(char *out, size_t n, const int64_t *dim, int n_dim)
{
    size_t at = 0;

    out[0] = 0;
    for (int i = 0; i < n_dim && at < n; i++) {
        int k = snprintf(out + at, n - at, "%s%" PRId64, i ? "x" : "", dim[i]);
        if (k < 0) return;
        at += (size_t)k;
    }
}

static bool product(const int64_t *dim, int first, int n_dim, int64_t *out)
{
    *out = 1;
    for (int i = first; i < n_dim; i++)
        if (__builtin_mul_overflow(*out, dim[i], out)) return false;
    return true;
}

static void wrong_shape(binder *b, const tensor *t, const char *expected)
{
    char got[128];

    shape_text(got, sizeof got, t->dim, t->n_dim);
    b->st = mo_fail(b->err, MO_E_FORMAT, "tensor '%s': shape %s, expected %s (file %s, offset 0x%" PRIx64 ")", t->name, got, expected,
                    t->file ? t->file : "?", t->file_offset);
}

/* The tensor of that name with a known type, or NULL and the failure kept. */
static const tensor *find(binder *b, const char *fmt, va_list ap)
{
    char name[NAME_MAX_BYTES];
    const tensor *t;
    int k;

    if (b->st != MO_OK) return NULL;
    k = vsnprintf(name, sizeof name, fmt, ap);
    if (k < 0 || (size_t)k >= sizeof name) {
        b->st = mo_fail(b->err, MO_E_LIMIT, "tensor name '%s…' is longer than %d bytes", name, NAME_MAX_BYTES - 1);
        return NULL;
    }
    b->st = tensors_get(b->ts, name, &t, b->err);
    return b->st == MO_OK ? t : NULL;
}

/* Is t [n_row, rest == n_col], with rows that are whole blocks? */
static bool check_matrix(binder *b, const tensor *t, int64_t n_row, int64_t n_col)
{
    char want[64];
    int64_t rest;

    if (t->n_dim < 1 || t->dim[0] != n_row || !product(t->dim, 1, t->n_dim, &rest) || rest != n_col) {
        snprintf(want, sizeof want, "%" PRId64 "x%" PRId64, n_row, n_col);
        wrong_shape(b, t, want);
        return false;
    }
    if (!dtype_row_bytes(t->type, n_col)) {
        b->st = mo_fail(b->err, MO_E_FORMAT, "tensor '%s': rows of %" PRId64 " are not whole blocks of type %s", t->name, n_col,
                        dtype_get(t->type)->name);
        return false;
    }
    return true;
}

static bool check_vector(binder *b, const tensor *t, int64_t n)
{
    char want[32];
    int64_t all;

    if (product(t->dim, 0, t->n_dim, &all) && all == n && dtype_row_bytes(t->type, n)) return true;
    snprintf(want, sizeof want, "%" PRId64, n);
    wrong_shape(b, t, want);
    return false;
}

/* One of the backend's ways to take a matrix: ops->weight or ops->table. */
typedef mo_status (*take_fn)(backend *be, weight *out, int32_t type, int64_t n_row, int64_t n_col, const void *data, mo_error *err);

static void make_weight(binder *b, take_fn take, weight *out, const tensor *t, int64_t n_row, int64_t n_col, const void *data)
{
    mo_status st;

    if (b->plan) return;
    if ((st = take(b->be, out, t->type, n_row, n_col, data, b->err)) != MO_OK) b->st = mo_fail_in(b->err, st, "tensor '%s'", t->name);
}

/* What it needs: repacked bytes, or, in *as_is, those it has. */
static void count_weight(binder *b, int32_t type, int64_t n_row, int64_t n_col, size_t *as_is, size_t bytes)
{
    const size_t repacked = b->be->ops->weight_bytes(b->be, type, n_row, n_col);

    b->bytes.repacked += repacked;
    if (!repacked) *as_is += bytes;
}

static void bind_rows(binder *b, weight *out, int64_t row, int64_t n_row, int64_t n_row_all, int64_t n_col, const char *fmt, va_list ap)
{
    const tensor *t;
    size_t row_bytes;

    memset(out, 0, sizeof *out);
    if (!(t = find(b, fmt, ap)) || !check_matrix(b, t, n_row_all, n_col)) return;
    row_bytes = dtype_row_bytes(t->type, n_col);
    count_weight(b, t->type, n_row, n_col, &b->bytes.mapped, (size_t)n_row * row_bytes);
    make_weight(b, b->be->ops->weight, out, t, n_row, n_col, (const char *)t->data + (size_t)row * row_bytes);
    if (out->packed) tensors_release(b->ts, t, (size_t)row * row_bytes, (size_t)n_row * row_bytes); /* packing has read it */
}

void bind_weight(binder *b, weight *out, int64_t n_row, int64_t n_col, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    bind_rows(b, out, 0, n_row, n_row, n_col, fmt, ap);
    va_end(ap);
}

void bind_lookup(binder *b, weight *out, int64_t n_row, int64_t n_col, const char *fmt, ...)
{
    const tensor *t;
    va_list ap;

    memset(out, 0, sizeof *out);
    va_start(ap, fmt);
    t = find(b, fmt, ap);
    va_end(ap);
    if (!t || !check_matrix(b, t, n_row, n_col)) return;
    b->bytes.lookup += (size_t)n_row * dtype_row_bytes(t->type, n_col);
    make_weight(b, b->be->ops->table, out, t, n_row, n_col, t->data);
}

void bind_weight_rows(binder *b, weight *out, int64_t row, int64_t n_row, int64_t n_row_all, int64_t n_col, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    bind_rows(b, out, row, n_row, n_row_all, n_col, fmt, ap);
    va_end(ap);
}

/* As dtype_to_f32, from any address: a file need not align its tensors. */
static void to_f32(float *y, const char *x, int32_t type, int64_t n)
{
    enum { CHUNK = 1024 }; /* elements; whole blocks of every type */
    float aligned[CHUNK];

    if ((uintptr_t)x % sizeof(float) == 0) {
        dtype_to_f32(y, x, type, n);
        return;
    }
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t k = n - i < CHUNK ? n - i : CHUNK;
        size_t bytes = dtype_row_bytes(type, k);

        memcpy(aligned, x, bytes);
        dtype_to_f32(y + i, aligned, type, k);
        x += bytes;
    }
}

/* dst [n_col, n_row] = src [n_row, n_col]^T for elements of 2 or 4 bytes, in tiles that stay in the first cache. */
static void transpose(void *dst, const void *src, int64_t n_row, int64_t n_col, int32_t size)
{
    enum { TILE = 32 };

    for (int64_t r0 = 0; r0 < n_row; r0 += TILE)
        for (int64_t c0 = 0; c0 < n_col; c0 += TILE)
            for (int64_t c = c0; c < n_col && c < c0 + TILE; c++)
                for (int64_t r = r0; r < n_row && r < r0 + TILE; r++)
                    memcpy((char *)dst + (c * n_row + r) * size, (const char *)src + (r * n_col + c) * size, (size_t)size);
}

void bind_weight_transposed(binder *b, weight *out, void **owned, int64_t n_row, int64_t n_col, const char *fmt, ...)
{
    const tensor *t;
    const dtype_info *d;
    size_t bytes;
    float *flat = NULL;
    tensor as; /* the copy's type: blocks cannot be transposed, so a block type becomes float32 */
    va_list ap;

    memset(out, 0, sizeof *out);
    *owned = NULL;
    va_start(ap, fmt);
    t = find(b, fmt, ap);
    va_end(ap);
    if (!t || !check_matrix(b, t, n_row, n_col)) return;

    as = *t;
    d = dtype_get(t->type);
    if (d->n_block > 1) as.type = MO_F32;
    bytes = (size_t)n_row * (size_t)n_col * (size_t)dtype_get(as.type)->block_bytes;
    count_weight(b, as.type, n_col, n_row, &b->bytes.repacked, bytes);
    if (!b->plan) {
        if (as.type != t->type && (flat = mo_malloc(bytes))) to_f32(flat, t->data, t->type, n_row * n_col);
        *owned = mo_alloc_aligned(bytes + MO_ALIGN); /* kernels may read one vector past the end */
        if (!*owned || (as.type != t->type && !flat)) {
            b->st = mo_fail(b->err, MO_E_NOMEM, "tensor '%s': %zu bytes for its transposed copy", t->name, bytes);
            goto done;
        }
        transpose(*owned, flat ? (const void *)flat : t->data, n_row, n_col, dtype_get(as.type)->block_bytes);
        tensors_release(b->ts, t, 0, t->n_bytes);
        memset((char *)*owned + bytes, 0, MO_ALIGN);
    }
    make_weight(b, b->be->ops->weight, out, &as, n_col, n_row, *owned);
done:
    if (b->st != MO_OK || out->packed) { /* repacked, the copy has done its work */
        mo_free(*owned);
        *owned = NULL;
        out->data = NULL;
    }
    mo_free(flat);
}

/* Elements [first, first + n) of t to float32 in backend memory. */
static void copy_f32(binder *b, float **out, const tensor *t, int64_t first, int64_t n)
{
    size_t bytes = (size_t)n * sizeof(float);
    float *host = NULL;
    void *p = NULL;

    b->bytes.copied += bytes;
    if (b->plan) return;
    if (!(host = mo_malloc(bytes))) {
        b->st = mo_fail(b->err, MO_E_NOMEM, "tensor '%s': %zu bytes", t->name, bytes);
        return;
    }
    if ((b->st = b->be->ops->alloc(b->be, &p, bytes, b->err)) == MO_OK) {
        to_f32(host, (const char *)t->data + dtype_row_bytes(t->type, first), t->type, n);
        b->be->ops->upload(b->be, p, host, bytes);
        *out = p;
    }
    mo_free(host);
}

void bind_vector(binder *b, float **out, int64_t n, const char *fmt, ...)
{
    const tensor *t;
    va_list ap;

    *out = NULL;
    va_start(ap, fmt);
    t = find(b, fmt, ap);
    va_end(ap);
    if (t && check_vector(b, t, n)) copy_f32(b, out, t, 0, n);
}

void bind_vector_part(binder *b, float **out, int64_t first, int64_t n, int64_t n_all, const char *fmt, ...)
{
    const tensor *t;
    va_list ap;

    *out = NULL;
    va_start(ap, fmt);
    t = find(b, fmt, ap);
    va_end(ap);
    if (!t || !check_vector(b, t, n_all)) return;
    if (first && !dtype_row_bytes(t->type, first)) {
        b->st = mo_fail(b->err, MO_E_UNSUPPORTED, "tensor '%s': cannot be divided at element %" PRId64 " in type %s", t->name, first,
                        dtype_get(t->type)->name);
        return;
    }
    copy_f32(b, out, t, first, n);
}

void bind_table(binder *b, float **out, int64_t n_row, int64_t n_col, const char *fmt, ...)
{
    const tensor *t;
    va_list ap;

    *out = NULL;
    va_start(ap, fmt);
    t = find(b, fmt, ap);
    va_end(ap);
    if (t && check_matrix(b, t, n_row, n_col)) copy_f32(b, out, t, 0, n_row * n_col);
}

bool bind_has(const binder *b, const char *fmt, ...)
{
    char name[NAME_MAX_BYTES];
    va_list ap;
    int k;

    va_start(ap, fmt);
    k = vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return k >= 0 && (size_t)k < sizeof name && tensors_find(b->ts, name);
}

int bind_count_layers(const binder *b, const char *prefix)
{
    size_t n = tensors_count(b->ts), len = strlen(prefix);
    int count = 0;

    for (size_t i = 0; i < n; i++) {
        const char *p = tensors_at(b->ts, i)->name;
        int il = 0, n_digit = 0;

        if (strncmp(p, prefix, len)) continue;
        for (p += len; *p >= '0' && *p <= '9' && n_digit < 4; p++, n_digit++) il = il * 10 + (*p - '0');
        if (n_digit && *p == '.' && il >= count) count = il + 1;
    }
    return count;
}

void unbind_weight(backend *be, weight *w)
{
    if (w->data || w->packed) be->ops->weight_free(be, w);
    memset(w, 0, sizeof *w);
}

void unbind_vector(backend *be, float **v)
{
    if (*v) be->ops->dealloc(be, *v);
    *v = NULL;
}
