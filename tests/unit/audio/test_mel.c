/* Log-mel frames against the definition: plain discrete Fourier sums and filters, in double (audio spec 2.1 - 2.4, 7). */
#include "media/audio.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "test.h"

static mo_error err;
static mel_bank *bank;
static double filter[MEL_BANDS][201];

static double edge(int i)
{
    double m = i * 45.245640471924965 / 81;
    return m < 15 ? 200 * m / 3 : 1000 * exp((m - 15) * log(6.4) / 27);
}

static void make_filters(void)
{
    for (int i = 0; i < MEL_BANDS; i++)
        for (int k = 0; k <= 200; k++) {
            double up = (40.0 * k - edge(i)) / (edge(i + 1) - edge(i)), down = (edge(i + 2) - 40.0 * k) / (edge(i + 2) - edge(i + 1));
            filter[i][k] = fmax(0, fmin(up, down)) * 2 / (edge(i + 2) - edge(i));
        }
}

/* The window at padded position `first` of x, zero-padded to n_pad samples and reflected at both ends. */
static void plain_frame(double y[MEL_BANDS], const float *x, int64_t n, int64_t n_pad, int64_t t)
{
    double p[201], s[400];

    for (int i = 0; i < 400; i++) {
        int64_t at = t * 160 + i - 200;

        if (at < 0) at = -at;
        if (at >= n_pad) at = 2 * (n_pad - 1) - at;
        s[i] = at < n ? x[at] * 0.5 * (1 - cos(2 * M_PI * i / 400)) : 0;
    }
    for (int k = 0; k <= 200; k++) {
        double re = 0, im = 0;

        for (int i = 0; i < 400; i++) {
            re += s[i] * cos(2 * M_PI * (i * k % 400) / 400);
            im -= s[i] * sin(2 * M_PI * (i * k % 400) / 400);
        }
        p[k] = re * re + im * im;
    }
    for (int b = 0; b < MEL_BANDS; b++) {
        double sum = 0;

        for (int k = 0; k <= 200; k++) sum += filter[b][k] * p[k];
        y[b] = log10(fmax(sum, 1e-10));
    }
}

static float noise(void) { return (float)((double)rand() / RAND_MAX - 0.5); }

/* The test's own filters are those of the specification. */
TEST(filters)
{
    int n = 0;
    double sum = 0;

    for (int i = 0; i < MEL_BANDS; i++)
        for (int k = 0; k <= 200; k++) {
            n += filter[i][k] > 0;
            sum += filter[i][k];
        }
    CHECK_INT(n, 391);
    CHECK_NEAR(sum, 1.9990241, 1e-7);
    CHECK_NEAR(filter[0][1], 0.02486259398, 1e-10);
    CHECK_NEAR(filter[40][42], 0.0054111051, 1e-9);
    CHECK_NEAR(filter[40][43], 0.0147355657, 1e-9);
    CHECK_NEAR(filter[40][44], 0.0065181897, 1e-9);
    CHECK_NEAR(filter[79][192], 0.0031647117, 1e-9);
}

/* One sample in the window: a flat spectrum, so every band is its filter's sum. Then every single frequency. */
TEST(impulse_and_sines)
{
    float x[400] = { 0 }, padded[640] = { 0 }, y[MEL_BANDS];
    double want[MEL_BANDS];

    x[240] = 1; /* what frame 1 sees of an impulse at sample 200 */
    mel_frame_log10(bank, x, y);
    for (int b = 0; b < MEL_BANDS; b++) {
        double sum = 0, w = 0.5 * (1 - cos(2 * M_PI * 240 / 400));

        for (int k = 0; k <= 200; k++) sum += filter[b][k];
        CHECK_NEAR(y[b], log10(sum * w * w), 2e-7);
    }
    for (int k = 0; k <= 200; k++) {
        for (int i = 0; i < 400; i++) x[i] = (float)cos(2 * M_PI * (i * k % 400) / 400 + 0.3);
        for (int i = 0; i < 400; i++) x[i] += 0.01f; /* nothing at the clamp */
        memcpy(padded + 120, x, sizeof x);
        plain_frame(want, padded, 640, 640, 2); /* samples 120 to 519 */
        mel_frame_log10(bank, x, y);
        for (int b = 0; b < MEL_BANDS; b++)
            if (want[b] > -9) CHECK_NEAR(y[b], want[b], 2e-6);
    }
}

TEST(frames_against_plain_sums)
{
    float x[1200], y[MEL_BANDS];
    double want[MEL_BANDS];

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 1200; i++) x[i] = noise() * powf(10, -(float)(round % 7));
        for (int t = 2; t < 5; t++) {
            plain_frame(want, x, 1200, 1200, t);
            mel_frame_log10(bank, x + t * 160 - 200, y);
            for (int b = 0; b < MEL_BANDS; b++) CHECK_NEAR(y[b], want[b], 2e-6);
        }
    }
}

/* --- the offline form --- */

static float sound[MEL_MAX_SAMPLES], mel[3000 * MEL_BANDS];

/* All frames of a short clip, and the maximum over the padded piece, by plain sums. */
static void check_clip(int64_t n)
{
    static double want[60 * MEL_BANDS];
    double max = -10;
    int64_t n_frame = mel_frames(n), n_seen = n_frame + 3;

    for (int64_t t = 0; t < n_seen; t++) plain_frame(want + t * MEL_BANDS, sound, n, MEL_MAX_SAMPLES, t);
    for (int64_t i = 0; i < n_seen * MEL_BANDS; i++) max = fmax(max, want[i]);
    CHECK_OK(mel_offline(bank, mel, sound, n, &err));
    for (int64_t i = 0; i < n_frame * MEL_BANDS; i++) {
        double w = (fmax(want[i], max - 8) + 4) / 4;
        if (!(fabs(mel[i] - w) < 2e-6)) {
            TEST_FAIL("%lld samples, frame %lld band %lld: %.7g, want %.7g", (long long)n, (long long)i / 80, (long long)i % 80, mel[i], w);
            return;
        }
    }
}

TEST(offline_lengths)
{
    static const int64_t lengths[] = { 1, 2, 39, 159, 160, 161, 200, 201, 280, 359, 360, 361, 1281, 5000, 8000 };

    for (int64_t i = 0; i < 8000; i++) sound[i] = noise();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) check_clip(lengths[i]);
    /* loudest at the very end: the frames after the last kept one see most of it */
    for (int64_t i = 0; i < 8000; i++) sound[i] *= i < 7990 ? 1e-3f : 1;
    check_clip(8000);
}

/* Near 30 s the padding gives way to reflection. */
TEST(offline_right_edge)
{
    static const int64_t lengths[] = { MEL_MAX_SAMPLES, MEL_MAX_SAMPLES - 1, MEL_MAX_SAMPLES - 30, MEL_MAX_SAMPLES - 41,
                                       MEL_MAX_SAMPLES - 161 };

    for (int64_t i = 0; i < MEL_MAX_SAMPLES; i++) sound[i] = noise();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int64_t n = lengths[i];

        CHECK_OK(mel_offline(bank, mel, sound, n, &err));
        for (int64_t t = mel_frames(n) - 4; t < mel_frames(n); t++) {
            double want[MEL_BANDS];

            plain_frame(want, sound, n, MEL_MAX_SAMPLES, t);
            for (int b = 0; b < MEL_BANDS; b++) CHECK_NEAR(mel[t * MEL_BANDS + b], (want[b] + 4) / 4, 2e-6);
        }
    }
}

TEST(silence_and_range)
{
    float lo = 1e9f, hi = -1e9f;

    memset(sound, 0, sizeof sound);
    CHECK_OK(mel_offline(bank, mel, sound, 16000, &err));
    for (int i = 0; i < 100 * MEL_BANDS; i++) CHECK(mel[i] == -1.5f);
    for (int i = 0; i < 16000; i++) sound[i] = (float)sin(2 * M_PI * i / 16);
    CHECK_OK(mel_offline(bank, mel, sound, 16000, &err));
    for (int i = 0; i < 100 * MEL_BANDS; i++) {
        lo = fminf(lo, mel[i]);
        hi = fmaxf(hi, mel[i]);
    }
    CHECK_NEAR(hi - lo, 2, 1e-6);
}

TEST(never_nan)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, 1e30f };

    for (int i = 0; i < 4000; i++) sound[i] = bad[rand() % 7];
    CHECK_OK(mel_offline(bank, mel, sound, 4000, &err));
    for (int i = 0; i < 25 * MEL_BANDS; i++) CHECK(isfinite(mel[i]));
    for (int i = 0; i < 4000; i++) sound[i] = i % 2 ? NAN : INFINITY;
    CHECK_OK(mel_offline(bank, mel, sound, 4000, &err));
    for (int i = 0; i < 25 * MEL_BANDS; i++) CHECK(mel[i] == -1.5f);
}

TEST(arguments)
{
    mel_bank *b;

    CHECK_INT(mel_offline(bank, mel, sound, 0, &err), MO_E_ARG);
    CHECK_INT(mel_offline(bank, mel, sound, MEL_MAX_SAMPLES + 1, &err), MO_E_ARG);
    mo_alloc_fail_after(0);
    CHECK_INT(mel_bank_new(&b, &err), MO_E_NOMEM);
    mo_alloc_fail_after(-1);
    CHECK(!b);
    mel_bank_free(NULL);
}

TEST(pieces)
{
    CHECK_INT(audio_pieces(0), 0);
    CHECK_INT(audio_pieces(1), 1);
    CHECK_INT(audio_pieces(480000), 1);
    CHECK_INT(audio_pieces(480001), 2);
    CHECK_INT(audio_piece_len(480001, 0), 480000);
    CHECK_INT(audio_piece_len(480001, 1), 1);
    CHECK_INT(audio_piece_len(960000, 1), 480000);
    CHECK_INT(mel_frames(480000), 3000);
    CHECK_INT(mel_frames(1), 1);
    CHECK_INT(mel_frames(161), 2);
}

int main(void)
{
    make_filters();
    if (mel_bank_new(&bank, &err) != MO_OK) return 1;
    RUN(filters);
    RUN(impulse_and_sines);
    RUN(frames_against_plain_sums);
    RUN(offline_lengths);
    RUN(offline_right_edge);
    RUN(silence_and_range);
    RUN(never_nan);
    RUN(arguments);
    RUN(pieces);
    mel_bank_free(bank);
    return test_end();
}
