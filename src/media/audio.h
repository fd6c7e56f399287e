/* Sound files to what the encoder hears: 16 kHz mono float32, then log-mel frames. Exactly as the reference does.
 *
 *     file or bytes --audio_open/decode--> pcm, mono at any rate asked for
 *     pcm --audio_pieces--> pieces of at most 30 s --mel_offline--> [frames, 80]
 *
 * The streaming form of the mel is in mel_stream.h; both stand on mel_frame_log10.
 */
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

/* What a file may ask of us: longer is MO_E_LIMIT, another rate MO_E_UNSUPPORTED. The lower bound holds for files that are to be
 * resampled: a header that says 1 Hz would turn every byte into 16000 samples. */
enum { AUDIO_MAX_SECONDS = 24 * 3600, AUDIO_MAX_RATE_HZ = 1000000, AUDIO_MIN_RATE_HZ = 1000 };

/* WAV, FLAC, Ogg (Vorbis, Opus), MP3 by libsndfile; mono (mean of the channels); resampled to rate_hz by resampy's
 * kaiser_best recipe, or left at the file's own rate when rate_hz is 0. Nothing is clipped; samples that are not
 * finite (float files can hold them) become 0. At least one sample, or it is an error. A file that breaks off gives
 * the samples before the break. On failure *out is zeroed. */
mo_status audio_open(pcm *out, const char *path, int32_t rate_hz, mo_error *err);
mo_status audio_decode(pcm *out, const void *data, size_t n, int32_t rate_hz, mo_error *err);
void pcm_free(pcm *p); /* accepts a zeroed one */

/* kaiser_best resampling (audio spec 1.1); n_out = ceil(n * to / from). 1 <= rates <= AUDIO_MAX_RATE_HZ, n >= 0.
 * *out is mo_malloc'd. Equal rates copy. About 20 ms per minute of sound. */
mo_status audio_resample(float **out, int64_t *n_out, const float *x, int64_t n, int32_t from_hz, int32_t to_hz, mo_error *err);

/* Log-mel frames: 80 bands (Slaney), n_fft 400, hop 160. */
enum { MEL_BANDS = 80, MEL_HOP = 160, MEL_N_FFT = 400, MEL_BINS = MEL_N_FFT / 2 + 1, MEL_MAX_SAMPLES = 480000 };

typedef struct mel_bank mel_bank; /* filters, window, FFT plan: read-only after creation, shared by threads */
mo_status mel_bank_new(mel_bank **out, mo_error *err);
void mel_bank_free(mel_bank *m); /* accepts NULL */
/* The filters as a matrix, [MEL_BANDS, MEL_BINS]: rows are bands, columns bins of 40 Hz. */
mo_status mel_filters(float *out, mo_error *err);

/* Raw log10 power of one 400-sample window: y[80], each >= -10 and finite. The building block of the offline and the
 * streaming form. Windowing is done here; samples that are not finite count as 0. */
void mel_frame_log10(const mel_bank *m, const float window[400], float y[80]);

/* Offline form of one piece of at most 30 s: zero-padded to 30 s, dynamic range 8 below its maximum, (L + 4) / 4.
 * mel [ceil(n/160), 80], frame by frame; 1 <= n <= MEL_MAX_SAMPLES. NaN and infinities in x are taken as 0. */
static inline int64_t mel_frames(int64_t n_sample) { return (n_sample + MEL_HOP - 1) / MEL_HOP; }
mo_status mel_offline(const mel_bank *m, float *mel, const float *x, int64_t n, mo_error *err);

/* A clip of any length is heard in pieces of 30 s without overlap, the last one shorter: how many, and how long
 * piece i is; it starts at sample i * MEL_MAX_SAMPLES. */
static inline int64_t audio_pieces(int64_t n_sample) { return (n_sample + MEL_MAX_SAMPLES - 1) / MEL_MAX_SAMPLES; }
static inline int64_t audio_piece_len(int64_t n_sample, int64_t i)
{
    int64_t left = n_sample - i * MEL_MAX_SAMPLES;
    return left < MEL_MAX_SAMPLES ? left : MEL_MAX_SAMPLES;
}

#endif
