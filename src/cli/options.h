/* Command-line options from a table: parsing, range checks, --help.
 *
 *     option_spec spec[] = {
 *         { "temp", 0, OPTION_REAL, "T", "sampling temperature", .out = &o.temperature, .lo = 0, .hi = 100 },
 *         { "json", 0, OPTION_FLAG, NULL, "one JSON object", .out = &o.json },
 *     };
 *
 * Long options take `--name value` or `--name=value`, short ones `-p value`; `--` ends them. What is no option stays an
 * argument, wherever it stands. -h and --help need no entry.
 */
#ifndef MO_CLI_OPTIONS_H
#define MO_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum option_kind {
    OPTION_FLAG,   /* int32_t: becomes `set` (1 if that is 0 and set_zero is not) */
    OPTION_TEXT,   /* const char * into argv */
    OPTION_FIRST,  /* becomes the first argument: another way to name it; `out` is not used */
    OPTION_INT,    /* int32_t in [lo, hi] */
    OPTION_U64,    /* uint64_t */
    OPTION_REAL,   /* float in [lo, hi], an end left out where lo_open, hi_open */
    OPTION_CHOICE, /* int32_t: which of `choices`, "f16|f32" */
    OPTION_LIST    /* option_list: every use appends; options may share a list and so keep their order */
} option_kind;

typedef struct option_spec {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    option_kind kind;
    const char *value; /* what the help calls it: "N"; NULL for flags */
    const char *help;  /* NULL: stands on the next entry's line */
    void *out;
    double lo, hi;
    bool lo_open, hi_open, set_zero;
    const char *choices;
} option_spec;

typedef struct option_use {
    const char *name, *value; /* of the entry, of the command line */
} option_use;

typedef struct option_list {
    option_use *use; /* [n] owned */
    int n, cap;
} option_list;

void option_list_free(option_list *l);

typedef struct option_group {
    const char *title; /* over its lines in the help; NULL: none */
    const option_spec *spec;
    int n;
} option_group;

typedef struct option_table {
    const char *command;
    const char *usage; /* "run MODEL [OPTION...]" */
    const char *about; /* lines under the usage, or NULL */
    const option_group *group;
    int n_group;
    int n_arg_min, n_arg_max;
    const char *arg_needed; /* "a MODEL": the sentence when arguments are too few */
} option_table;

/* Parse argv[1 ...]; argv[0] is the command's name. Arguments are moved to argv[1 ... *n_arg].
 * -1: go on; otherwise the exit code: 0 after --help, 2 after a sentence on stderr, 1 when memory is short. */
int options_parse(const option_table *t, int argc, char **argv, int *n_arg);

/* Changes from a to b: letters put in, taken out, replaced, two neighbours swapped. 99 for long names. */
int name_distance(const char *a, const char *b);
/* Whether a typed name is near enough to a known one to ask "did you mean"; d as above. */
bool name_is_near(const char *typed, int d);

#endif
