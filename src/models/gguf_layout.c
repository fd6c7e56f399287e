/* From official tensors to those of a GGUF file (gguf_layout.h). */
#include "models/gguf_layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/alloc.h"

enum { GRID = 70 }; /* places a side of the resampler's table, as its converter has it */

const char *layout_arch(const model_config *c)
{
    const llm_config *l = &c->llm;

    if (l->has_qk_norm) return "qwen3";
    if (l->has_qkv_bias) return "qwen2";
    return l->embd_scale != 1 || l->residual_scale != 1 || l->logit_divisor != 1 ? "minicpm" : "llama";
}

void layout_begin(layout *l, const model_config *c, gguf_role role) { *l = (layout){ .c = c, .role = role, .st = MO_OK }; }

void layout_free(layout *l)
{
    mo_free(l->list);
    memset(l, 0, sizeof *l);
}

static bool starts_with(const char *s, const char *start) { return !strncmp(s, start, strlen(start)); }

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

static void put(layout *l, const layout_tensor *t)
{
    if (l->st != MO_OK) return;
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 256;
        layout_tensor *more = mo_realloc(l->list, cap * sizeof *more);
        if (!more) {
            l->st = mo_fail(&l->err, MO_E_NOMEM, "no memory for the list of tensors");
            return;
        }
        l->list = more;
        l->cap = cap;
    }
    l->list[l->n++] = *t;
}

/* A tensor as it is, but for its name. false: it cannot be stored. */
static bool set(layout *l, layout_tensor *t, const char *name, const char *official, int32_t n_dim, const int64_t *dim)
{
    memset(t, 0, sizeof *t);
    if (l->st != MO_OK) return false;
    if (n_dim < 1 || n_dim > 4 || strlen(name) >= sizeof t->name || strlen(official) >= sizeof t->official) {
        l->st =
            mo_fail(&l->err, MO_E_UNSUPPORTED, "tensor '%.150s' cannot be stored in a GGUF file: name or number of dimensions", official);
        return false;
    }
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->official, sizeof t->official, "%s", official);
    t->n_dim = n_dim;
    t->n_row = 1;
    for (int32_t i = 0; i < n_dim; i++) t->dim[i] = dim[i];
    for (int32_t i = 0; i + 1 < n_dim; i++) t->n_row *= dim[i];
    t->n_col = dim[n_dim - 1];
    return true;
}

/* ---- the language model ----------------------------------------------------------------------------------------- */

static bool is_permuted(const layout *l, const char *official)
{
    const char *arch = layout_arch(l->c);

    return (!strcmp(arch, "llama") || !strcmp(arch, "minicpm")) &&
           (ends_with(official, ".self_attn.q_proj.weight") || ends_with(official, ".self_attn.k_proj.weight"));
}

static void add_llm(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    const gguf_naming naming = gguf_naming_for("llama"); /* all have the same */
    char full[OFFICIAL_NAME_MAX], name[OFFICIAL_NAME_MAX];
    layout_tensor t;

    if (!starts_with(official, l->c->llm.prefix)) return;
    snprintf(full, sizeof full, "%s%s", *l->c->llm.prefix ? "" : "llm.", official);
    if (!gguf_name_of(&naming, full, name)) return;
    if (!set(l, &t, name, official, n_dim, dim)) return;
    if (is_permuted(l, official)) {
        t.head_rows = l->c->llm.head_dim;
        if (n_dim != 2 || dim[0] % t.head_rows) {
            l->st = mo_fail(&l->err, MO_E_FORMAT, "tensor '%.150s' does not hold whole heads of %d rows", official, l->c->llm.head_dim);
            return;
        }
    }
    put(l, &t);
}

static void add_factors(layout *l)
{
    static const char *const names[] = { "rope_factors_long.weight", "rope_factors_short.weight" };
    const int64_t dim[1] = { l->c->llm.head_dim / 2 };
    layout_tensor t;

    for (int i = 0; i < 2 && l->c->llm.rope_factor; i++) {
        if (!set(l, &t, names[i], "", 1, dim)) return;
        t.how = LAYOUT_FACTORS;
        put(l, &t);
    }
}

static int by_name(const void *a, const void *b)
{
    return mix_name_order(((const layout_tensor *)a)->name, ((const layout_tensor *)b)->name);
}

/* ---- encoders --------------------------------------------------------------------------------------------------- */

/* in_proj_weight [3 d, d] or in_proj_bias [3 d]: query, key, value, each as a tensor. */
static void add_in_proj(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    const bool is_weight = ends_with(official, "weight");
    const int64_t third[2] = { dim[0] / 3, n_dim == 2 ? dim[1] : 0 };
    char name[64];
    layout_tensor t;

    if (n_dim != (is_weight ? 2 : 1) || dim[0] % 3) {
        l->st = mo_fail(&l->err, MO_E_FORMAT, "tensor '%.150s' cannot be divided in three", official);
        return;
    }
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "resampler.attn.%c.%s", "qkv"[i], is_weight ? "weight" : "bias");
        if (!set(l, &t, name, official, n_dim, third)) return;
        t.row0 = i * third[0];
        if (!is_weight) { /* a number a row */
            t.n_row = third[0];
            t.n_col = 1;
        }
        put(l, &t);
    }
}

static void add_proj(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    const int64_t transposed[2] = { dim[n_dim - 1], dim[0] }, grid[2] = { GRID * GRID, l->c->resampler.n_embd };
    layout_tensor t;

    if (n_dim != 2) {
        l->st = mo_fail(&l->err, MO_E_FORMAT, "tensor '%.150s' is no matrix", official);
        return;
    }
    if (set(l, &t, "resampler.pos_embed_k", "", 2, grid)) { /* other readers want the table, ours computes it */
        t.how = LAYOUT_POSITIONS;
        put(l, &t);
    }
    if (set(l, &t, "resampler.proj.weight", official, 2, transposed)) {
        t.how = LAYOUT_TRANSPOSED;
        put(l, &t);
    }
}

static void add_vision(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    const gguf_naming naming = gguf_naming_for("clip");
    char name[OFFICIAL_NAME_MAX];
    layout_tensor t;

    if (!starts_with(official, "vpm.") && !starts_with(official, "resampler.")) return;
    if (starts_with(official, "resampler.attn.in_proj_")) add_in_proj(l, official, n_dim, dim);
    else if (!strcmp(official, "resampler.proj")) add_proj(l, official, n_dim, dim);
    else if (set(l, &t, gguf_name_of(&naming, official, name) ? name : official, official, n_dim, dim)) put(l, &t);
}

static void add_audio(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    const gguf_naming naming = gguf_naming_for("whisper");
    char name[OFFICIAL_NAME_MAX];
    layout_tensor t;

    if (!gguf_name_of(&naming, official, name) || !set(l, &t, name, official, n_dim, dim)) return;
    if (!strcmp(name, "encoder.conv1.bias") || !strcmp(name, "encoder.conv2.bias")) {
        t.n_dim = 2;
        t.dim[1] = 1;
    }
    put(l, &t);
}

void layout_add(layout *l, const char *official, int32_t n_dim, const int64_t *dim)
{
    if (l->st != MO_OK || n_dim < 1) return;
    if (l->role == GGUF_ROLE_LLM) add_llm(l, official, n_dim, dim);
    else if (l->role == GGUF_ROLE_VISION) add_vision(l, official, n_dim, dim);
    else if (l->role == GGUF_ROLE_AUDIO) add_audio(l, official, n_dim, dim);
}

mo_status layout_end(layout *l, mo_error *err)
{
    if (l->role == GGUF_ROLE_LLM) {
        add_factors(l);
        if (l->st == MO_OK && l->n) qsort(l->list, l->n, sizeof *l->list, by_name);
    }
    return l->st == MO_OK ? MO_OK : mo_fail(err, l->st, "%s", l->err.message);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Row 2 i + s of a head is the official row s * half + i. */
int64_t layout_source_row(const layout_tensor *t, int64_t r)
{
    const int64_t head = t->head_rows ? r / t->head_rows : 0, in = t->head_rows ? r % t->head_rows : 0;

    if (!t->head_rows) return t->row0 + r;
    return t->row0 + head * t->head_rows + in % 2 * (t->head_rows / 2) + in / 2;
}

/* A place (row, column) of the grid: sines then cosines of the column, then of the row, each a quarter of the width. */
static void grid_place(float *y, int64_t n, int64_t r)
{
    const float at[2] = { (float)(r % GRID), (float)(r / GRID) };
    const int64_t q = n / 4;

    for (int64_t k = 0; k < 2; k++)
        for (int64_t i = 0; i < q; i++) {
            const float angle = at[k] * (1.0f / powf(10000.0f, (float)i / (float)q));
            y[2 * k * q + i] = sinf(angle);
            y[(2 * k + 1) * q + i] = cosf(angle);
        }
}

void layout_compute_row(float *y, const layout_tensor *t, const model_config *c, int64_t r)
{
    if (t->how == LAYOUT_FACTORS) memcpy(y, c->llm.rope_factor, (size_t)t->n_col * sizeof *y);
    else if (t->how == LAYOUT_POSITIONS) grid_place(y, t->n_col, r);
}

int32_t layout_type(const layout_tensor *t, gguf_role role, const mix *m)
{
    const bool is_matrix = t->n_dim >= 2 && *t->official && ends_with(t->name, ".weight");
    mix plain = *m;

    if (!is_matrix) return MO_F32;
    if (role == GGUF_ROLE_LLM) return mix_type(m, t->name, t->n_dim, t->n_col, MO_F32);
    plain.pure = true;
    if (t->n_dim == 2 && strcmp(t->name, "v.position_embd.weight")) return mix_type(&plain, t->name, 2, t->n_col, MO_F16);
    return file_type_is_quantised(m->type) ? MO_F16 : m->type->base;
}
