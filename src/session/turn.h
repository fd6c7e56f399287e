/* A prompt as positions: what the language model is fed for the conversation as it stands.
 *
 *     conversation --template, placeholders--> text --tokenizer--> ids --media rows in their places--> positions
 *
 * Also what makes reuse safe: every position has a key, and two positions with the same key hold the same input. A cache
 * whose first n keys agree with a new prompt's is valid for those n.
 */
#ifndef MO_SESSION_TURN_H
#define MO_SESSION_TURN_H

#include "session/conversation.h"
#include "session/model.h"
#include "tokenizer/prompt.h"

typedef struct turn_opts {
    bool thinking, omni, speech_mark, stream_input, teacher_forcing;
    mo_switch image_ids;
    int32_t max_inp_length; /* keep the first so many positions, as the reference; 0: all */
    const char *tools;      /* JSON array or NULL */
} turn_opts;

typedef struct turn {
    prompt prompt;     /* text, ids, bounds of the media */
    const float **row; /* [n] the media row fed at a position, or NULL: the token's own embedding */
    int64_t *key;      /* [n] */
    int32_t n;
} turn;

/* Text, ids and bounds; needs pictures sliced and sounds planned, not their rows. */
mo_status turn_layout(turn *t, const mo_model *m, const conversation *c, const turn_opts *o, mo_error *err);
/* Then rows and keys, once everything is encoded. The rows stay the conversation's. */
mo_status turn_fill(turn *t, const mo_model *m, const conversation *c, mo_error *err);
void turn_free(turn *t); /* accepts a zeroed one */

/* How many leading positions agree with n_cached keys. */
int32_t turn_common(const turn *t, const int64_t *cached, int32_t n_cached);

#endif
