/* The table of file types and who gets what in them (gguf_mix.h). */
#include "formats/gguf_mix.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/alloc.h"

static const file_type types[] = {
    { "F32", 0, MO_F32, false },        { "BF16", 32, MO_BF16, false },   { "F16", 1, MO_F16, false },
    { "Q8_0", 7, MO_Q8_0, false },      { "Q6_K", 18, MO_Q6_K, false },   { "Q5_1", 9, MO_Q5_1, false },
    { "Q5_K_M", 17, MO_Q5_K, false },   { "Q5_K_S", 16, MO_Q5_K, false }, { "Q5_0", 8, MO_Q5_0, false },
    { "Q4_1", 3, MO_Q4_1, false },      { "Q4_K_M", 15, MO_Q4_K, false }, { "Q4_K_S", 14, MO_Q4_K, false },
    { "IQ4_NL", 25, MO_IQ4_NL, false }, { "Q4_0", 2, MO_Q4_0, false },    { "IQ4_XS", 30, MO_IQ4_XS, false },
    { "Q3_K_L", 13, MO_Q3_K, false },   { "Q3_K_M", 12, MO_Q3_K, false }, { "Q3_K_S", 11, MO_Q3_K, false },
    { "Q2_K", 10, MO_Q2_K, false },     { "Q2_K_S", 21, MO_Q2_K, true },
};

enum { N_TYPE = sizeof types / sizeof *types };

const file_type *file_type_at(int i) { return i >= 0 && i < N_TYPE ? &types[i] : NULL; }

const file_type *file_type_find(const char *name)
{
    static const char *const alias[][2] = { { "Q3_K", "Q3_K_M" }, { "Q4_K", "Q4_K_M" }, { "Q5_K", "Q5_K_M" } };

    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (!strcasecmp(name, alias[i][0])) name = alias[i][1];
    for (int i = 0; i < N_TYPE; i++)
        if (!strcasecmp(name, types[i].name)) return &types[i];
    return NULL;
}

/* ---- patterns ---------------------------------------------------------------------------------------------------- */

struct mix_pattern {
    regex_t re;
    int32_t type;
};

mo_status mix_compile(struct mix_pattern **out, const mix_rule *rule, int n, mo_error *err)
{
    *out = NULL;
    if (!n) return MO_OK;
    if (!(*out = mo_calloc((size_t)n, sizeof **out))) return mo_fail(err, MO_E_NOMEM, "no memory for %d patterns", n);
    for (int i = 0; i < n; i++) {
        int e = regcomp(&(*out)[i].re, rule[i].pattern, REG_EXTENDED | REG_NOSUB);
        char why[80];
        if (!e) {
            (*out)[i].type = rule[i].type;
            continue;
        }
        regerror(e, NULL, why, sizeof why);
        mix_pattern_free(*out, i);
        *out = NULL;
        return mo_fail(err, MO_E_ARG, "'%.100s' is no regular expression: %s", rule[i].pattern, why);
    }
    return MO_OK;
}

void mix_pattern_free(struct mix_pattern *p, int n)
{
    for (int i = 0; p && i < n; i++) regfree(&p[i].re);
    mo_free(p);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

bool mix_takes(const char *name, int32_t n_dim)
{
    return n_dim >= 2 && ends_with(name, "weight") && !strstr(name, "_norm.weight") && strcmp(name, "position_embd.weight") &&
           strcmp(name, "token_types.weight") && !strstr(name, "ffn_gate_inp.weight");
}

/* The first and the last eighth of the blocks, and every third between. */
static bool has_more_bits(int32_t i, int32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/* One way a tensor can differ from the base type: in which blocks, under which condition. */
typedef enum layers { ALL, MORE, FIRST_2, FIRST_4, FIRST_8TH, FIRST_16TH } layers;
typedef enum condition { ALWAYS, IF_GQA_4, IF_IMATRIX, IF_NO_IMATRIX } condition;

typedef struct exception {
    const char *file_type, *part; /* part: found in the name */
    layers where;
    condition when;
    int32_t type;
} exception;

/* The first line that fits counts. */
static const exception exceptions[] = {
    { "Q2_K", "attn_v.weight", ALL, IF_GQA_4, MO_Q4_K },
    { "Q2_K", "attn_v.weight", ALL, ALWAYS, MO_Q3_K },
    { "Q2_K", "ffn_down", ALL, ALWAYS, MO_Q3_K },
    { "Q2_K", "attn_output.weight", ALL, ALWAYS, MO_Q3_K },
    { "Q2_K_S", "attn_v.weight", ALL, IF_GQA_4, MO_Q4_K },
    { "Q2_K_S", "ffn_down", FIRST_8TH, ALWAYS, MO_Q4_K },
    { "Q3_K_M", "attn_v.weight", FIRST_2, ALWAYS, MO_Q5_K },
    { "Q3_K_M", "attn_v.weight", ALL, ALWAYS, MO_Q4_K },
    { "Q3_K_M", "ffn_down", FIRST_16TH, ALWAYS, MO_Q5_K },
    { "Q3_K_M", "ffn_down", ALL, ALWAYS, MO_Q4_K },
    { "Q3_K_M", "attn_output.weight", ALL, ALWAYS, MO_Q4_K },
    { "Q3_K_M", "attn_qkv.weight", ALL, ALWAYS, MO_Q4_K },
    { "Q3_K_L", "attn_v.weight", ALL, ALWAYS, MO_Q5_K },
    { "Q3_K_L", "ffn_down", ALL, ALWAYS, MO_Q5_K },
    { "Q3_K_L", "attn_output.weight", ALL, ALWAYS, MO_Q5_K },
    { "Q3_K_L", "attn_qkv.weight", ALL, ALWAYS, MO_Q4_K },
    { "Q4_0", "ffn_down", FIRST_8TH, IF_IMATRIX, MO_Q4_1 },
    { "Q5_0", "ffn_down", FIRST_8TH, IF_IMATRIX, MO_Q5_1 },
    { "Q4_K_S", "attn_v.weight", FIRST_4, ALWAYS, MO_Q5_K },
    { "Q4_K_S", "ffn_down", FIRST_8TH, ALWAYS, MO_Q5_K },
    { "Q4_K_M", "attn_v.weight", MORE, ALWAYS, MO_Q6_K },
    { "Q4_K_M", "ffn_down", MORE, ALWAYS, MO_Q6_K },
    { "Q4_K_M", "attn_qkv.weight", ALL, ALWAYS, MO_Q5_K },
    { "Q5_K_M", "attn_v.weight", MORE, ALWAYS, MO_Q6_K },
    { "Q5_K_M", "ffn_down", MORE, ALWAYS, MO_Q6_K },
    { "Q5_K_M", "attn_qkv.weight", ALL, ALWAYS, MO_Q6_K },
    { "IQ4_NL", "attn_v.weight", ALL, IF_GQA_4, MO_Q5_K },
    { "IQ4_NL", "ffn_down", FIRST_8TH, IF_NO_IMATRIX, MO_Q5_K },
    { "IQ4_XS", "attn_v.weight", ALL, IF_GQA_4, MO_Q5_K },
    { "IQ4_XS", "ffn_down", FIRST_8TH, IF_NO_IMATRIX, MO_Q5_K },
};

static bool is_there(layers where, int32_t i, int32_t n)
{
    switch (where) {
    case ALL: break;
    case MORE: return has_more_bits(i, n);
    case FIRST_2: return i < 2;
    case FIRST_4: return i < 4;
    case FIRST_8TH: return i < n / 8;
    case FIRST_16TH: return i < n / 16;
    }
    return true;
}

static bool holds(condition when, const mix *m)
{
    switch (when) {
    case ALWAYS: break;
    case IF_GQA_4: return m->n_gqa >= 4;
    case IF_IMATRIX: return m->has_imatrix;
    case IF_NO_IMATRIX: return !m->has_imatrix;
    }
    return true;
}

/* "blk.12.…": 12; -1: of no block. */
static int32_t block_of(const char *name)
{
    long i;

    if (strncmp(name, "blk.", 4) || name[4] < '0' || name[4] > '9') return -1;
    i = strtol(name + 4, NULL, 10);
    return i <= INT32_MAX ? (int32_t)i : INT32_MAX;
}

static bool is_output(const mix *m, const char *name)
{
    return !strcmp(name, "output.weight") || (!m->has_output && !strcmp(name, "token_embd.weight"));
}

/* What multiplies into logits keeps more bits. */
static int32_t type_of_output(const mix *m, int64_t n_col)
{
    const int32_t base = m->type->base;

    if (m->output_type >= 0) return m->output_type;
    if (n_col % dtype_get(base)->n_block) return MO_Q8_0;
    return base == MO_Q8_0 ? MO_Q8_0 : MO_Q6_K;
}

static int32_t type_by_table(const mix *m, const char *name, int64_t n_col)
{
    const int32_t i = block_of(name);

    if (is_output(m, name)) return type_of_output(m, n_col);
    if (!strcmp(name, "token_embd.weight")) return m->embd_type >= 0 ? m->embd_type : m->type->base;
    for (size_t k = 0; k < sizeof exceptions / sizeof *exceptions; k++) {
        const exception *e = &exceptions[k];
        if (!strcmp(e->file_type, m->type->name) && strstr(name, e->part) && is_there(e->where, i, m->n_layer) && holds(e->when, m))
            return e->type;
    }
    return m->type->base;
}

int32_t mix_fitting(int32_t type, int64_t n_col)
{
    if (n_col % dtype_get(type)->n_block == 0) return type;
    switch (type) {
    case MO_Q2_K:
    case MO_Q3_K:
    case MO_IQ4_XS: type = MO_IQ4_NL; break;
    case MO_Q4_K: type = MO_Q5_0; break;
    case MO_Q5_K: type = MO_Q5_1; break;
    case MO_Q6_K: type = MO_Q8_0; break;
    default: break;
    }
    return n_col % dtype_get(type)->n_block ? MO_F16 : type;
}

int32_t mix_type(const mix *m, const char *name, int32_t n_dim, int64_t n_col, int32_t kept)
{
    int32_t type = m->type->base;

    if (!mix_takes(name, n_dim)) return kept;
    if (!m->pure && file_type_is_quantised(m->type)) type = mix_fitting(type_by_table(m, name, n_col), n_col);
    if (m->embd_type >= 0 && !strcmp(name, "token_embd.weight")) type = m->embd_type;
    if (m->output_type >= 0 && !strcmp(name, "output.weight")) type = m->output_type;
    for (int i = 0; i < m->n_rule; i++)
        if (!regexec(&m->rule[i].re, name, 0, NULL, 0)) type = m->rule[i].type;
    return mix_fitting(type, n_col);
}

int mix_name_order(const char *a, const char *b)
{
    const int32_t i = block_of(a), j = block_of(b);

    return i != j ? (i < j ? -1 : 1) : strcmp(a, b);
}
