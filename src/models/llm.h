/* The language model: Qwen3, and by configuration Qwen2/2.5, Llama 3, MiniCPM (scalings, longrope), Mistral.
 *
 * One entry point, llm_forward(batch): prefill, decode, several sequences at once, picture and sound embeddings,
 * verification of drafted tokens are all this call. Source of the maths: spec language-models 2 and 5.
 *
 * Weights are read-only and shared; scratch is the caller's. Thread: one forward per scratch at a time.
 */
#ifndef MO_MODELS_LLM_H
#define MO_MODELS_LLM_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "models/bind.h"
#include "models/config.h"
#include "models/kv_cache.h"
#include "models/scratch.h"

typedef struct llm_layer {
    float *attn_norm;       /* [n_embd] */
    weight w_q;             /* [n_head * head_dim, n_embd] */
    weight w_k, w_v;        /* [n_kv_head * head_dim, n_embd] */
    float *b_q, *b_k, *b_v; /* Qwen2 biases or NULL */
    float *q_norm, *k_norm; /* [head_dim] RMSNorm per head before RoPE (Qwen3) or NULL */
    weight w_o;             /* [n_embd, n_head * head_dim] */
    float *ffn_norm;        /* [n_embd] */
    weight w_gate, w_up;    /* [n_ff, n_embd] */
    weight w_down;          /* [n_embd, n_ff] */
} llm_layer;

typedef struct llm {
    backend *be;
    llm_config cfg;   /* rope_factor is borrowed from the model's configuration */
    weight embd;      /* [n_vocab, n_embd] */
    weight head;      /* [n_vocab, n_embd]; the embeddings where tied */
    float *out_norm;  /* [n_embd] */
    float *inv_freq;  /* [head_dim / 2] host memory: theta^(-2i/d), divided by the longrope factors */
    rope_style rope;  /* ROPE_HALVES for Hugging Face weights; ROPE_PAIRS where the configuration says so */
    llm_layer *layer; /* [n_layer] */
} llm;

/* Weights used in place; ts must outlive the model. With `plan` set nothing is loaded: only *bytes is filled
 * (out may be NULL). */
mo_status llm_load(llm **out, backend *be, const tensors *ts, const llm_config *cfg, bool plan, bind_bytes *bytes, mo_error *err);
void llm_free(llm *m); /* accepts NULL */

static inline kv_shape llm_kv_shape(const llm_config *c, int32_t kv_type)
{
    return (kv_shape){ c->n_layer, c->n_kv_head, c->head_dim, kv_type };
}

/* Working memory of a forward pass that takes at most n_ubatch rows at a time: counts (or places) it in s. */
enum { LLM_LOGIT_ROWS = 16 }; /* rows that go through lm_head together */
void llm_carve(scratch *s, const llm_config *c, int32_t n_ubatch);

enum { LLM_WANT_LOGITS = 1, LLM_WANT_HIDDEN = 2 };

/* Rows of one call. Rows of a sequence stand together and in order; row r of sequence s is cached at the position that
 * follows what s held before. */
typedef struct llm_batch {
    int32_t n_row;
    const int32_t *token; /* [n_row] id, or -1: the row's embedding is given. NULL: all are given */
    const float *embd;    /* [n_row, n_embd] host memory; only rows with token -1 are read. NULL if there are none */
    kv_seq *const *seq;   /* [n_row] the sequence of each row */
    const int32_t *pos;   /* [n_row] rotary position; NULL: the cache position */
    const uint8_t *want;  /* [n_row] LLM_WANT_ bits; NULL: nothing */
} llm_batch;

/* Append the rows to their sequences' caches and compute what was asked for, in row order:
 * logits [rows that want them, n_vocab], hidden [rows that want them, n_embd] after the final norm; host memory.
 *
 * s was planned by llm_carve for at least n_ubatch. Any n_row >= 1: the call works through n_ubatch rows at a time, and the result has the same bits however rows are
 * distributed over calls and batches. On an error caches keep their lengths.
 *
 * MO_E_ARG    a token outside the vocabulary, a row without embedding, a sequence whose rows do not stand together
 * MO_E_LIMIT  a context or the KV cache is full */
mo_status llm_forward(const llm *m, scratch *s, int32_t n_ubatch, const llm_batch *b, float *logits, float *hidden, mo_error *err);

/* Logits [n, n_vocab] of n hidden rows as a forward gave them, both in host memory: the bits it would have given itself. For more
 * rows than one would want logits of at a time. Uses s like a forward. */
mo_status llm_logits(const llm *m, scratch *s, int32_t n_ubatch, const float *hidden, int32_t n, float *logits, mo_error *err);

/* Text embeddings as the model feeds them, out [n, n_embd] host memory, with the MiniCPM scaling. Uses s like a forward. */
mo_status llm_embed(const llm *m, scratch *s, int32_t n_ubatch, const int32_t *token, int32_t n, float *out, mo_error *err);

#endif
