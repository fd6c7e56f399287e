/* Golden stages of sound in: `load`, `mel`, `mel-stream` (../shared/golden/hear/README.md). */
#ifndef MO_CLI_TRACE_AUDIO_H
#define MO_CLI_TRACE_AUDIO_H

#include <stdbool.h>

#include "cli/trace.h"

/* *known says whether the stage is one of ours; if not, nothing else happens and MO_OK comes back. */
mo_status trace_audio_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

/* A clip, 16 kHz mono: a string is a whole file ("media:NAME", or a file of the part's folder); an array is parts, one after another:
 * [FILE, first, n(, gain)] of a 16 kHz media file, {"synth": ...}, {"const": v, "n": n}, {"sine": [f0, f1], "n": n, "amp": A}.
 * *x is mo_malloc'd. */
mo_status trace_clip_load(float **x, int64_t *n, const trace_ctx *ctx, const json_t *clip, mo_error *err);

#endif
