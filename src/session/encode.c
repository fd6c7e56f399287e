/* Encoding the media of a conversation (encode.h). */
#include "session/encode.h"

#include <string.h>

#include "core/alloc.h"

/* ---- sounds: grouping ------------------------------------------------------------------------------------------- */

static int32_t piece_frames(int64_t n_sample, int64_t i) { return (int32_t)mel_frames(audio_piece_len(n_sample, i)); }

int32_t encode_sound_tokens(const model_config *cfg, int64_t n_sample)
{
    int32_t n = 0;

    for (int64_t i = 0; i < audio_pieces(n_sample); i++) n += whisper_tokens(&cfg->audio, piece_frames(n_sample, i));
    return n;
}

/* The groups a message's sounds form, into `out` (room for n_part); returns their number. */
static int32_t group_sounds(const message *m, bool merge, sound *out)
{
    int32_t n = 0;

    for (int32_t i = 0; i < m->n_part; i++) {
        if (m->part[i].kind != PART_AUDIO) continue;
        if (!merge || n == 0) out[n++] = (sound){ .first_part = i };
        out[n - 1].n_part = i + 1 - out[n - 1].first_part;
        out[n - 1].n_sample += m->part[i].n_sample;
    }
    return n;
}

static mo_status plan_message(message *m, bool merge, mo_error *err)
{
    sound *s;
    int32_t n;

    if (!m->n_part) return MO_OK;
    if (!(s = mo_calloc((size_t)m->n_part, sizeof *s))) return mo_fail(err, MO_E_NOMEM, "no memory for the sounds of a message");
    n = group_sounds(m, merge, s);
    for (int32_t i = 0; i < n && i < m->n_sound; i++) { /* a group that is as it was keeps its rows */
        sound *old = &m->sound[i];
        if (old->first_part != s[i].first_part || old->n_part != s[i].n_part || old->n_sample != s[i].n_sample) continue;
        s[i] = *old;
        old->rows = NULL;
    }
    for (int32_t i = 0; i < m->n_sound; i++) mo_free(m->sound[i].rows);
    mo_free(m->sound);
    m->sound = s;
    m->n_sound = n;
    return MO_OK;
}

mo_status encode_plan_sounds(conversation *c, bool merge, mo_error *err)
{
    int32_t longest = 0;
    mo_status st;

    for (int32_t i = 0; i < c->n_message; i++) {
        message *m = &c->message[i];
        if ((st = plan_message(m, merge, err)) != MO_OK) return st;
        for (int32_t j = 0; j < m->n_sound; j++) {
            int32_t f = piece_frames(m->sound[j].n_sample, 0); /* the first piece is the longest */
            if (f > longest) longest = f;
        }
    }
    for (int32_t i = 0; i < c->n_message; i++)
        for (int32_t j = 0; j < c->message[i].n_sound; j++) {
            sound *s = &c->message[i].sound[j];
            if (s->n_frame_longest == longest) continue;
            mo_free(s->rows);
            s->rows = NULL;
            s->n_piece_done = 0;
            s->n_frame_longest = longest;
        }
    return MO_OK;
}

/* ---- sounds: encoding ------------------------------------------------------------------------------------------- */

/* Samples [first, first + n) of a group's signal. */
static void gather_pcm(const message *m, const sound *s, int64_t first, int64_t n, float *out)
{
    int64_t at = 0; /* of the part's first sample in the signal */

    for (int32_t i = s->first_part; i < s->first_part + s->n_part; i++) {
        const part *p = &m->part[i];
        int64_t from, to;

        if (p->kind != PART_AUDIO) continue;
        from = first > at ? first : at;
        to = first + n < at + p->n_sample ? first + n : at + p->n_sample;
        if (from < to) memcpy(out + (from - first), p->pcm + (from - at), (size_t)(to - from) * sizeof *out);
        at += p->n_sample;
    }
}

static mo_status encode_piece(mo_model *m, const message *msg, sound *s, float chunk_length_s, mo_error *err)
{
    scratch_mark mark = scratch_now(&m->scratch);
    audio_pass p = model_audio_carve(&m->scratch, &m->cfg);
    int64_t i = s->n_piece_done, n = audio_piece_len(s->n_sample, i);
    int32_t n_frame = piece_frames(s->n_sample, i), n_token = whisper_tokens(&m->cfg.audio, n_frame), at = 0;
    size_t width = (size_t)m->cfg.llm.n_embd;
    mo_status st = MO_OK;

    for (int64_t k = 0; k < i; k++) at += whisper_tokens(&m->cfg.audio, piece_frames(s->n_sample, k));
    if (scratch_overflow(&m->scratch)) st = mo_fail(err, MO_E_STATE, "the scratch was planned without the audio encoder");
    if (st == MO_OK && n_token > 0) {
        gather_pcm(msg, s, i * MEL_MAX_SAMPLES, n, p.pcm);
        st = mel_offline(m->mel, p.host, p.pcm, n, err);
    }
    if (st == MO_OK && n_token > 0) {
        m->be->ops->upload(m->be, p.mel, p.host, (size_t)n_frame * (size_t)m->cfg.audio.n_mel * sizeof(float));
        st = whisper_forward(m->audio, p.hidden, p.embeds, p.mel, &n_frame, 1, chunk_length_s, s->n_frame_longest, AUDIO_ROWS, &m->scratch,
                             err);
    }
    if (st == MO_OK && n_token > 0)
        m->be->ops->download(m->be, s->rows + (size_t)at * width, p.embeds, (size_t)n_token * width * sizeof(float));
    if (st == MO_OK) s->n_piece_done++;
    scratch_release(&m->scratch, mark);
    return st;
}

static mo_status encode_sound(mo_model *m, conversation *c, message *msg, sound *s, float chunk_length_s, mo_error *err)
{
    if (!m->audio) return mo_fail(err, MO_E_UNSUPPORTED, "the model was loaded without an audio encoder");
    if (!s->rows) {
        s->n_row = encode_sound_tokens(&m->cfg, s->n_sample);
        s->rows = mo_calloc((size_t)s->n_row * (size_t)m->cfg.llm.n_embd + 1, sizeof(float));
        if (!s->rows) return mo_fail(err, MO_E_NOMEM, "no memory for %d rows of sound", s->n_row);
        s->n_piece_done = 0;
        s->uid = ++c->next_uid;
    }
    return encode_piece(m, msg, s, chunk_length_s, err);
}

/* ---- pictures --------------------------------------------------------------------------------------------------- */

typedef struct tile_ref {
    part *p;
    int32_t i_tile;
} tile_ref;

static tile_size tile_in_patches(const image *im, int32_t patch) { return (tile_size){ im->h / patch, im->w / patch }; }

/* The next tiles that are not encoded, as many as a pass takes. */
static int next_tiles(conversation *c, int32_t patch, tile_ref ref[VISION_TILES], tile_size size[VISION_TILES])
{
    int64_t n_row = 0;
    int n = 0;

    for (int32_t i = 0; i < c->n_message; i++)
        for (int32_t j = 0; j < c->message[i].n_part; j++) {
            part *p = &c->message[i].part[j];
            if (p->kind != PART_IMAGE) continue;
            for (int32_t k = p->n_tile_done; k < p->slices.n_tile; k++) {
                tile_size t = tile_in_patches(&p->slices.tile[k], patch);
                if (n == VISION_TILES || (n && n_row + tile_patches(t) > VISION_ROWS)) return n;
                ref[n] = (tile_ref){ p, k };
                size[n++] = t;
                n_row += tile_patches(t);
            }
        }
    return n;
}

/* A picture whose tiles are all done needs its pixels no more. */
static void tile_done(part *p)
{
    image_free(&p->slices.tile[p->n_tile_done]);
    p->n_tile_done++;
}

static mo_status vision_forward(mo_model *m, const vision_pass *p, const tile_ref *ref, const tile_size *size, int n, mo_error *err)
{
    int32_t patch = m->cfg.vision.patch_size;
    int64_t n_in = 3 * (int64_t)patch * patch, n_row = 0;
    mo_status st;

    for (int i = 0; i < n; i++) {
        image_patches(p->host + n_row * n_in, &ref[i].p->slices.tile[ref[i].i_tile], patch);
        n_row += tile_patches(size[i]);
    }
    m->be->ops->upload(m->be, p->patch, p->host, (size_t)(n_row * n_in) * sizeof(float));
    if ((st = siglip_forward(m->vision, p->hidden, p->patch, size, n, VISION_ROWS, &m->scratch, err)) != MO_OK) return st;
    return resampler_forward(m->resampler, p->embeds, p->hidden, size, n, VISION_ROWS, &m->scratch, err);
}

static mo_status encode_tiles(mo_model *m, const tile_ref *ref, const tile_size *size, int n, mo_error *err)
{
    scratch_mark mark = scratch_now(&m->scratch);
    size_t tile_floats = (size_t)m->cfg.resampler.n_query * (size_t)m->cfg.llm.n_embd;
    mo_status st = MO_OK;
    vision_pass p;

    if (!m->vision) return mo_fail(err, MO_E_UNSUPPORTED, "the model was loaded without a vision encoder");
    for (int i = 0; i < n; i++) {
        part *im = ref[i].p;
        if (im->rows) continue;
        im->n_row = im->slices.n_tile * m->cfg.resampler.n_query;
        if (!(im->rows = mo_calloc((size_t)im->slices.n_tile * tile_floats, sizeof(float))))
            return mo_fail(err, MO_E_NOMEM, "no memory for the rows of a picture");
    }
    p = model_vision_carve(&m->scratch, &m->cfg);
    if (scratch_overflow(&m->scratch)) st = mo_fail(err, MO_E_STATE, "the scratch was planned without the vision encoder");
    if (st == MO_OK) st = vision_forward(m, &p, ref, size, n, err);
    for (int i = 0; st == MO_OK && i < n; i++) {
        m->be->ops->download(m->be, ref[i].p->rows + (size_t)ref[i].i_tile * tile_floats, p.embeds + (size_t)i * tile_floats,
                             tile_floats * sizeof(float));
        tile_done(ref[i].p);
    }
    scratch_release(&m->scratch, mark);
    return st;
}

/* ---- one step --------------------------------------------------------------------------------------------------- */

static void count(const conversation *c, encode_state *s)
{
    s->done = s->total = 0;
    for (int32_t i = 0; i < c->n_message; i++) {
        const message *m = &c->message[i];
        for (int32_t j = 0; j < m->n_part; j++) {
            if (m->part[j].kind != PART_IMAGE) continue;
            s->done += m->part[j].n_tile_done;
            s->total += m->part[j].slices.n_tile;
        }
        for (int32_t j = 0; j < m->n_sound; j++) {
            s->done += m->sound[j].n_piece_done;
            s->total += audio_pieces(m->sound[j].n_sample);
        }
    }
}

mo_status encode_step(mo_model *m, conversation *c, float chunk_length_s, encode_state *state, bool *more, mo_error *err)
{
    tile_size size[VISION_TILES];
    tile_ref ref[VISION_TILES];
    mo_status st = MO_OK;
    int n = next_tiles(c, m->cfg.vision.patch_size ? m->cfg.vision.patch_size : 14, ref, size);

    *more = true;
    if (n) {
        st = encode_tiles(m, ref, size, n, err);
        count(c, state);
        return st;
    }
    for (int32_t i = 0; i < c->n_message; i++)
        for (int32_t j = 0; j < c->message[i].n_sound; j++) {
            sound *s = &c->message[i].sound[j];
            if (s->rows && s->n_piece_done == audio_pieces(s->n_sample)) continue;
            st = encode_sound(m, c, &c->message[i], s, chunk_length_s, err);
            count(c, state);
            return st;
        }
    count(c, state);
    *more = false;
    return MO_OK;
}
