/* Tests in plain C: a few macros and one program per area.
 *
 *     TEST(name) { CHECK(x == 1); CHECK_STR(s, "abc"); }
 *     int main(void) { RUN(name); return test_end(); }
 *
 * A failing check names its place and both values and goes on to the next test. test_end() prints
 * "N passed, N failed" and returns non-zero if anything failed or nothing ran.
 */
#ifndef MO_TEST_H
#define MO_TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

static int test_n_passed, test_n_failed, test_n_skipped, test_this_failed;

#define TEST(name) static void test_##name(void)

#define RUN(name)                                                                                                                          \
    do {                                                                                                                                   \
        test_this_failed = 0;                                                                                                              \
        test_##name();                                                                                                                     \
        if (test_this_failed) {                                                                                                            \
            test_n_failed++;                                                                                                               \
            printf("FAIL  %s\n", #name);                                                                                                   \
        } else test_n_passed++;                                                                                                            \
        fflush(stdout);                                                                                                                    \
    } while (0)

#define SKIP(why)                                                                                                                          \
    do {                                                                                                                                   \
        printf("skipped: %s\n", why);                                                                                                      \
        test_n_skipped++;                                                                                                                  \
        return;                                                                                                                            \
    } while (0)

#define TEST_FAIL(...)                                                                                                                     \
    do {                                                                                                                                   \
        test_this_failed = 1;                                                                                                              \
        printf("%s:%d: ", __FILE__, __LINE__);                                                                                             \
        printf(__VA_ARGS__);                                                                                                               \
        printf("\n");                                                                                                                      \
    } while (0)

#define CHECK(cond)                                                                                                                        \
    do {                                                                                                                                   \
        if (!(cond)) {                                                                                                                     \
            TEST_FAIL("not true: %s", #cond);                                                                                              \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
#define CHECK_INT(got, want)                                                                                                               \
    do {                                                                                                                                   \
        long long g_ = (long long)(got), w_ = (long long)(want);                                                                           \
        if (g_ != w_) {                                                                                                                    \
            TEST_FAIL("%s is %lld, want %lld", #got, g_, w_);                                                                              \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
#define CHECK_STR(got, want)                                                                                                               \
    do {                                                                                                                                   \
        const char *g_ = (got), *w_ = (want);                                                                                              \
        if (!g_ || strcmp(g_, w_)) {                                                                                                       \
            TEST_FAIL("%s is \"%s\", want \"%s\"", #got, g_ ? g_ : "(null)", w_);                                                          \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
#define CHECK_NEAR(got, want, tol)                                                                                                         \
    do {                                                                                                                                   \
        double g_ = (got), w_ = (want);                                                                                                    \
        if (!(fabs(g_ - w_) <= (tol))) {                                                                                                   \
            TEST_FAIL("%s is %.9g, want %.9g", #got, g_, w_);                                                                              \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
/* st: an expression of mo_status with `err` (mo_error) in scope */
#define CHECK_OK(st)                                                                                                                       \
    do {                                                                                                                                   \
        mo_status s_ = (st);                                                                                                               \
        if (s_ != MO_OK) {                                                                                                                 \
            TEST_FAIL("%s: %d %s", #st, (int)s_, err.message);                                                                             \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)

static inline int test_end(void)
{
    printf("%d passed, %d failed", test_n_passed, test_n_failed);
    if (test_n_skipped) printf(", %d skipped", test_n_skipped);
    printf("\n");
    return test_n_failed || !test_n_passed;
}

#endif
