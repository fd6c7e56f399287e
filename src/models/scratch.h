/* Working memory of one step of a model: device rows and a little host memory for index lists and tables.
 *
 * A forward function carves both arenas by the same code whether it plans or runs (core/arena.h). Used so:
 *
 *     scratch s = scratch_plan();
 *     siglip_carve(&s, ...);                 counts
 *     scratch_alloc(&s, be, err);            allocates what was counted
 *     siglip_forward(..., &s, err);          carves again, now with addresses
 *     scratch_free(&s, be);
 *
 * Several users that never run at the same time plan into one scratch, each released before the next: the peak counts.
 */
#ifndef MO_MODELS_SCRATCH_H
#define MO_MODELS_SCRATCH_H

#include "backend/backend.h"
#include "core/alloc.h"
#include "core/arena.h"

typedef struct scratch {
    arena dev, host;
} scratch;

typedef struct scratch_mark {
    size_t dev, host;
} scratch_mark;

static inline scratch scratch_plan(void) { return (scratch){ arena_plan(), arena_plan() }; }

static inline scratch_mark scratch_now(const scratch *s) { return (scratch_mark){ s->dev.used, s->host.used }; }

static inline void scratch_release(scratch *s, scratch_mark m)
{
    arena_release(&s->dev, m.dev);
    arena_release(&s->host, m.host);
}

static inline bool scratch_overflow(const scratch *s) { return s->dev.overflow || s->host.overflow; }

/* Release after a carving that did not fit: the scratch stays usable. */
static inline void scratch_reset(scratch *s, scratch_mark m)
{
    scratch_release(s, m);
    s->dev.overflow = s->host.overflow = false;
}

static inline void scratch_free(scratch *s, backend *be)
{
    if (s->dev.base) be->ops->dealloc(be, s->dev.base);
    mo_free(s->host.base);
    *s = scratch_plan();
}

/* From a plan to memory. On failure the plan is left as it was. */
static inline mo_status scratch_alloc(scratch *s, backend *be, mo_error *err)
{
    void *dev = NULL, *host;
    mo_status st;

    if (scratch_overflow(s)) return mo_fail(err, MO_E_LIMIT, "scratch memory is larger than an address space");
    if (!(host = mo_alloc_aligned(s->host.peak + MO_ALIGN)))
        return mo_fail(err, MO_E_NOMEM, "%zu bytes of host scratch memory", s->host.peak);
    if ((st = be->ops->alloc(be, &dev, s->dev.peak + MO_ALIGN, err)) != MO_OK) {
        mo_free(host);
        return st;
    }
    s->dev = arena_over(dev, s->dev.peak);
    s->host = arena_over(host, s->host.peak);
    return MO_OK;
}

#endif
