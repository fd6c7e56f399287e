/* The picture stages against what PIL and the official processor give: every case of ../shared/golden/see, to the last bit.
 * Skipped, loudly, where that folder is missing. MO_SHARED names it otherwise. */
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/npy.h"
#include "cli/trace_image.h"
#include "core/alloc.h"
#include "core/file.h"
#include "sha256.h"
#include "test.h"

typedef struct run {
    char part[512], media[512], dir[64];
    const char *case_name;
    json_t *values;
    char why[256];
} run;

static bool same_sha256(run *r, const npy_array *a, const json_t *want)
{
    char hex[65];

    sha256_hex(hex, a->data, a->n * (a->dtype[0] == 'u' ? 1 : 4));
    if (!strcmp(hex, json_string_value(json_object_get(want, "sha256")))) return true;
    snprintf(r->why, sizeof r->why, "sha256 %.16s", hex);
    return false;
}

/* `file` holds the rows of `rows`; equal to the last bit. */
static bool same_rows(run *r, const npy_array *a, const json_t *want)
{
    const json_t *rows = json_object_get(want, "rows"), *row;
    char path[1024];
    npy_array ref;
    mo_error err;
    size_t i, row_bytes;
    bool same = true;

    snprintf(path, sizeof path, "%s/%s", r->part, json_string_value(json_object_get(want, "file")));
    if (npy_read(&ref, path, &err) != MO_OK) {
        snprintf(r->why, sizeof r->why, "%.200s", err.message);
        return false;
    }
    row_bytes = (size_t)a->dim[1] * 4;
    json_array_foreach(rows, i, row)
        same &=
            !memcmp((const char *)ref.data + i * row_bytes, (const char *)a->data + (size_t)json_integer_value(row) * row_bytes, row_bytes);
    if (!same) snprintf(r->why, sizeof r->why, "rows differ");
    npy_free(&ref);
    return same;
}

static bool same_output(run *r, const char *name, const json_t *want)
{
    const json_t *value = json_object_get(want, "value"), *shape = json_object_get(want, "shape");
    char path[1024];
    npy_array a;
    mo_error err;
    bool same = true;

    if (value) {
        if (json_equal(json_object_get(r->values, name), value)) return true;
        snprintf(r->why, sizeof r->why, "another value");
        return false;
    }
    snprintf(path, sizeof path, "%s/%s.%s.npy", r->dir, r->case_name, name);
    if (npy_read(&a, path, &err) != MO_OK) {
        snprintf(r->why, sizeof r->why, "%.200s", err.message);
        return false;
    }
    for (size_t i = 0; i < json_array_size(shape); i++) same &= json_integer_value(json_array_get(shape, i)) == a.dim[i];
    same &= (int)json_array_size(shape) == a.n_dim;
    if (!same) snprintf(r->why, sizeof r->why, "another shape");
    else same = json_object_get(want, "sha256") ? same_sha256(r, &a, want) : same_rows(r, &a, want);
    npy_free(&a);
    return same;
}

static void remove_outputs(const run *r, json_t *expect)
{
    const char *name;
    json_t *want;
    char path[1024];

    json_object_foreach(expect, name, want) {
        snprintf(path, sizeof path, "%s/%s.%s.npy", r->dir, r->case_name, name);
        unlink(path);
    }
}

static bool one_case(run *r, const json_t *c)
{
    json_t *expect = json_object_get(c, "expect");
    const char *stage = json_string_value(json_object_get(c, "stage")), *name;
    trace_ctx ctx = { .part_dir = r->part, .media_dir = r->media, .model_dir = "" };
    trace_out out = { .dir = r->dir };
    mo_error err = { 0 };
    bool same = true;
    json_t *want;

    r->case_name = out.name = json_string_value(json_object_get(c, "case"));
    r->values = out.values = json_object();
    if (trace_image_stage(stage, &ctx, json_object_get(c, "input"), &out, &err) != MO_OK) {
        printf("  %s: %s\n", r->case_name, err.message);
        same = false;
    }
    json_object_foreach(expect, name, want) {
        if (!same || !strcmp(name, "text") || !strcmp(name, "ids")) continue; /* the tokenizer's part */
        if (!(same = same_output(r, name, want))) printf("  %s.%s: %s\n", r->case_name, name, r->why);
    }
    remove_outputs(r, expect);
    json_decref(r->values);
    return same;
}

static const char *shared_dir(void)
{
    const char *dir = getenv("MO_SHARED");

    return dir ? dir : "../shared";
}

TEST(golden)
{
    run r = { .dir = "/tmp/mo-image-golden-XXXXXX" };
    char path[600];
    json_t *cases, *c;
    json_error_t jerr;
    int n = 0, n_bad = 0;
    size_t i;

    snprintf(r.part, sizeof r.part, "%s/golden/see", shared_dir());
    snprintf(r.media, sizeof r.media, "%s/media", shared_dir());
    snprintf(path, sizeof path, "%s/cases.json", r.part);
    if (!file_exists(path)) SKIP("no ../shared/golden/see: the picture stages were NOT compared with the reference");
    CHECK(mkdtemp(r.dir));
    cases = json_load_file(path, 0, &jerr);
    CHECK(cases);
    json_array_foreach(cases, i, c) {
        if (!trace_image_has_stage(json_string_value(json_object_get(c, "stage")))) continue;
        n++;
        n_bad += !one_case(&r, c);
    }
    json_decref(cases);
    rmdir(r.dir);
    printf("  %d golden cases, %d differ\n", n, n_bad);
    CHECK_INT(n_bad, 0);
    CHECK(n > 0);
}

int main(void)
{
    RUN(golden);
    return test_n_skipped && !test_n_failed ? (test_end(), 77) : test_end(); /* 77: skipped, for Meson */
}
