/* minicpmo: the program. Finds the command and calls it; every command is a file of its own (cli.h). */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    { "run", "answer a question about pictures and sounds, or hold a conversation", cmd_run },
    { "info", "print a model's shapes, types and the memory it needs", cmd_info },
    { "tokenize", "text to token ids, and back", cmd_tokenize },
    { "bench", "time a model's parts on this machine", cmd_bench },
    { "perplexity", "how well a model foresees a text, and what quantising changed", cmd_perplexity },
    { "imatrix", "which columns of the weights matter, over a text: for quantize", cmd_imatrix },
    { "quantize", "write a model as GGUF files of another type", cmd_quantize },
    { "synth", "write a rule-made checkpoint for tests and benchmarks", cmd_synth },
    { "trace", "run golden cases and write what the engine answers", cmd_trace },
};

enum { N_COMMAND = sizeof commands / sizeof *commands };

static void say(const char *before, const char *fmt, va_list ap)
{
    fputs(before, stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void cli_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("minicpmo: ", fmt, ap);
    va_end(ap);
}

void cli_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

bool cli_flush(void)
{
    static bool is_said; /* stdout is one, and so is its end */

    errno = 0;
    if (!fflush(stdout) && !ferror(stdout)) return true;
    if (!is_said) cli_error("cannot write to standard output%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
    is_said = true;
    return false;
}

mo_status cli_print_json(json_t *j, int n_digit, mo_error *err)
{
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(n_digit)) : NULL;

    json_decref(j);
    if (!text) return mo_fail(err, MO_E_NOMEM, "no memory for JSON");
    puts(text);
    free(text); /* jansson's own allocation */
    return MO_OK;
}

static void print_usage(FILE *f)
{
    fputs("minicpmo: MiniCPM-o / MiniCPM-V inference\n\nusage: minicpmo COMMAND [OPTION...]\n\n", f);
    for (int i = 0; i < N_COMMAND; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nminicpmo COMMAND --help tells a command's options; minicpmo --version the version.\n", f);
}

static int unknown_command(const char *name)
{
    int best = 0, best_d = 99;

    for (int i = 0; i < N_COMMAND; i++) {
        int d = name_distance(name, commands[i].name);
        if (d >= best_d) continue;
        best_d = d;
        best = i;
    }
    if (name_is_near(name, best_d)) cli_error("there is no command '%.100s'; did you mean %s?", name, commands[best].name);
    else cli_error("there is no command '%.100s'; minicpmo --help lists them", name);
    return 2;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("minicpmo " MO_VERSION);
        return 0;
    }
    for (int i = 0; i < N_COMMAND; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}

/* A descriptor among 0, 1, 2 that is closed would be the next file we open, and our words would go into it. The other way
 * round /dev/null takes its number: reading or writing there fails, as it should. */
static void fill_closed(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY) != fd) return;
}

int main(int argc, char **argv)
{
    int code;

    fill_closed();
    signal(SIGPIPE, SIG_IGN); /* a reader that left is a failed write, told in one sentence */
    code = dispatch(argc, argv);
    return cli_flush() || code ? code : 1;
}
