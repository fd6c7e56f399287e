/* What the session tests share: opening, media made by rule, an answer from beginning to end. */
#ifndef TALK_H
#define TALK_H

#include <math.h>

#include "core/synth.h"
#include "minicpmo.h"
#include "test.h"
#include "tiny.h"

typedef struct reply {
    buf text;
    mo_event end;
    bool has_end;
    int n_progress;
    int64_t n_alloc; /* of the steps that fed and generated */
} reply;

static inline void reply_free(reply *r) { buf_free(&r->text); }
static inline const char *reply_text(const reply *r) { return r->text.data ? r->text.data : ""; }

/* Not through mo_realloc: the tests make that fail for the session, not for themselves. */
static inline void reply_put(reply *r, const char *text, size_t n)
{
    char *p = realloc(r->text.data, r->text.len + n + 1);

    if (!p) abort();
    memcpy(p + r->text.len, text, n);
    r->text.data = p;
    r->text.len += n;
    p[r->text.len] = 0;
}

static inline void take_events(mo_session *s, reply *r)
{
    mo_event ev;

    while (mo_session_pull(s, &ev)) {
        if (ev.type == MO_EVENT_TEXT) reply_put(r, ev.text, ev.n_text);
        if (ev.type == MO_EVENT_PROGRESS) r->n_progress++;
        if (ev.type == MO_EVENT_END) {
            r->end = ev;
            r->has_end = true;
        }
    }
}

/* Ask, step until the end, take everything. */
static inline mo_status talk(mo_session *s, reply *r, mo_error *err)
{
    mo_status st;

    memset(r, 0, sizeof *r);
    if ((st = mo_session_answer(s, err)) != MO_OK) return st;
    while ((st = mo_session_step(s, err)) == MO_OK) take_events(s, r);
    take_events(s, r);
    return st == MO_E_AGAIN ? MO_OK : st;
}

static inline mo_status say(mo_session *s, const char *role, const char *text, mo_error *err)
{
    mo_status st = mo_session_begin(s, role, err);

    return st == MO_OK ? mo_session_push_text(s, text, strlen(text), err) : st;
}

/* A sound by rule: notes and noise, of another kind for another seed. */
static inline float *make_sound(int64_t n, int seed)
{
    float *x = malloc((size_t)n * sizeof *x + 1);

    if (!x) abort();
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.3f * (float)sin((double)i * (0.02 + 0.013 * seed) * (1 + 0.3 * (double)(i / 3200 % 5))) +
               0.05f * synth_x((uint64_t)seed, (uint64_t)i);
    return x;
}

static inline mo_status push_sound(mo_session *s, double seconds, int seed, mo_error *err)
{
    int64_t n = (int64_t)(seconds * 16000 + 0.5);
    float *x = make_sound(n, seed);
    mo_status st = mo_session_push_audio(s, x, n, err);

    free(x);
    return st;
}

static inline mo_status push_picture(mo_session *s, int w, int h, int seed, mo_error *err)
{
    uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
    mo_status st;

    if (!rgb) abort();
    for (int i = 0; i < w * h * 3; i++) rgb[i] = (uint8_t)(i / 3 % w * 5 * (1 + seed) + i / 3 / w * 3 + i % 3 * 40 * seed);
    st = mo_session_push_image_rgb(s, rgb, w, h, err);
    free(rgb);
    return st;
}

static inline mo_model_opts model_opts(int n_thread, int n_ubatch)
{
    mo_model_opts o = mo_model_opts_default();

    o.n_thread = n_thread;
    o.n_ubatch = n_ubatch;
    return o;
}

/* Short greedy answers that do not end by themselves early, in a small context. */
static inline mo_session_opts session_opts(void)
{
    mo_session_opts o = mo_session_opts_default();

    o.n_ctx = 1024;
    o.greedy = 1;
    o.max_tokens = 12;
    o.min_tokens = 6;
    return o;
}

#endif
