/* Lines from a terminal (line_editor.h). */
#include "cli/line_editor.h"

#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef MO_HAVE_LIBEDIT
#include <histedit.h>
#endif

#include "core/alloc.h"
#include "core/file.h"

enum { HISTORY_LINES = 1000, PASTE_GAP_MS = 20, LISTED_MAX = 100 };

struct line_editor {
    const char *const *commands;
    const char *prompt;
    bool is_cancelled;
    char *history_path; /* NULL: none */
    char *line;         /* getline's */
    size_t line_cap;
#ifdef MO_HAVE_LIBEDIT
    EditLine *el;
    History *history;
#endif
};

char *path_as_typed(const char *typed)
{
    size_t n = strlen(typed);
    const char *home;
    buf b = { 0 };

    while (n && typed[n - 1] == ' ') n--;
    if (n >= 2 && (*typed == '\'' || *typed == '"') && typed[n - 1] == *typed) {
        typed++;
        n -= 2;
    } else if (n && *typed == '~' && (n == 1 || typed[1] == '/') && (home = getenv("HOME"))) {
        buf_puts(&b, home);
        typed++;
        n--;
    }
    buf_put(&b, typed, n);
    buf_put(&b, "", 0);
    if (b.failed) buf_free(&b);
    return b.data ? b.data : mo_strdup("");
}

/* ---- a line ----------------------------------------------------------------------------------------------------- */

/* Without libedit, or when it could not start: the terminal's own line editing. NULL: end of input. */
static const char *read_plain(line_editor *e)
{
    fputs(e->prompt, stderr);
    fflush(stderr);
    return getline(&e->line, &e->line_cap, stdin) < 0 ? NULL : e->line;
}

static bool more_is_waiting(void)
{
    struct pollfd p = { STDIN_FILENO, POLLIN, 0 };

    return poll(&p, 1, PASTE_GAP_MS) > 0 && (p.revents & POLLIN);
}

#ifdef MO_HAVE_LIBEDIT

static char *prompt_of(EditLine *el)
{
    line_editor *e;

    el_get(el, EL_CLIENTDATA, &e);
    return (char *)(uintptr_t)e->prompt; /* libedit only reads it */
}

/* Ctrl-C: an empty line ends the conversation, another is thrown away. */
static unsigned char on_cancel(EditLine *el, int ch)
{
    const LineInfo *l = el_line(el);
    line_editor *e;

    (void)ch;
    el_get(el, EL_CLIENTDATA, &e);
    fputc('\n', stderr);
    if (l->lastchar == l->buffer) return CC_EOF;
    e->is_cancelled = true;
    return CC_NEWLINE;
}

static unsigned char on_suspend(EditLine *el, int ch)
{
    (void)el, (void)ch;
    raise(SIGTSTP); /* libedit's handler gives the terminal back first */
    return CC_REDISPLAY;
}

/* ---- completion: what all candidates share is put in; if that is nothing, they are listed ---- */

typedef struct candidates {
    buf common, list;
    int n;
} candidates;

static void add_candidate(candidates *c, const char *name)
{
    size_t same = 0;

    if (!c->n) {
        buf_puts(&c->common, name);
    } else if (c->common.data) {
        while (name[same] && c->common.data[same] == name[same]) same++;
        c->common.data[same] = 0;
        c->common.len = same;
    }
    if (c->n++ < LISTED_MAX) buf_printf(&c->list, "%s%s", c->n > 1 ? "  " : "", name);
}

static void find_files(candidates *c, const char *typed)
{
    const char *slash = strrchr(typed, '/'), *base = slash ? slash + 1 : typed;
    char *dir = slash ? mo_strndup(typed, (size_t)(slash + 1 - typed)) : mo_strdup("."), *real = dir ? path_as_typed(dir) : NULL;
    DIR *d = real ? opendir(real) : NULL;
    size_t n = strlen(base);
    struct dirent *f;

    while (d && (f = readdir(d))) {
        char *path, name[300];
        if (strncmp(f->d_name, base, n) || (!n && f->d_name[0] == '.') || !(path = path_join(real, f->d_name))) continue;
        snprintf(name, sizeof name, "%s%s", f->d_name, file_is_dir(path) ? "/" : "");
        add_candidate(c, name);
        mo_free(path);
    }
    if (d) closedir(d);
    mo_free(real);
    mo_free(dir);
}

/* Where in the line the word being completed begins, and its candidates. */
static size_t find_candidates(const line_editor *e, candidates *c, const char *line)
{
    const char *last;

    for (int i = 0; e->commands[i]; i++) {
        size_t n = strlen(e->commands[i]);
        if (e->commands[i][n - 1] != ' ' || strncmp(line, e->commands[i], n)) continue;
        find_files(c, line + n);
        last = strrchr(line + n, '/');
        return last ? (size_t)(last + 1 - line) : n;
    }
    for (int i = 0; e->commands[i]; i++)
        if (*line == '/' && !strncmp(line, e->commands[i], strlen(line))) add_candidate(c, e->commands[i]);
    return 0;
}

static unsigned char on_complete(EditLine *el, int ch)
{
    const LineInfo *l = el_line(el);
    unsigned char result = CC_ERROR;
    candidates c = { 0 };
    line_editor *e;
    char *line;
    size_t from;

    (void)ch;
    el_get(el, EL_CLIENTDATA, &e);
    if (!(line = mo_strndup(l->buffer, (size_t)(l->cursor - l->buffer)))) return CC_ERROR;
    from = find_candidates(e, &c, line);
    if (c.common.data && c.common.len > strlen(line + from)) {
        if (!el_insertstr(el, c.common.data + strlen(line + from))) result = CC_REFRESH;
    } else if (c.n > 1 && c.list.data) {
        fprintf(stderr, "\n%s%s\n", c.list.data, c.n > LISTED_MAX ? "  …" : "");
        result = CC_REDISPLAY;
    }
    buf_free(&c.common);
    buf_free(&c.list);
    mo_free(line);
    return result;
}

/* ---- history ---- */

/* $XDG_STATE_HOME/minicpmo/history, its folder made; NULL if there can be none. */
static char *history_file(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    buf b = { 0 };

    if (state && *state == '/') buf_printf(&b, "%s/minicpmo", state);
    else if (home && *home) buf_printf(&b, "%s/.local/state/minicpmo", home);
    for (char *s = b.data ? strchr(b.data + 1, '/') : NULL; s; s = strchr(s + 1, '/')) {
        *s = 0;
        mkdir(b.data, 0700); /* there already, or opening the file will fail, which is no error */
        *s = '/';
    }
    if (b.data) mkdir(b.data, 0700);
    if (b.data) buf_puts(&b, "/history");
    if (b.failed) buf_free(&b);
    return b.data;
}

static void remember(line_editor *e, const char *line)
{
    HistEvent ev;

    if (e->history && *line && *line != '\n') history(e->history, &ev, H_ENTER, line);
}

/* ---- life ---- */

static void start_libedit(line_editor *e)
{
    HistEvent ev;

    if (!(e->el = el_init("minicpmo", stdin, stderr, stderr))) return;
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, prompt_of);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_SIGNAL, 1);                  /* whatever signal ends or stops us finds the terminal as it was */
    el_set(e->el, EL_SETTY, "-d", "-isig", NULL); /* Ctrl-C is a key while a line is edited */
    el_set(e->el, EL_ADDFN, "mo-cancel", "throw the line away, or leave", on_cancel);
    el_set(e->el, EL_ADDFN, "mo-suspend", "stop the program", on_suspend);
    el_set(e->el, EL_ADDFN, "mo-complete", "complete a command or a file name", on_complete);
    el_set(e->el, EL_BIND, "^C", "mo-cancel", NULL);
    el_set(e->el, EL_BIND, "^Z", "mo-suspend", NULL);
    el_set(e->el, EL_BIND, "^I", "mo-complete", NULL);
    el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    if (!(e->history = history_init())) return;
    history(e->history, &ev, H_SETSIZE, HISTORY_LINES);
    history(e->history, &ev, H_SETUNIQUE, 1);
    el_set(e->el, EL_HIST, history, e->history);
    if ((e->history_path = history_file())) history(e->history, &ev, H_LOAD, e->history_path);
}

static void stop_libedit(line_editor *e)
{
    HistEvent ev;

    if (e->history && e->history_path) history(e->history, &ev, H_SAVE, e->history_path);
    if (e->el) el_end(e->el); /* also gives the terminal its settings back */
    if (e->history) history_end(e->history);
}

static const char *read_edited(line_editor *e)
{
    const char *line;
    int n = 0;

    if (!e->el) return read_plain(e);
    errno = 0;
    line = el_gets(e->el, &n);
    return n > 0 ? line : NULL;
}

#else

static void start_libedit(line_editor *e) { (void)e; }
static void stop_libedit(line_editor *e) { (void)e; }
static void remember(line_editor *e, const char *line) { (void)e, (void)line; }
static const char *read_edited(line_editor *e) { return read_plain(e); }

#endif

line_editor *line_editor_open(const char *const *commands)
{
    line_editor *e = mo_zalloc(sizeof *e);

    if (!e) return NULL;
    e->commands = commands;
    e->prompt = "> ";
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8"); /* text is UTF-8 here, whatever the environment forgot */
    start_libedit(e);
    return e;
}

void line_editor_close(line_editor *e)
{
    if (!e) return;
    stop_libedit(e);
    mo_free(e->history_path);
    free(e->line); /* getline's */
    mo_free(e);
}

line_result line_editor_read(line_editor *e, buf *out)
{
    const char *line;
    bool is_command;

    buf_clear(out);
    e->prompt = "> ";
    do {
        e->is_cancelled = false;
        if (!(line = read_edited(e))) {
            if (out->len) break; /* what was pasted before the end counts */
            return LINE_END;
        }
        if (e->is_cancelled) return LINE_CANCELLED;
        remember(e, line);
        buf_puts(out, line);
        is_command = out->len && out->data[0] == '/';
        e->prompt = ". ";
    } while (!is_command && more_is_waiting());
    while (out->len && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r')) out->data[--out->len] = 0;
    return LINE_TEXT;
}
