/* Checkpoints with parts missing or not fitting together: what can work works and the log says what is not there; the rest
 * is refused with a sentence that names it. */
#include "talk.h"

typedef struct log_lines {
    char text[1000];
    int n_progress;
    double last;
} log_lines;

static void on_log(void *user, const char *message)
{
    log_lines *l = user;
    size_t n = strlen(l->text);

    snprintf(l->text + n, sizeof l->text - n, "%s\n", message);
}

static void on_progress(void *user, const char *what, double fraction)
{
    log_lines *l = user;

    if (what && fraction >= l->last && fraction <= 1) l->n_progress++;
    l->last = fraction;
}

static mo_status open_with(mo_model **m, const tiny_opts *t, mo_switch vision, mo_switch audio, log_lines *l, mo_error *err)
{
    mo_model_opts o = model_opts(1, 64);
    char dir[64];
    mo_status st = tiny_write(dir, t, err);

    memset(l, 0, sizeof *l);
    o.vision = vision;
    o.audio = audio;
    o.log = on_log;
    o.progress = on_progress;
    o.user = l;
    *m = NULL;
    if (st != MO_OK) return st;
    st = mo_model_open(m, dir, &o, err);
    tiny_remove(dir); /* mapped files stay */
    return st;
}

/* A session answers; what the model has no sense for is refused by name. */
static void talks(mo_model *m, bool sees, bool hears)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    mo_session *s;
    reply r;

    CHECK_INT(mo_model_has_vision(m) != 0, sees);
    CHECK_INT(mo_model_has_audio(m) != 0, hears);
    CHECK_OK(mo_session_new(&s, m, &o, &err));
    CHECK_OK(mo_session_begin(s, "user", &err));
    CHECK_INT(push_picture(s, 20, 20, 1, &err), sees ? MO_OK : MO_E_UNSUPPORTED);
    if (!sees) CHECK(strstr(err.message, "cannot see"));
    CHECK_INT(push_sound(s, 0.5, 1, &err), hears ? MO_OK : MO_E_UNSUPPORTED);
    if (!hears) CHECK(strstr(err.message, "cannot hear"));
    CHECK_OK(mo_session_push_text(s, "hello", 5, &err));
    CHECK_OK(talk(s, &r, &err));
    CHECK(r.has_end && r.end.n_generated > 0);
    reply_free(&r);
    mo_session_free(s);
}

TEST(parts)
{
    tiny_opts all = { .type = MO_BF16 }, blind = { .type = MO_BF16, .skip = "vpm." }, deaf = { .type = MO_F16, .skip = "apm." };
    mo_error err = { 0 };
    log_lines l;
    mo_model *m;

    CHECK_OK(open_with(&m, &all, MO_AUTO, MO_ON, &l, &err));
    CHECK_STR(l.text, "");
    CHECK(l.n_progress >= 3 && l.last == 1);
    talks(m, true, true);
    mo_model_close(m);
    CHECK_OK(open_with(&m, &all, MO_OFF, MO_OFF, &l, &err));
    CHECK(strstr(l.text, "vision encoder is left out") && strstr(l.text, "audio encoder is left out"));
    talks(m, false, false);
    mo_model_close(m);
    CHECK_OK(open_with(&m, &blind, MO_AUTO, MO_AUTO, &l, &err));
    CHECK(strstr(l.text, "no vision encoder") && !strstr(l.text, "audio"));
    talks(m, false, true);
    mo_model_close(m);
    CHECK_OK(open_with(&m, &deaf, MO_AUTO, MO_AUTO, &l, &err));
    CHECK(strstr(l.text, "no audio encoder") && !strstr(l.text, "vision"));
    talks(m, true, false);
    mo_model_close(m);
    CHECK_INT(open_with(&m, &blind, MO_ON, MO_AUTO, &l, &err), MO_E_UNSUPPORTED);
    CHECK(!m && strstr(err.message, "no vision encoder"));
    CHECK_INT(open_with(&m, &deaf, MO_AUTO, MO_ON, &l, &err), MO_E_UNSUPPORTED);
    CHECK(!m && strstr(err.message, "no audio encoder"));
}

TEST(missing_tensors)
{
    static const char *const names[] = { "llm.model.layers.1.mlp.up_proj.weight",
                                         "llm.model.layers.0.self_attn.q_norm.weight",
                                         "llm.model.embed_tokens.weight",
                                         "llm.lm_head.weight",
                                         "llm.model.norm.weight",
                                         "vpm.encoder.layers.0.mlp.fc2.bias",
                                         "resampler.kv_proj.weight",
                                         "apm.layers.0.self_attn.k_proj.weight",
                                         "audio_projection_layer.linear2.bias" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tiny_opts t = { .type = MO_BF16, .skip = names[i] };
        mo_error err = { 0 };
        log_lines l;
        mo_model *m;
        mo_status st = open_with(&m, &t, MO_AUTO, MO_AUTO, &l, &err);

        if (st != MO_E_FORMAT || !strstr(err.message, names[i])) TEST_FAIL("%s: %d \"%s\"", names[i], st, err.message);
        mo_model_close(m);
    }
}

/* Ids that the model has no rows for: refused when a prompt needs them, not read past the table. */
TEST(large_tokenizer)
{
    tiny_opts t = { .type = MO_BF16, .n_more_token = 40 };
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    log_lines l;
    mo_model *m;
    mo_session *s;
    reply r;

    CHECK_OK(open_with(&m, &t, MO_AUTO, MO_AUTO, &l, &err));
    CHECK_OK(mo_session_new(&s, m, &o, &err));
    CHECK_OK(say(s, "user", "a <|more_50|> b", &err)); /* id 306 of 288 */
    CHECK_INT(mo_session_answer(s, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "306") && strstr(err.message, "288"));
    CHECK_OK(mo_session_clear(s, &err));
    CHECK_OK(say(s, "user", "plain", &err));
    CHECK_OK(talk(s, &r, &err));
    reply_free(&r);
    mo_session_free(s);
    mo_model_close(m);
}

/* Encoders of sizes that the fixed working memory is not made for. */
TEST(other_sizes)
{
    static const struct {
        const char *from, *to, *word;
        mo_status st;
    } cases[] = {
        { "\"max_source_positions\": 1500", "\"max_source_positions\": 100", "positions", MO_E_UNSUPPORTED },
        { "\"num_mel_bins\": 80", "\"num_mel_bins\": 40", "mel", MO_E_UNSUPPORTED },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[2000], *at;
        mo_error err = { 0 };
        log_lines l;
        mo_model *m;
        tiny_opts t = { .type = MO_BF16, .config = config };

        at = strstr(tiny_omni, cases[i].from);
        CHECK(at);
        snprintf(config, sizeof config, "%.*s%s%s", (int)(at - tiny_omni), tiny_omni, cases[i].to, at + strlen(cases[i].from));
        CHECK_INT(open_with(&m, &t, MO_AUTO, MO_AUTO, &l, &err), cases[i].st);
        CHECK(!m && strstr(err.message, cases[i].word));
    }
}

/* Tiles of more patches than a pass takes: the picture is refused, the conversation goes on. */
TEST(huge_tiles)
{
    char config[2000], *at = strstr(tiny_omni, "\"scale_resolution\": 56");
    tiny_opts t = { .type = MO_BF16, .config = config };
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    log_lines l;
    mo_model *m;
    mo_session *s;
    reply r;

    CHECK(at);
    snprintf(config, sizeof config, "%.*s\"scale_resolution\": 1400%s", (int)(at - tiny_omni), tiny_omni,
             at + strlen("\"scale_resolution\": 56"));
    CHECK_OK(open_with(&m, &t, MO_AUTO, MO_AUTO, &l, &err));
    CHECK_OK(mo_session_new(&s, m, &o, &err));
    CHECK_OK(mo_session_begin(s, "user", &err));
    CHECK_INT(push_picture(s, 1400, 1400, 1, &err), MO_E_LIMIT);
    CHECK(strstr(err.message, "patches"));
    CHECK_OK(mo_session_push_text(s, "go on", 5, &err));
    CHECK_OK(talk(s, &r, &err));
    reply_free(&r);
    mo_session_free(s);
    mo_model_close(m);
}

int main(void)
{
    RUN(parts);
    RUN(missing_tensors);
    RUN(large_tokenizer);
    RUN(other_sizes);
    RUN(huge_tiles);
    return test_end();
}
