/* The thread pool: every member runs every round once, whatever happens between rounds; failures to start come back. */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/threads.h"
#include "test.h"

enum { N_MAX = 7 };

typedef struct tally {
    int n[N_MAX]; /* by member: written by it alone */
    int wrong;
    atomic_int sum;
} tally;

static void work(void *arg, int i_thread, int n_thread)
{
    tally *t = arg;

    if (i_thread < 0 || i_thread >= n_thread || n_thread > N_MAX) t->wrong = 1;
    else t->n[i_thread]++;
    atomic_fetch_add_explicit(&t->sum, 1, memory_order_relaxed);
}

TEST(rounds)
{
    mo_error err = { 0 };

    for (int n = 1; n <= N_MAX; n++) {
        tally t = { .wrong = 0 };
        pool *p;

        CHECK_OK(pool_new(&p, n, &err));
        CHECK_INT(pool_size(p), n);
        for (int i = 0; i < 300; i++) {
            pool_run(p, work, &t);
            for (int k = 0; k < n; k++) /* all are done when it returns, and their writes seen */
                if (t.n[k] != i + 1) TEST_FAIL("round %d: member %d of %d ran %d times", i, k, n, t.n[k]);
            if (test_this_failed) break;
            if (i % 100 == 50) usleep(3000); /* asleep by now */
        }
        CHECK(!t.wrong);
        pool_free(p);
        CHECK_INT(atomic_load(&t.sum), 300 * n);
    }
}

TEST(failures)
{
    mo_error err = { 0 };
    pool *p;

    CHECK_INT(pool_new(&p, 0, &err), MO_E_ARG);
    CHECK(!p);
    for (int n = 0; n < 2; n++) {
        mo_alloc_fail_after(n);
        CHECK_INT(pool_new(&p, 3, &err), MO_E_NOMEM);
        mo_alloc_fail_after(-1);
        CHECK(!p);
    }
    CHECK_OK(pool_new(&p, 4, &err));
    pool_free(p); /* without a round */
    pool_free(NULL);
    CHECK(cpu_count() >= 1);
}

int main(void)
{
    RUN(rounds);
    RUN(failures);
    return test_end();
}
