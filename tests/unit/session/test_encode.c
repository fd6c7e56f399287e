/* What the language model is fed, to the last bit: a picture's rows alone and beside others, a sound's rows alone, beside
 * shorter and beside longer ones, on one thread and several; and the promise of the keys: where two prompts' keys agree
 * their inputs are the same, and a prompt laid out after any history is that of a fresh conversation.
 */
#include "session/encode.h"

#include "session/turn.h"
#include "talk.h"

static char dir[64];
static mo_model *model;

static mo_status add_picture(conversation *c, int w, int h, int seed, mo_error *err)
{
    const slice_config *s = &model->cfg.slice;
    mo_status st;
    image im;

    if ((st = image_new(&im, w, h, err)) != MO_OK) return st;
    for (int i = 0; i < w * h * 3; i++) im.rgb[i] = (uint8_t)(i / 3 % w * 7 * (seed + 1) + i / 3 / w * 5 + i % 3 * 60 * seed);
    st = conversation_add_image(c, &im, s->max_slice_nums, s->scale_resolution, s->patch_size, VISION_ROWS, err);
    image_free(&im);
    return st;
}

static mo_status add_sound(conversation *c, double seconds, int seed, mo_error *err)
{
    int64_t n = (int64_t)(seconds * 16000);
    float *x = make_sound(n, seed);
    mo_status st = conversation_add_audio(c, x, n, err);

    free(x);
    return st;
}

static mo_status encode_all(mo_model *m, conversation *c, mo_error *err)
{
    encode_state state;
    bool more = true;
    mo_status st = encode_plan_sounds(c, true, err);

    while (st == MO_OK && more) st = encode_step(m, c, m->cfg.audio.chunk_length_s, &state, &more, err);
    return st;
}

enum { N_PICTURE = 11 };

static void picture_size(int i, int *w, int *h)
{
    *w = 15 + i * 29 % 190;
    *h = 130 - i * 9;
}

/* Eleven pictures of one to five tiles: three passes, pictures split between them. */
TEST(pictures)
{
    mo_error err = { 0 };
    conversation all = { 0 };
    mo_model_opts three = model_opts(3, 64);
    mo_model *other;
    int n_tile = 0;

    CHECK_OK(mo_model_open(&other, dir, &three, &err));
    CHECK_OK(conversation_begin(&all, "user", &err));
    for (int i = 0; i < N_PICTURE; i++) {
        int w, h;
        picture_size(i, &w, &h);
        CHECK_OK(add_picture(&all, w, h, i, &err));
    }
    CHECK_OK(encode_all(model, &all, &err));
    for (int i = 0; i < N_PICTURE; i++) {
        const part *want = &all.message[0].part[i];
        int w, h;

        picture_size(i, &w, &h);
        n_tile += want->slices.n_tile;
        CHECK_INT(want->n_row, want->slices.n_tile * 5);
        for (int k = 0; k < 2; k++) {
            conversation one = { 0 };
            CHECK_OK(conversation_begin(&one, "user", &err));
            CHECK_OK(add_picture(&one, w, h, i, &err));
            CHECK_OK(encode_all(k ? other : model, &one, &err));
            CHECK_INT(one.message[0].part[0].n_row, want->n_row);
            if (memcmp(one.message[0].part[0].rows, want->rows, (size_t)want->n_row * (size_t)model->cfg.llm.n_embd * sizeof(float)))
                TEST_FAIL("picture %d (%d x %d), alone on %d threads: other rows than beside others", i, w, h, k ? 3 : 1);
            conversation_free(&one);
        }
    }
    CHECK(n_tile > 2 * VISION_TILES);
    conversation_free(&all);
    mo_model_close(other);
}

static const sound *sound_of(const conversation *c, int i) { return &c->message[i].sound[0]; }

static bool same_sound(const sound *a, const sound *b)
{
    return a->n_row == b->n_row && !memcmp(a->rows, b->rows, (size_t)a->n_row * (size_t)model->cfg.llm.n_embd * sizeof(float));
}

TEST(sounds)
{
    mo_error err = { 0 };
    conversation alone = { 0 }, shorter = { 0 }, longer = { 0 }, at_once = { 0 };
    int64_t uid;

    CHECK_OK(conversation_begin(&alone, "user", &err));
    CHECK_OK(add_sound(&alone, 1.37, 1, &err));
    CHECK_OK(encode_all(model, &alone, &err));
    CHECK_INT(sound_of(&alone, 0)->n_row, encode_sound_tokens(&model->cfg, (int64_t)(1.37 * 16000)));

    CHECK_OK(conversation_begin(&shorter, "user", &err));
    CHECK_OK(add_sound(&shorter, 0.9, 2, &err));
    CHECK_OK(conversation_begin(&shorter, "user", &err));
    CHECK_OK(add_sound(&shorter, 1.0, 1, &err)); /* in two items: heard as one */
    {
        float *x = make_sound((int64_t)(1.37 * 16000), 1);
        CHECK_OK(conversation_add_audio(&shorter, x + 16000, (int64_t)(1.37 * 16000) - 16000, &err));
        free(x);
    }
    CHECK_OK(encode_all(model, &shorter, &err));
    CHECK(same_sound(sound_of(&shorter, 1), sound_of(&alone, 0)));

    /* a longer one in a later message: other rows under another name, and the same as heard together at once */
    CHECK_OK(conversation_begin(&longer, "user", &err));
    CHECK_OK(add_sound(&longer, 1.37, 1, &err));
    CHECK_OK(encode_all(model, &longer, &err));
    CHECK(same_sound(sound_of(&longer, 0), sound_of(&alone, 0)));
    uid = sound_of(&longer, 0)->uid;
    CHECK_OK(conversation_begin(&longer, "user", &err));
    CHECK_OK(add_sound(&longer, 2.5, 3, &err));
    CHECK_OK(encode_all(model, &longer, &err));
    CHECK(!same_sound(sound_of(&longer, 0), sound_of(&alone, 0)));
    CHECK(sound_of(&longer, 0)->uid != uid);
    CHECK_OK(conversation_begin(&at_once, "user", &err));
    CHECK_OK(add_sound(&at_once, 1.37, 1, &err));
    CHECK_OK(conversation_begin(&at_once, "user", &err));
    CHECK_OK(add_sound(&at_once, 2.5, 3, &err));
    CHECK_OK(encode_all(model, &at_once, &err));
    CHECK(same_sound(sound_of(&longer, 0), sound_of(&at_once, 0)) && same_sound(sound_of(&longer, 1), sound_of(&at_once, 1)));
    /* and a shorter one after that changes nothing */
    uid = sound_of(&longer, 1)->uid;
    CHECK_OK(conversation_begin(&longer, "user", &err));
    CHECK_OK(add_sound(&longer, 0.2, 4, &err));
    CHECK_OK(encode_all(model, &longer, &err));
    CHECK_INT(sound_of(&longer, 1)->uid, uid);
    /* until it is taken back */
    conversation_truncate(&longer, 1);
    CHECK_OK(encode_all(model, &longer, &err));
    CHECK(same_sound(sound_of(&longer, 0), sound_of(&alone, 0)));
    conversation_free(&alone);
    conversation_free(&shorter);
    conversation_free(&longer);
    conversation_free(&at_once);
}

/* ---- prompts ------------------------------------------------------------------------------------------------------ */

enum { N_STEP = 6 };

static mo_status add_step(conversation *c, int i, mo_error *err)
{
    mo_status st = conversation_begin(c, i % 2 ? "assistant" : "user", err);

    if (st == MO_OK && i == 0) st = add_picture(c, 150, 70, 1, err);
    if (st == MO_OK && i == 0) st = add_sound(c, 0.6, 1, err);
    if (st == MO_OK && i == 2) st = add_sound(c, 0.5, 2, err);
    if (st == MO_OK && i == 2) st = add_picture(c, 30, 30, 2, err);
    if (st == MO_OK && i == 4) st = add_sound(c, 1.9, 3, err);
    return st == MO_OK ? conversation_add_text(c, i % 2 ? "yes" : "is it?", i % 2 ? 3 : 6, err) : st;
}

static mo_status lay_out(turn *t, conversation *c, mo_error *err)
{
    turn_opts o = { .image_ids = MO_AUTO };
    mo_status st = encode_plan_sounds(c, true, err);

    memset(t, 0, sizeof *t);
    if (st == MO_OK) st = turn_layout(t, model, c, &o, err);
    if (st == MO_OK) st = encode_all(model, c, err);
    if (st == MO_OK) st = turn_fill(t, model, c, err);
    return st;
}

/* One position's input, for comparing across conversations. */
static bool same_input(const turn *a, const turn *b, int32_t i)
{
    if (!a->row[i] != !b->row[i]) return false;
    return a->row[i] ? !memcmp(a->row[i], b->row[i], (size_t)model->cfg.llm.n_embd * sizeof(float))
                     : a->prompt.ids.data[i] == b->prompt.ids.data[i];
}

/* A prompt's inputs as they were: rows may be freed by the next turn's longer sound. */
typedef struct kept {
    int64_t *key;
    float *row;
    int32_t n;
} kept;

static kept keep(const turn *t)
{
    size_t width = (size_t)model->cfg.llm.n_embd;
    kept k = { malloc((size_t)t->n * sizeof *k.key), calloc((size_t)t->n * width, sizeof *k.row), t->n };

    if (!k.key || !k.row) abort();
    memcpy(k.key, t->key, (size_t)t->n * sizeof *k.key);
    for (int32_t i = 0; i < t->n; i++) {
        if (t->row[i]) memcpy(k.row + (size_t)i * width, t->row[i], width * sizeof *k.row);
        else k.row[(size_t)i * width] = (float)t->prompt.ids.data[i];
    }
    return k;
}

TEST(keys)
{
    size_t width = (size_t)model->cfg.llm.n_embd;
    mo_error err = { 0 };
    conversation grown = { 0 };
    kept before = { NULL, NULL, 0 };

    for (int i = 0; i < N_STEP; i++) {
        conversation fresh = { 0 };
        int32_t common = 0, n_row = 0;
        turn t, f;
        kept now;

        CHECK_OK(add_step(&grown, i, &err));
        if (i % 2) continue;
        for (int k = 0; k <= i; k++) CHECK_OK(add_step(&fresh, k, &err));
        CHECK_OK(lay_out(&t, &grown, &err));
        CHECK_OK(lay_out(&f, &fresh, &err));
        CHECK_INT(t.n, f.n);
        for (int32_t at = 0; at < t.n; at++) {
            if (!same_input(&t, &f, at)) TEST_FAIL("prompt %d: position %d is not that of a fresh conversation", i, at);
            n_row += t.row[at] != NULL;
        }
        CHECK(n_row > 20);
        now = keep(&t);
        while (common < now.n && common < before.n && now.key[common] == before.key[common]) common++;
        CHECK_INT(turn_common(&t, before.key, before.n), common);
        for (int32_t at = 0; at < common; at++) /* the promise */
            if (memcmp(now.row + (size_t)at * width, before.row + (size_t)at * width, width * sizeof(float)))
                TEST_FAIL("prompt %d: position %d has the same key and another input", i, at);
        if (i == 2) CHECK(common > before.n - 40);                /* all but the mark of the answer */
        if (i == 4) CHECK(common > 20 && common < before.n - 40); /* the picture, up to the first sound, which is heard anew */
        free(before.key);
        free(before.row);
        before = now;
        turn_free(&t);
        turn_free(&f);
        conversation_free(&fresh);
    }
    free(before.key);
    free(before.row);
    conversation_free(&grown);
}

int main(void)
{
    mo_model_opts o = model_opts(1, 64);
    mo_error err = { 0 };

    if (tiny_write(dir, NULL, &err) != MO_OK || mo_model_open(&model, dir, &o, &err) != MO_OK) {
        printf("%s\n", err.message);
        tiny_remove(dir);
        return 1;
    }
    RUN(pictures);
    RUN(sounds);
    RUN(keys);
    mo_model_close(model);
    tiny_remove(dir);
    return test_end();
}
