/* Golden stages of the encoders: `buckets`, `vision`, `resampler`, `audio` (../shared/golden/see, hear: README.md). */
#ifndef MO_CLI_TRACE_ENCODERS_H
#define MO_CLI_TRACE_ENCODERS_H

#include <stdbool.h>

#include "cli/trace.h"

/* *known says whether the stage is one of ours; if not, nothing else happens and MO_OK comes back. */
mo_status trace_encoder_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

#endif
