/* The GGUF writer (gguf_write.h; spec: formats 1.1). Version 3, alignment 32, tensors in the order of their declarations. */
#include "formats/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buf.h"

enum { ALIGN = 32 };

struct gguf_writer {
    char *path, *temporary;
    FILE *f;
    buf keys, tensors;
    uint64_t n_key, n_tensor;
    uint64_t *size; /* [n_tensor] bytes of data */
    size_t cap_size;
    uint64_t offset;    /* of the next declared tensor */
    size_t i_tensor;    /* whose data comes next */
    uint64_t n_written; /* of it */
    bool has_header;
    mo_status st; /* the first failure of a put */
    mo_error err;
};

static void put_u(buf *b, uint64_t v, int n)
{
    char bytes[8];

    for (int i = 0; i < n; i++) bytes[i] = (char)(v >> 8 * i);
    buf_put(b, bytes, (size_t)n);
}

static void put_string(buf *b, const char *s, size_t n)
{
    put_u(b, n, 8);
    buf_put(b, s, n);
}

mo_status gguf_write_begin(gguf_writer **out, const char *path, mo_error *err)
{
    enum { SUFFIX = 32 };
    gguf_writer *w = mo_zalloc(sizeof *w);
    const size_t n = strlen(path) + SUFFIX;
    int fd;

    *out = NULL;
    if (!w || !(w->path = mo_strdup(path)) || !(w->temporary = mo_malloc(n))) {
        gguf_write_abort(w);
        return mo_fail(err, MO_E_NOMEM, "no memory to write '%.300s'", path);
    }
    snprintf(w->temporary, n, "%s.%ld.part", path, (long)getpid());
    unlink(w->temporary); /* of an earlier process with our number */
    if ((fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) >= 0) {
        if (!(w->f = fdopen(fd, "wb"))) close(fd);
    } else {
        w->temporary[0] = 0;
    }
    if (!w->f) {
        mo_status st = mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", path, strerror(errno));
        gguf_write_abort(w);
        return st;
    }
    *out = w;
    return MO_OK;
}

void gguf_write_abort(gguf_writer *w)
{
    if (!w) return;
    if (w->f) fclose(w->f);
    if (w->temporary && w->temporary[0]) unlink(w->temporary);
    buf_free(&w->keys);
    buf_free(&w->tensors);
    mo_free(w->size);
    mo_free(w->path);
    mo_free(w->temporary);
    mo_free(w);
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static buf *begin_key(gguf_writer *w, const char *key, gguf_type type)
{
    w->n_key++;
    put_string(&w->keys, key, strlen(key));
    put_u(&w->keys, type, 4);
    return &w->keys;
}

static buf *begin_list(gguf_writer *w, const char *key, gguf_type item, size_t n)
{
    buf *b = begin_key(w, key, GGUF_ARRAY);

    put_u(b, item, 4);
    put_u(b, n, 8);
    return b;
}

static uint32_t bits_of(float v)
{
    uint32_t u;

    memcpy(&u, &v, sizeof u);
    return u;
}

void gguf_put_text(gguf_writer *w, const char *key, const char *s, size_t n) { put_string(begin_key(w, key, GGUF_STRING), s, n); }
void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v) { put_u(begin_key(w, key, GGUF_U32), v, 4); }
void gguf_put_i32(gguf_writer *w, const char *key, int32_t v) { put_u(begin_key(w, key, GGUF_I32), (uint32_t)v, 4); }
void gguf_put_u64(gguf_writer *w, const char *key, uint64_t v) { put_u(begin_key(w, key, GGUF_U64), v, 8); }
void gguf_put_f32(gguf_writer *w, const char *key, float v) { put_u(begin_key(w, key, GGUF_F32), bits_of(v), 4); }
void gguf_put_bool(gguf_writer *w, const char *key, bool v) { put_u(begin_key(w, key, GGUF_BOOL), v, 1); }

void gguf_put_texts(gguf_writer *w, const char *key, const gguf_text *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_STRING, n);

    for (size_t i = 0; i < n; i++) put_string(b, v[i].s, v[i].n);
}

void gguf_put_ints(gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_I32, n);

    for (size_t i = 0; i < n; i++) put_u(b, (uint32_t)v[i], 4);
}

void gguf_put_reals(gguf_writer *w, const char *key, const float *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_F32, n);

    for (size_t i = 0; i < n; i++) put_u(b, bits_of(v[i]), 4);
}

void gguf_put_copy(gguf_writer *w, const gguf_value *v)
{
    w->n_key++;
    put_string(&w->keys, v->key.s, v->key.n);
    put_u(&w->keys, v->type, 4);
    if (v->type == GGUF_ARRAY) {
        put_u(&w->keys, v->item, 4);
        put_u(&w->keys, v->n_item, 8);
    }
    buf_put(&w->keys, v->data, v->n_bytes);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

void gguf_declare(gguf_writer *w, const char *name, int32_t type, int32_t n_dim, const int64_t *dim)
{
    size_t bytes = n_dim > 0 ? dtype_row_bytes(type, dim[n_dim - 1]) : 0;
    bool ok = bytes && n_dim <= 4 && strlen(name) < 64;

    for (int32_t i = 0; ok && i + 1 < n_dim; i++) ok = dim[i] > 0 && mo_size_mul(bytes, (size_t)dim[i], &bytes);
    if (!ok || w->has_header) {
        if (w->st == MO_OK) w->st = mo_fail(&w->err, MO_E_ARG, "tensor '%.100s' cannot be stored in a GGUF file like this", name);
        return;
    }
    if (w->n_tensor == w->cap_size) {
        size_t cap = w->cap_size ? w->cap_size * 2 : 256;
        uint64_t *p = mo_realloc(w->size, cap * sizeof *p);
        if (!p) {
            if (w->st == MO_OK) w->st = mo_fail(&w->err, MO_E_NOMEM, "no memory to list the tensors of '%.300s'", w->path);
            return;
        }
        w->size = p;
        w->cap_size = cap;
    }
    put_string(&w->tensors, name, strlen(name));
    put_u(&w->tensors, (uint32_t)n_dim, 4);
    for (int32_t i = n_dim; i-- > 0;) put_u(&w->tensors, (uint64_t)dim[i], 8);
    put_u(&w->tensors, (uint32_t)type, 4);
    put_u(&w->tensors, w->offset, 8);
    w->size[w->n_tensor++] = bytes;
    w->offset += mo_round_up(bytes, ALIGN);
}

static mo_status write_bytes(gguf_writer *w, const void *p, size_t n, mo_error *err)
{
    if (!n || fwrite(p, 1, n, w->f) == n) return MO_OK;
    return mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", w->temporary, strerror(errno));
}

static mo_status pad(gguf_writer *w, uint64_t n, mo_error *err)
{
    static const char zero[ALIGN];

    return write_bytes(w, zero, (size_t)((ALIGN - n % ALIGN) % ALIGN), err);
}

static mo_status write_header(gguf_writer *w, mo_error *err)
{
    buf head = { 0 };
    mo_status st;

    if (w->has_header) return MO_OK;
    w->has_header = true;
    buf_puts(&head, "GGUF");
    put_u(&head, 3, 4);
    put_u(&head, w->n_tensor, 8);
    put_u(&head, w->n_key, 8);
    if (head.failed || w->keys.failed || w->tensors.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the header of '%.300s'", w->path);
    else if (w->st != MO_OK) st = mo_fail(err, w->st, "%s", w->err.message);
    else if ((st = write_bytes(w, head.data, head.len, err)) == MO_OK && (st = write_bytes(w, w->keys.data, w->keys.len, err)) == MO_OK &&
             (st = write_bytes(w, w->tensors.data, w->tensors.len, err)) == MO_OK)
        st = pad(w, head.len + w->keys.len + w->tensors.len, err);
    buf_free(&head);
    return st;
}

mo_status gguf_write_data(gguf_writer *w, const void *data, size_t n, mo_error *err)
{
    mo_status st = write_header(w, err);
    const char *p = data;

    while (st == MO_OK && n) {
        uint64_t left;
        size_t k;
        if (w->i_tensor == w->n_tensor) return mo_fail(err, MO_E_ARG, "'%.300s' was given more data than its tensors have", w->path);
        left = w->size[w->i_tensor] - w->n_written;
        k = left < n ? (size_t)left : n;
        if ((st = write_bytes(w, p, k, err)) != MO_OK) break;
        p += k;
        n -= k;
        w->n_written += k;
        if (w->n_written < w->size[w->i_tensor]) continue;
        st = pad(w, w->n_written, err);
        w->i_tensor++;
        w->n_written = 0;
    }
    return st;
}

mo_status gguf_write_end(gguf_writer *w, mo_error *err)
{
    mo_status st = write_header(w, err);
    int closed;

    if (st == MO_OK && w->i_tensor != w->n_tensor)
        st = mo_fail(err, MO_E_ARG, "'%.300s' was given less data than its tensors have", w->path);
    closed = fclose(w->f);
    w->f = NULL;
    if (st == MO_OK && (closed || rename(w->temporary, w->path)))
        st = mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", w->path, strerror(errno));
    if (st == MO_OK) w->temporary[0] = 0; /* it is the file now */
    gguf_write_abort(w);
    return st;
}
