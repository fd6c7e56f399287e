/* Audio encoder on a small made checkpoint: token counts, independence of a piece from batch, passes and threads, what it
 * sees past its end, bad checkpoints and short memory. Agreement with the official code: ../shared/golden/hear. */
#include "made_models.h"
#include "models/whisper.h"
#include "test.h"

static const int32_t frames[] = { 97, 3, 260, 1, 121, 10, 200 };
enum { N_PIECE = sizeof frames / sizeof *frames };

typedef struct result {
    float *hidden, *embeds; /* on the device */
    int64_t n_row, n_token;
} result;

/* Pieces [first, first + n) of the list. */
static mo_status run(result *out, backend *be, const made *m, int first, int n, float chunk_s, int32_t longest, int64_t n_row,
                     mo_error *err)
{
    int64_t before = 0, all = 0;
    float *mel;
    whisper *w = NULL;
    scratch s = scratch_plan();
    int64_t n_alloc;
    mo_status st;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < N_PIECE; i++) {
        if (i < first) before += frames[i];
        all += frames[i];
        if (i < first || i >= first + n) continue;
        out->n_row += whisper_rows(frames[i]);
        out->n_token += whisper_tokens(&made_audio, frames[i]);
    }
    mel = made_input(be, "mel", all * made_audio.n_mel);
    out->hidden = made_rows(be, out->n_row * made_audio.n_embd);
    out->embeds = made_rows(be, out->n_token * MADE_OUT);
    whisper_scratch(&s, &made_audio, MADE_OUT, n_row);
    if ((st = scratch_alloc(&s, be, err)) == MO_OK) st = whisper_load(&w, be, m->ts, &made_audio, MADE_OUT, err);
    n_alloc = mo_alloc_count();
    if (st == MO_OK)
        st = whisper_forward(w, out->hidden, out->embeds, mel + before * made_audio.n_mel, frames + first, n, chunk_s, longest, n_row, &s,
                             err);
    if (st == MO_OK && mo_alloc_count() != n_alloc) st = mo_fail(err, MO_E_STATE, "a forward pass allocated");
    whisper_free(w);
    scratch_free(&s, be);
    be->ops->dealloc(be, mel);
    return st;
}

static void result_free(result *r, backend *be)
{
    be->ops->dealloc(be, r->hidden);
    be->ops->dealloc(be, r->embeds);
}

static bool same(const result *a, const result *b, int64_t row, int64_t token)
{
    size_t e = (size_t)made_audio.n_embd, d = MADE_OUT;

    return !memcmp(a->hidden, b->hidden + (size_t)row * e, (size_t)a->n_row * e * 4) &&
           !memcmp(a->embeds, b->embeds + (size_t)token * d, (size_t)a->n_token * d * 4);
}

static void make(made *m, int32_t type)
{
    made_begin(m, type);
    made_add_audio(m, &made_audio, MADE_OUT);
    made_end(m);
}

static void check_batch(int32_t type, float chunk_s)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    result all, one;
    int64_t row = 0, token = 0;
    made m;

    make(&m, type);
    CHECK_OK(run(&all, be, &m, 0, N_PIECE, chunk_s, 0, 1000, &err));
    for (int64_t i = 0; i < all.n_row * made_audio.n_embd; i++) CHECK(isfinite(all.hidden[i]));
    for (int i = 0; i < N_PIECE; i++) {
        CHECK_OK(run(&one, be, &m, i, 1, chunk_s, 260, 0, &err));
        CHECK(same(&one, &all, row, token));
        row += one.n_row;
        token += one.n_token;
        result_free(&one, be);
    }
    for (int n_thread = 2; n_thread <= 3; n_thread++) {
        backend *other = made_backend(n_thread);
        CHECK_OK(run(&one, other, &m, 0, N_PIECE, chunk_s, 0, 140, &err)); /* passes of a few pieces */
        CHECK(same(&one, &all, 0, 0));
        result_free(&one, other);
        other->ops->destroy(other);
    }
    result_free(&all, be);
    be->ops->destroy(be);
    made_free(&m);
}

TEST(batch_is_alone_blocks) { check_batch(MO_F32, 1.0f); }
TEST(batch_is_alone_full) { check_batch(MO_BF16, -1.0f); }
TEST(batch_is_alone_short_blocks) { check_batch(MO_F16, 0.3f); }

/* With blocks, whole blocks before the last do not depend on what follows; a longer batch changes a short piece's end. */
TEST(what_a_piece_sees)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    result alone, padded;
    size_t row = (size_t)made_audio.n_embd * 4;
    made m;

    make(&m, MO_F32);
    CHECK_OK(run(&alone, be, &m, 4, 1, 1.0f, 0, 0, &err)); /* 121 frames: 61 rows, blocks of 50 */
    CHECK_OK(run(&padded, be, &m, 4, 1, 1.0f, 260, 0, &err));
    CHECK(!memcmp(alone.hidden, padded.hidden, 50 * row));
    CHECK(memcmp(alone.hidden + 50 * made_audio.n_embd, padded.hidden + 50 * made_audio.n_embd, 11 * row));
    result_free(&padded, be);
    CHECK_OK(run(&padded, be, &m, 4, 1, 0.0f, 260, 0, &err)); /* full attention: the first row already differs */
    CHECK(memcmp(alone.hidden, padded.hidden, row));
    result_free(&padded, be);
    result_free(&alone, be);

    /* 97 frames: the second convolution's last row reaches past the first's end, which is zero alone and a row made of
     * padding in a batch of 98 frames, although both have 49 rows */
    CHECK_OK(run(&alone, be, &m, 0, 1, 1.0f, 0, 0, &err));
    CHECK_OK(run(&padded, be, &m, 0, 1, 1.0f, 98, 0, &err));
    CHECK(memcmp(alone.hidden + 48 * made_audio.n_embd, padded.hidden + 48 * made_audio.n_embd, row));
    result_free(&padded, be);
    result_free(&alone, be);
    be->ops->destroy(be);
    made_free(&m);
}

TEST(token_counts)
{
    static const struct {
        int64_t n_sample;
        int o45, o26;
    } t[] = { { 160, 0, 0 },     { 1280, 0, 2 },    { 1281, 1, 2 },    { 1600, 1, 2 },     { 8000, 5, 12 },
              { 16000, 10, 25 }, { 16480, 10, 26 }, { 16560, 10, 26 }, { 80000, 50, 125 }, { 480000, 300, 750 } };
    audio_config five = { .pool_step = 5 }, two = { .pool_step = 2 };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int32_t n_frame = (int32_t)((t[i].n_sample + 159) / 160);
        CHECK_INT(whisper_tokens(&five, n_frame), t[i].o45);
        CHECK_INT(whisper_tokens(&two, n_frame), t[i].o26);
    }
}

TEST(limits)
{
    static const int32_t bad[] = { 0, 261 }, ok[] = { 20 };
    backend *be = made_backend(1);
    mo_error err = { 0 };
    scratch s = scratch_plan();
    whisper *w;
    made m;

    make(&m, MO_BF16);
    CHECK_OK(whisper_load(&w, be, m.ts, &made_audio, MADE_OUT, &err));
    whisper_scratch(&s, &made_audio, MADE_OUT, 0);
    CHECK_OK(scratch_alloc(&s, be, &err));
    CHECK_INT(whisper_forward(w, NULL, NULL, NULL, bad, 1, 1, 0, 0, &s, &err), MO_E_LIMIT);
    CHECK_INT(whisper_forward(w, NULL, NULL, NULL, bad + 1, 1, 1, 0, 0, &s, &err), MO_E_LIMIT);
    CHECK_STR(err.message, "audio piece 0 has 261 mel frames, the encoder takes 1 to 260");
    CHECK_INT(whisper_forward(w, NULL, NULL, NULL, ok, 1, 1, 1000, 0, &s, &err), MO_E_LIMIT);
    CHECK_INT(whisper_forward(w, NULL, NULL, NULL, ok, 1, 1, 0, 131, &s, &err), MO_E_STATE);
    CHECK_OK(whisper_forward(w, NULL, NULL, NULL, ok, 0, 1, 0, 0, &s, &err));
    scratch_free(&s, be);
    whisper_free(w);
    be->ops->destroy(be);
    made_free(&m);
}

static mo_status load_without(const char *skip, const char *bend, mo_error *err)
{
    backend *be = made_backend(1);
    whisper *w = NULL;
    made m;
    mo_status st;

    made_begin(&m, MO_BF16);
    m.skip = skip;
    m.bend = bend;
    made_add_audio(&m, &made_audio, MADE_OUT);
    made_end(&m);
    st = whisper_load(&w, be, m.ts, &made_audio, MADE_OUT, err);
    whisper_free(w);
    made_free(&m);
    be->ops->destroy(be);
    return st;
}

TEST(bad_checkpoints)
{
    mo_error err = { 0 };

    CHECK_OK(load_without(NULL, NULL, &err));
    CHECK_INT(load_without("apm.layers.0.fc2.bias", NULL, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "'apm.layers.0.fc2.bias' is missing"));
    CHECK_INT(load_without("audio_projection_layer.linear2.weight", NULL, &err), MO_E_FORMAT);
    CHECK_INT(load_without(NULL, "apm.conv1.weight", &err), MO_E_FORMAT);
    CHECK_STR(err.message, "tensor 'apm.conv1.weight': shape 32x8x4, expected 32x24 (file made, offset 0x0)");
}

TEST(plan_and_allocation_failures)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    mo_status st = MO_E_NOMEM;
    bind_bytes bytes;
    whisper *w;
    made m;
    int n_failed = 0;

    make(&m, MO_BF16);
    CHECK_OK(whisper_plan(&bytes, be, m.ts, &made_audio, MADE_OUT, &err));
    CHECK_INT(bytes.mapped + bytes.lookup, m.matrix_bytes); /* the positions are looked up */
    CHECK_INT(bytes.copied, 4 * m.n_vector);
    for (int k = 0; st != MO_OK && k < 1000; k++) {
        mo_alloc_fail_after(k);
        st = whisper_load(&w, be, m.ts, &made_audio, MADE_OUT, &err);
        mo_alloc_fail_after(-1);
        if (st != MO_OK) {
            CHECK_INT(st, MO_E_NOMEM);
            CHECK(!w);
            n_failed++;
        }
    }
    CHECK_OK(st);
    CHECK(n_failed > 40);
    whisper_free(w);
    made_free(&m);
    be->ops->destroy(be);
}

int main(void)
{
    RUN(batch_is_alone_blocks);
    RUN(batch_is_alone_full);
    RUN(batch_is_alone_short_blocks);
    RUN(what_a_piece_sees);
    RUN(token_counts);
    RUN(limits);
    RUN(bad_checkpoints);
    RUN(plan_and_allocation_failures);
    return test_end();
}
