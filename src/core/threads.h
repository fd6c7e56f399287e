/* A pool of threads that split one op at a time.
 *
 * The caller's thread is member 0 and works too. Between ops the others spin for a moment and then sleep, so an
 * idle process costs nothing. One op runs at a time; pool_run must not be called from two threads at once.
 */
#ifndef MO_CORE_THREADS_H
#define MO_CORE_THREADS_H

#include "core/status.h"

typedef struct pool pool;

typedef void (*pool_fn)(void *arg, int i_thread, int n_thread);

mo_status pool_new(pool **out, int n_thread, mo_error *err); /* n_thread >= 1 */
void pool_free(pool *p);                                     /* accepts NULL; joins */
int pool_size(const pool *p);

/* fn(arg, i, n) on every member; returns when all have. */
void pool_run(pool *p, pool_fn fn, void *arg);

int cpu_count(void); /* cores this process may run on, >= 1 */

#endif
