/* The official tokenizer's answers, all cases of the golden part `text`, in one process. Skipped, loudly, without them. */
#include <jansson.h>
#include <stdlib.h>

#include "cli/trace_text.h"
#include "test.h"

static const char *shared(void)
{
    const char *s = getenv("MO_SHARED");
    return s ? s : MO_SHARED_DEFAULT;
}

static void report(const char *name, const char *what, const json_t *got, const json_t *want)
{
    char *g = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT) : NULL, *w = json_dumps(want, JSON_ENCODE_ANY | JSON_COMPACT);
    size_t at = 0;

    while (g && w && g[at] && g[at] == w[at]) at++;
    at = at > 40 ? at - 40 : 0;
    TEST_FAIL("%s: %s differs near\n  got  %.200s\n  want %.200s", name, what, g ? g + at : "(missing)", w ? w + at : "");
    free(g);
    free(w);
}

static int run_case(const json_t *c, const tokenizer *t)
{
    const char *name = json_string_value(json_object_get(c, "case")), *stage = json_string_value(json_object_get(c, "stage")), *key;
    json_t *out = json_object(), *want;
    mo_error err = { 0 };
    bool known = false;
    int n_bad = 0;

    if (trace_text_run(stage, t, json_object_get(c, "input"), out, &known, &err) != MO_OK || !known) {
        TEST_FAIL("%s: %s", name, known ? err.message : "unknown stage");
        n_bad++;
    }
    json_object_foreach(json_object_get(c, "expect"), key, want) {
        const json_t *v = json_object_get(want, "value"), *got = json_object_get(out, key);
        if (json_equal(v, got)) continue;
        report(name, key, got, v);
        n_bad++;
    }
    json_decref(out);
    return n_bad != 0;
}

TEST(golden)
{
    char path[4096], dir[4096];
    json_error_t je;
    mo_error err;
    tokenizer *t;
    json_t *cases, *c;
    size_t i;
    int n_bad = 0;

    snprintf(path, sizeof path, "%s/golden/text/cases.json", shared());
    snprintf(dir, sizeof dir, "%s/tokenizer", shared());
    if (!(cases = json_load_file(path, JSON_ALLOW_NUL, &je))) SKIP("no golden text cases (set MO_SHARED)");
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    json_array_foreach(cases, i, c) n_bad += run_case(c, t);
    tokenizer_close(t);
    printf("golden text: %zu cases, %d wrong\n", json_array_size(cases), n_bad);
    json_decref(cases);
}

int main(void)
{
    RUN(golden);
    if (test_n_skipped && !test_n_failed) return 77; /* Meson: skipped */
    return test_end();
}
