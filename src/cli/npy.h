/* Arrays in numpy's .npy files: what golden outputs are kept in. float32, int32, uint8; C order; little endian. */
#ifndef MO_CLI_NPY_H
#define MO_CLI_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { NPY_DIM_MAX = 8 };

typedef struct npy_array {
    char dtype[3]; /* "f4", "i4", "u1" */
    int n_dim;
    int64_t dim[NPY_DIM_MAX];
    size_t n;   /* elements */
    void *data; /* owned */
} npy_array;

/* dtype as above; data has prod(dim) elements. An existing file is replaced. */
mo_status npy_write(const char *path, const char *dtype, int n_dim, const int64_t *dim, const void *data, mo_error *err);
mo_status npy_read(npy_array *out, const char *path, mo_error *err);
void npy_free(npy_array *a); /* accepts a zeroed one */

#endif
