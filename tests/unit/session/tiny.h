/* Tiny whole checkpoints for tests: written by rule into a folder under TMPDIR, removed afterwards.
 *
 * The tokenizer has the 256 bytes and the family's special tokens at ids 256 and up. Letters are the likely tokens
 * (lm_head's rows are larger), so that answers are text.
 */
#ifndef TINY_H
#define TINY_H

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/synth_write.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/dtype.h"
#include "core/file.h"
#include "models/config.h"
#include "tokenizer/tokenizer.h"

static const char *const tiny_special[] = {
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",  "<unk>",           "<image>",   "</image>",      "<slice>",
    "</slice>",      "<image_id>",   "</image_id>", "<|audio_start|>", "<|audio|>", "<|audio_end|>", "<|tts_bos|>",
    "<|tts_eos|>",   "<think>",      "</think>",    "<|listen|>",      "<|speak|>",
};
enum { TINY_SPECIAL = (int)(sizeof tiny_special / sizeof *tiny_special), TINY_VOCAB = 288, TINY_IM_END = 258 };

/* What sees, hears and talks. Tiles are 4 x 4 patches. */
static const char tiny_omni[] =
    "{\"model_type\": \"minicpmo\", \"version\": \"4.5\", \"vocab_size\": 288, \"hidden_size\": 128, \"intermediate_size\": 96,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 24, \"rms_norm_eps\": 1e-6,"
    " \"rope_theta\": 10000, \"max_position_embeddings\": 2048, \"tie_word_embeddings\": false, \"query_num\": 5,"
    " \"init_vision\": true, \"init_audio\": true, \"init_tts\": false,"
    " \"slice_config\": {\"max_slice_nums\": 4, \"patch_size\": 14, \"scale_resolution\": 56},"
    " \"vision_config\": {\"hidden_size\": 24, \"image_size\": 980, \"intermediate_size\": 40, \"num_attention_heads\": 2, "
    "\"num_hidden_layers\": 1, \"patch_size\": 14},"
    " \"audio_pool_step\": 5, \"audio_chunk_length\": 1.0,"
    " \"audio_config\": {\"d_model\": 16, \"encoder_attention_heads\": 2, \"encoder_ffn_dim\": 64, \"encoder_layers\": 1, "
    "\"num_mel_bins\": 80, \"max_source_positions\": 1500}}";

typedef struct tiny_opts {
    const char *config; /* JSON; NULL: tiny_omni */
    int32_t type;       /* of the weights; 0 (F32) … */
    const char *skip;   /* leave out tensors whose name begins so */
    int n_more_token;   /* added tokens beyond the family's */
} tiny_opts;

/* tiny_omni with heads of 32, which a cache in blocks of 32 takes. */
static inline void tiny_omni_heads_32(char out[sizeof tiny_omni])
{
    static const char key[] = "\"head_dim\": ";

    memcpy(out, tiny_omni, sizeof tiny_omni);
    memcpy(strstr(out, key) + sizeof key - 1, "32", 2);
}

static inline void tiny_remove(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[700];

    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static inline mo_status tiny_tokenizer(const char *dir, int n_more, mo_error *err)
{
    mo_status st = tokenizer_write_standin(dir, 256, err); /* the bytes */
    buf added = { 0 }, config = { 0 };

    buf_puts(&added, "{");
    buf_puts(&config, "{\"added_tokens_decoder\": {");
    for (int i = 0; i < TINY_SPECIAL + n_more; i++) {
        char more[32];
        const char *text = i < TINY_SPECIAL ? tiny_special[i] : more, *comma = i ? "," : "";
        snprintf(more, sizeof more, "<|more_%d|>", i);
        buf_printf(&added, "%s\"%s\": %d", comma, text, 256 + i);
        buf_printf(&config, "%s\"%d\": {\"content\": \"%s\", \"special\": true}", comma, 256 + i, text);
    }
    buf_puts(&added, "}");
    buf_puts(&config, "}, \"eos_token\": \"<|im_end|>\", \"pad_token\": \"<|endoftext|>\", \"bad_token_ids\": [], \"tokenizer_class\": "
                      "\"Qwen2Tokenizer\"}");
    if (st == MO_OK) st = synth_write_file(dir, "added_tokens.json", added.data, added.len, err);
    if (st == MO_OK) st = synth_write_file(dir, "tokenizer_config.json", config.data, config.len, err);
    buf_free(&added);
    buf_free(&config);
    return st;
}

static inline mo_status tiny_weights(const char *dir, const model_config *c, const tiny_opts *o, mo_error *err)
{
    static const volatile sig_atomic_t go = 0;
    json_t *boost = json_object(), *rows = json_object();
    synth_opts so = { .seed = 1, .type = o->type, .boost = boost, .stop = &go };
    synth_list l;
    pool *p = NULL;
    size_t kept = 0;
    mo_status st;
    char key[16];

    for (int id = 64; id < 90; id++) { /* a to z */
        snprintf(key, sizeof key, "%d", id);
        json_object_set_new(rows, key, json_integer(8));
    }
    json_object_set_new(rows, "220", json_integer(8)); /* a space */
    snprintf(key, sizeof key, "%d", TINY_IM_END);
    json_object_set_new(rows, key, json_integer(4));
    json_object_set_new(boost, "llm.lm_head.weight", rows);
    if ((st = synth_list_make(&l, c, err)) == MO_OK) {
        for (size_t i = 0; i < l.n; i++)
            if (!o->skip || strncmp(l.list[i].name, o->skip, strlen(o->skip))) l.list[kept++] = l.list[i];
        l.n = kept;
        st = pool_new(&p, 1, err);
    }
    if (st == MO_OK && c->llm.is_tied) so.boost = NULL;
    if (st == MO_OK) st = synth_write(dir, &l, &so, p, err);
    pool_free(p);
    synth_list_free(&l);
    json_decref(boost);
    return st;
}

/* A new checkpoint; its folder into dir. */
static inline mo_status tiny_write(char dir[64], const tiny_opts *opts, mo_error *err)
{
    tiny_opts o = opts ? *opts : (tiny_opts){ .type = MO_BF16 };
    const char *tmp = getenv("TMPDIR");
    model_config c;
    mo_status st;

    if (!o.config) o.config = tiny_omni;
    snprintf(dir, 64, "%.40s/mo-test-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(dir)) return mo_fail(err, MO_E_IO, "cannot make a folder in %s", dir);
    st = model_config_parse(&c, o.config, strlen(o.config), "config", err);
    if (st == MO_OK) st = synth_write_file(dir, "config.json", o.config, strlen(o.config), err);
    if (st == MO_OK) st = tiny_weights(dir, &c, &o, err);
    if (st == MO_OK) st = tiny_tokenizer(dir, o.n_more_token, err);
    model_config_free(&c);
    if (st != MO_OK) tiny_remove(dir);
    return st;
}

#endif
