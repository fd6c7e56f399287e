/* Pictures and sounds of a conversation to rows for the language model, a bounded piece of work at a time.
 *
 * Tiles of several pictures share a pass of the vision tower. Sounds of a message are one signal in pieces of 30 s; all
 * pieces of the conversation form the reference's batch, of which only the longest piece matters (models/whisper.h).
 */
#ifndef MO_SESSION_ENCODE_H
#define MO_SESSION_ENCODE_H

#include <stdbool.h>

#include "session/conversation.h"
#include "session/model.h"

/* Fix how the sounds are grouped: one signal per message, or (merge false) one per item. Marks sounds whose rows no longer
 * hold, because a longer piece or another item came in. */
mo_status encode_plan_sounds(conversation *c, bool merge, mo_error *err);

/* Positions that sound k of message m fills, summed over its pieces; 0 for less than 81 ms. */
int32_t encode_sound_tokens(const model_config *cfg, int64_t n_sample);

typedef struct encode_state {
    int64_t done, total; /* tiles and pieces */
} encode_state;

/* Do the next pass, if anything is left: *more tells. chunk_length_s: blocks of the audio encoder's attention, <= 0: full.
 * Call with m->step_lock held. On an error what was encoded before stays. */
mo_status encode_step(mo_model *m, conversation *c, float chunk_length_s, encode_state *state, bool *more, mo_error *err);

#endif
