/* Golden stages of sound in: a clip is put together from its parts, loaded or turned into mel frames, and written out
 * (../shared/golden/hear/README.md).
 *
 * The parts of clips come from a handful of files, some clips name dozens of parts: every part opens its file anew, which is
 * slow enough to notice and simple enough to keep.
 */
#include "cli/trace_audio.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "media/audio.h"
#include "media/mel_stream.h"

/* --- clips --- */

/* More than four hours would be a typing error in a case, not a clip. */
enum { CLIP_MAX = 1 << 28 };

typedef struct clip {
    float *x;
    int64_t n;
} clip;

static mo_status clip_extend(clip *c, int64_t more, float **at, mo_error *err)
{
    float *x;

    if (more < 0 || more > CLIP_MAX - c->n) return mo_fail(err, MO_E_FORMAT, "a clip part of %lld samples", (long long)more);
    if (!(x = mo_realloc(c->x, (size_t)(c->n + more) * sizeof *x))) return mo_fail(err, MO_E_NOMEM, "no memory for a clip");
    c->x = x;
    *at = x + c->n;
    c->n += more;
    return MO_OK;
}

/* [FILE, first, n(, gain)] */
static mo_status put_file_part(clip *c, const trace_ctx *ctx, const json_t *part, mo_error *err)
{
    const char *name = json_string_value(json_array_get(part, 0));
    int64_t first = json_integer_value(json_array_get(part, 1)), n = json_integer_value(json_array_get(part, 2));
    const json_t *gain = json_array_get(part, 3);
    char *path;
    float *dst = NULL, g = (float)json_number_value(gain);
    pcm p = { 0 };
    mo_status st;

    if (!name) return mo_fail(err, MO_E_FORMAT, "a clip part is [FILE, first, n(, gain)]");
    if (!(path = path_join(ctx->media_dir, name))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    st = audio_open(&p, path, 0, err);
    if (st == MO_OK && (first < 0 || n < 0 || n > p.n || first > p.n - n))
        st = mo_fail(err, MO_E_FORMAT, "%s has %lld samples, not %lld from %lld", name, (long long)p.n, (long long)n, (long long)first);
    if (st == MO_OK && p.rate_hz != AUDIO_RATE_HZ) st = mo_fail(err, MO_E_FORMAT, "%s: clip parts are of 16 kHz files", name);
    if (st == MO_OK) st = clip_extend(c, n, &dst, err);
    if (st == MO_OK && gain)
        for (int64_t i = 0; i < n; i++) dst[i] = fminf(fmaxf(p.x[first + i] * g, -1), 1);
    else if (st == MO_OK && n) memcpy(dst, p.x + first, (size_t)n * sizeof *dst);
    mo_free(path);
    pcm_free(&p);
    return st;
}

/* A sine sweeping from f0 to f1 Hz, as 16-bit values. */
static mo_status put_sine(clip *c, const json_t *part, int64_t n, mo_error *err)
{
    const json_t *f = json_object_get(part, "sine");
    double f0 = json_number_value(json_array_get(f, 0)), f1 = json_number_value(json_array_get(f, 1));
    double amp = json_number_value(json_object_get(part, "amp"));
    float *dst = NULL;
    mo_status st = clip_extend(c, n, &dst, err);

    for (int64_t i = 0; st == MO_OK && i < n; i++) {
        double t = (double)i / AUDIO_RATE_HZ, phase = f0 * t + (f1 - f0) * t * t * AUDIO_RATE_HZ / (2.0 * (double)n);
        dst[i] = (float)(floor(32768 * amp * sin(2 * M_PI * phase) + 0.5) / 32768);
    }
    return st;
}

static mo_status put_synth(clip *c, const json_t *part, mo_error *err)
{
    float *x, *dst = NULL;
    size_t n;
    mo_status st = trace_synth_array(&x, &n, part, err);

    if (st != MO_OK) return st;
    st = clip_extend(c, (int64_t)n, &dst, err);
    if (st == MO_OK && n) memcpy(dst, x, n * sizeof *x);
    mo_free(x);
    return st;
}

static mo_status put_part(clip *c, const trace_ctx *ctx, const json_t *part, mo_error *err)
{
    int64_t n = json_integer_value(json_object_get(part, "n"));
    const json_t *value = json_object_get(part, "const");
    float *dst = NULL;
    mo_status st;

    if (json_is_array(part)) return put_file_part(c, ctx, part, err);
    if (json_object_get(part, "synth")) return put_synth(c, part, err);
    if (json_object_get(part, "sine")) return put_sine(c, part, n, err);
    if (!value) return mo_fail(err, MO_E_FORMAT, "a clip part this program does not know");
    if ((st = clip_extend(c, n, &dst, err)) != MO_OK) return st;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)json_number_value(value);
    return MO_OK;
}

static mo_status load_file(pcm *p, const trace_ctx *ctx, const char *name, mo_error *err)
{
    char *path = trace_path(ctx, name);
    mo_status st;

    memset(p, 0, sizeof *p);
    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    st = audio_open(p, path, AUDIO_RATE_HZ, err);
    mo_free(path);
    return st;
}

mo_status trace_clip_load(float **x, int64_t *n, const trace_ctx *ctx, const json_t *spec, mo_error *err)
{
    mo_status st = MO_OK;
    clip c = { 0 };
    size_t i;
    json_t *part;

    *x = NULL;
    *n = 0;
    if (json_is_string(spec)) {
        pcm p;
        if ((st = load_file(&p, ctx, json_string_value(spec), err)) != MO_OK) return st;
        c = (clip){ p.x, p.n };
    } else if (json_is_array(spec)) {
        json_array_foreach(spec, i, part)
            if ((st = put_part(&c, ctx, part, err)) != MO_OK) break;
    } else {
        st = mo_fail(err, MO_E_FORMAT, "a clip is a file's name or a list of parts");
    }
    if (st == MO_OK && !c.n) st = mo_fail(err, MO_E_FORMAT, "a clip without samples");
    if (st != MO_OK) {
        mo_free(c.x);
        return st;
    }
    *x = c.x;
    *n = c.n;
    return MO_OK;
}

/* --- stages --- */

static mo_status run_load(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const char *name = json_string_value(json_object_get(input, "file"));
    const json_t *range = json_object_get(input, "range");
    int64_t first = 0, n;
    pcm p;
    mo_status st;

    if (!name) return mo_fail(err, MO_E_FORMAT, "stage load wants a file");
    if ((st = load_file(&p, ctx, name, err)) != MO_OK) return st;
    n = p.n;
    if (range) {
        first = json_integer_value(json_array_get(range, 0));
        n = json_integer_value(json_array_get(range, 1));
    }
    if (first < 0 || n < 0 || n > p.n || first > p.n - n)
        st = mo_fail(err, MO_E_FORMAT, "%s has %lld samples, not %lld from %lld", name, (long long)p.n, (long long)n, (long long)first);
    if (st == MO_OK) st = trace_put_json(out, "samples", json_integer(p.n), err);
    if (st == MO_OK) st = trace_put_array(out, "audio", "f4", 1, &n, p.x + first, err);
    pcm_free(&p);
    return st;
}

/* The mel frames of all clips, one under the other. */
typedef struct mel_rows {
    float *y;
    int64_t n_row;
} mel_rows;

static mo_status rows_extend(mel_rows *r, int64_t more, float **at, mo_error *err)
{
    float *y = mo_realloc(r->y, (size_t)(r->n_row + more) * MEL_BANDS * sizeof *y);

    if (!y) return mo_fail(err, MO_E_NOMEM, "no memory for mel frames");
    r->y = y;
    *at = y + r->n_row * MEL_BANDS;
    r->n_row += more;
    return MO_OK;
}

static mo_status put_clip_mel(mel_rows *rows, json_t *frames, const mel_bank *bank, const float *x, int64_t n, mo_error *err)
{
    for (int64_t i = 0; i < audio_pieces(n); i++) {
        int64_t len = audio_piece_len(n, i);
        float *y = NULL;
        mo_status st = rows_extend(rows, mel_frames(len), &y, err);

        if (st == MO_OK) st = mel_offline(bank, y, x + i * MEL_MAX_SAMPLES, len, err);
        if (st != MO_OK) return st;
        if (json_array_append_new(frames, json_integer(mel_frames(len)))) return mo_fail(err, MO_E_NOMEM, "no memory for the output");
    }
    return MO_OK;
}

static mo_status run_mel(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    mel_rows rows = { 0 };
    mel_bank *bank;
    json_t *frames = json_array();
    const json_t *spec, *clips = json_object_get(input, "clips");
    size_t i;
    mo_status st = mel_bank_new(&bank, err);

    json_array_foreach(clips, i, spec) {
        float *x;
        int64_t n;

        if (st != MO_OK || (st = trace_clip_load(&x, &n, ctx, spec, err)) != MO_OK) break;
        st = put_clip_mel(&rows, frames, bank, x, n, err);
        mo_free(x);
    }
    if (st == MO_OK) st = trace_put_json(out, "frames", json_incref(frames), err);
    if (st == MO_OK) st = trace_put_array(out, "mel", "f4", 2, (int64_t[]){ rows.n_row, MEL_BANDS }, rows.y, err);
    json_decref(frames);
    mo_free(rows.y);
    mel_bank_free(bank);
    return st;
}

/* --- mel-stream --- */

/* One run: the track, the stream, what "snapshot" kept, and what came out so far. */
typedef struct stream_run {
    mel_stream *stream, *kept;
    const float *track;
    int64_t n_track;
    mel_rows rows;
    json_t *calls;
} stream_run;

static mo_status note_call(stream_run *r, int64_t n_frame, mo_error *err)
{
    mel_stream_state s;

    mel_stream_get_state(&s, r->stream);
    if (json_array_append_new(r->calls, json_pack("[I,I,I,I,i]", (json_int_t)n_frame, (json_int_t)s.frame0, (json_int_t)s.n_emitted,
                                                  (json_int_t)s.n_sample, (int)s.is_dynamic)))
        return mo_fail(err, MO_E_NOMEM, "no memory for the output");
    return MO_OK;
}

static mo_status call_push(stream_run *r, const json_t *call, mo_error *err)
{
    int64_t first = json_integer_value(json_array_get(call, 0)), n = json_integer_value(json_array_get(call, 1)), n_frame;
    bool is_last = json_integer_value(json_array_get(call, 2)) != 0;
    float *y = NULL;
    mo_status st;

    if (first < 0 || n < 0 || n > r->n_track || first > r->n_track - n)
        return mo_fail(err, MO_E_FORMAT, "the track has %lld samples, not %lld from %lld", (long long)r->n_track, (long long)n,
                       (long long)first);
    if ((st = rows_extend(&r->rows, MEL_STREAM_PUSH_FRAMES, &y, err)) != MO_OK) return st;
    st = mel_stream_push(r->stream, r->track + first, n, is_last, y, &n_frame, err);
    r->rows.n_row += n_frame - MEL_STREAM_PUSH_FRAMES;
    return st == MO_OK ? note_call(r, n_frame, err) : st;
}

static mo_status call_flush(stream_run *r, mo_error *err)
{
    int64_t n_frame;
    float *y = NULL;
    mo_status st = rows_extend(&r->rows, mel_stream_flush_frames(r->stream), &y, err);

    if (st == MO_OK) st = mel_stream_flush(r->stream, y, &n_frame, err);
    return st == MO_OK ? note_call(r, n_frame, err) : st;
}

static mo_status run_call(stream_run *r, const json_t *call, mo_error *err)
{
    const char *name = json_string_value(call);

    if (json_is_array(call)) return call_push(r, call, err);
    if (name && !strcmp(name, "flush")) return call_flush(r, err);
    if (name && !strcmp(name, "snapshot")) {
        mel_stream_free(r->kept);
        return mel_stream_snapshot(&r->kept, r->stream, err);
    }
    if (name && !strcmp(name, "restore") && r->kept) return mel_stream_restore(r->stream, r->kept, err);
    return mo_fail(err, MO_E_FORMAT, "a mel-stream call this program does not know");
}

static mo_status run_mel_stream(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    stream_run r = { .calls = json_array() };
    int32_t redundancy_ms = (int32_t)json_integer_value(json_object_get(input, "redundancy_ms"));
    const json_t *call, *calls = json_object_get(input, "calls");
    mel_bank *bank;
    float *track = NULL;
    size_t i;
    mo_status st = mel_bank_new(&bank, err);

    if (st == MO_OK) st = trace_clip_load(&track, &r.n_track, ctx, json_object_get(input, "track"), err);
    r.track = track;
    if (st == MO_OK) st = mel_stream_new(&r.stream, bank, redundancy_ms, err);
    json_array_foreach(calls, i, call)
        if (st == MO_OK) st = run_call(&r, call, err);
    if (st == MO_OK) st = trace_put_json(out, "calls", json_incref(r.calls), err);
    if (st == MO_OK) st = trace_put_array(out, "mel", "f4", 2, (int64_t[]){ r.rows.n_row, MEL_BANDS }, r.rows.y, err);
    mel_stream_free(r.stream);
    mel_stream_free(r.kept);
    mel_bank_free(bank);
    json_decref(r.calls);
    mo_free(r.rows.y);
    mo_free(track);
    return st;
}

mo_status trace_audio_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    *known = true;
    if (!strcmp(stage, "load")) return run_load(ctx, input, out, err);
    if (!strcmp(stage, "mel-stream")) return run_mel_stream(ctx, input, out, err);
    if (!strcmp(stage, "mel")) return run_mel(ctx, input, out, err);
    *known = false;
    return MO_OK;
}
