/* The library's only door to the heap, and checked size arithmetic.
 *
 * Tests make the n-th allocation fail through this door, so nothing in src/ calls malloc by itself.
 * Sizes that come from a file or a user go through mo_size_mul / mo_size_add before they reach it.
 */
#ifndef MO_CORE_ALLOC_H
#define MO_CORE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MO_ALIGN 64 /* cache line, and the widest vector we load */

void *mo_malloc(size_t n);              /* as malloc; n == 0 gives a pointer too */
void *mo_zalloc(size_t n);              /* zeroed */
void *mo_calloc(size_t n, size_t size); /* zeroed array, NULL on overflow */
void *mo_realloc(void *p, size_t n);    /* NULL leaves p as it was */
void *mo_alloc_aligned(size_t n);       /* MO_ALIGN-aligned, not zeroed; free with mo_free */
char *mo_strdup(const char *s);
char *mo_strndup(const char *s, size_t n);
void mo_free(void *p); /* accepts NULL */

/* Both return false on overflow and leave *out alone. */
static inline bool mo_size_mul(size_t a, size_t b, size_t *out)
{
    size_t n;

    if (__builtin_mul_overflow(a, b, &n)) return false;
    *out = n;
    return true;
}

static inline bool mo_size_add(size_t a, size_t b, size_t *out)
{
    size_t n;

    if (__builtin_add_overflow(a, b, &n)) return false;
    *out = n;
    return true;
}

static inline size_t mo_round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Test hook: the allocation made when the count reaches 0 fails, once; negative switches it off.
 * Also counts: mo_alloc_count() is the number of allocations so far in the process. */
void mo_alloc_fail_after(int64_t n);
int64_t mo_alloc_count(void);

#endif
