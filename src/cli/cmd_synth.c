/* minicpmo synth: a checkpoint in the official Hugging Face layout whose values follow a rule (../shared/synth/README.md), or the
 * same as GGUF files (synth_gguf.h).
 *
 *     DIR/config.json  model*.safetensors(.index.json)  tokenizer files  preprocessor_config.json
 *     DIR/NAME-TYPE.gguf  vision/NAME-vision-F16.gguf  audio/NAME-audio-F16.gguf
 *
 * Everything is written into a folder beside DIR and renamed at the end, so DIR is whole or not there.
 */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/stop_signals.h"
#include "cli/synth_gguf.h"
#include "cli/synth_write.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/dtype.h"
#include "core/file.h"
#include "tokenizer/tokenizer.h"

enum { CONFIG_MAX = 16 << 20, TOKENIZER_FILE_MAX = 256 << 20 };

typedef struct options {
    const char *config, *tokenizer, *out;
    const volatile sig_atomic_t *stop;
    uint64_t seed, n_shard, shard_max_bytes;
    const char *type_name;
    int32_t type;               /* of the safetensors */
    const file_type *file_type; /* of the GGUF files; NULL: safetensors */
    bool gguf;
    int n_thread;
} options;

static const char usage[] =
    "usage: minicpmo synth --config FILE [OPTION...] -o DIR\n"
    "\n"
    "Writes a checkpoint in the Hugging Face layout, or as GGUF files. It has learnt nothing: every value is a\n"
    "function of the tensor's name, its index and the seed, and what it says is noise.\n"
    "\n"
    "  --config FILE           the model's config.json\n"
    "  --seed N                another N, other values (1)\n"
    "  --tokenizer DIR         copy the tokenizer and processor files from there (else: a stand-in of single bytes)\n"
    "  --type TYPE             BF16, F16 or F32 (BF16); the values are the same\n"
    "  --gguf                  a GGUF file for the language model, one for each encoder, in the published layout;\n"
    "                          then --type may be any file type, Q4_K_M for one, whose blocks are random\n"
    "  --shards N              split into N files of about equal size (fewer if tensors are few)\n"
    "  --max-shard-size SIZE   split into files of at most SIZE: bytes, or with KB, MB, GB, KiB, MiB, GiB\n"
    "  --threads N             threads to compute with (all cores)\n"
    "  -o, --output DIR        where to; must not exist or be empty\n";

/* ---- options ---- */

static bool parse_u64(const char *s, uint64_t lo, uint64_t hi, uint64_t *out)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || errno || v < lo || v > hi) return false;
    *out = v;
    return true;
}

/* "5GB", "512MiB", "1000000" */
static bool parse_size(const char *s, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t n;
    } units[] = { { "", 1 },          { "KB", 1000 },     { "MB", 1000000 }, { "GB", 1000000000 },
                  { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 } };
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || errno || !v) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit)) return !__builtin_mul_overflow((uint64_t)v, units[i].n, out);
    return false;
}

/* 0: the name is none. */
static bool parse_type(options *o)
{
    const char *s = o->type_name;

    o->type = !strcmp(s, "BF16") ? MO_BF16 : !strcmp(s, "F16") ? MO_F16 : !strcmp(s, "F32") ? MO_F32 : -1;
    if (o->gguf) o->file_type = file_type_find(s);
    return o->gguf ? o->file_type != NULL : o->type >= 0;
}

static void put_type_names(char *out, size_t n)
{
    const file_type *t;
    size_t at = 0;

    for (int i = 0; (t = file_type_at(i)) && at < n; i++) at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", t->name);
}

/* -1: they go together; otherwise the exit code. */
static int check_options(options *o)
{
    char names[256];

    if (!o->config || !o->out) cli_error("synth needs --config FILE and -o DIR");
    else if (o->n_shard && o->shard_max_bytes) cli_error("--shards and --max-shard-size exclude each other");
    else if (o->gguf && (o->n_shard || o->shard_max_bytes))
        cli_error("--shards and --max-shard-size are not for --gguf: a part is one file");
    else if (!parse_type(o) && o->gguf) {
        put_type_names(names, sizeof names);
        cli_error("--type cannot be '%.40s'; GGUF file types are %s", o->type_name, names);
    } else if (!o->gguf && o->type < 0)
        cli_error("--type cannot be '%.40s': BF16, F16 or F32, and with --gguf any GGUF file type", o->type_name);
    else return -1;
    return 2;
}

/* -1: go on; otherwise the exit code. */
static int parse_options(options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' },
        { "seed", required_argument, NULL, 's' },
        { "tokenizer", required_argument, NULL, 't' },
        { "type", required_argument, NULL, 'T' },
        { "gguf", no_argument, NULL, 'g' },
        { "shards", required_argument, NULL, 'n' },
        { "max-shard-size", required_argument, NULL, 'm' },
        { "threads", required_argument, NULL, 'j' },
        { "output", required_argument, NULL, 'o' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    uint64_t v;
    int c, at = 0;

    *o = (options){ .seed = 1, .type_name = "BF16" };
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, ":o:h", longs, &at)) != -1) {
        bool ok = true;
        switch (c) {
        case 'c': o->config = optarg; break;
        case 't': o->tokenizer = optarg; break;
        case 'o': o->out = optarg; break;
        case 's': ok = parse_u64(optarg, 0, UINT64_MAX, &o->seed); break;
        case 'T': o->type_name = optarg; break;
        case 'g': o->gguf = true; break;
        case 'n': ok = parse_u64(optarg, 1, 9999, &o->n_shard); break;
        case 'm': ok = parse_size(optarg, &o->shard_max_bytes); break;
        case 'j':
            ok = parse_u64(optarg, 1, 1024, &v);
            if (ok) o->n_thread = (int)v;
            break;
        case 'h': fputs(usage, stdout); return 0;
        case ':': cli_error("option '%s' needs a value", argv[optind - 1]); return 2;
        default: cli_error("synth has no option '%s'; minicpmo synth --help lists them", argv[optind - 1]); return 2;
        }
        if (!ok) {
            cli_error("--%s cannot be '%s'", longs[at].name, optarg);
            return 2;
        }
    }
    if (optind >= argc) return check_options(o);
    cli_error("'%s' is one argument too many", argv[optind]);
    return 2;
}

/* ---- configuration and tokenizer files ---- */

static const char *backbone_name(const model_config *c)
{
    if (c->llm.has_qk_norm) return "qwen3";
    if (c->llm.has_qkv_bias) return "qwen2";
    if (c->member == MEMBER_OMNILMM) return "mistral";
    return c->llm.residual_scale != 1 || c->llm.logit_divisor != 1 ? "minicpm" : "llama";
}

static const char *torch_dtype(int32_t type) { return type == MO_F32 ? "float32" : type == MO_F16 ? "float16" : "bfloat16"; }

/* config.json: what was given, with the type of the weights, the seed, and the backbone by name: the widths of a small
 * model fit no rule of recognition. */
static mo_status write_config(const char *dir, json_t *root, const model_config *c, const options *o, mo_error *err)
{
    json_t *synth = json_object_get(root, "synth");
    char *text;
    mo_status st;
    int bad = 0;

    if (!json_is_object(synth)) {
        bad |= json_object_set_new(root, "synth", json_object());
        synth = json_object_get(root, "synth");
    }
    if (!json_object_get(synth, "backbone")) bad |= json_object_set_new(synth, "backbone", json_string(backbone_name(c)));
    if (o->seed <= INT64_MAX) bad |= json_object_set_new(synth, "seed", json_integer((json_int_t)o->seed));
    bad |= json_object_set_new(root, "torch_dtype", json_string(torch_dtype(o->type)));
    if (bad || !(text = json_dumps(root, JSON_INDENT(2)))) return mo_fail(err, MO_E_NOMEM, "no memory for config.json");
    st = synth_write_file(dir, "config.json", text, strlen(text), err);
    free(text); /* jansson's own allocation */
    return st;
}

static mo_status write_processor(const char *dir, const model_config *c, mo_error *err)
{
    buf b = { 0 };
    mo_status st;

    buf_printf(&b,
               "{\n  \"image_processor_type\": \"MiniCPMVImageProcessor\",\n  \"max_slice_nums\": %d,\n  \"scale_resolution\": %d,\n  "
               "\"patch_size\": %d,\n",
               (int)c->slice.max_slice_nums, (int)c->slice.scale_resolution, (int)c->slice.patch_size);
    buf_printf(&b, "  \"use_image_id\": %s,\n  \"image_feature_size\": %d,\n  \"im_start\": \"<image>\",\n  \"im_end\": \"</image>\",\n",
               c->slice.use_image_id ? "true" : "false", (int)c->resampler.n_query);
    buf_puts(&b, "  \"slice_start\": \"<slice>\",\n  \"slice_end\": \"</slice>\",\n  \"unk\": \"<unk>\",\n  \"im_id_start\": "
                 "\"<image_id>\",\n  \"im_id_end\": \"</image_id>\",\n");
    buf_printf(&b, "  \"slice_mode\": %s,\n", c->slice.slice_mode ? "true" : "false");
    if (c->has_audio) buf_printf(&b, "  \"audio_pool_step\": %d,\n", (int)c->audio.pool_step);
    if (*c->version) buf_printf(&b, "  \"version\": %s,\n", c->version);
    buf_puts(&b, "  \"norm_mean\": [0.5, 0.5, 0.5],\n  \"norm_std\": [0.5, 0.5, 0.5]\n}\n");
    st = b.failed ? mo_fail(err, MO_E_NOMEM, "no memory for preprocessor_config.json")
                  : synth_write_file(dir, "preprocessor_config.json", b.data, b.len, err);
    buf_free(&b);
    return st;
}

static mo_status copy_file(const char *from, const char *to, const char *name, bool *found, mo_error *err)
{
    char *path = path_join(from, name), *data = NULL;
    size_t n;
    mo_status st = MO_OK;

    *found = path && file_exists(path);
    if (!path) st = mo_fail(err, MO_E_NOMEM, "no memory to copy '%s'", name);
    else if (*found) st = file_read(&data, &n, path, TOKENIZER_FILE_MAX, err);
    if (st == MO_OK && data) st = synth_write_file(to, name, data, n, err);
    mo_free(data);
    mo_free(path);
    return st;
}

static mo_status copy_tokenizer(const char *from, const char *to, bool *has_processor, mo_error *err)
{
    static const char *const vocabulary[] = { "vocab.json", "tokenizer.json", "tokenizer.model" };
    static const char *const beside[] = {
        "merges.txt",          "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json", "generation_config.json",
        "chat_template.jinja", "chat_template.json"
    };
    bool found, any = false;
    mo_status st = MO_OK;

    for (size_t i = 0; i < sizeof vocabulary / sizeof *vocabulary && st == MO_OK; i++) {
        st = copy_file(from, to, vocabulary[i], &found, err);
        any |= found;
    }
    if (st == MO_OK && !any) return mo_fail(err, MO_E_IO, "'%.300s' holds no vocab.json, tokenizer.json or tokenizer.model", from);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && st == MO_OK; i++) st = copy_file(from, to, beside[i], &found, err);
    return st == MO_OK ? copy_file(from, to, "preprocessor_config.json", has_processor, err) : st;
}

/* ---- folders ---- */

/* Remove a folder of plain files and of folders of such, and nothing deeper. */
static void remove_dir(const char *dir, int depth)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char *path = strcmp(e->d_name, ".") && strcmp(e->d_name, "..") ? path_join(dir, e->d_name) : NULL;
        if (path && unlink(path) && depth > 0 && file_is_dir(path)) remove_dir(path, depth - 1);
        mo_free(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static bool is_empty_dir(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    if (!d) return false;
    while (readdir(d)) n++;
    closedir(d);
    return n <= 2; /* . and .. */
}

/* The unfinished folder: DIR.part-PID, on the same file system. *out without trailing slashes. */
static mo_status make_part_dir(char **out, char **part, const char *dir, mo_error *err)
{
    size_t n = strlen(dir);
    buf b = { 0 };
    mo_status st;

    while (n > 1 && dir[n - 1] == '/') n--;
    if (!(*out = mo_strndup(dir, n))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if (file_exists(*out) && !is_empty_dir(*out))
        return mo_fail(err, MO_E_ARG, "'%.300s' is there already and not an empty folder: remove it or choose another", *out);
    buf_printf(&b, "%s.part-%ld", *out, (long)getpid());
    if (b.failed) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    st = file_make_parents(b.data, err);
    if (st == MO_OK && mkdir(b.data, 0777)) st = mo_fail(err, MO_E_IO, "cannot make the folder '%.300s': %s", b.data, strerror(errno));
    if (st == MO_OK) *part = b.data;
    else buf_free(&b);
    return st;
}

static mo_status check_space(const char *dir, uint64_t need, mo_error *err)
{
    struct statvfs s;
    uint64_t have;

    if (statvfs(dir, &s)) return MO_OK; /* then writing will tell */
    have = (uint64_t)s.f_bavail * s.f_frsize;
    if (have >= need + (64 << 20)) return MO_OK;
    return mo_fail(err, MO_E_IO, "the disk of '%.250s' has %.1f GB left, this checkpoint needs %.1f GB", dir, (double)have * 1e-9,
                   (double)need * 1e-9);
}

/* ---- the command ---- */

static mo_status write_weights(const char *dir, const model_config *c, const json_t *root, const options *o, mo_error *err)
{
    synth_opts so = { .seed = o->seed, .type = o->type, .shard_max_bytes = o->shard_max_bytes, .stop = o->stop };
    synth_list l;
    pool *p = NULL;
    uint64_t total;
    mo_status st;

    so.boost = json_object_get(json_object_get(root, "synth"), "boost");
    if ((st = synth_list_make(&l, c, err)) == MO_OK) {
        total = synth_total_bytes(&l, o->type);
        if (o->n_shard) so.shard_max_bytes = synth_shard_limit(&l, o->type, o->n_shard);
        st = check_space(dir, total, err);
        if (st == MO_OK) st = pool_new(&p, o->n_thread ? o->n_thread : cpu_count(), err);
        if (st == MO_OK) st = synth_write(dir, &l, &so, p, err);
    }
    pool_free(p);
    synth_list_free(&l);
    return st;
}

/* The tokenizer that the files get: the given one, or a stand-in, which is written as files and read again. */
static mo_status open_tokenizer(tokenizer **out, const char *dir, const model_config *c, const options *o, mo_error *err)
{
    char *made = path_join(dir, "tokenizer");
    mo_status st = MO_OK;

    if (o->tokenizer) {
        st = tokenizer_open_hf(out, o->tokenizer, err);
    } else if (!made) {
        st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    } else if (mkdir(made, 0777)) {
        st = mo_fail(err, MO_E_IO, "cannot make the folder '%.300s': %s", made, strerror(errno));
    } else {
        st = tokenizer_write_standin(made, c->llm.n_vocab, err);
        if (st == MO_OK) st = tokenizer_open_hf(out, made, err);
        remove_dir(made, 0);
    }
    mo_free(made);
    return st;
}

static mo_status write_gguf(const char *dir, const model_config *c, const json_t *root, const options *o, mo_error *err)
{
    synth_list l = { 0 };
    synth_gguf g = { .c = c,
                     .tensors = &l,
                     .type = o->file_type,
                     .seed = o->seed,
                     .boost = json_object_get(json_object_get(root, "synth"), "boost"),
                     .tokenizer_dir = o->tokenizer,
                     .stop = o->stop };
    tokenizer *tok = NULL;
    pool *p = NULL;
    uint64_t total;
    mo_status st = open_tokenizer(&tok, dir, c, o, err);

    g.tok = tok;
    if (st == MO_OK) st = synth_list_make(&l, c, err);
    if (st == MO_OK) st = synth_gguf_bytes(&total, &g, err);
    if (st == MO_OK) st = check_space(dir, total, err);
    if (st == MO_OK) st = pool_new(&p, o->n_thread ? o->n_thread : cpu_count(), err);
    if (st == MO_OK) st = synth_gguf_write(dir, &g, p, err);
    pool_free(p);
    synth_list_free(&l);
    tokenizer_close(tok);
    return st;
}

/* What the configuration has and this command does not write. */
static void tell_what_is_missing(const model_config *c, const options *o)
{
    if (c->has_tts && o->gguf) fprintf(stderr, "minicpmo: tts/ and token2wav-gguf/ were not written: this build makes no speech files\n");
    else if (c->has_tts)
        fprintf(stderr, "minicpmo: assets/token2wav was not written: this build makes no speech decoder files%s\n",
                c->member == MEMBER_O26 ? ", nor the tts tensors of MiniCPM-o 2.6" : "");
}

static mo_status write_all(const char *dir, json_t *root, const model_config *c, const options *o, mo_error *err)
{
    bool has_processor = false;
    mo_status st = write_weights(dir, c, root, o, err);

    if (st == MO_OK)
        st = o->tokenizer ? copy_tokenizer(o->tokenizer, dir, &has_processor, err) : tokenizer_write_standin(dir, c->llm.n_vocab, err);
    if (st == MO_OK && c->has_vision && !has_processor) st = write_processor(dir, c, err);
    if (st == MO_OK) st = write_config(dir, root, c, o, err);
    return st;
}

static mo_status read_config(json_t **root, model_config *c, const char *path, mo_error *err)
{
    char *text;
    size_t n;
    mo_status st = file_read(&text, &n, path, CONFIG_MAX, err);

    if (st != MO_OK) return st;
    st = model_config_parse(c, text, n, path, err);
    if (st == MO_OK && !(*root = json_loadb(text, n, 0, NULL))) st = mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", path);
    mo_free(text);
    return st;
}

int cmd_synth(int argc, char **argv)
{
    options o;
    model_config c = { 0 };
    json_t *root = NULL;
    char *out = NULL, *part = NULL;
    mo_error err = { 0 };
    mo_status st;
    int code = parse_options(&o, argc, argv);

    if (code >= 0) return code;
    if ((st = read_config(&root, &c, o.config, &err)) != MO_OK) goto done;
    o.stop = stop_on_signals();
    if ((st = make_part_dir(&out, &part, o.out, &err)) != MO_OK) goto done;
    if ((st = o.gguf ? write_gguf(part, &c, root, &o, &err) : write_all(part, root, &c, &o, &err)) != MO_OK) goto done;
    if (*o.stop) st = mo_fail(&err, MO_E_INTERRUPTED, "stopped");
    else if (rename(part, out)) st = mo_fail(&err, MO_E_IO, "cannot rename '%.200s' to '%.200s': %s", part, out, strerror(errno));
    else tell_what_is_missing(&c, &o);
done:
    if (st != MO_OK) cli_error("%s", err.message);
    if (st != MO_OK && part) remove_dir(part, 1);
    mo_free(part);
    mo_free(out);
    json_decref(root);
    model_config_free(&c);
    return st == MO_OK ? 0 : 1;
}
