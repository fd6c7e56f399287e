/* Stop strings: any cut of the text gives what the whole gives; nothing is held back in vain. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "session/stop.h"
#include "test.h"

static rng g;

/* The obvious way: the smallest end of a match, of those the longest. Returns bytes shown; *which -1 if none. */
static size_t naive(const char *text, size_t n, const char *const *stop, size_t n_stop, int *which)
{
    *which = -1;
    for (size_t end = 1; end <= n; end++) {
        size_t best = 0;

        for (size_t i = 0; i < n_stop; i++) {
            size_t len = strlen(stop[i]);

            if (len <= end && len > best && !memcmp(text + end - len, stop[i], len)) {
                best = len;
                *which = (int)i;
            }
        }
        if (best) return end - best;
    }
    return n;
}

/* Longest proper prefix of a stop string that text ends in. */
static size_t naive_held(const char *text, size_t n, const char *const *stop, size_t n_stop)
{
    size_t held = 0;

    for (size_t i = 0; i < n_stop; i++)
        for (size_t k = 1; k < strlen(stop[i]) && k <= n; k++)
            if (k > held && !memcmp(text + n - k, stop[i], k)) held = k;
    return held;
}

TEST(random_cuts)
{
    mo_error err = { 0 };

    for (int round = 0; round < 20000; round++) {
        char text[60], stops[4][8];
        const char *stop[4];
        size_t n = rng_next(&g) % sizeof text, n_stop = rng_next(&g) % 5, at = 0, shown;
        int which, letters = 1 + (int)(rng_next(&g) % 3);
        stop_matcher *m;
        buf out = { 0 };

        for (size_t i = 0; i < n; i++) text[i] = (char)('a' + rng_next(&g) % (unsigned)letters);
        for (size_t i = 0; i < n_stop; i++) {
            size_t len = 1 + rng_next(&g) % 7;

            for (size_t j = 0; j < len; j++) stops[i][j] = (char)('a' + rng_next(&g) % (unsigned)letters);
            stops[i][len] = 0;
            stop[i] = stops[i];
        }
        shown = naive(text, n, stop, n_stop, &which);
        CHECK_OK(stop_open(&m, stop, n_stop, false, &err));
        while (at < n && !stop_hit(m)) {
            size_t piece = 1 + rng_next(&g) % 9;

            if (piece > n - at) piece = n - at;
            CHECK_OK(stop_push(m, text + at, piece, false, &out, &err));
            at += piece;
            if (stop_hit(m)) break;
            CHECK_INT(stop_held_bytes(m), naive_held(text, at, stop, n_stop));
            CHECK_INT(out.len, at - stop_held_bytes(m));
        }
        CHECK_OK(stop_push(m, "", 0, true, &out, &err));
        CHECK_INT(stop_which(m), which);
        CHECK_INT(out.len, shown);
        CHECK(!shown || !memcmp(out.data, text, shown));
        buf_free(&out);
        stop_close(m);
    }
}

TEST(across_tokens)
{
    const char *stop[] = { "\nUser:", "</s>" };
    mo_error err = { 0 };
    stop_matcher *m;
    buf out = { 0 };

    CHECK_OK(stop_open(&m, stop, 2, false, &err));
    CHECK_OK(stop_push(m, "Hello\n", 6, false, &out, &err));
    CHECK_STR(out.data, "Hello");
    CHECK_OK(stop_push(m, "Us", 2, false, &out, &err));
    CHECK_STR(out.data, "Hello");
    CHECK_OK(stop_push(m, "e\nUs", 4, false, &out, &err));
    CHECK_STR(out.data, "Hello\nUse");
    CHECK_OK(stop_push(m, "er: hi", 6, false, &out, &err));
    CHECK_STR(out.data, "Hello\nUse");
    CHECK(stop_hit(m));
    CHECK_INT(stop_which(m), 0);
    CHECK_OK(stop_push(m, "more", 4, true, &out, &err));
    CHECK_STR(out.data, "Hello\nUse");
    stop_reset(m);
    buf_clear(&out);
    CHECK_OK(stop_push(m, "a</", 3, false, &out, &err));
    CHECK_STR(out.data, "a");
    CHECK_OK(stop_push(m, NULL, 0, true, &out, &err));
    CHECK_STR(out.data, "a</");
    buf_free(&out);
    stop_close(m);
}

TEST(including_the_stop)
{
    const char *stop[] = { "END" };
    mo_error err = { 0 };
    stop_matcher *m;
    buf out = { 0 };

    CHECK_OK(stop_open(&m, stop, 1, true, &err));
    CHECK_OK(stop_push(m, "xE", 2, false, &out, &err));
    CHECK_OK(stop_push(m, "NDy", 3, false, &out, &err));
    CHECK_STR(out.data, "xEND");
    buf_free(&out);
    stop_close(m);
}

TEST(refusals)
{
    const char *empty[] = { "a", "" }, *many[STOP_N_MAX + 1], *two[] = { "ab", "cd" };
    mo_error err = { 0 };
    stop_matcher *m;

    for (int i = 0; i <= STOP_N_MAX; i++) many[i] = "x";
    CHECK_INT(stop_open(&m, empty, 2, false, &err), MO_E_ARG);
    CHECK_INT(stop_open(&m, many, STOP_N_MAX + 1, false, &err), MO_E_ARG);
    for (int i = 0; i < 6; i++) {
        mo_alloc_fail_after(i);
        CHECK_INT(stop_open(&m, two, 2, false, &err), MO_E_NOMEM);
        CHECK(!m);
    }
    mo_alloc_fail_after(-1);
}

int main(void)
{
    rng_seed(&g, 7);
    RUN(random_cuts);
    RUN(across_tokens);
    RUN(including_the_stop);
    RUN(refusals);
    return test_end();
}
