/* Stop strings over streamed text (stop.h).
 *
 * One Knuth-Morris-Pratt automaton per string: its state is the length of the longest prefix of the string that the text
 * ends in. So the text held back is the longest such prefix over all strings, and need not be stored: it is a
 * piece of the string itself.
 */
#include "session/stop.h"

#include <stdint.h>
#include <string.h>

#include "core/alloc.h"

typedef struct pattern {
    char *s;        /* [len] */
    uint16_t *back; /* [len + 1] state to fall back to from each state: the next shorter prefix that is a suffix */
    size_t len, state;
} pattern;

struct stop_matcher {
    pattern *p; /* [n] */
    size_t n;
    size_t held;   /* bytes held back */
    size_t i_held; /* whose prefix they are */
    int i_hit;     /* -1: not stopped */
    bool include;
};

static bool pattern_set(pattern *p, const char *s, size_t len)
{
    size_t k = 0;

    p->len = len;
    if (!(p->s = mo_strndup(s, len)) || !(p->back = mo_calloc(len + 1, sizeof *p->back))) return false;
    for (size_t i = 1; i < len; i++) {
        while (k && s[i] != s[k]) k = p->back[k];
        if (s[i] == s[k]) k++;
        p->back[i + 1] = (uint16_t)k;
    }
    return true;
}

mo_status stop_open(stop_matcher **out, const char *const *stop, size_t n, bool include, mo_error *err)
{
    stop_matcher *m;

    *out = NULL;
    if (n > STOP_N_MAX) return mo_fail(err, MO_E_ARG, "%zu stop strings, at most %d are possible", n, STOP_N_MAX);
    for (size_t i = 0; i < n; i++)
        if (!stop[i] || !*stop[i] || strlen(stop[i]) > STOP_BYTES_MAX)
            return mo_fail(err, MO_E_ARG, "stop string %zu must have 1 to %d bytes", i + 1, STOP_BYTES_MAX);
    if (!(m = mo_zalloc(sizeof *m)) || !(m->p = mo_calloc(n + 1, sizeof *m->p))) goto nomem;
    m->include = include;
    m->n = n;
    for (size_t i = 0; i < n; i++)
        if (!pattern_set(&m->p[i], stop[i], strlen(stop[i]))) goto nomem;
    stop_reset(m);
    *out = m;
    return MO_OK;
nomem:
    stop_close(m);
    return mo_fail(err, MO_E_NOMEM, "no memory for %zu stop strings", n);
}

void stop_close(stop_matcher *m)
{
    if (!m) return;
    for (size_t i = 0; m->p && i < m->n; i++) {
        mo_free(m->p[i].s);
        mo_free(m->p[i].back);
    }
    mo_free(m->p);
    mo_free(m);
}

void stop_reset(stop_matcher *m)
{
    for (size_t i = 0; i < m->n; i++) m->p[i].state = 0;
    m->held = m->i_held = 0;
    m->i_hit = -1;
}

/* One byte through all automata. Updates what is held; true if a string is complete. */
static bool feed(stop_matcher *m, char c)
{
    size_t best = 0;

    m->held = 0;
    for (size_t i = 0; i < m->n; i++) {
        pattern *p = &m->p[i];
        size_t k = p->state;

        while (k && p->s[k] != c) k = p->back[k];
        if (p->s[k] == c) k++;
        p->state = k;
        if (k == p->len && k > best) {
            best = k;
            m->i_hit = (int)i;
        }
        if (k > m->held) {
            m->held = k;
            m->i_held = i;
        }
    }
    return best > 0;
}

/* Append bytes [at0, at1) of (bytes held before the call) ++ text. */
static void put_range(buf *out, const char *held, size_t n_held, const char *text, size_t at0, size_t at1)
{
    if (at0 < n_held && at0 < at1) buf_put(out, held + at0, (at1 < n_held ? at1 : n_held) - at0);
    if (at1 > n_held) buf_put(out, text + (at0 > n_held ? at0 - n_held : 0), at1 - (at0 > n_held ? at0 : n_held));
}

mo_status stop_push(stop_matcher *m, const char *text, size_t n, bool final, buf *out, mo_error *err)
{
    const char *before = m->n ? m->p[m->i_held].s : "";
    size_t n_before = m->held, end = n_before + n;

    if (m->i_hit >= 0) return MO_OK;
    for (size_t i = 0; i < n; i++)
        if (feed(m, text[i])) {
            end = n_before + i + 1 - (m->include ? 0 : m->p[m->i_hit].len);
            m->held = 0;
            break;
        }
    if (m->i_hit < 0) {
        if (final) stop_reset(m);
        end -= m->held;
    }
    put_range(out, before, n_before, text, 0, end);
    return out->failed ? mo_fail(err, MO_E_NOMEM, "no memory for text") : MO_OK;
}

bool stop_hit(const stop_matcher *m) { return m->i_hit >= 0; }

int stop_which(const stop_matcher *m) { return m->i_hit; }

size_t stop_held_bytes(const stop_matcher *m) { return m->held; }
