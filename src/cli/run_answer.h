/* One answer, from asking to its end: text to stdout as it comes, progress on stderr, Ctrl-C stops it. */
#ifndef MO_CLI_RUN_ANSWER_H
#define MO_CLI_RUN_ANSWER_H

#include <stdbool.h>

#include "core/buf.h"
#include "minicpmo.h"

typedef struct answer {
    bool is_collected; /* text goes into `text` instead of stdout */
    bool quiet;        /* no progress */
    bool one_shot;     /* a second Ctrl-C ends the program */
    buf text;
    mo_event end; /* figures and reason */
} answer;

/* Ask and step until the answer ends. MO_E_IO: stdout takes no more (already said on stderr). Other errors are in *err. */
mo_status answer_run(answer *a, mo_session *s, mo_error *err);

/* "stop", "stop_text", "max_tokens", "context", "interrupted" */
const char *answer_reason(mo_end_reason r);
/* Why it ended, if that was not the model's own doing, on stderr. */
void answer_note_reason(const answer *a);
/* Counts, times and rates, on stderr. */
void answer_note_figures(const answer *a);

#endif
