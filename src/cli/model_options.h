/* The options that every command with a model shares, and opening it as they say. */
#ifndef MO_CLI_MODEL_OPTIONS_H
#define MO_CLI_MODEL_OPTIONS_H

#include "cli/options.h"
#include "minicpmo.h"

typedef struct model_options {
    mo_model_opts model;
    mo_session_opts session; /* n_ctx, kv_type and speculate are filled from options; the rest is the command's */
    int32_t quiet, verbose;
    int32_t speculate; /* which of SPECULATE_CHOICES; goes to the session's when they are checked */
} model_options;

enum { MODEL_SPECS = 18 };

model_options model_options_default(void);

/* The table's part that fills *o; it points into it. */
option_group model_options_group(option_spec spec[MODEL_SPECS], model_options *o);

/* What a table cannot check or fill; -1: go on, 2 after a sentence. */
int model_options_check(model_options *o);

/* mo_model_open with a progress bar on a terminal and, if verbose, the library's messages on stderr. */
mo_status model_options_open(mo_model **out, const char *path, model_options *o, mo_error *err);

#endif
