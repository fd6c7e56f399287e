/* Importance matrices in files (imatrix.h). */
#include "formats/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "formats/gguf.h"
#include "formats/gguf_journal.h"
#include "formats/gguf_write.h"

enum { ENTRY_MAX = 65536, NAME_MAX_BYTES = 256, COLUMN_MAX = 1 << 22 };

static const char sums[] = ".in_sum2", counts[] = ".counts";

void imatrix_free(imatrix *m)
{
    for (size_t i = 0; i < m->n; i++) {
        mo_free(m->entry[i].name);
        mo_free(m->entry[i].sum2);
        mo_free(m->entry[i].mean);
    }
    mo_free(m->entry);
    mo_free(m->dataset);
    memset(m, 0, sizeof *m);
}

static imatrix_entry *add(imatrix *m, const char *name, size_t n, int64_t n_col)
{
    imatrix_entry *e;

    if (m->n == m->cap) {
        const size_t cap = m->cap ? 2 * m->cap : 256;
        imatrix_entry *more = mo_realloc(m->entry, cap * sizeof *more);
        if (!more) return NULL;
        m->entry = more;
        m->cap = cap;
    }
    e = &m->entry[m->n];
    *e = (imatrix_entry){ .name = mo_strndup(name, n), .n_col = n_col, .sum2 = mo_calloc((size_t)n_col, sizeof *e->sum2) };
    if (e->name && e->sum2) {
        m->n++;
        return e;
    }
    mo_free(e->name);
    mo_free(e->sum2);
    return NULL;
}

imatrix_entry *imatrix_add(imatrix *m, const char *name, int64_t n_col) { return add(m, name, strlen(name), n_col); }

static int by_name(const void *a, const void *b) { return strcmp(((const imatrix_entry *)a)->name, ((const imatrix_entry *)b)->name); }

const imatrix_entry *imatrix_find(const imatrix *m, const char *name)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int c = strcmp(name, m->entry[mid].name);
        if (!c) return &m->entry[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

uint64_t imatrix_checksum(const imatrix *m)
{
    checksum c;

    checksum_begin(&c);
    for (size_t i = 0; i < m->n; i++) {
        checksum_add(&c, m->entry[i].name, strlen(m->entry[i].name) + 1);
        checksum_add(&c, m->entry[i].sum2, (size_t)m->entry[i].n_col * sizeof *m->entry[i].sum2);
        checksum_add(&c, &m->entry[i].count, sizeof m->entry[i].count);
    }
    return checksum_end(&c);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static mo_status no_memory(const char *path, mo_error *err) { return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", path); }

/* float32 of the file, at any address; `times` each. */
static mo_status take_sums(imatrix_entry *e, const uint8_t *p, double times, const char *path, mo_error *err)
{
    for (int64_t i = 0; i < e->n_col; i++) {
        float v;
        memcpy(&v, p + i * 4, 4);
        if (!(v >= 0 && v <= 3e38f))
            return mo_fail(err, MO_E_FORMAT, "'%.250s': the sums of '%.100s' are not finite numbers from 0 up", path, e->name);
        e->sum2[i] = times * v;
    }
    return MO_OK;
}

static const tensor *tensor_of(const gguf *g, const char *name, size_t n, const char *suffix)
{
    for (size_t i = 0; i < g->n_tensor; i++)
        if (!strncmp(g->list[i].name, name, n) && !strcmp(g->list[i].name + n, suffix)) return &g->list[i];
    return NULL;
}

static mo_status read_entry(imatrix *m, const gguf *g, const tensor *t, size_t n_name, const char *path, mo_error *err)
{
    const tensor *c = tensor_of(g, t->name, n_name, counts);
    const int64_t n_mat = t->n_dim > 1 ? t->dim[t->n_dim - 2] : 1, n_col = t->dim[t->n_dim - 1];
    imatrix_entry *e;
    float count;

    if (!c || c->type != MO_F32 || t->type != MO_F32 || c->n_bytes < 4)
        return mo_fail(err, MO_E_FORMAT, "'%.250s': '%.100s' has no counts beside it", path, t->name);
    if (n_mat != 1 || t->n_bytes != (size_t)n_col * 4 || n_col > COLUMN_MAX)
        return mo_fail(err, MO_E_UNSUPPORTED, "'%.250s': '%.100s' is of several experts; this build knows one matrix a weight", path,
                       t->name);
    memcpy(&count, c->data, 4);
    if (!(count == 0 || (count >= 1 && count < 1e15f)))
        return mo_fail(err, MO_E_FORMAT, "'%.250s': the count of '%.100s' is no count", path, t->name);
    if (!(e = add(m, t->name, n_name, n_col))) return no_memory(path, err);
    e->count = count;
    return take_sums(e, t->data, 1, path, err);
}

static mo_status read_gguf(imatrix *m, const uint8_t *data, size_t size, const char *path, mo_error *err)
{
    gguf *g;
    gguf_text type = { 0 }, *set = NULL;
    int64_t v;
    size_t n = 0;
    mo_status st = gguf_parse(&g, data, size, path, err);

    if (st != MO_OK) return st;
    gguf_get_text(g, "general.type", &type);
    if (!gguf_text_is(type, "imatrix")) st = mo_fail(err, MO_E_FORMAT, "'%.300s' is a GGUF file, but no importance matrix", path);
    if (gguf_get_int(g, "imatrix.chunk_count", &v) && v >= 0 && v <= UINT32_MAX) m->n_chunk = (uint32_t)v;
    if (gguf_get_int(g, "minicpmo.imatrix.stamp", &v)) m->stamp = (uint64_t)v << 1;
    if (gguf_get_int(g, "imatrix.chunk_size", &v) && v >= 0 && v <= UINT32_MAX) m->n_ctx = (uint32_t)v;
    if (st == MO_OK && gguf_find(g, "imatrix.datasets") && (st = gguf_get_texts(g, "imatrix.datasets", &set, &n, err)) == MO_OK && n &&
        !(m->dataset = mo_strndup(set[0].s, set[0].n)))
        st = no_memory(path, err);
    mo_free(set);
    for (size_t i = 0; i < g->n_tensor && st == MO_OK; i++) {
        const tensor *t = &g->list[i];
        const size_t len = strlen(t->name), tail = strlen(sums);
        if (len > tail && !strcmp(t->name + len - tail, sums)) st = read_entry(m, g, t, len - tail, path, err);
    }
    gguf_free(g);
    return st;
}

/* Bytes of the older format that are left. */
typedef struct cursor {
    const uint8_t *p;
    size_t n;
} cursor;

static const uint8_t *take(cursor *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->n < n) return NULL;
    c->p += n;
    c->n -= n;
    return p;
}

static bool take_i32(cursor *c, int32_t *v)
{
    const uint8_t *p = take(c, 4);

    if (p) memcpy(v, p, 4);
    return p;
}

/* n entries of: name (i32 length, bytes), i32 calls, i32 n_col, n_col float32 that are means times calls; then i32 chunks and the
 * data set's name, which old files lack. */
static mo_status read_dat(imatrix *m, const uint8_t *data, size_t size, const char *path, mo_error *err)
{
    cursor c = { data, size };
    int32_t n, len, n_call, n_col;

    if (!take_i32(&c, &n) || n < 1 || n > ENTRY_MAX) goto bad;
    for (int32_t i = 0; i < n; i++) {
        const uint8_t *name, *v;
        imatrix_entry *e;
        mo_status st;
        if (!take_i32(&c, &len) || len < 1 || len > NAME_MAX_BYTES || !(name = take(&c, (size_t)len)) || memchr(name, 0, (size_t)len) ||
            !take_i32(&c, &n_call) || n_call < 0 || !take_i32(&c, &n_col) || n_col < 1 || n_col > COLUMN_MAX ||
            !(v = take(&c, (size_t)n_col * 4)))
            goto bad;
        if (!(e = add(m, (const char *)name, (size_t)len, n_col))) return no_memory(path, err);
        e->count = n_call ? n_call : 1;
        if ((st = take_sums(e, v, 1, path, err)) != MO_OK) return st;
    }
    if (take_i32(&c, &n) && n > 0) m->n_chunk = (uint32_t)n;
    if (take_i32(&c, &len) && len > 0 && len < 4096) {
        const uint8_t *name = take(&c, (size_t)len);
        if (name && !(m->dataset = mo_strndup((const char *)name, (size_t)len))) return no_memory(path, err);
    }
    return MO_OK;
bad:
    return mo_fail(err, MO_E_FORMAT, "'%.300s' is no importance matrix, or is cut short", path);
}

/* Sorted, each name once, means. */
static mo_status finish(imatrix *m, const char *path, mo_error *err)
{
    if (!m->n) return mo_fail(err, MO_E_FORMAT, "'%.300s' holds nothing of any weight", path);
    qsort(m->entry, m->n, sizeof *m->entry, by_name);
    for (size_t i = 0; i < m->n; i++) {
        imatrix_entry *e = &m->entry[i];
        if (i && !strcmp(e->name, m->entry[i - 1].name)) return mo_fail(err, MO_E_FORMAT, "'%.250s' holds '%.100s' twice", path, e->name);
        if (!(e->mean = mo_calloc((size_t)e->n_col, sizeof *e->mean))) return no_memory(path, err);
        for (int64_t k = 0; k < e->n_col; k++) e->mean[k] = e->count > 0 ? (float)e->sum2[k] / (float)e->count : 1;
    }
    return MO_OK;
}

mo_status imatrix_parse(imatrix *out, const uint8_t *data, size_t size, const char *path, mo_error *err)
{
    mo_status st;

    memset(out, 0, sizeof *out);
    st = gguf_is(data, size) ? read_gguf(out, data, size, path, err) : read_dat(out, data, size, path, err);
    if (st == MO_OK) st = finish(out, path, err);
    if (st != MO_OK) imatrix_free(out);
    return st;
}

mo_status imatrix_read(imatrix *out, const char *path, mo_error *err)
{
    file_map map;
    mo_status st;

    memset(out, 0, sizeof *out);
    if ((st = file_map_open(&map, path, err)) != MO_OK) return st;
    st = imatrix_parse(out, map.data, map.size, path, err);
    file_map_close(&map);
    return st;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void declare(gguf_writer *w, const char *name, const char *suffix, int64_t n)
{
    char full[NAME_MAX_BYTES];

    snprintf(full, sizeof full, "%s%s", name, suffix);
    gguf_declare(w, full, MO_F32, 2, (int64_t[]){ 1, n });
}

static mo_status write_floats(gguf_writer *w, const double *v, int64_t n, mo_error *err)
{
    float block[256];
    mo_status st = MO_OK;

    for (int64_t at = 0; at < n && st == MO_OK; at += 256) {
        const int64_t k = n - at < 256 ? n - at : 256;
        for (int64_t i = 0; i < k; i++) block[i] = (float)v[at + i];
        st = gguf_write_data(w, block, (size_t)k * sizeof *block, err);
    }
    return st;
}

/* In the order of names, whatever the order of collecting. */
static const imatrix_entry **sorted(const imatrix *m)
{
    const imatrix_entry **p = mo_calloc(m->n + 1, sizeof *p);

    for (size_t i = 0; p && i < m->n; i++) {
        size_t k = i;
        for (; k && strcmp(p[k - 1]->name, m->entry[i].name) > 0; k--) p[k] = p[k - 1];
        p[k] = &m->entry[i];
    }
    return p;
}

mo_status imatrix_write(const imatrix *m, const char *path, mo_error *err)
{
    const imatrix_entry **e = sorted(m);
    const gguf_text set = { m->dataset ? m->dataset : "", m->dataset ? strlen(m->dataset) : 0 };
    gguf_writer *w;
    mo_status st;

    if (!e) return mo_fail(err, MO_E_NOMEM, "no memory to write '%.300s'", path);
    if ((st = gguf_write_begin(&w, path, err)) != MO_OK) {
        mo_free(e);
        return st;
    }
    gguf_put_text(w, "general.type", "imatrix", 7);
    gguf_put_texts(w, "imatrix.datasets", &set, 1);
    gguf_put_u32(w, "imatrix.chunk_count", m->n_chunk);
    gguf_put_u32(w, "imatrix.chunk_size", m->n_ctx);
    if (m->stamp) gguf_put_u64(w, "minicpmo.imatrix.stamp", m->stamp >> 1); /* 63 bits: integers are read as signed */
    for (size_t i = 0; i < m->n; i++) {
        declare(w, e[i]->name, sums, e[i]->n_col);
        declare(w, e[i]->name, counts, 1);
    }
    for (size_t i = 0; i < m->n && st == MO_OK; i++)
        if ((st = write_floats(w, e[i]->sum2, e[i]->n_col, err)) == MO_OK) st = write_floats(w, &e[i]->count, 1, err);
    mo_free(e);
    if (st == MO_OK) return gguf_write_end(w, err);
    gguf_write_abort(w);
    return st;
}
