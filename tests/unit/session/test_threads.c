/* Several threads: one pushes while another pulls, one interrupts, one asks again as soon as it sees the end, and two
 * step two sessions of one model. Meant for ThreadSanitizer as much as for the comparisons. */
#include <pthread.h>
#include <stdatomic.h>

#include "talk.h"

static char dir[64];
static mo_model *model;

/* ---- a pushing, a stepping and a pulling thread ------------------------------------------------------------------ */

typedef struct shared {
    mo_session *s;
    atomic_bool quit;
    atomic_int n_pushed, n_asked, n_ended;
    reply all;
} shared;

/* Pushes turn after turn; waits only where the session says so (MO_E_STATE). */
static void *push_main(void *arg)
{
    shared *h = arg;
    mo_error err = { 0 };

    for (int i = 0; i < 6; i++) {
        while (say(h->s, "user", "tell me more", &err) != MO_OK && !atomic_load(&h->quit)) usleep(100);
        if (i % 3 == 1) push_picture(h->s, 50, 50, i, &err);
        if (i % 3 == 2) push_sound(h->s, 0.3, i, &err);
        atomic_fetch_add(&h->n_pushed, 1);
        while (mo_session_answer(h->s, &err) != MO_OK && !atomic_load(&h->quit)) usleep(100);
        atomic_fetch_add(&h->n_asked, 1);
        while (atomic_load(&h->n_ended) <= i && !atomic_load(&h->quit)) usleep(50);
    }
    return NULL;
}

static void *step_main(void *arg)
{
    shared *h = arg;
    mo_error err = { 0 };

    while (!atomic_load(&h->quit)) {
        mo_status st = mo_session_step(h->s, &err);
        if (st == MO_E_AGAIN) usleep(50);
        else if (st != MO_OK) {
            printf("step: %s\n", err.message);
            atomic_store(&h->quit, true);
        }
    }
    return NULL;
}

TEST(push_step_pull)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    shared h = { .n_pushed = 0 };
    pthread_t push, step;
    reply want = { .n_progress = 0 };
    char *json;

    CHECK_OK(mo_session_new(&h.s, model, &o, &err));
    CHECK(!pthread_create(&step, NULL, step_main, &h) && !pthread_create(&push, NULL, push_main, &h));
    while (atomic_load(&h.n_ended) < 6 && !atomic_load(&h.quit)) {
        h.all.has_end = false;
        take_events(h.s, &h.all);
        if (h.all.has_end) atomic_fetch_add(&h.n_ended, 1);
        if ((json = mo_session_to_json(h.s))) mo_string_free(json);
    }
    CHECK_INT(atomic_load(&h.n_ended), 6);
    pthread_join(push, NULL);
    atomic_store(&h.quit, true);
    pthread_join(step, NULL);
    mo_session_free(h.s);

    /* one thread says the same */
    CHECK_OK(mo_session_new(&h.s, model, &o, &err));
    for (int i = 0; i < 6; i++) {
        reply r;
        CHECK_OK(say(h.s, "user", "tell me more", &err));
        if (i % 3 == 1) CHECK_OK(push_picture(h.s, 50, 50, i, &err));
        if (i % 3 == 2) CHECK_OK(push_sound(h.s, 0.3, i, &err));
        CHECK_OK(talk(h.s, &r, &err));
        reply_put(&want, reply_text(&r), r.text.len);
        reply_free(&r);
    }
    CHECK_STR(reply_text(&h.all), reply_text(&want));
    reply_free(&want);
    reply_free(&h.all);
    mo_session_free(h.s);
}

/* ---- interruption ------------------------------------------------------------------------------------------------ */

static void *interrupt_main(void *arg)
{
    shared *h = arg;

    while (!atomic_load(&h->quit)) {
        usleep(700);
        mo_session_interrupt(h->s);
    }
    return NULL;
}

TEST(interrupts)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    shared h = { .n_pushed = 0 };
    pthread_t t;
    int n_interrupted = 0;

    o.n_ctx = 2048;
    o.max_tokens = o.min_tokens = 150;
    CHECK_OK(mo_session_new(&h.s, model, &o, &err));
    CHECK(!pthread_create(&t, NULL, interrupt_main, &h));
    for (int i = 0; i < 10; i++) {
        reply r;
        mo_status st = say(h.s, "user", "talk and talk", &err);
        if (st == MO_OK) st = talk(h.s, &r, &err);
        if (st != MO_OK) TEST_FAIL("turn %d: %s", i, err.message);
        if (st != MO_OK) break;
        n_interrupted += r.end.reason == MO_END_INTERRUPTED;
        reply_free(&r);
    }
    atomic_store(&h.quit, true);
    pthread_join(t, NULL);
    CHECK(n_interrupted > 0);
    mo_session_free(h.s);
}

/* ---- two sessions -------------------------------------------------------------------------------------------------- */

typedef struct talker {
    mo_session *s;
    int index;
    mo_status st;
    mo_error err;
    buf said;
} talker;

static mo_status three_turns(talker *t)
{
    mo_status st = MO_OK;

    for (int i = 0; st == MO_OK && i < 3; i++) {
        reply r = { .n_progress = 0 };
        st = mo_session_begin(t->s, "user", &t->err);
        if (st == MO_OK && i == t->index) st = push_picture(t->s, 90, 40 + 30 * t->index, i, &t->err);
        if (st == MO_OK && i != t->index) st = push_sound(t->s, 0.4 + 0.2 * t->index, i, &t->err);
        if (st == MO_OK) st = mo_session_push_text(t->s, "go on", 5, &t->err);
        if (st == MO_OK) st = talk(t->s, &r, &t->err);
        buf_put(&t->said, reply_text(&r), r.text.len);
        reply_free(&r);
    }
    return st;
}

static void *talker_main(void *arg)
{
    talker *t = arg;

    t->st = three_turns(t);
    return NULL;
}

TEST(two_sessions)
{
    mo_session_opts o = session_opts();
    talker alone[2] = { { .index = 0 }, { .index = 1 } }, both[2] = { { .index = 0 }, { .index = 1 } };
    mo_error err = { 0 };
    pthread_t t[2];

    o.greedy = 0;
    for (int k = 0; k < 2; k++) {
        o.seed = (uint64_t)k + 1;
        CHECK_OK(mo_session_new(&alone[k].s, model, &o, &err));
        CHECK_OK(three_turns(&alone[k]));
        mo_session_free(alone[k].s);
        CHECK_OK(mo_session_new(&both[k].s, model, &o, &err));
    }
    for (int k = 0; k < 2; k++) CHECK(!pthread_create(&t[k], NULL, talker_main, &both[k]));
    for (int k = 0; k < 2; k++) pthread_join(t[k], NULL);
    for (int k = 0; k < 2; k++) {
        CHECK_INT(both[k].st, MO_OK);
        CHECK_STR(both[k].said.data ? both[k].said.data : "", alone[k].said.data ? alone[k].said.data : "");
        mo_session_free(both[k].s);
        buf_free(&both[k].said);
        buf_free(&alone[k].said);
    }
}

int main(void)
{
    mo_model_opts o = model_opts(2, 64);
    mo_error err = { 0 };

    if (tiny_write(dir, NULL, &err) != MO_OK || mo_model_open(&model, dir, &o, &err) != MO_OK) {
        printf("%s\n", err.message);
        tiny_remove(dir);
        return 1;
    }
    RUN(push_step_pull);
    RUN(interrupts);
    RUN(two_sessions);
    mo_model_close(model);
    tiny_remove(dir);
    return test_end();
}
