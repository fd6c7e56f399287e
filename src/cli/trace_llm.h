/* Stages of `minicpmo trace` that run the language model: `llm` (the model alone) and `chat` (a whole prompt with media). */
#ifndef MO_CLI_TRACE_LLM_H
#define MO_CLI_TRACE_LLM_H

#include <stdbool.h>

#include "cli/trace.h"

/* *known says whether the stage is one of ours; if not, nothing else happens and MO_OK comes back. */
mo_status trace_llm_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);
/* The placeholder text and ids of one picture with this grid: outputs `text` and `ids` of stage `slices`. */
mo_status trace_slices_text(const trace_ctx *ctx, const json_t *input, int32_t cols, int32_t rows, trace_out *out, mo_error *err);
mo_status trace_chat_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

#endif
