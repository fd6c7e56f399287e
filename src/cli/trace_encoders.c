/* Golden stages of the encoders. Each opens the case's checkpoint, of any kind, on the CPU in float32, gathers the rows of its
 * input (patches of tiles, hidden rows, mel frames), runs one forward pass and writes the rows out.
 */
#include "cli/trace_encoders.h"

#include <string.h>

#include "cli/trace_audio.h"
#include "core/alloc.h"
#include "core/cpu.h"
#include "media/audio.h"
#include "models/checkpoint.h"
#include "models/resampler.h"
#include "models/siglip.h"
#include "models/whisper.h"

/* Rows of a pass: small, so that cases of several tiles take several passes. The largest tile raises it. */
enum { PASS_ROWS = 1500 };

/* ---- what every stage holds ---- */

typedef struct rig {
    checkpoint ck;
    model_config c; /* the checkpoint's */
    tensors *ts;    /* the checkpoint's */
    backend *be;
    scratch s;
} rig;

static mo_status rig_open(rig *r, const trace_ctx *ctx, mo_error *err)
{
    const cpu_backend_opts opts = trace_backend_opts(ctx);
    mo_status st;

    memset(r, 0, sizeof *r);
    r->s = scratch_plan();
    if ((st = checkpoint_open(&r->ck, ctx->model_dir, NULL, err)) != MO_OK) return st;
    r->c = r->ck.cfg;
    r->ts = r->ck.ts;
    return cpu_backend_new(&r->be, &opts, err);
}

static void rig_close(rig *r)
{
    if (r->be) {
        scratch_free(&r->s, r->be);
        r->be->ops->destroy(r->be);
    }
    checkpoint_close(&r->ck);
}

/* Rows of floats that grow on the host. */
typedef struct rows {
    float *x;
    size_t n; /* floats */
} rows;

static float *rows_extend(rows *r, size_t more)
{
    float *x = mo_realloc(r->x, (r->n + more) * sizeof *x);

    if (!x) return NULL;
    r->x = x;
    r->n += more;
    return x + r->n - more;
}

static mo_status to_device(float **out, backend *be, const rows *r, mo_error *err)
{
    void *p = NULL;
    mo_status st = be->ops->alloc(be, &p, r->n * sizeof(float) + MO_ALIGN, err);

    if (st == MO_OK) be->ops->upload(be, p, r->x, r->n * sizeof(float));
    *out = p;
    return st;
}

static mo_status device_rows(float **out, backend *be, int64_t n, mo_error *err)
{
    void *p = NULL;
    mo_status st = be->ops->alloc(be, &p, (size_t)n * sizeof(float) + MO_ALIGN, err);

    *out = p;
    return st;
}

/* Device rows to an output array. */
static mo_status put_rows(trace_out *out, const char *name, backend *be, const float *dev, int n_dim, const int64_t *dim, mo_error *err)
{
    size_t n = sizeof(float);
    float *x;
    mo_status st;

    for (int i = 0; i < n_dim; i++) n *= (size_t)dim[i];
    if (!(x = mo_malloc(n))) return mo_fail(err, MO_E_NOMEM, "no memory for output '%s'", name);
    be->ops->download(be, x, dev, n);
    st = trace_put_array(out, name, "f4", n_dim, dim, x, err);
    mo_free(x);
    return st;
}

/* ---- tiles ---- */

typedef struct tile_set {
    tile_size *size;
    int n;
    rows rows;       /* patches, or hidden rows */
    int64_t n_patch; /* all tiles together */
    int64_t n_pass;  /* rows of a pass that takes the largest */
} tile_set;

static void tiles_free(tile_set *t)
{
    mo_free(t->size);
    mo_free(t->rows.x);
}

static mo_status tiles_add(tile_set *t, int32_t n_row, int32_t n_col, mo_error *err)
{
    tile_size *size;

    if (n_row < 1 || n_col < 1 || (int64_t)n_row * n_col > 1 << 24)
        return mo_fail(err, MO_E_FORMAT, "a tile of %d x %d patches", n_row, n_col);
    if (!(size = mo_realloc(t->size, (size_t)(t->n + 1) * sizeof *size))) return mo_fail(err, MO_E_NOMEM, "no memory for tiles");
    t->size = size;
    t->size[t->n++] = (tile_size){ n_row, n_col };
    t->n_patch += (int64_t)n_row * n_col;
    if (t->n_pass < PASS_ROWS) t->n_pass = PASS_ROWS;
    if (t->n_pass < (int64_t)n_row * n_col) t->n_pass = (int64_t)n_row * n_col;
    return MO_OK;
}

/* [3, rows*p, cols*p] to patches [rows*cols, 3, p, p] */
static void cut_patches(float *dst, const float *chw, tile_size t, int32_t p)
{
    int64_t w = (int64_t)t.cols * p, plane = (int64_t)t.rows * p * w;

    for (int32_t r = 0; r < t.rows; r++)
        for (int32_t c = 0; c < t.cols; c++)
            for (int ch = 0; ch < 3; ch++)
                for (int32_t y = 0; y < p; y++, dst += p)
                    memcpy(dst, chw + ch * plane + ((int64_t)r * p + y) * w + (int64_t)c * p, (size_t)p * sizeof *dst);
}

/* "tiles": [{"tgt_size": [r, c], KEY: rule-made array}]; p: patch side if the array is pixels, 0 if it is rows as they are. */
static mo_status tiles_given(tile_set *t, const json_t *list, const char *key, int32_t p, int64_t n_col, mo_error *err)
{
    const json_t *tile;
    size_t i;

    json_array_foreach(list, i, tile) {
        const json_t *size = json_object_get(tile, "tgt_size");
        float *x = NULL, *dst;
        size_t n, want;
        mo_status st =
            tiles_add(t, (int32_t)json_integer_value(json_array_get(size, 0)), (int32_t)json_integer_value(json_array_get(size, 1)), err);

        if (st != MO_OK || (st = trace_synth_array(&x, &n, json_object_get(tile, key), err)) != MO_OK) return st;
        want = (size_t)tile_patches(t->size[t->n - 1]) * (size_t)n_col;
        if (n != want) st = mo_fail(err, MO_E_FORMAT, "tile %zu: '%s' has %zu values, its size needs %zu", i, key, n, want);
        else if (!(dst = rows_extend(&t->rows, n))) st = mo_fail(err, MO_E_NOMEM, "no memory for tiles");
        else if (p) cut_patches(dst, x, t->size[t->n - 1], p);
        else memcpy(dst, x, n * sizeof *x);
        mo_free(x);
        if (st != MO_OK) return st;
    }
    return MO_OK;
}

static mo_status tiles_of_image(tile_set *t, const rig *r, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const slice_config *sc = &r->c.slice;
    int32_t p = r->c.vision.patch_size, max = (int32_t)json_integer_value(json_object_get(input, "max_slice_nums"));
    image im = { 0 };
    image_slices sl = { 0 };
    json_t *sizes = json_array();
    mo_status st = trace_image_load(&im, ctx, json_object_get(input, "image"), err);

    if (st == MO_OK) st = image_slice(&sl, &im, max > 0 ? max : sc->max_slice_nums, sc->scale_resolution, p, err);
    for (int i = 0; st == MO_OK && i < sl.n_tile; i++) {
        float *dst;
        if ((st = tiles_add(t, sl.tile[i].h / p, sl.tile[i].w / p, err)) != MO_OK) break;
        dst = rows_extend(&t->rows, (size_t)tile_patches(t->size[t->n - 1]) * 3 * (size_t)(p * p));
        if (dst) image_patches(dst, &sl.tile[i], p);
        else st = mo_fail(err, MO_E_NOMEM, "no memory for tiles");
        json_array_append_new(sizes, json_pack("[i, i]", (int)t->size[t->n - 1].rows, (int)t->size[t->n - 1].cols));
    }
    if (st == MO_OK) st = trace_put_json(out, "tgt_sizes", sizes, err);
    else json_decref(sizes);
    image_slices_free(&sl);
    image_free(&im);
    return st;
}

static mo_status resample(rig *r, const tile_set *t, const float *hidden, trace_out *out, mo_error *err)
{
    const resampler_config *c = &r->c.resampler;
    resampler *m = NULL;
    float *embeds = NULL;
    mo_status st = resampler_load(&m, r->be, r->ts, c, err);

    if (st == MO_OK) st = device_rows(&embeds, r->be, (int64_t)t->n * c->n_query * c->n_embd, err);
    if (st == MO_OK) st = resampler_forward(m, embeds, hidden, t->size, t->n, t->n_pass, &r->s, err);
    if (st == MO_OK) st = put_rows(out, "embeds", r->be, embeds, 3, (int64_t[]){ t->n, c->n_query, c->n_embd }, err);
    if (embeds) r->be->ops->dealloc(r->be, embeds);
    resampler_free(m);
    return st;
}

static mo_status run_vision(rig *r, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const vision_config *c = &r->c.vision;
    tile_set t = { 0 };
    siglip *m = NULL;
    float *patch = NULL, *hidden = NULL;
    mo_status st;

    if (!r->c.has_vision) return mo_fail(err, MO_E_UNSUPPORTED, "this checkpoint has no vision tower");
    st = json_object_get(input, "image")
             ? tiles_of_image(&t, r, ctx, input, out, err)
             : tiles_given(&t, json_object_get(input, "tiles"), "pixels", c->patch_size, 3 * (int64_t)c->patch_size * c->patch_size, err);
    siglip_scratch(&r->s, c, t.n_pass);
    resampler_scratch(&r->s, &r->c.resampler, t.n_pass);
    if (st == MO_OK) st = scratch_alloc(&r->s, r->be, err);
    if (st == MO_OK) st = siglip_load(&m, r->be, r->ts, c, SIGLIP_POS_REFERENCE, err);
    if (st == MO_OK) st = to_device(&patch, r->be, &t.rows, err);
    if (st == MO_OK) st = device_rows(&hidden, r->be, t.n_patch * c->n_embd, err);
    if (st == MO_OK) st = siglip_forward(m, hidden, patch, t.size, t.n, t.n_pass, &r->s, err);
    if (st == MO_OK) st = put_rows(out, "hidden", r->be, hidden, 2, (int64_t[]){ t.n_patch, c->n_embd }, err);
    if (st == MO_OK) st = resample(r, &t, hidden, out, err);
    if (hidden) r->be->ops->dealloc(r->be, hidden);
    if (patch) r->be->ops->dealloc(r->be, patch);
    siglip_free(m);
    tiles_free(&t);
    return st;
}

static mo_status run_resampler(rig *r, const json_t *input, trace_out *out, mo_error *err)
{
    tile_set t = { 0 };
    float *hidden = NULL;
    mo_status st;

    if (!r->c.has_vision) return mo_fail(err, MO_E_UNSUPPORTED, "this checkpoint has no resampler");
    st = tiles_given(&t, json_object_get(input, "tiles"), "hidden", 0, r->c.resampler.kv_dim, err);
    resampler_scratch(&r->s, &r->c.resampler, t.n_pass);
    if (st == MO_OK) st = scratch_alloc(&r->s, r->be, err);
    if (st == MO_OK) st = to_device(&hidden, r->be, &t.rows, err);
    if (st == MO_OK) st = resample(r, &t, hidden, out, err);
    if (hidden) r->be->ops->dealloc(r->be, hidden);
    tiles_free(&t);
    return st;
}

static mo_status run_buckets(const json_t *input, int32_t side, trace_out *out, mo_error *err)
{
    json_t *all = json_array();
    const json_t *n;
    size_t i;

    json_array_foreach(json_object_get(input, "n"), i, n) {
        int32_t count = (int32_t)json_integer_value(n), *b;
        json_t *list = json_array();

        if (count < 1 || count > 1 << 20 || !(b = mo_malloc((size_t)count * sizeof *b))) {
            json_decref(list);
            json_decref(all);
            return mo_fail(err, MO_E_FORMAT, "a side of %d patches", count);
        }
        siglip_buckets(b, count, side);
        for (int32_t k = 0; k < count; k++) json_array_append_new(list, json_integer(b[k]));
        json_array_append_new(all, list);
        mo_free(b);
    }
    return trace_put_json(out, "buckets", all, err);
}

/* ---- audio ---- */

typedef struct mel_set {
    rows mel;
    int32_t *n_frame;
    int n_piece;
    int64_t n_row, n_token; /* all pieces together */
} mel_set;

static mo_status mels_add(mel_set *s, const audio_config *c, int32_t n_frame, float **at, mo_error *err)
{
    int32_t *list = mo_realloc(s->n_frame, (size_t)(s->n_piece + 1) * sizeof *list);

    if (!list) return mo_fail(err, MO_E_NOMEM, "no memory for mel frames");
    s->n_frame = list;
    if (!(*at = rows_extend(&s->mel, (size_t)n_frame * (size_t)c->n_mel))) return mo_fail(err, MO_E_NOMEM, "no memory for mel frames");
    s->n_frame[s->n_piece++] = n_frame;
    s->n_row += whisper_rows(n_frame);
    s->n_token += whisper_tokens(c, n_frame);
    return MO_OK;
}

static mo_status mels_of_clips(mel_set *s, const audio_config *c, const trace_ctx *ctx, const json_t *clips, mo_error *err)
{
    const json_t *clip;
    mel_bank *bank = NULL;
    size_t i;
    mo_status st = mel_bank_new(&bank, err);

    json_array_foreach(clips, i, clip) {
        float *x = NULL;
        int64_t n;

        if (st != MO_OK || (st = trace_clip_load(&x, &n, ctx, clip, err)) != MO_OK) break;
        for (int64_t k = 0; k < audio_pieces(n) && st == MO_OK; k++) {
            int64_t len = audio_piece_len(n, k);
            float *dst;

            if ((st = mels_add(s, c, (int32_t)mel_frames(len), &dst, err)) == MO_OK)
                st = mel_offline(bank, dst, x + k * MEL_MAX_SAMPLES, len, err);
        }
        mo_free(x);
    }
    mel_bank_free(bank);
    return st;
}

static mo_status mels_given(mel_set *s, const audio_config *c, const json_t *mels, mo_error *err)
{
    const json_t *spec;
    size_t i;

    json_array_foreach(mels, i, spec) {
        float *x = NULL, *dst;
        size_t n;
        mo_status st = trace_synth_array(&x, &n, spec, err);

        if (st == MO_OK && (!n || n % (size_t)c->n_mel || n > 1 << 24))
            st = mo_fail(err, MO_E_FORMAT, "mel %zu: %zu values are not frames of %d bands", i, n, c->n_mel);
        if (st == MO_OK && (st = mels_add(s, c, (int32_t)(n / (size_t)c->n_mel), &dst, err)) == MO_OK) memcpy(dst, x, n * sizeof *x);
        mo_free(x);
        if (st != MO_OK) return st;
    }
    return MO_OK;
}

static mo_status put_tokens(const mel_set *s, const audio_config *c, trace_out *out, mo_error *err)
{
    json_t *tokens = json_array();

    for (int i = 0; i < s->n_piece; i++) json_array_append_new(tokens, json_integer(whisper_tokens(c, s->n_frame[i])));
    return trace_put_json(out, "tokens", tokens, err);
}

static mo_status run_audio(rig *r, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const audio_config *c = &r->c.audio;
    int32_t d = r->c.llm.n_embd;
    float chunk_s = (float)json_number_value(json_object_get(input, "chunk_length"));
    const json_t *clips = json_object_get(input, "clips");
    mel_set s = { 0 };
    whisper *m = NULL;
    float *mel = NULL, *hidden = NULL, *embeds = NULL;
    mo_status st;

    if (!r->c.has_audio) return mo_fail(err, MO_E_UNSUPPORTED, "this checkpoint has no audio encoder");
    st = clips ? mels_of_clips(&s, c, ctx, clips, err) : mels_given(&s, c, json_object_get(input, "mels"), err);
    whisper_scratch(&r->s, c, d, PASS_ROWS);
    if (st == MO_OK) st = scratch_alloc(&r->s, r->be, err);
    if (st == MO_OK) st = whisper_load(&m, r->be, r->ts, c, d, err);
    if (st == MO_OK) st = to_device(&mel, r->be, &s.mel, err);
    if (st == MO_OK) st = device_rows(&hidden, r->be, s.n_row * c->n_embd, err);
    if (st == MO_OK) st = device_rows(&embeds, r->be, s.n_token * d, err);
    if (st == MO_OK) st = whisper_forward(m, hidden, embeds, mel, s.n_frame, s.n_piece, chunk_s, 0, PASS_ROWS, &r->s, err);
    if (st == MO_OK) st = put_tokens(&s, c, out, err);
    if (st == MO_OK) st = put_rows(out, "hidden", r->be, hidden, 2, (int64_t[]){ s.n_row, c->n_embd }, err);
    if (st == MO_OK) st = put_rows(out, "embeds", r->be, embeds, 2, (int64_t[]){ s.n_token, d }, err);
    if (embeds) r->be->ops->dealloc(r->be, embeds);
    if (hidden) r->be->ops->dealloc(r->be, hidden);
    if (mel) r->be->ops->dealloc(r->be, mel);
    whisper_free(m);
    mo_free(s.mel.x);
    mo_free(s.n_frame);
    return st;
}

mo_status trace_encoder_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    bool buckets = !strcmp(stage, "buckets"), vision = !strcmp(stage, "vision"), resampling = !strcmp(stage, "resampler");
    rig r;
    mo_status st;

    *known = buckets || vision || resampling || !strcmp(stage, "audio");
    if (!*known) return MO_OK;
    if ((st = rig_open(&r, ctx, err)) == MO_OK) {
        if (buckets && r.c.vision.patch_size < 1) st = mo_fail(err, MO_E_UNSUPPORTED, "this checkpoint has no vision tower");
        else if (buckets) st = run_buckets(input, r.c.vision.image_size / r.c.vision.patch_size, out, err);
        else if (vision) st = run_vision(&r, ctx, input, out, err);
        else if (resampling) st = run_resampler(&r, input, out, err);
        else st = run_audio(&r, ctx, input, out, err);
    }
    rig_close(&r);
    return st;
}
