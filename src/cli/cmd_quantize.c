/* minicpmo quantize: GGUF files of any published type from a Hugging Face folder or a GGUF file. What they hold is decided in
 * models/quantize.h; here are options, the files' names, and what is told.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/options.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/file.h"
#include "media/audio.h"
#include "models/checkpoint_files.h"
#include "models/quantize.h"

enum { PART_ALL, PART_LLM, PART_VISION, PART_AUDIO, N_PART = 3 };

typedef struct options {
    const char *type, *encoder_type, *imatrix, *embd_type, *output_type;
    int32_t part, pure, force, dry_run, quiet, n_thread;
    option_list tensor_types;
} options;

/* One file to be written. */
typedef struct output {
    gguf_role role;
    const file_type *type;
    char *path;
    quantizer *q;
} output;

typedef struct run {
    options o;
    quantize_opts q;
    mix_rule *rule;
    imatrix importance;
    float filters[MEL_BANDS * MEL_BINS];
    output out[N_PART];
    int n_out;
    uint64_t n_byte, n_byte_before; /* of all outputs' tensors; of those that are through */
    progress bar;
    int64_t t_begin_ns;
} run;

static int parse(options *o, int argc, char **argv, int *n_arg)
{
    const option_spec spec[] = {
        { "type", 't', OPTION_TEXT, "TYPE", "the file type, one of the above", .out = &o->type },
        { "part", 0, OPTION_CHOICE, "PART", "all, llm, vision or audio, of a folder (all)", .out = &o->part,
          .choices = "all|llm|vision|audio" },
        { "encoder-type", 0, OPTION_TEXT, "TYPE", "of the encoders, beside the language model (F16)", .out = &o->encoder_type },
        { "imatrix", 0, OPTION_TEXT, "FILE", "what matters in each row: minicpmo imatrix makes it", .out = &o->imatrix },
        { "pure", 0, OPTION_FLAG, NULL, "all matrices in the one type", .out = &o->pure },
        { "token-embedding-type", 0, OPTION_TEXT, "T", "an element type (Q6_K, F16 ...) for the embeddings", .out = &o->embd_type },
        { "output-tensor-type", 0, OPTION_TEXT, "T", "... for the output matrix", .out = &o->output_type },
        { "tensor-type", 0, OPTION_LIST, "PAT=T", "... for all whose name the regular expression is found in", .out = &o->tensor_types },
        { "threads", 0, OPTION_INT, "N", "threads to compute with (all cores)", .out = &o->n_thread, .lo = 1, .hi = 1024 },
        { "force", 'f', OPTION_FLAG, NULL, "replace files that are there", .out = &o->force },
        { "dry-run", 'n', OPTION_FLAG, NULL, "print each tensor's type and size, write nothing", .out = &o->dry_run },
        { "quiet", 'q', OPTION_FLAG, NULL, "say nothing but what is wrong", .out = &o->quiet },
    };
    const option_group group[] = { { NULL, spec, (int)(sizeof spec / sizeof *spec) } };
    const option_table table = {
        .command = "quantize",
        .usage = "quantize IN OUT --type TYPE [OPTION...]",
        .about = "Writes GGUF files from IN, a Hugging Face folder or a GGUF file. OUT is a file (.gguf), or a folder, where the\n"
                 "files get the names they are published under. Interrupted, the same command goes on where it was.\n"
                 "Types: F32 BF16 F16 Q8_0 Q6_K Q5_1 Q5_K_M Q5_K_S Q5_0 Q4_1 Q4_K_M Q4_K_S IQ4_NL Q4_0 IQ4_XS Q3_K_L Q3_K_M\n"
                 "Q3_K_S Q2_K Q2_K_S (with --imatrix).\n",
        .group = group,
        .n_group = 1,
        .n_arg_min = 2,
        .n_arg_max = 2,
        .arg_needed = "IN and OUT",
    };

    return options_parse(&table, argc, argv, n_arg);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static mo_status file_type_of(const file_type **out, const char *name, mo_error *err)
{
    if ((*out = file_type_find(name))) return MO_OK;
    if (!strncasecmp(name, "IQ1", 3) || !strncasecmp(name, "IQ2", 3) || !strncasecmp(name, "IQ3", 3) || !strncasecmp(name, "TQ", 2) ||
        !strncasecmp(name, "MXFP4", 5))
        return mo_fail(err, MO_E_UNSUPPORTED,
                       "this build reads files of type %.40s but does not write them; the smallest it writes is Q2_K", name);
    return mo_fail(err, MO_E_ARG, "there is no file type '%.40s'; minicpmo quantize --help lists them", name);
}

/* An element type; NULL is -1. */
static mo_status element_type_of(int32_t *out, const char *name, mo_error *err)
{
    *out = -1;
    if (!name) return MO_OK;
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++)
        if (dtype_get(i) && !strcasecmp(dtype_get(i)->name, name)) *out = i;
    if (*out < 0) return mo_fail(err, MO_E_ARG, "there is no element type '%.40s' (Q4_K, Q6_K, Q8_0, F16 ... are some)", name);
    if (dtype_get(*out)->from_f32) return MO_OK;
    return mo_fail(err, MO_E_UNSUPPORTED, "this build reads %s but does not write it", dtype_get(*out)->name);
}

/* "PATTERN=TYPE", in the caller's argv: the '=' becomes the pattern's end. */
static mo_status read_rules(run *r, mo_error *err)
{
    const option_list *l = &r->o.tensor_types;
    mo_status st = MO_OK;

    if (!(r->rule = mo_calloc((size_t)l->n + 1, sizeof *r->rule))) return mo_fail(err, MO_E_NOMEM, "no memory for patterns");
    for (int i = 0; i < l->n && st == MO_OK; i++) {
        const char *value = l->use[i].value, *equal = strrchr(value, '=');
        char *pattern;
        if (!equal || equal == value) return mo_fail(err, MO_E_ARG, "--tensor-type needs PATTERN=TYPE, '%.100s' is none", value);
        if (!(pattern = mo_strndup(value, (size_t)(equal - value)))) return mo_fail(err, MO_E_NOMEM, "no memory for patterns");
        r->rule[r->q.n_rule++].pattern = pattern;
        st = element_type_of(&r->rule[i].type, equal + 1, err);
    }
    r->q.rule = r->rule;
    return st;
}

static mo_status read_options(run *r, mo_error *err)
{
    mo_status st;

    if (!r->o.type) return mo_fail(err, MO_E_ARG, "quantize needs --type TYPE");
    if ((st = file_type_of(&r->q.type, r->o.type, err)) != MO_OK) return st;
    if ((st = element_type_of(&r->q.embd_type, r->o.embd_type, err)) != MO_OK) return st;
    if ((st = element_type_of(&r->q.output_type, r->o.output_type, err)) != MO_OK) return st;
    r->q.pure = r->o.pure;
    return read_rules(r, err);
}

/* ---- names of files ---------------------------------------------------------------------------------------------- */

/* As the family's repositories name them (spec: family 2.1); for others the folder's own name. */
static const char *published_stem(model_member m)
{
    switch (m) {
    case MEMBER_O45: return "MiniCPM-o-4_5";
    case MEMBER_V45: return "MiniCPM-V-4_5";
    case MEMBER_O26: return "Model-7.6B";
    default: return "ggml-model";
    }
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcasecmp(s + n - m, end);
}

/* Of a GGUF file that is quantised into a folder: its name with the other type. */
static void put_renamed(buf *b, const char *in, const file_type *type)
{
    const char *name = last_part(in);
    size_t n = strlen(name);
    const file_type *t;

    if (ends_with(name, ".gguf")) n -= 5;
    for (int i = 0; (t = file_type_at(i)); i++) {
        const size_t k = strlen(t->name);
        if (n <= k + 1 || strncasecmp(name + n - k, t->name, k) || (name[n - k - 1] != '-' && name[n - k - 1] != '.')) continue;
        n -= k + 1;
        break;
    }
    buf_printf(b, "%.*s-%s.gguf", (int)n, name, type->name);
}

static void put_published(buf *b, model_member m, gguf_role role, const file_type *type)
{
    const bool is_omni = m == MEMBER_O45;

    if (role == GGUF_ROLE_LLM) buf_printf(b, "%s-%s.gguf", published_stem(m), type->name);
    else if (role == GGUF_ROLE_AUDIO)
        buf_printf(b, "audio/%s-audio-%s.gguf", m == MEMBER_O26 ? "MiniCPM-o-2_6" : published_stem(m), type->name);
    else if (is_omni) buf_printf(b, "vision/%s-vision-%s.gguf", published_stem(m), type->name);
    else {
        buf_puts(b, "mmproj-model-");
        for (const char *s = type->name; *s; s++) buf_printf(b, "%c", *s >= 'A' && *s <= 'Z' ? *s + 32 : *s);
        buf_puts(b, ".gguf");
    }
}

/* ---- what is to be written --------------------------------------------------------------------------------------- */

static bool is_file_name(const char *out) { return ends_with(out, ".gguf") && !file_is_dir(out); }

static mo_status add_output(run *r, gguf_role role, const file_type *type, buf *path, mo_error *err)
{
    if (path->failed) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    r->out[r->n_out++] = (output){ .role = role, .type = type, .path = path->data };
    *path = (buf){ 0 };
    return MO_OK;
}

/* The parts of a folder that are asked for and there. */
static mo_status outputs_of_folder(run *r, const char *in, const char *out, mo_error *err)
{
    static const gguf_role role[] = { GGUF_ROLE_LLM, GGUF_ROLE_VISION, GGUF_ROLE_AUDIO };
    const file_type *encoder = file_type_is_quantised(r->q.type) ? file_type_find("F16") : r->q.type;
    model_member member;
    unsigned parts;
    mo_status st = quantize_parts_hf(in, &parts, &member, err);

    if (st == MO_OK && r->o.part == PART_ALL && r->o.encoder_type) st = file_type_of(&encoder, r->o.encoder_type, err);
    if (st != MO_OK) return st;
    if (r->o.part != PART_ALL) parts = 1u << role[r->o.part - PART_LLM];
    if (is_file_name(out) && parts & (parts - 1))
        return mo_fail(err, MO_E_ARG, "'%.200s' has encoders too: name a folder to write to, or choose one with --part", in);
    for (int i = 0; i < N_PART && st == MO_OK; i++) {
        const file_type *type = role[i] == GGUF_ROLE_LLM || r->o.part != PART_ALL ? r->q.type : encoder;
        buf path = { 0 };
        if (!(parts & 1u << role[i])) continue;
        buf_puts(&path, out);
        if (!is_file_name(out)) {
            if (!ends_with(out, "/")) buf_puts(&path, "/");
            put_published(&path, member, role[i], type);
        }
        st = add_output(r, role[i], type, &path, err);
        buf_free(&path);
    }
    return st;
}

static mo_status output_of_file(run *r, const char *in, const char *out, mo_error *err)
{
    buf path = { 0 };
    mo_status st;

    if (r->o.part != PART_ALL || r->o.encoder_type)
        return mo_fail(err, MO_E_ARG, "'%.200s' is one file: --part and --encoder-type are for Hugging Face folders", in);
    buf_puts(&path, out);
    if (!is_file_name(out)) {
        if (!ends_with(out, "/")) buf_puts(&path, "/");
        put_renamed(&path, in, r->q.type);
    }
    st = add_output(r, GGUF_ROLE_OTHER, r->q.type, &path, err);
    buf_free(&path);
    return st;
}

/* IN as it is, or the one language model in a folder of GGUF files. *file NULL: a Hugging Face folder. */
static mo_status find_input(char **file, const char *in, mo_error *err)
{
    *file = NULL;
    if (file_is_dir(in)) return checkpoint_find_llm(file, in, err);
    *file = mo_strdup(in);
    return *file ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a path");
}

static mo_status open_outputs(run *r, const char *in, const char *file, mo_error *err)
{
    mo_status st = MO_OK;

    for (int i = 0; i < r->n_out && st == MO_OK; i++) {
        output *o = &r->out[i];
        if (!r->o.force && !r->o.dry_run && file_exists(o->path))
            return mo_fail(err, MO_E_ARG, "'%.300s' is there already: remove it, or give --force", o->path);
        r->q.type = o->type;
        st = file ? quantize_open_gguf(&o->q, file, &r->q, err) : quantize_open_hf(&o->q, in, o->role, &r->q, err);
        if (st == MO_OK) r->n_byte += quantize_get_report(o->q)->n_byte_data;
    }
    return st;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void show_progress(void *arg, uint64_t n_done)
{
    run *r = arg;

    progress_update(&r->bar, r->n_byte_before + n_done);
}

static void print_plan(const run *r)
{
    for (int k = 0; k < r->n_out; k++) {
        const quantizer *q = r->out[k].q;
        printf("%s\n", r->out[k].path);
        for (size_t i = 0; i < quantize_count(q); i++) {
            const quantize_tensor *t = quantize_at(q, i);
            printf("  %-40s %-7s %-7s %12" PRIu64 "%s  [", t->t.name, dtype_get(t->from)->name, dtype_get(t->to)->name, t->n_bytes,
                   t->has_importance ? " i" : "");
            for (int32_t d = 0; d < t->t.n_dim; d++) printf("%s%lld", d ? ", " : "", (long long)t->t.dim[d]);
            printf("]\n");
        }
        printf("  %zu tensors, %" PRIu64 " bytes of data, %.2f bits per weight\n", quantize_count(q), quantize_get_report(q)->n_byte_data,
               8.0 * (double)quantize_get_report(q)->n_byte_data / (double)quantize_get_report(q)->n_weight);
    }
}

static void warn(const run *r)
{
    for (int i = 0; i < r->n_out && !r->o.quiet; i++) {
        const quantize_report *p = quantize_get_report(r->out[i].q);
        if (p->n_quantised)
            cli_note("%zu tensors are quantised already: what was lost with them stays lost; the original is a better start",
                     p->n_quantised);
        if (p->n_unimportant) cli_note("the importance matrix says nothing of %zu tensors that are quantised", p->n_unimportant);
    }
}

static void tell(const run *r)
{
    const double s = (double)(clock_ns() - r->t_begin_ns) * 1e-9;

    for (int i = 0; i < r->n_out && !r->o.quiet; i++) {
        const quantize_report *p = quantize_get_report(r->out[i].q);
        if (p->n_resumed) cli_note("%zu of %zu tensors of '%s' were there from an earlier run", p->n_resumed, p->n_tensor, r->out[i].path);
        cli_note("%s: %.3f GB of %s, from %.3f GB; %.2f bits per weight", r->out[i].path, (double)p->n_byte_out * 1e-9,
                 r->out[i].type->name, (double)p->n_byte_in * 1e-9, 8.0 * (double)p->n_byte_data / (double)p->n_weight);
    }
    if (!r->o.quiet) cli_note("%.1f s", s);
}

/* Unfinished files are kept, also of a failed write: said once, with how to go on. */
static mo_status write_outputs(run *r, mo_error *err)
{
    mo_status st = MO_OK;

    progress_begin(&r->bar, "quantising", r->n_byte);
    for (int i = 0; i < r->n_out && st == MO_OK; i++) {
        output *o = &r->out[i];
        if ((st = file_make_parents(o->path, err)) == MO_OK) st = quantize_write(o->q, o->path, err);
        r->n_byte_before += quantize_get_report(o->q)->n_byte_data;
    }
    progress_end(&r->bar);
    if (st != MO_OK && (st == MO_E_INTERRUPTED || st == MO_E_IO))
        return mo_fail_in(err, st, "%s", st == MO_E_IO ? "what is finished is kept" : "what is finished is kept, the same command goes on");
    for (int i = 0; i < r->n_out && st == MO_OK; i++) st = quantize_commit(r->out[i].q, err); /* all of them, or none yet */
    return st;
}

static mo_status make_filters(run *r, mo_error *err)
{
    mo_status st = mel_filters(r->filters, err);

    if (st != MO_OK) return st;
    r->q.filters = r->filters;
    r->q.n_mel = MEL_BANDS;
    r->q.n_bin = MEL_BINS;
    return MO_OK;
}

static mo_status quantize(run *r, const char *in, const char *out, mo_error *err)
{
    char *file = NULL;
    mo_status st;

    if ((st = read_options(r, err)) != MO_OK) return st;
    if (r->o.imatrix && (st = imatrix_read(&r->importance, r->o.imatrix, err)) != MO_OK) return st;
    if (r->o.imatrix) r->q.importance = &r->importance;
    r->q.importance_file = r->o.imatrix;
    if ((st = make_filters(r, err)) != MO_OK) return st;
    r->q.progress = show_progress;
    r->q.progress_arg = r;
    if ((st = find_input(&file, in, err)) != MO_OK) return st;
    r->q.name = last_part(in);
    st = file ? output_of_file(r, file, out, err) : outputs_of_folder(r, in, out, err);
    if (st == MO_OK) st = pool_new(&r->q.threads, r->o.n_thread ? r->o.n_thread : cpu_count(), err);
    if (st == MO_OK) st = open_outputs(r, in, file, err);
    if (st == MO_OK) {
        warn(r);
        if (r->o.dry_run) print_plan(r);
        else if ((st = write_outputs(r, err)) == MO_OK) tell(r);
    }
    mo_free(file);
    return st;
}

static void release(run *r)
{
    for (int i = 0; i < r->n_out; i++) {
        quantize_close(r->out[i].q);
        mo_free(r->out[i].path);
    }
    for (int i = 0; i < r->q.n_rule; i++) mo_free((void *)(uintptr_t)r->rule[i].pattern);
    mo_free(r->rule);
    pool_free(r->q.threads);
    imatrix_free(&r->importance);
    option_list_free(&r->o.tensor_types);
}

int cmd_quantize(int argc, char **argv)
{
    run r = { .t_begin_ns = clock_ns() };
    mo_error err = { 0 };
    mo_status st;
    int n_arg, code = parse(&r.o, argc, argv, &n_arg);

    if (code < 0) {
        r.q.stop = stop_on_signals();
        st = quantize(&r, argv[1], argv[2], &err);
        if (st != MO_OK) cli_error("%s", err.message);
        code = st == MO_OK ? 0 : st == MO_E_ARG ? 2 : 1;
    }
    release(&r);
    return code;
}
