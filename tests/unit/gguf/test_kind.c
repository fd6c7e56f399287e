/* What each file of a published GGUF set is, told by its contents; listing a folder of them. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "core/alloc.h"
#include "formats/gguf_write.h"
#include "models/checkpoint.h"

static mo_error err;
static char dir[] = "/tmp/mo-kind-XXXXXX";

/* A file of this architecture with these tensors (up to two, one number each); vocabulary: it says it has one. */
static bool made(const char *name, const char *arch, const char *a, const char *b, bool vocabulary)
{
    const int64_t one = 1;
    const float v[8] = { 1 };
    char path[128];
    gguf_writer *w;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (gguf_write_begin(&w, path, &err) != MO_OK) return false;
    gguf_put_text(w, "general.architecture", arch, strlen(arch));
    if (vocabulary) gguf_put_text(w, "tokenizer.ggml.model", "gpt2", 4);
    if (a) gguf_declare(w, a, MO_F32, 1, &one);
    if (b) gguf_declare(w, b, MO_F32, 1, &one);
    if (a && gguf_write_data(w, v, 4, &err) != MO_OK) return false;
    if (b && gguf_write_data(w, v, 4, &err) != MO_OK) return false;
    return gguf_write_end(w, &err) == MO_OK;
}

static const struct {
    const char *name, *arch, *a, *b;
    bool vocabulary;
    gguf_kind kind;
} files[] = {
    { "llm.gguf", "qwen3", "token_embd.weight", NULL, true, GGUF_KIND_LLM },
    { "other.gguf", "sd3", "x", NULL, false, GGUF_KIND_UNKNOWN },
    { "vision/a.gguf", "clip", "v.patch_embd.weight", NULL, false, GGUF_KIND_VISION },
    { "audio/a.gguf", "whisper", "encoder.conv1.weight", NULL, false, GGUF_KIND_AUDIO },
    { "tts/a.gguf", "llama", "emb_code.0.weight", "emb_text.weight", true, GGUF_KIND_TTS }, /* has a vocabulary, talks no words */
    { "tts/b.gguf", "projector", "linear1.weight", "linear2.weight", false, GGUF_KIND_PROJECTOR },
    { "token2wav-gguf/a.gguf", "encoder", "pre_lookahead_layer.conv1.weight", "up_layer.conv.weight", false, GGUF_KIND_FLOW_ENCODER },
    { "token2wav-gguf/b.gguf", "x", "estimator.in_proj.weight", "estimator.final_layer.linear.weight", false, GGUF_KIND_FLOW_MATCHING },
    { "token2wav-gguf/c.gguf", "x", "input_embedding.weight", "spk_embed_affine_layer.weight", false, GGUF_KIND_FLOW_EXTRA },
    { "token2wav-gguf/d.gguf", "x", "conv_pre.weight", "m_source.l_linear.weight", false, GGUF_KIND_VOCODER },
    { "token2wav-gguf/e.gguf", "x", "prompt_cache.spk_cb", "prompt_cache.estimator_att_cache", false, GGUF_KIND_VOICE_PROMPT },
    { "token2wav-gguf/f.gguf", "x", "conv_pre.weight", NULL, false, GGUF_KIND_UNKNOWN }, /* half a likeness */
};

enum { N_FILE = sizeof files / sizeof *files };

static const checkpoint_file *named(const checkpoint_file *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strlen(list[i].path) > strlen(name) && !strcmp(list[i].path + strlen(list[i].path) - strlen(name), name)) return &list[i];
    return NULL;
}

TEST(a_folder)
{
    checkpoint_file *list;
    int n;

    CHECK_OK(checkpoint_list(&list, &n, dir, &err));
    CHECK_INT(n, N_FILE + 1); /* and junk.gguf */
    for (int i = 0; i < N_FILE; i++) {
        const checkpoint_file *f = named(list, n, files[i].name);
        CHECK(f);
        if (f->kind != files[i].kind) TEST_FAIL("%s is taken for a %s", files[i].name, gguf_kind_text(f->kind));
        CHECK_STR(f->arch, files[i].arch);
        CHECK_INT(f->n_tensor, files[i].b ? 2 : 1);
    }
    CHECK(named(list, n, "junk.gguf") && named(list, n, "junk.gguf")->kind == GGUF_KIND_UNKNOWN && !*named(list, n, "junk.gguf")->arch);
    checkpoint_list_free(list, n);
}

TEST(a_file)
{
    checkpoint ck;
    checkpoint_file *list;
    char path[128];
    int n;

    snprintf(path, sizeof path, "%s/tts/a.gguf", dir);
    CHECK_OK(checkpoint_list(&list, &n, path, &err));
    CHECK(n == 1 && list[0].kind == GGUF_KIND_TTS);
    checkpoint_list_free(list, n);
    CHECK_INT(checkpoint_open(&ck, path, NULL, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "speech language model"));
    snprintf(path, sizeof path, "%s/other.gguf", dir);
    CHECK_INT(checkpoint_open(&ck, path, NULL, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "no language model"));
    snprintf(path, sizeof path, "%s/none.gguf", dir);
    CHECK_OK(checkpoint_list(&list, &n, path, &err));
    CHECK(n == 1 && list[0].kind == GGUF_KIND_UNKNOWN && !list[0].n_bytes);
    checkpoint_list_free(list, n);
}

TEST(lost_allocations)
{
    mo_status st = MO_E_NOMEM;
    checkpoint_file *list;
    int n, i;

    for (i = 0; st != MO_OK && i < 2000; i++) {
        mo_alloc_fail_after(i);
        st = checkpoint_list(&list, &n, dir, &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || (st == MO_E_NOMEM && !list && !n));
    }
    CHECK(st == MO_OK && i > 20);
    checkpoint_list_free(list, n);
}

int main(void)
{
    static const char *const sub[] = { "vision", "audio", "tts", "token2wav-gguf" };
    char path[128], command[128];
    FILE *f;

    if (!mkdtemp(dir)) return 2;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, sub[i]);
        if (mkdir(path, 0700)) return 2;
    }
    for (int i = 0; i < N_FILE; i++)
        if (!made(files[i].name, files[i].arch, files[i].a, files[i].b, files[i].vocabulary)) {
            printf("%s\n", err.message);
            return 2;
        }
    snprintf(path, sizeof path, "%s/junk.gguf", dir);
    if (!(f = fopen(path, "w")) || fputs("GGUF, it says", f) < 0 || fclose(f)) return 2;
    RUN(a_folder);
    RUN(a_file);
    RUN(lost_allocations);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command) ? 2 : test_end();
}
