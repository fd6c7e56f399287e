/* A conversation as its user gave it: messages of text, pictures and sounds, and what the encoders made of them.
 *
 * Media are decoded when they are pushed and encoded when an answer first needs them; from then on only their rows are
 * kept. Knows nothing of prompts: turn.h makes positions out of it.
 */
#ifndef MO_SESSION_CONVERSATION_H
#define MO_SESSION_CONVERSATION_H

#include <stdint.h>

#include "core/buf.h"
#include "core/status.h"
#include "media/image.h"

typedef enum part_kind { PART_TEXT, PART_IMAGE, PART_AUDIO } part_kind;

typedef struct part {
    part_kind kind;
    buf text; /* TEXT */

    /* IMAGE: its tiles until they are encoded, then `rows`. */
    image_slices slices;
    int32_t n_tile_done;
    int32_t width, height; /* as given */

    /* AUDIO: kept, since the rows depend on what else is said (see sound). */
    float *pcm; /* [n_sample] */
    int64_t n_sample;

    float *rows; /* IMAGE: [n_row, n_embd], NULL before encoding */
    int32_t n_row;
    int64_t uid; /* names the rows: two positions with the same uid and row number hold the same vector */
} part;

/* The sounds of one message are heard as one signal, cut into pieces of 30 s. */
typedef struct sound {
    float *rows; /* [n_row, n_embd], NULL before encoding */
    int32_t n_row;
    int32_t first_part, n_part; /* the message's items [first, first + n) that are sounds are its signal */
    int64_t n_sample;           /* of the signal */
    int32_t n_frame_longest;    /* of the batch it is encoded in: another value gives other rows (audio spec 3.5) */
    int32_t n_piece_done;
    int64_t uid;
} sound;

typedef struct message {
    char role[12]; /* "system", "user", "assistant" */
    part *part;
    int32_t n_part, cap_part;
    sound *sound; /* [n_sound] one, or one per audio part when items are not merged */
    int32_t n_sound;
} message;

typedef struct conversation {
    message *message;
    int32_t n_message, cap_message;
    int64_t next_uid;
} conversation;

void conversation_free(conversation *c); /* empties; accepts a zeroed one */

mo_status conversation_begin(conversation *c, const char *role, mo_error *err);
/* Append to the last message; MO_E_STATE without one. Each either takes everything or changes nothing. */
mo_status conversation_add_text(conversation *c, const char *text, size_t n, mo_error *err);
/* Slices the picture; does not keep im. MO_E_LIMIT: a tile has more than max_patches patches. */
mo_status conversation_add_image(conversation *c, const image *im, int32_t max_slices, int32_t scale_resolution, int32_t patch,
                                 int32_t max_patches, mo_error *err);
mo_status conversation_add_audio(conversation *c, const float *pcm, int64_t n, mo_error *err);

/* Forget messages from index n on. */
void conversation_truncate(conversation *c, int32_t n);

/* Append the conversation as JSON (minicpmo.h, mo_session_to_json). false: no memory. */
bool conversation_json(const conversation *c, buf *out);

#endif
