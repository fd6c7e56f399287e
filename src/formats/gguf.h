/* GGUF: metadata and tensors of one file, every check before any use (spec: formats, section 1).
 *
 * Metadata is used where it is mapped: texts and arrays point into the file, which must outlive the gguf. Names are the
 * file's own here; gguf_names.h turns them into the official ones.
 */
#ifndef MO_FORMATS_GGUF_H
#define MO_FORMATS_GGUF_H

#include "formats/tensors_build.h"

typedef enum gguf_type {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12
} gguf_type;

/* Bytes in the file, no NUL at the end. */
typedef struct gguf_text {
    const char *s;
    size_t n;
} gguf_text;

typedef struct gguf_value {
    gguf_text key;
    gguf_type type, item; /* item: of an array's elements */
    uint64_t n_item;      /* 1 if it is no array */
    const uint8_t *data;  /* the first element; a string's length stands before its bytes */
    size_t n_bytes;       /* of all elements as they stand in the file */
} gguf_value;

typedef struct gguf {
    const char *file; /* for messages; borrowed */
    uint32_t version, alignment;
    gguf_value *value; /* [n_value] sorted by key */
    size_t n_value;
    tensor *list;       /* [n_tensor] in file order; names owned; type -1: see other */
    const char **other; /* [n_tensor] type name of a tensor that is not computed with, else NULL */
    size_t n_tensor;
} gguf;

/* Read a whole file image. `data` and `file` outlive *out. */
mo_status gguf_parse(gguf **out, const uint8_t *data, size_t size, const char *file, mo_error *err);
void gguf_free(gguf *g); /* accepts NULL */

/* Does the image begin as a GGUF file does? */
bool gguf_is(const uint8_t *data, size_t size);

const gguf_value *gguf_find(const gguf *g, const char *key); /* NULL: no such key. O(log n) */

/* Each gives false, and leaves *out alone, where there is no such key or it has another type. Integers of every width
 * convert if the value fits. */
bool gguf_get_text(const gguf *g, const char *key, gguf_text *out);
bool gguf_get_int(const gguf *g, const char *key, int64_t *out);
bool gguf_get_real(const gguf *g, const char *key, double *out); /* integers too */
bool gguf_get_bool(const gguf *g, const char *key, bool *out);
bool gguf_text_is(gguf_text t, const char *s);
bool gguf_text_has(gguf_text t, const char *part);

/* Arrays. *out [*n] is mo_malloc'd. MO_E_FORMAT: no such key, or its elements are of another kind. */
mo_status gguf_get_texts(const gguf *g, const char *key, gguf_text **out, size_t *n, mo_error *err);
mo_status gguf_get_ints(const gguf *g, const char *key, int32_t **out, size_t *n, mo_error *err);
mo_status gguf_get_reals(const gguf *g, const char *key, float **out, size_t *n, mo_error *err);

/* A file, with the other parts of a model that was split (NAME-00001-of-00003.gguf, opened by its first part), added to a set
 * under official names. *meta is the first part's metadata; it lives no longer than ts. tensors_index comes after the last. */
mo_status gguf_add(tensors *ts, gguf **meta, const char *path, mo_error *err);

/* One model file (and its parts) as a set of tensors. */
mo_status tensors_open_gguf(tensors **out, gguf **meta, const char *path, mo_error *err);

#endif
