/* The audio encoder: log-mel frames to hidden rows (20 ms each) and to LLM rows (spec audio-encoder 3).
 *
 *     mel [F, n_mel] -> conv stem -> [ceil(F/2), n_embd] + positions -> n_layer x (attention, MLP) -> layer_norm -> hidden
 *     hidden -> linear, ReLU, linear -> mean of pool_step rows -> embeds [tokens, n_out]
 *
 * A batch is all pieces (of at most 30 s) of one prompt or reference clip. The reference pads them to the longest and what
 * a shorter piece sees past its end depends on that length; here every piece carries exactly the rows that it can see, so
 * its result depends on the longest length alone and has the same bits whatever pieces are beside it.
 */
#ifndef MO_MODELS_WHISPER_H
#define MO_MODELS_WHISPER_H

#include "models/bind.h"
#include "models/config.h"
#include "models/scratch.h"

typedef struct whisper whisper;

/* n_out: the LLM's width. Runs every layer the checkpoint has. Borrows be and ts. */
mo_status whisper_load(whisper **out, backend *be, const tensors *ts, const audio_config *c, int32_t n_out, mo_error *err);
mo_status whisper_plan(bind_bytes *out, backend *be, const tensors *ts, const audio_config *c, int32_t n_out, mo_error *err);
void whisper_free(whisper *m); /* accepts NULL and a half-loaded one */

/* Encoder rows and LLM rows of a piece of n_frame mel frames. */
static inline int32_t whisper_rows(int32_t n_frame) { return (n_frame + 1) / 2; }
static inline int32_t whisper_tokens(const audio_config *c, int32_t n_frame) { return whisper_rows(n_frame) / c->pool_step; }

/* Scratch of passes of up to n_row encoder rows; a pass takes at least one piece, so n_row counts as n_pos (1500) at least. */
void whisper_scratch(scratch *s, const audio_config *c, int32_t n_out, int64_t n_row);

/* Offline form, the reference's masks (spec 3.5).
 *
 * mel            [Σ n_frame, n_mel] device memory, pieces one after another; 1 <= n_frame[i] <= 2 n_pos
 * chunk_length_s blocks of this long see themselves and everything before; <= 0: every row sees all
 * n_frame_longest of the batch these pieces belong to, if it is longer than any of them; 0: the longest of the call
 * hidden         [Σ rows, n_embd], embeds [Σ tokens, n_out]: device memory
 */
mo_status whisper_forward(whisper *m, float *hidden, float *embeds, const float *mel, const int32_t *n_frame, int n_piece,
                          float chunk_length_s, int32_t n_frame_longest, int64_t n_row, scratch *s, mo_error *err);

#endif
