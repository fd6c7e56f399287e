/* The audio encoder on whole pieces, with the masks of the reference's padded batch (spec audio-encoder 3.5).
 *
 * The reference pads all pieces of a batch to the longest, F_max mel frames (S = ceil(F_max/2) encoder rows), and lets row i
 * of a piece of F frames see row j if
 *   (a) j < F        sic: an encoder row against a count of mel frames, so rows made of padding stay visible
 *   (b) j < (i / C + 1) C    blocks of C = 50 chunk_length rows
 * Rows [0, ceil(F/2)) are wanted; the last of them sees up to S' = min(S, F, (b) of itself) rows, all of which lie in its
 * own block. So a piece of S' rows computed alone is exact. Of the batch only F_max matters: conv1 makes rows up to F_max,
 * what is beyond counts as zero for conv2.
 */
#include <math.h>
#include <string.h>

#include "models/whisper_parts.h"

/* How far a piece of n_frame mel frames is computed in a batch whose longest has f_max; block 0: full attention. */
typedef struct piece_plan {
    int32_t n_keep;  /* rows wanted, ceil(n_frame / 2) */
    int32_t n_row;   /* rows computed, S' */
    int32_t n_conv1; /* rows of the first convolution they need */
} piece_plan;

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

static piece_plan plan_piece(int32_t n_frame, int32_t f_max, int32_t block)
{
    piece_plan p = { .n_keep = whisper_rows(n_frame) };

    p.n_row = min_i32(whisper_rows(f_max), n_frame);
    if (block > 0) p.n_row = min_i32(p.n_row, (p.n_keep + block - 1) / block * block);
    p.n_conv1 = min_i32(f_max, 2 * p.n_row);
    return p;
}

typedef struct pass {
    const whisper *m;
    const float *mel;       /* of the pass's first piece */
    const int32_t *n_frame; /* [n_piece] */
    int n_piece;
    int32_t f_max, block;
    int32_t *first;         /* [n_piece + 1] host: rows of each piece */
    int32_t *n_keep;        /* [n_piece] host */
    int32_t *mel_at;        /* [n_piece] host: first mel frame */
    int32_t *pos, *visible; /* [n] host */
} pass;

static stem_item pass_stem_item(const void *arg, int i)
{
    const pass *p = arg;
    piece_plan pp = plan_piece(p->n_frame[i], p->f_max, p->block);

    return (stem_item){
        .mel = p->mel + (int64_t)p->mel_at[i] * p->m->c.n_mel, .n_frame = p->n_frame[i], .n_conv1 = pp.n_conv1, .n_row = pp.n_row
    };
}

static void carve_lists(pass *p, scratch *s, int64_t n)
{
    p->first = arena_take(&s->host, (size_t)n + 1, sizeof(int32_t)); /* a piece has at least one row */
    p->n_keep = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    p->mel_at = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    p->pos = arena_take(&s->host, (size_t)n, sizeof(int32_t));
    p->visible = arena_take(&s->host, (size_t)n, sizeof(int32_t));
}

static int64_t pass_rows_max(const audio_config *c, int64_t n_row) { return n_row < c->n_pos ? c->n_pos : n_row; }

void whisper_scratch(scratch *s, const audio_config *c, int32_t n_out, int64_t n_row)
{
    scratch_mark mark = scratch_now(s);
    pass p;

    n_row = pass_rows_max(c, n_row);
    (void)whisper_carve(s, c, n_out, n_row);
    carve_lists(&p, s, n_row);
    scratch_release(s, mark);
}

/* Row ranges, positions and visibility of the pass's pieces. */
static void fill_lists(pass *p)
{
    int32_t n = 0, at = 0;

    p->first[0] = 0;
    for (int i = 0; i < p->n_piece; i++) {
        piece_plan pp = plan_piece(p->n_frame[i], p->f_max, p->block);
        for (int32_t j = 0; j < pp.n_row; j++, n++) {
            p->pos[n] = min_i32(j, p->m->c.n_pos - 1);
            p->visible[n] = p->block > 0 ? min_i32(pp.n_row, (j / p->block + 1) * p->block) : pp.n_row;
        }
        p->first[i + 1] = n;
        p->n_keep[i] = pp.n_keep;
        p->mel_at[i] = at;
        at += p->n_frame[i];
    }
}

/* Runs the pass; returns the encoder rows kept. */
static int64_t pass_forward(pass *p, const whisper_bufs *r, float *hidden, float *embeds)
{
    const whisper *m = p->m;
    const backend_ops *op = m->be->ops;
    int64_t e = m->c.n_embd, n, kept = 0;
    attn_dense_args attn = attn_dense_of(r->a, r->q, r->k, r->v, e, m->c.n_head);

    attn.q_row = attn.k_row = p->first;
    attn.n_visible = p->visible;
    attn.n_item = p->n_piece;
    fill_lists(p);
    n = p->first[p->n_piece];
    whisper_stem(m, r, pass_stem_item, p, p->n_piece, p->pos);
    for (int il = 0; il < m->n_layer; il++) {
        whisper_layer_qkv(m, &m->layer[il], r, n);
        op->attn_dense(m->be, &attn);
        whisper_layer_rest(m, &m->layer[il], r, n);
    }
    for (int i = 0; i < p->n_piece; i++) {
        whisper_final_norm(m, hidden + kept * e, r->x + p->first[i] * e, p->n_keep[i]);
        kept += p->n_keep[i];
    }
    whisper_project(m, r, embeds, hidden, p->n_keep, p->n_piece);
    return kept;
}

mo_status whisper_forward(whisper *m, float *hidden, float *embeds, const float *mel, const int32_t *n_frame, int n_piece,
                          float chunk_length_s, int32_t n_frame_longest, int64_t n_row, scratch *s, mo_error *err)
{
    scratch_mark mark = scratch_now(s);
    whisper_bufs r;
    pass p = { .m = m, .mel = mel, .f_max = n_frame_longest };

    if (n_frame_longest > 2 * m->c.n_pos)
        return mo_fail(err, MO_E_LIMIT, "an audio piece of %d mel frames, the encoder takes 1 to %d", n_frame_longest, 2 * m->c.n_pos);
    if (chunk_length_s > 0) p.block = (int32_t)(chunk_length_s * 50.0f);
    for (int i = 0; i < n_piece; i++) {
        if (n_frame[i] < 1 || n_frame[i] > 2 * m->c.n_pos)
            return mo_fail(err, MO_E_LIMIT, "audio piece %d has %d mel frames, the encoder takes 1 to %d", i, n_frame[i], 2 * m->c.n_pos);
        if (n_frame[i] > p.f_max) p.f_max = n_frame[i];
    }
    n_row = pass_rows_max(&m->c, n_row);
    r = whisper_carve(s, &m->c, m->n_out, n_row);
    carve_lists(&p, s, n_row);
    if (scratch_overflow(s)) {
        scratch_reset(s, mark);
        return mo_fail(err, MO_E_STATE, "audio encoder: scratch was planned for fewer than %lld rows", (long long)n_row);
    }
    for (int i = 0; i < n_piece; i += p.n_piece) {
        int64_t n = 0, n_token = 0, n_mel = 0, kept;

        p.n_frame = n_frame + i;
        for (p.n_piece = 0; i + p.n_piece < n_piece; p.n_piece++) {
            int32_t f = p.n_frame[p.n_piece];
            int32_t rows = plan_piece(f, p.f_max, p.block).n_row;
            if (p.n_piece && n + rows > n_row) break;
            n += rows;
            n_mel += f;
            n_token += whisper_tokens(&m->c, f);
        }
        kept = pass_forward(&p, &r, hidden, embeds);
        p.mel += n_mel * m->c.n_mel;
        hidden += kept * m->c.n_embd;
        embeds += n_token * m->n_out;
    }
    scratch_release(s, mark);
    return m->be->ops->sync(m->be, err);
}
