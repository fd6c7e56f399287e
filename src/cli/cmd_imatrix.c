/* minicpmo imatrix: which columns of a language model's weights matter, over a text, for minicpmo quantize --imatrix.
 *
 *     text -> ids -> chunks of n_ctx, each a context of its own -> the model, watched -> OUT
 *
 * Every few chunks what there is goes to OUT.part, from which the same command goes on.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/llm_rig.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/file.h"
#include "formats/gguf_journal.h"
#include "models/importance.h"

enum { TEXT_MAX = 1 << 30, CTX_DEFAULT = 512, UBATCH = 512, SAVE_DEFAULT = 10 };

typedef struct options {
    const char *out;
    int32_t n_chunk, n_ctx, n_save, n_thread, quiet, force;
} options;

/* A model, and the text cut into chunks. */
typedef struct rig {
    options o;
    llm_rig l;
    tokenizer *tok;
    const volatile sig_atomic_t *stop;
    ids text;
    kv_seq **seq; /* [n_ctx] */
    uint8_t *want;
    float *hidden; /* [n_ctx, n_embd] */
    int32_t *chunk;
    imatrix sums;
    importance_watch *watch;
    char *part;
} rig;

static int parse(options *o, int argc, char **argv, int *n_arg)
{
    const option_spec spec[] = {
        { "output", 'o', OPTION_TEXT, "OUT", "the file to write", .out = &o->out },
        { "chunks", 0, OPTION_INT, "N", "so many pieces of the text at most (all)", .out = &o->n_chunk, .lo = 1, .hi = 1 << 30 },
        { "ctx", 0, OPTION_INT, "N", "tokens of a piece (512)", .out = &o->n_ctx, .lo = 2, .hi = 1 << 20 },
        { "save-every", 0, OPTION_INT, "N", "pieces between two saves of what there is (10)", .out = &o->n_save, .lo = 1, .hi = 1 << 30 },
        { "threads", 0, OPTION_INT, "N", "threads to compute with (all cores)", .out = &o->n_thread, .lo = 1, .hi = 1024 },
        { "force", 'f', OPTION_FLAG, NULL, "replace OUT if it is there", .out = &o->force },
        { "quiet", 'q', OPTION_FLAG, NULL, "say nothing but what is wrong", .out = &o->quiet },
    };
    const option_group group[] = { { NULL, spec, (int)(sizeof spec / sizeof *spec) } };
    const option_table table = {
        .command = "imatrix",
        .usage = "imatrix MODEL TEXT -o OUT [OPTION...]",
        .about = "Reads TEXT, a file, with MODEL and writes how much each column of each weight matters, for\n"
                 "minicpmo quantize --imatrix OUT. Interrupted, the same command goes on where it was.\n",
        .group = group,
        .n_group = 1,
        .n_arg_min = 2,
        .n_arg_max = 2,
        .arg_needed = "MODEL and TEXT",
    };

    *o = (options){ .n_ctx = CTX_DEFAULT, .n_save = SAVE_DEFAULT };
    return options_parse(&table, argc, argv, n_arg);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static mo_status open_model(rig *r, const char *path, mo_error *err)
{
    const cpu_backend_opts cpu = { .isa_mask = MO_ISA_ALL, .n_thread = r->o.n_thread };
    const llm_config *c = &r->l.ck.cfg.llm;
    mo_status st;

    if ((st = llm_rig_open(&r->l, path, err)) != MO_OK) return st;
    if ((st = checkpoint_tokenizer(&r->tok, path, r->l.ck.meta, err)) != MO_OK) return st;
    if (r->o.n_ctx > c->n_ctx_train)
        return mo_fail(err, MO_E_ARG, "--ctx %d is more than the model's context of %d", (int)r->o.n_ctx, (int)c->n_ctx_train);
    return llm_rig_start(&r->l, &cpu, UBATCH, r->o.n_ctx, MO_F16, err);
}

static mo_status make_rows(rig *r, mo_error *err)
{
    const size_t n = (size_t)r->o.n_ctx;

    r->seq = mo_calloc(n, sizeof *r->seq);
    r->want = mo_calloc(n, 1);
    r->chunk = mo_calloc(n, sizeof *r->chunk);
    r->hidden = mo_calloc(n, (size_t)r->l.ck.cfg.llm.n_embd * sizeof *r->hidden);
    if (!r->seq || !r->want || !r->chunk || !r->hidden) return mo_fail(err, MO_E_NOMEM, "no memory for rows of %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        r->seq[i] = &r->l.kv;
        r->want[i] = LLM_WANT_HIDDEN; /* every row passes the last block too; the output matrix is not watched */
    }
    return MO_OK;
}

static mo_status read_text(rig *r, const char *path, mo_error *err)
{
    char *text;
    size_t n;
    mo_status st = file_read(&text, &n, path, TEXT_MAX, err);

    if (st != MO_OK) return st;
    st = tokenizer_encode(r->tok, text, n, &r->text, err);
    mo_free(text);
    if (st == MO_OK && r->text.len < (size_t)r->o.n_ctx)
        st = mo_fail(err, MO_E_ARG, "'%.250s' has %zu tokens, less than one piece of %d: take a longer text or a smaller --ctx", path,
                     r->text.len, (int)r->o.n_ctx);
    return st;
}

/* What OUT.part must have been made of: model, text, size of a piece. */
static uint64_t stamp_of(const rig *r)
{
    const tensors *ts = r->l.ck.ts;
    checksum c;

    checksum_begin(&c);
    checksum_add(&c, &r->o.n_ctx, sizeof r->o.n_ctx);
    checksum_add(&c, r->text.data, r->text.len * sizeof *r->text.data);
    for (size_t i = 0; i < tensors_count(ts); i++) {
        const tensor *t = tensors_at(ts, i);
        checksum_add(&c, t->name, strlen(t->name));
        checksum_add(&c, t->data, t->n_bytes < 4096 ? t->n_bytes : 4096);
    }
    return checksum_end(&c) & ~(uint64_t)1; /* as files hold it */
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Another run's part, if it is of the same sums. */
static void take_up(rig *r, uint64_t stamp)
{
    mo_error ignored;

    if (!file_exists(r->part)) return;
    if (imatrix_read(&r->sums, r->part, &ignored) == MO_OK && r->sums.stamp == stamp) return;
    imatrix_free(&r->sums);
}

static mo_status feed_chunk(rig *r, uint32_t i, mo_error *err)
{
    const int32_t bos = tokenizer_get_roles(r->tok).add_bos ? tokenizer_get_roles(r->tok).bos : -1;
    const llm_batch b = { .n_row = r->o.n_ctx, .token = r->chunk, .seq = r->seq, .want = r->want };
    mo_status st;

    memcpy(r->chunk, r->text.data + (size_t)i * (size_t)r->o.n_ctx, (size_t)r->o.n_ctx * sizeof *r->chunk);
    if (bos >= 0) r->chunk[0] = bos; /* in the first token's place, as llama-imatrix has it */
    kv_seq_truncate(&r->l.kv, 0);
    st = llm_forward(r->l.m, &r->l.s, UBATCH, &b, NULL, r->hidden, err);
    return st == MO_OK ? importance_end_chunk(r->watch, err) : st;
}

static mo_status collect(rig *r, uint64_t stamp, uint32_t n_chunk, mo_error *err)
{
    progress bar;
    mo_status st;

    r->sums.n_ctx = (uint32_t)r->o.n_ctx;
    r->sums.stamp = stamp;
    if ((st = importance_begin(&r->watch, r->l.m, &r->sums, err)) != MO_OK) return st;
    progress_begin_steps(&bar, "reading", n_chunk, "pieces");
    while (st == MO_OK && r->sums.n_chunk < n_chunk && !*r->stop) {
        if ((st = feed_chunk(r, r->sums.n_chunk, err)) == MO_OK && r->sums.n_chunk % (uint32_t)r->o.n_save == 0)
            st = imatrix_write(&r->sums, r->part, err);
        progress_update(&bar, r->sums.n_chunk);
    }
    progress_end(&bar);
    if (st != MO_OK || !*r->stop) return st;
    if (r->sums.n_chunk && (st = imatrix_write(&r->sums, r->part, err)) != MO_OK) return st;
    return mo_fail(err, MO_E_INTERRUPTED, "stopped after %u of %u pieces; the same command goes on", r->sums.n_chunk, n_chunk);
}

static mo_status run(rig *r, const char *model, const char *text, mo_error *err)
{
    const int64_t t_begin = clock_ns();
    uint32_t n_chunk, n_before;
    uint64_t stamp;
    buf part = { 0 };
    mo_status st;

    if (!r->o.out) return mo_fail(err, MO_E_ARG, "imatrix needs -o OUT, the file to write");
    if (!r->o.force && file_exists(r->o.out))
        return mo_fail(err, MO_E_ARG, "'%.300s' is there already: remove it, or give --force", r->o.out);
    buf_printf(&part, "%s.part", r->o.out);
    if (!(r->part = part.data)) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if ((st = open_model(r, model, err)) != MO_OK || (st = make_rows(r, err)) != MO_OK || (st = read_text(r, text, err)) != MO_OK)
        return st;
    n_chunk = (uint32_t)(r->text.len / (size_t)r->o.n_ctx);
    if (r->o.n_chunk && (uint32_t)r->o.n_chunk < n_chunk) n_chunk = (uint32_t)r->o.n_chunk;
    stamp = stamp_of(r);
    take_up(r, stamp);
    if (r->sums.n_chunk > n_chunk) imatrix_free(&r->sums); /* more was read than is asked for now */
    n_before = r->sums.n_chunk;
    mo_free(r->sums.dataset);
    if (!(r->sums.dataset = mo_strdup(text))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if ((st = collect(r, stamp, n_chunk, err)) != MO_OK) return st;
    r->sums.stamp = 0;
    if ((st = imatrix_write(&r->sums, r->o.out, err)) != MO_OK) return st;
    unlink(r->part);
    if (r->o.quiet) return MO_OK;
    if (n_before) cli_note("%u pieces were read by an earlier run", n_before);
    cli_note("%s: %zu weights, %u pieces of %d tokens, %.1f s", r->o.out, r->sums.n, n_chunk, (int)r->o.n_ctx,
             (double)(clock_ns() - t_begin) * 1e-9);
    return MO_OK;
}

static void release(rig *r)
{
    importance_end(r->watch);
    tokenizer_close(r->tok);
    llm_rig_close(&r->l);
    ids_free(&r->text);
    imatrix_free(&r->sums);
    mo_free(r->seq);
    mo_free(r->want);
    mo_free(r->chunk);
    mo_free(r->hidden);
    mo_free(r->part);
}

int cmd_imatrix(int argc, char **argv)
{
    rig r = { 0 };
    mo_error err = { 0 };
    mo_status st;
    int n_arg, code = parse(&r.o, argc, argv, &n_arg);

    if (code >= 0) return code;
    r.stop = stop_on_signals();
    st = run(&r, argv[1], argv[2], &err);
    release(&r);
    if (st != MO_OK) cli_error("%s", err.message);
    return st == MO_OK ? 0 : st == MO_E_ARG ? 2 : 1;
}
