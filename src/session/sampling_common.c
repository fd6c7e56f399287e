/* What the three samplers share (sampling_common.h). */
#include "session/sampling_common.h"

#include <string.h>

#include "core/alloc.h"

mo_status sampling_base_open(sampling_base *b, int32_t n_vocab, uint64_t seed, draw_scratch *shared, mo_error *err)
{
    rng_seed(&b->rng, seed);
    if (!shared) {
        b->owns_scratch = true;
        return draw_scratch_open(&b->scratch, n_vocab, err);
    }
    if (shared->n_vocab != n_vocab)
        return mo_fail(err, MO_E_ARG, "shared sampling scratch is for %d tokens, the sampler for %d", (int)shared->n_vocab, (int)n_vocab);
    b->scratch = shared;
    return MO_OK;
}

void sampling_base_close(sampling_base *b)
{
    if (b->owns_scratch) draw_scratch_close(b->scratch);
}

double sampling_base_u(sampling_base *b) { return b->u.next ? b->u.next(b->u.user) : rng_uniform(&b->rng); }

mo_status sampling_ids_copy(int32_t **out, int32_t *n, id_list list, int32_t n_vocab, mo_error *err)
{
    int32_t *v;

    *out = NULL;
    *n = 0;
    if (list.n < 1) return MO_OK;
    if (!(v = mo_calloc((size_t)list.n, sizeof *v))) return mo_fail(err, MO_E_NOMEM, "no memory for a list of %d token ids", (int)list.n);
    for (int32_t i = 0; i < list.n; i++)
        if (list.id[i] >= 0 && list.id[i] < n_vocab) v[(*n)++] = list.id[i];
    *out = v;
    return MO_OK;
}

bool sampling_ids_have(const int32_t *id, int32_t n, int32_t x)
{
    for (int32_t i = 0; i < n; i++)
        if (id[i] == x) return true;
    return false;
}

mo_status sampling_check(const char *name, double v, double lo, double hi, mo_error *err)
{
    if (v >= lo && v <= hi) return MO_OK;
    return mo_fail(err, MO_E_ARG, "%s is %g, must be from %g to %g", name, v, lo, hi);
}

mo_status sampling_check_positive(const char *name, double v, double hi, mo_error *err)
{
    if (v > 0 && v <= hi) return MO_OK;
    return mo_fail(err, MO_E_ARG, "%s is %g, must be above 0 and at most %g", name, v, hi);
}
