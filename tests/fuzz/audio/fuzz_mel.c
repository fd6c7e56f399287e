/* Any float32 values as a piece of sound: every mel value is finite. Then through the resampler at an odd rate. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "media/audio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static float mel[3000 * MEL_BANDS];
    int64_t n_sample = (int64_t)(n / sizeof(float)), n_y;
    float *x, *y;
    mel_bank *bank;

    if (n_sample < 1 || n_sample > MEL_MAX_SAMPLES || mel_bank_new(&bank, NULL) != MO_OK) return 0;
    if ((x = malloc((size_t)n_sample * sizeof *x))) {
        memcpy(x, data, (size_t)n_sample * sizeof *x);
        if (mel_offline(bank, mel, x, n_sample, NULL) != MO_OK) abort();
        for (int64_t i = 0; i < mel_frames(n_sample) * MEL_BANDS; i++)
            if (!isfinite(mel[i])) abort();
        if (data[2] % 8 == 0 && /* the filter's table takes a while */
            audio_resample(&y, &n_y, x, n_sample, 1000 + data[0] * 256 + data[1], 16000, NULL) == MO_OK)
            mo_free(y);
    }
    free(x);
    mel_bank_free(bank);
    return 0;
}
