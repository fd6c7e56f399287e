/* A model in GGUF files is the model in its Hugging Face folder: the same conversation, picture and sound included, is
 * answered alike, however the files are named or found.
 */
#include <sys/stat.h>

#include "made_gguf.h"

/* Slices as GGUF files imply them: 448, nine. */
static const char config[] =
    "{\"model_type\": \"minicpmo\", \"version\": \"4.5\", \"vocab_size\": 288, \"hidden_size\": 128, \"intermediate_size\": 96,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 32, \"rms_norm_eps\": 1e-6,"
    " \"rope_theta\": 10000, \"max_position_embeddings\": 2048, \"tie_word_embeddings\": false, \"query_num\": 5,"
    " \"init_vision\": true, \"init_audio\": true, \"init_tts\": false,"
    " \"vision_config\": {\"hidden_size\": 32, \"image_size\": 980, \"intermediate_size\": 64, \"num_attention_heads\": 2, "
    "\"num_hidden_layers\": 2, \"patch_size\": 14},"
    " \"audio_pool_step\": 5, \"audio_chunk_length\": 1.0,"
    " \"audio_config\": {\"d_model\": 16, \"encoder_attention_heads\": 2, \"encoder_ffn_dim\": 64, \"encoder_layers\": 2, "
    "\"num_mel_bins\": 80, \"max_source_positions\": 1500}}";

static char hf[64], dir[80], llm[128], vision[128], audio[128];

/* One turn with a picture and a sound; text and counts into r. */
static mo_status converse(const char *path, const mo_model_opts *mo, bool media, reply *r, mo_error *err)
{
    mo_session_opts o = mo_session_opts_default();
    mo_session *s = NULL;
    mo_model *m;
    mo_status st = mo_model_open(&m, path, mo, err);

    memset(r, 0, sizeof *r);
    if (st != MO_OK) return st;
    o.greedy = 1;
    o.n_ctx = 512;
    o.max_tokens = 24;
    o.min_tokens = 24;
    if ((st = mo_session_new(&s, m, &o, err)) == MO_OK && (st = say(s, "user", "Hello there. ", err)) == MO_OK) {
        if (media && (st = push_picture(s, 100, 60, 1, err)) == MO_OK) st = push_sound(s, 1.3, 2, err);
        if (st == MO_OK) st = talk(s, r, err);
    }
    mo_session_free(s);
    mo_model_close(m);
    return st;
}

static mo_model_opts one_thread(void)
{
    mo_model_opts o = mo_model_opts_default();

    o.n_thread = 1;
    return o;
}

TEST(same_answer_as_the_folder)
{
    mo_model_opts o = one_thread();
    mo_error err = { 0 };
    reply want, file, folder, named;

    CHECK_OK(converse(hf, &o, true, &want, &err));
    CHECK(want.has_end && want.text.len > 8);
    CHECK_OK(converse(llm, &o, true, &file, &err));
    CHECK_STR(reply_text(&file), reply_text(&want));
    CHECK_INT(file.end.n_prompt, want.end.n_prompt);
    CHECK_OK(converse(dir, &o, true, &folder, &err));
    CHECK_STR(reply_text(&folder), reply_text(&want));
    o.vision_path = vision;
    o.audio_path = audio;
    CHECK_OK(converse(llm, &o, true, &named, &err));
    CHECK_STR(reply_text(&named), reply_text(&want));
    reply_free(&want);
    reply_free(&file);
    reply_free(&folder);
    reply_free(&named);
}

TEST(left_out_or_wrong)
{
    mo_model_opts o = one_thread();
    mo_error err = { 0 };
    mo_model *m;
    reply r;

    o.vision = MO_OFF;
    CHECK_OK(mo_model_open(&m, llm, &o, &err));
    CHECK(!mo_model_has_vision(m) && mo_model_has_audio(m));
    CHECK_STR(mo_model_name(m), "MiniCPM-o 4.5"); /* by its vocabulary */
    mo_model_close(m);
    CHECK_INT(converse(llm, &o, true, &r, &err), MO_E_UNSUPPORTED);
    o = one_thread();
    o.vision_path = audio;
    CHECK_INT(mo_model_open(&m, llm, &o, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "no vision encoder"));
    o.vision_path = "/nonexistent.gguf";
    CHECK_INT(mo_model_open(&m, llm, &o, &err), MO_E_IO);
    o = one_thread();
    CHECK_INT(mo_model_open(&m, vision, &o, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "no language model"));
    o.vision_path = vision;
    CHECK_INT(mo_model_open(&m, hf, &o, &err), MO_E_ARG);
    CHECK_INT(mo_model_open(&m, "/nonexistent/model", NULL, &err), MO_E_IO);
}

TEST(quantised)
{
    static const int32_t types[] = { MO_Q8_0, MO_Q4_0, MO_Q4_K, MO_IQ4_XS }; /* the last two: rows of 128 keep their type */
    mo_model_opts o = one_thread();
    mo_error err = { 0 };
    char path[128];
    reply r;

    snprintf(path, sizeof path, "%s/other", dir);
    CHECK(!mkdir(path, 0700));
    snprintf(path, sizeof path, "%s/other/q.gguf", dir);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        CHECK_OK(made_write(path, hf, 0, types[i], &err));
        CHECK_OK(converse(path, &o, false, &r, &err));
        CHECK(r.has_end && r.end.n_generated == 24);
        reply_free(&r);
    }
}

TEST(two_models_in_a_folder)
{
    mo_error err = { 0 };
    char second[128];
    mo_model *m;

    snprintf(second, sizeof second, "%s/second.gguf", dir);
    CHECK_OK(made_write(second, hf, 0, 0, &err));
    CHECK_INT(mo_model_open(&m, dir, NULL, &err), MO_E_ARG);
    CHECK(strstr(err.message, "name the file"));
    unlink(second);
}

TEST(lost_allocations)
{
    mo_model_opts o = one_thread();
    mo_error err = { 0 };
    mo_status st = MO_E_NOMEM;
    mo_model *m = NULL;

    for (int i = 0; st != MO_OK && i < 20000; i += i < 150 ? 1 : 37) {
        mo_alloc_fail_after(i);
        st = mo_model_open(&m, dir, &o, &err);
        mo_alloc_fail_after(-1);
        if (st != MO_OK && st != MO_E_NOMEM) TEST_FAIL("allocation %d lost: %d %s", i, (int)st, err.message);
        if (st == MO_OK) mo_model_close(m);
    }
    CHECK(st == MO_OK);
}

int main(void)
{
    mo_error err = { 0 };
    char command[160], sub[100];

    if (tiny_write(hf, &(tiny_opts){ .config = config, .type = MO_BF16 }, &err) != MO_OK) goto fail;
    snprintf(dir, sizeof dir, "%s-gguf", hf);
    snprintf(llm, sizeof llm, "%s/model-F16.gguf", dir);
    snprintf(sub, sizeof sub, "%s/vision", dir);
    if (mkdir(dir, 0700) || mkdir(sub, 0700)) return 2;
    snprintf(vision, sizeof vision, "%s/vision/model-vision-F16.gguf", dir);
    snprintf(audio, sizeof audio, "%s/model-audio-F16.gguf", dir);
    if (made_write(llm, hf, 0, 0, &err) != MO_OK || made_write(vision, hf, 1, 0, &err) != MO_OK ||
        made_write(audio, hf, 2, 0, &err) != MO_OK)
        goto fail;
    RUN(same_answer_as_the_folder);
    RUN(left_out_or_wrong);
    RUN(two_models_in_a_folder);
    RUN(lost_allocations);
    RUN(quantised);
    snprintf(command, sizeof command, "rm -r '%s' '%s'", hf, dir);
    return system(command) ? 2 : test_end();
fail:
    printf("%s\n", err.message);
    return 2;
}
