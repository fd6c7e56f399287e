/* From names in a checkpoint to weights in a model: find, check the shape, hand to the backend.
 *
 * A loader is a straight list of calls. The first failure sticks: later calls do nothing and bind_status() tells it at
 * the end, so the list has no error branches. The same list run with `plan` set allocates nothing and only adds up
 * bytes: that is the memory plan, and it cannot drift from what loading does (as core/arena.h for scratch).
 *
 *     binder b = bind_begin(be, ts, plan, err);
 *     bind_weight(&b, &l->w_q, n_head * head_dim, n_embd, "%slayers.%d.self_attn.q_proj.weight", prefix, il);
 *     bind_vector(&b, &l->q_norm, head_dim, "%slayers.%d.self_attn.q_norm.weight", prefix, il);
 *     return bind_status(&b);
 *
 * Weights stay the file's mapped bytes, unless the backend repacks them; the tensors must outlive them. Vectors (norm gains, biases) become float32 in
 * backend memory. While planning every output is zero. Free with unbind_weight / unbind_vector (accept zeroed ones).
 */
#ifndef MO_MODELS_BIND_H
#define MO_MODELS_BIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "formats/tensors.h"

typedef struct bind_bytes {
    size_t mapped;   /* file bytes used in place; those of a repacked weight are read once and not counted */
    size_t lookup;   /* file bytes of which single rows are read (an embedding table): resident as far as they are used */
    size_t copied;   /* float32 vectors and tables in backend memory */
    size_t repacked; /* what a backend or a transposition keeps in the place of mapped bytes */
} bind_bytes;

typedef struct binder {
    backend *be;
    const tensors *ts;
    bool plan; /* count only */
    mo_error *err;
    mo_status st; /* the first failure */
    bind_bytes bytes;
} binder;

binder bind_begin(backend *be, const tensors *ts, bool plan, mo_error *err);
static inline mo_status bind_status(const binder *b) { return b->st; }

bool bind_has(const binder *b, const char *fmt, ...) MO_PRINTF(2, 3); /* is there such a tensor? */

/* 1 + the highest N of any tensor named "<prefix>N.…"; 0 if there is none. Layers a checkpoint has, whatever its config says. */
int bind_count_layers(const binder *b, const char *prefix);

/* Matrix [n_row, n_col]: the tensor's first dimension is n_row and the product of the others n_col. */
void bind_weight(binder *b, weight *out, int64_t n_row, int64_t n_col, const char *fmt, ...) MO_PRINTF(5, 6);
/* The same for rows that are only looked up, never multiplied with: an embedding table. */
void bind_lookup(binder *b, weight *out, int64_t n_row, int64_t n_col, const char *fmt, ...) MO_PRINTF(5, 6);
/* Rows [row, row + n_row) of a matrix of n_row_all rows, e.g. a third of a fused q, k, v. */
void bind_weight_rows(binder *b, weight *out, int64_t row, int64_t n_row, int64_t n_row_all, int64_t n_col, const char *fmt, ...)
    MO_PRINTF(7, 8);
/* Transpose [n_col, n_row] of a tensor stored as [n_row, n_col], in a copy that *owned keeps (host memory, mo_free after
 * unbind_weight). For checkpoints that multiply from the other side. */
void bind_weight_transposed(binder *b, weight *out, void **owned, int64_t n_row, int64_t n_col, const char *fmt, ...) MO_PRINTF(6, 7);

/* n float32 values in backend memory; the tensor may have any shape of n elements. */
void bind_vector(binder *b, float **out, int64_t n, const char *fmt, ...) MO_PRINTF(4, 5);
/* Elements [first, first + n) of a vector of n_all. */
void bind_vector_part(binder *b, float **out, int64_t first, int64_t n, int64_t n_all, const char *fmt, ...) MO_PRINTF(6, 7);
/* [n_row, n_col] as float32 in backend memory. */
void bind_table(binder *b, float **out, int64_t n_row, int64_t n_col, const char *fmt, ...) MO_PRINTF(5, 6);

void unbind_weight(backend *be, weight *w);
void unbind_vector(backend *be, float **v);

#endif
