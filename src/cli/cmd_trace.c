/* minicpmo trace: run golden cases and write what the engine answers (../shared/golden/README.md).
 *
 * Every stage is a function that knows its own names; the first that claims a case's stage runs it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/trace.h"
#include "cli/trace_audio.h"
#include "cli/trace_encoders.h"
#include "cli/trace_image.h"
#include "cli/trace_llm.h"
#include "cli/trace_quants.h"
#include "cli/trace_sample.h"
#include "cli/trace_text.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/file.h"

typedef struct trace_args {
    const char *model, *cases, *name, *out;
    bool int8, int16, fast, as_run;
} trace_args;

static const char usage[] = "usage: minicpmo trace MODEL CASES.json [--case NAME] [--as-run | --int8 | --int16] [--fast] -o OUT\n"
                            "\n"
                            "Runs golden cases (all, or the one named) against a checkpoint directory and writes\n"
                            "OUT/CASE.OUTPUT.npy for every array and OUT/CASE.json for the other outputs.\n"
                            "Everything is computed in float32, unless told otherwise: --as-run rounds the activations of\n"
                            "quantised weights, as a conversation does, --int16 to 16 bits, --int8 those of every weight\n"
                            "to int8; --fast is reduced precision, as a conversation with these options.\n"
                            "Media files named \"media:F\" are looked for in ../../media, seen from the folder of CASES.json.\n";

/* The picture stages; of `slices` the text and ids come from the tokenizer. */
static mo_status run_image(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    const json_t *grid;
    mo_status st;

    *known = trace_image_has_stage(stage);
    if (!*known) return MO_OK;
    if ((st = trace_image_stage(stage, ctx, input, out, err)) != MO_OK || strcmp(stage, "slices")) return st;
    grid = json_object_get(out->values, "grid");
    return trace_slices_text(ctx, input, (int32_t)json_integer_value(json_array_get(grid, 0)),
                             (int32_t)json_integer_value(json_array_get(grid, 1)), out, err);
}

static mo_status run_text(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    return trace_text_stage(stage, ctx->model_dir, input, out->values, known, err);
}

typedef mo_status (*stage_fn)(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err);

static const stage_fn stages[] = { run_text,           run_image,       trace_audio_stage, trace_encoder_stage,
                                   trace_sample_stage, trace_llm_stage, trace_chat_stage,  trace_quants_stage };

static mo_status write_values(const trace_out *out, mo_error *err)
{
    mo_status st = MO_OK;
    buf path = { 0 };

    buf_printf(&path, "%s/%s.json", out->dir, out->name);
    if (path.failed) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    else if (json_dump_file(out->values, path.data, JSON_COMPACT))
        st = mo_fail(err, MO_E_IO, "cannot write '%s': %s", path.data, strerror(errno));
    buf_free(&path);
    return st;
}

static mo_status run_case(const trace_ctx *ctx, const json_t *c, const char *dir, mo_error *err)
{
    const char *stage = json_string_value(json_object_get(c, "stage"));
    trace_out out = { json_object(), dir, json_string_value(json_object_get(c, "case")) };
    bool known = false;
    mo_status st = MO_OK;

    if (!stage || !out.name || strchr(out.name, '/')) {
        st = mo_fail(err, MO_E_FORMAT, "a case needs a stage and a name without '/'");
    } else {
        for (size_t i = 0; st == MO_OK && !known && i < sizeof stages / sizeof *stages; i++)
            st = stages[i](stage, ctx, json_object_get(c, "input"), &out, &known, err);
        if (st == MO_OK && !known) st = mo_fail(err, MO_E_UNSUPPORTED, "this build has no stage '%s'", stage);
        if (st == MO_OK) st = write_values(&out, err);
        if (st != MO_OK) mo_fail_in(err, st, "case %s", out.name);
    }
    json_decref(out.values);
    return st;
}

/* "DIR/cases.json" gives "DIR"; mo_free. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? mo_strndup(path, (size_t)(slash - path)) : mo_strdup(".");
}

static mo_status run_cases(const trace_args *a, mo_error *err)
{
    char *part = folder_of(a->cases), *media = part ? path_join(part, "../../media") : NULL;
    trace_ctx ctx = { .part_dir = part,
                      .media_dir = media,
                      .model_dir = a->model,
                      .int8 = a->int8,
                      .int16 = a->int16,
                      .fast = a->fast,
                      .as_run = a->as_run };
    mo_status st = MO_OK;
    json_error_t je;
    json_t *cases = NULL;
    const json_t *c;
    bool found = false;
    size_t i;

    if (!media) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    else if (!(cases = json_load_file(a->cases, JSON_ALLOW_NUL, &je)))
        st = mo_fail(err, MO_E_FORMAT, "%s: line %d: %s", a->cases, je.line, je.text);
    else if (mkdir(a->out, 0777) && errno != EEXIST) st = mo_fail(err, MO_E_IO, "cannot make folder '%s': %s", a->out, strerror(errno));
    json_array_foreach(cases, i, c) {
        const char *name = json_string_value(json_object_get(c, "case"));
        if (st != MO_OK) break;
        if (a->name && (!name || strcmp(name, a->name))) continue;
        found = true;
        st = run_case(&ctx, c, a->out, err);
    }
    if (st == MO_OK && !found) st = mo_fail(err, MO_E_ARG, "no case '%s' in %s", a->name ? a->name : "", a->cases);
    json_decref(cases);
    mo_free(part);
    mo_free(media);
    return st;
}

int cmd_trace(int argc, char **argv)
{
    trace_args a = { 0 };
    mo_error err;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "--case") && i + 1 < argc) a.name = argv[++i];
        else if (!strcmp(argv[i], "--as-run")) a.as_run = true;
        else if (!strcmp(argv[i], "--int8")) a.int8 = true;
        else if (!strcmp(argv[i], "--int16")) a.int16 = true;
        else if (!strcmp(argv[i], "--fast")) a.fast = true;
        else if (!strcmp(argv[i], "-o") && i + 1 < argc) a.out = argv[++i];
        else if (!a.model && argv[i][0] != '-') a.model = argv[i];
        else if (!a.cases && argv[i][0] != '-') a.cases = argv[i];
        else {
            cli_error("trace: unexpected argument '%s'", argv[i]);
            fputs(usage, stderr);
            return 2;
        }
    }
    if (!a.model || !a.cases || !a.out) {
        fputs(usage, stderr);
        return 2;
    }
    if (run_cases(&a, &err) == MO_OK) return 0;
    cli_error("%s", err.message);
    return 1;
}
