/* The traced stages of pictures: decode, resize, grid, slices, pixels, stack (../shared/golden/see/README.md). */
#ifndef MO_CLI_TRACE_IMAGE_H
#define MO_CLI_TRACE_IMAGE_H

#include <stdbool.h>

#include "cli/trace.h"

bool trace_image_has_stage(const char *stage);

/* Runs one case. Of stage slices, `text` and `ids` need a tokenizer and are left to the caller. */
mo_status trace_image_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err);

#endif
