/* Sound files to what the encoder hears: 16 kHz mono float32, then log-mel frames. Exactly as the reference does. */
#ifndef MO_MEDIA_AUDIO_H
#define MO_MEDIA_AUDIO_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct pcm {
    float *x; /* [n] mono; owned */
    int64_t n;
    int32_t rate_hz;
} pcm;

enum { AUDIO_RATE_HZ = 16000 };

/* WAV, FLAC, Ogg (Vorbis, Opus), MP3 by libsndfile; mono; resampled to rate_hz by resampy's kaiser_best recipe. */
mo_status audio_open(pcm *out, const char *path, int32_t rate_hz, mo_error *err);
mo_status audio_decode(pcm *out, const void *data, size_t n, int32_t rate_hz, mo_error *err);
void pcm_free(pcm *p); /* accepts a zeroed one */

/* kaiser_best resampling (audio spec 1.1); n_out = ceil(n * to / from). */
mo_status audio_resample(float **out, int64_t *n_out, const float *x, int64_t n, int32_t from_hz, int32_t to_hz, mo_error *err);

/* Log-mel frames: 80 bands (Slaney), n_fft 400, hop 160. */
enum { MEL_BANDS = 80, MEL_HOP = 160, MEL_N_FFT = 400, MEL_MAX_SAMPLES = 480000 };

typedef struct mel_bank mel_bank; /* filters, window, FFT plan: read-only after creation, shared by threads */
mo_status mel_bank_new(mel_bank **out, mo_error *err);
void mel_bank_free(mel_bank *m);

/* Raw log10 power of one 400-sample window: y[80]. The building block of the offline and the streaming form. */
void mel_frame_log10(const mel_bank *m, const float window[400], float y[80]);

/* Offline form of one piece of at most 30 s: zero-padded to 30 s, dynamic range 8 below its maximum, (L + 4) / 4.
 * mel [ceil(n/160), 80], frame by frame; 1 <= n <= MEL_MAX_SAMPLES. NaN and infinities in x are taken as 0. */
static inline int64_t mel_frames(int64_t n_sample) { return (n_sample + MEL_HOP - 1) / MEL_HOP; }
mo_status mel_offline(const mel_bank *m, float *mel, const float *x, int64_t n, mo_error *err);

#endif
