/* Rule-made checkpoints: the rule's values, the official lists of tensors, and files that our own reader takes. */
#include "cli/synth_write.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli/synth_rule.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/synth.h"
#include "formats/tensors.h"
#include "test.h"

/* Check values of ../shared/synth/synth.py: the first four values and the sum of all, seed 1. */
TEST(rule)
{
    static const struct {
        const char *name;
        int n_dim;
        int64_t dim[2];
        float first[4];
        double sum;
    } cases[] = {
        { "llm.model.layers.0.self_attn.q_proj.weight",
          2,
          { 128, 64 },
          { 0.064453125f, 0.1796875f, 0.0786132812f, -0.166015625f },
          -23.028054 },
        { "vpm.post_layernorm.weight", 1, { 64, 0 }, { 0.90625f, 1.046875f, 1.046875f, 1.09375f }, 64.890625 },
        { "apm.conv1.bias", 1, { 32, 0 }, { -0.0126342773f, -0.0015335083f, -0.0189208984f, -0.0111083984f }, -0.0645179749 },
        { "tts.emb_code.0.weight", 2, { 32, 16 }, { -0.478515625f, 0.22265625f, -0.0173339844f, -0.451171875f }, 4.54943848 },
        { "resampler.query", 2, { 64, 32 }, { 0.357421875f, 0.249023438f, -0.0480957031f, -0.102539062f }, 23.4029312 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = (size_t)(cases[i].dim[0] * (cases[i].n_dim > 1 ? cases[i].dim[1] : 1));
        uint16_t *v = malloc(n * 2);
        float base, amp;
        double sum = 0;

        CHECK(v);
        synth_base_amp(&base, &amp, cases[i].name, cases[i].n_dim, cases[i].dim);
        synth_fill(v, synth_key(cases[i].name, 1), base, amp, 0, 1); /* in two pieces: the start index counts */
        synth_fill(v + 1, synth_key(cases[i].name, 1), base, amp, 1, n - 1);
        for (size_t j = 0; j < n; j++) sum += bf16_to_f32(v[j]);
        for (int j = 0; j < 4; j++) CHECK_NEAR(bf16_to_f32(v[j]), cases[i].first[j], 1e-9);
        CHECK_NEAR(sum, cases[i].sum, 1e-7);
        free(v);
    }
}

TEST(base_and_amp)
{
    static const struct {
        const char *name;
        int n_dim;
        int64_t dim[4];
        float base, amp;
    } cases[] = {
        { "x.running_mean", 1, { 8 }, 0, 0.02f },
        { "x.running_var", 1, { 8 }, 1, 0.1f },
        { "x.alpha", 1, { 8 }, 1, 0.1f },
        { "x.parametrizations.weight.original0", 2, { 8, 1 }, 1, 0.1f },
        { "x.parametrizations.weight.original1", 2, { 8, 3 }, 0, 1.0f },
        { "resampler.attn.in_proj_bias", 1, { 8 }, 0, 0.02f },
        { "resampler.attn.in_proj_weight", 2, { 8, 12 }, 0, 0.5f },
        { "x.norm.weight", 1, { 8 }, 1, 0.1f },
        { "x.something", 1, { 8 }, 0, 0.02f },
        { "apm.embed_positions.weight", 2, { 8, 12 }, 0, 0.5f },
        { "vpm.embeddings.patch_embedding.weight", 4, { 8, 3, 2, 2 }, 0, 0.5f },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float base, amp;
        synth_base_amp(&base, &amp, cases[i].name, cases[i].n_dim, cases[i].dim);
        if (base != cases[i].base || amp != cases[i].amp) TEST_FAIL("%s: base %g, amp %g", cases[i].name, base, amp);
    }
}

static const char *shared_dir(void) { return getenv("MO_SHARED") ? getenv("MO_SHARED") : "../shared"; }

/* "NAME 12x34\n" lines of the golden list against ours, in order. */
static void compare_list(const char *config, const char *list)
{
    char path[512], line[256];
    mo_error err = { 0 };
    model_config c;
    synth_list l;
    char *json, *want;
    size_t n, m, at = 0;

    snprintf(path, sizeof path, "%s/golden/%s", shared_dir(), config);
    CHECK_OK(file_read(&json, &n, path, 1 << 20, &err));
    CHECK_OK(model_config_parse(&c, json, n, path, &err));
    snprintf(path, sizeof path, "%s/golden/tensors/%s", shared_dir(), list);
    CHECK_OK(file_read(&want, &m, path, 1 << 24, &err));
    CHECK_OK(synth_list_make(&l, &c, &err));
    for (size_t i = 0; i < l.n; i++) {
        const synth_tensor *t = &l.list[i];
        int k = snprintf(line, sizeof line, "%s ", t->name);
        for (int d = 0; d < t->n_dim; d++) k += snprintf(line + k, sizeof line - (size_t)k, "%s%lld", d ? "x" : "", (long long)t->dim[d]);
        line[k++] = '\n';
        if (at + (size_t)k > m || memcmp(want + at, line, (size_t)k)) {
            TEST_FAIL("%s line %zu is %.60s, ours is %.*s", list, i + 1, want + at, k - 1, line);
            break;
        }
        at += (size_t)k;
    }
    if (!test_this_failed) CHECK_INT(at, m);
    synth_list_free(&l);
    model_config_free(&c);
    mo_free(json);
    mo_free(want);
}

TEST(official_lists)
{
    char path[512];

    snprintf(path, sizeof path, "%s/golden/tensors", shared_dir());
    if (!file_is_dir(path)) SKIP("../shared/golden/tensors is not there");
    compare_list("tiny.json", "tiny.txt");
    compare_list("o45.json", "o45.txt");
}

static const char small[] = "{\"model_type\":\"qwen2\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_"
                            "size\":96,\"vocab_size\":300}";

static void remove_files(const char *dir)
{
    char path[300];

    for (int n = 0; n <= 64; n++) {
        for (int i = 1; i <= n; i++) {
            snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", dir, i, n);
            unlink(path);
        }
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    unlink(path);
}

/* Every tensor of what is in dir is the rule's, one row of the head four times as large. */
static void check_values(const char *dir, const synth_list *l, int32_t type)
{
    mo_error err = { 0 };
    tensors *ts;

    CHECK_OK(tensors_open_safetensors(&ts, dir, &err));
    CHECK_INT(tensors_count(ts), l->n);
    for (size_t i = 0; i < l->n; i++) {
        const synth_tensor *s = &l->list[i];
        const tensor *t = tensors_find(ts, s->name);
        float *got = malloc(s->n * 4), base, amp;
        uint16_t *want = malloc(s->n * 2);

        CHECK(t && got && want);
        CHECK(t->type == type && t->n_dim == s->n_dim && t->dim[0] == s->dim[0]);
        dtype_to_f32(got, t->data, type, (int64_t)s->n);
        synth_base_amp(&base, &amp, s->name, s->n_dim, s->dim);
        synth_fill(want, synth_key(s->name, 5), base, amp, 0, s->n);
        for (size_t j = 0; j < s->n; j++) {
            float w = bf16_to_f32(want[j]);
            if (!strcmp(s->name, "lm_head.weight") && j / 64 == 7) w *= 4;
            if (got[j] != w && !(type == MO_F16 && fabsf(got[j] - w) <= 0x1p-24f)) {
                TEST_FAIL("%s[%zu] is %g, want %g", s->name, j, got[j], w);
                break;
            }
        }
        free(got);
        free(want);
    }
    tensors_close(ts);
}

TEST(files)
{
    static const volatile sig_atomic_t stop = 0;
    static const int32_t types[] = { MO_BF16, MO_F16, MO_F32 };
    char dir[] = "/tmp/mo-synth-XXXXXX";
    mo_error err = { 0 };
    model_config c;
    synth_list l;
    pool *p;
    json_t *boost = json_pack("{s:{s:i}}", "lm_head.weight", "7", 4);

    CHECK(mkdtemp(dir) && boost);
    CHECK_OK(model_config_parse(&c, small, strlen(small), "small", &err));
    CHECK_OK(synth_list_make(&l, &c, &err));
    CHECK_OK(pool_new(&p, 2, &err));
    for (int i = 0; i < 3; i++) {
        for (int shards = 0; shards < 2; shards++) {
            synth_opts o = { .seed = 5, .type = types[i], .shard_max_bytes = shards ? 60000 : 0, .boost = boost, .stop = &stop };
            CHECK_OK(synth_write(dir, &l, &o, p, &err));
            check_values(dir, &l, types[i]);
            remove_files(dir);
        }
    }
    CHECK_INT(rmdir(dir), 0);
    pool_free(p);
    synth_list_free(&l);
    model_config_free(&c);
    json_decref(boost);
}

/* Never more shards than asked for, and no smaller limit would do. */
TEST(shard_limit)
{
    mo_error err = { 0 };
    model_config c;
    synth_list l;
    uint64_t total, before = 0;

    CHECK_OK(model_config_parse(&c, small, strlen(small), "small", &err));
    CHECK_OK(synth_list_make(&l, &c, &err));
    total = synth_total_bytes(&l, MO_BF16);
    CHECK_INT(synth_shard_limit(&l, MO_BF16, 1), total);
    for (uint64_t n = 2; n < 40; n++) {
        uint64_t limit = synth_shard_limit(&l, MO_BF16, n);
        CHECK(limit >= total / n && limit <= total);
        if (before) CHECK(limit <= before);
        before = limit;
    }
    synth_list_free(&l);
    model_config_free(&c);
}

TEST(refusals)
{
    static const volatile sig_atomic_t stop = 0, stopped = 1;
    static const char *const bad[] = { "{\"lm_head.weight\":{\"300\":4}}", "{\"lm_head.weight\":{\"x\":4}}",
                                       "{\"lm_head.weight\":{\"1\":3}}", "{\"lm_head.weight\":{\"1\":\"2\"}}" };
    char dir[] = "/tmp/mo-synth-XXXXXX";
    mo_error err = { 0 };
    model_config c;
    synth_list l;
    pool *p;
    synth_opts o = { .seed = 5, .type = MO_BF16, .stop = &stop };

    CHECK(mkdtemp(dir));
    CHECK_OK(model_config_parse(&c, small, strlen(small), "small", &err));
    CHECK_OK(synth_list_make(&l, &c, &err));
    CHECK_OK(pool_new(&p, 1, &err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *b = json_loads(bad[i], 0, NULL);
        o.boost = b;
        CHECK_INT(synth_write(dir, &l, &o, p, &err), MO_E_FORMAT);
        CHECK(strstr(err.message, "boost"));
        json_decref(b);
    }
    o.boost = NULL;
    CHECK_INT(synth_write("/nonexistent-folder", &l, &o, p, &err), MO_E_IO);
    for (int n = 0;; n++) {
        mo_status st;
        remove_files(dir);
        mo_alloc_fail_after(n);
        st = synth_write(dir, &l, &o, p, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(n < 1000);
    }
    remove_files(dir);
    o.stop = &stopped;
    CHECK_INT(synth_write(dir, &l, &o, p, &err), MO_E_INTERRUPTED);
    remove_files(dir);
    rmdir(dir);
    pool_free(p);
    synth_list_free(&l);
    model_config_free(&c);
}

int main(void)
{
    RUN(rule);
    RUN(base_and_amp);
    RUN(official_lists);
    RUN(files);
    RUN(shard_limit);
    RUN(refusals);
    return test_end();
}
