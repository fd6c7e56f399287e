/* Searches for the scale (and minimum) of a group of values: what the encoders of block types share (search.c). */
#ifndef MO_CORE_QUANTS_SEARCH_H
#define MO_CORE_QUANTS_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

/* Nearest integer, ties to even, for |x| <= 4194303; any int for other x (callers clamp). */
int nearest(float x);

static inline int clamp_int(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

/* The element of largest magnitude, the first of equals. */
float extreme(const float *x, int n);

/* x = scale * (q - n_max), q in [0, 2 n_max); w NULL: x squared. Returns the scale. All q are 0 where x is (about) zero. */
float search_symmetric(uint8_t *q, const float *x, const float *w, int n, int n_max);

/* The same by coordinate descent from one start, weights x squared: what Q3_K uses. */
float search_descent(uint8_t *q, const float *x, int n, int n_max);

/* x = scale * q - min, q in [0, n_max], min >= 0. Tries n_step + 1 scales from (n_max + first) / range on. absolute: the sum of
 * |error| counts, not of squares. n <= 32. */
typedef struct search_range {
    float first, step;
    int n_step;
    bool absolute;
} search_range;

float search_asymmetric(uint8_t *q, float *min, const float *x, const float *w, int n, int n_max, const search_range *r);

/* x = scale * q, x >= 0, q in [0, n_max]: for scales of sub-blocks. */
float search_positive(uint8_t *q, const float *x, const float *w, int n, int n_max);

/* w[i] = importance[i] * sqrt(sigma2 + x[i]^2): how llama.cpp turns an importance matrix into weights. */
void importance_weights(float *w, const float *x, const float *importance, float sigma2, int n);

/* Mean of squares. */
float mean_square(const float *x, int64_t n);

#endif
