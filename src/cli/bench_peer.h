/* Another program's speed on the same file, beside ours.
 *
 * A peer is a program that takes llama-bench's options and prints its JSON (ggml-org/llama.cpp tools/llama-bench). Rounds
 * alternate: ours, then each peer, so that a machine that grows slower in the meantime slows all of them.
 */
#ifndef MO_CLI_BENCH_PEER_H
#define MO_CLI_BENCH_PEER_H

#include <jansson.h>
#include <stdint.h>

#include "cli/bench_measure.h"
#include "core/status.h"

/* What is timed: feeding n_prompt random tokens into an empty cache, and generating n_gen into an empty one. */
typedef struct bench_task {
    const char *path; /* given to the peer as it is: a GGUF file for those known */
    int32_t n_prompt, n_gen, n_thread;
} bench_task;

enum { BENCH_PREFILL, BENCH_DECODE, BENCH_PARTS };

typedef struct bench_peer {
    const char *program;
    char version[64];                /* as it says itself, or "" */
    bench_sample speed[BENCH_PARTS]; /* tokens per second */
    bench_sample ratio[BENCH_PARTS]; /* ours by the peer's of the same round */
} bench_peer;

/* Run the peer once and add its speeds, and their ratios to ours of this round (tokens per second, [BENCH_PARTS]).
 * MO_E_ARG: it cannot be run; MO_E_FORMAT: it failed, or printed something else. */
mo_status bench_peer_round(bench_peer *p, const bench_task *task, const double *ours, mo_error *err);

/* The table: ours [BENCH_PARTS], then each peer's, then the ratios. */
void bench_peers_print(const bench_task *task, const bench_sample *ours, const bench_peer *peer, int n_peer);

/* The same as an array of one object a peer; NULL when memory is short. */
json_t *bench_peers_json(const bench_sample *ours, const bench_peer *peer, int n_peer);

#endif
