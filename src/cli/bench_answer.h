/* Timed answers to two fixed texts, one that makes a model repeat what it was told and one that does not: what guessing ahead
 * (session/speculate.h) is worth, and that it costs nothing where nothing repeats. */
#ifndef MO_CLI_BENCH_ANSWER_H
#define MO_CLI_BENCH_ANSWER_H

#include "cli/bench_measure.h"
#include "minicpmo.h"

enum { BENCH_TEXT_REPEATING, BENCH_TEXT_OTHER, BENCH_TEXTS };

typedef struct bench_guesses {
    int64_t n_drafted, n_accepted; /* of all runs together */
} bench_guesses;

/* One greedy answer of n_token tokens in a session of its own; tokens per second of its decoding go to `speed`. The model cannot
 * end it earlier. how: mo_session_opts.speculate */
mo_status bench_answer(mo_model *m, const mo_session_opts *opts, int text, mo_switch how, int32_t n_token, bench_sample *speed,
                       bench_guesses *sum, mo_error *err);

#endif
