/* minicpmo info: what a checkpoint is, which parts of it are there, what it would take to run. Loads no weights. */
#include "cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "cli/model_options.h"
#include "core/cpu.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "session/model.h"

typedef struct options {
    model_options m;
    int32_t tensors, json;
} options;

static int parse(options *o, int argc, char **argv)
{
    const option_spec spec[] = {
        { "tensors", 0, OPTION_FLAG, NULL, "list every tensor", .out = &o->tensors },
        { "json", 0, OPTION_FLAG, NULL, "print one JSON object", .out = &o->json },
    };
    option_spec model[MODEL_SPECS];
    const option_group group[] = { { NULL, spec, 2 }, model_options_group(model, &o->m) };
    const option_table table = {
        .command = "info",
        .usage = "info MODEL [OPTION...]",
        .about = "Prints a checkpoint's shapes and types, which modules it has, the memory it would need with these options and\n"
                 "whether it fits, and the kernels this machine would use.\n",
        .group = group,
        .n_group = 2,
        .n_arg_min = 1,
        .n_arg_max = 1,
        .arg_needed = "a MODEL, the folder of a checkpoint or a GGUF file",
    };
    int n, code = options_parse(&table, argc, argv, &n);

    return code < 0 ? model_options_check(&o->m) : code;
}

/* ---- modules ---------------------------------------------------------------------------------------------------- */

/* Parts of a checkpoint by how their tensors' names begin (spec: family overview). */
typedef struct module_info {
    const char *name, *what, *prefix[3];
    uint64_t n_tensor, n_value, n_bytes;
    uint64_t types; /* bit i: element type i */
} module_info;

enum { N_MODULE = 6 };

static const module_info modules[N_MODULE] = {
    { .name = "llm", .what = "language model", .prefix = { "llm.", "model.", "lm_head." } },
    { .name = "vision", .what = "vision encoder", .prefix = { "vpm.", "model.vision_tower." } },
    { .name = "resampler", .what = "picture resampler", .prefix = { "resampler." } },
    { .name = "audio", .what = "audio encoder", .prefix = { "apm.", "audio_projection_layer.", "audio_avg_pooler." } },
    { .name = "tts", .what = "speech language model", .prefix = { "tts." } },
    { .name = "other", .what = "other tensors" },
};

static module_info *module_of(module_info *m, const char *name)
{
    size_t longest = 0;
    module_info *best = &m[N_MODULE - 1];

    for (int i = 0; i < N_MODULE - 1; i++)
        for (int k = 0; k < 3 && m[i].prefix[k]; k++) {
            size_t n = strlen(m[i].prefix[k]);
            if (n <= longest || strncmp(name, m[i].prefix[k], n)) continue;
            longest = n;
            best = &m[i];
        }
    return best;
}

static uint64_t tensor_values(const tensor *t)
{
    uint64_t n = 1;

    for (int32_t i = 0; i < t->n_dim; i++) n *= (uint64_t)t->dim[i];
    return n;
}

static void count_tensors(module_info m[N_MODULE], const tensors *ts)
{
    memcpy(m, modules, sizeof modules);
    for (size_t i = 0; i < tensors_count(ts); i++) {
        const tensor *t = tensors_at(ts, i);
        module_info *k = module_of(m, t->name);
        k->n_tensor++;
        k->n_value += tensor_values(t);
        k->n_bytes += t->n_bytes;
        k->types |= (uint64_t)1 << t->type;
    }
}

enum { TYPES_TEXT = 64 };

/* "F32,Q4_K,Q6_K", as many as there is room for. */
static const char *types_text(uint64_t types, char out[TYPES_TEXT])
{
    size_t at = 0;

    *out = 0;
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++) {
        const char *name = dtype_get(i) ? dtype_get(i)->name : NULL;
        if (!name || !(types >> i & 1) || at + strlen(name) + 2 > TYPES_TEXT) continue;
        at += (size_t)snprintf(out + at, TYPES_TEXT - at, "%s%s", at ? "," : "", name);
    }
    return out;
}

/* ---- everything that is shown ----------------------------------------------------------------------------------- */

typedef struct info {
    const char *path;
    checkpoint ck;
    model_config cfg; /* the checkpoint's, as ts */
    const tensors *ts;
    module_info module[N_MODULE];
    mo_plan plan;
    mo_status plan_st; /* the plan can fail on a checkpoint whose other facts are worth showing */
    mo_error plan_err;
    int32_t n_vocab_text; /* of the tokenizer, 0: none */
    mo_error tokenizer_err;
    int32_t n_ctx;
    checkpoint_file *file; /* [n_file] of a GGUF set */
    int n_file;
    char kernels[96], isa[96];
} info;

static mo_status gather(info *f, const char *path, const options *o, mo_error *err)
{
    cpu_backend_opts cpu = { .n_thread = o->m.model.n_thread,
                             .isa_mask = (unsigned)cpu_isa_parse(o->m.model.isa),
                             .fast = o->m.model.fast != 0,
                             .int8 = o->m.model.int8 != 0 };
    const checkpoint_opts files = { .vision_path = o->m.model.vision_path, .audio_path = o->m.model.audio_path };
    tokenizer *t = NULL;
    backend *be = NULL;
    mo_status st;

    f->path = path;
    if ((st = checkpoint_list(&f->file, &f->n_file, path, err)) != MO_OK) return st;
    if ((st = checkpoint_open(&f->ck, path, &files, err)) != MO_OK) return st;
    f->cfg = f->ck.cfg;
    f->ts = f->ck.ts;
    count_tensors(f->module, f->ts);
    if ((st = cpu_backend_new(&be, &cpu, err)) != MO_OK) return st;
    cpu_backend_describe(be, f->kernels, sizeof f->kernels);
    be->ops->destroy(be);
    cpu_isa_format(cpu_isa(), f->isa, sizeof f->isa);
    if (checkpoint_tokenizer(&t, path, f->ck.meta, &f->tokenizer_err) == MO_OK) f->n_vocab_text = tokenizer_n_vocab(t);
    tokenizer_close(t);
    f->n_ctx = session_n_ctx(&f->cfg, &o->m.session);
    f->plan_st = mo_plan_memory(&f->plan, path, &o->m.model, &o->m.session, &f->plan_err);
    return MO_OK;
}

static void info_free(info *f)
{
    checkpoint_close(&f->ck);
    checkpoint_list_free(f->file, f->n_file);
}

/* Parts of a set without a language model: worth describing, but no model. */
static bool is_part(const info *f)
{
    bool any = false;

    for (int i = 0; i < f->n_file; i++) {
        if (f->file[i].kind == GGUF_KIND_LLM) return false;
        any |= f->file[i].kind != GGUF_KIND_UNKNOWN;
    }
    return any;
}

static bool is_used(const info *f, const checkpoint_file *file)
{
    return file->kind == GGUF_KIND_LLM || (f->ck.vision_path && file_same(file->path, f->ck.vision_path)) ||
           (f->ck.audio_path && file_same(file->path, f->ck.audio_path));
}

/* What becomes of it. */
static const char *file_note(const info *f, const checkpoint_file *file)
{
    if (!*file->arch) return "unknown: not a GGUF file that can be read";
    if (file->kind == GGUF_KIND_UNKNOWN) return "unknown: no file of this family";
    if (gguf_kind_is_speech(file->kind)) return "recognised, used by a later release: speech";
    return is_used(f, file) ? "used" : is_part(f) ? "recognised: goes with a language model" : "recognised, not used";
}

static bool has_speech_files(const info *f)
{
    for (int i = 0; i < f->n_file; i++)
        if (f->file[i].kind == GGUF_KIND_TTS) return true;
    return false;
}

/* ---- as text ---------------------------------------------------------------------------------------------------- */

static void print_config(const info *f)
{
    const model_config *c = &f->cfg;
    const llm_config *l = &c->llm;
    char name[CHECKPOINT_NAME];

    checkpoint_name(name, c, f->ck.meta);
    printf("%s  (model_type %s%s%s)\n\n", name, c->model_type, *c->version ? ", version " : "", c->version);
    printf("language model   %d layers, width %d, %d heads of %d (%d for keys and values), feed-forward %d\n", l->n_layer, l->n_embd,
           l->n_head, l->head_dim, l->n_kv_head, l->n_ff);
    printf("                 vocabulary %d%s, context %d, RoPE base %.9g%s\n", l->n_vocab, l->is_tied ? " (tied)" : "", l->n_ctx_train,
           l->rope_theta, l->rope_factor ? ", longrope" : "");
    if (c->has_vision) {
        printf("vision           %d layers, width %d, %d heads, feed-forward %d, patches of %d pixels\n", c->vision.n_layer,
               c->vision.n_embd, c->vision.n_head, c->vision.n_ff, c->vision.patch_size);
        printf("                 %d rows a tile, at most %d tiles a picture, tiles of about %d x %d\n", c->resampler.n_query,
               c->slice.max_slice_nums + 1, c->slice.scale_resolution, c->slice.scale_resolution);
    }
    if (c->has_audio)
        printf("audio            %d layers, width %d, %d heads, feed-forward %d, %d mel bands, %d rows a second\n", c->audio.n_layer,
               c->audio.n_embd, c->audio.n_head, c->audio.n_ff, c->audio.n_mel, 50 / c->audio.pool_step);
    if (c->has_tts)
        printf("speech           %d layers, width %d, %d heads, feed-forward %d\n", c->tts.n_layer, c->tts.n_embd, c->tts.n_head,
               c->tts.n_ff);
    if (f->n_vocab_text) printf("tokenizer        %d ids\n", f->n_vocab_text);
    else printf("tokenizer        none: %s\n", f->tokenizer_err.message);
}

/* Whether the configuration speaks of a module. */
static bool is_configured(const model_config *c, int i)
{
    return i == 0 || ((i == 1 || i == 2) && c->has_vision) || (i == 3 && c->has_audio) || (i == 4 && c->has_tts);
}

static const char *module_note(const info *f, int i)
{
    if (i == N_MODULE - 1) return "not used";
    if (i == 4 && !f->module[i].n_tensor && has_speech_files(f)) return "in files of its own, for a later release";
    if (!f->module[i].n_tensor) return is_configured(&f->cfg, i) ? "MISSING: the configuration speaks of it" : "not in this checkpoint";
    if (i == 4) return "there, not used by this version";
    return is_configured(&f->cfg, i) ? "there" : "there, but the configuration leaves it out";
}

static void print_modules(const info *f)
{
    char bytes[16], types[TYPES_TEXT];
    uint64_t n_tensor = 0, n_value = 0, n_bytes = 0;

    printf("\n%-22s %8s %15s %10s  %s\n", "modules", "tensors", "parameters", "bytes", "types");
    for (int i = 0; i < N_MODULE; i++) {
        const module_info *m = &f->module[i];
        if (i == N_MODULE - 1 && !m->n_tensor) break;
        if (m->n_tensor)
            printf("  %-20s %8" PRIu64 " %15" PRIu64 " %10s  %-8s  %s\n", m->what, m->n_tensor, m->n_value, format_bytes(bytes, m->n_bytes),
                   types_text(m->types, types), module_note(f, i));
        else printf("  %-20s %8s %15s %10s  %-8s  %s\n", m->what, "-", "-", "-", "-", module_note(f, i));
        n_tensor += m->n_tensor;
        n_value += m->n_value;
        n_bytes += m->n_bytes;
    }
    printf("  %-20s %8" PRIu64 " %15" PRIu64 " %10s\n", "sum", n_tensor, n_value, format_bytes(bytes, n_bytes));
}

/* The path from the folder on. */
static const char *short_path(const info *f, const checkpoint_file *file)
{
    const size_t n = strlen(f->path);

    if (strncmp(file->path, f->path, n) || !file->path[n]) return file->path;
    return file->path + n + strspn(file->path + n, "/");
}

static void print_files(const info *f)
{
    char bytes[16];

    if (!f->n_file) return;
    printf("%s%-42s %10s %8s  %s\n", is_part(f) ? "" : "\n", "files", "bytes", "tensors", "what it is");
    for (int i = 0; i < f->n_file; i++) {
        const checkpoint_file *file = &f->file[i];
        printf("  %-40s %10s %8zu  ", short_path(f, file), format_bytes(bytes, file->n_bytes), file->n_tensor);
        if (file->kind == GGUF_KIND_UNKNOWN && *file->arch) printf("%s (it calls itself '%s')\n", file_note(f, file), file->arch);
        else if (file->kind == GGUF_KIND_UNKNOWN) puts(file_note(f, file));
        else printf("%s; %s\n", gguf_kind_text(file->kind), file_note(f, file));
    }
}

static void print_plan_line(const char *what, uint64_t n, const char *note)
{
    char bytes[16];

    printf("  %-20s %12s%s%s\n", what, format_bytes(bytes, n), *note ? "  " : "", note);
}

static void print_plan(const info *f, const options *o)
{
    const mo_plan *p = &f->plan;
    static const char *const kv_name[] = { [MO_KV_F16] = "f16", [MO_KV_F32] = "f32", [MO_KV_Q8_0] = "q8_0" };
    char total[16], have[16], note[64];

    snprintf(note, sizeof note, "%d positions, %s", f->n_ctx, kv_name[o->m.session.kv_type]);
    puts("\nmemory to run");
    print_plan_line("weights, mapped", p->weights_mapped, "the files themselves, shared between processes");
    print_plan_line("weights, copied", p->weights_copied, "");
    if (p->weights_repacked) print_plan_line("weights, repacked", p->weights_repacked, "");
    print_plan_line("scratch", p->scratch, "");
    print_plan_line("KV cache", p->kv_cache, note);
    print_plan_line("tokenizer", p->tokenizer, "about");
    print_plan_line("session", p->session, "");
    print_plan_line("sum", p->total, "");
    if (p->weights_lookup) print_plan_line("embedding table", p->weights_lookup, "not in the sum: only the rows in use become resident");
    format_bytes(total, p->total);
    if (!p->available) printf("how much this machine can give is not known\n");
    else if (p->total <= p->available) printf("fits: %s of the %s this machine can give\n", total, format_bytes(have, p->available));
    else printf("does NOT fit: %s, and this machine can give %s\n", total, format_bytes(have, p->available));
}

static void print_tensors(const info *f)
{
    puts("\ntensors");
    for (size_t i = 0; i < tensors_count(f->ts); i++) {
        const tensor *t = tensors_at(f->ts, i);
        printf("  %-70s %-5s [", t->name, dtype_get(t->type) ? dtype_get(t->type)->name : "?");
        for (int32_t k = 0; k < t->n_dim; k++) printf("%s%" PRId64, k ? ", " : "", t->dim[k]);
        puts("]");
    }
}

static void print_text(const info *f, const options *o)
{
    print_config(f);
    print_modules(f);
    print_files(f);
    if (f->plan_st == MO_OK) print_plan(f, o);
    printf("\nkernels: %s  (this machine has: %s)\n", f->kernels, f->isa);
    if (o->tensors) print_tensors(f);
}

/* ---- as JSON ---------------------------------------------------------------------------------------------------- */

#define BYTES(n) (json_int_t)(n)

static json_t *config_json(const model_config *c)
{
    const llm_config *l = &c->llm;
    json_t *j = json_pack("{s:{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f}}", "llm", "n_layer", l->n_layer, "n_embd", l->n_embd, "n_head",
                          l->n_head, "n_kv_head", l->n_kv_head, "head_dim", l->head_dim, "n_ff", l->n_ff, "n_vocab", l->n_vocab,
                          "n_ctx_train", l->n_ctx_train, "rope_theta", l->rope_theta);

    if (c->has_vision)
        json_object_set_new(j, "vision",
                            json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "n_layer", c->vision.n_layer, "n_embd", c->vision.n_embd, "n_head",
                                      c->vision.n_head, "n_ff", c->vision.n_ff, "patch_size", c->vision.patch_size, "n_query",
                                      c->resampler.n_query, "max_slices", c->slice.max_slice_nums));
    if (c->has_audio)
        json_object_set_new(j, "audio",
                            json_pack("{s:i,s:i,s:i,s:i,s:i,s:i}", "n_layer", c->audio.n_layer, "n_embd", c->audio.n_embd, "n_head",
                                      c->audio.n_head, "n_ff", c->audio.n_ff, "n_mel", c->audio.n_mel, "pool_step", c->audio.pool_step));
    return j;
}

static json_t *modules_json(const info *f)
{
    json_t *list = json_object();
    char types[TYPES_TEXT];

    for (int i = 0; i < N_MODULE; i++) {
        const module_info *m = &f->module[i];
        json_object_set_new(list, m->name,
                            json_pack("{s:b,s:b,s:I,s:I,s:I,s:s}", "present", m->n_tensor > 0, "configured", is_configured(&f->cfg, i),
                                      "tensors", BYTES(m->n_tensor), "parameters", BYTES(m->n_value), "bytes", BYTES(m->n_bytes), "types",
                                      types_text(m->types, types)));
    }
    return list;
}

static json_t *plan_json(const info *f)
{
    const mo_plan *p = &f->plan;

    if (f->plan_st != MO_OK) return json_null();
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:i}", "weights_mapped", BYTES(p->weights_mapped),
                     "weights_lookup", BYTES(p->weights_lookup), "weights_copied", BYTES(p->weights_copied), "weights_repacked",
                     BYTES(p->weights_repacked), "llm", BYTES(p->llm), "vision", BYTES(p->vision), "audio", BYTES(p->audio), "scratch",
                     BYTES(p->scratch), "kv_cache", BYTES(p->kv_cache), "tokenizer", BYTES(p->tokenizer), "session", BYTES(p->session),
                     "total", BYTES(p->total), "available", BYTES(p->available), "fits",
                     p->available ? json_boolean(p->total <= p->available) : json_null(), "n_ctx", f->n_ctx);
}

static json_t *tensors_json(const tensors *ts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < tensors_count(ts); i++) {
        const tensor *t = tensors_at(ts, i);
        json_t *shape = json_array();
        for (int32_t k = 0; k < t->n_dim; k++) json_array_append_new(shape, json_integer(t->dim[k]));
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:o,s:I}", "name", t->name, "type", dtype_get(t->type) ? dtype_get(t->type)->name : "?",
                                        "shape", shape, "bytes", BYTES(t->n_bytes)));
    }
    return list;
}

static json_t *files_json(const info *f)
{
    json_t *list = json_array();

    for (int i = 0; i < f->n_file; i++) {
        const checkpoint_file *file = &f->file[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:b,s:I,s:I,s:s}", "path", file->path, "kind", gguf_kind_text(file->kind),
                                              "recognised", file->kind != GGUF_KIND_UNKNOWN, "used", !is_part(f) && is_used(f, file),
                                              "bytes", BYTES(file->n_bytes), "tensors", BYTES(file->n_tensor), "architecture", file->arch));
    }
    return list;
}

static mo_status print_json(const info *f, const options *o, mo_error *err)
{
    char name[CHECKPOINT_NAME];
    json_t *j;

    checkpoint_name(name, &f->cfg, f->ck.meta);
    j = json_pack("{s:s,s:s,s:s,s:o,s:o,s:i,s:o,s:s,s:s}", "model", name, "model_type", f->cfg.model_type, "version", f->cfg.version,
                  "config", config_json(&f->cfg), "modules", modules_json(f), "tokenizer_ids", f->n_vocab_text, "memory", plan_json(f),
                  "kernels", f->kernels, "machine_isa", f->isa);
    if (j && o->tensors) json_object_set_new(j, "tensors", tensors_json(f->ts));
    if (j && f->n_file) json_object_set_new(j, "files", files_json(f));
    return cli_print_json(j, 9, err);
}

/* A part alone: what it is. */
static mo_status print_part(const info *f, const options *o, mo_error *err)
{
    if (o->json) return cli_print_json(json_pack("{s:o}", "files", files_json(f)), 9, err);
    print_files(f);
    return MO_OK;
}

int cmd_info(int argc, char **argv)
{
    options o = { .m = model_options_default() };
    mo_error err = { 0 };
    info f = { 0 };
    mo_status st;
    int code = parse(&o, argc, argv);

    if (code >= 0) return code;
    st = gather(&f, argv[1], &o, &err);
    if (st == MO_E_FORMAT && is_part(&f)) {
        f.plan_st = MO_OK;
        st = print_part(&f, &o, &err);
    } else if (st == MO_OK && o.json) {
        st = print_json(&f, &o, &err);
    } else if (st == MO_OK) {
        print_text(&f, &o);
    }
    if (st == MO_OK && (st = f.plan_st) != MO_OK) err = f.plan_err; /* shown what there is; it cannot run */
    info_free(&f);
    if (st == MO_OK) return 0;
    cli_flush();
    cli_error("%s", err.message);
    return 1;
}
