/* Running a llama-bench and reading what it prints (bench_peer.h). */
#include "cli/bench_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/alloc.h"

extern char **environ;

enum { OUTPUT_MAX = 1 << 20, WORDS_MAX = 160 };

typedef struct output {
    char *text; /* [OUTPUT_MAX] of stdout */
    size_t n;
    char words[WORDS_MAX]; /* the end of stderr */
    size_t n_word;
} output;

/* ---- the process ------------------------------------------------------------------------------------------------ */

/* Keep the last WORDS_MAX bytes. */
static void keep_words(output *o, const char *text, size_t n)
{
    size_t drop;

    if (n > WORDS_MAX) text += n - WORDS_MAX, n = WORDS_MAX;
    drop = o->n_word + n > WORDS_MAX ? o->n_word + n - WORDS_MAX : 0;
    memmove(o->words, o->words + drop, o->n_word - drop);
    memcpy(o->words + o->n_word - drop, text, n);
    o->n_word += n - drop;
}

/* Its last line, printable. */
static void last_line(const output *o, char *out, size_t n_out)
{
    size_t end = o->n_word, from, n = 0;

    while (end && (unsigned char)o->words[end - 1] <= ' ') end--;
    for (from = end; from && o->words[from - 1] != '\n'; from--) {
    }
    for (; from < end && n + 1 < n_out; from++) out[n++] = o->words[from] >= ' ' && o->words[from] < 127 ? o->words[from] : '?';
    out[n] = 0;
}

/* Both streams to their ends. False: more than OUTPUT_MAX, or a read failed. */
static bool read_streams(output *o, int out, int err)
{
    struct pollfd fd[2] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN } };
    char part[4096];

    while (fd[0].fd >= 0 || fd[1].fd >= 0) {
        if (poll(fd, 2, -1) < 0 && errno != EINTR) return false;
        for (int i = 0; i < 2; i++) {
            ssize_t n;
            if (fd[i].fd < 0 || !fd[i].revents) continue;
            if ((n = read(fd[i].fd, part, sizeof part)) < 0 && errno == EINTR) continue;
            if (n < 0) return false;
            if (!n) fd[i].fd = -1;
            else if (i == 1) keep_words(o, part, (size_t)n);
            else if ((size_t)n > OUTPUT_MAX - o->n) return false;
            else memcpy(o->text + o->n, part, (size_t)n), o->n += (size_t)n;
        }
    }
    return true;
}

static int spawn(pid_t *pid, const char *program, char *const argv[], const int out[2], const int err[2])
{
    posix_spawn_file_actions_t a;
    int e = posix_spawn_file_actions_init(&a);

    if (e) return e;
    if (!(e = posix_spawn_file_actions_addopen(&a, 0, "/dev/null", O_RDONLY, 0)) &&
        !(e = posix_spawn_file_actions_adddup2(&a, out[1], 1)) && !(e = posix_spawn_file_actions_adddup2(&a, err[1], 2)))
        e = posix_spawnp(pid, program, &a, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&a);
    return e;
}

/* A pipe that the child gets only where it is put (both ends close on exec). */
static bool make_pipe(int fd[2])
{
    if (pipe(fd)) return false;
    for (int i = 0; i < 2; i++) (void)fcntl(fd[i], F_SETFD, FD_CLOEXEC);
    return true;
}

static void close_pipe(int fd[2])
{
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0) close(fd[i]);
}

static mo_status ended_well(const char *program, int status, const output *o, mo_error *err)
{
    char line[WORDS_MAX + 1];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return MO_OK;
    last_line(o, line, sizeof line);
    if (WIFEXITED(status))
        return mo_fail(err, MO_E_FORMAT, "%s ended with exit code %d%s%s", program, WEXITSTATUS(status), *line ? ", and said: " : "", line);
    return mo_fail(err, MO_E_FORMAT, "%s was ended by signal %d%s%s", program, WTERMSIG(status), *line ? ", and said: " : "", line);
}

static mo_status run_peer(const char *program, const bench_task *t, output *o, mo_error *err)
{
    char n_prompt[16], n_gen[16], n_thread[16];
    const char *argv[] = { program, "-m", t->path, "-p", n_prompt, "-n", n_gen, "-t", n_thread, "-r", "1", "-o", "json", NULL };
    int out[2] = { -1, -1 }, says[2] = { -1, -1 }, e, status = 0;
    bool is_read;
    pid_t pid = 0;

    snprintf(n_prompt, sizeof n_prompt, "%d", t->n_prompt);
    snprintf(n_gen, sizeof n_gen, "%d", t->n_gen);
    snprintf(n_thread, sizeof n_thread, "%d", t->n_thread);
    if (!make_pipe(out) || !make_pipe(says)) e = errno;
    else e = spawn(&pid, program, (char *const *)(const void *)argv, out, says); /* argv is not written to */
    if (e) {
        close_pipe(out);
        close_pipe(says);
        return mo_fail(err, MO_E_ARG, "cannot run %s: %s", program, strerror(e));
    }
    close(out[1]);
    close(says[1]);
    out[1] = says[1] = -1;
    if (!(is_read = read_streams(o, out[0], says[0]))) kill(pid, SIGKILL);
    close_pipe(out);
    close_pipe(says);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!is_read) return mo_fail(err, MO_E_FORMAT, "%s prints more than llama-bench's JSON has", program);
    return ended_well(program, status, o, err);
}

/* ---- its JSON --------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* One entry of the list: which part it is and how fast. */
static mo_status read_entry(bench_peer *p, const bench_task *t, const json_t *j, double *speed, mo_error *err)
{
    json_int_t n_prompt = json_integer_value(json_object_get(j, "n_prompt")), n_gen = json_integer_value(json_object_get(j, "n_gen"));
    const char *file = json_string_value(json_object_get(j, "model_filename"));
    const char *commit = json_string_value(json_object_get(j, "build_commit"));
    double v = json_number_value(json_object_get(j, "avg_ts"));

    if (file && strcmp(base_name(file), base_name(t->path)) != 0)
        return mo_fail(err, MO_E_FORMAT, "%s timed another model: %.200s, not %s", p->program, file, t->path);
    if (n_prompt == t->n_prompt && !n_gen) speed[BENCH_PREFILL] = v;
    if (n_gen == t->n_gen && !n_prompt) speed[BENCH_DECODE] = v;
    if (commit && strcmp(commit, "unknown") != 0) snprintf(p->version, sizeof p->version, "%s", commit);
    return MO_OK;
}

static mo_status read_json(bench_peer *p, const bench_task *t, const output *o, double *speed, mo_error *err)
{
    const char *text = memchr(o->text, '[', o->n); /* some greet first */
    json_t *list = text ? json_loadb(text, (size_t)(o->text + o->n - text), JSON_DISABLE_EOF_CHECK, NULL) : NULL, *j;
    mo_status st = MO_OK;
    size_t i;

    if (!list) return mo_fail(err, MO_E_FORMAT, "%s did not print llama-bench's JSON", p->program);
    json_array_foreach(list, i, j)
        if (st == MO_OK) st = read_entry(p, t, j, speed, err);
    json_decref(list);
    if (st == MO_OK && !(speed[BENCH_PREFILL] > 0 && speed[BENCH_DECODE] > 0))
        st = mo_fail(err, MO_E_FORMAT, "%s's JSON has no speed of %s %d tokens", p->program,
                     speed[BENCH_PREFILL] > 0 ? "generating" : "feeding", speed[BENCH_PREFILL] > 0 ? t->n_gen : t->n_prompt);
    return st;
}

mo_status bench_peer_round(bench_peer *p, const bench_task *task, const double *ours, mo_error *err)
{
    double speed[BENCH_PARTS] = { 0 };
    output o = { .text = mo_calloc(OUTPUT_MAX, 1) };
    mo_status st = o.text ? run_peer(p->program, task, &o, err) : mo_fail(err, MO_E_NOMEM, "no memory to read %s", p->program);

    if (st == MO_OK) st = read_json(p, task, &o, speed, err);
    for (int i = 0; st == MO_OK && i < BENCH_PARTS; i++) {
        bench_add(&p->speed[i], speed[i]);
        bench_add(&p->ratio[i], ours[i] / speed[i]);
    }
    mo_free(o.text);
    return st;
}

/* ---- what is shown ---------------------------------------------------------------------------------------------- */

static void print_line(const char *name, const bench_sample *s, const char *unit)
{
    const size_t n = strlen(name), most = 36; /* the end of a path says more than its beginning */

    printf("  %s%-*s %10.2f %10.2f %10.2f %s\n", n > most ? "..." : "", n > most ? (int)most - 3 : (int)most,
           n > most ? name + n - (most - 3) : name, bench_median(s), bench_min(s), bench_max(s), unit);
}

void bench_peers_print(const bench_task *task, const bench_sample *ours, const bench_peer *peer, int n_peer)
{
    printf("%-38s %10s %10s %10s\n", "", "median", "least", "most");
    for (int part = 0; part < BENCH_PARTS; part++) {
        if (part == BENCH_PREFILL) printf("prefill %d\n", task->n_prompt);
        else printf("decode %d from nothing\n", task->n_gen);
        print_line("minicpmo", &ours[part], "tok/s");
        for (int i = 0; i < n_peer; i++) {
            print_line(peer[i].program, &peer[i].speed[part], "tok/s");
            print_line("  ours / theirs, round by round", &peer[i].ratio[part], "x");
        }
    }
}

static json_t *sample_json(const bench_sample *s)
{
    return json_pack("{s:f,s:f,s:f}", "median", bench_median(s), "min", bench_min(s), "max", bench_max(s));
}

json_t *bench_peers_json(const bench_sample *ours, const bench_peer *peer, int n_peer)
{
    static const char *const part_name[BENCH_PARTS] = { "prefill", "decode" };
    json_t *list = json_array();

    for (int i = 0; i < n_peer; i++) {
        json_t *j = json_pack("{s:s,s:s,s:s}", "program", peer[i].program, "version", peer[i].version, "unit", "tok/s");
        for (int part = 0; part < BENCH_PARTS; part++)
            json_object_set_new(j, part_name[part],
                                json_pack("{s:o,s:o,s:o}", "ours", sample_json(&ours[part]), "peer", sample_json(&peer[i].speed[part]),
                                          "ratio", sample_json(&peer[i].ratio[part])));
        json_array_append_new(list, j);
    }
    return list;
}
