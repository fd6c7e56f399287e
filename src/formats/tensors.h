/* A checkpoint's tensors by name, whatever file format they came from.
 *
 * Data pointers lead into the mapped files and are already checked: inside the file, right size for type and shape.
 * They may be unaligned (a file need not align them): read them with memcpy or unaligned loads.
 */
#ifndef MO_FORMATS_TENSORS_H
#define MO_FORMATS_TENSORS_H

#include "core/dtype.h"
#include "core/file.h"
#include "core/status.h"

enum { TENSOR_MAX_DIM = 8 };

typedef struct tensor {
    const char *name;
    int32_t type; /* mo_dtype */
    int32_t n_dim;
    int64_t dim[TENSOR_MAX_DIM]; /* slowest first, as PyTorch prints */
    const void *data;
    size_t n_bytes;
    const char *file;     /* path it came from, for messages */
    uint64_t file_offset; /* of data in that file */
} tensor;

typedef struct tensors tensors;

const tensor *tensors_find(const tensors *ts, const char *name); /* NULL: no such tensor. O(log n). */
/* The same for a tensor that must be there: says what is wrong if it is not, or if its type is one we cannot compute with. */
mo_status tensors_get(const tensors *ts, const char *name, const tensor **out, mo_error *err);
size_t tensors_count(const tensors *ts);
const tensor *tensors_at(const tensors *ts, size_t i); /* in file order */
void tensors_close(tensors *ts);                       /* accepts NULL; unmaps */

/* The share of what is in memory of the mapped files that is seen through huge pages; 0 where the system does not tell. */
double tensors_huge_share(const tensors *ts);
/* memory_release of t's bytes [at, at + n), if t lies in a mapped file. */
void tensors_release(const tensors *ts, const tensor *t, size_t at, size_t n);
void tensors_forget(const tensors *ts); /* file_map_forget of every file */

/* A safetensors file, or a directory with model.safetensors(.index.json) or any *.safetensors shards. */
mo_status tensors_open_safetensors(tensors **out, const char *path, mo_error *err);

#endif
