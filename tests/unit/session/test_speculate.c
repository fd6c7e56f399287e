/* Guessing ahead changes nothing but the time: every answer is held against the one of a session that does not guess, text and
 * figures; through ends of all kinds in the middle of a draft, further turns, interruptions, and memory that runs out. And the
 * drafter by itself: what it proposes, what it learns.
 */
#include "session/speculate.h"
#include "talk.h"

static char dir[64];
static mo_model *model; /* two threads, passes of 64 */

/* ---- the drafter ------------------------------------------------------------------------------------------------ */

static const int64_t media_key = (int64_t)1 << 62;

/* What follows id after key, all at once (MO_ON); the guess as text of digits. */
static const char *propose(const char *text, char id, int32_t n_limit, const char *end, char out[DRAFT_MAX + 1])
{
    int64_t key[64];
    int32_t n = (int32_t)strlen(text), ends[2], n_end = end ? (int32_t)strlen(end) : 0, k;
    drafter d;

    for (int32_t i = 0; i < n; i++) key[i] = text[i] == '#' ? media_key | i : text[i] - '0';
    for (int32_t i = 0; i < n_end; i++) ends[i] = end[i] - '0';
    drafter_init(&d, MO_ON, DRAFT_MAX);
    k = drafter_propose(&d, key, n, id - '0', n_limit, ends, n_end);
    for (int32_t i = 0; i < k; i++) out[i] = (char)(d.token[i] + '0');
    out[k] = 0;
    return out;
}

TEST(proposals)
{
    char out[DRAFT_MAX + 1];

    CHECK_STR(propose("", '1', 15, NULL, out), "");
    CHECK_STR(propose("2", '1', 15, NULL, out), "");
    CHECK_STR(propose("123451", '2', 15, NULL, out), "345123451234512"); /* runs on into itself */
    CHECK_STR(propose("123451", '2', 2, NULL, out), "34");
    CHECK_STR(propose("123451", '2', 0, NULL, out), "");
    CHECK_STR(propose("12345", '2', 15, NULL, out), "");    /* one token is no match for MO_ON */
    CHECK_STR(propose("12712891", '2', 1, NULL, out), "8"); /* of two, the later */
    CHECK_STR(propose("312793128012", '9', 1, NULL, out), "");
    CHECK_STR(propose("3127912801312", '7', 1, NULL, out), "9");   /* 3127 before 12… */
    CHECK_STR(propose("9312891283912", '8', 1, NULL, out), "3");   /* equal lengths: the later */
    CHECK_STR(propose("9312712891293", '1', 3, NULL, out), "271"); /* 931 is longer than any later match */
    CHECK_STR(propose("123456712", '3', 15, "6", out), "45");      /* nothing beyond an end */
    CHECK_STR(propose("123456712", '3', 15, "46", out), "");
    CHECK_STR(propose("1234#6712", '3', 15, NULL, out), "4"); /* nor beyond a picture */
    CHECK_STR(propose("#1#11", '1', 15, NULL, out), "111111111111111");
    CHECK_STR(propose("#1222#", '1', 15, NULL, out), ""); /* a picture is like nothing, itself included */
}

/* A drafter that knows times: a pass of one row takes 10, each row more `row` ms. */
static drafter timed(double row)
{
    drafter d;

    drafter_init(&d, MO_AUTO, DRAFT_MAX);
    for (int32_t n = 0; n <= DRAFT_MAX; n++) drafter_took(&d, n, 10 + row * n);
    d.credit = 2;
    return d;
}

static void learn(drafter *d, int32_t match, int n, bool right)
{
    for (int i = 0; i < n; i++) {
        d->n_guess = 1;
        d->n_fed = d->n_seen = 0;
        d->match = match;
        d->token[0] = 7;
        drafter_saw(d, right ? 7 : 8);
    }
}

TEST(lengths_that_pay)
{
    drafter d = timed(1), off;

    CHECK(drafter_length(&d, 8, 15) > drafter_length(&d, 2, 15)); /* the longer the match the surer */
    CHECK_INT(drafter_length(&d, 1, 15), 0);                      /* a tenth is not worth a tenth */
    learn(&d, 8, 100, true);
    CHECK_INT(drafter_length(&d, 8, 15), 15);
    CHECK_INT(drafter_length(&d, 8, 4), 4);
    learn(&d, 8, 100, false);
    CHECK_INT(drafter_length(&d, 8, 15), 0); /* nothing comes true: nothing is fed */
    learn(&d, 8, 30, true);
    CHECK(drafter_length(&d, 8, 15) > 2); /* and it comes back */

    d = timed(10); /* rows cost as much as passes: never */
    learn(&d, 8, 100, true);
    CHECK_INT(drafter_length(&d, 8, 15), 0);
    d = timed(0); /* rows cost nothing: even for a twentieth */
    CHECK(drafter_length(&d, 1, 15) >= 1);

    drafter_init(&d, MO_AUTO, DRAFT_MAX);
    CHECK_INT(drafter_length(&d, 8, 15), 0); /* no time is known */
    drafter_took(&d, 0, 10);
    CHECK(drafter_length(&d, 8, 15) > 0); /* now there is hope */
    drafter_took(&d, DRAFT_MAX, 500);
    CHECK_INT(drafter_length(&d, 8, 15), 0);
    for (int i = 0; i < 256; i++) drafter_took(&d, 0, 10);
    CHECK(drafter_length(&d, 8, 15) > 0); /* what was slow once is tried again */

    /* A loss of two passes is the end of it, until single tokens have paid for more. */
    d = timed(1);
    learn(&d, 8, 100, true);
    for (int n = 0; drafter_length(&d, 8, 15) > 0; n++) {
        drafter_took(&d, 10, 20);
        CHECK(n < 3);
    }
    for (int n = 0; !drafter_length(&d, 8, 15); n++) {
        drafter_took(&d, 0, 10);
        CHECK(n < 60);
    }

    drafter_init(&off, MO_OFF, DRAFT_MAX);
    CHECK_INT(off.n_max, 0);
}

TEST(seen_tokens)
{
    const int64_t key[] = { 1, 2, 3, 4, 5, 1 };
    drafter d;

    drafter_init(&d, MO_ON, DRAFT_MAX);
    CHECK(!drafter_saw(&d, 1)); /* nothing was proposed */
    CHECK_INT(drafter_propose(&d, key, 6, 2, 3, NULL, 0), 3);
    CHECK(drafter_saw(&d, 3) && drafter_saw(&d, 4) && drafter_saw(&d, 5));
    CHECK(!drafter_saw(&d, 1)); /* guessed, and right, but not fed */
    CHECK_INT(drafter_propose(&d, key, 6, 2, 3, NULL, 0), 3);
    CHECK(drafter_saw(&d, 3) && !drafter_saw(&d, 9));
    drafter_begin(&d);
    CHECK(!drafter_saw(&d, 4));
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Texts in which things come again; a tiny model repeats itself sooner or later anyway. */
static const char *const question[] = {
    "tell me a story",
    "one two three, one two three, one two three, one two three",
    "the cat sat on the mat. the cat sat on the mat. the dog saw the cat.",
};
enum { N_QUESTION = (int)(sizeof question / sizeof *question) };

static bool same(const reply *a, const reply *b)
{
    return !strcmp(reply_text(a), reply_text(b)) && a->has_end && b->has_end && a->end.reason == b->end.reason &&
           a->end.n_prompt == b->end.n_prompt && a->end.n_reused == b->end.n_reused && a->end.n_generated == b->end.n_generated;
}

/* Two turns on each question with these options, guessing as `how`; sums what was accepted. */
static mo_status converse(mo_model *m, mo_session_opts o, mo_switch how, const char *stop, reply r[2 * N_QUESTION], int *accepted,
                          mo_error *err)
{
    mo_status st = MO_OK;

    o.speculate = how;
    memset(r, 0, 2 * N_QUESTION * sizeof *r);
    for (int i = 0; st == MO_OK && i < N_QUESTION; i++) {
        mo_session *s;

        if ((st = mo_session_new(&s, m, &o, err)) != MO_OK) return st;
        if (stop) st = mo_session_add_stop(s, stop, err);
        if (st == MO_OK) st = say(s, "user", question[i], err);
        if (st == MO_OK) st = talk(s, &r[2 * i], err);
        if (st == MO_OK) st = say(s, "user", "again", err);
        if (st == MO_OK) st = talk(s, &r[2 * i + 1], err);
        if (st == MO_E_LIMIT && o.n_ctx < 200) st = MO_OK; /* the first answer filled the context */
        *accepted += r[2 * i].end.n_accepted + r[2 * i + 1].end.n_accepted;
        mo_session_free(s);
    }
    return st;
}

static void free_all(reply r[2 * N_QUESTION])
{
    for (int i = 0; i < 2 * N_QUESTION; i++) reply_free(&r[i]);
}

/* The same with and without, and guesses came true. */
static void compare(const char *what, mo_model *m, const mo_session_opts *o, const char *stop)
{
    static const mo_switch how[] = { MO_ON, MO_AUTO };
    reply want[2 * N_QUESTION], got[2 * N_QUESTION];
    mo_error err = { 0 };

    int none = 0;

    CHECK_OK(converse(m, *o, MO_OFF, stop, want, &none, &err));
    CHECK_INT(none, 0);
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
        int accepted = 0;

        CHECK_OK(converse(m, *o, how[k], stop, got, &accepted, &err));
        for (int i = 0; i < 2 * N_QUESTION; i++) {
            if (!want[i].has_end && !got[i].has_end) continue;
            if (!same(&got[i], &want[i]))
                TEST_FAIL("%s, answer %d: \"%s\" (%d tokens), without \"%s\" (%d tokens)", what, i, reply_text(&got[i]),
                          got[i].end.n_generated, reply_text(&want[i]), want[i].end.n_generated);
            if (got[i].end.n_accepted > got[i].end.n_drafted || want[i].end.n_drafted) TEST_FAIL("%s: figures of answer %d", what, i);
        }
        free_all(got);
        if (how[k] == MO_ON && accepted < 20) TEST_FAIL("%s: only %d guesses came true", what, accepted);
    }
    free_all(want);
}

static mo_session_opts long_opts(void)
{
    mo_session_opts o = session_opts();

    o.n_ctx = 2048;
    o.max_tokens = 100;
    o.min_tokens = 60;
    o.repetition_penalty = 1;
    return o;
}

TEST(greedy)
{
    mo_session_opts o = long_opts();

    compare("greedy", model, &o, NULL);
    o.kv_type = MO_KV_F32;
    if (!test_this_failed) compare("float32 cache", model, &o, NULL);
    o.min_tokens = 0; /* ends by itself, maybe where a guess stands */
    if (!test_this_failed) compare("no least length", model, &o, NULL);
}

TEST(sampled)
{
    mo_session_opts o = long_opts();

    o.greedy = 0;
    o.temperature = 0.3f;
    for (o.seed = 1; o.seed < 3 && !test_this_failed; o.seed++) compare("sampled", model, &o, NULL);
    o.temperature = 0.2f;
    o.repetition_penalty = 1.02f; /* depends on every token before */
    o.min_p = 0.05f;
    if (!test_this_failed) compare("sampled with a penalty", model, &o, NULL);
}

/* Passes smaller than a draft, threads, reduced precision, plain C. */
TEST(other_models)
{
    static const int n_ubatch[] = { 1, 2, 5, 512, 512, 7 };
    mo_session_opts o = long_opts();
    mo_error err = { 0 };

    for (int k = 0; k < 6 && !test_this_failed; k++) {
        mo_model_opts mo = model_opts(1 + k % 2, n_ubatch[k]);
        char what[32];
        mo_model *m;

        snprintf(what, sizeof what, "model %d", k);
        if (k == 4) mo.fast = 1;
        if (k == 5) mo.isa = "generic";
        CHECK_OK(mo_model_open(&m, dir, &mo, &err));
        if (k == 0) { /* there is no room for a guess: nothing changes, nothing is fed */
            reply r[2 * N_QUESTION];
            int accepted = 0;
            CHECK_OK(converse(m, o, MO_ON, NULL, r, &accepted, &err));
            CHECK_INT(r[0].end.n_drafted, 0);
            free_all(r);
        } else {
            compare(what, m, &o, NULL);
        }
        mo_model_close(m);
    }
}

/* Every length from 1 on: some of them end in the middle of a draft. */
TEST(token_budget)
{
    mo_session_opts o = long_opts();

    for (int n = 61; n < 80 && !test_this_failed; n += 3) {
        o.max_tokens = n;
        compare("a budget", model, &o, NULL);
    }
    for (int n = 1; n < 5 && !test_this_failed; n++) {
        mo_error err = { 0 };
        reply want[2 * N_QUESTION], got[2 * N_QUESTION];
        int a = 0;

        o.max_tokens = o.min_tokens = n;
        CHECK_OK(converse(model, o, MO_OFF, NULL, want, &a, &err));
        CHECK_OK(converse(model, o, MO_ON, NULL, got, &a, &err));
        for (int i = 0; i < 2 * N_QUESTION; i++) CHECK(same(&got[i], &want[i]));
        free_all(want);
        free_all(got);
    }
}

/* The context ends at a draft's every place: prompts of different lengths before the same end. */
TEST(context_end)
{
    mo_session_opts o = long_opts();
    mo_error err = { 0 };
    char text[96];
    int accepted = 0;

    o.n_ctx = 128;
    o.max_tokens = o.min_tokens = 1000;
    for (int n = 20; n < 60; n += 3) {
        reply r[2];

        for (int k = 0; k < 2; k++) {
            mo_session *s;
            o.speculate = k ? MO_ON : MO_OFF;
            for (int i = 0; i < n; i++) text[i] = "abcde "[i % 6];
            text[n] = 0;
            CHECK_OK(mo_session_new(&s, model, &o, &err));
            CHECK_OK(say(s, "user", text, &err));
            CHECK_OK(talk(s, &r[k], &err));
            mo_session_free(s);
        }
        CHECK(same(&r[0], &r[1]));
        CHECK_INT(r[1].end.reason, MO_END_CONTEXT);
        accepted += r[1].end.n_accepted;
        reply_free(&r[0]);
        reply_free(&r[1]);
    }
    CHECK(accepted > 20);
}

/* A stop text cut from every place of an answer, so also where a draft has its middle; the turn after it is right, too. */
TEST(stop_texts)
{
    mo_session_opts o = long_opts();
    mo_error err = { 0 };
    reply plain;
    mo_session *s;
    char stop[4] = { 0 };

    o.greedy = 0;
    o.temperature = 0.3f;
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(say(s, "user", question[1], &err));
    CHECK_OK(talk(s, &plain, &err));
    mo_session_free(s);
    for (size_t at = 20; at + 3 < plain.text.len && at < 90; at += 7) {
        reply r[2][2];

        memcpy(stop, plain.text.data + at, 3);
        if ((stop[0] | stop[1] | stop[2]) & 0x80) continue;
        for (int k = 0; k < 2; k++) {
            o.speculate = k ? MO_ON : MO_OFF;
            CHECK_OK(mo_session_new(&s, model, &o, &err));
            CHECK_OK(mo_session_add_stop(s, stop, &err));
            CHECK_OK(say(s, "user", question[1], &err));
            CHECK_OK(talk(s, &r[k][0], &err));
            CHECK_OK(say(s, "user", "go on", &err));
            CHECK_OK(talk(s, &r[k][1], &err));
            mo_session_free(s);
        }
        CHECK_INT(r[1][0].end.reason, MO_END_STOP_TEXT);
        for (int i = 0; i < 2; i++) {
            CHECK(same(&r[0][i], &r[1][i]));
            reply_free(&r[0][i]);
            reply_free(&r[1][i]);
        }
    }
    reply_free(&plain);
}

/* Called off after any number of steps: what was said is the beginning of the answer, and the next answer is that of a
 * fresh session that is told as much. */
TEST(interrupted)
{
    mo_session_opts o = long_opts();
    mo_error err = { 0 };
    reply whole;
    mo_session *s;
    int n_guess = 0;

    o.speculate = MO_OFF;
    o.max_tokens = o.min_tokens = 400;
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(say(s, "user", question[1], &err));
    CHECK_OK(talk(s, &whole, &err));
    mo_session_free(s);
    for (int n = 3; n < 20; n += 3) {
        reply r = { .n_progress = 0 }, next, want;

        o.speculate = MO_ON;
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(say(s, "user", question[1], &err));
        CHECK_OK(mo_session_answer(s, &err));
        for (int i = 0; i < n; i++) CHECK_OK(mo_session_step(s, &err));
        mo_session_interrupt(s);
        CHECK_OK(mo_session_step(s, &err));
        CHECK_INT(mo_session_step(s, &err), MO_E_AGAIN);
        take_events(s, &r);
        CHECK_INT(r.end.reason, MO_END_INTERRUPTED);
        CHECK(!strncmp(reply_text(&r), whole.text.data, r.text.len));
        n_guess += r.end.n_accepted;
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, &next, &err));
        mo_session_free(s);

        o.speculate = MO_OFF;
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(say(s, "user", question[1], &err));
        CHECK_OK(say(s, "assistant", reply_text(&r), &err));
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, &want, &err));
        CHECK_STR(reply_text(&next), reply_text(&want));
        mo_session_free(s);
        reply_free(&r);
        reply_free(&next);
        reply_free(&want);
    }
    CHECK(n_guess > 0);
    reply_free(&whole);
}

/* Pictures and sounds before the question; nothing is allocated while tokens are made. */
TEST(media_and_memory)
{
    mo_session_opts o = long_opts();
    mo_error err = { 0 };
    reply r[2] = { { .n_progress = 0 } };

    for (int k = 0; k < 2; k++) {
        int64_t n_alloc = -1;
        mo_session *s;
        mo_status st;

        o.speculate = k ? MO_ON : MO_OFF;
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(mo_session_begin(s, "user", &err));
        CHECK_OK(push_picture(s, 60, 60, 1, &err));
        CHECK_OK(push_picture(s, 60, 60, 1, &err)); /* the same one again is another to the cache */
        CHECK_OK(push_sound(s, 0.5, 1, &err));
        CHECK_OK(mo_session_push_text(s, question[1], strlen(question[1]), &err));
        CHECK_OK(mo_session_answer(s, &err));
        while ((st = mo_session_step(s, &err)) == MO_OK) {
            mo_event ev;
            while (mo_session_pull(s, &ev)) {
                if (ev.type == MO_EVENT_PROGRESS && !strcmp(ev.text, "reading") && ev.done == ev.total) n_alloc = mo_alloc_count();
                if (ev.type == MO_EVENT_TEXT) reply_put(&r[k], ev.text, ev.n_text);
                if (ev.type != MO_EVENT_END) continue;
                r[k].end = ev;
                r[k].has_end = true;
            }
            if (n_alloc >= 0 && !r[k].has_end) CHECK_INT(mo_alloc_count(), n_alloc);
        }
        CHECK_INT(st, MO_E_AGAIN);
        mo_session_free(s);
    }
    CHECK(same(&r[0], &r[1]));
    CHECK(r[1].end.n_accepted > 0);
    reply_free(&r[0]);
    reply_free(&r[1]);
}

TEST(no_memory)
{
    mo_session_opts o = long_opts();
    mo_error err = { 0 };
    mo_session *s;
    mo_status st;
    mo_plan with, without;
    int n;

    for (n = 0; n < 1000; n++) {
        mo_alloc_fail_after(n);
        st = mo_session_new(&s, model, &o, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK(st == MO_E_NOMEM && !s);
    }
    CHECK(n > 5 && n < 1000);
    mo_session_free(s);
    /* the plan counts the rows of logits */
    CHECK_OK(mo_plan_memory(&with, dir, NULL, &o, &err));
    o.speculate = MO_OFF;
    CHECK_OK(mo_plan_memory(&without, dir, NULL, &o, &err));
    CHECK_INT(with.session - without.session, DRAFT_MAX * TINY_VOCAB * 4);
    o.speculate = (mo_switch)2;
    CHECK_INT(mo_session_new(&s, model, &o, &err), MO_E_ARG);
    CHECK(strstr(err.message, "speculate") != NULL);
}

int main(void)
{
    mo_model_opts mo = model_opts(2, 64);
    mo_error err = { 0 };

    if (tiny_write(dir, NULL, &err) != MO_OK || mo_model_open(&model, dir, &mo, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    RUN(proposals);
    RUN(lengths_that_pay);
    RUN(seen_tokens);
    RUN(greedy);
    RUN(sampled);
    RUN(other_models);
    RUN(token_budget);
    RUN(context_end);
    RUN(stop_texts);
    RUN(interrupted);
    RUN(media_and_memory);
    RUN(no_memory);
    mo_model_close(model);
    tiny_remove(dir);
    return test_end();
}
