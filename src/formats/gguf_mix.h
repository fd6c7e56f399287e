/* Which element type each tensor of a GGUF file gets: the file types that quantised models are published in (spec: formats 4;
 * facts from llama.cpp's src/llama-quant.cpp). A file type is a base type and a table of exceptions.
 *
 *     mix m = { .type = file_type_find("Q4_K_M"), .n_layer = 36, .n_gqa = 4, .has_output = true, .embd_type = -1, .output_type = -1 };
 *     mix_type(&m, "blk.3.ffn_down.weight", 2, n_col, MO_BF16)       MO_Q6_K
 */
#ifndef MO_FORMATS_GGUF_MIX_H
#define MO_FORMATS_GGUF_MIX_H

#include "core/dtype.h"
#include "core/status.h"

typedef struct file_type {
    const char *name; /* "Q4_K_M" */
    uint32_t id;      /* general.file_type */
    int32_t base;     /* mo_dtype */
    bool needs_imatrix;
} file_type;

/* By name, whatever its case; "Q3_K", "Q4_K" and "Q5_K" mean their _M mixes. NULL: no such file type. */
const file_type *file_type_find(const char *name);
const file_type *file_type_at(int i); /* 0, 1, ... in the order of their sizes, the largest first; NULL after the last */

static inline bool file_type_is_quantised(const file_type *t) { return dtype_get(t->base)->n_block > 1; }

/* A type for every tensor whose name matches. */
typedef struct mix_rule {
    const char *pattern; /* POSIX extended regular expression, found anywhere in the name */
    int32_t type;
} mix_rule;

typedef struct mix {
    const file_type *type;
    int32_t n_layer, n_gqa;         /* blocks; query heads for each key and value head */
    bool has_output;                /* there is an output.weight: embeddings are not used as one */
    bool has_imatrix, pure;         /* pure: the base type, no exceptions */
    int32_t embd_type, output_type; /* of token_embd.weight and output.weight, -1: by the table */
    const struct mix_pattern *rule; /* [n_rule] of mix_compile; goes before all else, the last that matches counts */
    int n_rule;
} mix;

/* Patterns ready for use. MO_E_ARG: one is no regular expression. */
mo_status mix_compile(struct mix_pattern **out, const mix_rule *rule, int n, mo_error *err);
void mix_pattern_free(struct mix_pattern *p, int n); /* accepts NULL */

/* Is a tensor stored in the mix's type at all? Norms, biases and everything of one dimension are not. */
bool mix_takes(const char *name, int32_t n_dim);

/* The type of a tensor by its GGUF name; `kept` where it is not one the mix takes. n_col: length of its rows. Always one whose
 * blocks divide the rows. Depends on nothing but its arguments, so tensors may come in any order. */
int32_t mix_type(const mix *m, const char *name, int32_t n_dim, int64_t n_col, int32_t kept);

/* The same for an encoder's matrices (clip, whisper): the base type, or the nearest one whose blocks fit; F16 where none does. */
int32_t mix_fitting(int32_t type, int64_t n_col);

/* Order of a language model's tensors in the file: those of no block by name, then block by block, by name. */
int mix_name_order(const char *a, const char *b); /* as strcmp */

#endif
