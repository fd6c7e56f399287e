/* Importance matrices: what is collected, read and written, and that watching changes nothing. */
#include "made.h"
#include "models/importance.h"

static char hf[64], path[96];

typedef struct rig {
    checkpoint ck;
    backend *be;
    llm *m;
    scratch s;
    kv_pool pages;
    kv_seq kv;
    float *hidden;
} rig;

static mo_status rig_open(rig *r, mo_error *err)
{
    const checkpoint_opts alone = { .no_vision = true, .no_audio = true };
    const cpu_backend_opts cpu = { .n_thread = 2, .isa_mask = MO_ISA_ALL };
    kv_shape shape;
    mo_status st;

    *r = (rig){ .s = scratch_plan() };
    if ((st = checkpoint_open(&r->ck, hf, &alone, err)) != MO_OK || (st = cpu_backend_new(&r->be, &cpu, err)) != MO_OK) return st;
    if ((st = llm_load(&r->m, r->be, r->ck.ts, &r->ck.cfg.llm, false, NULL, err)) != MO_OK) return st;
    llm_carve(&r->s, &r->ck.cfg.llm, N_ID);
    shape = llm_kv_shape(&r->ck.cfg.llm, MO_F32);
    r->hidden = calloc((size_t)N_ID * (size_t)r->ck.cfg.llm.n_embd, sizeof *r->hidden);
    if ((st = scratch_alloc(&r->s, r->be, err)) != MO_OK || (st = kv_pool_init(&r->pages, r->be, &shape, 4, err)) != MO_OK) return st;
    return kv_seq_init(&r->kv, &r->pages, 128, err);
}

static void rig_close(rig *r)
{
    kv_seq_free(&r->kv);
    kv_pool_free(&r->pages);
    llm_free(r->m);
    scratch_free(&r->s, r->be);
    r->be->ops->destroy(r->be);
    checkpoint_close(&r->ck);
    free(r->hidden);
}

static int32_t token(int chunk, int i) { return (chunk * 91 + i * 37 + 11) % 256; }

static mo_status feed(rig *r, int chunk, mo_error *err)
{
    int32_t id[N_ID];
    kv_seq *seq[N_ID];
    uint8_t want[N_ID];
    const llm_batch b = { .n_row = N_ID, .token = id, .seq = seq, .want = want };

    for (int i = 0; i < N_ID; i++) id[i] = token(chunk, i), seq[i] = &r->kv, want[i] = LLM_WANT_HIDDEN;
    kv_seq_truncate(&r->kv, 0);
    return llm_forward(r->m, &r->s, N_ID, &b, NULL, r->hidden, err);
}

/* What the first block's queries are made of: normed embeddings, from the checkpoint's own numbers. */
static void expect_first(const rig *r, int n_chunk, double *sum)
{
    const llm_config *c = &r->ck.cfg.llm;
    const float *embd = tensors_find(r->ck.ts, "llm.model.embed_tokens.weight")->data,
                *g = tensors_find(r->ck.ts, "llm.model.layers.0.input_layernorm.weight")->data;

    for (int k = 0; k < n_chunk; k++)
        for (int i = 0; i < N_ID; i++) {
            const float *x = embd + (int64_t)token(k, i) * c->n_embd;
            double ss = 0;
            for (int j = 0; j < c->n_embd; j++) ss += (double)x[j] * x[j];
            for (int j = 0; j < c->n_embd; j++) {
                double y = x[j] / sqrt(ss / c->n_embd + (double)c->rms_eps) * g[j];
                sum[j] += y * y;
            }
        }
}

TEST(what_is_collected)
{
    mo_error err = { 0 };
    imatrix m = { 0 }, back;
    importance_watch *w;
    double want[256] = { 0 };
    float *before;
    size_t n_hidden;
    rig r;

    CHECK_OK(rig_open(&r, &err));
    n_hidden = (size_t)N_ID * (size_t)r.ck.cfg.llm.n_embd;
    before = calloc(n_hidden, sizeof *before);
    CHECK_OK(feed(&r, 1, &err));
    memcpy(before, r.hidden, n_hidden * sizeof *before);
    CHECK_OK(importance_begin(&w, r.m, &m, &err));
    for (int k = 0; k < 2; k++) {
        CHECK_OK(feed(&r, k, &err));
        CHECK_OK(importance_end_chunk(w, &err));
    }
    CHECK(!memcmp(before, r.hidden, n_hidden * sizeof *before)); /* the same bits, watched */
    importance_end(w);
    CHECK_INT(m.n, 14);
    CHECK_INT(m.n_chunk, 2);
    CHECK_OK(imatrix_write(&m, path, &err));
    CHECK_OK(imatrix_read(&back, path, &err));
    CHECK(back.n == 14 && back.n_chunk == 2 && imatrix_find(&back, "blk.1.ffn_down.weight") && !imatrix_find(&back, "output.weight"));
    CHECK_INT(imatrix_find(&back, "blk.1.ffn_down.weight")->n_col, 512);
    for (size_t i = 0; i < back.n; i++) CHECK_INT(back.entry[i].count, 2 * N_ID); /* every row passes every block */
    expect_first(&r, 2, want);
    for (int j = 0; j < 256; j++) {
        const imatrix_entry *q = imatrix_find(&back, "blk.0.attn_q.weight"), *v = imatrix_find(&back, "blk.0.attn_v.weight");
        CHECK_NEAR(q->sum2[j], want[j], 1e-4 * want[j] + 1e-7);
        CHECK_NEAR(q->mean[j], want[j] / (2 * N_ID), 1e-4 * want[j] + 1e-7);
        CHECK(v->sum2[j] == q->sum2[j]);
    }
    imatrix_free(&m);
    imatrix_free(&back);
    free(before);
    rig_close(&r);
}

TEST(stopped_and_gone_on)
{
    mo_error err = { 0 };
    imatrix whole = { 0 }, half = { 0 }, rest;
    importance_watch *w;
    char other[120];
    rig r;

    snprintf(other, sizeof other, "%s-2", path);
    CHECK_OK(rig_open(&r, &err));
    CHECK_OK(importance_begin(&w, r.m, &whole, &err));
    for (int k = 0; k < 3; k++) {
        CHECK_OK(feed(&r, k, &err));
        CHECK_OK(importance_end_chunk(w, &err));
    }
    importance_end(w);
    CHECK_OK(imatrix_write(&whole, path, &err));
    CHECK_OK(importance_begin(&w, r.m, &half, &err));
    CHECK_OK(feed(&r, 0, &err));
    CHECK_OK(importance_end_chunk(w, &err));
    importance_end(w);
    half.stamp = 0xfedcba9876543210u;
    CHECK_OK(imatrix_write(&half, other, &err));
    CHECK_OK(imatrix_read(&rest, other, &err));
    CHECK(rest.stamp == half.stamp);
    rest.stamp = 0;
    CHECK_OK(importance_begin(&w, r.m, &rest, &err));
    for (int k = 1; k < 3; k++) {
        CHECK_OK(feed(&r, k, &err));
        CHECK_OK(importance_end_chunk(w, &err));
    }
    importance_end(w);
    CHECK_OK(imatrix_write(&rest, other, &err));
    CHECK(made_same(path, other));
    mo_free(rest.entry[3].name); /* of another model */
    rest.entry[3].name = mo_strdup("blk.9.attn_q.weight");
    CHECK_INT(importance_begin(&w, r.m, &rest, &err), MO_E_FORMAT);
    imatrix_free(&whole);
    imatrix_free(&half);
    imatrix_free(&rest);
    unlink(other);
    rig_close(&r);
}

static void put(FILE *f, int32_t v) { fwrite(&v, 4, 1, f); }

/* Two entries in the older format; returns the file's size. */
static long write_dat(float first)
{
    const float v[3] = { first, 4, 6 };
    FILE *f = fopen(path, "wb");
    long n;

    if (!f) abort();
    put(f, 2);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "blk.0.attn_q.weight" : "blk.1.attn_q.weight";
        put(f, (int32_t)strlen(name));
        fputs(name, f);
        put(f, 2);
        put(f, 3);
        fwrite(v, 4, 3, f);
    }
    put(f, 7);
    put(f, 4);
    fputs("text", f);
    n = ftell(f);
    fclose(f);
    return n;
}

TEST(the_older_format_whole_and_cut)
{
    mo_error err = { 0 };
    imatrix m;
    long n = write_dat(2);

    CHECK_OK(imatrix_read(&m, path, &err));
    CHECK(m.n == 2 && m.n_chunk == 7 && !strcmp(m.dataset, "text"));
    CHECK_STR(m.entry[0].name, "blk.0.attn_q.weight");
    CHECK(m.entry[1].mean[0] == 1 && m.entry[1].mean[2] == 3);
    imatrix_free(&m);
    for (long cut = 0; cut < n; cut++) {
        write_dat(2);
        if (truncate(path, cut)) abort();
        mo_status st = imatrix_read(&m, path, &err);
        if (st == MO_OK) imatrix_free(&m);
        else CHECK(st == MO_E_FORMAT);
        CHECK(cut >= n - 12 || st != MO_OK); /* what is behind the entries may be missing */
    }
    write_dat(-1);
    CHECK_INT(imatrix_read(&m, path, &err), MO_E_FORMAT);
    write_dat(NAN);
    CHECK_INT(imatrix_read(&m, path, &err), MO_E_FORMAT);
}

TEST(a_gguf_file_damaged)
{
    mo_error err = { 0 };
    imatrix m = { 0 }, back;
    size_t n;
    char *good;

    for (int k = 0; k < 2; k++) {
        imatrix_entry *e = imatrix_add(&m, k ? "blk.0.attn_k.weight" : "blk.0.ffn_up.weight", 8);
        e->count = 3;
        for (int i = 0; i < 8; i++) e->sum2[i] = i;
    }
    CHECK_OK(imatrix_write(&m, path, &err));
    imatrix_free(&m);
    good = made_read(path, &n);
    for (size_t i = 0; i < n; i++) { /* each byte turned over; whatever comes, it is a sentence or a matrix */
        FILE *f = fopen(path, "wb");
        good[i] = (char)~good[i];
        fwrite(good, 1, n, f);
        fclose(f);
        good[i] = (char)~good[i];
        if (imatrix_read(&back, path, &err) == MO_OK) imatrix_free(&back);
    }
    free(good);
}

/* With a matrix, other bits; of another model, refused. */
TEST(quantising_with_it)
{
    mo_error err = { 0 };
    imatrix m = { 0 }, read;
    char a[120], b[120], plain[120];
    quantize_report r;
    quantize_opts o;
    pool *p;

    snprintf(a, sizeof a, "%s-a.gguf", path);
    snprintf(b, sizeof b, "%s-b.gguf", path);
    snprintf(plain, sizeof plain, "%s-c.gguf", path);
    for (int k = 0; k < 2; k++) {
        imatrix_entry *e = imatrix_add(&m, k ? "blk.0.attn_q.weight" : "blk.0.ffn_up.weight", 256);
        e->count = 1;
        for (int i = 0; i < 256; i++) e->sum2[i] = i % 7 ? 1 : 400;
    }
    CHECK_OK(imatrix_write(&m, path, &err));
    CHECK_OK(imatrix_read(&read, path, &err));
    CHECK_OK(pool_new(&p, 2, &err));
    o = made_opts("Q4_K_S", p);
    CHECK_OK(made_quantize(hf, plain, GGUF_ROLE_LLM, &o, NULL, &err));
    o.importance = &read;
    CHECK_OK(made_quantize(hf, a, GGUF_ROLE_LLM, &o, &r, &err));
    CHECK(r.n_unimportant == 14); /* 14 of the blocks and 2 beside them, less these two */
    CHECK_OK(made_quantize(hf, b, GGUF_ROLE_LLM, &o, NULL, &err));
    CHECK(made_same(a, b) && !made_same(a, plain));
    imatrix_free(&read);
    m.entry[0].n_col = 128;
    CHECK_OK(imatrix_write(&m, path, &err));
    CHECK_OK(imatrix_read(&read, path, &err));
    o.importance = &read;
    CHECK_INT(made_quantize(hf, b, GGUF_ROLE_LLM, &o, NULL, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "another model"));
    imatrix_free(&read);
    imatrix_free(&m);
    pool_free(p);
    unlink(a);
    unlink(b);
    unlink(plain);
}

int main(void)
{
    mo_error err = { 0 };

    if (tiny_write(hf, &(tiny_opts){ .config = made_omni, .type = MO_F32 }, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 2;
    }
    snprintf(path, sizeof path, "%s.imatrix", hf);
    RUN(what_is_collected);
    RUN(stopped_and_gone_on);
    RUN(the_older_format_whole_and_cut);
    RUN(a_gguf_file_damaged);
    RUN(quantising_with_it);
    unlink(path);
    tiny_remove(hf);
    return test_end();
}
