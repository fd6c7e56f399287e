/* The GGUF reader (gguf.h): bytes in, validated metadata and tensors out.
 *
 *     "GGUF" | u32 version | i64 n_tensor | i64 n_kv | n_kv x (key, type, value) | n_tensor x (name, dims, type, offset) | padding | data
 *
 * Nothing is believed: a cursor that cannot leave the file reads everything, counts are held against the bytes that are
 * left before memory is asked for, tensors must lie inside the data and apart from each other.
 */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/alloc.h"

enum {
    TENSOR_MAX = 65536,
    VALUE_MAX = 65536,
    KEY_MAX = 65535,
    NAME_MAX_BYTES = 63,
    TEXT_MAX = 16 << 20,
    DIM_MAX = 4,
    ALIGNMENT_MAX = 65536
};

/* ---- the cursor ------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
    const char *file;
    mo_error *err;
} cursor;

static mo_status cut_off(const cursor *c, const char *what)
{
    return mo_fail(c->err, MO_E_FORMAT, "'%.300s' is cut off: it ends inside %s (file offset 0x%zx)", c->file, what, c->at);
}

static bool take(cursor *c, size_t n, const uint8_t **p)
{
    if (n > c->size - c->at) return false;
    *p = c->data + c->at;
    c->at += n;
    return true;
}

/* Unsigned little endian of n <= 8 bytes. */
static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static bool take_u(cursor *c, size_t n, uint64_t *v)
{
    const uint8_t *p;

    if (!take(c, n, &p)) return false;
    *v = load(p, n);
    return true;
}

static mo_status take_text(cursor *c, gguf_text *t, size_t limit, const char *what)
{
    const uint8_t *p;
    uint64_t n;

    if (!take_u(c, 8, &n)) return cut_off(c, what);
    if (n > limit)
        return mo_fail(c->err, MO_E_FORMAT, "'%.250s': %s of %" PRIu64 " bytes; up to %zu are allowed (file offset 0x%zx)", c->file, what,
                       n, limit, c->at - 8);
    if (!take(c, (size_t)n, &p)) return cut_off(c, what);
    *t = (gguf_text){ (const char *)p, (size_t)n };
    return MO_OK;
}

/* A key or a tensor's name: not empty, no NUL. */
static mo_status take_name(cursor *c, gguf_text *t, size_t limit, const char *what)
{
    mo_status st = take_text(c, t, limit, what);

    if (st != MO_OK) return st;
    if (!t->n || memchr(t->s, 0, t->n))
        return mo_fail(c->err, MO_E_FORMAT, "'%.300s': %s is empty or has a zero byte in it (file offset 0x%zx)", c->file, what,
                       c->at - t->n);
    return MO_OK;
}

/* ---- metadata --------------------------------------------------------------------------------------------------- */

/* Bytes of a value of fixed size, 0 for strings, arrays and unknown types. */
static size_t type_bytes(uint32_t type)
{
    static const uint8_t bytes[] = { [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
                                     [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8 };

    return type < sizeof bytes ? bytes[type] : 0;
}

static mo_status take_items(cursor *c, gguf_value *v)
{
    const size_t bytes = type_bytes(v->item), left = c->size - c->at;
    const uint8_t *p;
    gguf_text t;
    mo_status st;

    v->data = c->data + c->at;
    if (v->item == GGUF_STRING) {
        if (v->n_item > left / 8) return cut_off(c, "an array of strings");
        for (uint64_t i = 0; i < v->n_item; i++)
            if ((st = take_text(c, &t, TEXT_MAX, "a string")) != MO_OK) return st;
        v->n_bytes = left - (c->size - c->at);
        return MO_OK;
    }
    if (!bytes)
        return mo_fail(c->err, MO_E_FORMAT, "'%.200s': key '%.*s' has the unknown type %d", c->file, (int)(v->key.n < 100 ? v->key.n : 100),
                       v->key.s, (int)v->item);
    if (v->n_item > left / bytes || !take(c, (size_t)v->n_item * bytes, &p)) return cut_off(c, "a value");
    v->n_bytes = (size_t)v->n_item * bytes;
    return MO_OK;
}

static mo_status take_value(cursor *c, gguf_value *v)
{
    uint64_t type, item;
    mo_status st = take_name(c, &v->key, KEY_MAX, "a key");

    if (st != MO_OK) return st;
    if (!take_u(c, 4, &type)) return cut_off(c, "a value's type");
    v->type = v->item = (gguf_type)type;
    v->n_item = 1;
    if (type == GGUF_ARRAY) {
        if (!take_u(c, 4, &item) || !take_u(c, 8, &v->n_item)) return cut_off(c, "an array's type and length");
        v->item = (gguf_type)item; /* an array of arrays is an unknown type to take_items */
    }
    return take_items(c, v);
}

static int compare_text(gguf_text a, gguf_text b)
{
    int d = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);

    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *a, const void *b) { return compare_text(((const gguf_value *)a)->key, ((const gguf_value *)b)->key); }

static mo_status take_values(cursor *c, gguf *g)
{
    mo_status st;

    for (size_t i = 0; i < g->n_value; i++)
        if ((st = take_value(c, &g->value[i])) != MO_OK) return st;
    qsort(g->value, g->n_value, sizeof *g->value, by_key);
    for (size_t i = 1; i < g->n_value; i++) {
        gguf_text k = g->value[i].key;
        if (!compare_text(g->value[i - 1].key, k))
            return mo_fail(c->err, MO_E_FORMAT, "'%.300s': key '%.*s' is there twice", c->file, (int)(k.n < 100 ? k.n : 100), k.s);
    }
    return MO_OK;
}

static mo_status read_alignment(const cursor *c, gguf *g)
{
    const gguf_value *v = gguf_find(g, "general.alignment");
    uint64_t a;

    g->alignment = 32;
    if (!v) return MO_OK;
    a = v->type == GGUF_U32 ? load(v->data, 4) : 0;
    if (a < 8 || a > ALIGNMENT_MAX || a & (a - 1))
        return mo_fail(c->err, MO_E_FORMAT, "'%.300s': general.alignment must be a power of two from 8 to %d", c->file, ALIGNMENT_MAX);
    g->alignment = (uint32_t)a;
    return MO_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* Types that have a size but are no weights. */
typedef struct other_type {
    uint32_t id;
    const char *name;
    int32_t n_block, block_bytes;
} other_type;

static const other_type other_types[] = {
    { 9, "Q8_1", 32, 36 }, { 15, "Q8_K", 256, 292 }, { 24, "I8", 1, 1 },  { 25, "I16", 1, 2 },
    { 26, "I32", 1, 4 },   { 27, "I64", 1, 8 },      { 28, "F64", 1, 8 },
};

static const other_type *other_type_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++)
        if (other_types[i].id == id) return &other_types[i];
    return NULL;
}

/* Dimensions, fastest first in the file, slowest first in t. */
static mo_status take_dims(cursor *c, tensor *t, uint64_t *n)
{
    uint64_t n_dim, d;

    *n = 1;
    if (!take_u(c, 4, &n_dim)) return cut_off(c, "a tensor's dimensions");
    if (n_dim < 1 || n_dim > DIM_MAX)
        return mo_fail(c->err, MO_E_FORMAT, "tensor '%s' in '%.300s' has %" PRIu64 " dimensions; 1 to %d are allowed", t->name, c->file,
                       n_dim, DIM_MAX);
    t->n_dim = (int32_t)n_dim;
    for (int32_t i = t->n_dim; i-- > 0;) {
        if (!take_u(c, 8, &d)) return cut_off(c, "a tensor's dimensions");
        if (d < 1 || d > INT64_MAX || __builtin_mul_overflow(*n, d, n) || *n > INT64_MAX)
            return mo_fail(c->err, MO_E_FORMAT, "tensor '%s' in '%.300s': its shape has a zero or overflows", t->name, c->file);
        t->dim[i] = (int64_t)d;
    }
    return MO_OK;
}

/* Element type and size in bytes of n elements. */
static mo_status size_tensor(const cursor *c, tensor *t, const char **other, uint32_t type, uint64_t n)
{
    const dtype_info *d = type < MO_DTYPE_COUNT ? dtype_get((int32_t)type) : NULL;
    const other_type *o = d ? NULL : other_type_find(type);
    const int64_t row = t->dim[t->n_dim - 1];
    uint64_t bytes;
    int32_t block, block_bytes;

    if (!d && !o) return mo_fail(c->err, MO_E_UNSUPPORTED, "tensor '%s' in '%.300s' has the unknown type %" PRIu32, t->name, c->file, type);
    block = d ? d->n_block : o->n_block;
    block_bytes = d ? d->block_bytes : o->block_bytes;
    t->type = d ? (int32_t)type : -1;
    *other = o ? o->name : NULL;
    if (row % block)
        return mo_fail(c->err, MO_E_FORMAT, "tensor '%s' in '%.300s': rows of %" PRId64 " are not whole blocks of %s", t->name, c->file,
                       row, d ? d->name : o->name);
    if (__builtin_mul_overflow(n / (uint64_t)block, (uint64_t)block_bytes, &bytes) || bytes > SIZE_MAX)
        return mo_fail(c->err, MO_E_FORMAT, "tensor '%s' in '%.300s': its size overflows", t->name, c->file);
    t->n_bytes = (size_t)bytes;
    return MO_OK;
}

static mo_status take_tensor(cursor *c, gguf *g, size_t i)
{
    tensor *t = &g->list[i];
    uint64_t n, type;
    gguf_text name;
    mo_status st = take_name(c, &name, NAME_MAX_BYTES, "a tensor's name");

    if (st != MO_OK) return st;
    if (!(t->name = mo_strndup(name.s, name.n))) return mo_fail(c->err, MO_E_NOMEM, "no memory to list the tensors of '%.300s'", c->file);
    g->n_tensor = i + 1;
    t->file = c->file;
    if ((st = take_dims(c, t, &n)) != MO_OK) return st;
    if (!take_u(c, 4, &type) || !take_u(c, 8, &t->file_offset)) return cut_off(c, "a tensor's type and offset");
    if ((st = size_tensor(c, t, &g->other[i], (uint32_t)type, n)) != MO_OK) return st;
    if (t->file_offset % g->alignment)
        return mo_fail(c->err, MO_E_FORMAT, "tensor '%s' in '%.300s': offset %" PRIu64 " is no multiple of %" PRIu32, t->name, c->file,
                       t->file_offset, g->alignment);
    return MO_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tensor *x = *(const tensor *const *)a, *y = *(const tensor *const *)b;
    return (x->file_offset > y->file_offset) - (x->file_offset < y->file_offset);
}

/* Point tensors at their data: inside the file, none over another. `start`: where the data begins. */
static mo_status place_tensors(const cursor *c, gguf *g, size_t start)
{
    const size_t n_data = start < c->size ? c->size - start : 0;
    const tensor **order = mo_calloc(g->n_tensor + 1, sizeof *order);
    mo_status st = MO_OK;
    uint64_t end = 0;

    if (!order) return mo_fail(c->err, MO_E_NOMEM, "no memory to list the tensors of '%.300s'", c->file);
    for (size_t i = 0; i < g->n_tensor; i++) {
        tensor *t = &g->list[i];
        if (t->n_bytes > n_data || t->file_offset > n_data - t->n_bytes) {
            st =
                mo_fail(c->err, MO_E_FORMAT, "'%.250s' is cut off: tensor '%s' needs %zu bytes at 0x%" PRIx64 " of its data, which has %zu",
                        c->file, t->name, t->n_bytes, t->file_offset, n_data);
            goto done;
        }
        order[i] = t;
    }
    qsort(order, g->n_tensor, sizeof *order, by_offset);
    for (size_t i = 0; i < g->n_tensor; i++) {
        if (order[i]->file_offset < end) {
            st = mo_fail(c->err, MO_E_FORMAT, "tensors '%s' and '%s' in '%.250s' overlap", order[i - 1]->name, order[i]->name, c->file);
            goto done;
        }
        end = order[i]->file_offset + order[i]->n_bytes;
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        g->list[i].file_offset += start;
        g->list[i].data = c->data + g->list[i].file_offset;
    }
done:
    mo_free(order);
    return st;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

bool gguf_is(const uint8_t *data, size_t size) { return size >= 4 && !memcmp(data, "GGUF", 4); }

/* Version and counts; room for the lists. A value takes at least 8 + 1 + 4 + 1 bytes, a tensor 8 + 1 + 4 + 8 + 4 + 8. */
static mo_status take_header(cursor *c, gguf *g, size_t *n_tensor)
{
    uint64_t version, nt, nv;

    if (!gguf_is(c->data, c->size)) return mo_fail(c->err, MO_E_FORMAT, "'%.300s' is no GGUF file", c->file);
    c->at = 4;
    if (!take_u(c, 4, &version) || !take_u(c, 8, &nt) || !take_u(c, 8, &nv)) return cut_off(c, "its header");
    if (!(version & 0xffff))
        return mo_fail(c->err, MO_E_UNSUPPORTED, "'%.300s' is a big-endian GGUF file; this build reads little-endian ones", c->file);
    if (version < 2 || version > 3)
        return mo_fail(c->err, MO_E_UNSUPPORTED, "'%.300s' has GGUF version %" PRIu64 "; this build knows 2 and 3", c->file, version);
    if (nt > TENSOR_MAX || nv > VALUE_MAX)
        return mo_fail(c->err, MO_E_LIMIT, "'%.300s' names %" PRIu64 " tensors and %" PRIu64 " keys; up to %d of each are allowed", c->file,
                       nt, nv, TENSOR_MAX);
    if (nt * 33 + nv * 14 > c->size - c->at) return cut_off(c, "its lists of keys and tensors");
    g->version = (uint32_t)version;
    g->n_value = (size_t)nv;
    *n_tensor = (size_t)nt;
    g->value = mo_calloc((size_t)nv + 1, sizeof *g->value);
    g->list = mo_calloc((size_t)nt + 1, sizeof *g->list);
    g->other = mo_calloc((size_t)nt + 1, sizeof *g->other);
    return g->value && g->list && g->other ? MO_OK : mo_fail(c->err, MO_E_NOMEM, "no memory to read '%.300s'", c->file);
}

mo_status gguf_parse(gguf **out, const uint8_t *data, size_t size, const char *file, mo_error *err)
{
    cursor c = { data, size, 0, file, err };
    size_t n_tensor = 0;
    mo_status st;
    gguf *g;

    *out = NULL;
    if (!(g = mo_zalloc(sizeof *g))) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", file);
    g->file = file;
    if ((st = take_header(&c, g, &n_tensor)) != MO_OK) goto fail;
    if ((st = take_values(&c, g)) != MO_OK) goto fail;
    if ((st = read_alignment(&c, g)) != MO_OK) goto fail;
    for (size_t i = 0; i < n_tensor; i++)
        if ((st = take_tensor(&c, g, i)) != MO_OK) goto fail;
    if ((st = place_tensors(&c, g, mo_round_up(c.at, g->alignment))) != MO_OK) goto fail;
    *out = g;
    return MO_OK;
fail:
    gguf_free(g);
    return st;
}

void gguf_free(gguf *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->n_tensor; i++) mo_free((void *)(uintptr_t)g->list[i].name);
    mo_free(g->value);
    mo_free(g->list);
    mo_free(g->other);
    mo_free(g);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

const gguf_value *gguf_find(const gguf *g, const char *key)
{
    gguf_value k = { .key = { key, strlen(key) } };

    return g->n_value ? bsearch(&k, g->value, g->n_value, sizeof k, by_key) : NULL;
}

static gguf_text text_at(const uint8_t *p) { return (gguf_text){ (const char *)p + 8, (size_t)load(p, 8) }; }

bool gguf_get_text(const gguf *g, const char *key, gguf_text *out)
{
    const gguf_value *v = gguf_find(g, key);

    if (!v || v->type != GGUF_STRING) return false;
    *out = text_at(v->data);
    return true;
}

static bool int_at(const uint8_t *p, gguf_type type, int64_t *out)
{
    const uint64_t u = load(p, type_bytes(type));

    switch (type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32: *out = (int64_t)u; return true;
    case GGUF_U64: *out = (int64_t)(u & INT64_MAX); return u <= INT64_MAX;
    case GGUF_I8: *out = (int8_t)u; return true;
    case GGUF_I16: *out = (int16_t)u; return true;
    case GGUF_I32: *out = (int32_t)u; return true;
    case GGUF_I64: *out = (int64_t)u; return true;
    default: return false;
    }
}

static bool real_at(const uint8_t *p, gguf_type type, double *out)
{
    int64_t i;
    float f;

    if (type == GGUF_F32) {
        memcpy(&f, p, sizeof f);
        *out = f;
        return true;
    }
    if (type == GGUF_F64) {
        memcpy(out, p, sizeof *out);
        return true;
    }
    if (!int_at(p, type, &i)) return false;
    *out = (double)i;
    return true;
}

bool gguf_get_int(const gguf *g, const char *key, int64_t *out)
{
    const gguf_value *v = gguf_find(g, key);
    int64_t i;

    if (!v || v->type == GGUF_ARRAY || !int_at(v->data, v->type, &i)) return false;
    *out = i;
    return true;
}

bool gguf_get_real(const gguf *g, const char *key, double *out)
{
    const gguf_value *v = gguf_find(g, key);

    return v && v->type != GGUF_ARRAY && real_at(v->data, v->type, out);
}

bool gguf_get_bool(const gguf *g, const char *key, bool *out)
{
    const gguf_value *v = gguf_find(g, key);

    if (!v || v->type != GGUF_BOOL) return false;
    *out = *v->data != 0;
    return true;
}

bool gguf_text_is(gguf_text t, const char *s) { return t.n == strlen(s) && !memcmp(t.s, s, t.n); }
bool gguf_text_has(gguf_text t, const char *part) { return t.n && memmem(t.s, t.n, part, strlen(part)); }

/* An array's value, and memory for its elements; size: of one. */
static mo_status begin_array(const gguf *g, const char *key, const gguf_value **v, void **out, size_t *n, size_t size, mo_error *err)
{
    *out = NULL;
    *n = 0;
    if (!(*v = gguf_find(g, key)) || (*v)->type != GGUF_ARRAY)
        return mo_fail(err, MO_E_FORMAT, "'%.300s' has no list '%.100s'", g->file, key);
    if (!(*out = mo_calloc((size_t)(*v)->n_item + 1, size)))
        return mo_fail(err, MO_E_NOMEM, "no memory for '%.100s' of '%.300s'", key, g->file);
    *n = (size_t)(*v)->n_item;
    return MO_OK;
}

/* begin_array's memory is given back, and the elements said to be wrong. */
static mo_status wrong_items(const gguf *g, const char *key, void **out, size_t *n, mo_error *err)
{
    mo_free(*out);
    *out = NULL;
    *n = 0;
    return mo_fail(err, MO_E_FORMAT, "'%.300s': the elements of '%.100s' have a wrong type or do not fit", g->file, key);
}

mo_status gguf_get_texts(const gguf *g, const char *key, gguf_text **out, size_t *n, mo_error *err)
{
    const gguf_value *v;
    const uint8_t *p;
    mo_status st = begin_array(g, key, &v, (void **)out, n, sizeof **out, err);

    if (st != MO_OK) return st;
    if (v->item != GGUF_STRING) return wrong_items(g, key, (void **)out, n, err);
    p = v->data;
    for (size_t i = 0; i < *n; i++) {
        (*out)[i] = text_at(p);
        p += 8 + (*out)[i].n;
    }
    return MO_OK;
}

mo_status gguf_get_ints(const gguf *g, const char *key, int32_t **out, size_t *n, mo_error *err)
{
    const gguf_value *v;
    mo_status st = begin_array(g, key, &v, (void **)out, n, sizeof **out, err);

    if (st != MO_OK) return st;
    for (size_t i = 0; i < *n; i++) {
        int64_t x;
        if (!int_at(v->data + i * type_bytes(v->item), v->item, &x) || x < INT32_MIN || x > INT32_MAX)
            return wrong_items(g, key, (void **)out, n, err);
        (*out)[i] = (int32_t)x;
    }
    return MO_OK;
}

mo_status gguf_get_reals(const gguf *g, const char *key, float **out, size_t *n, mo_error *err)
{
    const gguf_value *v;
    mo_status st = begin_array(g, key, &v, (void **)out, n, sizeof **out, err);

    if (st != MO_OK) return st;
    for (size_t i = 0; i < *n; i++) {
        double x;
        if (!real_at(v->data + i * type_bytes(v->item), v->item, &x)) return wrong_items(g, key, (void **)out, n, err);
        (*out)[i] = (float)x;
    }
    return MO_OK;
}
