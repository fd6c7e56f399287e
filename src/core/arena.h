/* Scratch memory of one step: a bump allocator over one block that was planned beforehand.
 *
 * The same carving code runs twice. With base == NULL (arena_plan) it hands out no memory and only counts,
 * which is the plan; with the planned block (arena_over) it hands out addresses. So plan and use cannot drift
 * apart, and a step never allocates. `base` may be device memory: the arena does arithmetic only.
 */
#ifndef MO_CORE_ARENA_H
#define MO_CORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct arena {
    char *base;       /* NULL while planning */
    size_t used, cap; /* bytes */
    size_t peak;      /* largest `used` ever: the plan */
    bool overflow;    /* asked for more than cap: a planning mistake, reported by the caller */
} arena;

static inline arena arena_plan(void) { return (arena){ .cap = SIZE_MAX }; }
static inline arena arena_over(void *base, size_t cap) { return (arena){ .base = base, .cap = cap }; }

/* n elements of `size` bytes, 64-byte aligned and padded by one vector so that kernels may read past the end.
 * While planning the result is NULL and must not be touched. */
static inline void *arena_take(arena *a, size_t n, size_t size)
{
    size_t bytes, at = a->used;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2 || at > SIZE_MAX / 2) {
        a->overflow = true;
        return NULL;
    }
    bytes = (bytes + 64 + 63) / 64 * 64;
    if (at + bytes > a->cap) {
        a->overflow = true;
        return NULL;
    }
    a->used = at + bytes;
    if (a->used > a->peak) a->peak = a->used;
    return a->base ? a->base + at : NULL;
}

#define ARENA_FLOATS(a, n) ((float *)arena_take((a), (size_t)(n), sizeof(float)))

/* Give back everything taken since `mark = a->used`. */
static inline void arena_release(arena *a, size_t mark) { a->used = mark; }

#endif
