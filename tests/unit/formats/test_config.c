/* config.json: members and their defaults, every refusal, and all golden configurations. */
#include "models/config.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "test.h"

static mo_status parse(model_config *c, const char *json, mo_error *err)
{
    memset(err, 0, sizeof *err);
    return model_config_parse(c, json, strlen(json), "config.json", err);
}

#define SIZES     "\"hidden_size\":256,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"intermediate_size\":512,\"vocab_size\":1000"
#define TEXT_ONLY ",\"init_vision\":false,\"init_audio\":false,\"init_tts\":false"
#define O45       "\"model_type\":\"minicpmo\",\"version\":\"4.5\""

TEST(defaults_o45)
{
    model_config c;
    mo_error err;

    CHECK_OK(parse(&c, "{" O45 "," SIZES "}", &err));
    CHECK_INT(c.member, MEMBER_O45);
    CHECK_STR(model_member_name(c.member), "MiniCPM-o 4.5");
    CHECK_INT(c.llm.n_kv_head, 4);
    CHECK_INT(c.llm.head_dim, 128);
    CHECK_INT(c.llm.n_ctx_train, 40960);
    CHECK_NEAR(c.llm.rope_theta, 1e6, 0);
    CHECK(c.llm.has_qk_norm && !c.llm.has_qkv_bias && !c.llm.is_tied && !strcmp(c.llm.prefix, "llm."));
    CHECK(c.has_vision && c.has_audio && c.has_tts && c.stream_input);
    CHECK_INT(c.vision.n_layer, 27);
    CHECK_INT(c.vision.image_size / c.vision.patch_size, 70);
    CHECK_INT(c.resampler.n_query, 64);
    CHECK_INT(c.resampler.n_head, 2);
    CHECK_INT(c.resampler.kv_dim, 1152);
    CHECK_INT(c.slice.max_slice_nums, 9);
    CHECK(c.slice.slice_mode && c.slice.use_image_id);
    CHECK_INT(c.audio.pool_step, 5);
    CHECK_INT(c.audio.n_pos, 1500);
    CHECK_INT(c.tts.n_code, 6562);
    CHECK_INT(c.tts.head_dim, 64);
    CHECK_INT(c.tts.llm_dim, 256);
    CHECK(c.tts.normalize_hidden);
    model_config_free(&c);
}

TEST(members)
{
    static const struct {
        const char *json;
        model_member member;
        const char *prefix;
        bool qk_norm, bias, tied;
    } cases[] = {
        { "{" O45 "," SIZES TEXT_ONLY "}", MEMBER_O45, "llm.", true, false, false },
        { "{\"model_type\":\"minicpmo\",\"version\":2.6," SIZES TEXT_ONLY "}", MEMBER_O26, "llm.", false, true, false },
        { "{\"model_type\":\"minicpmv\",\"version\":\"4.5\"," SIZES TEXT_ONLY "}", MEMBER_V45, "llm.", true, false, false },
        { "{\"model_type\":\"minicpmv\",\"version\":4.0," SIZES TEXT_ONLY "}", MEMBER_V40, "llm.", false, false, false },
        { "{\"model_type\":\"minicpmv\",\"version\":4," SIZES TEXT_ONLY "}", MEMBER_V40, "llm.", false, false, false },
        { "{\"model_type\":\"minicpmv\",\"version\":\"2.6\"," SIZES TEXT_ONLY "}", MEMBER_V26, "llm.", false, true, false },
        { "{\"model_type\":\"minicpmv\"," SIZES TEXT_ONLY "}", MEMBER_V25, "llm.", false, false, false },
        { "{\"model_type\":\"minicpmv\",\"slice_mode\":true,\"synth\":{\"backbone\":\"minicpm\"}," SIZES TEXT_ONLY "}", MEMBER_V20, "llm.",
          false, false, true },
        { "{\"model_type\":\"minicpmv\",\"hidden_size\":2304,\"query_num\":64,\"num_hidden_layers\":40,\"num_attention_heads\":36,"
          "\"intermediate_size\":5760,"
          "\"vocab_size\":122753" TEXT_ONLY "}",
          MEMBER_V10, "llm.", false, false, true },
        { "{\"model_type\":\"omnilmm\"," SIZES "}", MEMBER_OMNILMM, "", false, false, false },
        { "{\"model_type\":\"qwen3\"," SIZES "}", MEMBER_TEXT, "", true, false, false },
        { "{\"model_type\":\"qwen2\",\"tie_word_embeddings\":true," SIZES "}", MEMBER_TEXT, "", false, true, true },
        { "{\"model_type\":\"llama\"," SIZES "}", MEMBER_TEXT, "", false, false, false },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config c;
        mo_error err;
        mo_status st = parse(&c, cases[i].json, &err);
        if (st != MO_OK || c.member != cases[i].member || strcmp(c.llm.prefix, cases[i].prefix) || c.llm.has_qk_norm != cases[i].qk_norm ||
            c.llm.has_qkv_bias != cases[i].bias || c.llm.is_tied != cases[i].tied || c.has_vision || c.has_audio || c.has_tts)
            TEST_FAIL("%s: %s, member %d", cases[i].json, err.message, (int)c.member);
        model_config_free(&c);
    }
}

/* Refused with MO_E_FORMAT unless it says otherwise, and the sentence names the key. */
TEST(refusals)
{
    static const struct {
        const char *json, *says;
        mo_status st;
    } cases[] = {
        { "", "JSON", MO_E_FORMAT },
        { "[1]", "no JSON object", MO_E_FORMAT },
        { "{\"a\":NaN}", "JSON", MO_E_FORMAT },
        { "{\"rms_norm_eps\":1e999}", "JSON", MO_E_FORMAT },
        { "{}", "this build knows", MO_E_UNSUPPORTED },
        { "{\"model_type\":\"minicpmv4_6\"," SIZES "}", "this build knows", MO_E_UNSUPPORTED },
        { "{\"model_type\":\"minicpmo\"," SIZES "}", "this build knows", MO_E_UNSUPPORTED },
        { "{\"model_type\":\"minicpmo\",\"version\":\"9.9\"," SIZES "}", "version 9.9", MO_E_UNSUPPORTED },
        { "{\"model_type\":\"minicpmo\",\"version\":[4]," SIZES "}", "version", MO_E_FORMAT },
        { "{\"model_type\":7}", "model_type", MO_E_FORMAT },
        { "{" O45 "}", "no hidden_size", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":256}", "no num_hidden_layers", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":0}", "hidden_size is 0", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":-256}", "hidden_size is -256", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":256.5}", "hidden_size", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":\"256\"}", "hidden_size is \"256\"", MO_E_FORMAT },
        { "{" O45 ",\"hidden_size\":99999999}", "hidden_size", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"num_key_value_heads\":3}", "num_key_value_heads", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"num_key_value_heads\":0}", "num_key_value_heads", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"head_dim\":65}", "head_dim must be even", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"head_dim\":514}", "head_dim is above 512", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"rms_norm_eps\":0}", "rms_norm_eps", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"rope_theta\":-1}", "rope_theta", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"hidden_act\":\"gelu\"}", "this build knows 'silu'", MO_E_UNSUPPORTED },
        { "{" O45 "," SIZES ",\"attention_bias\":true}", "attention_bias", MO_E_UNSUPPORTED },
        { "{" O45 "," SIZES ",\"use_sliding_window\":true}", "use_sliding_window", MO_E_UNSUPPORTED },
        { "{" O45 "," SIZES ",\"tie_word_embeddings\":1}", "tie_word_embeddings", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"rope_scaling\":{\"type\":\"yarn\"}}", "yarn", MO_E_UNSUPPORTED },
        { "{" O45 "," SIZES ",\"rope_scaling\":7}", "rope_scaling", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"rope_scaling\":{\"type\":\"longrope\"}}", "short_factor", MO_E_FORMAT },
        { "{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":8,\"vocab_"
          "size\":8,"
          "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,0],\"long_factor\":[1,0]}}",
          "factors", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"vision_config\":[]}", "vision_config", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"vision_config\":{\"hidden_size\":100,\"num_attention_heads\":3}}", "vision_config", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"vision_config\":{\"hidden_size\":1152,\"num_attention_heads\":2}}",
          "vision_config: hidden_size / num_attention_heads", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"audio_config\":{\"d_model\":1024,\"encoder_attention_heads\":1}}", "audio_config: d_model / encoder",
          MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"tts_config\":{\"hidden_size\":768,\"num_attention_heads\":1,\"num_key_value_heads\":1}}",
          "tts_config: hidden_size / num", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"slice_config\":{\"patch_size\":16}}", "patch_size", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"slice_config\":{\"max_slice_nums\":0}}", "slice_config.max_slice_nums", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"audio_config\":{\"d_model\":128}}", "audio_config", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"audio_pool_step\":0}", "audio_pool_step", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"tts_config\":{\"llm_dim\":128}}", "tts_config.llm_dim", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"tts_config\":{\"audio_bos_token_id\":999999}}", "audio_bos_token_id", MO_E_FORMAT },
        { "{" O45 "," SIZES ",\"synth\":{\"backbone\":\"rwkv\"}}", "rwkv", MO_E_UNSUPPORTED },
        { "{" O45 ",\"hidden_size\":200,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"intermediate_size\":512,\"vocab_size\":1000}",
          "multiple of 128", MO_E_FORMAT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config c;
        mo_error err;
        mo_status st = parse(&c, cases[i].json, &err);
        if (st != cases[i].st || !strstr(err.message, cases[i].says) || c.member)
            TEST_FAIL("%s: %s \"%s\", want %s and \"%s\"", cases[i].json, mo_status_name(st), err.message, mo_status_name(cases[i].st),
                      cases[i].says);
        model_config_free(&c);
    }
}

TEST(minicpm_scales)
{
    model_config c;
    mo_error err;

    CHECK_OK(parse(
        &c,
        "{\"model_type\":\"minicpmv\",\"hidden_size\":2304,\"num_hidden_layers\":40,\"num_attention_heads\":36,\"intermediate_size\":5760,"
        "\"vocab_size\":122753,\"slice_mode\":true,\"query_num\":64}",
        &err));
    CHECK_INT(c.member, MEMBER_V20);
    CHECK_INT(c.llm.head_dim, 64);
    CHECK_NEAR(c.llm.embd_scale, 12, 0);
    CHECK_NEAR(c.llm.residual_scale, 0.22135943621178655, 1e-7);
    CHECK_NEAR(c.llm.logit_divisor, 9, 0);
    CHECK_INT(c.vision.n_layer, 26);
    model_config_free(&c);
}

#define LONGROPE(longs)                                                                                                                    \
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":8,\"vocab_"       \
    "size\":8,"                                                                                                                            \
    "\"max_position_embeddings\":4096,\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"original_max_position_embeddings\":"     \
    "1024,"                                                                                                                                \
    "\"short_factor\":[1.5,2],\"long_factor\":" longs "}}"

/* Lists that differ end the context where the short one stops being right; factor > 1 scales cos and sin. */
TEST(longrope)
{
    model_config c;
    mo_error err;

    CHECK_OK(parse(&c, LONGROPE("[1.5,2]"), &err));
    CHECK(c.llm.rope_factor && c.llm.rope_factor[0] == 1.5f && c.llm.rope_factor[1] == 2);
    CHECK_INT(c.llm.n_ctx_train, 4096);
    CHECK_NEAR(c.llm.rope_attn_factor, sqrt(1 + log(4) / log(1024)), 1e-6);
    model_config_free(&c);
    CHECK_OK(parse(&c, LONGROPE("[3,4]"), &err));
    CHECK(c.llm.rope_factor[1] == 2);
    CHECK_INT(c.llm.n_ctx_train, 1024);
    model_config_free(&c);
    for (int n = 0;; n++) {
        mo_status st;
        mo_alloc_fail_after(n);
        st = parse(&c, LONGROPE("[1.5,2]"), &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(n < 10);
    }
    model_config_free(&c);
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!(f = fopen(path, "w")) || fputs(text, f) < 0 || fclose(f)) exit(2);
}

TEST(processor_goes_first)
{
    char dir[] = "/tmp/mo-config-XXXXXX", path[160];
    model_config c;
    mo_error err = { 0 };

    CHECK(mkdtemp(dir));
    CHECK_INT(model_config_load(&c, dir, &err), MO_E_IO);
    put(dir, "config.json", "{" O45 "," SIZES ",\"slice_config\":{\"max_slice_nums\":1}}");
    CHECK_OK(model_config_load(&c, dir, &err));
    CHECK_INT(c.slice.max_slice_nums, 1);
    put(dir, "preprocessor_config.json", "{\"max_slice_nums\":4,\"use_image_id\":false}");
    CHECK_OK(model_config_load(&c, dir, &err));
    CHECK_INT(c.slice.max_slice_nums, 4);
    CHECK(!c.slice.use_image_id && c.slice.slice_mode);
    put(dir, "preprocessor_config.json", "{\"patch_size\":16}");
    CHECK_INT(model_config_load(&c, dir, &err), MO_E_FORMAT);
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/preprocessor_config.json", dir);
    unlink(path);
    rmdir(dir);
}

TEST(golden_configs)
{
    static const char *const name[] = { "full-vocode",   "o45",          "tiny-converse", "tiny-llama3", "tiny-minicpm",
                                        "tiny-minicpm4", "tiny-mistral", "tiny-q96",      "tiny-qwen2",  "tiny-vocode-causal",
                                        "tiny-vocode",   "tiny-voice",   "tiny" };
    const char *shared = getenv("MO_SHARED");
    char path[512];

    if (!shared) shared = "../shared";
    snprintf(path, sizeof path, "%s/golden", shared);
    if (!file_is_dir(path)) SKIP("../shared/golden is not there");
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        model_config c;
        mo_error err = { 0 };
        char *json;
        size_t n;

        snprintf(path, sizeof path, "%s/golden/%s.json", shared, name[i]);
        CHECK_OK(file_read(&json, &n, path, 1 << 20, &err));
        CHECK_OK(model_config_parse(&c, json, n, path, &err));
        if (!strcmp(name[i], "tiny-minicpm4"))
            CHECK(c.member == MEMBER_V40 && c.llm.rope_factor && c.llm.head_dim == 128 && c.llm.n_ctx_train == 32768);
        if (!strcmp(name[i], "tiny-minicpm")) CHECK(c.member == MEMBER_V20 && fabs(c.llm.logit_divisor - 256.0 / 96) < 1e-6);
        if (!strcmp(name[i], "tiny-llama3")) CHECK(c.member == MEMBER_V25 && c.llm.n_kv_head == 1 && c.llm.rope_theta == 5e5);
        if (!strcmp(name[i], "tiny-mistral")) CHECK(c.member == MEMBER_OMNILMM && c.llm.n_ctx_train == 4096);
        if (!strcmp(name[i], "tiny-q96")) CHECK(c.resampler.n_query == 96 && c.has_vision && !c.has_audio);
        mo_free(json);
        model_config_free(&c);
    }
}

int main(void)
{
    RUN(defaults_o45);
    RUN(members);
    RUN(refusals);
    RUN(minicpm_scales);
    RUN(longrope);
    RUN(processor_goes_first);
    RUN(golden_configs);
    return test_end();
}
