/* safetensors: one file, its header and its data (spec: formats, section 5).
 *
 *     u64 n (little endian) | n bytes of JSON | data
 *     {"NAME": {"dtype": "BF16", "shape": [4096, 1024], "data_offsets": [begin, end]}, ..., "__metadata__": {...}}
 *
 * Nothing in the header is believed: every offset is checked against the data's size, every size against type and shape,
 * and the tensors must tile the data without a hole or an overlap. Data is used where it is mapped, never copied.
 * What makes a directory of such files a checkpoint is in safetensors_dir.c.
 */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

enum {
    HEADER_MAX = 100000000, /* as the reference implementation */
    TENSOR_MAX = 1000000,
    NAME_MAX_BYTES = 1024,
    DEPTH_MAX = 4
};

typedef struct element_type {
    const char *name;
    int32_t type; /* mo_dtype, or -1: well formed, not computed with here */
    int32_t bytes;
} element_type;

static const element_type element_types[] = {
    { "F32", MO_F32, 4 }, { "F16", MO_F16, 2 }, { "BF16", MO_BF16, 2 }, { "F64", -1, 8 },     { "I64", -1, 8 }, { "U64", -1, 8 },
    { "I32", -1, 4 },     { "U32", -1, 4 },     { "I16", -1, 2 },       { "U16", -1, 2 },     { "I8", -1, 1 },  { "U8", -1, 1 },
    { "BOOL", -1, 1 },    { "F8_E4M3", -1, 1 }, { "F8_E5M2", -1, 1 },   { "F8_E8M0", -1, 1 }, { "C64", -1, 8 },
};

static const element_type *element_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof element_types / sizeof *element_types; i++)
        if (!strcmp(element_types[i].name, name)) return &element_types[i];
    return NULL;
}

/* One tensor's place in the data, for the tiling check. */
typedef struct extent {
    uint64_t begin, end;
    const char *name; /* lives as long as the parsed header */
} extent;

typedef struct header {
    const uint8_t *data;     /* first byte after the header */
    uint64_t n_data, offset; /* offset: of data in the file */
    const char *file;
} header;

/* Brackets nest at most DEPTH_MAX deep: checked on the bytes, before a recursive parser sees them. */
static bool too_deep(const char *s, size_t n)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\') i++;
            else if (s[i] == '"') in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '{' || s[i] == '[') {
            if (++depth > DEPTH_MAX) return true;
        } else if (s[i] == '}' || s[i] == ']') {
            depth--;
        }
    }
    return false;
}

/* A JSON integer in [0, 2^53]: beyond that not every reader would see the same number. */
static bool get_size(const json_t *v, uint64_t *out)
{
    json_int_t i;

    if (!json_is_integer(v)) return false;
    i = json_integer_value(v);
    if (i < 0 || i > (json_int_t)1 << 53) return false;
    *out = (uint64_t)i;
    return true;
}

static mo_status parse_shape(tensor *t, const json_t *shape, uint64_t *n, mo_error *err)
{
    *n = 1;
    if (!json_is_array(shape)) return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s' has no shape", t->name, t->file);
    if (json_array_size(shape) > TENSOR_MAX_DIM)
        return mo_fail(err, MO_E_UNSUPPORTED, "tensor '%.200s' in '%.200s' has %zu dimensions; this build knows up to %d", t->name, t->file,
                       json_array_size(shape), TENSOR_MAX_DIM);
    t->n_dim = (int32_t)json_array_size(shape);
    for (int32_t i = 0; i < t->n_dim; i++) {
        uint64_t d;
        if (!get_size(json_array_get(shape, (size_t)i), &d))
            return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s': dimension %d is no size", t->name, t->file, (int)i);
        t->dim[i] = (int64_t)d;
        if (__builtin_mul_overflow(*n, d, n) || *n > INT64_MAX)
            return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s': its shape overflows", t->name, t->file);
    }
    return MO_OK;
}

/* data_offsets of a tensor of n_bytes: inside the data and as long as type and shape say. */
static mo_status parse_offsets(tensor *t, extent *e, const json_t *offsets, uint64_t n_bytes, const header *h, mo_error *err)
{
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &e->begin) ||
        !get_size(json_array_get(offsets, 1), &e->end))
        return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s' has no valid data_offsets [begin, end]", t->name, t->file);
    if (e->begin > e->end || e->end > h->n_data)
        return mo_fail(err, MO_E_FORMAT,
                       "tensor '%.150s' in '%.150s': data_offsets [%" PRIu64 ", %" PRIu64 "] do not lie inside the file's %" PRIu64
                       " bytes of data",
                       t->name, t->file, e->begin, e->end, h->n_data);
    if (e->end - e->begin != n_bytes)
        return mo_fail(err, MO_E_FORMAT,
                       "tensor '%.150s' in '%.150s' (file offset 0x%" PRIx64 "): %" PRIu64
                       " bytes of data, its type and shape need %" PRIu64,
                       t->name, t->file, h->offset + e->begin, e->end - e->begin, n_bytes);
    e->name = t->name;
    t->data = h->data + e->begin;
    t->n_bytes = (size_t)n_bytes;
    t->file_offset = h->offset + e->begin;
    return MO_OK;
}

static mo_status parse_tensor(tensors *ts, extent *e, const char *name, const json_t *v, const header *h, mo_error *err)
{
    const json_t *dtype = json_object_get(v, "dtype");
    tensor t = { .name = name, .file = h->file };
    const element_type *et;
    uint64_t n, n_bytes;
    mo_status st;

    if (!*name || strlen(name) > NAME_MAX_BYTES)
        return mo_fail(err, MO_E_FORMAT, "a tensor name of %zu bytes in '%.200s' ('%.80s'); 1 to %d are allowed", strlen(name), h->file,
                       name, NAME_MAX_BYTES);
    if (!json_is_object(v) || !json_is_string(dtype))
        return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s' is not described by dtype, shape and data_offsets", name, h->file);
    if (!(et = element_type_find(json_string_value(dtype))))
        return mo_fail(err, MO_E_UNSUPPORTED, "tensor '%.200s' in '%.200s' has the unknown type '%.40s'", name, h->file,
                       json_string_value(dtype));
    if ((st = parse_shape(&t, json_object_get(v, "shape"), &n, err)) != MO_OK) return st;
    if (__builtin_mul_overflow(n, (uint64_t)et->bytes, &n_bytes) || n_bytes > SIZE_MAX)
        return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' in '%.200s': its size overflows", name, h->file);
    if ((st = parse_offsets(&t, e, json_object_get(v, "data_offsets"), n_bytes, h, err)) != MO_OK) return st;
    t.type = et->type;
    return t.type >= 0 ? tensors_add(ts, &t, err) : tensors_add_other(ts, name, et->name, h->file, err);
}

static int by_begin(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; /* empty ones first */
}

/* In order of place, each tensor begins where the one before it ended, the first at 0 and the last at the end. */
static mo_status check_tiling(extent *e, size_t n, const header *h, mo_error *err)
{
    uint64_t at = 0;

    qsort(e, n, sizeof *e, by_begin);
    for (size_t i = 0; i < n; i++) {
        if (e[i].begin < at)
            return mo_fail(err, MO_E_FORMAT, "tensors '%.120s' and '%.120s' in '%.120s' overlap (file offset 0x%" PRIx64 ")", e[i - 1].name,
                           e[i].name, h->file, h->offset + e[i].begin);
        if (e[i].begin > at)
            return mo_fail(err, MO_E_FORMAT,
                           "%" PRIu64 " bytes before tensor '%.150s' in '%.150s' belong to no tensor (file offset 0x%" PRIx64 ")",
                           e[i].begin - at, e[i].name, h->file, h->offset + at);
        at = e[i].end;
    }
    if (at != h->n_data)
        return mo_fail(err, MO_E_FORMAT, "'%.200s': the last %" PRIu64 " bytes belong to no tensor (file offset 0x%" PRIx64 ")", h->file,
                       h->n_data - at, h->offset + at);
    return MO_OK;
}

static mo_status check_metadata(const json_t *meta, const header *h, mo_error *err)
{
    const char *key;
    json_t *v;

    if (!json_is_object(meta)) return mo_fail(err, MO_E_FORMAT, "'%.200s': __metadata__ is no object", h->file);
    json_object_foreach((json_t *)(uintptr_t)meta, key, v)
        if (!json_is_string(v)) return mo_fail(err, MO_E_FORMAT, "'%.200s': __metadata__ '%.80s' is no string", h->file, key);
    return MO_OK;
}

static mo_status parse_tensors(tensors *ts, json_t *root, const header *h, mo_error *err)
{
    size_t n = 0, n_key = json_object_size(root);
    extent *e = NULL;
    const char *key;
    json_t *v;
    mo_status st = MO_OK;

    if (n_key > TENSOR_MAX)
        return mo_fail(err, MO_E_LIMIT, "'%.200s' names %zu tensors, more than the %d allowed", h->file, n_key, TENSOR_MAX);
    if (!(e = mo_calloc(n_key + 1, sizeof *e))) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.200s'", h->file);
    json_object_foreach(root, key, v) {
        st = strcmp(key, "__metadata__") ? parse_tensor(ts, &e[n++], key, v, h, err) : check_metadata(v, h, err);
        if (st != MO_OK) break;
    }
    if (st == MO_OK) st = check_tiling(e, n, h, err);
    mo_free(e);
    return st;
}

mo_status safetensors_parse(tensors *ts, const uint8_t *data, size_t size, const char *file, mo_error *err)
{
    uint64_t n = 0;
    const char *text;
    json_error_t je;
    json_t *root;
    header h;
    mo_status st;

    if (size < 8) return mo_fail(err, MO_E_FORMAT, "'%.300s' has %zu bytes: too short for a safetensors file", file, size);
    for (int i = 0; i < 8; i++) n |= (uint64_t)data[i] << (8 * i);
    if (n < 2 || n > HEADER_MAX) return mo_fail(err, MO_E_FORMAT, "'%.300s' is no safetensors file: it does not start with a header", file);
    if (n > size - 8)
        return mo_fail(err, MO_E_FORMAT, "'%.300s' is cut off: its header has %" PRIu64 " bytes, the file %zu", file, n, size);
    if (data[8] != '{') return mo_fail(err, MO_E_FORMAT, "'%.300s' is no safetensors file: its header is no JSON object", file);
    text = (const char *)data + 8;
    h = (header){ .data = data + 8 + n, .n_data = size - 8 - n, .offset = 8 + n, .file = file };
    if (too_deep(text, (size_t)n)) return mo_fail(err, MO_E_FORMAT, "'%.300s': the header nests deeper than %d", file, DEPTH_MAX);
    if (!(root = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &je))) {
        if (json_error_code(&je) == json_error_out_of_memory) return mo_fail(err, MO_E_NOMEM, "no memory for the header of '%.300s'", file);
        return mo_fail(err, MO_E_FORMAT, "'%.200s': the header is no valid JSON: %.100s (file offset 0x%zx)", file, je.text,
                       (size_t)je.position + 8);
    }
    st = json_is_object(root) ? parse_tensors(ts, root, &h, err) : mo_fail(err, MO_E_FORMAT, "'%.300s': the header is no object", file);
    json_decref(root);
    return st;
}
