/* Choosing the next token: three samplers, each in the order the reference works in.
 *
 *     sampler          chat: one reply from one prompt                     (spec omni-session 3.5)
 *     stream_sampler   half-duplex replies, generated in chunks of tokens  (4.4)
 *     duplex_sampler   listen / speak decisions of full duplex             (5.6)
 *
 * Each owns its history and its random generator; `logits` [n_vocab] are read, never written, so a caller may put a
 * logit bias into them first. Nothing allocates after opening. One thread at a time; samplers that share a
 * draw_scratch must be stepped by the same thread. No ids are built in: the caller passes end and forbidden ids.
 */
#ifndef MO_SESSION_SAMPLING_H
#define MO_SESSION_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"
#include "core/status.h"
#include "session/draw.h"

/* Where the uniform numbers in [0, 1) come from. next == NULL: the sampler's own generator. */
typedef struct u_source {
    double (*next)(void *user);
    void *user;
} u_source;

/* A borrowed list of ids; copied by the calls that take it. */
typedef struct id_list {
    const int32_t *id;
    int32_t n;
} id_list;

/* ---- chat ---------------------------------------------------------------------------------------------------- */

typedef struct sampler_params {
    bool do_sample;           /* false: argmax */
    float temperature;        /* 0 to 100; below 1e-6 argmax as well */
    int32_t top_k;            /* 0: off */
    float top_p;              /* 0 to 1; 1: off */
    float min_p;              /* 0 to 1; 0: off */
    float repetition_penalty; /* > 0, at most 100; 1: off. On the set of generated ids */
    float presence_penalty;   /* -2 to 2, taken off the logit of every generated id (OpenAI) */
    float frequency_penalty;  /* -2 to 2, taken off once per time the id was generated */
    float length_penalty;     /* > 0, at most 100; 1: off. On end ids; above 1 makes replies longer */
    int32_t min_new_tokens;   /* end ids are impossible until as many tokens were accepted */
    uint64_t seed;
} sampler_params;

sampler_params sampler_params_default(void);
mo_status sampler_params_check(const sampler_params *p, mo_error *err);

typedef struct sampler sampler;

/* shared: scratch for the same n_vocab, outliving the sampler; NULL gives it its own. */
mo_status sampler_open(sampler **out, int32_t n_vocab, const sampler_params *p, id_list end_ids, draw_scratch *shared, mo_error *err);
void sampler_close(sampler *s); /* accepts NULL */
void sampler_set_u(sampler *s, u_source u);

/* Choose an id. It joins the history only when accepted, so a proposal can be dropped.
 * MO_E_STATE  no finite logit is left */
mo_status sampler_next(sampler *s, const float *logits, int32_t *id, mo_error *err);
void sampler_accept(sampler *s, int32_t id); /* ids outside the vocabulary are ignored */
bool sampler_is_end(const sampler *s, int32_t id);

void sampler_reset(sampler *s, uint64_t seed); /* empty history, generator seeded afresh */
/* History and generator of src into dst, opened with the same vocabulary and parameters: fork and restore. */
void sampler_copy(sampler *dst, const sampler *src);

/* ---- stream -------------------------------------------------------------------------------------------------- */

#define STREAM_WINDOW 128 /* ids of earlier chunks that the repetition penalty still sees */

typedef struct stream_params {
    bool do_sample;
    float temperature; /* as above */
    int32_t top_k;     /* exactly k stay; 0: off */
    float top_p;       /* mass must exceed it; 1: off */
    float repetition_penalty;
    float length_penalty; /* on terminators */
    uint64_t seed;
} stream_params;

stream_params stream_params_default(void);
mo_status stream_params_check(const stream_params *p, mo_error *err);

typedef struct stream_sampler stream_sampler;

/* forbidden: ids that are never chosen (n 0: none). n_chunk_max: most tokens a chunk may get. */
mo_status stream_sampler_open(stream_sampler **out, int32_t n_vocab, const stream_params *p, id_list terminators, id_list forbidden,
                              int32_t n_chunk_max, draw_scratch *shared, mo_error *err);
void stream_sampler_close(stream_sampler *s);
void stream_sampler_set_u(stream_sampler *s, u_source u);

void stream_sampler_begin_turn(stream_sampler *s);  /* forget the ids of the turn before */
void stream_sampler_begin_chunk(stream_sampler *s); /* the current chunk's ids become earlier ones */
/* Ids of earlier chunks of this turn, oldest first, before its next chunk. */
void stream_sampler_earlier(stream_sampler *s, id_list ids);

/* Choose the next id of the chunk and record it. At a terminator *finished is true and nothing is recorded.
 * MO_E_LIMIT  the chunk has n_chunk_max tokens */
mo_status stream_sampler_next(stream_sampler *s, const float *logits, int32_t *id, bool *finished, mo_error *err);
void stream_sampler_copy(stream_sampler *dst, const stream_sampler *src); /* same opening arguments */

/* ---- duplex -------------------------------------------------------------------------------------------------- */

typedef struct duplex_params {
    bool do_sample;
    float temperature;
    int32_t top_k;             /* ties with the k-th stay; 0: off */
    float top_p;               /* mass must exceed it; 0 and 1: off */
    float repetition_penalty;  /* divides logits of either sign, as the reference does */
    int32_t repetition_window; /* last ids it looks at, 1 to 65536 */
    float length_penalty;      /* on turn_eos */
    float listen_prob_scale;   /* 1: off. Multiplies the logit of `listen` */
    int32_t listen_top_k;      /* 0: off. Fewer than this many logits above that of `listen` choose it at once */
    uint64_t seed;
} duplex_params;

duplex_params duplex_params_default(void);
mo_status duplex_params_check(const duplex_params *p, mo_error *err);

/* The control tokens that the decision treats apart. */
typedef struct duplex_ids {
    int32_t chunk_eos, turn_eos;
    int32_t listen; /* what the two listen_ settings act on: the reference takes <|im_end|>. -1: nothing */
} duplex_ids;

typedef struct duplex_sampler duplex_sampler;

/* forbidden: never chosen by the second draw; chunk_eos is added to it. */
mo_status duplex_sampler_open(duplex_sampler **out, int32_t n_vocab, const duplex_params *p, duplex_ids ids, id_list forbidden,
                              draw_scratch *shared, mo_error *err);
void duplex_sampler_close(duplex_sampler *s);
void duplex_sampler_set_u(duplex_sampler *s, u_source u);

/* One decision. First a draw over the plain softmax, which counts only if it is <|chunk_eos|>; then the filtered one, which
 * takes a second uniform number. Records what it chose, except <|chunk_eos|> and a listen_top_k shortcut. */
mo_status duplex_sampler_next(duplex_sampler *s, const float *logits, int32_t *id, mo_error *err);
void duplex_sampler_record(duplex_sampler *s, int32_t id); /* an id decided earlier */
void duplex_sampler_reset(duplex_sampler *s, uint64_t seed);
void duplex_sampler_copy(duplex_sampler *dst, const duplex_sampler *src); /* same opening arguments */

#endif
