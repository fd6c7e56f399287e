/* Kept distributions (logit_file.h). */
#include "cli/logit_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buf.h"

enum { LEVEL_MAX = 65535, COMPARED_IDS = 1024 };
static const char magic[8] = "MOLOGIT1";
static const double range_nats = 24;

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static float most_of(const float *x, int32_t n)
{
    float most = x[0];

    for (int32_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    return most;
}

/* ln sum exp, given the largest. */
static double log_sum(const float *x, int32_t n, float most)
{
    double sum = 0;

    for (int32_t i = 0; i < n; i++) sum += (double)expf(x[i] - most);
    return log(sum) + (double)most;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static mo_status bad_write(const logit_file *l, mo_error *err)
{
    return mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", l->path, strerror(errno));
}

static mo_status prepare(logit_file *l, const char *path, const logit_shape *shape, mo_error *err)
{
    memset(l, 0, sizeof *l);
    l->shape = *shape;
    l->path = mo_strdup(path);
    l->level = mo_calloc((size_t)shape->n_vocab, sizeof *l->level);
    return l->path && l->level ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for the logits of %d tokens", shape->n_vocab);
}

mo_status logit_file_create(logit_file *l, const char *path, const logit_shape *shape, const int32_t *id, mo_error *err)
{
    size_t n_id = (size_t)shape->n_window * (size_t)shape->n_token;
    buf part = { 0 };
    mo_status st;

    if ((st = prepare(l, path, shape, err)) != MO_OK) return st;
    buf_printf(&part, "%s.part-%ld", path, (long)getpid());
    if (part.failed) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    l->part = part.data;
    if (!(l->f = fopen(l->part, "wbx"))) {
        st = bad_write(l, err);
        mo_free(l->part); /* nothing of ours to remove */
        l->part = NULL;
        return st;
    }
    if (fwrite(magic, sizeof magic, 1, l->f) != 1 || fwrite(shape, sizeof *shape, 1, l->f) != 1 ||
        fwrite(id, sizeof *id, n_id, l->f) != n_id)
        return bad_write(l, err);
    return MO_OK;
}

mo_status logit_file_put(logit_file *l, const float *logits, float nll, mo_error *err)
{
    int32_t n = l->shape.n_vocab;
    const float most = most_of(logits, n);
    const double lse = log_sum(logits, n, most);
    const float step = (float)(range_nats / LEVEL_MAX), head[3] = { (float)((double)most - lse - range_nats), step, nll };

    for (int32_t i = 0; i < n; i++) {
        float v = (logits[i] - most) / step + LEVEL_MAX;
        l->level[i] = v > 0 ? (uint16_t)lroundf(v) : 0; /* NaN counts as impossible */
    }
    if (fwrite(head, sizeof head, 1, l->f) != 1 || fwrite(l->level, sizeof *l->level, (size_t)n, l->f) != (size_t)n)
        return bad_write(l, err);
    return MO_OK;
}

mo_status logit_file_finish(logit_file *l, mo_error *err)
{
    int failed = fclose(l->f);

    l->f = NULL;
    if (failed || rename(l->part, l->path)) return bad_write(l, err);
    mo_free(l->part);
    l->part = NULL;
    return MO_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static mo_status bad_read(const logit_file *l, mo_error *err)
{
    if (ferror(l->f)) return mo_fail(err, MO_E_IO, "cannot read '%.300s': %s", l->path, strerror(errno));
    return mo_fail(err, MO_E_FORMAT, "'%.300s' ends too early: it is not whole", l->path);
}

static mo_status check_ids(const logit_file *l, const int32_t *id, mo_error *err)
{
    int64_t n = (int64_t)l->shape.n_window * l->shape.n_token;
    int32_t part[COMPARED_IDS];

    for (int64_t at = 0; at < n; at += COMPARED_IDS) {
        size_t k = (size_t)(n - at < COMPARED_IDS ? n - at : COMPARED_IDS);
        if (fread(part, sizeof *part, k, l->f) != k) return bad_read(l, err);
        if (memcmp(part, id + at, k * sizeof *part))
            return mo_fail(err, MO_E_ARG, "'%.300s' was made of another text, or by a model with other tokens", l->path);
    }
    return MO_OK;
}

mo_status logit_file_open(logit_file *l, const char *path, const logit_shape *shape, const int32_t *id, mo_error *err)
{
    char begin[sizeof magic];
    logit_shape s;
    mo_status st;

    if ((st = prepare(l, path, shape, err)) != MO_OK) return st;
    if (!(l->f = fopen(path, "rb"))) return mo_fail(err, MO_E_IO, "cannot open '%.300s': %s", path, strerror(errno));
    if (fread(begin, sizeof begin, 1, l->f) != 1 || memcmp(begin, magic, sizeof magic))
        return mo_fail(err, MO_E_FORMAT, "'%.300s' has no logits: it was not written by --save-logits", path);
    if (fread(&s, sizeof s, 1, l->f) != 1) return bad_read(l, err);
    if (s.n_vocab != shape->n_vocab)
        return mo_fail(err, MO_E_ARG, "'%.300s' is of a model with %d tokens, this one has %d", path, s.n_vocab, shape->n_vocab);
    if (memcmp(&s, shape, sizeof s))
        return mo_fail(err, MO_E_ARG,
                       "'%.300s' has %d windows of %d tokens scored from %d, this run %d of %d from %d: give it the same options", path,
                       s.n_window, s.n_token, s.first, shape->n_window, shape->n_token, shape->first);
    return check_ids(l, id, err);
}

mo_status logit_file_compare(logit_file *l, const float *logits, logit_pair *out, mo_error *err)
{
    int32_t n = l->shape.n_vocab, top = 0;
    const float most = most_of(logits, n);
    const double lse = log_sum(logits, n, most);
    uint16_t highest = 0;
    double sum = 0, divergence = 0;
    float head[3];

    if (fread(head, sizeof head, 1, l->f) != 1 || fread(l->level, sizeof *l->level, (size_t)n, l->f) != (size_t)n) return bad_read(l, err);
    if (!isfinite(head[0]) || !(head[1] > 0) || !isfinite(head[1]) || !isfinite(head[2]))
        return mo_fail(err, MO_E_FORMAT, "'%.300s' has numbers that are none", l->path);
    for (int32_t i = 0; i < n; i++) { /* the file's levels add up to nearly one: made exactly one below */
        float lp = head[0] + head[1] * (float)l->level[i];
        double p = (double)expf(lp);
        sum += p;
        divergence += p * ((double)lp - ((double)logits[i] - lse));
        if (l->level[i] > highest) highest = l->level[i];
        if (logits[i] > logits[top]) top = i;
    }
    out->divergence = divergence / sum - log(sum);
    out->nll = (double)head[2];
    out->same_top = l->level[top] == highest;
    return MO_OK;
}

void logit_file_close(logit_file *l)
{
    if (l->f) fclose(l->f);
    if (l->part) unlink(l->part);
    mo_free(l->part);
    mo_free(l->path);
    mo_free(l->level);
    memset(l, 0, sizeof *l);
}
