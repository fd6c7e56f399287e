/* Sizes and switches of a checkpoint, from its config.json or GGUF metadata (config_gguf.h). Nothing else knows a model's sizes. */
#ifndef MO_MODELS_CONFIG_H
#define MO_MODELS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { HEAD_DIM_MAX = 512 }; /* numbers of one attention head, in any part: what the attention kernels have scratch for */

/* Which member of the family (spec: family overview, 2.5). */
typedef enum model_member {
    MEMBER_UNKNOWN,
    MEMBER_O45,
    MEMBER_V45,
    MEMBER_V40,
    MEMBER_O26,
    MEMBER_V26,
    MEMBER_V25,
    MEMBER_V20,
    MEMBER_V10,
    MEMBER_OMNILMM,
    MEMBER_TEXT /* a plain language model */
} model_member;

typedef struct llm_config {
    int32_t n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx_train;
    float rms_eps;
    double rope_theta;
    float *rope_factor;     /* [head_dim/2] divisors of the frequencies (longrope), or NULL; owned */
    float rope_attn_factor; /* multiplies cos and sin: 1 */
    bool has_qk_norm, has_qkv_bias, is_tied;
    float embd_scale;     /* text embeddings times this (MiniCPM 12), else 1 */
    float residual_scale; /* both residual branches (MiniCPM 1.4/sqrt(n_layer)), else 1 */
    float logit_divisor;  /* lm_head(hidden / this) (MiniCPM n_embd/dim_model_base), else 1 */
    bool rope_pairs;      /* rows of q and k are permuted for rotation of (2i, 2i+1): some GGUF files */
    char prefix[8];       /* "llm." or "" */
} llm_config;

typedef struct vision_config {
    int32_t n_layer, n_embd, n_head, n_ff, patch_size, image_size; /* table side = image_size / patch_size */
    float ln_eps;
} vision_config;

typedef struct resampler_config {
    int32_t n_query, n_embd, n_head, kv_dim; /* n_embd = LLM width; n_head = n_embd / 128 */
} resampler_config;

typedef struct slice_config {
    int32_t max_slice_nums, scale_resolution, patch_size;
    bool slice_mode, use_image_id;
} slice_config;

typedef struct audio_config {
    int32_t n_layer, n_embd, n_head, n_ff, n_mel, n_pos, pool_step; /* n_pos 1500 */
    float chunk_length_s;                                           /* audio_chunk_length: block-causal attention in blocks of this */
} audio_config;

/* The speech-token language model (Llama block, theta 10000, eps 1e-6). */
typedef struct tts_config {
    int32_t n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_ctx_train;
    int32_t n_text, n_code, n_vq;      /* rows of emb_text; rows of each of the n_vq emb_code (its last one is EOS) */
    int32_t llm_dim;                   /* width of the hidden states it is conditioned on */
    int32_t audio_bos_id, text_eos_id; /* rows of emb_text */
    bool normalize_hidden;             /* projected hidden states are scaled to length 1 */
    float rms_eps;
    double rope_theta;
} tts_config;

typedef struct model_config {
    model_member member;
    char model_type[32], version[16];
    llm_config llm;
    bool has_vision, has_audio, has_tts; /* init_vision, init_audio, init_tts */
    vision_config vision;
    resampler_config resampler;
    slice_config slice;
    audio_config audio;
    tts_config tts;
    bool stream_input;
} model_config;

/* Parse and range-check `dir`/config.json; what `dir`/preprocessor_config.json says about slicing goes before it, as in the
 * official processor. A part's struct is filled if its has_… is set, zero otherwise. MO_E_UNSUPPORTED "this build knows ..." for an unknown type or version. */
mo_status model_config_load(model_config *out, const char *dir, mo_error *err);
mo_status model_config_parse(model_config *out, const char *json, size_t n, const char *where, mo_error *err);
void model_config_free(model_config *c);
const char *model_member_name(model_member m); /* "MiniCPM-o 4.5" */

#endif
