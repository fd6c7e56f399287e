/* How a file format's reader fills a set of tensors: map files, add tensors, close the index. Readers only. */
#ifndef MO_FORMATS_TENSORS_BUILD_H
#define MO_FORMATS_TENSORS_BUILD_H

#include "formats/tensors.h"

/* A tensor whose element type this build does not compute with: remembered so that asking for it gets an answer. */
typedef struct tensor_other {
    char *name;            /* owned */
    const char *type_name; /* static storage: "I64" */
    const char *file;
} tensor_other;

/* One line of the name index: into list, or into other. */
typedef struct tensor_ref {
    const char *name, *file;
    size_t i;
    bool is_other;
} tensor_ref;

typedef struct tensors_file {
    file_map map;
    char *path; /* owned */
} tensors_file;

struct tensors {
    tensor *list; /* [n]; names owned */
    size_t n, cap;
    tensor_other *other; /* [n_other] */
    size_t n_other, cap_other;
    tensors_file *file; /* [n_file] */
    size_t n_file, cap_file;
    tensor_ref *by_name; /* [n + n_other] sorted; NULL until tensors_index */
};

mo_status tensors_new(tensors **out, mo_error *err);
/* Map `path` and keep it until the set is closed. *file stays where it is; its path is what tensor.file should be. */
mo_status tensors_map(tensors *ts, const char *path, const file_map **map, const char **file, mo_error *err);
mo_status tensors_add(tensors *ts, const tensor *t, mo_error *err); /* copies t and its name */
mo_status tensors_add_other(tensors *ts, const char *name, const char *type_name, const char *file, mo_error *err);
const tensor_other *tensors_find_other(const tensors *ts, const char *name);
/* After the last add: refuse a name that came twice, make tensors_find work. */
mo_status tensors_index(tensors *ts, mo_error *err);

#endif
