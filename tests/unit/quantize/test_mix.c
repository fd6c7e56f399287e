/* Which type each tensor gets, against the published table written out (spec: formats 4). */
#include <stdio.h>

#include "formats/gguf_mix.h"
#include "test.h"

/* Blocks with more bits, as the reference's rule gives them for these depths. */
static const int more_36[] = { 0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31, 32, 33, 34, 35 };
static const int more_28[] = { 0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27 };

static bool is_in(const int *v, size_t n, int i)
{
    for (size_t k = 0; k < n; k++)
        if (v[k] == i) return true;
    return false;
}

static bool has_more(int i, int n) { return n == 36 ? is_in(more_36, 18, i) : is_in(more_28, 14, i); }

/* Cells are types, or: M more blocks, <k first k blocks, g grouped heads >= 4, i with and I without importance matrix. */
typedef struct line {
    const char *type;
    uint32_t id;
    int32_t base, output;
    const char *attn_v, *ffn_down, *attn_output, *attn_qkv;
} line;

static const line table[] = {
    { "F32", 0, MO_F32, MO_F32, "", "", "", "" },
    { "F16", 1, MO_F16, MO_F16, "", "", "", "" },
    { "BF16", 32, MO_BF16, MO_BF16, "", "", "", "" },
    { "Q4_0", 2, MO_Q4_0, MO_Q6_K, "", "i8:Q4_1", "", "" },
    { "Q4_1", 3, MO_Q4_1, MO_Q6_K, "", "", "", "" },
    { "Q5_0", 8, MO_Q5_0, MO_Q6_K, "", "i8:Q5_1", "", "" },
    { "Q5_1", 9, MO_Q5_1, MO_Q6_K, "", "", "", "" },
    { "Q8_0", 7, MO_Q8_0, MO_Q8_0, "", "", "", "" },
    { "Q2_K", 10, MO_Q2_K, MO_Q6_K, "g:Q4_K Q3_K", "Q3_K", "Q3_K", "" },
    { "Q2_K_S", 21, MO_Q2_K, MO_Q6_K, "g:Q4_K", "8:Q4_K", "", "" },
    { "Q3_K_S", 11, MO_Q3_K, MO_Q6_K, "", "", "", "" },
    { "Q3_K_M", 12, MO_Q3_K, MO_Q6_K, "2:Q5_K Q4_K", "16:Q5_K Q4_K", "Q4_K", "Q4_K" },
    { "Q3_K_L", 13, MO_Q3_K, MO_Q6_K, "Q5_K", "Q5_K", "Q5_K", "Q4_K" },
    { "Q4_K_S", 14, MO_Q4_K, MO_Q6_K, "4:Q5_K", "8:Q5_K", "", "" },
    { "Q4_K_M", 15, MO_Q4_K, MO_Q6_K, "M:Q6_K", "M:Q6_K", "", "Q5_K" },
    { "Q5_K_S", 16, MO_Q5_K, MO_Q6_K, "", "", "", "" },
    { "Q5_K_M", 17, MO_Q5_K, MO_Q6_K, "M:Q6_K", "M:Q6_K", "", "Q6_K" },
    { "Q6_K", 18, MO_Q6_K, MO_Q6_K, "", "", "", "" },
    { "IQ4_NL", 25, MO_IQ4_NL, MO_Q6_K, "g:Q5_K", "I8:Q5_K", "", "" },
    { "IQ4_XS", 30, MO_IQ4_XS, MO_Q6_K, "g:Q5_K", "I8:Q5_K", "", "" },
};

/* What a cell says for block i; 2 and 4 count blocks, 8 and 16 are parts of the depth. */
static int32_t read_cell(const char *cell, const line *l, int i, int n, int gqa, bool imatrix)
{
    while (*cell) {
        char type[16];
        int taken, part = 0;
        bool fits = true;
        if (*cell == 'M') fits = has_more(i, n), cell += 2;
        else if (*cell == 'g') fits = gqa >= 4, cell += 2;
        else {
            bool wants = *cell == 'i', lacks = *cell == 'I' && cell[1] != 'Q';
            if (wants || lacks) cell++;
            if (sscanf(cell, "%d:%n", &part, &taken) == 1) {
                cell += taken;
                fits = part < 8 ? i < part : i < n / part;
                fits = fits && (!wants || imatrix) && (!lacks || !imatrix);
            }
        }
        if (sscanf(cell, "%15s%n", type, &taken) != 1) return -1;
        if (fits) return dtype_by_name(type);
        cell += taken;
        cell += *cell == ' ';
    }
    return l->base;
}

static void check_line(const line *l, int n, int gqa, bool imatrix)
{
    mix m = { .type = file_type_find(l->type),
              .n_layer = n,
              .n_gqa = gqa,
              .has_output = true,
              .has_imatrix = imatrix,
              .embd_type = -1,
              .output_type = -1 };
    const struct {
        const char *name, *cell;
    } part[] = { { "attn_v", l->attn_v },
                 { "ffn_down", l->ffn_down },
                 { "attn_output", l->attn_output },
                 { "attn_qkv", l->attn_qkv },
                 { "attn_q", "" },
                 { "attn_k", "" },
                 { "ffn_gate", "" },
                 { "ffn_up", "" } };
    char name[64];

    CHECK(m.type && m.type->id == l->id && m.type->base == l->base);
    CHECK_INT(mix_type(&m, "token_embd.weight", 2, 4096, MO_F32), l->base);
    CHECK_INT(mix_type(&m, "output.weight", 2, 4096, MO_F32), l->output);
    CHECK_INT(mix_type(&m, "output_norm.weight", 1, 4096, MO_F32), MO_F32);
    CHECK_INT(mix_type(&m, "blk.0.attn_q.bias", 1, 4096, MO_F32), MO_F32);
    CHECK_INT(mix_type(&m, "blk.0.attn_q_norm.weight", 2, 4096, MO_F16), MO_F16);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
            int32_t want = read_cell(part[k].cell, l, i, n, gqa, imatrix), got;
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, part[k].name);
            if ((got = mix_type(&m, name, 2, 4096, MO_F32)) != want)
                TEST_FAIL("%s of %s, %d blocks, %d heads together, %s matrix: %s, want %s", name, l->type, n, gqa, imatrix ? "with" : "no",
                          dtype_get(got)->name, want < 0 ? "?" : dtype_get(want)->name);
        }
    m.has_output = false; /* the embeddings are the output too */
    CHECK_INT(mix_type(&m, "token_embd.weight", 2, 4096, MO_F32), l->output);
}

TEST(every_line_of_the_table)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        check_line(&table[i], 36, 4, false);
        check_line(&table[i], 36, 4, true);
        check_line(&table[i], 28, 7, false);
        check_line(&table[i], 28, 1, true);
    }
}

TEST(rows_that_fit_no_block)
{
    static const struct {
        const char *type;
        int64_t n_col;
        int32_t want;
    } c[] = { { "Q2_K", 5760, MO_IQ4_NL }, { "Q3_K_S", 5760, MO_IQ4_NL }, { "IQ4_XS", 96, MO_IQ4_NL }, { "Q4_K_M", 5760, MO_Q5_0 },
              { "Q5_K_M", 5760, MO_Q5_1 }, { "Q6_K", 5760, MO_Q8_0 },     { "Q4_K_M", 80, MO_F16 },    { "Q8_0", 80, MO_F16 },
              { "Q4_0", 33, MO_F16 },      { "F16", 33, MO_F16 },         { "F32", 33, MO_F32 } };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        mix m = { .type = file_type_find(c[i].type), .n_layer = 40, .n_gqa = 1, .has_output = true, .embd_type = -1, .output_type = -1 };
        CHECK_INT(mix_type(&m, "blk.9.ffn_up.weight", 2, c[i].n_col, MO_F32), c[i].want);
    }
    mix m = { .type = file_type_find("Q4_K_M"), .n_layer = 40, .n_gqa = 1, .has_output = true, .embd_type = -1, .output_type = -1 };
    CHECK_INT(mix_type(&m, "output.weight", 2, 5760, MO_F32), MO_Q8_0);
    CHECK_INT(mix_type(&m, "blk.0.ffn_down.weight", 2, 5760, MO_F32), MO_Q8_0); /* Q6_K by the table */
}

TEST(overrides)
{
    const mix_rule rule[] = { { "attn_.*weight$", MO_Q8_0 }, { "^blk\\.1\\.attn_k", MO_F16 } };
    mo_error err = { 0 };
    mix m = { .type = file_type_find("q4_k"),
              .n_layer = 36,
              .n_gqa = 4,
              .has_output = true,
              .embd_type = MO_Q5_K,
              .output_type = MO_F16,
              .n_rule = 2 };
    struct mix_pattern *p;

    CHECK_STR(m.type->name, "Q4_K_M");
    CHECK_OK(mix_compile(&p, rule, 2, &err));
    m.rule = p;
    CHECK_INT(mix_type(&m, "token_embd.weight", 2, 4096, MO_F32), MO_Q5_K);
    CHECK_INT(mix_type(&m, "output.weight", 2, 4096, MO_F32), MO_F16);
    CHECK_INT(mix_type(&m, "blk.0.attn_v.weight", 2, 4096, MO_F32), MO_Q8_0);
    CHECK_INT(mix_type(&m, "blk.1.attn_k.weight", 2, 4096, MO_F32), MO_F16);
    CHECK_INT(mix_type(&m, "blk.0.ffn_down.weight", 2, 4096, MO_F32), MO_Q6_K);
    mix_pattern_free(p, 2);
    m.n_rule = 0;
    m.pure = true;
    CHECK_INT(mix_type(&m, "blk.0.ffn_down.weight", 2, 4096, MO_F32), MO_Q4_K);
    CHECK_INT(mix_compile(&p, &(mix_rule){ "a(", MO_F16 }, 1, &err), MO_E_ARG);
    CHECK(!file_type_find("Q9_X") && !file_type_find("IQ2_XS") && !file_type_find(""));
}

TEST(order)
{
    static const char *const in_order[] = { "output.weight",       "output_norm.weight",  "token_embd.weight",   "blk.0.attn_k.weight",
                                            "blk.0.ffn_up.weight", "blk.2.attn_k.weight", "blk.10.attn_k.weight" };
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < 7; k++) {
            int c = mix_name_order(in_order[i], in_order[k]);
            CHECK(i < k ? c < 0 : i > k ? c > 0 : c == 0);
        }
}

int main(void)
{
    RUN(every_line_of_the_table);
    RUN(rows_that_fit_no_block);
    RUN(overrides);
    RUN(order);
    return test_end();
}
