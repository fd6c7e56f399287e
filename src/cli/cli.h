/* What the program's commands share. A command is one file, cmd_NAME.c, and one function here.
 *
 * A command returns 0 (done), 1 (failed, after cli_error said why) or 2 (wrong usage). stdout is the result, stderr the
 * story.
 */
#ifndef MO_CLI_H
#define MO_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "core/status.h"

/* "minicpmo: " and the sentence and a newline, on stderr. */
void cli_error(const char *fmt, ...) MO_PRINTF(1, 2);

/* The same without "minicpmo: ": a line of the story. */
void cli_note(const char *fmt, ...) MO_PRINTF(1, 2);

/* Push what was printed out to stdout. false: it did not arrive (closed, disk full); said so on stderr, once. */
bool cli_flush(void);

/* Print a JSON value, taking the reference; NULL is MO_E_NOMEM. Reals have n_digit significant digits. */
mo_status cli_print_json(json_t *j, int n_digit, mo_error *err);

/* argv[0] is the command's own name. */
int cmd_bench(int argc, char **argv);
int cmd_imatrix(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_trace(int argc, char **argv);

#endif
