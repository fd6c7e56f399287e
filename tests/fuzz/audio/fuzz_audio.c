/* Any bytes as a sound file. The first byte picks the rate asked for. */
#include <math.h>
#include <stdlib.h>

#include "media/audio.h"

/* libsndfile 1.2.0 itself loses a little memory when an Ogg stream breaks off within its headers. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libsndfile\nleak:libvorbis\nleak:libogg\nleak:libmpg123\nleak:libFLAC\nleak:libopus\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int32_t rates[] = { 16000, 0, 24000, 8000 };
    pcm p;

    if (!n) return 0;
    if (audio_decode(&p, data + 1, n - 1, rates[data[0] & 3], NULL) == MO_OK) {
        if (p.n < 1 || p.rate_hz < 1) abort();
        for (int64_t i = 0; i < p.n; i++)
            if (!isfinite(p.x[i])) abort();
    }
    pcm_free(&p);
    return 0;
}
