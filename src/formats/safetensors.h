/* The two parsers behind tensors_open_safetensors, apart from the file system: for tests and fuzzers. */
#ifndef MO_FORMATS_SAFETENSORS_H
#define MO_FORMATS_SAFETENSORS_H

#include "formats/tensors_build.h"

/* Add the tensors of a whole file image. `file` outlives the set. */
mo_status safetensors_parse(tensors *ts, const uint8_t *data, size_t size, const char *file, mo_error *err);

/* model.safetensors.index.json: which shard holds which tensor. */
typedef struct shard_index {
    char **shard; /* [n_shard] plain file names, sorted */
    size_t n_shard;
    struct json_t *root; /* the parsed file, for shard_index_verify */
} shard_index;

mo_status shard_index_parse(shard_index *ix, const char *json, size_t n, const char *where, mo_error *err);
mo_status shard_index_verify(const shard_index *ix, const tensors *ts, const char *where, mo_error *err); /* every tensor is in its shard */
void shard_index_free(shard_index *ix);

#endif
