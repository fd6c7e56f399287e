/* From logits to one id: filters and the draw, shared by the chat, stream and duplex samplers.
 *
 *     scores [n_vocab] --top-k--> candidates --top-p--> --min-p--> softmax --u--> id
 *
 * A sampler copies the model's logits into `scores`, edits them (penalties, masks) and asks for an id.
 * Candidates stay in vocabulary order all the way: the draw is the inverse of the distribution function in that order,
 * summed in double, so the same u gives the same id as the reference does. Nothing here allocates after opening.
 *
 * NaN counts as -inf, +inf as the largest finite value. If nothing is left the calls answer MO_E_STATE.
 */
#ifndef MO_SESSION_DRAW_H
#define MO_SESSION_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"
#include "core/status.h"

/* Scratch of a draw: 24 bytes per vocabulary entry. Holds nothing between draws, so that all samplers stepped
 * by one thread may share one. */
typedef struct draw_scratch {
    int32_t n_vocab;
    float *scores;  /* [n_vocab] filled by the sampler before each draw */
    int32_t *id;    /* [n_vocab] candidates, ascending */
    float *x;       /* [n_vocab] their scores after temperature */
    double *p;      /* [n_vocab] their unnormalised probabilities, the best one's is 1 */
    int32_t *order; /* [n_vocab] working order of top-p */
} draw_scratch;

mo_status draw_scratch_open(draw_scratch **out, int32_t n_vocab, mo_error *err);
void draw_scratch_close(draw_scratch *s); /* accepts NULL */

typedef struct draw_filter {
    float temperature;  /* > 0 */
    int32_t top_k;      /* 0: off */
    bool top_k_exact;   /* of ids tied with the k-th keep the lowest only, k in all; else keep every tie */
    float top_p;        /* 1: off. The best id always stays */
    bool top_p_exceeds; /* the kept mass must exceed top_p; else reaching it is enough */
    float min_p;        /* 0: off. Drop what is less likely than min_p times the best */
} draw_filter;

/* Draw from s->scores. u in [0, 1). */
mo_status draw_sample(draw_scratch *s, const draw_filter *f, double u, int32_t *id, mo_error *err);

/* The first of the largest scores. */
mo_status draw_argmax(const float *scores, int32_t n, int32_t *id, mo_error *err);

/* Would drawing from softmax(scores) with u give `id`? Usually far cheaper than the draw itself. False if nothing is left. */
bool draw_would_give(const float *scores, int32_t n, int32_t id, double u);

/* Repetition and length penalties divide a positive score and multiply a negative one: p > 1 always lowers. */
static inline float draw_penalised(float score, float p) { return score > 0.0f ? score / p : score * p; }

#endif
