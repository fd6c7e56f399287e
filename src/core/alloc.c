/* Heap allocation with an injectable failure (alloc.h). */
#include "core/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Process-wide by nature, like the heap it counts; only tests set the first. */
static _Atomic int64_t fail_after = -1;
static _Atomic int64_t n_alloc = 0;

static bool must_fail(void)
{
    atomic_fetch_add_explicit(&n_alloc, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0) return false;
    return atomic_fetch_sub_explicit(&fail_after, 1, memory_order_relaxed) == 0;
}

void mo_alloc_fail_after(int64_t n) { atomic_store(&fail_after, n); }
int64_t mo_alloc_count(void) { return atomic_load(&n_alloc); }

void *mo_malloc(size_t n) { return must_fail() ? NULL : malloc(n ? n : 1); }
void *mo_zalloc(size_t n) { return must_fail() ? NULL : calloc(1, n ? n : 1); }

void *mo_calloc(size_t n, size_t size)
{
    size_t total;
    return mo_size_mul(n, size, &total) ? mo_zalloc(total) : NULL;
}

void *mo_realloc(void *p, size_t n) { return must_fail() ? NULL : realloc(p, n ? n : 1); }

void *mo_alloc_aligned(size_t n)
{
    void *p = NULL;

    if (must_fail()) return NULL;
    if (n > SIZE_MAX - MO_ALIGN) return NULL;
    return posix_memalign(&p, MO_ALIGN, n ? n : 1) ? NULL : p;
}

char *mo_strndup(const char *s, size_t n)
{
    char *p;

    if (n == SIZE_MAX || !(p = mo_malloc(n + 1))) return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *mo_strdup(const char *s) { return mo_strndup(s, strlen(s)); }

void mo_free(void *p) { free(p); }
