/* minicpmo run: one answer (-p, or piped stdin), or a conversation on a terminal.
 *
 *     options -> model -> session -> media in the order of the command line, then the text -> answer
 */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/model_options.h"
#include "cli/run_answer.h"
#include "cli/run_chat.h"
#include "core/alloc.h"
#include "core/file.h"
#include "formats/gguf.h"

enum { STDIN_MAX = 64 << 20, TOOLS_MAX = 4 << 20 };

typedef struct options {
    model_options m;
    option_list media, stop;
    const char *prompt, *system, *tools;
    int32_t json, no_image_id;
} options;

#define N(a) ((int)(sizeof(a) / sizeof *(a)))

static bool is_gguf(const char *path)
{
    file_map map;
    bool is;

    if (file_map_open(&map, path, NULL) != MO_OK) return false; /* who opens it as a recording says why it cannot */
    is = gguf_is(map.data, map.size);
    file_map_close(&map);
    return is;
}

/* `--audio` names a recording, and beside -m and --vision also the encoder of a GGUF model: a file's content tells which. */
static void take_audio_encoder(options *o)
{
    int n = 0;

    for (int i = 0; i < o->media.n; i++) {
        const option_use u = o->media.use[i];
        if (!strcmp(u.name, "audio") && is_gguf(u.value)) o->m.model.audio_path = u.value;
        else o->media.use[n++] = u;
    }
    o->media.n = n;
}

/* -1: go on; otherwise the exit code. */
static int parse(options *o, int argc, char **argv)
{
    mo_session_opts *s = &o->m.session;
    const option_spec input[] = {
        { "prompt", 'p', OPTION_TEXT, "TEXT", "the question; - reads it from stdin", .out = &o->prompt },
        { "image", 0, OPTION_LIST, "FILE", "a picture: JPEG, PNG, WebP, GIF, BMP; may be repeated", .out = &o->media },
        { "audio", 0, OPTION_LIST, "FILE", "a sound: WAV, FLAC, Ogg, MP3; may be repeated (or the encoder of a GGUF model)",
          .out = &o->media },
        { "system", 0, OPTION_TEXT, "TEXT", "the system message", .out = &o->system },
        { "tools", 0, OPTION_TEXT, "FILE", "functions the model may call, a JSON array", .out = &o->tools },
        { "think", 0, OPTION_FLAG, NULL, "let the model think aloud first", .out = &s->thinking },
        { "omni", 0, OPTION_FLAG, NULL, "pictures and sounds follow each other without line breaks", .out = &s->omni },
        { "max-slices", 0, OPTION_INT, "N", "parts a large picture is cut into (0: the model's own)", .out = &s->max_slices, .lo = 0,
          .hi = 100 },
        { "no-image-id", 0, OPTION_FLAG, NULL, "do not number the pictures in the prompt", .out = &o->no_image_id },
    };
    const option_spec sampling[] = {
        { "temp", 0, OPTION_REAL, "T", NULL, .out = &s->temperature, .lo = 0, .hi = 100 },
        { "top-k", 0, OPTION_INT, "K", "temperature (0.7; 0 is --greedy), best K tokens (100; 0: all)", .out = &s->top_k, .lo = 0,
          .hi = 1 << 30 },
        { "top-p", 0, OPTION_REAL, "P", NULL, .out = &s->top_p, .lo = 0, .hi = 1, .lo_open = true },
        { "min-p", 0, OPTION_REAL, "P", "likeliest that make up P (0.8), at least P of the best (0)", .out = &s->min_p, .lo = 0, .hi = 1,
          .hi_open = true },
        { "repeat-penalty", 0, OPTION_REAL, "R", "holds back what the answer already has (1.02; 1: off)", .out = &s->repetition_penalty,
          .lo = 0, .hi = 100, .lo_open = true },
        { "greedy", 0, OPTION_FLAG, NULL, "take the likeliest token always", .out = &s->greedy },
        { "seed", 0, OPTION_U64, "N", "same seed and input, same answer (0)", .out = &s->seed },
        { "max-tokens", 0, OPTION_INT, "N", "the longest answer (4096)", .out = &s->max_tokens, .lo = 1, .hi = 1 << 24 },
        { "stop", 0, OPTION_LIST, "TEXT", "end the answer before this text; may be repeated", .out = &o->stop },
        { "json", 0, OPTION_FLAG, NULL, "print the answer and its figures as one JSON object", .out = &o->json },
    };
    option_spec model[MODEL_SPECS];
    const option_group group[] = { { "input", input, N(input) }, { "answer", sampling, N(sampling) }, model_options_group(model, &o->m) };
    const option_table table = {
        .command = "run",
        .usage = "run MODEL [OPTION...]",
        .about = "Pictures and sounds go before the question, in the order given. Without -p on a terminal a conversation\n"
                 "starts; otherwise the question is read from stdin.\n",
        .group = group,
        .n_group = N(group),
        .n_arg_min = 1,
        .n_arg_max = 1,
        .arg_needed = "a MODEL, the folder of a checkpoint or a GGUF file",
    };
    int n, code = options_parse(&table, argc, argv, &n);

    if (code < 0) code = model_options_check(&o->m);
    if (code < 0) take_audio_encoder(o);
    if (code < 0 && o->no_image_id) s->image_ids = MO_OFF;
    if (code < 0 && s->temperature <= 0) s->greedy = 1;
    return code;
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

static mo_status read_stdin(buf *out, mo_error *err)
{
    char block[65536];
    size_t n;

    while ((n = fread(block, 1, sizeof block, stdin)) > 0) {
        buf_put(out, block, n);
        if (out->failed) return mo_fail(err, MO_E_NOMEM, "no memory for the question");
        if (out->len > STDIN_MAX) return mo_fail(err, MO_E_LIMIT, "the question on standard input is longer than %d MiB", STDIN_MAX >> 20);
    }
    if (ferror(stdin)) return mo_fail(err, MO_E_IO, "cannot read standard input: %s", strerror(errno));
    while (out->len && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r')) out->data[--out->len] = 0;
    return MO_OK;
}

static mo_status set_tools(mo_session *s, const char *path, mo_error *err)
{
    char *json = NULL;
    size_t n;
    mo_status st = file_read(&json, &n, path, TOOLS_MAX, err);

    if (st == MO_OK) st = mo_session_set_tools(s, json, err);
    mo_free(json);
    return st;
}

/* System message, then the user's with the media in it. */
static mo_status push_input(mo_session *s, const options *o, mo_error *err)
{
    mo_status st = MO_OK;

    for (int i = 0; st == MO_OK && i < o->stop.n; i++) st = mo_session_add_stop(s, o->stop.use[i].value, err);
    if (st == MO_OK && o->tools) st = set_tools(s, o->tools, err);
    if (st == MO_OK && o->system) {
        st = mo_session_begin(s, "system", err);
        if (st == MO_OK) st = mo_session_push_text(s, o->system, strlen(o->system), err);
    }
    if (st == MO_OK && o->media.n) st = mo_session_begin(s, "user", err);
    for (int i = 0; st == MO_OK && i < o->media.n; i++) {
        const option_use *u = &o->media.use[i];
        st = !strcmp(u->name, "image") ? mo_session_push_image_file(s, u->value, err) : mo_session_push_audio_file(s, u->value, err);
    }
    return st;
}

static mo_status push_question(mo_session *s, const options *o, const buf *question, mo_error *err)
{
    mo_status st = MO_OK;

    if (!question->len && !o->media.n)
        return mo_fail(err, MO_E_ARG, "there is no question: give -p TEXT, --image, --audio, or text on standard input");
    if (!o->media.n) st = mo_session_begin(s, "user", err);
    return st == MO_OK && question->len ? mo_session_push_text(s, question->data, question->len, err) : st;
}

/* ---- one answer ------------------------------------------------------------------------------------------------- */

static mo_status print_json(const answer *a, const mo_model *m, mo_error *err)
{
    const mo_event *e = &a->end;
    json_t *j = json_pack("{s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:s, s:s}", "text",
                          json_stringn(a->text.data ? a->text.data : "", a->text.len), "reason", answer_reason(e->reason), "n_prompt",
                          e->n_prompt, "n_reused", e->n_reused, "n_generated", e->n_generated, "n_drafted", e->n_drafted, "n_accepted",
                          e->n_accepted, "encode_ms", e->encode_ms, "prefill_ms", e->prefill_ms, "decode_ms", e->decode_ms, "model",
                          mo_model_name(m), "device", mo_model_device(m));
    mo_status st = cli_print_json(j, 6, err);

    if (st != MO_OK) return st;
    return cli_flush() ? MO_OK : mo_fail(err, MO_E_IO, "standard output takes no more");
}

static mo_status answer_once(mo_session *s, const mo_model *m, const options *o, mo_error *err)
{
    answer a = { .is_collected = o->json != 0, .quiet = o->m.quiet != 0, .one_shot = true };
    buf question = { 0 };
    mo_status st = MO_OK;

    if (!o->prompt || !strcmp(o->prompt, "-")) st = read_stdin(&question, err);
    else buf_puts(&question, o->prompt);
    if (st == MO_OK && question.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the question");
    if (st == MO_OK) st = push_question(s, o, &question, err);
    if (st == MO_OK) st = answer_run(&a, s, err);
    if (st == MO_OK && o->json) st = print_json(&a, m, err);
    if (st == MO_OK && !o->m.quiet) {
        answer_note_reason(&a);
        answer_note_figures(&a);
    }
    if (st == MO_OK && a.end.reason == MO_END_INTERRUPTED) st = mo_fail(err, MO_E_INTERRUPTED, "interrupted");
    buf_free(&question);
    buf_free(&a.text);
    return st;
}

/* A guess that may be wrong is said, once. */
static void note_default_chat(const mo_model *m, const options *o)
{
    const char *how, *kind = mo_model_chat(m, &how);

    if (!o->m.quiet && mo_model_chat_is_default(m)) cli_note("(conversations are written as %s, %s)", kind, how);
}

static int run(const char *path, options *o)
{
    bool is_chat = !o->prompt && !o->json && isatty(STDIN_FILENO);
    mo_model *m = NULL;
    mo_session *s = NULL;
    mo_error err = { 0 };
    mo_status st;
    int code = 0;

    if ((st = model_options_open(&m, path, &o->m, &err)) != MO_OK) goto done;
    if ((st = mo_session_new(&s, m, &o->m.session, &err)) != MO_OK) goto done;
    if ((st = push_input(s, o, &err)) != MO_OK) goto done;
    if (is_chat) {
        code = chat_run(s, &(chat_opts){ m, o->system, o->m.quiet, o->m.verbose }, o->media.n > 0);
    } else {
        note_default_chat(m, o);
        st = answer_once(s, m, o, &err);
    }
done:
    if (st != MO_OK && !ferror(stdout)) cli_error("%s", err.message);
    mo_session_free(s);
    mo_model_close(m);
    return st == MO_OK ? code : 1;
}

int cmd_run(int argc, char **argv)
{
    options o = { .m = model_options_default() };
    int code = parse(&o, argc, argv);

    if (code < 0) code = run(argv[1], &o);
    option_list_free(&o.media);
    option_list_free(&o.stop);
    return code;
}
