/* What one model thought of a text, kept to compare another with: for every scored token the distribution it was foreseen with.
 *
 *     "MOLOGIT1"  n_vocab, n_window, n_token (of a window), first (scored position of a window)    int32 each
 *     ids         int32 [n_window, n_token]
 *     rows        [n_window, n_token - first]: float lo, step, nll; uint16 level [n_vocab]
 *
 * ln p = lo + step * level, from the likeliest down to 24 nats below it, what is less likely counting as that: steps of 0.0004 nats.
 * Little-endian. The layout is ours and no contract.
 */
#ifndef MO_CLI_LOGIT_FILE_H
#define MO_CLI_LOGIT_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

typedef struct logit_shape {
    int32_t n_vocab, n_window, n_token, first;
} logit_shape;

typedef struct logit_file {
    FILE *f;
    char *path, *part; /* where it goes; the unfinished file beside it, or NULL when reading */
    uint16_t *level;   /* [n_vocab] */
    logit_shape shape;
} logit_file;

/* A new file of these windows, whole only after logit_file_finish: until then it has another name. */
mo_status logit_file_create(logit_file *l, const char *path, const logit_shape *shape, const int32_t *id, mo_error *err);
mo_status logit_file_put(logit_file *l, const float *logits, float nll, mo_error *err);
mo_status logit_file_finish(logit_file *l, mo_error *err);

/* A file to compare with. MO_E_ARG if it was made of other windows or ids: these are `shape` and id. */
mo_status logit_file_open(logit_file *l, const char *path, const logit_shape *shape, const int32_t *id, mo_error *err);

typedef struct logit_pair {
    double divergence; /* KL(file || logits) in nats */
    double nll;        /* of the file's model */
    int same_top;      /* the likeliest token is one of the file's likeliest */
} logit_pair;

/* The next row beside these logits. */
mo_status logit_file_compare(logit_file *l, const float *logits, logit_pair *out, mo_error *err);

void logit_file_close(logit_file *l); /* accepts a zeroed one; an unfinished file is removed */

#endif
