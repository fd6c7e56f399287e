/* From a checkpoint, or a GGUF file, to a GGUF file of another type, as a stream: one tensor at a time, its rows in parallel.
 * The bytes do not depend on the number of threads. What is unfinished is kept and taken up again (formats/gguf_write.h).
 *
 *     quantizer *q;
 *     quantize_open_hf(&q, dir, GGUF_ROLE_LLM, &opts, err);
 *     quantize_write(q, "out.gguf", err);    quantize_commit(q, err);      the file appears
 */
#ifndef MO_MODELS_QUANTIZE_H
#define MO_MODELS_QUANTIZE_H

#include <signal.h>

#include "core/threads.h"
#include "formats/imatrix.h"
#include "models/gguf_layout.h"

typedef struct quantize_opts {
    const file_type *type;
    bool pure;
    int32_t embd_type, output_type; /* -1: by the table */
    const mix_rule *rule;           /* [n_rule] */
    int n_rule;
    const imatrix *importance; /* NULL: none */
    const char *importance_file;
    const float *filters; /* [n_mel, n_bin] of an audio encoder's sound, or NULL: none are written */
    int32_t n_mel, n_bin;
    const char *name; /* general.name of what comes from a Hugging Face folder */
    pool *threads;
    const volatile sig_atomic_t *stop;                 /* becomes non-zero: MO_E_INTERRUPTED at the next block of rows */
    void (*progress)(void *arg, uint64_t n_byte_done); /* bytes of the output; may be NULL */
    void *progress_arg;
} quantize_opts;

/* One line of the plan, and what became of it. */
typedef struct quantize_tensor {
    layout_tensor t;
    int32_t from, to; /* types */
    uint64_t n_bytes; /* in the output */
    bool has_importance;
} quantize_tensor;

typedef struct quantize_report {
    uint64_t n_byte_in, n_byte_out; /* of tensors' data; of the whole file */
    uint64_t n_weight;              /* numbers */
    uint64_t n_byte_data;           /* of the output's tensors */
    size_t n_tensor, n_resumed;     /* of which so many were there already */
    size_t n_quantised;             /* came from a quantised type and get another */
    size_t n_unimportant;           /* matrices that the importance matrix does not mention */
} quantize_report;

typedef struct quantizer quantizer;

/* A part of a Hugging Face folder; every tensor the engine would want is there with its right shape, or it is refused. */
mo_status quantize_open_hf(quantizer **out, const char *dir, gguf_role role, const quantize_opts *o, mo_error *err);
/* A GGUF file of any part (the first of several): metadata is carried over. */
mo_status quantize_open_gguf(quantizer **out, const char *path, const quantize_opts *o, mo_error *err);
void quantize_close(quantizer *q); /* accepts NULL; what is unfinished is kept */

size_t quantize_count(const quantizer *q);
const quantize_tensor *quantize_at(const quantizer *q, size_t i);
const quantize_report *quantize_get_report(const quantizer *q);

/* All tensors into PATH.part; then the file under its name. opts, threads and importance live until then. */
mo_status quantize_write(quantizer *q, const char *path, mo_error *err);
mo_status quantize_commit(quantizer *q, mo_error *err);

/* The parts a Hugging Face folder has: bits 1 << gguf_role. member: for the published file names. */
mo_status quantize_parts_hf(const char *dir, unsigned *parts, model_member *member, mo_error *err);

#endif
