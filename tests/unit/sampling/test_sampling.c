/* The three samplers' own rules: order of edits, histories, ends, refusals, forks, no allocation in a step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "session/bad_tokens.h"
#include "session/sampling.h"
#include "test.h"

enum { N = 300, END = 290, END2 = 291 };

static const int32_t ends[] = { END, END2 };
static const id_list end_list = { ends, 2 }, none = { NULL, 0 };

static double fixed_u(void *user) { return *(double *)user; }

static void ramp(float *v) /* id 0 is the best, then 1, ... all negative */
{
    for (int i = 0; i < N; i++) v[i] = -1.0f - 0.01f * (float)i;
}

static sampler_params greedy_params(void)
{
    sampler_params p = sampler_params_default();

    p.do_sample = false;
    return p;
}

TEST(defaults_are_the_models)
{
    sampler_params p = sampler_params_default();
    mo_error err = { 0 };

    CHECK(p.do_sample && p.top_k == 100 && p.min_p == 0 && p.min_new_tokens == 0);
    CHECK_NEAR(p.temperature, 0.7, 1e-6);
    CHECK_NEAR(p.top_p, 0.8, 1e-6);
    CHECK_NEAR(p.repetition_penalty, 1.02, 1e-6);
    CHECK_OK(sampler_params_check(&p, &err));
}

#define REFUSE(field, value)                                                                                                               \
    do {                                                                                                                                   \
        sampler_params p_ = sampler_params_default();                                                                                      \
        sampler *s_;                                                                                                                       \
        p_.field = (value);                                                                                                                \
        CHECK_INT(sampler_open(&s_, N, &p_, end_list, NULL, &err), MO_E_ARG);                                                              \
        CHECK(!s_ && strstr(err.message, #field));                                                                                         \
    } while (0)

TEST(ranges)
{
    mo_error err = { 0 };

    REFUSE(temperature, -0.1f);
    REFUSE(temperature, NAN);
    REFUSE(temperature, INFINITY);
    REFUSE(top_k, -1);
    REFUSE(top_p, 1.5f);
    REFUSE(top_p, NAN);
    REFUSE(min_p, -0.5f);
    REFUSE(repetition_penalty, 0.0f);
    REFUSE(repetition_penalty, NAN);
    REFUSE(presence_penalty, 3.0f);
    REFUSE(frequency_penalty, -3.0f);
    REFUSE(length_penalty, -1.0f);
    REFUSE(min_new_tokens, -1);
}

TEST(repetition_penalty_on_a_set)
{
    sampler_params p = greedy_params();
    mo_error err = { 0 };
    float v[N];
    int32_t id;
    sampler *s;

    ramp(v);
    p.repetition_penalty = 1.5f;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    for (int i = 0; i < 5; i++) { /* each accepted id is multiplied once: the next one wins */
        CHECK_OK(sampler_next(s, v, &id, &err));
        CHECK_INT(id, i);
        for (int j = 0; j <= i; j++) sampler_accept(s, id);
    }
    CHECK_NEAR(v[0], -1.0, 0); /* the caller's logits are untouched */
    for (int i = 0; i < N; i++) sampler_accept(s, i);
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 0);
    sampler_accept(s, -1);
    sampler_accept(s, N);
    sampler_reset(s, 0);
    v[7] = 3;
    v[8] = 2.5f;
    sampler_accept(s, 7); /* 3 / 1.5 < 2.5 */
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 8);
    sampler_close(s);
}

TEST(presence_and_frequency)
{
    sampler_params p = greedy_params();
    mo_error err = { 0 };
    float v[N];
    int32_t id;
    sampler *s;

    ramp(v);
    v[0] = 5;
    v[1] = 3.4f;
    v[2] = 0.9f;
    p.repetition_penalty = 1;
    p.presence_penalty = 0.5f;
    p.frequency_penalty = 1;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    sampler_accept(s, 0); /* 5 - 1.5 = 3.5 */
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 0);
    sampler_accept(s, 0); /* 5 - 2.5 = 2.5 */
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 1);
    sampler_close(s);
}

TEST(ends)
{
    sampler_params p = greedy_params();
    mo_error err = { 0 };
    float v[N];
    int32_t id;
    sampler *s;

    ramp(v);
    v[END] = 9;
    v[END2] = 8;
    v[5] = 7;
    p.min_new_tokens = 2;
    p.repetition_penalty = 1;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(sampler_next(s, v, &id, &err));
        CHECK_INT(id, 5);
        sampler_accept(s, id); /* repeats count */
    }
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, END);
    CHECK(sampler_is_end(s, END2) && !sampler_is_end(s, 5));
    sampler_close(s);
    p.min_new_tokens = 0;
    p.length_penalty = 2;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 5);
    sampler_close(s);
}

TEST(cold_is_greedy_and_nothing_left_is_an_error)
{
    sampler_params p = sampler_params_default();
    mo_error err = { 0 };
    float v[N];
    int32_t id;
    sampler *s;

    ramp(v);
    v[44] = 1;
    p.temperature = 0;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 44);
    sampler_close(s);
    p.temperature = 1;
    for (int i = 0; i < N; i++) v[i] = i % 2 ? NAN : -INFINITY;
    CHECK_OK(sampler_open(&s, N, &p, end_list, NULL, &err));
    CHECK_INT(sampler_next(s, v, &id, &err), MO_E_STATE);
    v[17] = -1e30f;
    CHECK_OK(sampler_next(s, v, &id, &err));
    CHECK_INT(id, 17);
    sampler_close(s);
}

TEST(seeds_forks_shared_scratch)
{
    sampler_params p = sampler_params_default();
    mo_error err = { 0 };
    float v[N];
    draw_scratch *d;
    sampler *a, *b, *c;
    int32_t x, y, z;
    int n_differ = 0;
    int64_t before;

    for (int i = 0; i < N; i++) v[i] = sinf((float)i * 1.7f) * 2;
    p.seed = 5;
    p.frequency_penalty = 0.1f;
    CHECK_OK(draw_scratch_open(&d, N, &err));
    CHECK_OK(sampler_open(&a, N, &p, end_list, d, &err));
    CHECK_OK(sampler_open(&b, N, &p, end_list, d, &err));
    CHECK_OK(sampler_open(&c, N, &p, end_list, d, &err));
    CHECK_INT(sampler_open(&(sampler *){ NULL }, N + 1, &p, end_list, d, &err), MO_E_ARG);
    sampler_reset(c, 6);
    before = mo_alloc_count();
    for (int i = 0; i < 200; i++) {
        CHECK_OK(sampler_next(a, v, &x, &err));
        CHECK_OK(sampler_next(b, v, &y, &err));
        CHECK_OK(sampler_next(c, v, &z, &err));
        CHECK_INT(x, y);
        n_differ += x != z;
        sampler_accept(a, x);
        sampler_accept(b, y);
        sampler_accept(c, z);
    }
    CHECK(n_differ > 50);
    sampler_copy(c, a);
    for (int i = 0; i < 50; i++) {
        CHECK_OK(sampler_next(a, v, &x, &err));
        CHECK_OK(sampler_next(c, v, &z, &err));
        CHECK_INT(x, z);
        sampler_accept(a, x);
        sampler_accept(c, z);
    }
    CHECK_INT(mo_alloc_count(), before);
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
    draw_scratch_close(d);
}

TEST(stream_window_and_terminator)
{
    stream_params p = stream_params_default();
    mo_error err = { 0 };
    static const int32_t never[] = { 1, 9999, -4 };
    int32_t first[] = { 0 };
    float v[N];
    int32_t id;
    bool finished;
    stream_sampler *s, *s2;

    ramp(v);
    p.do_sample = false;
    p.repetition_penalty = 3;
    CHECK_OK(stream_sampler_open(&s, N, &p, end_list, (id_list){ never, 3 }, 20, NULL, &err));
    CHECK_OK(stream_sampler_open(&s2, N, &p, end_list, (id_list){ never, 3 }, 20, NULL, &err));
    stream_sampler_earlier(s, (id_list){ first, 1 });
    for (int i = 2; i < 2 + STREAM_WINDOW - 1; i++) { /* 0 is penalised, 1 forbidden, the others one after the other */
        if (i % 10 == 0) stream_sampler_begin_chunk(s);
        CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
        CHECK_INT(id, i);
    }
    stream_sampler_begin_chunk(s); /* 0 is the 128th from the end: still seen */
    CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
    CHECK_INT(id, 2 + STREAM_WINDOW - 1);
    stream_sampler_copy(s2, s);
    stream_sampler_begin_chunk(s); /* now it has left */
    stream_sampler_begin_chunk(s2);
    CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
    CHECK_INT(id, 0);
    CHECK_OK(stream_sampler_next(s2, v, &id, &finished, &err));
    CHECK_INT(id, 0);
    v[END2] = 2;
    CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
    CHECK(id == END2 && finished);
    v[END2] = -50;
    stream_sampler_begin_turn(s);
    for (int i = 0; i < 20; i++) CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
    CHECK_INT(stream_sampler_next(s, v, &id, &finished, &err), MO_E_LIMIT);
    stream_sampler_close(s);
    stream_sampler_close(s2);
}

TEST(stream_top_k_is_exact)
{
    stream_params p = stream_params_default();
    mo_error err = { 0 };
    float v[N];
    double u = 0.999999;
    int32_t id;
    bool finished;
    stream_sampler *s;

    for (int i = 0; i < N; i++) v[i] = 1;
    p.top_k = 3;
    p.top_p = 1;
    p.repetition_penalty = 1;
    CHECK_OK(stream_sampler_open(&s, N, &p, end_list, none, 4, NULL, &err));
    stream_sampler_set_u(s, (u_source){ fixed_u, &u });
    CHECK_OK(stream_sampler_next(s, v, &id, &finished, &err));
    CHECK_INT(id, 2);
    stream_sampler_close(s);
}

static duplex_sampler *open_duplex(duplex_params p, int32_t listen, mo_error *err)
{
    static const int32_t never[] = { 3 };
    duplex_sampler *s = NULL;

    duplex_sampler_open(&s, N, &p, (duplex_ids){ .chunk_eos = END, .turn_eos = END2, .listen = listen }, (id_list){ never, 1 }, NULL, err);
    return s;
}

TEST(duplex_rules)
{
    duplex_params p = duplex_params_default();
    mo_error err = { 0 };
    float v[N];
    int32_t id;
    duplex_sampler *s;

    ramp(v);
    p.do_sample = false;
    p.repetition_penalty = 2;
    p.repetition_window = 2;
    p.length_penalty = 2;
    CHECK((s = open_duplex(p, -1, &err)));
    v[END] = 9; /* first draw ends the chunk, unrecorded */
    CHECK_OK(duplex_sampler_next(s, v, &id, &err));
    CHECK_INT(id, END);
    v[END] = 8;
    v[3] = 9; /* now another wins the first draw, and both are forbidden in the second */
    v[END2] = 1;
    v[10] = 0.75f; /* beats turn_eos / 2 */
    v[11] = 0.45f;
    CHECK_OK(duplex_sampler_next(s, v, &id, &err));
    CHECK_INT(id, 10);
    CHECK_OK(duplex_sampler_next(s, v, &id, &err)); /* 0.75 / 2 < 1 / 2 */
    CHECK_INT(id, END2);
    CHECK_OK(duplex_sampler_next(s, v, &id, &err)); /* 0.375, 0.25: 11 is left */
    CHECK_INT(id, 11);
    CHECK_OK(duplex_sampler_next(s, v, &id, &err)); /* window of two: 10 is free again */
    CHECK_INT(id, 10);
    duplex_sampler_close(s);

    ramp(v); /* the trap: dividing a negative logit raises it */
    p.length_penalty = 1;
    CHECK((s = open_duplex(p, -1, &err)));
    duplex_sampler_record(s, 40);
    CHECK_OK(duplex_sampler_next(s, v, &id, &err));
    CHECK_INT(id, 40);
    duplex_sampler_close(s);

    p.repetition_penalty = 1; /* listen shortcut: 5 logits are above 60's, not less */
    p.listen_top_k = 6;
    v[60] = v[5] + 0.001f;
    v[3] = 9;
    CHECK((s = open_duplex(p, 60, &err)));
    CHECK_OK(duplex_sampler_next(s, v, &id, &err));
    CHECK_INT(id, 60);
    duplex_sampler_close(s);
    p.listen_top_k = 4; /* 0, 1, 2, 4 are above it; 3 is forbidden */
    CHECK((s = open_duplex(p, 60, &err)));
    CHECK_OK(duplex_sampler_next(s, v, &id, &err));
    CHECK_INT(id, 0);
    duplex_sampler_close(s);

    p.repetition_window = 0;
    CHECK(!open_duplex(p, 60, &err) && err.code == MO_E_ARG);
    p.repetition_window = 5;
    CHECK(!open_duplex(p, N, &err) && err.code == MO_E_ARG);
}

TEST(no_memory)
{
    sampler_params p = sampler_params_default();
    stream_params q = stream_params_default();
    duplex_params r = duplex_params_default();
    duplex_ids ids = { END, END2, -1 };
    mo_error err = { 0 };
    sampler *a;
    stream_sampler *b;
    duplex_sampler *c;

    p.presence_penalty = 1;
    for (int i = 0; i < 40; i++) {
        mo_status st[3];

        mo_alloc_fail_after(i);
        st[0] = sampler_open(&a, N, &p, end_list, NULL, &err);
        mo_alloc_fail_after(i);
        st[1] = stream_sampler_open(&b, N, &q, end_list, end_list, 5, NULL, &err);
        mo_alloc_fail_after(i);
        st[2] = duplex_sampler_open(&c, N, &r, ids, end_list, NULL, &err);
        mo_alloc_fail_after(-1);
        CHECK(st[0] == (a ? MO_OK : MO_E_NOMEM) && st[1] == (b ? MO_OK : MO_E_NOMEM) && st[2] == (c ? MO_OK : MO_E_NOMEM));
        CHECK(i > 0 || (!a && !b && !c));
        CHECK(i < 15 || (a && b && c));
        sampler_close(a);
        stream_sampler_close(b);
        duplex_sampler_close(c);
    }
}

TEST(bad_token_table)
{
    int32_t id = 0;

    for (int i = 0; i < BAD_TOKEN_N; i++) id += bad_token_step[i];
    CHECK_INT(id, 151560); /* spec: min 7, max 151560 */
    CHECK_INT(bad_token_step[0], 7);
}

int main(void)
{
    RUN(defaults_are_the_models);
    RUN(ranges);
    RUN(repetition_penalty_on_a_set);
    RUN(presence_and_frequency);
    RUN(ends);
    RUN(cold_is_greedy_and_nothing_left_is_an_error);
    RUN(seeds_forks_shared_scratch);
    RUN(stream_window_and_terminator);
    RUN(stream_top_k_is_exact);
    RUN(duplex_rules);
    RUN(no_memory);
    RUN(bad_token_table);
    return test_end();
}
