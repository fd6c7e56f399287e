/* Quantised files: what they hold is what the checkpoint holds, however they were made. */
#include "made.h"

static char hf[64], dir[80];

static char *in_dir(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", dir, name);
    return out;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static float *values(const tensor *t, int64_t *n)
{
    float *x;

    *n = 1;
    for (int32_t i = 0; i < t->n_dim; i++) *n *= t->dim[i];
    if (!(x = malloc((size_t)*n * sizeof *x + 4))) abort();
    if (dtype_get(t->type)->n_block > 1) dtype_to_f32(x, t->data, t->type, *n);
    for (int64_t i = 0; dtype_get(t->type)->n_block == 1 && i < *n; i++) {
        uint32_t aligned;
        memcpy(&aligned, (const char *)t->data + i * dtype_get(t->type)->block_bytes, (size_t)dtype_get(t->type)->block_bytes);
        dtype_to_f32(x + i, &aligned, t->type, 1);
    }
    return x;
}

/* Error over size of a tensor against the official one; 0: the same numbers. */
static double error_of(const tensors *got, const tensors *want, const char *got_name, const char *want_name)
{
    const tensor *a = tensors_find(got, got_name), *b = tensors_find(want, want_name);
    double e = 0, s = 0;
    int64_t n, m;
    float *x, *y;

    if (!a || !b) {
        printf("no tensor %s or %s\n", got_name, want_name);
        return 9;
    }
    x = values(a, &n);
    y = values(b, &m);
    for (int64_t i = 0; i < n && n == m; i++) e += ((double)x[i] - y[i]) * ((double)x[i] - y[i]), s += (double)y[i] * y[i];
    free(x);
    free(y);
    return n != m ? 9 : s > 0 ? sqrt(e / s) : e;
}

static void check_transposed(const tensors *got, const tensors *want)
{
    int64_t n;
    float *x = values(tensors_find(got, "resampler.proj.weight"), &n), *y = values(tensors_find(want, "resampler.proj"), &n);

    for (int64_t i = 0; i < 256; i++)
        for (int64_t k = 0; k < 256; k++)
            if (x[i * 256 + k] != y[k * 256 + i]) {
                TEST_FAIL("proj [%d, %d]", (int)i, (int)k);
                i = k = 256;
            }
    free(x);
    free(y);
}

static void check_thirds(const tensors *got, const tensors *want)
{
    static const char *const part[] = { "resampler.attn.in_proj_weight", "resampler.attn.in_proj_bias" };

    for (int k = 0; k < 2; k++) {
        int64_t n, m;
        float *y = values(tensors_find(want, part[k]), &m);
        for (int i = 0; i < 3; i++) {
            char name[64];
            snprintf(name, sizeof name, k ? "resampler.attn.%c_proj.bias" : "resampler.attn.%c_proj.weight", "qkv"[i]);
            float *x = values(tensors_find(got, name), &n);
            if (n * 3 != m || memcmp(x, y + i * n, (size_t)n * sizeof *x)) TEST_FAIL("%s", name);
            free(x);
        }
        free(y);
    }
}

/* Every official tensor of all three parts is there with its numbers. */
static void check_all(const char *type)
{
    static const char *const file[] = { "llm.gguf", "vision.gguf", "audio.gguf" };
    mo_error err = { 0 };
    tensors *got, *want;
    char path[128];
    size_t n_same = 0;

    CHECK_OK(tensors_open_safetensors(&want, hf, &err));
    for (int i = 0; i < 3; i++) {
        gguf *meta;
        CHECK_OK(made_type(hf, in_dir(path, file[i]), (gguf_role)(GGUF_ROLE_LLM + i), type, &err));
        CHECK_OK(tensors_open_gguf(&got, &meta, path, &err));
        for (size_t k = 0; k < tensors_count(want); k++) {
            const char *name = tensors_at(want, k)->name;
            const char *start[3] = { "llm.", "vpm.", "apm." }, *also[3] = { "llm.", "resampler.", "audio_" };
            if (strncmp(name, start[i], strlen(start[i])) && strncmp(name, also[i], strlen(also[i]))) continue;
            n_same++;
            if (!strcmp(name, "resampler.proj")) check_transposed(got, want);
            else if (!strncmp(name, "resampler.attn.in_proj", 22)) check_thirds(got, want);
            else if (error_of(got, want, name, name) != 0) TEST_FAIL("%s in %s", name, type);
        }
        gguf_free(meta);
        tensors_close(got);
        unlink(path);
    }
    CHECK_INT(n_same, tensors_count(want));
    tensors_close(want);
}

TEST(unquantised_files_keep_all_numbers)
{
    check_all("F32");
    check_all("BF16");
}

/* The published form of encoders: F16 matrices whatever the type of the language model's, positions of sounds and queries F32. */
TEST(encoders_as_published)
{
    mo_error err = { 0 };
    char path[128];
    gguf *meta;
    tensors *ts;

    CHECK_OK(made_type(hf, in_dir(path, "v.gguf"), GGUF_ROLE_VISION, "F16", &err));
    CHECK_OK(tensors_open_gguf(&ts, &meta, path, &err));
    CHECK_INT(tensors_find(ts, "vpm.embeddings.patch_embedding.weight")->type, MO_F16);
    CHECK_INT(tensors_find(ts, "vpm.embeddings.position_embedding.weight")->type, MO_F16);
    CHECK_INT(tensors_find(ts, "resampler.query")->type, MO_F32);
    CHECK_INT(tensors_find(ts, "resampler.pos_embed_k")->type, MO_F32);
    CHECK_INT(tensors_find(ts, "resampler.pos_embed_k")->dim[0], 4900);
    CHECK_NEAR(((const float *)tensors_find(ts, "resampler.pos_embed_k")->data)[256], sin(1), 1e-6); /* column 1 of row 0 */
    CHECK_INT(tensors_find(ts, "vpm.encoder.layers.0.mlp.fc1.weight")->dim[0], 40); /* through the names that are swapped */
    gguf_free(meta);
    tensors_close(ts);
    CHECK_OK(made_type(hf, path, GGUF_ROLE_VISION, "Q8_0", &err));
    CHECK_OK(tensors_open_gguf(&ts, &meta, path, &err));
    CHECK_INT(tensors_find(ts, "vpm.encoder.layers.0.self_attn.q_proj.weight")->type, MO_Q8_0);
    CHECK_INT(tensors_find(ts, "vpm.encoder.layers.0.mlp.fc2.weight")->type, MO_F16); /* rows of 40 */
    CHECK_INT(tensors_find(ts, "vpm.embeddings.position_embedding.weight")->type, MO_F16);
    gguf_free(meta);
    tensors_close(ts);
    unlink(path);
    CHECK_OK(made_type(hf, in_dir(path, "a.gguf"), GGUF_ROLE_AUDIO, "F16", &err));
    CHECK_OK(tensors_open_gguf(&ts, &meta, path, &err));
    CHECK_INT(tensors_find(ts, "apm.embed_positions.weight")->type, MO_F32);
    CHECK_INT(tensors_find(ts, "apm.conv1.weight")->type, MO_F16);
    CHECK_INT(tensors_find(ts, "apm.conv1.bias")->n_dim, 2);
    gguf_free(meta);
    tensors_close(ts);
    unlink(path);
}

/* ---- logits ------------------------------------------------------------------------------------------------------ */

static double worst_logit(const char *a, const char *b)
{
    float *x, *y;
    int32_t n, m;
    mo_error err = { 0 };
    double worst = 0, most = 1e-9;

    if (made_logits(a, &x, &n, &err) != MO_OK || made_logits(b, &y, &m, &err) != MO_OK || n != m) {
        printf("%s\n", err.message);
        return 9;
    }
    for (int64_t i = 0; i < (int64_t)N_ID * n; i++) {
        if (!isfinite(x[i])) worst = 9;
        worst = fmax(worst, fabs((double)x[i] - y[i]));
        most = fmax(most, fabs((double)y[i]));
    }
    free(x);
    free(y);
    return worst / most;
}

/* Families by their blocks: same bits where rows stay in place, rounding apart where heads are permuted. */
TEST(same_logits)
{
    static const struct {
        const char *config;
        bool is_exact;
    } c[] = { { made_omni, true },
              { MADE_LLM("qwen3", ", \"tie_word_embeddings\": true"), true },
              { MADE_LLM("qwen2", ", \"tie_word_embeddings\": false"), true },
              { MADE_LLM("llama", ", \"tie_word_embeddings\": false"), false },
              { MADE_LLM("minicpm", ", \"scale_emb\": 12, \"scale_depth\": 1.4, \"dim_model_base\": 128"), false } };
    mo_error err = { 0 };
    char path[128], other[64];

    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        for (int t = 0; t < 3; t++) {
            static const int32_t type[] = { MO_BF16, MO_F16, MO_F32 };
            CHECK_OK(tiny_write(other, &(tiny_opts){ .config = c[i].config, .type = type[t] }, &err));
            CHECK_OK(made_type(other, in_dir(path, "x.gguf"), GGUF_ROLE_LLM, dtype_get(type[t])->name, &err));
            double e = worst_logit(path, other);
            if (c[i].is_exact ? e != 0 : e > 1e-5)
                TEST_FAIL("model %d, %s: logits differ by %g of the largest", (int)i, dtype_get(type[t])->name, e);
            tiny_remove(other);
        }
    unlink(path);
}

/* Error of the weights, not of the answers, whose size depends on the model. */
TEST(every_type)
{
    static const struct {
        const char *type;
        double most;
    } c[] = { { "F16", 1e-3 },   { "Q8_0", 0.008 }, { "Q6_K", 0.03 },  { "Q5_1", 0.05 },  { "Q5_K_M", 0.05 }, { "Q5_K_S", 0.05 },
              { "Q5_0", 0.06 },  { "Q4_1", 0.1 },   { "Q4_K_M", 0.1 }, { "Q4_K_S", 0.1 }, { "IQ4_NL", 0.1 },  { "Q4_0", 0.12 },
              { "IQ4_XS", 0.1 }, { "Q3_K_L", 0.2 }, { "Q3_K_M", 0.2 }, { "Q3_K_S", 0.2 }, { "Q2_K", 0.4 } };
    mo_error err = { 0 };
    char path[128];
    tensors *got, *want;

    CHECK_OK(tensors_open_safetensors(&want, hf, &err));
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        gguf *meta;
        double worst = 0;
        CHECK_OK(made_type(hf, in_dir(path, "t.gguf"), GGUF_ROLE_LLM, c[i].type, &err));
        CHECK_OK(tensors_open_gguf(&got, &meta, path, &err));
        for (size_t k = 0; k < tensors_count(got); k++)
            worst = fmax(worst, error_of(got, want, tensors_at(got, k)->name, tensors_at(got, k)->name));
        if (worst > c[i].most || (worst == 0)) TEST_FAIL("%s: weights are off by %g, want at most %g", c[i].type, worst, c[i].most);
        gguf_free(meta);
        tensors_close(got);
        if (!(worst_logit(path, hf) < 9)) TEST_FAIL("%s does not run", c[i].type);
    }
    tensors_close(want);
    unlink(path);
}

TEST(from_gguf_as_from_the_folder)
{
    static const char *const types[] = { "Q4_K_M", "Q2_K", "F16" };
    mo_error err = { 0 };
    char plain[128], a[128], b[128];
    quantize_report r;
    quantize_opts o;
    pool *p;

    CHECK_OK(made_type(hf, in_dir(plain, "plain.gguf"), GGUF_ROLE_LLM, "F32", &err));
    for (int i = 0; i < 3; i++) {
        size_t n, m;
        CHECK_OK(made_type(hf, in_dir(a, "a.gguf"), GGUF_ROLE_LLM, types[i], &err));
        CHECK_OK(made_type(plain, in_dir(b, "b.gguf"), GGUF_ROLE_OTHER, types[i], &err));
        char *x = made_read(a, &n), *y = made_read(b, &m);
        CHECK(n == m && n > 100000 && !memcmp(x + n - 100000, y + m - 100000, 100000)); /* the order of keys may differ */
        free(x);
        free(y);
    }
    CHECK_OK(pool_new(&p, 1, &err));
    o = made_opts("Q4_0", p);
    CHECK_OK(made_type(hf, a, GGUF_ROLE_LLM, "Q8_0", &err));
    CHECK_OK(made_quantize(a, b, GGUF_ROLE_OTHER, &o, &r, &err));
    CHECK(r.n_quantised > 10); /* told: what was lost stays lost */
    CHECK(worst_logit(b, hf) < 1);
    pool_free(p);
    unlink(plain);
    unlink(a);
    unlink(b);
}

/* ---- how it was made --------------------------------------------------------------------------------------------- */

typedef struct stopper {
    volatile sig_atomic_t stop;
    uint64_t at;
} stopper;

static void stop_there(void *arg, uint64_t n_done)
{
    stopper *s = arg;

    if (n_done >= s->at) s->stop = 1;
}

/* Damage a byte in the middle of a file. */
static void damage(const char *path, long from_end)
{
    FILE *f = fopen(path, "r+b");
    int c;

    if (!f) abort();
    fseek(f, -from_end, SEEK_END);
    c = fgetc(f);
    fseek(f, -from_end, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
}

static size_t interrupted(const char *path, const char *type, uint64_t at, pool *p)
{
    stopper s = { 0, at };
    quantize_opts o = made_opts(type, p);
    mo_error err = { 0 };
    quantizer *q;
    size_t n;

    o.stop = &s.stop;
    o.progress = stop_there;
    o.progress_arg = &s;
    if (quantize_open_hf(&q, hf, GGUF_ROLE_LLM, &o, &err) != MO_OK) abort();
    if (quantize_write(q, path, &err) != MO_E_INTERRUPTED) TEST_FAIL("not interrupted: %s", err.message);
    n = quantize_get_report(q)->n_resumed;
    quantize_close(q);
    return n;
}

TEST(interrupted_and_threads)
{
    mo_error err = { 0 };
    char whole[128], path[128], part[160], log[176];
    quantize_report r;
    quantize_opts o;
    pool *one, *three;

    CHECK_OK(pool_new(&one, 1, &err));
    CHECK_OK(pool_new(&three, 3, &err));
    CHECK_OK(made_type(hf, in_dir(whole, "whole.gguf"), GGUF_ROLE_LLM, "Q4_K_M", &err));
    snprintf(part, sizeof part, "%s.part", in_dir(path, "cut.gguf"));
    snprintf(log, sizeof log, "%s.log", part);
    o = made_opts("Q4_K_M", three);
    CHECK_OK(made_quantize(hf, path, GGUF_ROLE_LLM, &o, NULL, &err));
    CHECK(made_same(whole, path)); /* 1 and 3 threads */
    unlink(path);

    CHECK_INT(interrupted(path, "Q4_K_M", 200000, one), 0);
    CHECK(!file_exists(path) && file_exists(part) && file_exists(log));
    CHECK(interrupted(path, "Q4_K_M", 400000, three) > 3); /* goes on, and stops again */
    CHECK_OK(made_quantize(hf, path, GGUF_ROLE_LLM, &o, &r, &err));
    CHECK(r.n_resumed > 5 && made_same(whole, path));
    CHECK(!file_exists(part) && !file_exists(log));
    unlink(path);

    interrupted(path, "Q4_K_M", 400000, one); /* a finished tensor is damaged: it and what follows is made again */
    damage(part, 300000);
    CHECK_OK(made_quantize(hf, path, GGUF_ROLE_LLM, &o, &r, &err));
    CHECK(made_same(whole, path));
    unlink(path);

    interrupted(path, "Q4_K_S", 400000, one); /* another type, and a journal that is rubbish: all anew */
    CHECK_OK(made_quantize(hf, path, GGUF_ROLE_LLM, &o, &r, &err));
    CHECK(r.n_resumed == 0 && made_same(whole, path));
    unlink(path);
    interrupted(path, "Q4_K_M", 400000, one);
    damage(log, 3);
    CHECK_OK(made_quantize(hf, path, GGUF_ROLE_LLM, &o, &r, &err));
    CHECK(made_same(whole, path));
    unlink(path);
    unlink(whole);
    pool_free(one);
    pool_free(three);
}

TEST(one_writer_at_a_time)
{
    mo_error err = { 0 };
    char path[128];
    quantize_opts o;
    quantizer *a, *b;
    pool *p;

    CHECK_OK(pool_new(&p, 1, &err));
    o = made_opts("Q8_0", p);
    in_dir(path, "both.gguf");
    CHECK_OK(quantize_open_hf(&a, hf, GGUF_ROLE_LLM, &o, &err));
    CHECK_OK(quantize_open_hf(&b, hf, GGUF_ROLE_LLM, &o, &err));
    CHECK_OK(quantize_write(a, path, &err));
    CHECK_INT(quantize_write(b, path, &err), MO_E_STATE);
    CHECK(strstr(err.message, "another process"));
    quantize_close(b);
    CHECK_OK(quantize_commit(a, &err));
    quantize_close(a);
    CHECK(file_exists(path));
    unlink(path);
    CHECK_INT(made_type(hf, "/nonexistent/x.gguf", GGUF_ROLE_LLM, "Q8_0", &err), MO_E_IO);
    pool_free(p);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

TEST(refused)
{
    mo_error err = { 0 };
    char other[64], path[128];
    quantize_opts o;
    quantizer *q;
    pool *p;

    CHECK_OK(pool_new(&p, 1, &err));
    in_dir(path, "no.gguf");
    CHECK_OK(tiny_write(other, &(tiny_opts){ .config = made_omni, .type = MO_BF16, .skip = "llm.model.layers.1.mlp.down" }, &err));
    CHECK_INT(made_type(other, path, GGUF_ROLE_LLM, "Q8_0", &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "llm.model.layers.1.mlp.down_proj.weight"));
    tiny_remove(other);
    CHECK_OK(tiny_write(other, &(tiny_opts){ .config = made_omni, .type = MO_BF16, .skip = "vpm." }, &err));
    CHECK_INT(made_type(other, path, GGUF_ROLE_VISION, "F16", &err), MO_E_ARG);
    tiny_remove(other);
    o = made_opts("Q2_K_S", p);
    CHECK_INT(quantize_open_hf(&q, hf, GGUF_ROLE_LLM, &o, &err), MO_E_ARG);
    CHECK(strstr(err.message, "importance matrix"));
    o = made_opts("Q4_0", p);
    o.output_type = MO_IQ2_XXS;
    CHECK_INT(quantize_open_hf(&q, hf, GGUF_ROLE_LLM, &o, &err), MO_E_UNSUPPORTED);
    CHECK_INT(made_type("/nonexistent", path, GGUF_ROLE_LLM, "Q8_0", &err), MO_E_IO);
    CHECK_INT(made_type(hf, path, GGUF_ROLE_OTHER, "Q8_0", &err), MO_E_IO);
    CHECK(!file_exists(path));
    pool_free(p);
}

/* A file of one tensor's numbers: not numbers, and too large for 16 bits. */
TEST(values_that_do_not_fit)
{
    static const float bad[] = { NAN, INFINITY, 70000.0f };
    mo_error err = { 0 };
    char path[128], out[128];

    in_dir(path, "bad.gguf");
    in_dir(out, "out.gguf");
    for (int i = 0; i < 3; i++) {
        float row[64] = { 1, 2, 3 };
        gguf_text token = { "a", 1 };
        gguf_writer *w;
        row[40] = bad[i];
        CHECK_OK(gguf_write_begin(&w, path, &err));
        gguf_put_text(w, "general.architecture", "qwen3", 5);
        gguf_put_text(w, "tokenizer.ggml.model", "gpt2", 4);
        gguf_put_texts(w, "tokenizer.ggml.tokens", &token, 1);
        gguf_declare(w, "blk.0.attn_q.weight", MO_F32, 2, (int64_t[]){ 2, 32 });
        CHECK_OK(gguf_write_data(w, row, sizeof row, &err));
        CHECK_OK(gguf_write_end(w, &err));
        CHECK_INT(made_type(path, out, GGUF_ROLE_OTHER, "Q8_0", &err), MO_E_FORMAT);
        CHECK(strstr(err.message, "blk.0.attn_q.weight") && strstr(err.message, "row 1"));
        if (i == 2) CHECK_OK(made_type(path, out, GGUF_ROLE_OTHER, "BF16", &err));
    }
    snprintf(path, sizeof path, "rm -f '%s'/*", dir);
    if (system(path)) abort();
}

TEST(lost_allocations)
{
    mo_error err = { 0 };
    mo_status st = MO_E_NOMEM;
    char path[128];

    in_dir(path, "lost.gguf");
    for (int i = 0; st != MO_OK && i < 20000; i += i < 120 ? 1 : 41) {
        mo_alloc_fail_after(i);
        st = made_type(hf, path, GGUF_ROLE_LLM, "Q8_0", &err);
        mo_alloc_fail_after(-1);
        if (st != MO_OK && st != MO_E_NOMEM) TEST_FAIL("allocation %d lost: %d %s", i, (int)st, err.message);
    }
    CHECK(st == MO_OK);
    unlink(path);
}

int main(void)
{
    mo_error err = { 0 };
    char command[160];

    if (tiny_write(hf, &(tiny_opts){ .config = made_omni, .type = MO_BF16 }, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 2;
    }
    snprintf(dir, sizeof dir, "%s-out", hf);
    if (mkdir(dir, 0700)) return 2;
    RUN(unquantised_files_keep_all_numbers);
    RUN(encoders_as_published);
    RUN(same_logits);
    RUN(every_type);
    RUN(from_gguf_as_from_the_folder);
    RUN(interrupted_and_threads);
    RUN(one_writer_at_a_time);
    RUN(refused);
    RUN(values_that_do_not_fit);
    RUN(lost_allocations);
    snprintf(command, sizeof command, "rm -r '%s' '%s'", hf, dir);
    return system(command) ? 2 : test_end();
}
