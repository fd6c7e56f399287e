/* The thread pool (threads.h).
 *
 * One op is one "round": the caller publishes fn and arg, then raises `round`; members see it, work, and count themselves
 * out of `n_busy`. Both sides spin for a moment, because the next op of a forward pass follows within microseconds, then
 * sleep on a condition variable. A sleeper announces itself in `n_asleep` before it looks at `round` for the last time, and
 * a waker looks at `n_asleep` after it raised `round`: with sequentially consistent atomics one of them sees the other,
 * so no wake-up is lost and an op with all members awake costs no system call.
 */
#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "core/alloc.h"

/* About 50 us of spinning; the second half gives the core away, so that a machine with less cores than members goes on. */
enum { N_SPIN = 2000, N_SPIN_YIELD = 40 };

typedef struct member {
    pool *owner;
    int index;
    pthread_t thread;
} member;

struct pool {
    int n;
    int n_started; /* threads to join */
    member *members;

    pool_fn fn;
    void *arg;
    bool quit;

    _Alignas(MO_ALIGN) _Atomic uint32_t round;
    _Alignas(MO_ALIGN) _Atomic int n_busy;
    _Alignas(MO_ALIGN) _Atomic int n_asleep; /* members waiting for a round */
    _Atomic int caller_asleep;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t wait_round(pool *p, uint32_t seen)
{
    uint32_t r;

    for (int i = 0; i < N_SPIN; i++) {
        if ((r = atomic_load_explicit(&p->round, memory_order_acquire)) != seen) return r;
        relax();
    }
    for (int i = 0; i < N_SPIN_YIELD; i++) {
        if ((r = atomic_load_explicit(&p->round, memory_order_acquire)) != seen) return r;
        sched_yield();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while ((r = atomic_load(&p->round)) == seen) pthread_cond_wait(&p->start, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
    return r;
}

static void wait_done(pool *p)
{
    for (int i = 0; i < N_SPIN; i++) {
        if (!atomic_load_explicit(&p->n_busy, memory_order_acquire)) return;
        relax();
    }
    for (int i = 0; i < N_SPIN_YIELD; i++) {
        if (!atomic_load_explicit(&p->n_busy, memory_order_acquire)) return;
        sched_yield();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_asleep, 1);
    while (atomic_load(&p->n_busy)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_asleep, 0);
    pthread_mutex_unlock(&p->lock);
}

static void *member_main(void *arg)
{
    member *m = arg;
    pool *p = m->owner;
    uint32_t seen = 0;

    for (;;) {
        seen = wait_round(p, seen);
        if (p->quit) return NULL;
        p->fn(p->arg, m->index, p->n);
        if (atomic_fetch_sub(&p->n_busy, 1) == 1 && atomic_load(&p->caller_asleep)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void raise_round(pool *p)
{
    atomic_fetch_add(&p->round, 1);
    if (atomic_load(&p->n_asleep)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->start);
        pthread_mutex_unlock(&p->lock);
    }
}

void pool_run(pool *p, pool_fn fn, void *arg)
{
    if (p->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->n_busy, p->n - 1, memory_order_relaxed);
    raise_round(p);
    fn(arg, 0, p->n);
    wait_done(p);
}

mo_status pool_new(pool **out, int n_thread, mo_error *err)
{
    pool *p;

    *out = NULL;
    if (n_thread < 1) return mo_fail(err, MO_E_ARG, "thread pool: %d threads, need at least 1", n_thread);
    if (!(p = mo_alloc_aligned(sizeof *p))) return mo_fail(err, MO_E_NOMEM, "no memory for the thread pool");
    *p = (pool){ .n = n_thread };
    if (!(p->members = mo_calloc((size_t)n_thread, sizeof *p->members))) {
        mo_free(p);
        return mo_fail(err, MO_E_NOMEM, "no memory for the thread pool");
    }
    pthread_mutex_init(&p->lock, NULL); /* cannot fail with default attributes on the systems we know */
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 1; i < n_thread; i++) {
        p->members[i] = (member){ .owner = p, .index = i };
        if (pthread_create(&p->members[i].thread, NULL, member_main, &p->members[i])) {
            pool_free(p);
            return mo_fail(err, MO_E_NOMEM, "could not start thread %d of %d: lower the number of threads", i, n_thread);
        }
        p->n_started = i;
    }
    *out = p;
    return MO_OK;
}

void pool_free(pool *p)
{
    if (!p) return;
    p->quit = true;
    raise_round(p);
    for (int i = 1; i <= p->n_started; i++) pthread_join(p->members[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    mo_free(p->members);
    mo_free(p);
}

int pool_size(const pool *p) { return p->n; }

int cpu_count(void)
{
    long n;
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
