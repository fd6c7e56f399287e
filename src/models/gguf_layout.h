/* A model's tensors as the family's GGUF files hold them: under which names, in which order and shape, of which type, and
 * where each one's values are in the official tensors (spec: language-models 3.2, vision 9.2, audio-encoder 4.2). The inverse
 * of what gguf_names.h does for readers, and the one place that knows what converters change:
 *
 *     llama, minicpm       rows of q and k within each head: (half, i) becomes (i, half), for rotation of neighbours
 *     resampler.attn.*     in_proj is divided in three
 *     resampler.proj       transposed
 *     v.blk.*.ffn_down     is the first matrix of the two, ffn_up the second
 *     encoder.conv*.bias   [n] is [n, 1]
 *     rope_factors_*, resampler.pos_embed_k   are computed from the configuration
 *
 *     layout_begin(&l, &cfg, GGUF_ROLE_LLM);
 *     for each official tensor: layout_add(&l, name, n_dim, dim);      those of other parts are passed over
 *     layout_end(&l, err);
 */
#ifndef MO_MODELS_GGUF_LAYOUT_H
#define MO_MODELS_GGUF_LAYOUT_H

#include "formats/gguf_mix.h"
#include "formats/gguf_names.h"
#include "models/config.h"
#include "models/config_gguf.h"

typedef enum layout_how {
    LAYOUT_ROWS,       /* rows of the official tensor, see layout_source_row */
    LAYOUT_TRANSPOSED, /* its columns: row r is column r */
    LAYOUT_FACTORS,    /* computed: divisors of the rotary frequencies */
    LAYOUT_POSITIONS   /* computed: sine and cosine of the places in a grid, 70 by 70 */
} layout_how;

typedef struct layout_tensor {
    char name[64];                    /* in the file */
    char official[OFFICIAL_NAME_MAX]; /* "" if it is computed */
    layout_how how;
    int32_t n_dim;
    int64_t dim[4];    /* in the file, slowest first */
    int64_t n_row;     /* rows to read from the source; the file's bytes are theirs, one after the other */
    int64_t n_col;     /* numbers in each */
    int64_t row0;      /* LAYOUT_ROWS: the first row taken of the official tensor (all dimensions but the last flattened) */
    int64_t head_rows; /* rows of a head whose order changes; 0: none does */
} layout_tensor;

typedef struct layout {
    const model_config *c; /* borrowed */
    gguf_role role;
    layout_tensor *list; /* [n] in the order of the file, after layout_end */
    size_t n, cap;
    mo_status st; /* the first failure; layout_end tells it */
    mo_error err;
} layout;

/* role: the language model, vision (with the resampler), or audio (with the projector). */
void layout_begin(layout *l, const model_config *c, gguf_role role);
void layout_add(layout *l, const char *official, int32_t n_dim, const int64_t *dim);
mo_status layout_end(layout *l, mo_error *err);
void layout_free(layout *l); /* accepts a zeroed one */

/* "qwen3", "qwen2", "minicpm" or "llama": the language model's general.architecture. */
const char *layout_arch(const model_config *c);

/* LAYOUT_ROWS: which row of the official tensor is row r of the n_row. */
int64_t layout_source_row(const layout_tensor *t, int64_t r);

/* LAYOUT_FACTORS, LAYOUT_POSITIONS: row r, n_col numbers. */
void layout_compute_row(float *y, const layout_tensor *t, const model_config *c, int64_t r);

/* The type the tensor gets. What is no matrix is F32. Of an encoder's matrices those that rows are multiplied with get m's base
 * type (or the nearest whose blocks fit, or what a rule says), the others F16 if that is a quantised one. */
int32_t layout_type(const layout_tensor *t, gguf_role role, const mix *m);

#endif
