/* Golden stages `dequantize` and `quantize` (trace_quants.c). */
#ifndef MO_CLI_TRACE_QUANTS_H
#define MO_CLI_TRACE_QUANTS_H

#include <stdbool.h>

#include "cli/trace.h"

mo_status trace_quants_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

#endif
