/* Importance matrices: for every weight the mean square of each column's inputs over a text. Two file formats are read, that of
 * GGUF (general.type "imatrix": NAME.in_sum2 [n_mat, n_col], NAME.counts [n_mat, 1]) and the older .dat; the first is written.
 * Facts from llama.cpp's tools/imatrix and tools/quantize.
 */
#ifndef MO_FORMATS_IMATRIX_H
#define MO_FORMATS_IMATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct imatrix_entry {
    char *name; /* of the weight, as in a GGUF file: "blk.0.attn_q.weight" */
    int64_t n_col;
    double *sum2; /* [n_col] of squares */
    double count; /* rows they were summed over */
    float *mean;  /* [n_col] sum2 / count, 1 where nothing was seen; NULL while collecting */
} imatrix_entry;

typedef struct imatrix {
    imatrix_entry *entry; /* [n] sorted by name when read */
    size_t n, cap;
    char *dataset; /* where the text came from, or NULL */
    uint32_t n_chunk, n_ctx;
    uint64_t stamp; /* of an unfinished one: what it is made of; 0: none */
} imatrix;

/* Of either format, by content. Values are finite and >= 0. */
mo_status imatrix_read(imatrix *out, const char *path, mo_error *err);
/* The same of `size` bytes in memory; path is for messages. */
mo_status imatrix_parse(imatrix *out, const uint8_t *data, size_t size, const char *path, mo_error *err);
/* GGUF, through a temporary file. */
mo_status imatrix_write(const imatrix *m, const char *path, mo_error *err);
void imatrix_free(imatrix *m); /* accepts a zeroed one */

/* O(log n) of a matrix that was read; NULL: nothing is known of that weight. */
const imatrix_entry *imatrix_find(const imatrix *m, const char *name);
/* An entry of zeros for a new weight; NULL: no memory. Pointers to earlier entries are void. */
imatrix_entry *imatrix_add(imatrix *m, const char *name, int64_t n_col);
uint64_t imatrix_checksum(const imatrix *m);

#endif
