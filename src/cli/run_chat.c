/* The conversation's loop and its commands (run_chat.h).
 *
 *     line -> "/command argument" -> changes the conversation
 *          -> text                -> joins the user's message, which then is answered
 */
#include "cli/run_chat.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/line_editor.h"
#include "cli/run_answer.h"
#include "core/alloc.h"

typedef struct chat {
    mo_session *s;
    chat_opts o;
    char *system;   /* what every fresh conversation begins with, or NULL */
    bool is_open;   /* a user's message is begun */
    bool has_media; /* and holds a picture or a sound: an empty line asks */
    bool leave;
} chat;

typedef struct chat_command {
    const char *name;     /* with a space at the end if a file follows: what Tab puts in */
    const char *argument; /* how the help calls it, or NULL */
    const char *help;
    mo_status (*run)(chat *c, const char *argument, mo_error *err);
} chat_command;

/* ---- commands --------------------------------------------------------------------------------------------------- */

static mo_status open_message(chat *c, mo_error *err)
{
    mo_status st = c->is_open ? MO_OK : mo_session_begin(c->s, "user", err);

    if (st == MO_OK) c->is_open = true;
    return st;
}

static mo_status push_file(chat *c, const char *typed, mo_status (*push)(mo_session *, const char *, mo_error *), mo_error *err)
{
    char *path = path_as_typed(typed);
    mo_status st = path ? open_message(c, err) : mo_fail(err, MO_E_NOMEM, "no memory for a path");

    if (st == MO_OK) st = push(c->s, path, err);
    if (st == MO_OK) {
        c->has_media = true;
        if (!c->o.quiet) cli_note("(%s is in the message; type the question, or Enter to ask without one)", path);
    }
    mo_free(path);
    return st;
}

static mo_status run_image(chat *c, const char *typed, mo_error *err) { return push_file(c, typed, mo_session_push_image_file, err); }
static mo_status run_audio(chat *c, const char *typed, mo_error *err) { return push_file(c, typed, mo_session_push_audio_file, err); }

/* An empty conversation, but for the system message. */
static mo_status begin_anew(chat *c, mo_error *err)
{
    mo_status st = mo_session_clear(c->s, err);

    if (st != MO_OK) return st;
    c->is_open = c->has_media = false;
    if (!c->system) return MO_OK;
    if ((st = mo_session_begin(c->s, "system", err)) != MO_OK) return st;
    return mo_session_push_text(c->s, c->system, strlen(c->system), err);
}

static mo_status run_clear(chat *c, const char *argument, mo_error *err)
{
    mo_status st = begin_anew(c, err);

    (void)argument;
    if (st == MO_OK && !c->o.quiet) cli_note("(a new conversation)");
    return st;
}

static mo_status run_system(chat *c, const char *text, mo_error *err)
{
    char *copy = mo_strdup(text);
    mo_status st;

    if (!copy) return mo_fail(err, MO_E_NOMEM, "no memory for a system message");
    mo_free(c->system);
    c->system = copy;
    if ((st = begin_anew(c, err)) == MO_OK && !c->o.quiet) cli_note("(a new conversation with this system message)");
    return st;
}

static mo_status write_whole(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return MO_E_IO;
        p += k;
        n -= (size_t)k;
    }
    return fsync(fd) && errno != EINVAL && errno != EROFS ? MO_E_IO : MO_OK; /* EINVAL: what cannot be synced */
}

/* The file is whole or as it was: written beside, then renamed. */
static mo_status save_text(const char *path, const char *text, mo_error *err)
{
    buf part = { 0 };
    mo_status st = MO_OK;
    int fd = -1;

    buf_printf(&part, "%s.part-%ld", path, (long)getpid());
    if (part.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    else if ((fd = open(part.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        st = mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", path, strerror(errno));
    else {
        bool bad = write_whole(fd, text, strlen(text)) != MO_OK || write_whole(fd, "\n", 1) != MO_OK;
        int e = errno;
        if (close(fd) && !bad) bad = true, e = errno;
        if (!bad && rename(part.data, path)) bad = true, e = errno;
        if (bad) st = mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", path, strerror(e));
        if (bad) unlink(part.data);
    }
    buf_free(&part);
    return st;
}

static mo_status run_save(chat *c, const char *typed, mo_error *err)
{
    char *path = path_as_typed(typed), *json = mo_session_to_json(c->s);
    mo_status st = path && json ? save_text(path, json, err) : mo_fail(err, MO_E_NOMEM, "no memory for the conversation as JSON");

    if (st == MO_OK && !c->o.quiet) cli_note("(saved in %s)", path);
    mo_string_free(json);
    mo_free(path);
    return st;
}

static mo_status run_exit(chat *c, const char *argument, mo_error *err)
{
    (void)argument, (void)err;
    c->leave = true;
    return MO_OK;
}

static mo_status run_help(chat *c, const char *argument, mo_error *err);

static const chat_command commands[] = {
    { "/image ", "FILE", "put a picture into the message", run_image },
    { "/audio ", "FILE", "put a sound into the message", run_audio },
    { "/system", "TEXT", "begin anew with this system message", run_system },
    { "/clear", NULL, "begin anew", run_clear },
    { "/save ", "FILE", "write the conversation as JSON", run_save },
    { "/help", NULL, "this list", run_help },
    { "/exit", NULL, "leave; Ctrl-D does too", run_exit },
};

enum { N_COMMAND = sizeof commands / sizeof *commands };

static mo_status run_help(chat *c, const char *argument, mo_error *err)
{
    (void)c, (void)argument, (void)err;
    for (int i = 0; i < N_COMMAND; i++) {
        int n = (int)strcspn(commands[i].name, " ");
        cli_note("  %.*s %-*s %s", n, commands[i].name, 12 - n, commands[i].argument ? commands[i].argument : "", commands[i].help);
    }
    cli_note("  Anything else is said to the model. Ctrl-C stops an answer; Tab completes commands and file names.");
    return MO_OK;
}

/* line begins with '/'. An unknown command is a sentence, not a message to the model. */
static mo_status run_command(chat *c, const char *line, mo_error *err)
{
    size_t n = strcspn(line, " \n");
    const char *argument = line + n + strspn(line + n, " ");

    for (int i = 0; i < N_COMMAND; i++) {
        if (strcspn(commands[i].name, " ") != n || memcmp(commands[i].name, line, n)) continue;
        if (commands[i].argument && !*argument) return mo_fail(err, MO_E_ARG, "%.*s needs a %s", (int)n, line, commands[i].argument);
        return commands[i].run(c, argument, err);
    }
    return mo_fail(err, MO_E_ARG, "there is no command '%.*s'; /help lists them", n < 100 ? (int)n : 100, line);
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static mo_status say(chat *c, const buf *text, mo_error *err)
{
    answer a = { .quiet = c->o.quiet };
    mo_status st;

    if ((st = open_message(c, err)) != MO_OK) return st;
    if (text->len && (st = mo_session_push_text(c->s, text->data, text->len, err)) != MO_OK) return st;
    st = answer_run(&a, c->s, err);
    if (st == MO_OK) {
        c->is_open = c->has_media = false;
        if (!c->o.quiet) answer_note_reason(&a);
        if (c->o.verbose) answer_note_figures(&a);
    }
    buf_free(&a.text);
    return st;
}

/* One line; MO_E_IO: stdout is gone. */
static mo_status one_line(chat *c, line_editor *e, buf *line)
{
    mo_error err = { 0 };
    mo_status st = MO_OK;

    switch (line_editor_read(e, line)) {
    case LINE_END: c->leave = true; return MO_OK;
    case LINE_CANCELLED: return MO_OK;
    case LINE_TEXT: break;
    }
    if (line->failed) st = mo_fail(&err, MO_E_NOMEM, "no memory for a line");
    else if (line->len && line->data[0] == '/') st = run_command(c, line->data, &err);
    else if (line->len || c->has_media) st = say(c, line, &err);
    if (ferror(stdout)) return MO_E_IO; /* cli_flush said why */
    if (st != MO_OK) cli_error("%s%s", err.message, st == MO_E_LIMIT ? " (/clear begins anew)" : "");
    return MO_OK;
}

static void do_nothing(int sig) { (void)sig; }

/* Between answers Ctrl-C is a key of the line editor; a late one must not end the program. Plain reading is broken off by
 * it (no SA_RESTART), which leaves. */
static void ignore_interrupt(struct sigaction *before)
{
    struct sigaction a = { .sa_handler = do_nothing };

    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, before);
}

/* What it is and takes; how it is spoken to, where that is not the family's own way. */
static void greet(const mo_model *m)
{
    const bool sees = mo_model_has_vision(m), hears = mo_model_has_audio(m);
    const char *how, *kind = mo_model_chat(m, &how);

    cli_note("%s: %s.", mo_model_name(m),
             sees && hears ? "text, pictures and sound"
             : sees        ? "text and pictures, no sound"
             : hears       ? "text and sound, no pictures"
                           : "text only");
    if (how) cli_note("Conversations are written as %s, %s.", kind, how);
    cli_note("/help lists the commands; Ctrl-D leaves.");
}

int chat_run(mo_session *s, const chat_opts *o, bool is_open)
{
    chat c = { .s = s, .o = *o, .is_open = is_open, .has_media = is_open };
    const char *names[N_COMMAND + 1] = { NULL };
    struct sigaction before;
    line_editor *e;
    buf line = { 0 };
    mo_status st = MO_OK;

    ignore_interrupt(&before);
    for (int i = 0; i < N_COMMAND; i++) names[i] = commands[i].name;
    c.system = o->system ? mo_strdup(o->system) : NULL;
    e = line_editor_open(names);
    if (!e || (o->system && !c.system)) {
        cli_error("no memory for a conversation");
        st = MO_E_NOMEM;
    }
    if (!o->quiet && st == MO_OK) greet(o->model);
    while (st == MO_OK && !c.leave) st = one_line(&c, e, &line);
    line_editor_close(e);
    sigaction(SIGINT, &before, NULL);
    buf_free(&line);
    mo_free(c.system);
    return st == MO_OK ? 0 : 1;
}
