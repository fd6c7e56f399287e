/* What the three samplers share: range checks, owned id lists, scratch and generator. Private to sampling*.c. */
#ifndef MO_SESSION_SAMPLING_COMMON_H
#define MO_SESSION_SAMPLING_COMMON_H

#include "session/sampling.h"

#define TEMPERATURE_MIN 1e-6f /* colder than this is argmax */

/* The parts every sampler has. */
typedef struct sampling_base {
    draw_scratch *scratch;
    bool owns_scratch;
    rng rng;
    u_source u;
} sampling_base;

mo_status sampling_base_open(sampling_base *b, int32_t n_vocab, uint64_t seed, draw_scratch *shared, mo_error *err);
void sampling_base_close(sampling_base *b);
double sampling_base_u(sampling_base *b);

/* *out: the list's ids that the vocabulary has, mo_malloc'd; *n: how many. */
mo_status sampling_ids_copy(int32_t **out, int32_t *n, id_list list, int32_t n_vocab, mo_error *err);
bool sampling_ids_have(const int32_t *id, int32_t n, int32_t x);

/* v in [lo, hi]; or one sentence naming it. NaN fails. */
mo_status sampling_check(const char *name, double v, double lo, double hi, mo_error *err);
/* v in (0, hi] */
mo_status sampling_check_positive(const char *name, double v, double hi, mo_error *err);

#endif
