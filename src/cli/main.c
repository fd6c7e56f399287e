/* minicpmo: the program. Finds the command and calls it; every command is a file of its own (cli.h). */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    { "synth", "write a rule-made checkpoint for tests and benchmarks", cmd_synth },
    { "trace", "run golden cases and write what the engine answers", cmd_trace },
};

enum { N_COMMAND = sizeof commands / sizeof *commands };

void cli_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("minicpmo: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static void print_usage(FILE *f)
{
    fputs("minicpmo: MiniCPM-o / MiniCPM-V inference\n\nusage: minicpmo COMMAND [OPTION...]\n\n", f);
    for (int i = 0; i < N_COMMAND; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nminicpmo COMMAND --help tells a command's options; minicpmo --version the version.\n", f);
}

int main(int argc, char **argv)
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
    cli_error("there is no command '%s'; minicpmo --help lists them", argv[1]);
    return 2;
}
