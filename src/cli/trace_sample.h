/* Stage `sample` of `minicpmo trace`: rule-made logits through the chat, stream or duplex sampler. */
#ifndef MO_CLI_TRACE_SAMPLE_H
#define MO_CLI_TRACE_SAMPLE_H

#include <stdbool.h>

#include "cli/trace.h"
#include "tokenizer/tokenizer.h"

/* Token names are looked up in the tokenizer of ctx->model_dir. *known is false, and the result MO_OK, for another stage. */
mo_status trace_sample_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

/* The same with a tokenizer that is open already. */
mo_status trace_sample_case(const tokenizer *t, const json_t *input, trace_out *out, mo_error *err);

#endif
