/* Memory that cannot be had, one allocation after another, through a whole life: opening, a session, a turn with a picture
 * and a sound. Each failure comes back as MO_E_NOMEM or does not matter; what was there before goes on to give the
 * reference's answer. And: no allocation at all while feeding and generating.
 */
#include "talk.h"

static char dir[64];

enum { MANY = 100000 };

static mo_status picture_and_sound(mo_session *s, mo_error *err)
{
    mo_status st = mo_session_begin(s, "user", err);

    if (st == MO_OK) st = push_picture(s, 130, 60, 1, err);
    if (st == MO_OK) st = push_sound(s, 0.6, 1, err);
    if (st == MO_OK) st = mo_session_push_text(s, "what is it?", 11, err);
    return st;
}

static mo_session_opts short_opts(void)
{
    mo_session_opts o = session_opts();

    o.n_ctx = 1024;
    o.max_tokens = 4;
    o.min_tokens = 4;
    return o;
}

static void open_all(int32_t int8)
{
    mo_error err = { 0 };
    mo_model_opts o = model_opts(2, 64);
    mo_model *m;
    mo_plan plan;
    mo_status st;
    int n;

    o.int8 = int8;
    for (n = 0; n < MANY; n++) {
        mo_alloc_fail_after(n);
        st = mo_model_open(&m, dir, &o, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        if (st != MO_E_NOMEM) TEST_FAIL("allocation %d: %d %s", n, st, err.message);
        CHECK(st == MO_E_NOMEM && !m && err.message[0]);
    }
    CHECK(n > 20 && n < MANY);
    mo_model_close(m);
    printf("opening: %d allocations\n", n);
    for (n = 0; n < MANY; n++) {
        mo_alloc_fail_after(n);
        st = mo_plan_memory(&plan, dir, &o, NULL, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
    }
    CHECK(n > 20 && n < MANY);
}

TEST(opening) { open_all(0); }
TEST(opening_int8) { open_all(1); }

TEST(a_session)
{
    mo_model_opts mo = model_opts(1, 64);
    mo_session_opts o = short_opts();
    mo_error err = { 0 };
    mo_model *m;
    mo_session *s;
    mo_status st;
    int n;

    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    for (n = 0; n < MANY; n++) {
        mo_alloc_fail_after(n);
        st = mo_session_new(&s, m, &o, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK(st == MO_E_NOMEM && !s);
    }
    CHECK(n > 5 && n < MANY);
    mo_session_free(s);
    mo_model_close(m);
}

/* One conversation, several turns; the n-th allocation of turn two fails. The failing call is tried again and everything
 * after it goes as if nothing had happened. */
typedef struct script {
    mo_session *s;
    int n_failed;
} script;

/* A call that may fail for want of memory: then once more, which must do. */
#define RETRIED(call)                                                                                                                      \
    do {                                                                                                                                   \
        mo_status st_ = (call);                                                                                                            \
        if (st_ == MO_E_NOMEM) {                                                                                                           \
            n_failed++;                                                                                                                    \
            st_ = (call);                                                                                                                  \
        }                                                                                                                                  \
        if (st_ != MO_OK) {                                                                                                                \
            TEST_FAIL("allocation %d: %s: %d %s", n, #call, (int)st_, err.message);                                                        \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

static mo_status talk_on(mo_session *s, reply *r, mo_error *err)
{
    reply_free(r);
    return talk(s, r, err);
}

TEST(a_turn)
{
    mo_model_opts mo = model_opts(1, 64);
    mo_session_opts o = short_opts();
    mo_error err = { 0 };
    mo_model *m;
    reply want = { .n_progress = 0 }, got;
    mo_session *s;
    int n, n_failed;
    bool ended = false;

    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    for (n = -1; n < MANY && !ended && !test_this_failed; n++) {
        char *json;
        n_failed = 0;
        memset(&got, 0, sizeof got);
        CHECK_OK(mo_session_new(&s, m, &o, &err));
        CHECK_OK(picture_and_sound(s, &err)); /* rows that are there already when memory gets short */
        CHECK_OK(talk_on(s, &got, &err));
        mo_alloc_fail_after(n);
        RETRIED(mo_session_add_stop(s, "never", &err));
        RETRIED(mo_session_set_tools(s, "[{\"name\": \"f\"}]", &err));
        RETRIED(mo_session_begin(s, "user", &err));
        RETRIED(push_picture(s, 70, 160, 2, &err));
        RETRIED(push_sound(s, 0.9, 2, &err)); /* longer than the first: that one is heard again */
        RETRIED(mo_session_push_text(s, "and this?", 9, &err));
        RETRIED(talk_on(s, &got, &err));
        if (!(json = mo_session_to_json(s))) {
            n_failed++;
            json = mo_session_to_json(s);
        }
        mo_alloc_fail_after(-1);
        CHECK(json != NULL);
        mo_string_free(json);
        CHECK(n_failed <= 1 && got.has_end);
        if (n < 0) {
            want = got;
            memset(&got, 0, sizeof got);
        } else {
            CHECK_STR(reply_text(&got), reply_text(&want));
            CHECK_INT(got.end.n_prompt, want.end.n_prompt);
            ended = !n_failed && n > 20;
        }
    done:
        mo_alloc_fail_after(-1);
        reply_free(&got);
        mo_session_free(s);
    }
    printf("a turn: %d allocations\n", n - 1);
    reply_free(&want);
    mo_model_close(m);
}

TEST(steps_do_not_allocate)
{
    mo_model_opts mo = model_opts(2, 16);
    mo_session_opts o = short_opts();
    mo_error err = { 0 };
    mo_model *m;
    mo_session *s;

    o.max_tokens = o.min_tokens = 100;
    CHECK_OK(mo_model_open(&m, dir, &mo, &err));
    for (int i = 0; i < 4; i++) {
        int64_t n_alloc = -1;
        int n_step = 0;
        mo_event ev;

        o.greedy = i & 1;
        o.speculate = i & 2 ? MO_ON : MO_OFF;
        CHECK_OK(mo_session_new(&s, m, &o, &err));
        CHECK_OK(mo_session_add_stop(s, "zzzzzzzz", &err));
        CHECK_OK(mo_session_add_stop(s, "e e e", &err));
        CHECK_OK(picture_and_sound(s, &err));
        CHECK_OK(mo_session_answer(s, &err));
        for (;;) {
            mo_status st = mo_session_step(s, &err);
            bool end = false;
            if (st == MO_E_AGAIN) break;
            CHECK_OK(st);
            while (mo_session_pull(s, &ev)) {
                if (ev.type == MO_EVENT_PROGRESS && !strcmp(ev.text, "reading") && n_alloc < 0) n_alloc = mo_alloc_count();
                end |= ev.type == MO_EVENT_END;
            }
            if (n_alloc < 0 || end) continue; /* the last step stores the message */
            n_step++;
            CHECK_INT(mo_alloc_count(), n_alloc);
        }
        CHECK(n_step > (o.speculate == MO_ON ? 10 : 100)); /* with guesses a step may make several tokens */
        mo_session_free(s);
    }
    mo_model_close(m);
}

int main(void)
{
    mo_error err = { 0 };

    if (tiny_write(dir, NULL, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    RUN(opening);
    RUN(opening_int8);
    RUN(a_session);
    RUN(a_turn);
    RUN(steps_do_not_allocate);
    tiny_remove(dir);
    return test_end();
}
