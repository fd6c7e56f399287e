/* The streaming mel against the reference's way of doing it: all frames of the window, anew at every call. */
#include "media/mel_stream.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "core/instrumented.h"
#include "test.h"

static mo_error err;
static mel_bank *bank;

/* --- the slow model --- */

enum { N_TRACK = 4000000 };

static float track[N_TRACK]; /* the stream's samples; the model's window is [start, end) of it */

typedef struct model {
    int64_t start, end, base, emitted, r;
    bool is_dynamic;
} model;

static float all[3000 * MEL_BANDS];

/* Frames of the window, normalised; returns their number. */
static int64_t model_extract(model *m)
{
    int64_t len = m->end - m->start, n = len > 480000 ? 480000 : len, n_frame = n / 160;
    float window[400], max = -10, low;

    for (int64_t t = 0; t < n_frame; t++) {
        for (int64_t i = 0; i < 400; i++) {
            int64_t at = llabs(t * 160 + i - 200);
            window[i] = track[m->start + (at < n ? at : 2 * (n - 1) - at)];
        }
        mel_frame_log10(bank, window, all + t * MEL_BANDS);
    }
    for (int64_t i = 0; i < n_frame * MEL_BANDS; i++) max = fmaxf(max, all[i]);
    m->is_dynamic = len >= 80000;
    low = m->is_dynamic ? max - 8 : -10;
    for (int64_t i = 0; i < n_frame * MEL_BANDS; i++) all[i] = (fmaxf(all[i], low) + 4) / 4;
    return n_frame;
}

static void model_push(model *m, int64_t n, bool is_last, int64_t *t0, int64_t *t1)
{
    int64_t len, full, stable, a, b;

    m->end += n;
    len = m->end - m->start;
    if (len >= 480000) {
        int64_t guard = len - 160000 < 16000 ? len - 160000 : 16000, drop = len - guard < 160000 ? len - guard : 160000;
        drop = drop / 160 * 160;
        m->start += drop;
        m->base += drop / 160;
        len -= drop;
    }
    *t0 = *t1 = 0;
    if (len < 400) return;
    full = model_extract(m);
    stable = (len - 200) / 160 + 1;
    if (stable > full) stable = full;
    if (m->base + stable < m->emitted + 100 + m->r && !is_last) return;
    a = (m->emitted > m->r ? m->emitted - m->r : 0) - m->base;
    b = m->emitted + 100 + m->r - m->base;
    a = a < 0 ? 0 : a > full ? full : a;
    b = b < a ? a : b > full ? full : b;
    *t0 = a;
    *t1 = b;
    m->emitted += 100;
}

/* --- comparing --- */

static bool same(const mel_stream *s, const model *m, const float *mel, int64_t n, int64_t t0, int64_t t1, int call)
{
    mel_stream_state st;

    mel_stream_get_state(&st, s);
    if (n != t1 - t0 || memcmp(mel, all + t0 * MEL_BANDS, (size_t)n * MEL_BANDS * sizeof *mel)) {
        TEST_FAIL("call %d: %lld frames differ from the model's %lld", call, (long long)n, (long long)(t1 - t0));
        return false;
    }
    if (st.frame0 != m->base || st.n_emitted != m->emitted || st.n_sample != m->end - m->start ||
        (st.n_sample >= 400 && st.is_dynamic != m->is_dynamic)) {
        TEST_FAIL("call %d: state %lld %lld %lld, want %lld %lld %lld", call, (long long)st.frame0, (long long)st.n_emitted,
                  (long long)st.n_sample, (long long)m->base, (long long)m->emitted, (long long)(m->end - m->start));
        return false;
    }
    return true;
}

static void make_track(unsigned seed)
{
    float level = 0.1f;

    srand(seed);
    for (int64_t i = 0; i < N_TRACK; i++) {
        if (i % 20000 == 0) level = powf(10, -5 * (float)rand() / (float)RAND_MAX); /* peaks come and go with the window */
        track[i] = level * ((float)rand() / (float)RAND_MAX - 0.5f);
    }
}

/* Bit for bit, over many calls of sizes drawn by `kind`. */
static void run_against_model(int kind, int redundancy_ms, int n_call)
{
    static float mel[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    static const int64_t odd[] = { 0, 1, 159, 160, 399, 5000, 15999, 16001, 31999, 48000 };
    model m = { .r = redundancy_ms / 10 };
    mel_stream *s;

    if (MO_INSTRUMENTED) n_call /= 3;
    make_track((unsigned)kind);
    CHECK_OK(mel_stream_new(&s, bank, redundancy_ms, &err));
    for (int call = 0; call < n_call; call++) {
        int64_t n = kind == 0 ? (call ? 16000 : 16480) : kind == 1 ? odd[rand() % 10] : rand() % 700000, n_frame, t0, t1;
        bool is_last = kind && rand() % 20 == 0;
        mo_status st;

        if (m.end + n > N_TRACK) break;
        st = mel_stream_push(s, track + m.end, n, is_last, mel, &n_frame, &err);
        model_push(&m, n, is_last, &t0, &t1);
        if (st != (m.end - m.start < 400 ? MO_E_STATE : MO_OK)) TEST_FAIL("call %d: status %d", call, st);
        if (test_this_failed || !same(s, &m, mel, n_frame, t0, t1, call)) break;
    }
    mel_stream_free(s);
}

TEST(seconds) { run_against_model(0, 20, 42); }
TEST(seconds_simplex) { run_against_model(0, 0, 32); }
TEST(odd_sizes) { run_against_model(1, 20, 70); }
TEST(odd_sizes_simplex) { run_against_model(1, 0, 70); }
TEST(huge_pushes) { run_against_model(2, 100, 12); }

TEST(flush_takes_the_rest)
{
    static float mel[3000 * MEL_BANDS], push[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    model m = { .r = 2, .end = 70000 };
    mel_stream *s;
    int64_t n, full;

    make_track(9);
    CHECK_OK(mel_stream_new(&s, bank, 20, &err));
    CHECK_OK(mel_stream_flush(s, mel, &n, &err)); /* nothing pushed: nothing there */
    CHECK_INT(n, 0);
    CHECK_OK(mel_stream_push(s, track, 70000, false, push, &n, &err));
    CHECK_INT(n, 102);
    CHECK_INT(mel_stream_flush_frames(s), 437 - 100);
    CHECK_OK(mel_stream_flush(s, mel, &n, &err));
    full = model_extract(&m);
    CHECK_INT(full, 437);
    CHECK_INT(n, 337);
    CHECK(!memcmp(mel, all + 100 * MEL_BANDS, (size_t)n * MEL_BANDS * sizeof *mel));
    CHECK_OK(mel_stream_flush(s, mel, &n, &err));
    CHECK_INT(n, 0);
    mel_stream_free(s);
}

/* Continue, go back, continue: the second time gives the same bits; so does another stream that takes the snapshot over. */
TEST(snapshot_and_restore)
{
    static float first[40][MEL_STREAM_PUSH_FRAMES * MEL_BANDS], again[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    int64_t at = 0, kept_at = 0, n, n_first[40];
    mel_stream *s, *other, *snap = NULL;

    make_track(5);
    CHECK_OK(mel_stream_new(&s, bank, 20, &err));
    CHECK_OK(mel_stream_new(&other, bank, 0, &err));
    for (int call = 0; call < 40; call++) {
        if (call == 20) {
            CHECK_OK(mel_stream_snapshot(&snap, s, &err));
            kept_at = at;
        }
        n = call ? 16000 : 16480;
        CHECK_OK(mel_stream_push(s, track + at, n, false, first[call], &n_first[call], &err));
        at += n;
    }
    for (int round = 0; round < 2; round++) {
        mel_stream *to = round ? other : s;

        at = kept_at;
        CHECK_OK(mel_stream_restore(to, snap, &err));
        for (int call = 20; call < 40; call++, at += 16000) {
            CHECK_OK(mel_stream_push(to, track + at, 16000, false, again, &n, &err));
            CHECK_INT(n, n_first[call]);
            CHECK(!memcmp(again, first[call], (size_t)n * MEL_BANDS * sizeof *again));
        }
    }
    mel_stream_free(s);
    mel_stream_free(other);
    mel_stream_free(snap);
}

TEST(reset_is_new)
{
    static float a[MEL_STREAM_PUSH_FRAMES * MEL_BANDS], b[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    mel_stream_state st;
    mel_stream *s;
    int64_t n;

    make_track(6);
    CHECK_OK(mel_stream_new(&s, bank, 20, &err));
    mel_stream_get_state(&st, s);
    CHECK_INT(st.n_sample_wanted, 16480);
    CHECK_OK(mel_stream_push(s, track, 16480, false, a, &n, &err));
    mel_stream_get_state(&st, s);
    CHECK_INT(st.n_sample_wanted, 16000);
    CHECK_OK(mel_stream_push(s, track + 500000, 90000, false, b, &n, &err));
    mel_stream_reset(s);
    CHECK_OK(mel_stream_push(s, track, 16480, false, b, &n, &err));
    CHECK_INT(n, 102);
    CHECK(!memcmp(a, b, 102 * MEL_BANDS * sizeof *a));
    mel_stream_free(s);
}

TEST(no_allocation_in_a_step)
{
    static float mel[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    mel_stream *s;
    int64_t n, before;

    make_track(7);
    CHECK_OK(mel_stream_new(&s, bank, 20, &err));
    before = mo_alloc_count();
    for (int call = 0; call < 70; call++) CHECK_OK(mel_stream_push(s, track + call * 16000, 16000, false, mel, &n, &err));
    CHECK_INT(mo_alloc_count(), before);
    mel_stream_free(s);
}

TEST(memory_and_arguments)
{
    static float mel[MEL_STREAM_PUSH_FRAMES * MEL_BANDS];
    mel_stream *s, *snap;
    int64_t n;

    for (int k = 0; k < 4; k++) {
        mo_alloc_fail_after(k);
        CHECK_INT(mel_stream_new(&s, bank, 20, &err), MO_E_NOMEM);
        CHECK(!s);
    }
    mo_alloc_fail_after(-1);
    CHECK_INT(mel_stream_new(&s, bank, -10, &err), MO_E_ARG);
    CHECK_INT(mel_stream_new(&s, bank, 110, &err), MO_E_ARG);
    CHECK_OK(mel_stream_new(&s, bank, 20, &err));
    CHECK_INT(mel_stream_push(s, NULL, 5, false, mel, &n, &err), MO_E_ARG);
    CHECK_INT(mel_stream_push(s, track, -1, false, mel, &n, &err), MO_E_ARG);
    CHECK_INT(mel_stream_push(s, track, INT64_C(1) << 40, false, mel, &n, &err), MO_E_LIMIT);
    mo_alloc_fail_after(0);
    CHECK_INT(mel_stream_push(s, track, 1000000, false, mel, &n, &err), MO_E_NOMEM);
    mo_alloc_fail_after(-1);
    CHECK_INT(mel_stream_push(s, track, 399, false, mel, &n, &err), MO_E_STATE);
    CHECK_INT(mel_stream_flush(s, mel, &n, &err), MO_E_STATE);
    CHECK_OK(mel_stream_push(s, track, 1, false, mel, &n, &err)); /* the 399 were taken */
    CHECK_INT(mel_stream_flush_frames(s), 2);
    CHECK_OK(mel_stream_push(s, track, 1000000, false, mel, &n, &err));
    for (int k = 0; k < 5; k++) {
        mo_alloc_fail_after(k);
        CHECK_INT(mel_stream_snapshot(&snap, s, &err), MO_E_NOMEM);
        CHECK(!snap);
    }
    mo_alloc_fail_after(-1);
    mel_stream_free(s);
    mel_stream_free(NULL);
}

int main(void)
{
    if (mel_bank_new(&bank, &err) != MO_OK) return 1;
    RUN(seconds);
    RUN(seconds_simplex);
    RUN(odd_sizes);
    RUN(odd_sizes_simplex);
    RUN(huge_pushes);
    RUN(flush_takes_the_rest);
    RUN(snapshot_and_restore);
    RUN(reset_is_new);
    RUN(no_allocation_in_a_step);
    RUN(memory_and_arguments);
    mel_bank_free(bank);
    return test_end();
}
