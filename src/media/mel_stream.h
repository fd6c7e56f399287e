/* Log-mel frames of an endless stream of sound, one second a call (audio spec 2.5): what streaming and duplex sessions hear.
 *
 *     mel_stream_new -> push, push, push ... (104 or 100 frames each) -> flush
 *
 * The model hears its sound through a window of at most 30 s that jumps 10 s when full; the loudest frame in that window sets the
 * floor of every frame that leaves, so equal sounds may give different frames at different times. A stream belongs to one thread at a time.
 */
#ifndef MO_MEDIA_MEL_STREAM_H
#define MO_MEDIA_MEL_STREAM_H

#include <stdbool.h>

#include "media/audio.h"

enum {
    MEL_STREAM_CHUNK = 16000,       /* samples a call is meant to bring: 1 s */
    MEL_STREAM_FIRST_CHUNK = 16480, /* the first one more, so that its last frames are complete */
    MEL_STREAM_MAX_REDUNDANCY_MS = 100,
    MEL_STREAM_PUSH_FRAMES = 100 + 2 * MEL_STREAM_MAX_REDUNDANCY_MS / 10 /* most frames of a push */
};

typedef struct mel_stream mel_stream;

/* redundancy_ms: extra frames on both sides of each second for the encoder's convolutions; 0 in the simplex mode, 20 in duplex,
 * at most MEL_STREAM_MAX_REDUNDANCY_MS. Borrows bank. About 3 MiB, allocated here. */
mo_status mel_stream_new(mel_stream **out, const mel_bank *bank, int32_t redundancy_ms, mo_error *err);
void mel_stream_free(mel_stream *s); /* accepts NULL */
void mel_stream_reset(mel_stream *s);

/* Append n >= 0 samples; if the next 100 frames are complete, or is_last, emit them: mel [*n_frame, 80], *n_frame <= MEL_STREAM_PUSH_FRAMES.
 * One call emits one second at most: sound that comes faster waits for later calls or for flush, and what the window drops meanwhile is lost.
 *
 * MO_OK       taken; *n_frame may be 0
 * MO_E_STATE  taken, but the stream holds fewer than 400 samples: there is no frame yet
 * MO_E_NOMEM  not taken; only possible when n is more than a second or so
 * MO_E_LIMIT  not taken: the stream would hold more than 2^30 samples
 */
mo_status mel_stream_push(mel_stream *s, const float *x, int64_t n, bool is_last, float *mel, int64_t *n_frame, mo_error *err);

/* The frames not emitted yet, up to the end of what was pushed: mel [mel_stream_flush_frames(s), 80], at most 3000.
 * MO_E_STATE: 1 to 399 samples. The stream can go on after it. */
int64_t mel_stream_flush_frames(const mel_stream *s);
mo_status mel_stream_flush(mel_stream *s, float *mel, int64_t *n_frame, mo_error *err);

/* A copy of the whole state, to be freed by mel_stream_free; restore makes s continue from it, as often as wanted.
 * On failure s is as before. */
mo_status mel_stream_snapshot(mel_stream **out, const mel_stream *s, mo_error *err);
mo_status mel_stream_restore(mel_stream *s, const mel_stream *snapshot, mo_error *err);

typedef struct mel_stream_state {
    int64_t frame0;          /* global index of the window's first frame */
    int64_t n_emitted;       /* global index of the next frame to emit, redundancy aside */
    int64_t n_sample;        /* in the window */
    int64_t n_push;          /* calls of push since reset */
    int64_t n_sample_wanted; /* what the next push should bring */
    bool is_dynamic;         /* the floor follows the loudest frame (window of 5 s or more) */
} mel_stream_state;

void mel_stream_get_state(mel_stream_state *out, const mel_stream *s);

#endif
