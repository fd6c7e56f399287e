/* The golden cases of stage sample: the ids that the reference's own samplers choose from the same logits and numbers. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/trace_sample.h"
#include "test.h"

static char path_buf[2][1024];

static const char *shared(int i, const char *rest)
{
    const char *base = getenv("MO_SHARED");

    snprintf(path_buf[i], sizeof path_buf[i], "%s/%s", base ? base : "../shared", rest);
    return path_buf[i];
}

static int run_case(const tokenizer *t, const json_t *c, mo_error *err)
{
    json_t *want = json_object_get(c, "expect"), *value;
    const char *key, *name = json_string_value(json_object_get(c, "case"));
    trace_out out = { .values = json_object(), .dir = ".", .name = name };
    int bad = 0;

    if (trace_sample_case(t, json_object_get(c, "input"), &out, err) != MO_OK) {
        printf("%s: %s\n", name, err->message);
        bad = 1;
    }
    json_object_foreach(want, key, value)
        if (!bad && !json_equal(json_object_get(out.values, key), json_object_get(value, "value"))) {
            char *g = json_dumps(json_object_get(out.values, key), JSON_ENCODE_ANY | JSON_COMPACT);
            char *w = json_dumps(json_object_get(value, "value"), JSON_ENCODE_ANY | JSON_COMPACT);

            printf("%s.%s: %s, want %s\n", name, key, g ? g : "nothing", w);
            free(g);
            free(w);
            bad = 1;
        }
    json_decref(out.values);
    return bad;
}

TEST(golden)
{
    mo_error err = { 0 };
    json_t *file = json_load_file(shared(0, "golden/llm/cases.json"), 0, NULL), *cases, *c;
    tokenizer *t = NULL;
    size_t i;
    int n = 0, n_bad = 0;

    if (!file || tokenizer_open_hf(&t, shared(1, "tokenizer"), &err) != MO_OK) {
        json_decref(file);
        SKIP("golden/llm/cases.json or the tokenizer is not there: set MO_SHARED");
    }
    cases = json_is_object(file) ? json_object_get(file, "cases") : file;
    json_array_foreach(cases, i, c) {
        const char *stage = json_string_value(json_object_get(c, "stage"));

        if (!stage || strcmp(stage, "sample")) continue;
        n++;
        n_bad += run_case(t, c, &err);
    }
    tokenizer_close(t);
    json_decref(file);
    printf("%d golden cases, %d differ\n", n, n_bad);
    CHECK(n > 0);
    CHECK_INT(n_bad, 0);
}

int main(void)
{
    RUN(golden);
    return test_end();
}
