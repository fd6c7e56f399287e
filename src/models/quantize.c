/* Quantising as a stream (quantize.h):
 *
 *     source rows -> float32 -> blocks of the wanted type     a thread a row, block of rows by block of rows
 *                                                  -> file    in order
 *
 * A row whose type stays as it is is copied, so unquantised checkpoints keep their bits.
 */
#include "models/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/alloc.h"
#include "formats/gguf_journal.h"
#include "formats/tensors_build.h"
#include "models/checkpoint.h"
#include "models/gguf_keys.h"
#include "models/llm.h"
#include "models/resampler.h"
#include "models/siglip.h"
#include "models/whisper.h"

enum { BLOCK_NUMBERS = 4 << 20 }; /* about so many numbers are converted before they are written */

struct quantizer {
    quantize_opts o;
    struct mix_pattern *pattern;
    mix m;
    gguf_role role;
    model_config cfg; /* of a Hugging Face folder */
    tensors *ts;
    gguf *meta; /* of a GGUF file */
    tokenizer *tok;
    char *dir; /* of a Hugging Face folder */
    quantize_tensor *list;
    const tensor **source; /* [n] NULL: computed */
    size_t n;
    gguf_writer *w;
    quantize_report report;
};

void quantize_close(quantizer *q)
{
    if (!q) return;
    gguf_write_abort(q->w);
    mix_pattern_free(q->pattern, q->o.n_rule);
    tokenizer_close(q->tok);
    gguf_free(q->meta);
    tensors_close(q->ts);
    model_config_free(&q->cfg);
    mo_free(q->source);
    mo_free(q->list);
    mo_free(q->dir);
    mo_free(q);
}

size_t quantize_count(const quantizer *q) { return q->n; }
const quantize_tensor *quantize_at(const quantizer *q, size_t i) { return &q->list[i]; }
const quantize_report *quantize_get_report(const quantizer *q) { return &q->report; }

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

static const volatile sig_atomic_t never = 0;

static mo_status begin(quantizer **out, const quantize_opts *o, gguf_role role, mo_error *err)
{
    quantizer *q = mo_zalloc(sizeof *q);
    mo_status st;

    *out = NULL;
    if (!q) return mo_fail(err, MO_E_NOMEM, "no memory to quantise");
    q->o = *o;
    q->role = role;
    if (!q->o.stop) q->o.stop = &never;
    if ((st = mix_compile(&q->pattern, o->rule, o->n_rule, err)) != MO_OK) {
        mo_free(q);
        return st;
    }
    q->m = (mix){ .type = o->type,
                  .has_imatrix = o->importance,
                  .pure = o->pure,
                  .embd_type = o->embd_type,
                  .output_type = o->output_type,
                  .rule = q->pattern,
                  .n_rule = o->n_rule };
    *out = q;
    return MO_OK;
}

static mo_status reserve(quantizer *q, size_t n, mo_error *err)
{
    q->list = mo_calloc(n + 1, sizeof *q->list);
    q->source = mo_calloc(n + 1, sizeof *q->source);
    return q->list && q->source ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for the list of %zu tensors", n);
}

/* A type with fewer bits than these two is not made without knowing what matters (spec: formats 4). */
static mo_status check_importance(quantizer *q, quantize_tensor *t, const imatrix_entry **e, mo_error *err)
{
    const bool is_matrix = dtype_get(t->to)->n_block > 1;

    *e = q->o.importance && is_matrix ? imatrix_find(q->o.importance, t->t.name) : NULL;
    t->has_importance = *e;
    if (*e && (*e)->n_col != t->t.n_col)
        return mo_fail(err, MO_E_FORMAT, "the importance matrix has %lld columns for '%s', the model %lld: it is of another model",
                       (long long)(*e)->n_col, t->t.name, (long long)t->t.n_col);
    if (q->o.importance && is_matrix && !*e) q->report.n_unimportant++;
    if (!*e && q->o.type->needs_imatrix && t->to == MO_Q2_K && strcmp(t->t.name, "token_embd.weight"))
        return mo_fail(err, MO_E_ARG, "%s needs an importance matrix (--imatrix), and there is none for '%s'", q->o.type->name, t->t.name);
    return MO_OK;
}

/* Entry of a tensor whose source is src; `to` decided. */
static mo_status add(quantizer *q, const layout_tensor *t, const tensor *src, int32_t from, int32_t to, mo_error *err)
{
    quantize_tensor *l = &q->list[q->n];
    const size_t row = dtype_row_bytes(to, t->n_col);
    const imatrix_entry *e;

    *l = (quantize_tensor){ .t = *t, .from = from, .to = to, .n_bytes = (uint64_t)row * (uint64_t)t->n_row };
    if (from != to && !dtype_get(to)->from_f32)
        return mo_fail(err, MO_E_UNSUPPORTED, "tensor '%s' would become %s, a type this build reads but does not write", t->name,
                       dtype_get(to)->name);
    if (!row) return mo_fail(err, MO_E_FORMAT, "tensor '%s': rows of %lld are no whole blocks", t->name, (long long)t->n_col);
    q->source[q->n++] = src;
    q->report.n_weight += (uint64_t)t->n_row * (uint64_t)t->n_col;
    q->report.n_byte_data += l->n_bytes;
    if (src) q->report.n_byte_in += (uint64_t)(t->how == LAYOUT_ROWS ? dtype_row_bytes(from, t->n_col) * (size_t)t->n_row : src->n_bytes);
    q->report.n_quantised += from != to && dtype_get(from)->n_block > 1;
    return check_importance(q, l, &e, err);
}

static void end_plan(quantizer *q) { q->report.n_tensor = q->n; }

/* ---- from a Hugging Face folder ---------------------------------------------------------------------------------- */

/* The engine's own loaders, run dry: a checkpoint that lacks a tensor is refused before hours of work. */
static mo_status check_complete(const quantizer *q, mo_error *err)
{
    const cpu_backend_opts o = { .n_thread = 1 };
    const model_config *c = &q->cfg;
    bind_bytes b;
    backend *be;
    mo_status st = cpu_backend_new(&be, &o, err);

    if (st != MO_OK) return st;
    if (q->role == GGUF_ROLE_LLM) st = llm_load(NULL, be, q->ts, &c->llm, true, &b, err);
    if (q->role == GGUF_ROLE_AUDIO) st = whisper_plan(&b, be, q->ts, &c->audio, c->llm.n_embd, err);
    if (q->role == GGUF_ROLE_VISION && (st = siglip_plan(&b, be, q->ts, &c->vision, err)) == MO_OK)
        st = resampler_plan(&b, be, q->ts, &c->resampler, err);
    be->ops->destroy(be);
    return st;
}

static mo_status plan_hf(quantizer *q, mo_error *err)
{
    layout l;
    mo_status st;

    layout_begin(&l, &q->cfg, q->role);
    for (size_t i = 0; i < tensors_count(q->ts); i++) {
        const tensor *t = tensors_at(q->ts, i);
        layout_add(&l, t->name, t->n_dim, t->dim);
    }
    st = layout_end(&l, err);
    for (size_t i = 0; i < l.n; i++) q->m.has_output |= !strcmp(l.list[i].name, "output.weight");
    if (st == MO_OK) st = reserve(q, l.n, err);
    for (size_t i = 0; i < l.n && st == MO_OK; i++) {
        const tensor *src = *l.list[i].official ? tensors_find(q->ts, l.list[i].official) : NULL;
        st = add(q, &l.list[i], src, src ? src->type : MO_F32, layout_type(&l.list[i], q->role, &q->m), err);
    }
    layout_free(&l);
    end_plan(q);
    return st;
}

static bool has_part(const model_config *c, const tensors *ts, gguf_role role)
{
    if (role == GGUF_ROLE_VISION) return c->has_vision && tensors_find(ts, "vpm.embeddings.patch_embedding.weight");
    if (role == GGUF_ROLE_AUDIO) return c->has_audio && tensors_find(ts, "apm.conv1.weight");
    return true;
}

mo_status quantize_parts_hf(const char *dir, unsigned *parts, model_member *member, mo_error *err)
{
    model_config c;
    tensors *ts;
    mo_status st = model_config_load(&c, dir, err);

    if (st != MO_OK) return st;
    if ((st = tensors_open_safetensors(&ts, dir, err)) == MO_OK) {
        *parts = 0;
        for (int r = GGUF_ROLE_LLM; r <= GGUF_ROLE_AUDIO; r++)
            if (has_part(&c, ts, (gguf_role)r)) *parts |= 1u << r;
        *member = c.member;
        tensors_close(ts);
    }
    model_config_free(&c);
    return st;
}

mo_status quantize_open_hf(quantizer **out, const char *dir, gguf_role role, const quantize_opts *o, mo_error *err)
{
    quantizer *q;
    mo_status st = begin(&q, o, role, err);

    *out = NULL;
    if (st != MO_OK) return st;
    if (!(q->dir = mo_strdup(dir))) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if (st == MO_OK) st = model_config_load(&q->cfg, dir, err);
    if (st == MO_OK) st = tensors_open_safetensors(&q->ts, dir, err);
    if (st == MO_OK && !has_part(&q->cfg, q->ts, role))
        st = mo_fail(err, MO_E_ARG, "'%.300s' has no %s encoder", dir, role == GGUF_ROLE_VISION ? "vision" : "audio");
    if (st == MO_OK) st = check_complete(q, err);
    if (st == MO_OK && role == GGUF_ROLE_LLM) st = tokenizer_open_hf(&q->tok, dir, err);
    if (st == MO_OK) {
        q->m.n_layer = q->cfg.llm.n_layer;
        q->m.n_gqa = q->cfg.llm.n_head / q->cfg.llm.n_kv_head;
        st = plan_hf(q, err);
    }
    if (st == MO_OK) *out = q;
    else quantize_close(q);
    return st;
}

/* ---- from a GGUF file -------------------------------------------------------------------------------------------- */

static int32_t meta_int(const gguf *g, const char *arch, const char *key, int32_t otherwise)
{
    char full[96];
    int64_t v;

    snprintf(full, sizeof full, "%.60s.%s", arch, key);
    return gguf_get_int(g, full, &v) && v > 0 && v <= INT32_MAX ? (int32_t)v : otherwise;
}

/* A tensor of a file, as it stands there. */
static void as_it_is(layout_tensor *t, const gguf_naming *naming, const tensor *src)
{
    char name[OFFICIAL_NAME_MAX];
    const char *in_file = gguf_name_of(naming, src->name, name);

    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", in_file ? in_file : src->name);
    snprintf(t->official, sizeof t->official, "%s", src->name);
    t->n_dim = src->n_dim;
    t->n_row = 1;
    for (int32_t i = 0; i < src->n_dim; i++) t->dim[i] = src->dim[i];
    for (int32_t i = 0; i + 1 < src->n_dim; i++) t->n_row *= src->dim[i];
    t->n_col = src->dim[src->n_dim - 1];
}

static int by_name(const void *a, const void *b)
{
    return mix_name_order(((const layout_tensor *)a)->name, ((const layout_tensor *)b)->name);
}

static int32_t type_of(const quantizer *q, const layout_tensor *t, int32_t from)
{
    if (q->role == GGUF_ROLE_LLM) return mix_type(&q->m, t->name, t->n_dim, t->n_col, from);
    return t->n_dim == 2 && layout_type(t, q->role, &q->m) != MO_F32 && strcmp(t->name, "v.position_embd.weight")
               ? layout_type(t, q->role, &q->m)
               : from; /* not a matrix that rows are multiplied with, or F32 is wanted */
}

static mo_status plan_gguf(quantizer *q, mo_error *err)
{
    const gguf_naming naming = gguf_naming_of(q->meta);
    const size_t n = tensors_count(q->ts);
    layout_tensor *t = mo_calloc(n + 1, sizeof *t);
    mo_status st = t ? reserve(q, n, err) : mo_fail(err, MO_E_NOMEM, "no memory for the list of %zu tensors", n);

    if (st == MO_OK && q->ts->n_other)
        st = mo_fail(err, MO_E_UNSUPPORTED, "tensor '%.100s' is of type %s, which this build does not read", q->ts->other[0].name,
                     q->ts->other[0].type_name);
    for (size_t i = 0; i < n && st == MO_OK; i++) as_it_is(&t[i], &naming, tensors_at(q->ts, i));
    for (size_t i = 0; i < n && st == MO_OK; i++) q->m.has_output |= !strcmp(t[i].name, "output.weight");
    if (st == MO_OK && q->role == GGUF_ROLE_LLM) qsort(t, n, sizeof *t, by_name);
    for (size_t i = 0; i < n && st == MO_OK; i++) {
        const tensor *src = tensors_find(q->ts, t[i].official);
        st = add(q, &t[i], src, src->type, type_of(q, &t[i], src->type), err);
    }
    mo_free(t);
    end_plan(q);
    return st;
}

static mo_status read_shape(quantizer *q, mo_error *err)
{
    gguf_text arch = { 0 };
    char name[64];
    int32_t n_head;

    q->role = gguf_role_of(q->meta);
    if (q->role == GGUF_ROLE_OTHER)
        return mo_fail(err, MO_E_UNSUPPORTED, "'%.300s' is neither a language model nor one of its encoders", q->meta->file);
    gguf_get_text(q->meta, "general.architecture", &arch);
    snprintf(name, sizeof name, "%.*s", (int)(arch.n < 60 ? arch.n : 60), arch.s);
    n_head = meta_int(q->meta, name, "attention.head_count", 1);
    q->m.n_layer = meta_int(q->meta, name, "block_count", 1);
    q->m.n_gqa = n_head / meta_int(q->meta, name, "attention.head_count_kv", n_head);
    return MO_OK;
}

mo_status quantize_open_gguf(quantizer **out, const char *path, const quantize_opts *o, mo_error *err)
{
    quantizer *q;
    mo_status st = begin(&q, o, GGUF_ROLE_OTHER, err);

    *out = NULL;
    if (st != MO_OK) return st;
    if ((st = tensors_open_gguf(&q->ts, &q->meta, path, err)) == MO_OK && (st = read_shape(q, err)) == MO_OK) st = plan_gguf(q, err);
    if (st == MO_OK) *out = q;
    else quantize_close(q);
    return st;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static bool is_replaced(gguf_text key)
{
    static const char *const keys[] = { "general.file_type", "general.quantization_version", "general.alignment", "split.no",
                                        "split.count",       "split.tensors.count" };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (gguf_text_is(key, keys[i])) return true;
    return false;
}

static int by_place(const void *a, const void *b)
{
    const uint8_t *p = (*(const gguf_value *const *)a)->data, *r = (*(const gguf_value *const *)b)->data;

    return (p > r) - (p < r);
}

/* Keys of the source in its own order. */
static mo_status copy_keys(quantizer *q, mo_error *err)
{
    const gguf *g = q->meta;
    const gguf_value **v = mo_calloc(g->n_value + 1, sizeof *v);

    if (!v) return mo_fail(err, MO_E_NOMEM, "no memory for the keys of '%.300s'", g->file);
    for (size_t i = 0; i < g->n_value; i++) v[i] = &g->value[i];
    qsort(v, g->n_value, sizeof *v, by_place);
    for (size_t i = 0; i < g->n_value; i++)
        if (!is_replaced(v[i]->key)) gguf_put_copy(q->w, v[i]);
    gguf_put_u32(q->w, "general.quantization_version", 2);
    gguf_put_u32(q->w, "general.file_type", q->o.type->id);
    mo_free(v);
    return MO_OK;
}

static void put_importance_keys(quantizer *q)
{
    const imatrix *m = q->o.importance;

    if (!m || gguf_find(q->meta ? q->meta : &(gguf){ 0 }, "quantize.imatrix.file")) return;
    if (q->o.importance_file) gguf_put_text(q->w, "quantize.imatrix.file", q->o.importance_file, strlen(q->o.importance_file));
    if (m->dataset) gguf_put_text(q->w, "quantize.imatrix.dataset", m->dataset, strlen(m->dataset));
    gguf_put_u32(q->w, "quantize.imatrix.entries_count", (uint32_t)m->n);
    if (m->n_chunk) gguf_put_u32(q->w, "quantize.imatrix.chunks_count", m->n_chunk);
}

static mo_status put_keys(quantizer *q, mo_error *err)
{
    mo_status st;

    if (q->meta) st = copy_keys(q, err);
    else st = gguf_put_config(q->w, &q->cfg, q->role, q->o.name, q->o.type, err);
    if (st == MO_OK && !q->meta && q->role == GGUF_ROLE_AUDIO && q->o.filters && q->o.n_mel == q->cfg.audio.n_mel)
        gguf_put_filters(q->w, q->o.filters, q->o.n_mel, q->o.n_bin);
    if (st == MO_OK && q->tok) st = gguf_put_tokenizer(q->w, q->tok, q->cfg.llm.n_vocab, q->dir, err);
    if (st == MO_OK) put_importance_keys(q);
    return st;
}

/* What a kept part must have been made of: the inputs as they are on the disk, and what else decides the bytes. */
static uint64_t stamp_of(const quantizer *q)
{
    checksum c;

    checksum_begin(&c);
    checksum_add(&c, MO_VERSION, sizeof MO_VERSION);
    for (size_t i = 0; i < q->ts->n_file; i++) {
        struct stat s;
        int64_t facts[3] = { 0 };
        if (!stat(q->ts->file[i].path, &s)) {
            facts[0] = s.st_size;
            facts[1] = s.st_mtim.tv_sec;
            facts[2] = s.st_mtim.tv_nsec;
        }
        checksum_add(&c, q->ts->file[i].path, strlen(q->ts->file[i].path));
        checksum_add(&c, facts, sizeof facts);
    }
    if (q->o.importance) {
        const uint64_t sum = imatrix_checksum(q->o.importance);
        checksum_add(&c, &sum, sizeof sum);
    }
    return checksum_end(&c);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* A block of rows of one tensor. */
typedef struct job {
    const quantizer *q;
    const quantize_tensor *t;
    const tensor *src;
    const float *importance;
    uint8_t *out; /* rows [row0, row0 + n_row) */
    size_t row_bytes, source_bytes;
    int64_t row0, n_row;
    float *const *work;     /* [n_thread][n_col] */
    atomic_llong next, bad; /* a row that holds what the type cannot; -1 */
} job;

static void read_column(float *y, const tensor *src, int64_t c, int64_t n)
{
    const size_t size = (size_t)dtype_get(src->type)->block_bytes, stride = (size_t)src->dim[1] * size;
    const uint8_t *p = (const uint8_t *)src->data + (size_t)c * size;
    uint32_t aligned;

    for (int64_t i = 0; i < n; i++) { /* one at a time: a column is scattered, and may be unaligned */
        memcpy(&aligned, p + (size_t)i * stride, size);
        dtype_to_f32(y + i, &aligned, src->type, 1);
    }
}

/* Mapped bytes may be unaligned for their type: through the stack, a piece at a time. */
static void read_row(float *y, const uint8_t *p, int32_t type, int64_t n)
{
    const dtype_info *d = dtype_get(type);
    uint32_t piece[256];

    if (d->n_block > 1 || (uintptr_t)p % (size_t)d->block_bytes == 0) {
        dtype_to_f32(y, p, type, n);
        return;
    }
    for (int64_t i = 0; i < n; i += 256) {
        const int64_t k = n - i < 256 ? n - i : 256;
        memcpy(piece, p + (size_t)i * (size_t)d->block_bytes, (size_t)k * (size_t)d->block_bytes);
        dtype_to_f32(y + i, piece, type, k);
    }
}

/* Scales and values are 16-bit numbers in every type but these two. */
static bool fits(const float *x, int64_t n, int32_t type)
{
    const float most = type == MO_F32 || type == MO_BF16 ? 3.4e38f : 65504.0f;
    bool ok = true;

    for (int64_t i = 0; i < n; i++) ok &= fabsf(x[i]) <= most;
    return ok;
}

static void convert_row(job *j, int64_t r, float *x)
{
    const layout_tensor *t = &j->t->t;
    uint8_t *out = j->out + (size_t)(r - j->row0) * j->row_bytes;
    const uint8_t *from = t->how == LAYOUT_ROWS ? (const uint8_t *)j->src->data + (size_t)layout_source_row(t, r) * j->source_bytes : NULL;

    if (from && j->t->from == j->t->to) {
        memcpy(out, from, j->row_bytes);
        return;
    }
    if (from) read_row(x, from, j->t->from, t->n_col);
    else if (t->how == LAYOUT_TRANSPOSED) read_column(x, j->src, r, t->n_col);
    else layout_compute_row(x, t, &j->q->cfg, r);
    if (fits(x, t->n_col, j->t->to)) dtype_get(j->t->to)->from_f32(out, x, t->n_col, j->importance);
    else atomic_store(&j->bad, r);
}

static void convert_rows(void *arg, int i_thread, int n_thread)
{
    job *j = arg;
    long long r;

    (void)n_thread;
    while ((r = atomic_fetch_add(&j->next, 1)) < j->row0 + j->n_row && !*j->q->o.stop) convert_row(j, r, j->work[i_thread]);
}

/* Pages of a source that was read are not needed again: what stays resident is a tensor, not a model. */
static void forget(const tensor *t)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t at = (uintptr_t)t->data, first = (at + page - 1) / page * page, end = (at + t->n_bytes) / page * page;

    if (end > first) madvise((uint8_t *)(uintptr_t)t->data + (first - at), end - first, MADV_DONTNEED);
}

static mo_status write_tensor(quantizer *q, job *j, uint64_t *n_done, mo_error *err)
{
    const layout_tensor *t = &j->t->t;
    const int64_t n_block = t->n_col < BLOCK_NUMBERS ? BLOCK_NUMBERS / t->n_col : 1;
    mo_status st = MO_OK;

    for (j->row0 = 0; j->row0 < t->n_row && st == MO_OK; j->row0 += n_block) {
        j->n_row = t->n_row - j->row0 < n_block ? t->n_row - j->row0 : n_block;
        atomic_store(&j->next, j->row0);
        atomic_store(&j->bad, -1);
        pool_run(q->o.threads, convert_rows, j);
        if (*q->o.stop) return mo_fail(err, MO_E_INTERRUPTED, "stopped");
        if (atomic_load(&j->bad) >= 0)
            return mo_fail(err, MO_E_FORMAT, "tensor '%s' holds values that %s cannot (above 65504, or not numbers), in row %lld", t->name,
                           dtype_get(j->t->to)->name, (long long)atomic_load(&j->bad));
        st = gguf_write_data(q->w, j->out, (size_t)j->n_row * j->row_bytes, err);
        *n_done += (uint64_t)j->n_row * j->row_bytes;
        if (q->o.progress) q->o.progress(q->o.progress_arg, *n_done);
    }
    if (j->src) forget(j->src);
    return st;
}

/* Buffers for the widest row and the largest block. */
static mo_status make_buffers(const quantizer *q, uint8_t **out, float **rows, float ***work, mo_error *err)
{
    const int n_thread = pool_size(q->o.threads);
    size_t most = 1, widest = 1;

    for (size_t i = 0; i < q->n; i++) {
        const layout_tensor *t = &q->list[i].t;
        const int64_t n_block = t->n_col < BLOCK_NUMBERS ? BLOCK_NUMBERS / t->n_col : 1;
        const size_t bytes = (size_t)(t->n_row < n_block ? t->n_row : n_block) * dtype_row_bytes(q->list[i].to, t->n_col);
        if (bytes > most) most = bytes;
        if ((size_t)t->n_col > widest) widest = (size_t)t->n_col;
    }
    widest = mo_round_up(widest, 64);
    *out = mo_malloc(most);
    *rows = mo_calloc((size_t)n_thread, widest * sizeof **rows);
    *work = mo_calloc((size_t)n_thread, sizeof **work);
    if (!*out || !*rows || !*work) return mo_fail(err, MO_E_NOMEM, "no memory for a block of %zu bytes", most);
    for (int i = 0; i < n_thread; i++) (*work)[i] = *rows + (size_t)i * widest;
    return MO_OK;
}

static mo_status write_tensors(quantizer *q, size_t first, mo_error *err)
{
    uint64_t n_done = 0;
    uint8_t *out = NULL;
    float *rows = NULL, **work = NULL;
    mo_status st = make_buffers(q, &out, &rows, &work, err);

    for (size_t i = 0; i < first; i++) n_done += q->list[i].n_bytes;
    for (size_t i = first; i < q->n && st == MO_OK; i++) {
        const quantize_tensor *t = &q->list[i];
        const imatrix_entry *e = t->has_importance ? imatrix_find(q->o.importance, t->t.name) : NULL;
        job j = { .q = q,
                  .t = t,
                  .src = q->source[i],
                  .importance = e ? e->mean : NULL,
                  .out = out,
                  .row_bytes = dtype_row_bytes(t->to, t->t.n_col),
                  .source_bytes = dtype_row_bytes(t->from, t->t.n_col),
                  .work = work };
        st = write_tensor(q, &j, &n_done, err);
    }
    mo_free(out);
    mo_free(rows);
    mo_free(work);
    return st;
}

mo_status quantize_write(quantizer *q, const char *path, mo_error *err)
{
    size_t n_done = 0;
    mo_status st = gguf_write_begin_kept(&q->w, path, err);

    if (st != MO_OK || (st = put_keys(q, err)) != MO_OK) return st;
    for (size_t i = 0; i < q->n; i++) gguf_declare(q->w, q->list[i].t.name, q->list[i].to, q->list[i].t.n_dim, q->list[i].t.dim);
    if ((st = gguf_write_resume(q->w, stamp_of(q), &n_done, err)) != MO_OK) return st;
    q->report.n_resumed = n_done;
    q->report.n_byte_out = gguf_write_size(q->w);
    return write_tensors(q, n_done, err);
}

mo_status quantize_commit(quantizer *q, mo_error *err)
{
    gguf_writer *w = q->w;

    q->w = NULL;
    return w ? gguf_write_end(w, err) : mo_fail(err, MO_E_STATE, "nothing was written");
}
