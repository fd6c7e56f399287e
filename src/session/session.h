/* A session's own state, shared by the files that step it: session.c (life, push, pull, phases), generate.c (tokens).
 *
 * `lock` guards what pushing threads touch: the conversation and the phase, which the stepping thread alone moves on.
 * `box_lock` guards the events and is held for moments only, so that pulling does not wait for a picture being sliced.
 * Order: lock, then box_lock. The model's step_lock lets sessions take turns on the device.
 */
#ifndef MO_SESSION_SESSION_H
#define MO_SESSION_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "session/conversation.h"
#include "session/model.h"
#include "session/sampling.h"
#include "session/speculate.h"
#include "session/stop.h"
#include "session/turn.h"

enum { SESSION_STOPS_MAX = 16, SESSION_STOP_BYTES = 128 }; /* texts of mo_session_add_stop() */

typedef enum phase { PHASE_IDLE, PHASE_ENCODE, PHASE_FEED, PHASE_GENERATE, PHASE_SCORE } phase;

/* What waits to be pulled. Progress keeps the latest, text accumulates, the end comes last: bounded without loss. */
typedef struct outbox {
    bool has_progress, has_end;
    mo_event progress, end;
    buf text, taken; /* taken: what the last pull handed out */
} outbox;

struct mo_session {
    mo_model *m;
    mo_session_opts o;
    pthread_mutex_t lock, box_lock;
    atomic_bool interrupt;

    /* under lock */
    conversation conv;
    bool open; /* the last message was begun by the user of this session and takes what is pushed */
    phase phase;

    outbox box; /* under box_lock */

    buf tools;
    char *stop_text[SESSION_STOPS_MAX];
    size_t n_stop_text;

    /* the stepping thread's */
    int32_t n_ctx;
    kv_pool pool;
    kv_seq kv;
    int64_t *key;  /* [n_ctx] what each cached position was made of */
    turn turn;     /* the prompt being answered */
    int32_t n_fed; /* positions of it that are cached */
    sampler *sampler;
    stop_matcher *stop;
    detokenizer detok;
    int32_t id_stop[2], id_speech_end; /* ends of an answer; end of its spoken text */
    bool past_speech_end, is_ended;
    int32_t n_generated;
    buf piece, answer;   /* text of one token; the answer so far, as shown */
    drafter draft;       /* guesses of what comes next */
    int32_t n_draft;     /* guesses at the cache's end that are fed and not chosen yet */
    float *logits;       /* [session_logit_rows, n_vocab]; of the last cached position before the guesses, then of each guess */
    float *embd;         /* [n_ubatch, n_embd] */
    int32_t *feed_token; /* [n_ubatch] */
    uint8_t *want;       /* [n_ubatch] */
    kv_seq **feed_seq;   /* [n_ubatch] */
    mo_event figures;    /* of the answer, becomes its END event */
};

#endif
