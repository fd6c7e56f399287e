/* minicpmo tokenize: text to ids, a line each with its piece; or ids to text. Opens the tokenizer only, no weights. */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "cli/options.h"
#include "models/checkpoint.h"

enum { TEXT_MAX = 256 << 20 };

typedef struct options {
    int32_t ids, decode, json, literal;
} options;

static int parse(options *o, int argc, char **argv, int *n_arg)
{
    const option_spec spec[] = {
        { "ids", 0, OPTION_FLAG, NULL, "print the ids alone, on one line", .out = &o->ids },
        { "decode", 0, OPTION_FLAG, NULL, "the arguments (or stdin) are ids; print their text", .out = &o->decode },
        { "literal", 0, OPTION_FLAG, NULL, "markers such as <|im_end|> in the text are ordinary text", .out = &o->literal },
        { "json", 0, OPTION_FLAG, NULL, "print one JSON object", .out = &o->json },
    };
    const option_group group[] = { { NULL, spec, (int)(sizeof spec / sizeof *spec) } };
    const option_table table = {
        .command = "tokenize",
        .usage = "tokenize MODEL [TEXT|-] [OPTION...]\n       minicpmo tokenize MODEL --decode [ID...]",
        .about = "Prints the ids of TEXT, or of standard input, each with the piece of text it stands for.\n",
        .group = group,
        .n_group = 1,
        .n_arg_min = 1,
        .n_arg_max = INT_MAX,
        .arg_needed = "a MODEL, a folder with tokenizer files",
    };
    int code = options_parse(&table, argc, argv, n_arg);

    if (code >= 0 || o->decode || *n_arg <= 2) return code;
    cli_error("'%.100s' is one argument too many for tokenize: put the text in quotes", argv[3]);
    return 2;
}

static mo_status read_stdin(buf *out, mo_error *err)
{
    char block[65536];
    size_t n;

    while ((n = fread(block, 1, sizeof block, stdin)) > 0) {
        buf_put(out, block, n);
        if (out->failed) return mo_fail(err, MO_E_NOMEM, "no memory for the text");
        if (out->len > TEXT_MAX) return mo_fail(err, MO_E_LIMIT, "the text on standard input is longer than %d MiB", TEXT_MAX >> 20);
    }
    return ferror(stdin) ? mo_fail(err, MO_E_IO, "cannot read standard input: %s", strerror(errno)) : MO_OK;
}

/* ---- text to ids ------------------------------------------------------------------------------------------------ */

/* In quotes, with \n, \t, \", \\ and \xNN for bytes that are no printable text by themselves. */
static void print_piece(const buf *b)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)b->data;

    putchar('"');
    for (size_t i = 0; i < b->len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(p + i, (utf8proc_ssize_t)(b->len - i), &c);
        if (n > 0 && (c == '"' || c == '\\')) printf("\\%c", (char)c);
        else if (n > 0 && c == '\n') fputs("\\n", stdout);
        else if (n > 0 && c == '\t') fputs("\\t", stdout);
        else if (n > 0 && c >= 0x20 && !(c >= 0x7f && c < 0xa0)) fwrite(p + i, 1, (size_t)n, stdout);
        else {
            n = n > 0 ? n : 1;
            for (utf8proc_ssize_t k = 0; k < n; k++) printf("\\x%02x", p[i + (size_t)k]);
        }
        i += (size_t)n;
    }
    puts("\"");
}

/* {"id": …, "piece": …}, or "bytes" in hex for what is no text by itself. */
static json_t *token_json(const buf *piece, int32_t id)
{
    json_t *j = json_pack("{s:i}", "id", (int)id), *text = json_stringn(piece->len ? piece->data : "", piece->len);
    buf hex = { 0 };

    if (text) {
        json_object_set_new(j, "piece", text);
        return j;
    }
    for (size_t i = 0; i < piece->len; i++) buf_printf(&hex, "%02x", (unsigned char)piece->data[i]);
    json_object_set_new(j, "bytes", json_string(hex.data ? hex.data : ""));
    buf_free(&hex);
    return j;
}

static mo_status print_ids(const tokenizer *t, const ids *v, const options *o, mo_error *err)
{
    json_t *list = o->json ? json_array() : NULL;
    buf piece = { 0 };
    bool bad = false;

    for (size_t i = 0; i < v->len; i++) {
        if (o->ids && !o->json) {
            printf("%s%d", i ? " " : "", v->data[i]);
            continue;
        }
        buf_clear(&piece);
        tokenizer_bytes(t, v->data[i], &piece);
        bad |= piece.failed;
        if (o->json) bad |= json_array_append_new(list, o->ids ? json_integer(v->data[i]) : token_json(&piece, v->data[i])) != 0;
        else {
            printf("%d\t", v->data[i]);
            print_piece(&piece);
        }
    }
    if (o->ids && !o->json) putchar('\n');
    buf_free(&piece);
    if (!o->json) return bad ? mo_fail(err, MO_E_NOMEM, "no memory for a piece") : MO_OK;
    return cli_print_json(bad ? (json_decref(list), NULL) : json_pack("{s:i, s:o}", "n", (int)v->len, o->ids ? "ids" : "tokens", list), 6,
                          err);
}

static mo_status encode(const tokenizer *t, const options *o, const char *text, mo_error *err)
{
    buf b = { 0 };
    ids v = { 0 };
    mo_status st = MO_OK;

    if (!text || !strcmp(text, "-")) st = read_stdin(&b, err);
    else buf_puts(&b, text);
    if (st == MO_OK && b.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the text");
    if (st == MO_OK) st = (o->literal ? tokenizer_encode_plain : tokenizer_encode)(t, b.data ? b.data : "", b.len, &v, err);
    if (st == MO_OK) st = print_ids(t, &v, o, err);
    buf_free(&b);
    ids_free(&v);
    return st;
}

/* ---- ids to text ------------------------------------------------------------------------------------------------ */

/* Ids in text, apart by spaces or commas, brackets allowed: what this command and others print. */
static mo_status parse_ids(const tokenizer *t, const char *text, ids *out, mo_error *err)
{
    static const char apart[] = " \t\r\n,[]";
    char *end;

    for (const char *p = text + strspn(text, apart); *p; p = end + strspn(end, apart)) {
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || (*end && !strchr(apart, *end))) return mo_fail(err, MO_E_ARG, "'%.40s' is no token id", p);
        if (v < 0 || v >= tokenizer_n_vocab(t))
            return mo_fail(err, MO_E_ARG, "there is no token %ld: this vocabulary has ids 0 to %d", v, tokenizer_n_vocab(t) - 1);
        ids_put(out, (int32_t)v);
    }
    return out->failed ? mo_fail(err, MO_E_NOMEM, "no memory for ids") : MO_OK;
}

static mo_status decode(const tokenizer *t, const options *o, int n, char **arg, mo_error *err)
{
    buf in = { 0 }, out = { 0 };
    ids v = { 0 };
    mo_status st = MO_OK;

    if (!n || (n == 1 && !strcmp(arg[0], "-"))) {
        st = read_stdin(&in, err);
        if (st == MO_OK && in.data) st = parse_ids(t, in.data, &v, err);
    } else {
        for (int i = 0; st == MO_OK && i < n; i++) st = parse_ids(t, arg[i], &v, err);
    }
    if (st == MO_OK) st = tokenizer_decode(t, v.data, v.len, false, &out, err);
    if (st == MO_OK && o->json) st = cli_print_json(json_pack("{s:o}", "text", json_stringn(out.len ? out.data : "", out.len)), 6, err);
    else if (st == MO_OK) {
        fwrite(out.data ? out.data : "", 1, out.len, stdout);
        putchar('\n');
    }
    buf_free(&in);
    buf_free(&out);
    ids_free(&v);
    return st;
}

int cmd_tokenize(int argc, char **argv)
{
    options o = { 0 };
    tokenizer *t = NULL;
    mo_error err = { 0 };
    mo_status st;
    int n_arg, code = parse(&o, argc, argv, &n_arg);

    if (code >= 0) return code;
    st = checkpoint_open_tokenizer(&t, argv[1], &err);
    if (st == MO_OK) st = o.decode ? decode(t, &o, n_arg - 1, argv + 2, &err) : encode(t, &o, n_arg > 1 ? argv[2] : NULL, &err);
    tokenizer_close(t);
    if (st != MO_OK) cli_error("%s", err.message);
    return st == MO_OK ? 0 : 1;
}
