/* What the quantiser's tests share: tiny checkpoints, running the quantiser, logits. */
#ifndef MADE_H
#define MADE_H

#include <math.h>
#include <sys/stat.h>

#include "../session/tiny.h"
#include "core/cpu.h"
#include "formats/gguf_write.h"
#include "models/checkpoint.h"
#include "models/llm.h"
#include "models/quantize.h"
#include "test.h"

enum { N_ID = 24 };

/* Rows of 256 and 512, so that every block type has its own; slices as GGUF files imply them. */
#define MADE_LLM(type, more)                                                                                                               \
    "{\"model_type\": \"" type "\", \"vocab_size\": 288, \"hidden_size\": 256, \"intermediate_size\": 512, \"num_hidden_layers\": 2,"      \
    " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 64, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000,"            \
    " \"max_position_embeddings\": 2048" more "}"

static const char made_omni[] =
    MADE_LLM("minicpmo", ", \"version\": \"4.5\", \"tie_word_embeddings\": false, \"query_num\": 5,"
                         " \"init_vision\": true, \"init_audio\": true, \"init_tts\": false,"
                         " \"vision_config\": {\"hidden_size\": 32, \"image_size\": 980, \"intermediate_size\": 40, "
                         "\"num_attention_heads\": 2, \"num_hidden_layers\": 2, \"patch_size\": 14},"
                         " \"audio_pool_step\": 5, \"audio_chunk_length\": 1.0,"
                         " \"audio_config\": {\"d_model\": 32, \"encoder_attention_heads\": 2, \"encoder_ffn_dim\": 128, "
                         "\"encoder_layers\": 2, \"num_mel_bins\": 80, \"max_source_positions\": 1500}");

static inline quantize_opts made_opts(const char *type, pool *p)
{
    return (quantize_opts){ .type = file_type_find(type), .embd_type = -1, .output_type = -1, .name = "made", .threads = p };
}

/* in: a folder (role) or a GGUF file (GGUF_ROLE_OTHER). */
static inline mo_status made_open(quantizer **q, const char *in, gguf_role role, const quantize_opts *o, mo_error *err)
{
    return role == GGUF_ROLE_OTHER ? quantize_open_gguf(q, in, o, err) : quantize_open_hf(q, in, role, o, err);
}

static inline mo_status made_quantize(const char *in, const char *out, gguf_role role, const quantize_opts *o, quantize_report *r,
                                      mo_error *err)
{
    quantizer *q;
    mo_status st = made_open(&q, in, role, o, err);

    if (st != MO_OK) return st;
    if ((st = quantize_write(q, out, err)) == MO_OK) st = quantize_commit(q, err);
    if (r) *r = *quantize_get_report(q);
    quantize_close(q);
    return st;
}

static inline mo_status made_type(const char *in, const char *out, gguf_role role, const char *type, mo_error *err)
{
    pool *p;
    quantize_opts o;
    mo_status st = pool_new(&p, 1, err);

    if (st != MO_OK) return st;
    o = made_opts(type, p);
    st = made_quantize(in, out, role, &o, NULL, err);
    pool_free(p);
    return st;
}

/* Logits [N_ID, n_vocab] of a fixed text, and hidden states [N_ID, n_embd] unless NULL, in calls of n_batch rows. */
static inline mo_status made_outputs(const checkpoint *ck, const cpu_backend_opts *cpu, int n_batch, float *logits, float *hidden,
                                     mo_error *err)
{
    const llm_config *c = &ck->cfg.llm;
    const kv_shape shape = llm_kv_shape(c, MO_F32);
    kv_seq kv = { 0 }, *seq[N_ID];
    kv_pool pages = { 0 };
    scratch s = scratch_plan();
    backend *be = NULL;
    llm *m = NULL;
    int32_t id[N_ID];
    uint8_t want[N_ID];
    mo_status st;

    for (int i = 0; i < N_ID; i++) {
        id[i] = (i * 37 + 11) % 256;
        seq[i] = &kv;
        want[i] = (uint8_t)(LLM_WANT_LOGITS | (hidden ? LLM_WANT_HIDDEN : 0));
    }
    llm_carve(&s, c, N_ID);
    if ((st = cpu_backend_new(&be, cpu, err)) == MO_OK && (st = llm_load(&m, be, ck->ts, c, false, NULL, err)) == MO_OK &&
        (st = scratch_alloc(&s, be, err)) == MO_OK && (st = kv_pool_init(&pages, be, &shape, 4, err)) == MO_OK)
        st = kv_seq_init(&kv, &pages, 128, err);
    for (int i = 0; i < N_ID && st == MO_OK; i += n_batch) {
        const llm_batch b = { .n_row = N_ID - i < n_batch ? N_ID - i : n_batch, .token = id + i, .seq = seq, .want = want };
        st = llm_forward(m, &s, N_ID, &b, logits + i * c->n_vocab, hidden ? hidden + i * c->n_embd : NULL, err);
    }
    kv_seq_free(&kv);
    kv_pool_free(&pages);
    llm_free(m);
    if (be) {
        scratch_free(&s, be);
        be->ops->destroy(be);
    }
    return st;
}

static inline mo_status made_open_llm(checkpoint *ck, const char *path, mo_error *err)
{
    const checkpoint_opts alone = { .no_vision = true, .no_audio = true };

    return checkpoint_open(ck, path, &alone, err);
}

/* The logits of a file or folder in float32, malloc'd. */
static inline mo_status made_logits(const char *path, float **out, int32_t *n_vocab, mo_error *err)
{
    const cpu_backend_opts cpu = { .n_thread = 1, .isa_mask = MO_ISA_ALL, .exact_quant = true };
    checkpoint ck = { 0 };
    mo_status st;

    *out = NULL;
    if ((st = made_open_llm(&ck, path, err)) != MO_OK) return st;
    *n_vocab = ck.cfg.llm.n_vocab;
    if (!(*out = calloc((size_t)N_ID * (size_t)*n_vocab, sizeof **out))) abort();
    st = made_outputs(&ck, &cpu, N_ID, *out, NULL, err);
    checkpoint_close(&ck);
    return st;
}

/* Whole file, malloc'd. */
static inline char *made_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *p = NULL;

    *n = 0;
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    p = malloc(*n + 1);
    if (!p || fread(p, 1, *n, f) != *n) abort();
    fclose(f);
    return p;
}

static inline bool made_same(const char *a, const char *b)
{
    size_t n, m;
    char *p = made_read(a, &n), *q = made_read(b, &m);
    bool same = p && q && n == m && !memcmp(p, q, n);

    free(p);
    free(q);
    return same;
}

#endif
