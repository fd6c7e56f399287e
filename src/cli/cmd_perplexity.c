/* minicpmo perplexity: how well a model foresees a text; and, against the kept logits of another, what quantising it changed.
 *
 *     text -> ids -> windows of --ctx tokens -> -ln p of the tokens in the second half of each -> mean, spread
 *
 * Windows are those of llama.cpp's llama-perplexity, so that figures can be held beside its: they do not overlap, a rest is left
 * out, the first half of each only gives context, and where a model begins its texts with a token, that takes the place of the
 * window's first. With --stride windows begin so many tokens apart and score their last so many.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/logit_file.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "core/alloc.h"
#include "core/buf.h"

enum { TEXT_MAX = 256 << 20, WINDOW_DEFAULT = 512 };

typedef struct options {
    model_options m;
    int32_t stride, chunks, json;
    const char *save, *base;
} options;

/* Mean and spread of numbers that come one by one (Welford). */
typedef struct mean {
    double n, at, spread, most;
} mean;

static void mean_add(mean *m, double x)
{
    double d = x - m->at;

    m->n++;
    m->at += d / m->n;
    m->spread += d * (x - m->at);
    if (m->n == 1 || x > m->most) m->most = x;
}

/* Standard error of the mean, the numbers taken for independent. */
static double mean_error(const mean *m) { return m->n > 1 ? sqrt(m->spread / m->n / (m->n - 1)) : 0; }

typedef struct measure {
    const options *o;
    mo_model *m;
    mo_session *s;
    int32_t *text; /* [n_text] */
    size_t n_text;
    int32_t *id; /* [n_window, n_token] */
    float *nll;  /* [n_token] */
    int32_t hop; /* from window to window */
    logit_shape shape;
    logit_file save, base;
    mo_error row_err;
    mean nll_mean, base_nll, ratio, divergence, same_top;
} measure;

static int parse(options *o, int argc, char **argv)
{
    const option_spec spec[] = {
        { "stride", 0, OPTION_INT, "N", "windows N tokens apart, the last N of each scored (second halves)", .out = &o->stride, .lo = 1,
          .hi = 1 << 24 },
        { "chunks", 0, OPTION_INT, "N", "only the first N windows", .out = &o->chunks, .lo = 1, .hi = 1 << 24 },
        { "save-logits", 0, OPTION_TEXT, "FILE", "keep what was foreseen; 2 bytes for each entry of the vocabulary a token",
          .out = &o->save },
        { "kl-base", 0, OPTION_TEXT, "FILE", "compare with what another model foresaw, kept by --save-logits", .out = &o->base },
        { "json", 0, OPTION_FLAG, NULL, "print one JSON object", .out = &o->json },
    };
    option_spec model[MODEL_SPECS];
    const option_group group[] = { { NULL, spec, (int)(sizeof spec / sizeof *spec) }, model_options_group(model, &o->m) };
    const option_table table = {
        .command = "perplexity",
        .usage = "perplexity MODEL TEXT [OPTION...]",
        .about = "How well a model foresees TEXT, a file (-: standard input): the lower the better. In windows of --ctx\n"
                 "tokens, of which the second half is scored, as llama-perplexity does it.\n",
        .group = group,
        .n_group = 2,
        .n_arg_min = 2,
        .n_arg_max = 2,
        .arg_needed = "a MODEL and a TEXT, the file to foresee",
    };
    int n, code;

    for (int i = 0; i < MODEL_SPECS; i++)
        if (!strcmp(model[i].name, "ctx")) model[i].help = "tokens of a window (512, or the model's limit)";
    code = options_parse(&table, argc, argv, &n);
    return code < 0 ? model_options_check(&o->m) : code;
}

/* ---- the text --------------------------------------------------------------------------------------------------- */

static mo_status read_all(buf *out, FILE *f, const char *name, mo_error *err)
{
    char block[65536];
    size_t n;

    while ((n = fread(block, 1, sizeof block, f)) > 0) {
        buf_put(out, block, n);
        if (out->failed) return mo_fail(err, MO_E_NOMEM, "no memory for the text of '%.300s'", name);
        if (out->len > TEXT_MAX) return mo_fail(err, MO_E_LIMIT, "'%.300s' is longer than %d MiB", name, TEXT_MAX >> 20);
    }
    return ferror(f) ? mo_fail(err, MO_E_IO, "cannot read '%.300s': %s", name, strerror(errno)) : MO_OK;
}

static mo_status read_text(measure *p, const char *path, mo_error *err)
{
    bool is_stdin = !strcmp(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    buf b = { 0 };
    mo_status st = f ? read_all(&b, f, name, err) : mo_fail(err, MO_E_IO, "cannot open '%.300s': %s", path, strerror(errno));

    if (f && !is_stdin) fclose(f);
    if (st == MO_OK && !b.len) st = mo_fail(err, MO_E_ARG, "'%.300s' is empty", name);
    if (st == MO_OK && memchr(b.data, 0, b.len)) st = mo_fail(err, MO_E_ARG, "'%.300s' is no text: it has bytes that are 0", name);
    if (st == MO_OK && (st = mo_model_tokenize(p->m, b.data, b.len, &p->text, &p->n_text, err)) != MO_OK) mo_fail_in(err, st, "%s", name);
    buf_free(&b);
    return st;
}

/* ---- windows ---------------------------------------------------------------------------------------------------- */

static mo_status cut(measure *p, int32_t n_ctx, mo_error *err)
{
    int32_t bos = mo_model_bos(p->m);
    logit_shape *w = &p->shape;
    size_t n;

    if (n_ctx < 2) return mo_fail(err, MO_E_ARG, "a window of %d token: it takes at least 2", n_ctx);
    if (p->o->stride >= n_ctx)
        return mo_fail(err, MO_E_ARG, "--stride %d does not leave context in windows of %d tokens; --ctx sets their size", p->o->stride,
                       n_ctx);
    if (p->n_text < (size_t)n_ctx)
        return mo_fail(err, MO_E_ARG, "the text has %zu tokens, and a window %d: give a longer text or a smaller --ctx", p->n_text, n_ctx);
    p->hop = p->o->stride ? p->o->stride : n_ctx;
    n = (p->n_text - (size_t)n_ctx) / (size_t)p->hop + 1;
    if (p->o->chunks && n > (size_t)p->o->chunks) n = (size_t)p->o->chunks;
    *w = (logit_shape){ mo_model_n_vocab(p->m), (int32_t)n, n_ctx, p->o->stride ? n_ctx - p->o->stride : n_ctx / 2 + 1 };
    if (w->first >= n_ctx) w->first = n_ctx - 1; /* windows of two */
    p->id = mo_calloc(n * (size_t)n_ctx, sizeof *p->id);
    p->nll = mo_calloc((size_t)n_ctx, sizeof *p->nll);
    if (!p->id || !p->nll) return mo_fail(err, MO_E_NOMEM, "no memory for %zu windows", n);
    for (size_t i = 0; i < n; i++) {
        memcpy(p->id + i * (size_t)n_ctx, p->text + i * (size_t)p->hop, (size_t)n_ctx * sizeof *p->id);
        if (bos >= 0) p->id[i * (size_t)n_ctx] = bos;
    }
    return MO_OK;
}

/* Called for every scored token. Its sentence waits in row_err. */
static mo_status take_row(void *user, int32_t i, const float *logits)
{
    measure *p = user;
    float nll = p->nll[i];
    logit_pair pair;
    mo_status st = MO_OK;

    if (!isfinite(nll)) return mo_fail(&p->row_err, MO_E_FORMAT, "token %d of a window cannot be foreseen: its logits are no numbers", i);
    mean_add(&p->nll_mean, (double)nll);
    if (p->save.f) st = logit_file_put(&p->save, logits, nll, &p->row_err);
    if (st != MO_OK || !p->base.f) return st;
    if ((st = logit_file_compare(&p->base, logits, &pair, &p->row_err)) != MO_OK) return st;
    mean_add(&p->divergence, pair.divergence);
    mean_add(&p->base_nll, pair.nll);
    mean_add(&p->ratio, (double)nll - pair.nll);
    mean_add(&p->same_top, pair.same_top);
    return MO_OK;
}

static mo_status score_windows(measure *p, mo_error *err)
{
    const logit_shape *w = &p->shape;
    progress bar = { 0 };
    mo_status st = MO_OK;

    if (!p->o->m.quiet) progress_begin_steps(&bar, "foreseeing", (uint64_t)w->n_window, "windows");
    for (int32_t i = 0; st == MO_OK && i < w->n_window; i++) {
        st = mo_session_score(p->s, p->id + (size_t)i * (size_t)w->n_token, w->n_token, w->first, p->nll, take_row, p, err);
        if (st != MO_OK && p->row_err.code) *err = p->row_err;
        if (st == MO_OK && p->o->m.verbose) cli_note("window %d: perplexity %.4f so far", i + 1, exp(p->nll_mean.at));
        progress_update(&bar, (uint64_t)i + 1);
    }
    progress_end(&bar);
    return st;
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

static void print_text(const measure *p)
{
    const logit_shape *w = &p->shape;
    double ppl = exp(p->nll_mean.at);

    printf("perplexity %.4f +/- %.4f: nll %.5f +/- %.5f a token, %.0f tokens in %d windows of %d\n", ppl, ppl * mean_error(&p->nll_mean),
           p->nll_mean.at, mean_error(&p->nll_mean), p->nll_mean.n, w->n_window, w->n_token);
    if (!p->o->base) return;
    printf("base       %.4f: this one's is %.5f +/- %.5f times it\n", exp(p->base_nll.at), exp(p->ratio.at),
           exp(p->ratio.at) * mean_error(&p->ratio));
    printf("divergence from the base %.6f +/- %.6f nats a token, %.4f at most; same likeliest token %.2f +/- %.2f %%\n", p->divergence.at,
           mean_error(&p->divergence), p->divergence.most, 100 * p->same_top.at, 100 * mean_error(&p->same_top));
}

static mo_status print_json(const measure *p, mo_error *err)
{
    const logit_shape *w = &p->shape;
    double ppl = exp(p->nll_mean.at);
    json_t *j = json_pack("{s:s,s:s,s:I,s:I,s:i,s:i,s:i,s:f,s:f,s:f,s:f}", "model", mo_model_name(p->m), "device", mo_model_device(p->m),
                          "n_text", (json_int_t)p->n_text, "n_scored", (json_int_t)p->nll_mean.n, "windows", w->n_window, "window",
                          w->n_token, "first", w->first, "nll", p->nll_mean.at, "nll_error", mean_error(&p->nll_mean), "perplexity", ppl,
                          "perplexity_error", ppl * mean_error(&p->nll_mean));

    if (j && p->o->base)
        json_object_set_new(j, "base",
                            json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "perplexity", exp(p->base_nll.at), "ratio", exp(p->ratio.at),
                                      "ratio_error", exp(p->ratio.at) * mean_error(&p->ratio), "divergence", p->divergence.at,
                                      "divergence_error", mean_error(&p->divergence), "divergence_most", p->divergence.most, "same_top",
                                      p->same_top.at, "same_top_error", mean_error(&p->same_top)));
    return cli_print_json(j, 9, err);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static mo_status run(measure *p, const char *model, const char *text, mo_error *err)
{
    model_options m = p->o->m;
    mo_status st;

    m.model.vision = m.model.audio = MO_OFF;
    if ((st = model_options_open(&p->m, model, &m, err)) != MO_OK || (st = read_text(p, text, err)) != MO_OK) return st;
    if ((st = cut(p, m.session.n_ctx ? m.session.n_ctx : WINDOW_DEFAULT, err)) != MO_OK) return st;
    m.session.n_ctx = p->shape.n_token;
    if ((st = mo_session_new(&p->s, p->m, &m.session, err)) != MO_OK) return st;
    if (p->o->base && (st = logit_file_open(&p->base, p->o->base, &p->shape, p->id, err)) != MO_OK) return st;
    if (p->o->save && (st = logit_file_create(&p->save, p->o->save, &p->shape, p->id, err)) != MO_OK) return st;
    if ((st = score_windows(p, err)) != MO_OK) return st;
    if (p->o->save && (st = logit_file_finish(&p->save, err)) != MO_OK) return st;
    if (p->o->json) return print_json(p, err);
    print_text(p);
    return MO_OK;
}

int cmd_perplexity(int argc, char **argv)
{
    options o = { .m = model_options_default() };
    measure p = { .o = &o };
    mo_error err = { 0 };
    mo_status st;
    int code = parse(&o, argc, argv);

    if (code >= 0) return code;
    st = run(&p, argv[1], argv[2], &err);
    logit_file_close(&p.save);
    logit_file_close(&p.base);
    mo_session_free(p.s);
    mo_ids_free(p.text);
    mo_free(p.id);
    mo_free(p.nll);
    mo_model_close(p.m);
    if (st != MO_OK) cli_error("%s", err.message);
    return st == MO_OK ? 0 : 1;
}
