/* Options of a model (model_options.h). */
#include "cli/model_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "core/cpu.h"

#define KV_CHOICES        "f16|f32|q8_0" /* in the order of mo_kv_type */
#define SPECULATE_CHOICES "off|on|auto"
enum { SPECULATE_AUTO = 2 };

model_options model_options_default(void)
{
    return (model_options){ .model = mo_model_opts_default(), .session = mo_session_opts_default(), .speculate = SPECULATE_AUTO };
}

option_group model_options_group(option_spec spec[MODEL_SPECS], model_options *o)
{
    const option_spec all[MODEL_SPECS] = {
        { "model", 'm', OPTION_FIRST, "MODEL", "another way to name the model", .out = NULL },
        { "ctx", 0, OPTION_INT, "N", "positions a conversation may hold (8192, or the model's limit)", .out = &o->session.n_ctx, .lo = 1,
          .hi = 1 << 24 },
        { "kv", 0, OPTION_CHOICE, "TYPE", "type of the KV cache: f16, f32 or q8_0 (f16)", .out = &o->session.kv_type,
          .choices = KV_CHOICES },
        { "ubatch", 0, OPTION_INT, "N", "positions of one compute pass (512); more needs more memory", .out = &o->model.n_ubatch, .lo = 1,
          .hi = 4096 },
        { "threads", 0, OPTION_INT, "N", NULL, .out = &o->model.n_thread, .lo = 0, .hi = 1024 },
        { "isa", 0, OPTION_TEXT, "LIST", "how many threads compute (all cores), and with which instruction sets (all)",
          .out = &o->model.isa },
        { "fast", 0, OPTION_FLAG, NULL, "multiply in reduced precision where that is faster", .out = &o->model.fast },
        { "int8", 0, OPTION_FLAG, NULL, "as --fast, with int8 activations, and F16, BF16 and F32 weights int8 too", .out = &o->model.int8 },
        { "preload", 0, OPTION_FLAG, NULL, "read the weights before starting, into huge pages where that works", .out = &o->model.preload },
        { "int16", 0, OPTION_FLAG, NULL, NULL, .out = &o->model.int16 },
        { "exact", 0, OPTION_FLAG, NULL, "multiply quantised weights by 16-bit activations; in float32, slowly", .out = &o->model.exact },
        { "speculate", 0, OPTION_CHOICE, "MODE", "guess what repeats, same answer: off, on, auto (where it pays)", .out = &o->speculate,
          .choices = SPECULATE_CHOICES },
        { "vision", 0, OPTION_TEXT, "FILE", NULL, .out = &o->model.vision_path },
        { "audio-file", 0, OPTION_TEXT, "FILE", "a GGUF model's encoders (looked for beside it)", .out = &o->model.audio_path },
        { "no-vision", 0, OPTION_FLAG, NULL, NULL, .out = &o->model.vision, .set_zero = true },
        { "no-audio", 0, OPTION_FLAG, NULL, "leave an encoder out, and save its memory", .out = &o->model.audio, .set_zero = true },
        { "quiet", 'q', OPTION_FLAG, NULL, NULL, .out = &o->quiet },
        { "verbose", 'v', OPTION_FLAG, NULL, "less, or more, of the story on stderr", .out = &o->verbose },
    };

    memcpy(spec, all, sizeof all);
    return (option_group){ "model and memory", spec, MODEL_SPECS };
}

int model_options_check(model_options *o)
{
    o->session.speculate = o->speculate == SPECULATE_AUTO ? MO_AUTO : (mo_switch)o->speculate;
    if (o->quiet && o->verbose) {
        cli_error("--quiet and --verbose exclude each other");
        return 2;
    }
    if (o->model.fast && o->model.exact) {
        cli_error("--fast and --exact exclude each other");
        return 2;
    }
    if (o->model.int8 && o->model.exact) {
        cli_error("--int8 and --exact exclude each other");
        return 2;
    }
    if (o->model.int16 && (o->model.int8 || o->model.exact)) {
        cli_error("--int16 and --%s exclude each other", o->model.int8 ? "int8" : "exact");
        return 2;
    }
    if (cpu_isa_parse(o->model.isa) < 0) {
        cli_error("--isa cannot be '%.100s': known are generic, avx2, avx512, avx512_bf16, avx512_vnni, avx_vnni, neon, dotprod, i8mm, all",
                  o->model.isa);
        return 2;
    }
    return -1;
}

static void log_line(void *user, const char *message)
{
    (void)user;
    cli_note("%s", message);
}

static void draw(void *user, const char *what, double fraction)
{
    progress *p = user;

    if (!p->label) progress_begin_steps(p, what, 100, "%");
    progress_update(p, (uint64_t)(fraction * 100));
}

mo_status model_options_open(mo_model **out, const char *path, model_options *o, mo_error *err)
{
    mo_model_opts m = o->model;
    progress p = { 0 };
    mo_status st;

    if (o->verbose) m.log = log_line;
    if (!o->quiet) m.progress = draw;
    m.user = &p;
    st = mo_model_open(out, path, &m, err);
    progress_end(&p);
    if (st == MO_OK && o->verbose) cli_note("%s on %s", mo_model_name(*out), mo_model_device(*out));
    return st;
}
