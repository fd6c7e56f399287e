/* Made-up GGUF files (synth_gguf.h): chunks of rows are made by all threads, then written in their order. */
#include "cli/synth_gguf.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/progress.h"
#include "cli/synth_blocks.h"
#include "cli/synth_rule.h"
#include "cli/synth_write.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/synth.h"
#include "media/audio.h"
#include "models/gguf_keys.h"
#include "models/gguf_layout.h"

enum { CHUNK_BYTES = 4 << 20 };

static const gguf_role roles[] = { GGUF_ROLE_LLM, GGUF_ROLE_VISION, GGUF_ROLE_AUDIO };

enum { N_ROLE = sizeof roles / sizeof *roles };

static bool has_role(const model_config *c, gguf_role role)
{
    return role == GGUF_ROLE_LLM || (role == GGUF_ROLE_VISION && c->has_vision) || (role == GGUF_ROLE_AUDIO && c->has_audio);
}

/* Encoders are published in F16 beside every quantised language model. */
static const file_type *type_of_role(const synth_gguf *g, gguf_role role)
{
    return role == GGUF_ROLE_LLM || !file_type_is_quantised(g->type) ? g->type : file_type_find("F16");
}

static mix mix_of(const synth_gguf *g, gguf_role role)
{
    const llm_config *l = &g->c->llm;

    return (mix){ .type = type_of_role(g, role),
                  .n_layer = l->n_layer,
                  .n_gqa = l->n_head / l->n_kv_head,
                  .has_output = !l->is_tied,
                  .embd_type = -1,
                  .output_type = -1 };
}

static mo_status layout_of(layout *l, const synth_gguf *g, gguf_role role, mo_error *err)
{
    layout_begin(l, g->c, role);
    for (size_t i = 0; i < g->tensors->n; i++) {
        const synth_tensor *t = &g->tensors->list[i];
        layout_add(l, t->name, t->n_dim, t->dim);
    }
    return layout_end(l, err);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* One tensor on its way: what every thread needs to make any of its rows. */
typedef struct source {
    const layout_tensor *t;
    const model_config *c;
    int32_t type;
    size_t row_bytes;
    uint64_t key;
    float base, amp;
    synth_blocks blocks;
    synth_boost *boost; /* [n_boost] */
    size_t n_boost;
    /* a batch: thread i makes rows [row0 + i * n_each, ...) into out[i] */
    int64_t row0, n_each, n_row;
    uint8_t **out;
    uint16_t **bf16; /* [thread][n_col] */
    float **f32;
} source;

static int64_t official_columns(const layout_tensor *t) { return t->how == LAYOUT_TRANSPOSED ? t->n_row : t->n_col; }

/* What row r is multiplied by, of a tensor that keeps its rows. */
static float factor_of(const source *s, int64_t r)
{
    const uint64_t row = s->t->how == LAYOUT_ROWS && s->t->n_dim > 1 ? (uint64_t)layout_source_row(s->t, r) : UINT64_MAX;

    for (size_t i = 0; i < s->n_boost; i++)
        if (s->boost[i].row == row) return s->boost[i].k;
    return 1;
}

/* Row r in bfloat16, by the rule. A transposed row is a column: one value of every official row. */
static void rule_row(const source *s, uint16_t *out, int64_t r)
{
    const layout_tensor *t = s->t;
    const int64_t n_col = official_columns(t);
    const float factor = factor_of(s, r);

    if (t->how == LAYOUT_ROWS) {
        synth_fill(out, s->key, s->base, s->amp, (uint64_t)(layout_source_row(t, r) * n_col), (size_t)t->n_col);
        for (int64_t i = 0; factor != 1 && i < t->n_col; i++) out[i] = f32_to_bf16(bf16_to_f32(out[i]) * factor);
        return;
    }
    for (int64_t k = 0; k < t->n_col; k++) synth_fill(out + k, s->key, s->base, s->amp, (uint64_t)(k * n_col + r), 1);
}

static void make_row(const source *s, void *dst, uint16_t *bf16, float *f32, int64_t r)
{
    const layout_tensor *t = s->t;

    if (dtype_get(s->type)->n_block > 1) {
        const size_t n = s->row_bytes / (size_t)s->blocks.block_bytes;
        synth_blocks_fill(&s->blocks, dst, n, synth_mix(s->key + (uint64_t)r * SYNTH_GOLDEN));
        if (factor_of(s, r) != 1) synth_blocks_multiply(&s->blocks, dst, n, factor_of(s, r));
        return;
    }
    if (*t->official) rule_row(s, bf16, r);
    if (*t->official && s->type == MO_BF16) {
        memcpy(dst, bf16, s->row_bytes);
        return;
    }
    if (*t->official) dtype_to_f32(f32, bf16, MO_BF16, t->n_col);
    else layout_compute_row(f32, t, s->c, r);
    dtype_from_f32(dst, f32, s->type, 1, t->n_col, NULL);
}

static void make_rows(void *arg, int i_thread, int n_thread)
{
    const source *s = arg;
    const int64_t from = s->row0 + i_thread * s->n_each;

    (void)n_thread;
    for (int64_t r = from; r < from + s->n_each && r < s->n_row; r++)
        make_row(s, s->out[i_thread] + (size_t)(r - from) * s->row_bytes, s->bf16[i_thread], s->f32[i_thread], r);
}

static mo_status source_of(source *s, const synth_gguf *g, const layout_tensor *t, int32_t type, mo_error *err)
{
    int64_t dim[4] = { 0 };
    mo_status st;

    s->t = t;
    s->c = g->c;
    s->type = type;
    s->row_bytes = dtype_row_bytes(type, t->n_col);
    s->n_row = t->n_row;
    s->n_boost = 0;
    if (!*t->official) return MO_OK;
    s->key = synth_key(t->official, g->seed);
    for (int32_t i = 0; i < t->n_dim; i++) dim[i] = t->dim[i];
    if (t->how == LAYOUT_TRANSPOSED) {
        dim[0] = t->dim[1];
        dim[1] = t->dim[0];
    }
    synth_base_amp(&s->base, &s->amp, t->official, t->n_dim, dim);
    mo_free(s->boost);
    st = synth_boost_read(&s->boost, &s->n_boost, json_object_get(g->boost, t->official), t->official, (uint64_t)dim[0], err);
    if (st != MO_OK) return st;
    if (dtype_get(type)->n_block == 1 || synth_blocks_init(&s->blocks, type, s->amp / sqrtf(3))) return MO_OK;
    return mo_fail(err, MO_E_UNSUPPORTED, "blocks of type %s are not made here", dtype_get(type)->name);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

typedef struct writing {
    const synth_gguf *g;
    pool *p;
    progress bar;
    uint64_t n_done;
    source s; /* with the threads' buffers */
    size_t buffer_bytes;
    int64_t n_col_max;
} writing;

static mo_status write_tensor(writing *w, gguf_writer *out, const layout_tensor *t, int32_t type, mo_error *err)
{
    const int n_thread = pool_size(w->p);
    source *s = &w->s;
    mo_status st = source_of(s, w->g, t, type, err);

    if (st != MO_OK) return st;
    s->n_each = (int64_t)(w->buffer_bytes / s->row_bytes);
    if (s->n_each * n_thread > s->n_row) s->n_each = (s->n_row + n_thread - 1) / n_thread;
    for (s->row0 = 0; s->row0 < s->n_row && st == MO_OK; s->row0 += n_thread * s->n_each) {
        if (*w->g->stop) return mo_fail(err, MO_E_INTERRUPTED, "stopped");
        pool_run(w->p, make_rows, s);
        for (int i = 0; i < n_thread && st == MO_OK; i++) {
            int64_t from = s->row0 + i * s->n_each, n = s->n_row - from < s->n_each ? s->n_row - from : s->n_each;
            if (n <= 0) break;
            st = gguf_write_data(out, s->out[i], (size_t)n * s->row_bytes, err);
            w->n_done += (uint64_t)n * s->row_bytes;
        }
        progress_update(&w->bar, w->n_done);
    }
    return st;
}

/* "MiniCPM-o-4_5" */
static void file_stem(char out[48], const model_config *c)
{
    snprintf(out, 48, "%s", c->member == MEMBER_TEXT || c->member == MEMBER_UNKNOWN ? "model" : model_member_name(c->member));
    for (char *p = out; *p; p++) *p = *p == ' ' ? '-' : *p == '.' ? '_' : *p;
}

/* The file's path; folders on the way are made. */
static mo_status path_of(char **out, const char *dir, const synth_gguf *g, gguf_role role, mo_error *err)
{
    const char *what = role == GGUF_ROLE_VISION ? "vision" : role == GGUF_ROLE_AUDIO ? "audio" : "";
    char stem[48], name[128];
    char *sub = *what ? path_join(dir, what) : mo_strdup(dir);
    mo_status st = MO_OK;

    file_stem(stem, g->c);
    snprintf(name, sizeof name, "%s%s%s-%s.gguf", stem, *what ? "-" : "", what, type_of_role(g, role)->name);
    if (sub && mkdir(sub, 0777) && errno != EEXIST) st = mo_fail(err, MO_E_IO, "cannot make the folder '%.300s': %s", sub, strerror(errno));
    if (st == MO_OK && (!sub || !(*out = path_join(sub, name)))) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    mo_free(sub);
    return st;
}

/* Readers of this layout take the mel filters from the file. */
static mo_status write_filters(gguf_writer *out, const audio_config *a, mo_error *err)
{
    float filters[MEL_BANDS * MEL_BINS];
    mo_status st;

    if (a->n_mel != MEL_BANDS) return MO_OK; /* we know no others */
    if ((st = mel_filters(filters, err)) != MO_OK) return st;
    gguf_put_filters(out, filters, MEL_BANDS, MEL_BINS);
    return MO_OK;
}

static mo_status write_contents(writing *w, gguf_writer *out, const layout *l, mo_error *err)
{
    const synth_gguf *g = w->g;
    const mix m = mix_of(g, l->role);
    char name[80];
    mo_status st;

    snprintf(name, sizeof name, "%s, made-up weights", model_member_name(g->c->member));
    st = gguf_put_config(out, g->c, l->role, name, type_of_role(g, l->role), err);
    if (st == MO_OK && l->role == GGUF_ROLE_LLM) st = gguf_put_tokenizer(out, g->tok, g->c->llm.n_vocab, g->tokenizer_dir, err);
    if (st == MO_OK && l->role == GGUF_ROLE_AUDIO) st = write_filters(out, &g->c->audio, err);
    for (size_t i = 0; i < l->n; i++)
        gguf_declare(out, l->list[i].name, layout_type(&l->list[i], l->role, &m), l->list[i].n_dim, l->list[i].dim);
    for (size_t i = 0; i < l->n && st == MO_OK; i++) st = write_tensor(w, out, &l->list[i], layout_type(&l->list[i], l->role, &m), err);
    return st;
}

static mo_status write_file(writing *w, const char *dir, gguf_role role, mo_error *err)
{
    char *path = NULL;
    gguf_writer *out;
    layout l;
    mo_status st;

    if ((st = layout_of(&l, w->g, role, err)) == MO_OK) st = path_of(&path, dir, w->g, role, err);
    if (st == MO_OK && (st = gguf_write_begin(&out, path, err)) == MO_OK) {
        if ((st = write_contents(w, out, &l, err)) == MO_OK) st = gguf_write_end(out, err);
        else gguf_write_abort(out);
    }
    mo_free(path);
    layout_free(&l);
    return st;
}

/* Bytes of a file's tensors; the longest row. */
static mo_status measure(uint64_t *bytes, int64_t *n_col_max, const synth_gguf *g, gguf_role role, mo_error *err)
{
    const mix m = mix_of(g, role);
    layout l;
    mo_status st = layout_of(&l, g, role, err);

    for (size_t i = 0; i < l.n && st == MO_OK; i++) {
        *bytes += dtype_row_bytes(layout_type(&l.list[i], role, &m), l.list[i].n_col) * (uint64_t)l.list[i].n_row;
        if (l.list[i].n_col > *n_col_max) *n_col_max = l.list[i].n_col;
    }
    layout_free(&l);
    return st;
}

static mo_status measure_all(uint64_t *bytes, int64_t *n_col_max, const synth_gguf *g, mo_error *err)
{
    mo_status st = MO_OK;

    *bytes = 0;
    *n_col_max = 1;
    for (int i = 0; i < N_ROLE && st == MO_OK; i++)
        if (has_role(g->c, roles[i])) st = measure(bytes, n_col_max, g, roles[i], err);
    return st;
}

mo_status synth_gguf_bytes(uint64_t *out, const synth_gguf *g, mo_error *err)
{
    int64_t n_col_max;

    return measure_all(out, &n_col_max, g, err);
}

static mo_status alloc_buffers(writing *w, mo_error *err)
{
    const int n = pool_size(w->p);
    const size_t n_col = (size_t)w->n_col_max;
    source *s = &w->s;
    bool ok = (s->out = mo_calloc((size_t)n, sizeof *s->out)) && (s->bf16 = mo_calloc((size_t)n, sizeof *s->bf16)) &&
              (s->f32 = mo_calloc((size_t)n, sizeof *s->f32));

    w->buffer_bytes = n_col * sizeof(float) > CHUNK_BYTES ? n_col * sizeof(float) : CHUNK_BYTES;
    for (int i = 0; i < n && ok; i++)
        ok = (s->out[i] = mo_alloc_aligned(w->buffer_bytes)) && (s->bf16[i] = mo_alloc_aligned(n_col * sizeof(uint16_t) + 64)) &&
             (s->f32[i] = mo_alloc_aligned(n_col * sizeof(float) + 64));
    return ok ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for %d writers", n);
}

static void free_buffers(writing *w)
{
    for (int i = 0; i < pool_size(w->p); i++) {
        if (w->s.out) mo_free(w->s.out[i]);
        if (w->s.bf16) mo_free(w->s.bf16[i]);
        if (w->s.f32) mo_free(w->s.f32[i]);
    }
    mo_free(w->s.boost);
    mo_free(w->s.out);
    mo_free(w->s.bf16);
    mo_free(w->s.f32);
}

mo_status synth_gguf_write(const char *dir, const synth_gguf *g, pool *p, mo_error *err)
{
    writing w = { .g = g, .p = p };
    uint64_t total;
    mo_status st = measure_all(&total, &w.n_col_max, g, err);

    if (st == MO_OK) st = alloc_buffers(&w, err);
    if (st == MO_OK) progress_begin(&w.bar, "writing", total);
    for (int i = 0; i < N_ROLE && st == MO_OK; i++)
        if (has_role(g->c, roles[i])) st = write_file(&w, dir, roles[i], err);
    progress_end(&w.bar);
    free_buffers(&w);
    return st;
}
