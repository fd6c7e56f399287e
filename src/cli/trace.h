/* Shared helpers of `minicpmo trace`: one golden case in, its outputs out.
 *
 * A case names a stage, an input (JSON) and expected outputs. Small outputs go into `values` (written by the command as
 * DIR/NAME.json), arrays into DIR/NAME.OUTPUT.npy. Inputs name pictures and rule-made arrays in a small notation that
 * several stages share; the loaders for both are here. ../shared/golden/README.md describes the format.
 */
#ifndef MO_CLI_TRACE_H
#define MO_CLI_TRACE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "media/image.h"

/* Where a case's outputs go. Put JSON outputs with json_object_set_new(o->values, output, ...). */
typedef struct trace_out {
    json_t *values;   /* object; owned by the command */
    const char *dir;  /* output directory, exists */
    const char *name; /* the case */
} trace_out;

/* Where a case's inputs are. */
typedef struct trace_ctx {
    const char *part_dir;  /* folder of cases.json: relative file names start here */
    const char *media_dir; /* what "media:" stands for */
    const char *model_dir; /* the checkpoint */
    bool as_run;           /* quantised weights meet rounded activations, as in a conversation */
    bool int16;            /* as as_run, with 16 bits wherever there are kernels for it */
    bool int8;             /* all weights meet int8 activations, as in a conversation with --int8; else float32, which the cases are for */
    bool fast;             /* reduced precision (cpu_backend_opts) */
} trace_ctx;

cpu_backend_opts trace_backend_opts(const trace_ctx *ctx);

/* Write DIR/NAME.OUTPUT.npy. dtype "f4", "i4" or "u1"; data row-major, prod(dim) elements, little-endian hosts only. */
mo_status trace_put_array(trace_out *o, const char *output, const char *dtype, int n_dim, const int64_t *dim, const void *data,
                          mo_error *err);

/* Set o->values[output] = value, taking the reference also on failure; a NULL value is MO_E_NOMEM. */
mo_status trace_put_json(trace_out *o, const char *output, json_t *value, mo_error *err);

/* A file of the part or the media folder: "NAME" or "media:NAME" to a path. Free with mo_free; NULL when memory is short. */
char *trace_path(const trace_ctx *ctx, const char *name);

/* A picture: "images/NAME", "media:NAME", {"pattern": [w, h]}, {"stack": [PICTURE, ...]}. */
mo_status trace_image_load(image *out, const trace_ctx *ctx, const json_t *image_spec, mo_error *err);

/* A rule-made array: {"synth": [NAME, SHAPE], "amp": A} is A * x(i), seed 0, float32. *out is mo_malloc'd, *n its element count. */
mo_status trace_synth_array(float **out, size_t *n, const json_t *spec, mo_error *err);

#endif
