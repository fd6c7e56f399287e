/* Streaming log-mel frames (mel_stream.h, audio spec 2.5), computed once each.
 *
 * The reference recomputes all frames of its window at every call. Frames whose 400 samples lie inside the window never
 * change, so their raw values are kept; a call computes the 100 new ones and the few that depend on where the window ends:
 *
 *     window    |x x x x x x x x x ... x x x x|        n_sample samples, the first is sample 160 * frame0 of the stream
 *     frames     e e k k k k k k k ... k k k e          k kept: raw[2 .. n_kept), e: reflected at an edge, anew at every call
 *
 * The e frames matter because they count for the window's maximum, which sets the floor of the frames that leave.
 * A window over 30 s (a push of more than 10 s can make one) counts as its first 30 s.
 */
#include "media/mel_stream.h"

#include <string.h>

#include "core/alloc.h"

enum {
    N_FRAME_MAX = MEL_MAX_SAMPLES / MEL_HOP, /* 3000 */
    N_EDGE = 2,                              /* frames 0 and 1 reach over the left end */
    HALF = MEL_N_FFT / 2,
    CHUNK_FRAMES = MEL_STREAM_CHUNK / MEL_HOP,
    SLIDE_SAMPLES = 160000,  /* 10 s */
    DYNAMIC_SAMPLES = 80000, /* 5 s: shorter windows have a fixed floor */
    CAP_USUAL = MEL_MAX_SAMPLES + 2 * MEL_STREAM_CHUNK
};

static const int64_t max_samples = INT64_C(1) << 30;

/* Everything but the memory, so that it is copied by assignment. */
typedef struct stream_pos {
    int64_t frame0, n_emitted, n_sample, n_push;
    int64_t n_kept; /* raw[2 .. n_kept) are right for the present window; >= 2 */
    bool is_first, is_dynamic;
} stream_pos;

struct mel_stream {
    const mel_bank *bank;
    int64_t n_redundant; /* frames a side */
    stream_pos at;
    float *x; /* [cap], n_sample of them used */
    int64_t cap;
    float *raw;  /* [N_FRAME_MAX, 80] log10 power, window frame by window frame */
    float *peak; /* [N_FRAME_MAX] largest value of each */
};

static const stream_pos start = { .n_kept = N_EDGE, .is_first = true, .is_dynamic = true };

mo_status mel_stream_new(mel_stream **out, const mel_bank *bank, int32_t redundancy_ms, mo_error *err)
{
    mel_stream *s;

    *out = NULL;
    if (redundancy_ms < 0 || redundancy_ms > MEL_STREAM_MAX_REDUNDANCY_MS)
        return mo_fail(err, MO_E_ARG, "mel redundancy of %d ms: 0 to %d are possible", redundancy_ms, MEL_STREAM_MAX_REDUNDANCY_MS);
    if (!(s = mo_zalloc(sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for a mel stream");
    s->bank = bank;
    s->n_redundant = redundancy_ms * 16 / MEL_HOP;
    s->at = start;
    s->cap = CAP_USUAL;
    s->x = mo_malloc((size_t)s->cap * sizeof *s->x);
    s->raw = mo_malloc(sizeof(float) * N_FRAME_MAX * MEL_BANDS);
    s->peak = mo_malloc(sizeof(float) * N_FRAME_MAX);
    if (!s->x || !s->raw || !s->peak) {
        mel_stream_free(s);
        return mo_fail(err, MO_E_NOMEM, "no memory for a mel stream");
    }
    *out = s;
    return MO_OK;
}

void mel_stream_free(mel_stream *s)
{
    if (!s) return;
    mo_free(s->x);
    mo_free(s->raw);
    mo_free(s->peak);
    mo_free(s);
}

void mel_stream_reset(mel_stream *s) { s->at = start; }

static mo_status reserve(mel_stream *s, int64_t n, mo_error *err)
{
    float *x;

    if (n <= s->cap) return MO_OK;
    if (n > max_samples) return mo_fail(err, MO_E_LIMIT, "a mel stream holds at most %lld samples", (long long)max_samples);
    if (!(x = mo_realloc(s->x, (size_t)n * sizeof *x))) return mo_fail(err, MO_E_NOMEM, "no memory for %lld sound samples", (long long)n);
    s->x = x;
    s->cap = n;
    return MO_OK;
}

/* A window of 30 s lets go of its first 10 s; 1 s stays in any case. */
static void slide(mel_stream *s)
{
    stream_pos *at = &s->at;
    int64_t n = at->n_sample, rest = n - SLIDE_SAMPLES, keep = rest < MEL_STREAM_CHUNK ? rest : MEL_STREAM_CHUNK;
    int64_t drop = n - keep < SLIDE_SAMPLES ? n - keep : SLIDE_SAMPLES, n_frame = drop / MEL_HOP;
    int64_t left;

    if (n < MEL_MAX_SAMPLES || n_frame < 1) return;
    drop = n_frame * MEL_HOP;
    at->n_sample -= drop;
    at->frame0 += n_frame;
    memmove(s->x, s->x + drop, (size_t)at->n_sample * sizeof *s->x);
    left = at->n_kept - n_frame;
    at->n_kept = left > N_EDGE ? left : N_EDGE;
    if (left > N_EDGE) {
        memmove(s->raw, s->raw + n_frame * MEL_BANDS, (size_t)left * MEL_BANDS * sizeof *s->raw);
        memmove(s->peak, s->peak + n_frame, (size_t)left * sizeof *s->peak);
    }
}

/* Frame t of a window of n samples, reflected at both ends. */
static void compute_frame(mel_stream *s, int64_t t, int64_t n)
{
    const int64_t first = t * MEL_HOP - HALF;
    float *y = s->raw + t * MEL_BANDS, window[MEL_N_FFT], peak;

    if (first >= 0 && first + MEL_N_FFT <= n) {
        mel_frame_log10(s->bank, s->x + first, y);
    } else {
        for (int64_t i = 0; i < MEL_N_FFT; i++) {
            int64_t at = first + i;

            if (at < 0) at = -at;
            if (at >= n) at = 2 * (n - 1) - at;
            window[i] = s->x[at];
        }
        mel_frame_log10(s->bank, window, y);
    }
    peak = y[0];
    for (int i = 1; i < MEL_BANDS; i++) peak = y[i] > peak ? y[i] : peak;
    s->peak[t] = peak;
}

static int64_t window_samples(const mel_stream *s) { return s->at.n_sample < MEL_MAX_SAMPLES ? s->at.n_sample : MEL_MAX_SAMPLES; }

/* All frames of the present window into raw and peak, their number into *n_full, the floor that goes with them into *low. */
static mo_status refresh(mel_stream *s, int64_t *n_full, float *low, mo_error *err)
{
    stream_pos *at = &s->at;
    const int64_t n = window_samples(s), n_frame = n / MEL_HOP;
    float max = -10;

    if (at->n_sample < MEL_N_FFT)
        return mo_fail(err, MO_E_STATE, "%lld samples of sound so far: the first frame needs %d", (long long)at->n_sample, MEL_N_FFT);
    for (int64_t t = 0; t < N_EDGE; t++) compute_frame(s, t, n);
    for (int64_t t = at->n_kept; t < n_frame; t++) {
        compute_frame(s, t, n);
        if (t * MEL_HOP + HALF <= n) at->n_kept = t + 1;
    }
    for (int64_t t = 0; t < n_frame; t++) max = s->peak[t] > max ? s->peak[t] : max;
    at->is_dynamic = at->n_sample >= DYNAMIC_SAMPLES;
    *low = at->is_dynamic ? max - 8.0f : -10.0f;
    *n_full = n_frame;
    return MO_OK;
}

/* Window frames [t0, t1) as the encoder wants them. */
static void emit(float *mel, const mel_stream *s, int64_t t0, int64_t t1, float low)
{
    const float *raw = s->raw + t0 * MEL_BANDS;

    for (int64_t i = 0; i < (t1 - t0) * MEL_BANDS; i++) mel[i] = ((raw[i] > low ? raw[i] : low) + 4.0f) / 4.0f;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

mo_status mel_stream_push(mel_stream *s, const float *x, int64_t n, bool is_last, float *mel, int64_t *n_frame, mo_error *err)
{
    stream_pos *at = &s->at;
    const int64_t r = s->n_redundant;
    int64_t n_full, n_stable, core_end = at->n_emitted + CHUNK_FRAMES, t0, t1;
    float low;
    mo_status st;

    *n_frame = 0;
    if (n < 0 || (n && !x)) return mo_fail(err, MO_E_ARG, "no samples to push");
    if (n > max_samples) return mo_fail(err, MO_E_LIMIT, "a mel stream holds at most %lld samples", (long long)max_samples);
    if ((st = reserve(s, at->n_sample + n, err)) != MO_OK) return st;
    if (n) memcpy(s->x + at->n_sample, x, (size_t)n * sizeof *x);
    at->n_sample += n;
    at->n_push++;
    slide(s);
    if ((st = refresh(s, &n_full, &low, err)) != MO_OK) return st;
    at->is_first = false;
    /* stable: the whole window of the frame is there */
    n_stable = (at->n_sample - HALF) / MEL_HOP + 1;
    if (n_stable > n_full) n_stable = n_full;
    if (at->frame0 + n_stable < core_end + r && !is_last) return MO_OK;
    /* Frames that the window dropped before their turn are gone: the pointer advances over them all the same. */
    t0 = clamp(clamp(at->n_emitted - r, 0, INT64_MAX) - at->frame0, 0, n_full);
    t1 = clamp(core_end + r - at->frame0, t0, n_full);
    emit(mel, s, t0, t1, low);
    *n_frame = t1 - t0;
    at->n_emitted = core_end;
    return MO_OK;
}

int64_t mel_stream_flush_frames(const mel_stream *s)
{
    int64_t n_full = window_samples(s) / MEL_HOP;
    return n_full - clamp(s->at.n_emitted - s->at.frame0, 0, n_full);
}

mo_status mel_stream_flush(mel_stream *s, float *mel, int64_t *n_frame, mo_error *err)
{
    int64_t n_full, n = mel_stream_flush_frames(s);
    float low;
    mo_status st;

    *n_frame = 0;
    if (!s->at.n_sample) return MO_OK;
    if ((st = refresh(s, &n_full, &low, err)) != MO_OK) return st;
    if (!n) return MO_OK;
    emit(mel, s, n_full - n, n_full, low);
    *n_frame = n;
    s->at.n_emitted = s->at.frame0 + n_full;
    return MO_OK;
}

mo_status mel_stream_restore(mel_stream *s, const mel_stream *snapshot, mo_error *err)
{
    const stream_pos *from = &snapshot->at;
    mo_status st = reserve(s, from->n_sample, err);

    if (st != MO_OK) return st;
    s->bank = snapshot->bank;
    s->n_redundant = snapshot->n_redundant;
    memcpy(s->x, snapshot->x, (size_t)from->n_sample * sizeof *s->x);
    if (from->n_kept > N_EDGE) {
        memcpy(s->raw, snapshot->raw, (size_t)from->n_kept * MEL_BANDS * sizeof *s->raw);
        memcpy(s->peak, snapshot->peak, (size_t)from->n_kept * sizeof *s->peak);
    }
    s->at = *from;
    return MO_OK;
}

mo_status mel_stream_snapshot(mel_stream **out, const mel_stream *s, mo_error *err)
{
    mo_status st = mel_stream_new(out, s->bank, (int32_t)(s->n_redundant * 10), err);

    if (st == MO_OK && (st = mel_stream_restore(*out, s, err)) != MO_OK) {
        mel_stream_free(*out);
        *out = NULL;
    }
    return st;
}

void mel_stream_get_state(mel_stream_state *out, const mel_stream *s)
{
    *out = (mel_stream_state){
        .frame0 = s->at.frame0,
        .n_emitted = s->at.n_emitted,
        .n_sample = s->at.n_sample,
        .n_push = s->at.n_push,
        .n_sample_wanted = s->at.is_first ? MEL_STREAM_FIRST_CHUNK : MEL_STREAM_CHUNK,
        .is_dynamic = s->at.is_dynamic,
    };
}
