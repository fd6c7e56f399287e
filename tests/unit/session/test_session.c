/* Conversations through the public header: the order of calls, reuse of what is cached, ends, limits, odd media. Whatever
 * may not matter (passes, threads, what was computed before, who else is answered) is held against a plain run, byte for byte.
 */
#include "session/model.h"
#include "talk.h"

static char dir[64];
static mo_model *model; /* one thread, passes of 512 */

/* ---- order of calls --------------------------------------------------------------------------------------------- */

#define REFUSED(call, status, word)                                                                                                        \
    do {                                                                                                                                   \
        mo_status st_;                                                                                                                     \
        err.message[0] = 0;                                                                                                                \
        st_ = (call);                                                                                                                      \
        if (st_ != (status) || !strstr(err.message, word)) {                                                                               \
            TEST_FAIL("%s: %d \"%s\", want %d \"%s\"", #call, (int)st_, err.message, (int)(status), word);                                 \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)

TEST(order_of_calls)
{
    static const float silence[100];
    static const uint8_t rgb[3];
    mo_error err = { 0 };
    mo_session *s;
    mo_event ev;
    reply r;

    CHECK_OK(mo_session_new(&s, model, NULL, &err));
    CHECK_INT(mo_session_pull(s, &ev), 0);
    REFUSED(mo_session_step(s, &err), MO_E_AGAIN, "nothing to do");
    REFUSED(mo_session_answer(s, &err), MO_E_STATE, "no message");
    REFUSED(mo_session_push_text(s, "x", 1, &err), MO_E_STATE, "no message was begun");
    REFUSED(mo_session_push_audio(s, silence, 100, &err), MO_E_STATE, "no message was begun");
    REFUSED(mo_session_push_image_rgb(s, rgb, 1, 1, &err), MO_E_STATE, "no message was begun");
    REFUSED(mo_session_begin(s, "assistant", &err), MO_E_ARG, "first message");
    REFUSED(mo_session_begin(s, "tool", &err), MO_E_ARG, "tool");
    REFUSED(mo_session_begin(s, NULL, &err), MO_E_ARG, "role");
    CHECK_OK(mo_session_begin(s, "user", &err));
    REFUSED(mo_session_push_text(s, NULL, 1, &err), MO_E_ARG, "NULL");
    REFUSED(mo_session_push_text(s,
                                 "a\xff"
                                 "b",
                                 3, &err),
            MO_E_ARG, "UTF-8");
    REFUSED(mo_session_push_text(s, "\xed\xa0\x80", 3, &err), MO_E_ARG, "UTF-8"); /* half a surrogate pair */
    REFUSED(mo_session_push_text(s, "\xe2\x82", 2, &err), MO_E_ARG, "UTF-8");     /* a cut character */
    REFUSED(mo_session_push_audio(s, NULL, 1, &err), MO_E_ARG, "NULL");
    REFUSED(mo_session_push_audio(s, silence, 0, &err), MO_E_ARG, "without samples");
    REFUSED(mo_session_push_audio(s, silence, -5, &err), MO_E_ARG, "without samples");
    REFUSED(mo_session_push_image_rgb(s, NULL, 1, 1, &err), MO_E_ARG, "NULL");
    CHECK(mo_session_push_image_rgb(s, rgb, 0, 1, &err) < 0);
    CHECK(mo_session_push_image_rgb(s, rgb, -1, 1, &err) < 0);
    CHECK(mo_session_push_image(s, "no picture", 10, &err) < 0);
    CHECK(mo_session_push_image(s, NULL, 0, &err) < 0);
    REFUSED(mo_session_push_image_file(s, NULL, &err), MO_E_ARG, "NULL");
    REFUSED(mo_session_push_audio_file(s, NULL, &err), MO_E_ARG, "NULL");
    CHECK(mo_session_push_image_file(s, "/nowhere/a.png", &err) == MO_E_IO);
    CHECK(mo_session_push_audio_file(s, "/nowhere/a.wav", &err) == MO_E_IO);
    REFUSED(mo_session_add_stop(s, NULL, &err), MO_E_ARG, "stop text");
    REFUSED(mo_session_add_stop(s, "", &err), MO_E_ARG, "stop text");
    for (int i = 0; i < 16; i++) CHECK_OK(mo_session_add_stop(s, "never said, this one", &err));
    REFUSED(mo_session_add_stop(s, "x", &err), MO_E_LIMIT, "16");
    REFUSED(mo_session_set_tools(s, "[{", &err), MO_E_FORMAT, "tools");
    CHECK_OK(mo_session_push_text(s, NULL, 0, &err));
    CHECK_OK(mo_session_push_text(s, "hello", 5, &err));

    CHECK_OK(mo_session_answer(s, &err));
    REFUSED(mo_session_answer(s, &err), MO_E_STATE, "being made");
    REFUSED(mo_session_begin(s, "user", &err), MO_E_STATE, "being made");
    REFUSED(mo_session_push_text(s, "x", 1, &err), MO_E_STATE, "being made");
    REFUSED(mo_session_push_audio(s, silence, 100, &err), MO_E_STATE, "being made");
    REFUSED(mo_session_push_image_rgb(s, rgb, 1, 1, &err), MO_E_STATE, "being made");
    REFUSED(mo_session_set_tools(s, NULL, &err), MO_E_STATE, "being made");
    REFUSED(mo_session_add_stop(s, "x", &err), MO_E_STATE, "being made");
    REFUSED(mo_session_clear(s, &err), MO_E_STATE, "being made");
    mo_session_interrupt(s);
    CHECK_OK(mo_session_step(s, &err));
    REFUSED(mo_session_step(s, &err), MO_E_AGAIN, "nothing to do");
    memset(&r, 0, sizeof r);
    take_events(s, &r);
    CHECK(r.has_end && r.end.reason == MO_END_INTERRUPTED && !r.text.len);
    mo_session_free(s);
    mo_session_free(NULL);
    mo_model_close(NULL);
}

TEST(options)
{
    mo_error err = { 0 };
    mo_session *s;
    mo_session_opts o;
    mo_model_opts mo;
    mo_model *m;
    mo_plan plan;

#define BAD(field, value, word)                                                                                                            \
    do {                                                                                                                                   \
        o = mo_session_opts_default();                                                                                                     \
        o.field = value;                                                                                                                   \
        REFUSED(mo_session_new(&s, model, &o, &err), MO_E_ARG, word);                                                                      \
        CHECK(!s);                                                                                                                         \
    } while (0)
    BAD(n_ctx, -1, "context");
    BAD(n_ctx, 2049, "2048");
    BAD(kv_type, (mo_kv_type)7, "type 7");
    BAD(max_tokens, 0, "max_tokens");
    BAD(min_tokens, -1, "min_tokens");
    BAD(max_slices, 101, "max_slices");
    BAD(temperature, -1, "temperature");
    BAD(temperature, NAN, "temperature");
    BAD(top_k, -1, "top_k");
    BAD(top_p, 1.5f, "top_p");
    BAD(min_p, 2, "min_p");
    BAD(repetition_penalty, 0, "repetition_penalty");
    REFUSED(mo_session_new(&s, NULL, NULL, &err), MO_E_ARG, "model is NULL");
#define BAD_MODEL(field, value, word)                                                                                                      \
    do {                                                                                                                                   \
        mo = mo_model_opts_default();                                                                                                      \
        mo.field = value;                                                                                                                  \
        REFUSED(mo_model_open(&m, dir, &mo, &err), MO_E_ARG, word);                                                                        \
        CHECK(!m);                                                                                                                         \
    } while (0)
    BAD_MODEL(n_thread, -1, "n_thread");
    BAD_MODEL(n_thread, 100000, "n_thread");
    BAD_MODEL(n_ubatch, 0, "n_ubatch");
    BAD_MODEL(n_ubatch, 5000, "n_ubatch");
    BAD_MODEL(isa, "mmx", "mmx");
    BAD_MODEL(fast = mo.exact, 1, "exclude each other");
    BAD_MODEL(int8 = mo.exact, 1, "exclude each other");
    BAD_MODEL(int16 = mo.exact, 1, "int16 and exact exclude each other");
    BAD_MODEL(int16 = mo.int8, 1, "int16 and int8 exclude each other");
    REFUSED(mo_model_open(&m, NULL, NULL, &err), MO_E_ARG, "NULL");
    CHECK_INT(mo_model_open(&m, "/nowhere", NULL, &err), MO_E_IO);
    CHECK(!m);
    CHECK_INT(mo_model_open(&m, "/nowhere", NULL, NULL), MO_E_IO); /* nobody wants the sentence */

    o = mo_session_opts_default();
    CHECK_OK(mo_plan_memory(&plan, dir, NULL, &o, &err));
    CHECK(plan.total ==
          plan.weights_mapped + plan.weights_copied + plan.weights_repacked + plan.scratch + plan.kv_cache + plan.tokenizer + plan.session);
    CHECK(plan.llm && plan.vision && plan.audio);
    CHECK_INT(plan.kv_cache, 2048 * 2 * 2 * 2 * 24 * 2); /* positions, layers, K and V, heads, width, bytes */
    o.n_ctx = -5;
    REFUSED(mo_plan_memory(&plan, dir, NULL, &o, &err), MO_E_ARG, "context");
    CHECK(mo_model_has_vision(model) && mo_model_has_audio(model));
    CHECK_STR(mo_model_name(model), "MiniCPM-o 4.5");
    CHECK(strstr(mo_model_device(model), "CPU"));
    CHECK_STR(mo_status_name(MO_E_AGAIN), "MO_E_AGAIN");
    CHECK(strlen(mo_version()) > 0);
}

/* ---- a conversation of several turns ---------------------------------------------------------------------------- */

/* What happens in turn i of the script: text, pictures, sounds; in turn 3 a sound longer than any before, which changes
 * the rows of those (audio spec 3.5). */
static mo_status user_turn(mo_session *s, int i, mo_error *err)
{
    mo_status st = mo_session_begin(s, "user", err);

    if (st != MO_OK) return st;
    if ((i == 0 || i == 2) && (st = push_picture(s, i ? 30 : 130, 70, i, err)) != MO_OK) return st;
    if (i == 1 && (st = push_sound(s, 0.7, 1, err)) != MO_OK) return st;
    if (i == 1 && (st = mo_session_push_text(s, "and", 3, err)) != MO_OK) return st;
    if (i == 1 && (st = push_sound(s, 0.43, 2, err)) != MO_OK) return st;
    if (i == 3 && (st = push_sound(s, 2.2, 3, err)) != MO_OK) return st;
    return mo_session_push_text(s, "what now?", 9, err);
}
enum { N_TURN = 5 };

/* Play the script; the replies' texts into answer[]. */
static mo_status play(mo_model *m, const mo_session_opts *o, reply answer[N_TURN], mo_error *err)
{
    mo_session *s;
    mo_status st = mo_session_new(&s, m, o, err);

    memset(answer, 0, N_TURN * sizeof *answer);
    if (st == MO_OK) st = say(s, "system", "Be brief.", err);
    for (int i = 0; st == MO_OK && i < N_TURN; i++)
        if ((st = user_turn(s, i, err)) == MO_OK) st = talk(s, &answer[i], err);
    mo_session_free(s);
    return st;
}

static void replies_free(reply answer[N_TURN])
{
    for (int i = 0; i < N_TURN; i++) reply_free(&answer[i]);
}

/* Every answer of the script is what a fresh session says that is given the whole conversation at once. */
static void cached_is_recomputed(mo_model *m, const mo_session_opts *o)
{
    mo_error err = { 0 };
    reply answer[N_TURN], again;
    mo_session *s;

    CHECK_OK(play(m, o, answer, &err));
    for (int n = 0; n < N_TURN; n++) {
        CHECK(answer[n].has_end);
        CHECK(n == 0 || answer[n].end.n_reused > 0);
        CHECK_OK(mo_session_new(&s, m, o, &err));
        CHECK_OK(say(s, "system", "Be brief.", &err));
        for (int i = 0; i < n; i++) {
            CHECK_OK(user_turn(s, i, &err));
            CHECK_OK(say(s, "assistant", reply_text(&answer[i]), &err));
        }
        CHECK_OK(user_turn(s, n, &err));
        CHECK_OK(talk(s, &again, &err));
        CHECK_INT(again.end.n_reused, 0);
        CHECK_INT(again.end.n_prompt, answer[n].end.n_prompt);
        CHECK_STR(reply_text(&again), reply_text(&answer[n]));
        reply_free(&again);
        mo_session_free(s);
    }
    /* the longer sound of turn 3 took the rows of turn 1 along: less is reused than turn 2 had cached */
    CHECK(answer[2].end.n_reused > answer[3].end.n_reused);
    CHECK(answer[4].end.n_reused > answer[3].end.n_prompt - 40); /* all but the mark where the answer begins */
    replies_free(answer);
}

TEST(cached_is_recomputed)
{
    mo_session_opts o = session_opts();

    cached_is_recomputed(model, &o);
    o.kv_type = MO_KV_F32;
    o.omni = 1;
    if (!test_this_failed) cached_is_recomputed(model, &o);
    o.greedy = 0;
    o.thinking = 1;
    if (!test_this_failed) cached_is_recomputed(model, &o);
}

TEST(cached_in_blocks_is_recomputed)
{
    char config[sizeof tiny_omni], blocks_dir[64];
    const mo_model_opts mo = model_opts(2, 64);
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    mo_model *m;
    tiny_opts to = { .config = config, .type = MO_BF16 };

    o.kv_type = MO_KV_Q8_0;
    REFUSED(mo_session_new(&s, model, &o, &err), MO_E_UNSUPPORTED, "blocks of 32");
    tiny_omni_heads_32(config);
    CHECK_OK(tiny_write(blocks_dir, &to, &err));
    CHECK_OK(mo_model_open(&m, blocks_dir, &mo, &err));
    cached_is_recomputed(m, &o);
    mo_model_close(m);
    tiny_remove(blocks_dir);
}

static bool preload_said;
static void preload_log(void *user, const char *message)
{
    (void)user;
    preload_said |= strstr(message, "in huge pages") != NULL;
}

static void keep_progress(void *user, const char *what, double fraction)
{
    double *last = user;

    CHECK(*what && fraction >= *last && fraction <= 1);
    *last = fraction;
}

/* What int8 makes of the weights is what the plan said, in the place of the file's bytes, and opening shows it growing. */
TEST(int8_plan)
{
    mo_model_opts mo = model_opts(2, 64);
    mo_error err = { 0 };
    double fraction = 0;
    mo_plan plan;
    mo_model *m;

    mo.int8 = 1;
    mo.progress = keep_progress;
    mo.user = &fraction;
    CHECK_OK(mo_plan_memory(&plan, dir, &mo, NULL, &err));
    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    CHECK(fraction == 1 && plan.weights_repacked > 0);
    CHECK_INT(m->n_packed, plan.weights_repacked);
    CHECK_INT(plan.weights_mapped, 0); /* the file has dense weights only */
    mo_model_close(m);
    mo.preload = 1; /* nothing is left to read ahead; progress still only grows */
    mo.log = preload_log;
    fraction = 0;
    preload_said = false;
    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    CHECK(fraction == 1 && !preload_said);
    mo_model_close(m);
}

/* Threads and the size of a pass do not change a byte; nor does what else the model answered. */
TEST(passes_and_threads)
{
    static const int n_thread[] = { 1, 1, 2, 3 }, n_ubatch[] = { 1, 7, 512, 64 };
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    reply want[N_TURN], got[N_TURN];

    o.greedy = 0; /* sampled: a different bit anywhere would show sooner or later */
    o.temperature = 1;
    o.seed = 5;
    CHECK_OK(play(model, &o, want, &err));
    for (size_t k = 0; k < sizeof n_thread / sizeof *n_thread; k++) {
        mo_model_opts mo = model_opts(n_thread[k], n_ubatch[k]);
        mo_model *m;

        CHECK_OK(mo_model_open(&m, dir, &mo, &err));
        CHECK_OK(play(m, &o, got, &err));
        for (int i = 0; i < N_TURN; i++) {
            CHECK_STR(reply_text(&got[i]), reply_text(&want[i]));
            CHECK_INT(got[i].end.n_reused, want[i].end.n_reused);
        }
        replies_free(got);
        mo_model_close(m);
    }
    replies_free(want);
    /* generic, vectors and reduced precision differ in bits; each is the same with any threads and passes */
    for (int n = 0; n < 6; n++) {
        mo_model_opts mo = model_opts(1 + n % 2, n % 2 ? 5 : 512);
        mo_model *m;

        if (n < 2) mo.isa = "generic";
        else if (n < 4) mo.fast = 1;
        else mo.int8 = 1;
        CHECK_OK(mo_model_open(&m, dir, &mo, &err));
        CHECK_OK(play(m, &o, n % 2 ? got : want, &err));
        mo_model_close(m);
        if (n % 2 == 0) continue;
        for (int i = 0; i < N_TURN; i++) CHECK_STR(reply_text(&got[i]), reply_text(&want[i]));
        replies_free(got);
        replies_free(want);
    }
}

/* Weights that were read before starting, perhaps anew, are the same weights; nothing of the plan changes. */

TEST(preloaded)
{
    mo_session_opts o = session_opts();
    mo_model_opts mo = model_opts(2, 512);
    mo_error err = { 0 };
    reply want[N_TURN], got[N_TURN];
    double fraction = 0;
    mo_plan plain, plan;
    mo_model *m;

    preload_said = false;
    CHECK_OK(mo_plan_memory(&plain, dir, &mo, &o, &err));
    mo.preload = 1;
    mo.progress = keep_progress;
    mo.user = &fraction;
    mo.log = preload_log;
    CHECK_OK(mo_plan_memory(&plan, dir, &mo, &o, &err));
    CHECK(plan.total == plain.total);
    CHECK_OK(play(model, &o, want, &err));
    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    CHECK(preload_said && fraction == 1);
    CHECK_OK(play(m, &o, got, &err));
    for (int i = 0; i < N_TURN; i++) CHECK_STR(reply_text(&got[i]), reply_text(&want[i]));
    replies_free(got);
    replies_free(want);
    mo_model_close(m);
}

/* Two sessions of a model stepped in turns. */
TEST(two_in_turns)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    reply want[2], got[2] = { { .n_progress = 0 } };
    mo_session *s[2];
    bool busy = true;

    o.max_tokens = 40;
    for (int round = 0; round < 2; round++) { /* alone, then together */
        for (int k = 0; k < 2; k++) {
            CHECK_OK(mo_session_new(&s[k], model, &o, &err));
            CHECK_OK(user_turn(s[k], k, &err));
            if (!round) CHECK_OK(talk(s[k], &want[k], &err));
            else CHECK_OK(mo_session_answer(s[k], &err));
            if (!round) mo_session_free(s[k]);
        }
    }
    while (busy) {
        busy = false;
        for (int k = 0; k < 2; k++) busy |= mo_session_step(s[k], &err) == MO_OK;
    }
    for (int k = 0; k < 2; k++) {
        take_events(s[k], &got[k]);
        CHECK_STR(reply_text(&got[k]), reply_text(&want[k]));
        CHECK(got[k].has_end);
        reply_free(&got[k]);
        reply_free(&want[k]);
        mo_session_free(s[k]);
    }
}

/* Pictures alone in their messages or many in one: the same rows, so the same answers. Three passes of tiles. */
TEST(pictures_batched)
{
    enum { N = 9 };
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    reply one_by_one, together;
    mo_session *s;

    o.n_ctx = 2048;
    o.max_tokens = 1;
    o.min_tokens = 0;
    /* one by one: each picture is encoded by an answer of its own, then all are in the last prompt */
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    for (int i = 0; i < N; i++) {
        CHECK_OK(mo_session_begin(s, "user", &err));
        CHECK_OK(push_picture(s, 40 + 37 * i, 60 + 11 * i, i, &err));
        CHECK_OK(talk(s, &one_by_one, &err));
        if (i + 1 < N) reply_free(&one_by_one);
    }
    char *json = mo_session_to_json(s);
    CHECK(json);
    mo_session_free(s);

    CHECK_OK(mo_session_new(&s, model, &o, &err));
    json_t *all = json_loads(json, 0, NULL);
    CHECK(all && json_array_size(all) == 2 * N);
    for (int i = 0; i < N; i++) {
        json_t *said = json_object_get(json_array_get(json_object_get(json_array_get(all, (size_t)(2 * i + 1)), "content"), 0), "text");
        CHECK_OK(mo_session_begin(s, "user", &err));
        CHECK_OK(push_picture(s, 40 + 37 * i, 60 + 11 * i, i, &err));
        if (i + 1 < N) CHECK_OK(say(s, "assistant", said ? json_string_value(said) : "", &err));
    }
    CHECK_OK(talk(s, &together, &err));
    CHECK_STR(reply_text(&together), reply_text(&one_by_one));
    CHECK_INT(together.end.n_prompt, one_by_one.end.n_prompt);
    CHECK(one_by_one.end.n_reused > together.end.n_prompt / 2);
    json_decref(all);
    mo_string_free(json);
    reply_free(&together);
    reply_free(&one_by_one);
    mo_session_free(s);
}

/* ---- ends ------------------------------------------------------------------------------------------------------- */

static mo_status ask(mo_session **s, const mo_session_opts *o, reply *r, mo_error *err)
{
    mo_status st = mo_session_new(s, model, o, err);

    if (st == MO_OK) st = say(*s, "user", "tell me a story", err);
    return st == MO_OK ? talk(*s, r, err) : st;
}

TEST(lengths)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply r, q;
    bool stopped = false;

    o.min_tokens = 0;
    for (int n = 1; n < 6; n++) {
        o.max_tokens = n;
        CHECK_OK(ask(&s, &o, &r, &err));
        CHECK(r.end.n_generated <= n && (r.end.n_generated == n || r.end.reason == MO_END_STOP));
        reply_free(&r);
        mo_session_free(s);
    }
    o.greedy = 0;
    o.temperature = 1;
    o.top_k = 0;
    o.top_p = 1;
    o.max_tokens = 300;
    for (uint64_t seed = 1; seed < 12; seed++) {
        o.seed = seed;
        o.min_tokens = 0;
        CHECK_OK(ask(&s, &o, &r, &err));
        mo_session_free(s);
        CHECK_OK(ask(&s, &o, &q, &err)); /* the same seed says the same */
        mo_session_free(s);
        CHECK_STR(reply_text(&q), reply_text(&r));
        if (r.end.reason == MO_END_STOP) {
            reply_free(&q);
            stopped = true;
            o.min_tokens = r.end.n_generated + 5;
            CHECK_OK(ask(&s, &o, &q, &err));
            mo_session_free(s);
            CHECK(q.end.n_generated > r.end.n_generated + 5 || q.end.reason != MO_END_STOP);
        }
        CHECK(!strstr(reply_text(&r), "<|im_end|>"));
        reply_free(&r);
        reply_free(&q);
    }
    CHECK(stopped);
}

TEST(stop_texts)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply r, q;
    char stop[5] = { 0 }, *json, *cut;

    o.max_tokens = 60;
    o.greedy = 0;
    o.seed = 3;
    CHECK_OK(ask(&s, &o, &r, &err));
    mo_session_free(s);
    CHECK(r.text.len > 20);
    memcpy(stop, r.text.data + 9, 3); /* single-byte tokens: it spans three of them */
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(mo_session_add_stop(s, "not in it", &err));
    CHECK_OK(mo_session_add_stop(s, stop, &err));
    CHECK_OK(say(s, "user", "tell me a story", &err));
    CHECK_OK(talk(s, &q, &err));
    cut = strstr(r.text.data, stop);
    *cut = 0;
    CHECK_STR(reply_text(&q), r.text.data);
    CHECK_INT(q.end.reason, MO_END_STOP_TEXT);
    CHECK((json = mo_session_to_json(s)) != NULL);
    CHECK(!strstr(json, stop) || strstr(r.text.data, stop) || strstr("tell me a story role content assistant user text type", stop));
    mo_string_free(json);
    /* the conversation goes on: what was cached beyond the stop is dropped, the answer is that of a fresh session */
    {
        reply next, fresh;
        mo_session *f;
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, &next, &err));
        CHECK(next.end.n_reused > 0);
        CHECK_OK(mo_session_new(&f, model, &o, &err));
        CHECK_OK(mo_session_add_stop(f, stop, &err));
        CHECK_OK(say(f, "user", "tell me a story", &err));
        CHECK_OK(say(f, "assistant", reply_text(&q), &err));
        CHECK_OK(say(f, "user", "go on", &err));
        CHECK_OK(talk(f, &fresh, &err));
        CHECK_STR(reply_text(&next), reply_text(&fresh));
        reply_free(&next);
        reply_free(&fresh);
        mo_session_free(f);
    }
    reply_free(&r);
    reply_free(&q);
    mo_session_free(s);
}

TEST(context)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply r;
    char long_text[300];

    memset(long_text, 'x', sizeof long_text);
    o.n_ctx = 128;
    o.max_tokens = o.min_tokens = 1000;
    CHECK_OK(ask(&s, &o, &r, &err));
    CHECK_INT(r.end.reason, MO_END_CONTEXT);
    CHECK_INT(r.end.n_prompt + r.end.n_generated, 129); /* the last one is not fed */
    reply_free(&r);
    /* now it is full: the next question does not fit and says so; clearing helps */
    CHECK_OK(say(s, "user", "again", &err));
    REFUSED(mo_session_answer(s, &err), MO_E_LIMIT, "context 128");
    REFUSED(mo_session_step(s, &err), MO_E_AGAIN, "nothing");
    CHECK_OK(mo_session_clear(s, &err));
    REFUSED(mo_session_push_text(s, "x", 1, &err), MO_E_STATE, "no message was begun");
    CHECK_OK(mo_session_begin(s, "user", &err));
    CHECK_OK(mo_session_push_text(s, long_text, sizeof long_text, &err));
    REFUSED(mo_session_answer(s, &err), MO_E_LIMIT, "the prompt has");
    CHECK_OK(mo_session_clear(s, &err));
    mo_session_free(s);
    /* a prompt that leaves room for exactly one */
    o.max_tokens = 5;
    for (int n = 40; n < 128; n++) {
        mo_status st;
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(mo_session_begin(s, "user", &err));
        CHECK_OK(mo_session_push_text(s, long_text, (size_t)n, &err));
        st = talk(s, &r, &err);
        if (st == MO_OK && r.end.n_prompt == 127) {
            CHECK_INT(r.end.reason, MO_END_CONTEXT);
            CHECK_INT(r.end.n_generated, 2);
        }
        reply_free(&r);
        mo_session_free(s);
        if (st == MO_OK) continue;
        CHECK_INT(st, MO_E_LIMIT);
        return;
    }
    TEST_FAIL("nothing was too long");
}

/* Clearing forgets everything but options and stop texts: afterwards a session is like new. */
TEST(clear)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply a, b;

    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(user_turn(s, 0, &err));
    CHECK_OK(talk(s, &a, &err));
    CHECK_OK(mo_session_clear(s, &err));
    CHECK_OK(user_turn(s, 1, &err));
    CHECK_OK(talk(s, &b, &err));
    reply_free(&b);
    CHECK_OK(mo_session_clear(s, &err));
    CHECK_OK(user_turn(s, 0, &err));
    CHECK_OK(talk(s, &b, &err));
    CHECK_INT(b.end.n_reused, 0);
    CHECK_STR(reply_text(&b), reply_text(&a));
    reply_free(&a);
    reply_free(&b);
    mo_session_free(s);
}

/* Interrupted after every possible number of steps: what was said stays, and the next answer is right. */
TEST(interrupt_anywhere)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;

    for (int n = 0; n < 12; n++) {
        reply r = { .n_progress = 0 }, next, want;
        int i;

        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(user_turn(s, 0, &err));
        CHECK_OK(mo_session_answer(s, &err));
        for (i = 0; i < n; i++) CHECK_OK(mo_session_step(s, &err));
        mo_session_interrupt(s);
        CHECK_OK(mo_session_step(s, &err));
        CHECK_INT(mo_session_step(s, &err), MO_E_AGAIN);
        take_events(s, &r);
        CHECK_INT(r.end.reason, MO_END_INTERRUPTED);
        mo_session_interrupt(s); /* too late: must not hurt the next */
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, &next, &err));
        CHECK(next.end.reason != MO_END_INTERRUPTED);
        mo_session_free(s);

        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(user_turn(s, 0, &err));
        if (r.end.n_generated || n > 2) { /* encode and feed took three steps: then the assistant had its turn, if only silent */
            CHECK_OK(mo_session_begin(s, "assistant", &err));
            if (r.text.len) CHECK_OK(mo_session_push_text(s, r.text.data, r.text.len, &err));
        }
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, &want, &err));
        CHECK_STR(reply_text(&next), reply_text(&want));
        mo_session_free(s);
        reply_free(&r);
        reply_free(&next);
        reply_free(&want);
    }
}

/* ---- odd input -------------------------------------------------------------------------------------------------- */

/* Each alone in a message: an answer comes, twice the same. */
static mo_status odd_item(mo_session *s, int k, mo_error *err)
{
    static const float one[1] = { 0.5f };
    float odd[4000];

    switch (k) {
    case 0: return mo_session_push_text(s, "", 0, err);
    case 1: return push_picture(s, 1, 1, 1, err);
    case 2: return push_picture(s, 1, 400, 1, err);
    case 3: return push_picture(s, 400, 1, 1, err);
    case 4: return mo_session_push_audio(s, one, 1, err);
    case 5: return push_sound(s, 0.05, 1, err);  /* no places */
    case 6: return push_sound(s, 70, 2, err);    /* three pieces */
    case 7: return push_sound(s, 30.01, 2, err); /* the second piece has no places */
    case 8: return mo_session_push_text(s, "a\0b <image>./</image> <|im_end|> \xf0\x9f\x90\xb1", 38, err);
    case 9:
        for (int i = 0; i < 4000; i++) odd[i] = i % 3 ? NAN : i % 2 ? INFINITY : -INFINITY;
        return mo_session_push_audio(s, odd, 4000, err);
    case 10:
        for (int i = 0; i < 4000; i++) odd[i] = i % 2 ? 3e38f : -3e38f;
        return mo_session_push_audio(s, odd, 4000, err);
    case 11: return MO_OK; /* a message with nothing in it */
    default: return MO_E_AGAIN;
    }
}

TEST(odd_input)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };

    for (int k = 0; k < 12; k++) {
        reply r[2];
        for (int i = 0; i < 2; i++) {
            mo_session *s;
            char *json;

            CHECK_OK(mo_session_new(&s, model, &o, &err));
            CHECK_OK(mo_session_begin(s, "user", &err));
            CHECK_OK(odd_item(s, k, &err));
            mo_status st = talk(s, &r[i], &err);
            if (st != MO_OK) TEST_FAIL("odd item %d: %s", k, err.message);
            CHECK(st == MO_OK && r[i].has_end && r[i].end.n_generated >= 6);
            CHECK((json = mo_session_to_json(s)) != NULL);
            json_t *v = json_loads(json, JSON_ALLOW_NUL, NULL);
            CHECK(v && json_array_size(v) == 2);
            json_decref(v);
            mo_string_free(json);
            mo_session_free(s);
        }
        CHECK_STR(reply_text(&r[0]), reply_text(&r[1]));
        reply_free(&r[0]);
        reply_free(&r[1]);
    }
}

/* Samples that are not numbers count as silence. */
TEST(nan_is_silence)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    reply r[2];

    for (int i = 0; i < 2; i++) {
        float *x = make_sound(16000, 4);
        mo_session *s;

        for (int k = 100; k < 9000; k += 7) x[k] = i ? 0 : NAN;
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(mo_session_begin(s, "user", &err));
        CHECK_OK(mo_session_push_audio(s, x, 16000, &err));
        CHECK_OK(talk(s, &r[i], &err));
        mo_session_free(s);
        free(x);
    }
    CHECK_STR(reply_text(&r[0]), reply_text(&r[1]));
    reply_free(&r[0]);
    reply_free(&r[1]);
}

TEST(json)
{
    mo_error err = { 0 };
    mo_session *s;
    char *text;
    json_t *v, *content;

    CHECK_OK(mo_session_new(&s, model, NULL, &err));
    CHECK((text = mo_session_to_json(s)) != NULL);
    CHECK_STR(text, "[]");
    mo_string_free(text);
    CHECK_OK(say(s, "system", "quote \" \\ \n \xe2\x82\xac", &err));
    CHECK_OK(mo_session_begin(s, "user", &err));
    CHECK_OK(push_picture(s, 31, 17, 0, &err));
    CHECK_OK(push_sound(s, 1.5, 0, &err));
    CHECK((text = mo_session_to_json(s)) != NULL);
    CHECK((v = json_loads(text, 0, NULL)) != NULL);
    content = json_object_get(json_array_get(v, 0), "content");
    CHECK_STR(json_string_value(json_object_get(json_array_get(content, 0), "text")), "quote \" \\ \n \xe2\x82\xac");
    content = json_object_get(json_array_get(v, 1), "content");
    CHECK_INT(json_integer_value(json_object_get(json_array_get(content, 0), "width")), 31);
    CHECK_INT(json_integer_value(json_object_get(json_array_get(content, 0), "height")), 17);
    CHECK_NEAR(json_number_value(json_object_get(json_array_get(content, 1), "seconds")), 1.5, 1e-9);
    json_decref(v);
    mo_string_free(text);
    mo_string_free(NULL);
    mo_session_free(s);
}

TEST(tools)
{
    static const char tool[] = "[{\"type\": \"function\", \"function\": {\"name\": \"now\", \"parameters\": {}}}]";
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply with, without, again;

    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(say(s, "user", "hi", &err));
    CHECK_OK(mo_session_set_tools(s, tool, &err));
    REFUSED(mo_session_set_tools(s, "nonsense", &err), MO_E_FORMAT, "tools"); /* the good ones stay */
    CHECK_OK(talk(s, &with, &err));
    CHECK_OK(mo_session_clear(s, &err));
    CHECK_OK(mo_session_set_tools(s, NULL, &err));
    CHECK_OK(say(s, "user", "hi", &err));
    CHECK_OK(talk(s, &without, &err));
    CHECK(with.end.n_prompt > without.end.n_prompt + 50);
    CHECK_OK(mo_session_clear(s, &err));
    CHECK_OK(mo_session_set_tools(s, tool, &err));
    CHECK_OK(say(s, "user", "hi", &err));
    CHECK_OK(talk(s, &again, &err));
    CHECK_STR(reply_text(&again), reply_text(&with));
    reply_free(&with);
    reply_free(&without);
    reply_free(&again);
    mo_session_free(s);
}

int main(void)
{
    mo_model_opts o = model_opts(1, 512);
    mo_error err = { 0 };

    if (tiny_write(dir, NULL, &err) != MO_OK || mo_model_open(&model, dir, &o, &err) != MO_OK) {
        printf("%s\n", err.message);
        tiny_remove(dir);
        return 1;
    }
    RUN(order_of_calls);
    RUN(options);
    RUN(cached_is_recomputed);
    RUN(cached_in_blocks_is_recomputed);
    RUN(int8_plan);
    RUN(passes_and_threads);
    RUN(preloaded);
    RUN(two_in_turns);
    RUN(pictures_batched);
    RUN(lengths);
    RUN(stop_texts);
    RUN(context);
    RUN(clear);
    RUN(interrupt_anywhere);
    RUN(odd_input);
    RUN(nan_is_silence);
    RUN(json);
    RUN(tools);
    mo_model_close(model);
    tiny_remove(dir);
    return test_end();
}
