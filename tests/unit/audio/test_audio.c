/* Sound files: encodings, channels, rates, and headers that lie. The files are made here, byte by byte. */
#include "media/audio.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "test.h"

static mo_error err;

/* libsndfile 1.2.0 itself loses a little memory when an Ogg stream breaks off within its headers. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libsndfile\nleak:libvorbis\nleak:libogg\nleak:libmpg123\nleak:libFLAC\nleak:libopus\n";
}

/* --- a WAV writer that can lie --- */

typedef struct wav {
    uint8_t b[1 << 20];
    size_t n;
} wav;

static wav w; /* large: not on the stack */

static void put(const void *p, size_t n)
{
    memcpy(w.b + w.n, p, n);
    w.n += n;
}

static void put_u(uint32_t v, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++) w.b[w.n++] = (uint8_t)(v >> (8 * i));
}

enum { PCM = 1, FLOAT = 3, ALAW = 6, MULAW = 7 };

/* data_size 0: told truthfully */
static void wav_new(int format, int bits, int n_channel, int rate_hz, const void *data, size_t n, uint32_t data_size)
{
    w.n = 0;
    put("RIFF", 4);
    put_u(data_size ? data_size : (uint32_t)(36 + n), 4);
    put("WAVEfmt ", 8);
    put_u(16, 4);
    put_u((uint32_t)format, 2);
    put_u((uint32_t)n_channel, 2);
    put_u((uint32_t)rate_hz, 4);
    put_u((uint32_t)rate_hz * (uint32_t)(n_channel * bits / 8), 4);
    put_u((uint32_t)(n_channel * bits / 8), 2);
    put_u((uint32_t)bits, 2);
    put("data", 4);
    put_u(data_size ? data_size : (uint32_t)n, 4);
    put(data, n);
}

static mo_status decode(pcm *p, int32_t rate_hz)
{
    void *copy = malloc(w.n ? w.n : 1); /* exact size: the sanitizer sees a read past it */
    mo_status st;

    memcpy(copy, w.b, w.n);
    memset(&err, 0, sizeof err);
    st = audio_decode(p, copy, w.n, rate_hz, &err);
    free(copy);
    return st;
}

/* --- what must come out --- */

TEST(sixteen_bit)
{
    const int16_t x[] = { 0, 1, -1, 32767, -32768 };
    pcm p;

    wav_new(PCM, 16, 1, 16000, x, sizeof x, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 5);
    CHECK_INT(p.rate_hz, 16000);
    for (int i = 0; i < 5; i++) CHECK(p.x[i] == (float)x[i] / 32768);
    pcm_free(&p);
    CHECK(!p.x && !p.n);
}

TEST(other_encodings)
{
    const uint8_t u8[] = { 0, 127, 128, 255 };
    const uint8_t s24[] = { 0, 0, 0x80, 0xFF, 0xFF, 0x7F, 1, 0, 0 };
    const float f32[] = { 1.5f, -3.25f, 1e-30f };
    const double f64[] = { 0.1, -1.75, 1e-9 };
    const uint8_t law[] = { 0x00, 0x80, 0xFF, 0x55, 0xD5 };
    pcm p;

    wav_new(PCM, 8, 1, 16000, u8, sizeof u8, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 4);
    for (int i = 0; i < 4; i++) CHECK(p.x[i] == ((float)u8[i] - 128) / 128);
    pcm_free(&p);
    wav_new(PCM, 24, 1, 16000, s24, sizeof s24, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 3);
    CHECK(p.x[0] == -1 && p.x[1] == 8388607.0f / 8388608 && p.x[2] == 1.0f / 8388608);
    pcm_free(&p);
    wav_new(FLOAT, 32, 1, 16000, f32, sizeof f32, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 3);
    CHECK(!memcmp(p.x, f32, sizeof f32)); /* beyond [-1, 1] too */
    pcm_free(&p);
    wav_new(FLOAT, 64, 1, 16000, f64, sizeof f64, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 3);
    for (int i = 0; i < 3; i++) CHECK(p.x[i] == (float)f64[i]);
    pcm_free(&p);
    /* G.711: u-law 0x00 is -32124, 0xFF is 0; A-law 0x55 is -8, 0xD5 is 8 */
    wav_new(MULAW, 8, 1, 16000, law, sizeof law, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK(p.x[0] == -32124.0f / 32768 && p.x[1] == 32124.0f / 32768 && p.x[2] == 0);
    pcm_free(&p);
    wav_new(ALAW, 8, 1, 16000, law, sizeof law, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK(p.x[3] == -8.0f / 32768 && p.x[4] == 8.0f / 32768);
    pcm_free(&p);
}

TEST(channels_are_averaged_in_order)
{
    float x[3 * 8], want;
    pcm p;

    for (int i = 0; i < 24; i++) x[i] = sinf((float)i) * (i % 3 ? 1e-3f : 0.9f);
    for (int n_channel = 1; n_channel <= 8; n_channel++) {
        wav_new(FLOAT, 32, n_channel, 16000, x, sizeof(float) * 3 * (size_t)n_channel, 0);
        CHECK_OK(decode(&p, 16000));
        CHECK_INT(p.n, 3);
        for (int t = 0; t < 3; t++) {
            want = x[t * n_channel];
            for (int c = 1; c < n_channel; c++) want += x[t * n_channel + c];
            want /= (float)n_channel;
            if (p.x[t] != want) TEST_FAIL("%d channels, sample %d: %.9g, want %.9g", n_channel, t, p.x[t], want);
        }
        pcm_free(&p);
    }
}

TEST(rates)
{
    static const int rates[] = { 1000, 1009, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 384000, 1000000 };
    static int16_t x[3000];
    pcm p;

    for (int i = 0; i < 3000; i++) x[i] = (int16_t)(i * 37 % 2000);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        int n = rates[i] < 8000 ? 300 : 3000;

        wav_new(PCM, 16, 1, rates[i], x, (size_t)n * 2, 0);
        CHECK_OK(decode(&p, 16000));
        CHECK_INT(p.rate_hz, 16000);
        CHECK_INT(p.n, ((int64_t)n * 16000 + rates[i] - 1) / rates[i]);
        for (int64_t k = 0; k < p.n; k++) CHECK(isfinite(p.x[k]));
        pcm_free(&p);
        CHECK_OK(decode(&p, 0)); /* 0: as it is */
        CHECK_INT(p.rate_hz, rates[i]);
        CHECK_INT(p.n, n);
        pcm_free(&p);
    }
    wav_new(PCM, 16, 1, 1000001, x, sizeof x, 0);
    CHECK_INT(decode(&p, 16000), MO_E_UNSUPPORTED);
    CHECK(!p.x);
    wav_new(PCM, 16, 1, 7, x, 20, 0);
    CHECK_INT(decode(&p, 16000), MO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "sample rate 7 Hz is below 1000 Hz"));
    CHECK_OK(decode(&p, 0));
    CHECK_INT(p.rate_hz, 7);
    CHECK_INT(p.n, 10);
    pcm_free(&p);
}

TEST(not_finite_becomes_zero)
{
    float x[2000];
    pcm p;

    for (int i = 0; i < 2000; i++) x[i] = 0.25f;
    x[3] = NAN;
    x[700] = INFINITY;
    x[701] = -INFINITY;
    wav_new(FLOAT, 32, 1, 16000, x, sizeof x, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK(p.x[3] == 0 && p.x[700] == 0 && p.x[701] == 0 && p.x[4] == 0.25f);
    pcm_free(&p);
    wav_new(FLOAT, 32, 2, 44100, x, sizeof x, 0);
    CHECK_OK(decode(&p, 16000));
    for (int64_t i = 0; i < p.n; i++) CHECK(isfinite(p.x[i]));
    pcm_free(&p);
    x[0] = x[1] = 3e38f; /* the sum of two finite channels overflows */
    wav_new(FLOAT, 32, 2, 16000, x, sizeof x, 0);
    CHECK_OK(decode(&p, 16000));
    CHECK(p.x[0] == 0);
    pcm_free(&p);
}

/* --- files that are not what they say --- */

TEST(lying_sizes)
{
    static const uint32_t sizes[] = { 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 12, 200000 };
    int16_t x[500] = { 5 };
    pcm p;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        wav_new(PCM, 16, 1, 16000, x, sizeof x, sizes[i]);
        if (decode(&p, 16000) == MO_OK) CHECK(p.n <= 500 && p.x[0] == 5.0f / 32768);
        pcm_free(&p);
    }
    wav_new(PCM, 16, 1, 16000, x, sizeof x, 0xFFFFFFFF); /* what a recorder that streams writes */
    CHECK_OK(decode(&p, 16000));
    CHECK_INT(p.n, 500);
    pcm_free(&p);
}

TEST(no_samples)
{
    pcm p;

    wav_new(PCM, 16, 1, 16000, "", 0, 0);
    CHECK_INT(decode(&p, 16000), MO_E_FORMAT);
    CHECK(strstr(err.message, "no samples"));
    CHECK(!p.x);
}

TEST(not_a_sound)
{
    static const char *const what[] = { "", "R", "RIFF", "hello, this is a text", "\x89PNG\r\n\x1a\n0000IHDR", "fLaC", "OggS", "ID3\x04" };
    pcm p;

    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        w.n = 0;
        put(what[i], strlen(what[i]));
        CHECK_INT(decode(&p, 16000), MO_E_FORMAT);
        CHECK(strstr(err.message, "not a sound file this build reads (WAV, FLAC, Ogg, MP3)"));
        CHECK(!p.x);
    }
    CHECK_INT(audio_decode(&p, NULL, 0, 16000, &err), MO_E_FORMAT);
    CHECK_INT(audio_decode(&p, NULL, 4, 16000, &err), MO_E_ARG);
    CHECK_INT(audio_decode(&p, w.b, 4, -1, &err), MO_E_ARG);
    CHECK_INT(audio_decode(&p, w.b, 4, 16000, NULL), MO_E_FORMAT);
}

TEST(absurd_channel_counts)
{
    static const int counts[] = { 0, 1024, 1025, 65535 };
    static int16_t x[65535];
    pcm p;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        wav_new(PCM, 16, counts[i], 16000, x, sizeof x, 0);
        if (decode(&p, 16000) == MO_OK) CHECK(p.n > 0 && counts[i]);
        pcm_free(&p);
    }
}

/* Cut anywhere, any byte changed: an answer or an error, never a crash. */
TEST(broken_anywhere)
{
    int16_t x[40];
    size_t full;
    pcm p;

    for (int i = 0; i < 40; i++) x[i] = (int16_t)(i * 100);
    wav_new(PCM, 16, 2, 8000, x, sizeof x, 0);
    full = w.n;
    for (size_t n = 0; n < full; n++) {
        w.n = n;
        decode(&p, 16000);
        pcm_free(&p);
    }
    w.n = full;
    for (size_t i = 0; i < full; i++) {
        static const uint8_t values[] = { 0x00, 0xFF, 0x80, 0x7F, 0x01 };
        uint8_t kept = w.b[i];

        for (size_t v = 0; v < sizeof values; v++) {
            w.b[i] = values[v];
            decode(&p, 0);
            pcm_free(&p);
        }
        w.b[i] = kept;
    }
}

TEST(memory_runs_out)
{
    static int16_t x[5000];
    pcm p;

    wav_new(PCM, 16, 1, 44100, x, sizeof x, 0);
    for (int k = 0;; k++) {
        mo_status st;

        mo_alloc_fail_after(k);
        st = decode(&p, 16000);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) {
            CHECK(k >= 5); /* block, samples, output, phases, weights */
            break;
        }
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(!p.x);
        CHECK(k < 20);
    }
    pcm_free(&p);
}

/* --- files by name --- */

TEST(file_names)
{
    char path[] = "/tmp/mo_test_audio_XXXXXX";
    const int16_t x[] = { 100, 200, 300 };
    int fd = mkstemp(path);
    pcm p;

    CHECK(fd >= 0);
    wav_new(PCM, 16, 1, 16000, x, sizeof x, 0);
    CHECK(write(fd, w.b, w.n) == (ssize_t)w.n);
    CHECK_OK(audio_open(&p, path, 16000, &err)); /* no suffix: the content decides */
    CHECK_INT(p.n, 3);
    pcm_free(&p);
    CHECK(!ftruncate(fd, 3));
    CHECK_INT(audio_open(&p, path, 16000, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, path));
    close(fd);
    unlink(path);
    CHECK_INT(audio_open(&p, path, 16000, &err), MO_E_IO);
    CHECK(strstr(err.message, path));
    CHECK(audio_open(&p, "/tmp", 16000, &err) != MO_OK);
    CHECK_INT(audio_open(&p, "-", 16000, &err), MO_E_IO); /* not standard input */
    CHECK_INT(audio_open(&p, NULL, 16000, &err), MO_E_ARG);
}

/* FLAC, Ogg Vorbis, Opus, MP3: the golden files, by name and from memory alike. */
TEST(compressed_formats)
{
    static const struct {
        const char *name;
        int32_t rate_hz;
        int64_t n; /* at 16 kHz */
    } file[] = {
        { "stereo24.flac", 16000, 7001 }, { "tones-44100-2.flac", 44100, 4003 }, { "speech-16k.ogg", 16000, 7001 },
        { "tones-44k.ogg", 44100, 4720 }, { "speech-16k.opus", 16000, 7001 },    { "speech-16k.mp3", 16000, 7001 },
        { "tones-48k.mp3", 48000, 5003 },
    };
    const char *shared = getenv("MO_SHARED");

    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        char path[1000], *data;
        size_t size;
        pcm a, b, raw;
        bool same;

        snprintf(path, sizeof path, "%s/golden/hear/audio/%s", shared ? shared : "../shared", file[i].name);
        if (!file_exists(path)) SKIP("no ../shared/golden/hear: FLAC, Ogg and MP3 files not tried");
        CHECK_OK(audio_open(&a, path, 16000, &err));
        CHECK_OK(file_read(&data, &size, path, 1 << 20, &err));
        CHECK_OK(audio_decode(&b, data, size, 16000, &err));
        CHECK_OK(audio_decode(&raw, data, size, 0, &err));
        CHECK_INT(a.n, file[i].n);
        same = b.n == a.n && !memcmp(a.x, b.x, (size_t)a.n * sizeof(float));
        CHECK(same);
        CHECK_INT(raw.rate_hz, file[i].rate_hz);
        /* cut at some places: what decodes before the break, or an error */
        for (size_t cut = size; cut > 0; cut = cut * 2 / 3) {
            pcm part;
            if (audio_decode(&part, data, cut, 16000, NULL) == MO_OK) CHECK(part.n > 0);
            pcm_free(&part);
        }
        mo_free(data);
        pcm_free(&a);
        pcm_free(&b);
        pcm_free(&raw);
    }
}

int main(void)
{
    RUN(sixteen_bit);
    RUN(other_encodings);
    RUN(channels_are_averaged_in_order);
    RUN(rates);
    RUN(not_finite_becomes_zero);
    RUN(lying_sizes);
    RUN(no_samples);
    RUN(not_a_sound);
    RUN(absurd_channel_counts);
    RUN(broken_anywhere);
    RUN(memory_runs_out);
    RUN(file_names);
    RUN(compressed_formats);
    return test_end();
}
