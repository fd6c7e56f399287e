/* A conversation on a terminal. */
#ifndef MO_CLI_RUN_CHAT_H
#define MO_CLI_RUN_CHAT_H

#include <stdbool.h>

#include "minicpmo.h"

typedef struct chat_opts {
    const mo_model *model; /* for the greeting */
    const char *system;    /* or NULL */
    bool quiet, verbose;
} chat_opts;

/* Until /exit or the end of input. `is_open`: a user's message is begun already (media of the command line).
 * Returns the exit code. */
int chat_run(mo_session *s, const chat_opts *o, bool is_open);

#endif
