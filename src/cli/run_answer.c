/* Running one answer (run_answer.h). */
#include "cli/run_answer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"

/* ---- Ctrl-C ----------------------------------------------------------------------------------------------------- */

static mo_session *volatile interrupt_target; /* a signal handler can reach nothing else */

static void on_interrupt(int sig)
{
    mo_session *s = interrupt_target;

    (void)sig;
    if (s) mo_session_interrupt(s);
}

/* one_shot: the second Ctrl-C finds the system's own handling, which ends the program. SA_RESTART: a write to a slow terminal goes on;
 * broken off, stdio would drop the text and call it a failure. */
static void catch_interrupt(mo_session *s, bool one_shot, struct sigaction *before)
{
    struct sigaction a = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART | (one_shot ? (int)SA_RESETHAND : 0) };

    interrupt_target = s;
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, before);
}

static void release_interrupt(const struct sigaction *before)
{
    sigaction(SIGINT, before, NULL);
    interrupt_target = NULL;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

typedef struct view {
    answer *a;
    progress bar;
    bool is_terminal, at_line_start;
} view;

/* A model's text is no command to the terminal: control characters other than newline and tab are shown as U+FFFD. */
static void put_safely(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0; /* U+0080 … U+009F */
        if (c1 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) fputs("\xef\xbf\xbd", stdout);
        else putchar(c);
        i += c1;
    }
}

static bool show_text(view *v, const mo_event *e)
{
    if (!e->n_text) return true;
    if (v->a->is_collected) {
        buf_put(&v->a->text, e->text, e->n_text);
        return true;
    }
    progress_end(&v->bar);
    v->bar = (progress){ 0 };
    if (v->is_terminal) put_safely(e->text, e->n_text);
    else fwrite(e->text, 1, e->n_text, stdout);
    v->at_line_start = e->text[e->n_text - 1] == '\n';
    return cli_flush();
}

static void show_progress(view *v, const mo_event *e)
{
    bool encoding = !strcmp(e->text, "encoding");

    if (v->a->quiet) return;
    if (!v->bar.label || strcmp(v->bar.label, e->text) || v->bar.total != (uint64_t)e->total) {
        progress_end(&v->bar);
        progress_begin_steps(&v->bar, encoding ? "encoding" : "reading", (uint64_t)e->total, encoding ? "pieces" : "positions");
    }
    progress_update(&v->bar, (uint64_t)e->done);
}

/* false: stdout takes no more. */
static bool take_events(view *v, mo_session *s)
{
    mo_event e;
    bool ok = true;

    while (ok && mo_session_pull(s, &e)) switch (e.type) {
        case MO_EVENT_TEXT: ok = show_text(v, &e); break;
        case MO_EVENT_PROGRESS: show_progress(v, &e); break;
        case MO_EVENT_END: v->a->end = e; break;
        }
    return ok;
}

static mo_status step_all(view *v, mo_session *s, mo_error *err)
{
    mo_status st;
    bool ok = true;

    while (ok && (st = mo_session_step(s, err)) == MO_OK) ok = take_events(v, s);
    if (ok) ok = take_events(v, s);
    if (ok) return st == MO_E_AGAIN ? MO_OK : st;
    mo_session_interrupt(s); /* let it end, so that the session is usable */
    while (mo_session_step(s, NULL) == MO_OK) {
    }
    return mo_fail(err, MO_E_IO, "standard output takes no more");
}

mo_status answer_run(answer *a, mo_session *s, mo_error *err)
{
    view v = { .a = a, .is_terminal = isatty(STDOUT_FILENO), .at_line_start = true };
    struct sigaction before;
    mo_status st;

    a->end = (mo_event){ 0 };
    buf_clear(&a->text);
    if ((st = mo_session_answer(s, err)) != MO_OK) return st;
    catch_interrupt(s, a->one_shot, &before);
    st = step_all(&v, s, err);
    release_interrupt(&before);
    progress_end(&v.bar);
    if (!v.at_line_start && !ferror(stdout)) {
        putchar('\n');
        if (!cli_flush() && st == MO_OK) st = mo_fail(err, MO_E_IO, "standard output takes no more");
    }
    if (st == MO_OK && a->text.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the answer's text");
    return st;
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

const char *answer_reason(mo_end_reason r)
{
    switch (r) {
    case MO_END_STOP: return "stop";
    case MO_END_STOP_TEXT: return "stop_text";
    case MO_END_MAX_TOKENS: return "max_tokens";
    case MO_END_CONTEXT: return "context";
    case MO_END_INTERRUPTED: return "interrupted";
    }
    return "unknown";
}

void answer_note_reason(const answer *a)
{
    switch (a->end.reason) {
    case MO_END_STOP:
    case MO_END_STOP_TEXT: return;
    case MO_END_MAX_TOKENS: cli_note("(cut off: --max-tokens %d)", a->end.n_generated); return;
    case MO_END_CONTEXT: cli_note("(cut off: the context is full; --ctx sets its size)"); return;
    case MO_END_INTERRUPTED: cli_note("(interrupted)"); return;
    }
}

static double per_second(double n, double ms) { return ms > 0 ? n * 1000 / ms : 0; }

void answer_note_figures(const answer *a)
{
    const mo_event *e = &a->end;
    int32_t n_read = e->n_prompt - e->n_reused;

    fputs("[", stderr);
    if (e->encode_ms >= 1) fprintf(stderr, "pictures and sound %.2f s, ", e->encode_ms * 1e-3);
    fprintf(stderr, "prompt %d positions", e->n_prompt);
    if (e->n_reused) fprintf(stderr, " (%d reused)", e->n_reused);
    fprintf(stderr, " in %.2f s, %.1f/s; answer %d tokens", e->prefill_ms * 1e-3, per_second(n_read, e->prefill_ms), e->n_generated);
    if (e->n_accepted) fprintf(stderr, " (%d guessed)", e->n_accepted);
    fprintf(stderr, " in %.2f s, %.1f/s]\n", e->decode_ms * 1e-3, per_second(e->n_generated, e->decode_ms));
}
