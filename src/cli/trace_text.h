/* Stages of `minicpmo trace` that need no weights: tokenize, detokenize, detokenize_stream, prompt, sys_prompt, template. */
#ifndef MO_CLI_TRACE_TEXT_H
#define MO_CLI_TRACE_TEXT_H

#include <jansson.h>
#include <stdbool.h>

#include "core/status.h"
#include "tokenizer/tokenizer.h"

/* Run a stage of the golden cases' part `text` with the tokenizer of model_dir. input: the case's "input"; outputs are set
 * in values_out, an object, by name. *known is false, and the result MO_OK, for a stage that is not one of these.
 * Strings may hold NUL: load the cases with JSON_ALLOW_NUL and dump by length. */
mo_status trace_text_stage(const char *stage, const char *model_dir, const json_t *input, json_t *values_out, bool *known, mo_error *err);

/* The same with an open tokenizer; with none it only says whether the stage is known. */
mo_status trace_text_run(const char *stage, const tokenizer *t, const json_t *input, json_t *values_out, bool *known, mo_error *err);

#endif
