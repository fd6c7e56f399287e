/* The language model's equivalences, to the last bit: the same rows in any distribution over calls, batches, passes and
 * threads; forked, truncated and dropped caches; and what a batch that cannot be done leaves behind.
 */
#include "models/llm.h"

#include <stdlib.h>

#include "../session/tiny.h"
#include "core/cpu.h"
#include "core/instrumented.h"
#include "test.h"

enum { N_PROMPT = 150, N_UBATCH = 512, N_CTX = 256 }; /* three pages of a prompt */

static const struct {
    const char *name, *json;
} configs[] = {
    { "qwen3", "{\"model_type\": \"qwen3\", \"vocab_size\": 270, \"hidden_size\": 72, \"intermediate_size\": 88, \"num_hidden_layers\": 2,"
               " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 40, \"tie_word_embeddings\": false}" },
    { "qwen2", "{\"model_type\": \"qwen2\", \"vocab_size\": 261, \"hidden_size\": 64, \"intermediate_size\": 72, \"num_hidden_layers\": 2,"
               " \"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"tie_word_embeddings\": true}" },
    { "llama", "{\"model_type\": \"llama\", \"vocab_size\": 263, \"hidden_size\": 66, \"intermediate_size\": 50, \"num_hidden_layers\": 2,"
               " \"num_attention_heads\": 3, \"num_key_value_heads\": 3, \"rope_theta\": 500000, \"max_position_embeddings\": 512}" },
    { "minicpm",
      "{\"model_type\": \"minicpm\", \"vocab_size\": 260, \"hidden_size\": 64, \"intermediate_size\": 72, \"num_hidden_layers\": 3,"
      " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"scale_emb\": 12, \"scale_depth\": 1.4, \"dim_model_base\": 16,"
      " \"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 1.0, \"original_max_position_embeddings\": 4096,"
      " \"short_factor\": [1,1,1,1.5,1,1,1,1,2,1,1,1,1,1,3,1], \"long_factor\": [1,1,1,1.5,1,1,1,1,2,1,1,1,1,1,3,1]}}" },
    { "qwen3, heads of 64",
      "{\"model_type\": \"qwen3\", \"vocab_size\": 270, \"hidden_size\": 64, \"intermediate_size\": 88, \"num_hidden_layers\": 2,"
      " \"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"head_dim\": 64, \"tie_word_embeddings\": false}" },
};

/* A model on a device, caches of a type, and the reference: the whole prompt in one call. */
typedef struct rig {
    char dir[64], what[96];
    model_config cfg;
    tensors *ts;
    backend *be;
    llm *m;
    scratch s;
    kv_pool pool;
    int32_t n_vocab, n_embd;
    int32_t token[N_PROMPT];
    float *want, *got; /* [N_PROMPT, n_vocab + n_embd] logits of all rows, then hidden of all rows */
    float *embd;       /* [N_PROMPT, n_embd] */
} rig;

static size_t n_out(const rig *r) { return (size_t)N_PROMPT * (size_t)(r->n_vocab + r->n_embd); }

static void rig_close(rig *r)
{
    kv_pool_free(&r->pool);
    llm_free(r->m);
    if (r->be) {
        scratch_free(&r->s, r->be);
        r->be->ops->destroy(r->be);
    }
    tensors_close(r->ts);
    model_config_free(&r->cfg);
    free(r->want);
    free(r->got);
    free(r->embd);
}

static mo_status rig_open(rig *r, const char *dir, unsigned isa, int n_thread, int32_t kv_type, mo_error *err)
{
    cpu_backend_opts o = { .n_thread = n_thread, .isa_mask = isa };
    kv_shape shape;
    mo_status st;

    memset(r, 0, sizeof *r);
    r->s = scratch_plan();
    if ((st = model_config_load(&r->cfg, dir, err)) != MO_OK || (st = tensors_open_safetensors(&r->ts, dir, err)) != MO_OK ||
        (st = cpu_backend_new(&r->be, &o, err)) != MO_OK || (st = llm_load(&r->m, r->be, r->ts, &r->cfg.llm, false, NULL, err)) != MO_OK)
        return st;
    llm_carve(&r->s, &r->cfg.llm, N_UBATCH);
    if ((st = scratch_alloc(&r->s, r->be, err)) != MO_OK) return st;
    shape = llm_kv_shape(&r->cfg.llm, kv_type);
    r->n_vocab = r->cfg.llm.n_vocab;
    r->n_embd = r->cfg.llm.n_embd;
    r->want = calloc(n_out(r), sizeof(float));
    r->got = calloc(n_out(r), sizeof(float));
    r->embd = calloc((size_t)N_PROMPT * (size_t)r->n_embd, sizeof(float));
    for (int i = 0; i < N_PROMPT; i++) r->token[i] = (i * 37 + i / 7) % r->n_vocab;
    return kv_pool_init(&r->pool, r->be, &shape, 16, err);
}

/* Rows [from, to) of the prompt into seq; outputs to their rows of `out`. given: as embeddings. */
static mo_status feed(rig *r, kv_seq *seq, int from, int to, int n_ubatch, bool given, float *out, mo_error *err)
{
    kv_seq *seqs[N_PROMPT];
    uint8_t want[N_PROMPT];
    llm_batch b = { .n_row = to - from, .token = given ? NULL : r->token + from, .seq = seqs, .want = want };

    for (int i = 0; i < N_PROMPT; i++) seqs[i] = seq;
    memset(want, LLM_WANT_LOGITS | LLM_WANT_HIDDEN, sizeof want);
    if (given) b.embd = r->embd + (size_t)from * (size_t)r->n_embd;
    return llm_forward(r->m, &r->s, n_ubatch, &b, out + (size_t)from * (size_t)r->n_vocab,
                       out + (size_t)N_PROMPT * (size_t)r->n_vocab + (size_t)from * (size_t)r->n_embd, err);
}

static bool same(const rig *r, const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof(float))) {
            TEST_FAIL("%s, %s: value %zu is %.9g, want %.9g", r->what, what, i, (double)got[i], (double)want[i]);
            return false;
        }
    return true;
}

/* All outputs of the prompt after `what`. */
static bool as_whole(rig *r, const char *what)
{
    bool ok = same(r, what, r->got, r->want, n_out(r));

    memset(r->got, 0, n_out(r) * sizeof(float));
    return ok;
}

static void reference(rig *r)
{
    int32_t n_free = r->pool.n_free;
    mo_error err = { 0 };
    kv_seq s;

    CHECK_OK(kv_seq_init(&s, &r->pool, N_CTX, &err));
    CHECK_OK(feed(r, &s, 0, N_PROMPT, N_UBATCH, false, r->want, &err));
    CHECK_INT(s.len, N_PROMPT);
    kv_seq_free(&s);
    for (size_t i = 0; i < n_out(r); i++) CHECK(isfinite(r->want[i]));
    CHECK_OK(llm_embed(r->m, &r->s, N_UBATCH, r->token, N_PROMPT, r->embd, &err));
    CHECK_INT(r->pool.n_free, n_free);
}

static void chunks(rig *r)
{
    static const struct {
        int chunk, n_ubatch;
        bool given;
    } cases[] = { { 1, 512, false },      { 7, 512, false },       { 64, 512, false },      { 65, 7, false }, { N_PROMPT, 1, false },
                  { N_PROMPT, 7, false }, { N_PROMPT, 64, false }, { N_PROMPT, 512, true }, { 13, 4, true } };

    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        mo_error err = { 0 };
        char what[64];
        kv_seq s;

        CHECK_OK(kv_seq_init(&s, &r->pool, N_CTX, &err));
        for (int i = 0; i < N_PROMPT; i += cases[k].chunk) {
            int to = i + cases[k].chunk < N_PROMPT ? i + cases[k].chunk : N_PROMPT;
            CHECK_OK(feed(r, &s, i, to, cases[k].n_ubatch, cases[k].given, r->got, &err));
        }
        kv_seq_free(&s);
        snprintf(what, sizeof what, "chunks of %d, passes of %d%s", cases[k].chunk, cases[k].n_ubatch,
                 cases[k].given ? ", embeddings" : "");
        if (!as_whole(r, what)) return;
    }
}

/* Three sequences over the same tokens with different lengths; each step a batch of some rows of each, tokens and
 * embeddings mixed. Row i of any of them is row i of the whole. */
static void batches(rig *r, int n_ubatch)
{
    static const int target[3] = { N_PROMPT, 70, 129 }, per_step[3] = { 11, 3, 17 };
    mo_error err = { 0 };
    kv_seq s[3], *seqs[64];
    float *logits = calloc((size_t)64 * (size_t)r->n_vocab, sizeof(float)), *embd = calloc((size_t)64 * (size_t)r->n_embd, sizeof(float));
    int32_t token[64];
    uint8_t want[64];
    bool ok = logits && embd;

    for (int k = 0; k < 3; k++) CHECK_OK(kv_seq_init(&s[k], &r->pool, N_CTX, &err));
    for (int step = 0; ok && s[0].len < target[0]; step++) {
        int n = 0, at[64];
        for (int k0 = 0; k0 < 3; k0++) {
            int k = (k0 + step) % 3; /* who comes first changes */
            for (int i = 0; i < per_step[k] && s[k].len + i < target[k]; i++, n++) {
                at[n] = s[k].len + i;
                seqs[n] = &s[k];
                want[n] = LLM_WANT_LOGITS;
                token[n] = (n + step) % 4 ? r->token[at[n]] : -1;
                memcpy(embd + (size_t)n * (size_t)r->n_embd, r->embd + (size_t)at[n] * (size_t)r->n_embd,
                       (size_t)r->n_embd * sizeof(float));
            }
        }
        llm_batch b = { .n_row = n, .token = token, .embd = embd, .seq = seqs, .want = want };
        mo_status st = llm_forward(r->m, &r->s, n_ubatch, &b, logits, NULL, &err);
        if (st != MO_OK) TEST_FAIL("%s: batch: %s", r->what, err.message);
        ok = st == MO_OK;
        for (int i = 0; ok && i < n; i++)
            ok = same(r, "three sequences in one batch", logits + (size_t)i * (size_t)r->n_vocab,
                      r->want + (size_t)at[i] * (size_t)r->n_vocab, (size_t)r->n_vocab);
    }
    for (int k = 0; k < 3; k++) kv_seq_free(&s[k]);
    free(logits);
    free(embd);
}

/* Keys and values of a sequence, all layers. */
static float *read_cache(const rig *r, const kv_seq *s, size_t *n)
{
    size_t half = (size_t)r->pool.shape.n_kv_head * (size_t)s->len * (size_t)r->pool.shape.head_dim, layer = 2 * half;
    float *out = calloc(layer * (size_t)r->pool.shape.n_layer + 1, sizeof *out);

    *n = layer * (size_t)r->pool.shape.n_layer;
    for (int il = 0; out && il < r->pool.shape.n_layer; il++) kv_seq_read(s, il, out + (size_t)il * layer, out + (size_t)il * layer + half);
    return out;
}

/* Forks share pages until one of them writes; both go on as if alone. */
static void forks(rig *r)
{
    static const int at[] = { 0, 1, 63, 64, 65, 100, 128 };

    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        mo_error err = { 0 };
        kv_seq a, b;
        size_t n1, n2;
        float *before, *after;
        bool ok;

        CHECK_OK(kv_seq_init(&a, &r->pool, N_CTX, &err));
        CHECK_OK(kv_seq_init(&b, &r->pool, N_CTX, &err));
        CHECK_OK(feed(r, &a, 0, 130, N_UBATCH, false, r->got, &err));
        CHECK_OK(kv_seq_fork(&b, &a, at[k], &err));
        CHECK_INT(b.len, at[k]);
        CHECK_INT(r->pool.n_free, r->pool.n_page - 3); /* nothing copied yet */
        before = read_cache(r, &a, &n1);
        CHECK_OK(feed(r, &b, at[k], N_PROMPT, 32, false, r->got, &err)); /* the fork writes first */
        after = read_cache(r, &a, &n2);
        ok = before && after && n1 == n2 && same(r, "the forked sequence's cache", after, before, n1);
        free(before);
        free(after);
        CHECK_OK(feed(r, &a, 130, N_PROMPT, N_UBATCH, false, r->got, &err));
        if (!ok || !as_whole(r, "fork")) return;
        kv_seq_free(&a);
        CHECK_OK(feed(r, &b, 0, 1, N_UBATCH, false, r->got, &err)); /* the survivor's pages are its own */
        memset(r->got, 0, n_out(r) * sizeof(float));
        kv_seq_free(&b);
        CHECK_INT(r->pool.n_free, r->pool.n_page);
    }
}

static void truncates(rig *r)
{
    static const int at[] = { 0, 1, 63, 64, 65, 127, 149 };

    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        mo_error err = { 0 };
        kv_seq s;

        CHECK_OK(kv_seq_init(&s, &r->pool, N_CTX, &err));
        CHECK_OK(feed(r, &s, 0, N_PROMPT, N_UBATCH, false, r->got, &err));
        kv_seq_truncate(&s, at[k]);
        CHECK_INT(r->pool.n_free, r->pool.n_page - kv_pages_for(at[k]));
        CHECK_OK(feed(r, &s, at[k], N_PROMPT, 9, false, r->got, &err));
        kv_seq_free(&s);
        if (!as_whole(r, "truncate and feed again")) return;
    }
}

/* Drop in the middle: twice the same gives the same bits; a fork that shares the pages keeps its own. */
static void drops(rig *r)
{
    static const struct {
        int preserve, n;
    } cases[] = { { 0, 64 }, { 5, 60 }, { 64, 64 }, { 10, 1 }, { 70, 30 }, { 100, 30 } };

    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        mo_error err = { 0 };
        kv_seq a, b, c;
        size_t n1, n2;
        float *before, *after;
        bool ok;
        int keep = 130 - cases[k].n;

        CHECK_OK(kv_seq_init(&a, &r->pool, N_CTX, &err));
        CHECK_OK(kv_seq_init(&b, &r->pool, N_CTX, &err));
        CHECK_OK(kv_seq_init(&c, &r->pool, N_CTX, &err));
        CHECK_OK(feed(r, &a, 0, 130, N_UBATCH, false, r->got, &err));
        CHECK_OK(feed(r, &c, 0, 130, 7, false, r->got, &err));
        CHECK_OK(kv_seq_fork(&b, &a, 130, &err));
        before = read_cache(r, &a, &n1);
        CHECK_OK(kv_seq_drop(&b, cases[k].preserve, cases[k].n, r->m->inv_freq, r->m->rope, &err)); /* shared pages */
        CHECK_OK(kv_seq_drop(&c, cases[k].preserve, cases[k].n, r->m->inv_freq, r->m->rope, &err)); /* its own */
        CHECK_INT(b.len, keep);
        after = read_cache(r, &a, &n2);
        ok = before && after && n1 == n2 && same(r, "the cache beside a drop", after, before, n1);
        free(before);
        free(after);
        before = read_cache(r, &b, &n1);
        after = read_cache(r, &c, &n2);
        ok = ok && n1 == n2 && same(r, "dropped shared and dropped alone", before, after, n1);
        free(before);
        free(after);
        /* and they go on alike, one in passes */
        memset(r->got, 0, n_out(r) * sizeof(float));
        CHECK_OK(feed(r, &b, 130, N_PROMPT, N_UBATCH, false, r->got, &err));
        {
            size_t n = (size_t)(N_PROMPT - 130) * (size_t)r->n_vocab, first = (size_t)130 * (size_t)r->n_vocab;
            float *alike = malloc(n * sizeof *alike);
            CHECK(alike);
            memcpy(alike, r->got + first, n * sizeof *alike);
            CHECK_OK(feed(r, &c, 130, N_PROMPT, 3, false, r->got, &err));
            ok = ok && same(r, "continued after a drop", r->got + first, alike, n);
            free(alike);
        }
        memset(r->got, 0, n_out(r) * sizeof(float));
        CHECK_OK(feed(r, &a, 130, N_PROMPT, N_UBATCH, false, r->got, &err));
        ok = ok && same(r, "the undropped one goes on", r->got + (size_t)130 * (size_t)r->n_vocab,
                        r->want + (size_t)130 * (size_t)r->n_vocab, (size_t)(N_PROMPT - 130) * (size_t)r->n_vocab);
        memset(r->got, 0, n_out(r) * sizeof(float));
        kv_seq_free(&a);
        kv_seq_free(&b);
        kv_seq_free(&c);
        CHECK_INT(r->pool.n_free, r->pool.n_page);
        if (!ok) return;
    }
}

static void whole_suite(rig *r)
{
    void (*const part[])(rig *) = { reference, chunks, forks, truncates, drops };

    for (size_t i = 0; i < sizeof part / sizeof *part && !test_this_failed; i++) part[i](r);
    if (!test_this_failed) batches(r, N_UBATCH);
    if (!test_this_failed) batches(r, 5);
}

/* ---- every instruction set, type, member ------------------------------------------------------------------------ */

static void suite(int i_config, int32_t type, int32_t kv_type, const char *isa)
{
    tiny_opts o = { .config = configs[i_config].json, .type = type };
    mo_error err = { 0 };
    char dir[64];
    mo_status st;
    rig r;

    CHECK_OK(tiny_write(dir, &o, &err));
    st = rig_open(&r, dir, (unsigned)cpu_isa_parse(isa), 1, kv_type, &err);
    snprintf(r.what, sizeof r.what, "%s %s, %s cache, %s", configs[i_config].name, dtype_get(type)->name, dtype_get(kv_type)->name, isa);
    if (st == MO_OK) whole_suite(&r);
    else TEST_FAIL("%s: %s", r.what, err.message);
    rig_close(&r);
    tiny_remove(dir);
}

/* Instrumented, what this machine has is enough here: the kernels' own tests go through every instruction set. */
#if MO_INSTRUMENTED
static const char *const isas[] = { "all" };
#else
static const char *const isas[] = { "generic", "avx2", "avx2,avx512", "neon", "all" };
#endif

static bool have(const char *isa) { return !strcmp(isa, "all") || !((unsigned)cpu_isa_parse(isa) & ~cpu_isa()); }

TEST(types)
{
    static const int32_t type[] = { MO_F32, MO_BF16, MO_F16 };

    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        for (int t = 0; t < 3 && have(isas[i]) && !test_this_failed; t++) {
            suite(0, type[t], t == 1 ? MO_F16 : MO_F32, isas[i]);
            if (!test_this_failed) suite(0, type[t], t == 1 ? MO_F32 : MO_F16, isas[i]);
        }
}

TEST(members)
{
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        for (int c = 1; c < (int)(sizeof configs / sizeof *configs) && have(isas[i]) && !test_this_failed; c++)
            suite(c, MO_BF16, MO_F16, isas[i]);
}

/* Heads of 32 and 64 in blocks of 32. */
TEST(blocks)
{
    static const int which[] = { 3, 4 };

    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        for (size_t c = 0; c < sizeof which / sizeof *which && have(isas[i]) && !test_this_failed; c++)
            suite(which[c], MO_F16, MO_Q8_0, isas[i]);
}

static double relative_error(const float *got, const float *want, size_t n)
{
    double e = 0, w = 0;

    for (size_t i = 0; i < n; i++) {
        e += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        w += (double)want[i] * want[i];
    }
    return sqrt(e / w);
}

/* Rounded caches take logits and hidden states this far from those of a float32 cache (relative, L2), and not nowhere. */
TEST(rounding)
{
    static const struct {
        int32_t type;
        double bound;
    } cases[] = { { MO_F16, 5e-4 }, { MO_Q8_0, 1e-2 } };
    tiny_opts o = { .config = configs[4].json, .type = MO_F32 };
    mo_error err = { 0 };
    char dir[64];
    rig exact;

    CHECK_OK(tiny_write(dir, &o, &err));
    CHECK_OK(rig_open(&exact, dir, MO_ISA_ALL, 1, MO_F32, &err));
    reference(&exact);
    for (size_t i = 0; i < sizeof cases / sizeof *cases && !test_this_failed; i++) {
        const size_t n = (size_t)N_PROMPT * (size_t)exact.n_vocab;
        double logits, hidden;
        rig r;
        CHECK_OK(rig_open(&r, dir, MO_ISA_ALL, 1, cases[i].type, &err));
        reference(&r);
        logits = relative_error(r.want, exact.want, n);
        hidden = relative_error(r.want + n, exact.want + n, n_out(&r) - n);
        printf("%s cache: logits %.1e, hidden states %.1e from a float32 cache\n", dtype_get(cases[i].type)->name, logits, hidden);
        CHECK(logits > 0 && logits < cases[i].bound);
        CHECK(hidden > 0 && hidden < cases[i].bound);
        rig_close(&r);
    }
    rig_close(&exact);
    tiny_remove(dir);
}

TEST(threads)
{
    mo_error err = { 0 };
    char dir[64];
    rig one;

    for (int c = 0; c < 2; c++) {
        tiny_opts o = { .config = configs[c].json, .type = MO_BF16 };
        CHECK_OK(tiny_write(dir, &o, &err));
        CHECK_OK(rig_open(&one, dir, MO_ISA_ALL, 1, MO_F16, &err));
        snprintf(one.what, sizeof one.what, "%s", configs[c].name);
        reference(&one);
        for (int n = 2; n <= 3; n++) {
            rig r;
            CHECK_OK(rig_open(&r, dir, MO_ISA_ALL, n, MO_F16, &err));
            snprintf(r.what, sizeof r.what, "%s, %d threads", configs[c].name, n);
            reference(&r);
            if (!test_this_failed) same(&r, "threads", r.want, one.want, n_out(&one));
            if (!test_this_failed) batches(&r, 5);
            rig_close(&r);
        }
        rig_close(&one);
        tiny_remove(dir);
    }
}

/* ---- what cannot be done ---------------------------------------------------------------------------------------- */

/* The call fails with st and a sentence with `word` in it; lengths and free pages stay. */
static void fails(rig *r, llm_batch *b, int n_ubatch, float *logits, mo_status want, const char *word, kv_seq *a, kv_seq *c)
{
    int32_t len_a = a->len, len_c = c->len, n_free = r->pool.n_free;
    mo_error err = { 0 };
    mo_status st = llm_forward(r->m, &r->s, n_ubatch, b, logits, NULL, &err);

    if (st != want || !strstr(err.message, word)) TEST_FAIL("%s: status %d \"%s\", want %d", word, st, err.message, want);
    CHECK_INT(a->len, len_a);
    CHECK_INT(c->len, len_c);
    CHECK_INT(r->pool.n_free, n_free);
}

TEST(bad_batches)
{
    tiny_opts o = { .config = configs[0].json, .type = MO_BF16 };
    kv_seq a, c, none = { 0 }, *rows[N_PROMPT], *mixed[4];
    kv_pool other_pool;
    kv_shape shape;
    mo_error err = { 0 };
    char dir[64];
    int32_t bad[N_PROMPT];
    uint8_t want[N_PROMPT] = { 0 };
    rig r;

    CHECK_OK(tiny_write(dir, &o, &err));
    CHECK_OK(rig_open(&r, dir, MO_ISA_ALL, 1, MO_F16, &err));
    CHECK_OK(kv_seq_init(&a, &r.pool, 128, &err));
    CHECK_OK(kv_seq_init(&c, &r.pool, 16 * KV_PAGE, &err));
    for (int i = 0; i < N_PROMPT; i++) {
        rows[i] = &a;
        bad[i] = r.token[i];
    }
    CHECK_OK(feed(&r, &a, 0, 20, N_UBATCH, false, r.got, &err));

    llm_batch b = { .n_row = 10, .token = bad, .seq = rows, .want = want };
    for (int n_ubatch = 3; n_ubatch <= 512; n_ubatch *= 512 / 3) { /* the mistake in a later pass, or in the first */
        bad[7] = r.n_vocab;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "outside the vocabulary", &a, &c);
        bad[7] = -2;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "outside the vocabulary", &a, &c);
        bad[7] = -1;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "neither a token nor an embedding", &a, &c);
        bad[7] = 1;
        want[7] = LLM_WANT_LOGITS;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "no place", &a, &c);
        want[7] = 0;
        rows[4] = &c;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "do not stand together", &a, &c);
        rows[4] = &none;
        fails(&r, &b, n_ubatch, NULL, MO_E_ARG, "no sequence", &a, &c);
        rows[4] = &a;
        b.n_row = N_PROMPT; /* 20 + 150 > 128 */
        fails(&r, &b, n_ubatch, NULL, MO_E_LIMIT, "context is full", &a, &c);
        b.n_row = 10;
    }
    b.n_row = 0;
    fails(&r, &b, 8, NULL, MO_E_ARG, "0 rows", &a, &c);
    b.n_row = 10;
    /* rows a, c, c, a with passes of one row: apart although no pass sees it */
    mixed[0] = mixed[3] = &a;
    mixed[1] = mixed[2] = &c;
    b = (llm_batch){ .n_row = 4, .token = bad, .seq = mixed };
    fails(&r, &b, 1, NULL, MO_E_ARG, "do not stand together", &a, &c);

    /* a cache of another type beside */
    shape = llm_kv_shape(&r.cfg.llm, MO_F32);
    CHECK_OK(kv_pool_init(&other_pool, r.be, &shape, 1, &err));
    CHECK_OK(kv_seq_init(&none, &other_pool, 64, &err));
    mixed[3] = &none;
    fails(&r, &b, 8, NULL, MO_E_ARG, "another model or type", &a, &c);
    kv_seq_free(&none);
    kv_pool_free(&other_pool);

    /* the pool: c takes all pages but one of 16, a can take one more and not two */
    for (int i = 0; i < 14; i++) {
        c.len = i * KV_PAGE;
        CHECK_OK(kv_seq_reserve(&c, KV_PAGE, &err));
    }
    c.len = 14 * KV_PAGE;
    CHECK_INT(r.pool.n_free, 1);
    for (int i = 0; i < N_PROMPT; i++) rows[i] = i < 50 ? &a : &c;
    b = (llm_batch){ .n_row = 51, .token = bad, .seq = rows };
    fails(&r, &b, 512, NULL, MO_E_LIMIT, "KV cache is full", &a, &c);
    fails(&r, &b, 10, NULL, MO_E_LIMIT, "KV cache is full", &a, &c);
    kv_seq_truncate(&c, 0);
    /* still usable, with the reference's bits */
    reference(&r);
    if (!test_this_failed) CHECK_OK(feed(&r, &a, 20, 120, 7, false, r.got, &err));
    {
        size_t skip = (size_t)20 * (size_t)r.n_vocab;
        same(&r, "after failures", r.got + skip, r.want + skip, (size_t)100 * (size_t)r.n_vocab);
    }
    kv_seq_free(&a);
    kv_seq_free(&c);
    rig_close(&r);
    tiny_remove(dir);
}

TEST(bad_caches)
{
    tiny_opts o = { .config = configs[0].json, .type = MO_BF16 };
    kv_pool p, q;
    kv_seq a, b, c;
    kv_shape shape;
    mo_error err = { 0 };
    char dir[64];
    rig r;

    CHECK_OK(tiny_write(dir, &o, &err));
    CHECK_OK(rig_open(&r, dir, MO_ISA_ALL, 1, MO_F16, &err));
    shape = llm_kv_shape(&r.cfg.llm, MO_F16);
    CHECK_INT(kv_pool_init(&p, r.be, &shape, 0, &err), MO_E_ARG);
    shape.type = MO_Q8_0; /* heads of 40 are no whole blocks of 32 */
    CHECK_INT(kv_pool_init(&p, r.be, &shape, 2, &err), MO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "Q8_0") && strstr(err.message, "40"));
    shape.type = MO_F16;
    for (int n = 0; n < 3; n++) { /* the pool's three allocations */
        mo_alloc_fail_after(n);
        CHECK_INT(kv_pool_init(&p, r.be, &shape, 2, &err), MO_E_NOMEM);
        mo_alloc_fail_after(-1);
    }
    CHECK_OK(kv_pool_init(&p, r.be, &shape, 2, &err));
    CHECK_OK(kv_pool_init(&q, r.be, &shape, 2, &err));
    for (int n = 0; n < 2; n++) {
        mo_alloc_fail_after(n);
        CHECK_INT(kv_seq_init(&a, &p, 128, &err), MO_E_NOMEM);
        mo_alloc_fail_after(-1);
    }
    CHECK_OK(kv_seq_init(&a, &p, 128, &err));
    CHECK_OK(kv_seq_init(&b, &q, 128, &err));
    CHECK_OK(kv_seq_init(&c, &p, 64, &err));
    CHECK_OK(feed(&r, &a, 0, 100, N_UBATCH, false, r.got, &err));
    CHECK_INT(kv_seq_reserve(&a, -1, &err), MO_E_ARG);
    CHECK_INT(kv_seq_fork(&b, &a, 10, &err), MO_E_ARG);  /* another pool */
    CHECK_INT(kv_seq_fork(&c, &a, 101, &err), MO_E_ARG); /* longer than the source */
    CHECK_INT(kv_seq_fork(&c, &a, 100, &err), MO_E_LIMIT);
    CHECK_OK(kv_seq_fork(&c, &a, 64, &err));
    CHECK_INT(kv_seq_fork(&c, &a, 10, &err), MO_E_ARG); /* not empty */
    CHECK_INT(kv_seq_drop(&a, -1, 1, r.m->inv_freq, r.m->rope, &err), MO_E_LIMIT);
    CHECK_INT(kv_seq_drop(&a, 0, 0, r.m->inv_freq, r.m->rope, &err), MO_E_LIMIT);
    CHECK_INT(kv_seq_drop(&a, 50, 51, r.m->inv_freq, r.m->rope, &err), MO_E_LIMIT);
    CHECK_INT(kv_seq_drop(&a, INT32_MAX, INT32_MAX, r.m->inv_freq, r.m->rope, &err), MO_E_LIMIT);
    CHECK_INT(kv_seq_drop(&a, 3, 5, r.m->inv_freq, r.m->rope, &err), MO_E_LIMIT); /* the shared page has no room for a copy */
    CHECK_INT(a.len, 100);
    CHECK_OK(kv_seq_drop(&a, 70, 5, r.m->inv_freq, r.m->rope, &err)); /* its own page: needs none */
    kv_seq_free(&a);
    kv_seq_free(&b);
    kv_seq_free(&c);
    CHECK_INT(p.n_free, 2);
    kv_pool_free(&p);
    kv_pool_free(&q);
    rig_close(&r);
    tiny_remove(dir);
}

int main(void)
{
    RUN(types);
    RUN(members);
    RUN(blocks);
    RUN(rounding);
    RUN(threads);
    RUN(bad_batches);
    RUN(bad_caches);
    return test_end();
}
