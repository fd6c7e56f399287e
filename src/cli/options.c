/* Options from a table (options.h). */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/alloc.h"

enum { NAME_MAX_LEN = 32, HELP_COLUMN = 28 };

/* ---- names ------------------------------------------------------------------------------------------------------ */

static int min3(int a, int b, int c) { return a < b ? (a < c ? a : c) : (b < c ? b : c); }

int name_distance(const char *a, const char *b)
{
    int d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1]; /* d[i][j]: from a's first i letters to b's first j */
    int n = (int)strnlen(a, NAME_MAX_LEN + 1), m = (int)strnlen(b, NAME_MAX_LEN + 1);

    if (n > NAME_MAX_LEN || m > NAME_MAX_LEN) return 99;
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

bool name_is_near(const char *typed, int d)
{
    int n = (int)strnlen(typed, NAME_MAX_LEN);

    return d <= (n > 7 ? n / 3 : n > 3 ? 2 : 1);
}

/* The entry `--name` (n letters), or of letter `letter` if name is NULL. */
static const option_spec *find(const option_table *t, const char *name, size_t n, char letter)
{
    for (int g = 0; g < t->n_group; g++)
        for (int i = 0; i < t->group[g].n; i++) {
            const option_spec *s = &t->group[g].spec[i];
            if (name ? strlen(s->name) == n && !memcmp(s->name, name, n) : s->letter && s->letter == letter) return s;
        }
    return NULL;
}

static int unknown(const option_table *t, const char *arg)
{
    const char *typed = arg + strspn(arg, "-"), *eq = strchr(typed, '='), *best = NULL;
    int best_d = 99, n = eq ? (int)(eq - typed) : (int)strnlen(typed, 1000);
    char name[NAME_MAX_LEN + 1];

    snprintf(name, sizeof name, "%.*s", n, typed);
    for (int g = 0; g < t->n_group && n <= NAME_MAX_LEN; g++)
        for (int i = 0; i < t->group[g].n; i++) {
            int d = name_distance(name, t->group[g].spec[i].name);
            if (d >= best_d) continue;
            best_d = d;
            best = t->group[g].spec[i].name;
        }
    if (best && name_is_near(name, best_d)) cli_error("%s has no option '%.100s'; did you mean --%s?", t->command, arg, best);
    else cli_error("%s has no option '%.100s'; minicpmo %s --help lists them", t->command, arg, t->command);
    return 2;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* "-p" or "--name", as it is to be written */
static const char *shown_name(const option_spec *s, char out[NAME_MAX_LEN + 3])
{
    snprintf(out, NAME_MAX_LEN + 3, "--%s", s->name);
    return out;
}

static int bad_number(const option_spec *s, const char *value, const char *what)
{
    char name[NAME_MAX_LEN + 3];

    cli_error("%s cannot be '%.100s': it must be %s %s %.9g %s %.9g", shown_name(s, name), value, what, s->lo_open ? "above" : "from",
              s->lo,
              s->hi_open   ? "to below"
              : s->lo_open ? "and at most"
                           : "to",
              s->hi);
    return 2;
}

static int set_int(const option_spec *s, const char *value)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (!*value || *value == ' ' || *end || errno || (double)v < s->lo || (double)v > s->hi) return bad_number(s, value, "a whole number");
    *(int32_t *)s->out = (int32_t)v;
    return -1;
}

static int set_u64(const option_spec *s, const char *value)
{
    char name[NAME_MAX_LEN + 3], *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno) {
        cli_error("%s cannot be '%.100s': it must be a whole number from 0 to 18446744073709551615", shown_name(s, name), value);
        return 2;
    }
    *(uint64_t *)s->out = v;
    return -1;
}

static int set_real(const option_spec *s, const char *value)
{
    char *end;
    double v;

    v = strtod(value, &end);
    if (!*value || *value == ' ' || *end || !isfinite(v) || v < s->lo || v > s->hi || (s->lo_open && v == s->lo) ||
        (s->hi_open && v == s->hi))
        return bad_number(s, value, "a number");
    *(float *)s->out = (float)v;
    return -1;
}

static int set_choice(const option_spec *s, const char *value)
{
    const char *c = s->choices;
    char name[NAME_MAX_LEN + 3];

    for (int32_t i = 0; c; i++, c = strchr(c, '|'), c = c ? c + 1 : NULL) {
        size_t n = strcspn(c, "|");
        if (strlen(value) != n || memcmp(value, c, n)) continue;
        *(int32_t *)s->out = i;
        return -1;
    }
    cli_error("%s cannot be '%.100s': it must be one of %s", shown_name(s, name), value, s->choices);
    return 2;
}

static int append(const option_spec *s, const char *value)
{
    option_list *l = s->out;

    if (l->n == l->cap) {
        int cap = l->cap ? l->cap * 2 : 8;
        option_use *use = mo_realloc(l->use, (size_t)cap * sizeof *use);
        if (!use) {
            cli_error("no memory for the command line");
            return 1;
        }
        l->use = use;
        l->cap = cap;
    }
    l->use[l->n++] = (option_use){ s->name, value };
    return -1;
}

void option_list_free(option_list *l)
{
    mo_free(l->use);
    *l = (option_list){ 0 };
}

static int set(const option_spec *s, const char *value)
{
    switch (s->kind) {
    case OPTION_FLAG: *(int32_t *)s->out = s->set_zero ? 0 : 1; break;
    case OPTION_FIRST: break;
    case OPTION_TEXT: *(const char **)s->out = value; break;
    case OPTION_INT: return set_int(s, value);
    case OPTION_U64: return set_u64(s, value);
    case OPTION_REAL: return set_real(s, value);
    case OPTION_CHOICE: return set_choice(s, value);
    case OPTION_LIST: return append(s, value);
    }
    return -1;
}

/* ---- help ------------------------------------------------------------------------------------------------------- */

static int print_name(const option_spec *s)
{
    int n = 0;

    if (s->letter) n += printf("-%c, ", s->letter);
    n += printf("--%s", s->name);
    if (s->value) n += printf(" %s", s->value);
    return n;
}

static void print_help(const option_table *t)
{
    printf("usage: minicpmo %s\n", t->usage);
    if (t->about) printf("\n%s", t->about);
    for (int g = 0; g < t->n_group; g++) {
        putchar('\n');
        if (t->group[g].title) printf("%s:\n", t->group[g].title);
        for (int i = 0; i < t->group[g].n; i++) {
            int n = printf("  ");
            for (; !t->group[g].spec[i].help; i++) n += print_name(&t->group[g].spec[i]) + printf(", ");
            n += print_name(&t->group[g].spec[i]);
            printf("%*s  %s\n", n < HELP_COLUMN ? HELP_COLUMN - n : 0, "", t->group[g].spec[i].help);
        }
    }
}

/* ---- the command line ------------------------------------------------------------------------------------------- */

static bool is_long_option(const option_table *t, const char *arg)
{
    return !strncmp(arg, "--", 2) && find(t, arg + 2, strcspn(arg + 2, "="), 0);
}

/* One option at argv[*i]; *i moves to its last word. Arguments found so far are argv[1 ... *n]. */
static int take_option(const option_table *t, int argc, char **argv, int *i, int *n_arg)
{
    char *arg = argv[*i], *value = NULL;
    const option_spec *s;

    if (arg[1] == '-') {
        size_t n = strcspn(arg + 2, "=");
        s = find(t, arg + 2, n, 0);
        if (arg[2 + n]) value = arg + 3 + n;
    } else {
        s = find(t, NULL, 0, arg[1]);
        if (s && arg[2] && s->kind == OPTION_FLAG) s = NULL;
        if (s && arg[2]) value = arg + 2;
    }
    if (!s) return unknown(t, arg);
    if (s->kind == OPTION_FLAG) {
        if (!value) return set(s, NULL);
        cli_error("--%s takes no value", s->name);
        return 2;
    }
    if (!value) {
        if (*i + 1 >= argc || is_long_option(t, argv[*i + 1])) {
            cli_error("option '%s' needs a value: %s %s", arg, arg, s->value);
            return 2;
        }
        value = argv[++*i];
    }
    if (s->kind == OPTION_FIRST) { /* *n_arg < *i: nothing unread is overwritten */
        memmove(argv + 2, argv + 1, (size_t)*n_arg * sizeof *argv);
        argv[1] = value;
        ++*n_arg;
    }
    return set(s, value);
}

int options_parse(const option_table *t, int argc, char **argv, int *n_arg)
{
    bool ended = false;
    int n = 0, code;

    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (ended || arg[0] != '-' || !arg[1]) {
            argv[++n] = arg; /* n < i: never overtakes */
        } else if (!strcmp(arg, "--")) {
            ended = true;
        } else if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            print_help(t);
            return 0;
        } else if ((code = take_option(t, argc, argv, &i, &n)) >= 0) {
            return code;
        }
    }
    *n_arg = n;
    if (n < t->n_arg_min) {
        cli_error("%s needs %s; minicpmo %s --help tells more", t->command, t->arg_needed, t->command);
        return 2;
    }
    if (n > t->n_arg_max) {
        cli_error("'%.100s' is one argument too many for %s", argv[1 + t->n_arg_max], t->command);
        return 2;
    }
    return -1;
}
