/* The pieces of the audio encoder that its offline and its streaming form share: weights, conv stem, the two halves of a
 * layer around its attention, and the projector. Each works on rows, whoever they belong to.
 */
#ifndef MO_MODELS_WHISPER_PARTS_H
#define MO_MODELS_WHISPER_PARTS_H

#include "models/whisper.h"

typedef struct whisper_layer {
    float *ln1_g, *ln1_b, *ln2_g, *ln2_b; /* [n_embd] */
    weight w_q, w_k, w_v, w_o;            /* [n_embd, n_embd] */
    float *b_q, *b_v, *b_o;               /* [n_embd]; keys have no bias */
    weight w_fc1, w_fc2;                  /* [n_ff, n_embd], [n_embd, n_ff] */
    float *b_fc1, *b_fc2;                 /* [n_ff], [n_embd] */
} whisper_layer;

struct whisper {
    backend *be;
    audio_config c;
    int32_t n_out;
    int n_layer; /* in the checkpoint */
    whisper_layer *layer;
    weight w_conv1, w_conv2; /* [n_embd, n_mel * 3], [n_embd, n_embd * 3] */
    float *b_conv1, *b_conv2;
    weight pos; /* [n_pos, n_embd] */
    float *ln_g, *ln_b;
    weight w_proj1, w_proj2; /* [n_out, n_embd], [n_out, n_out] */
    float *b_proj1, *b_proj2;
};

/* Device rows of one pass of up to n encoder rows. Stem, attention, MLP and projector come one after another, so they
 * share their place. */
typedef struct whisper_bufs {
    float *x;             /* [n, n_embd] the residual stream */
    float *a;             /* [n, n_embd] normed input, then the attention's output */
    float *q, *k, *v;     /* [n, n_embd] */
    float *ff;            /* [n, n_ff] */
    float *cols;          /* [2n, 3 n_mel], then [n, 3 n_embd] */
    float *conv;          /* [2n, n_embd] */
    float *proj, *pooled; /* [n, n_out], [n / pool_step, n_out] */
} whisper_bufs;

whisper_bufs whisper_carve(scratch *s, const audio_config *c, int32_t n_out, int64_t n);

/* One run of mel frames through the stem. Frames outside [0, n_frame) are zero; rows of the first convolution outside
 * [0, n_conv1) count as zero for the second, which makes rows [skip, skip + n_row). */
typedef struct stem_item {
    const float *mel; /* [n_frame, n_mel] */
    int32_t n_frame, n_conv1, skip, n_row;
} stem_item;

/* x [Σ n_row, n_embd] = GELU(conv2(GELU(conv1(mel)))) + pos[pos_id]. item(arg, i) names the i-th of n_item runs. */
typedef stem_item (*stem_item_fn)(const void *arg, int i);
void whisper_stem(const whisper *m, const whisper_bufs *r, stem_item_fn item, const void *arg, int n_item, const int32_t *pos_id);

/* a = LN1(x); q, k, v of a */
void whisper_layer_qkv(const whisper *m, const whisper_layer *l, const whisper_bufs *r, int64_t n);
/* x += out(a), a being what attention gave; x += fc2(gelu(fc1(LN2 x))) */
void whisper_layer_rest(const whisper *m, const whisper_layer *l, const whisper_bufs *r, int64_t n);

/* y = final LayerNorm of x, n rows */
void whisper_final_norm(const whisper *m, float *y, const float *x, int64_t n);

/* embeds [Σ n_row[i] / pool_step, n_out] of hidden [Σ n_row[i], n_embd]; each item's rest is dropped. */
void whisper_project(const whisper *m, const whisper_bufs *r, float *embeds, const float *hidden, const int32_t *n_row, int n_item);

#endif
