/* Safetensors: what a good file gives, and what every kind of bad one is refused for. */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "test.h"

/* A file image: length, header, n_data bytes counting up. */
static uint8_t *image_of(const char *header, size_t n_data, size_t *size)
{
    size_t n = strlen(header);
    uint8_t *p = malloc(8 + n + n_data);

    if (!p) exit(2);
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(p + 8, header, n);
    for (size_t i = 0; i < n_data; i++) p[8 + n + i] = (uint8_t)i;
    *size = 8 + n + n_data;
    return p;
}

/* Parse and index; the image stays the caller's. */
static mo_status parse(tensors **ts, const uint8_t *p, size_t size, mo_error *err)
{
    mo_status st = tensors_new(ts, err);

    if (st == MO_OK) st = safetensors_parse(*ts, p, size, "f.safetensors", err);
    if (st == MO_OK) st = tensors_index(*ts, err);
    if (st != MO_OK) {
        tensors_close(*ts);
        *ts = NULL;
    }
    return st;
}

static const char good[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[6,22]},"
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[22,24]},"
    "\"e\":{\"dtype\":\"F32\",\"shape\":[4,0,2],\"data_offsets\":[6,6]},\"n\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[24,32]}}  "
    " ";

TEST(good_file)
{
    mo_error err = { 0 };
    size_t size;
    uint8_t *p = image_of(good, 32, &size);
    tensors *ts;
    const tensor *t, *u;

    CHECK_OK(parse(&ts, p, size, &err));
    CHECK_INT(tensors_count(ts), 4);
    t = tensors_find(ts, "b");
    CHECK(t);
    CHECK_INT(t->type, MO_F32);
    CHECK_INT(t->n_dim, 2);
    CHECK_INT(t->dim[1], 2);
    CHECK_INT(t->n_bytes, 16);
    CHECK(t->data == p + 8 + strlen(good) + 6);
    CHECK_INT(t->file_offset, 8 + strlen(good) + 6);
    t = tensors_find(ts, "s");
    CHECK(t && t->n_dim == 0 && t->n_bytes == 2 && t->type == MO_F16);
    t = tensors_find(ts, "e");
    CHECK(t && t->n_bytes == 0 && t->dim[1] == 0);
    CHECK(!tensors_find(ts, "n"));
    CHECK(!tensors_find(ts, ""));
    CHECK(tensors_at(ts, 4) == NULL);
    CHECK_STR(tensors_at(ts, 1)->name, "a");
    CHECK_INT(tensors_get(ts, "n", &u, &err), MO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "I64") && strstr(err.message, "'n'"));
    CHECK_INT(tensors_get(ts, "nobody", &u, &err), MO_E_FORMAT);
    CHECK_OK(tensors_get(ts, "a", &u, &err));
    tensors_close(ts);
    free(p);
}

typedef struct bad_case {
    const char *header;
    size_t n_data;
    mo_status st;
    const char *says;
} bad_case;

#define T(name, dtype, shape, begin, end) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static const bad_case bad_cases[] = {
    { "{", 0, MO_E_FORMAT, "start with a header" },
    { "{}x", 0, MO_E_FORMAT, "JSON" },
    { "{ }", 1, MO_E_FORMAT, "belong to no tensor" },
    { "[]", 0, MO_E_FORMAT, "no JSON object" },
    { "{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, MO_E_FORMAT, "duplicate" },
    { "{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "2", "6") "}", 6, MO_E_FORMAT, "overlap" },
    { "{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "0", "4") "}", 4, MO_E_FORMAT, "overlap" },
    { "{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "5", "9") "}", 9, MO_E_FORMAT, "belong to no tensor" },
    { "{" T("a", "F32", "[1]", "1", "5") "}", 5, MO_E_FORMAT, "belong to no tensor" },
    { "{" T("a", "F32", "[1]", "0", "4") "}", 5, MO_E_FORMAT, "last 1 bytes" },
    { "{" T("a", "F32", "[1]", "0", "4") "}", 3, MO_E_FORMAT, "inside" },
    { "{" T("a", "F32", "[1]", "4", "0") "}", 4, MO_E_FORMAT, "inside" },
    { "{" T("a", "F32", "[2]", "0", "4") "}", 4, MO_E_FORMAT, "shape need" },
    { "{" T("a", "F32", "[-1]", "0", "4") "}", 4, MO_E_FORMAT, "no size" },
    { "{" T("a", "F32", "[1.0]", "0", "4") "}", 4, MO_E_FORMAT, "no size" },
    { "{" T("a", "F32", "[\"1\"]", "0", "4") "}", 4, MO_E_FORMAT, "no size" },
    { "{" T("a", "F32", "[9007199254740993]", "0", "4") "}", 4, MO_E_FORMAT, "no size" },
    { "{" T("a", "F32", "[99999999999999999999999]", "0", "4") "}", 4, MO_E_FORMAT, "JSON" },
    { "{" T("a", "F32", "[4294967296,4294967296]", "0", "4") "}", 4, MO_E_FORMAT, "overflow" },
    { "{" T("a", "F64", "[4503599627370496,1024]", "0", "4") "}", 4, MO_E_FORMAT, "overflow" },
    { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, MO_E_UNSUPPORTED, "dimensions" },
    { "{" T("a", "F32", "1", "0", "4") "}", 4, MO_E_FORMAT, "no shape" },
    { "{" T("a", "F32", "[1]", "0", "true") "}", 4, MO_E_FORMAT, "data_offsets" },
    { "{" T("a", "F32", "[1]", "0,0", "4") "}", 4, MO_E_FORMAT, "data_offsets" },
    { "{" T("a", "F32", "[1]", "-4", "0") "}", 4, MO_E_FORMAT, "data_offsets" },
    { "{" T("a", "F4", "[8]", "0", "4") "}", 4, MO_E_UNSUPPORTED, "unknown type 'F4'" },
    { "{" T("a", "Q4_0", "[32]", "0", "18") "}", 18, MO_E_UNSUPPORTED, "unknown type" },
    { "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MO_E_FORMAT, "not described" },
    { "{\"a\":[1]}", 0, MO_E_FORMAT, "not described" },
    { "{\"a\":{}}", 0, MO_E_FORMAT, "not described" },
    { "{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MO_E_FORMAT, "name" },
    { "{\"__metadata__\":3}", 0, MO_E_FORMAT, "__metadata__" },
    { "{\"__metadata__\":{\"a\":3}}", 0, MO_E_FORMAT, "__metadata__" },
    { "{\"a\":{\"b\":[{\"c\":[1]}]}}", 0, MO_E_FORMAT, "nests" },
    { "{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MO_E_FORMAT, "JSON" },
    { "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MO_E_FORMAT, "JSON" },
    { "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MO_E_FORMAT, "JSON" },
};

TEST(bad_headers)
{
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        const bad_case *c = &bad_cases[i];
        mo_error err = { 0 };
        size_t size;
        uint8_t *p = image_of(c->header, c->n_data, &size);
        tensors *ts;
        mo_status st = parse(&ts, p, size, &err);

        free(p);
        tensors_close(ts);
        if (st != c->st || !strstr(err.message, c->says))
            TEST_FAIL("%s: %s \"%s\", want %s and \"%s\"", c->header, mo_status_name(st), err.message, mo_status_name(c->st), c->says);
    }
}

/* Every prefix of a good file is refused, whatever its length says. */
TEST(cut_off)
{
    size_t size;
    uint8_t *p = image_of(good, 32, &size);

    for (size_t n = 0; n < size; n++) {
        mo_error err = { 0 };
        tensors *ts;
        uint8_t *q = malloc(n + 1); /* its own block, so that a sanitizer sees its end */

        CHECK(q);
        memcpy(q + 1, p, n);
        CHECK(parse(&ts, q + 1, n, &err) == MO_E_FORMAT);
        CHECK(*err.message);
        free(q);
    }
    free(p);
}

TEST(length_field)
{
    static const uint64_t n[] = { 0, 1, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63 };
    size_t size;
    uint8_t *p = image_of("{}", 0, &size);

    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        mo_error err = { 0 };
        tensors *ts;
        for (int b = 0; b < 8; b++) p[b] = (uint8_t)(n[i] >> (8 * b));
        CHECK_INT(parse(&ts, p, size, &err), MO_E_FORMAT);
    }
    free(p);
}

/* ---- directories ---- */

static char dir[64];

static void put(const char *name, const void *data, size_t n)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!(f = fopen(path, "wb")) || fwrite(data, 1, n, f) != n || fclose(f)) exit(2);
}

static void drop(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

/* A shard with one BF16 tensor [1]. */
static void put_shard(const char *file, const char *tensor_name)
{
    char header[200];
    size_t size;
    uint8_t *p;

    snprintf(header, sizeof header, "{" T("%s", "BF16", "[1]", "0", "2") "}", tensor_name);
    p = image_of(header, 2, &size);
    put(file, p, size);
    free(p);
}

static void put_text(const char *name, const char *text) { put(name, text, strlen(text)); }

#define INDEX "model.safetensors.index.json"

TEST(sharded)
{
    mo_error err = { 0 };
    tensors *ts;

    CHECK_INT(tensors_open_safetensors(&ts, dir, &err), MO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "it knows") && !ts);
    put_shard("m-1.safetensors", "a");
    put_shard("m-2.safetensors", "b");
    CHECK_OK(tensors_open_safetensors(&ts, dir, &err)); /* no index: every shard */
    CHECK(tensors_find(ts, "a") && tensors_find(ts, "b"));
    tensors_close(ts);

    put_text(INDEX, "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    CHECK_OK(tensors_open_safetensors(&ts, dir, &err));
    CHECK_INT(tensors_count(ts), 2);
    CHECK(strstr(tensors_find(ts, "b")->file, "/m-2.safetensors"));
    tensors_close(ts);

    put_shard("m-2.safetensors", "a");
    CHECK_INT(tensors_open_safetensors(&ts, dir, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "twice") && strstr(err.message, "m-1.") && strstr(err.message, "m-2."));
    put_shard("m-2.safetensors", "c");
    CHECK_INT(tensors_open_safetensors(&ts, dir, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "'b'"));
    drop("m-2.safetensors");
    CHECK_INT(tensors_open_safetensors(&ts, dir, &err), MO_E_IO);
    CHECK(strstr(err.message, "'m-2.safetensors' is missing"));

    put_shard("model.safetensors", "single"); /* goes before an index, as in the reference's loader */
    CHECK_OK(tensors_open_safetensors(&ts, dir, &err));
    CHECK(tensors_find(ts, "single") && tensors_count(ts) == 1);
    tensors_close(ts);
    drop("model.safetensors");
    drop("m-1.safetensors");
    drop(INDEX);
}

TEST(bad_indexes)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        { "", "JSON" },
        { "[]", "weight_map" },
        { "{}", "weight_map" },
        { "{\"weight_map\":[]}", "weight_map" },
        { "{\"weight_map\":{}}", "no tensor" },
        { "{\"weight_map\":{\"a\":1}}", "which file" },
        { "{\"weight_map\":{\"a\":\"../m.safetensors\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"x/m.safetensors\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"x\\\\m.safetensors\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"\"}}", "plain file name" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mo_error err = { 0 };
        shard_index ix;
        mo_status st = shard_index_parse(&ix, cases[i].json, strlen(cases[i].json), "index", &err);
        if (st != MO_E_FORMAT || !strstr(err.message, cases[i].says)) TEST_FAIL("%s: %s", cases[i].json, err.message);
    }
}

TEST(other_files)
{
    mo_error err = { 0 };
    tensors *ts;
    char path[160];

    put_text("text.txt", "hello, this is no checkpoint");
    snprintf(path, sizeof path, "%s/text.txt", dir);
    CHECK_INT(tensors_open_safetensors(&ts, path, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "no safetensors file"));
    put("text.txt", "", 0);
    CHECK_INT(tensors_open_safetensors(&ts, path, &err), MO_E_FORMAT);
    drop("text.txt");
    CHECK_INT(tensors_open_safetensors(&ts, path, &err), MO_E_IO);
}

/* Fail each allocation in turn: an error every time, and (under a sanitizer) nothing lost. */
TEST(memory_short)
{
    mo_error err;
    tensors *ts;
    mo_status st;
    int n;

    put_shard("m-1.safetensors", "a");
    put_shard("m-2.safetensors", "b");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    for (n = 0; n < 1000; n++) {
        mo_alloc_fail_after(n);
        st = tensors_open_safetensors(&ts, dir, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(!ts);
    }
    CHECK(n > 10 && n < 1000);
    tensors_close(ts);
    drop("m-1.safetensors");
    drop("m-2.safetensors");
    drop(INDEX);
}

/* Many names, found again; the growth of lists and the index. */
TEST(many)
{
    enum { N = 5000 };
    mo_error err = { 0 };
    char *json = malloc(N * 80), name[32];
    size_t at = 0, size;
    uint8_t *p;
    tensors *ts;

    CHECK(json);
    for (int i = 0; i < N; i++)
        at += (size_t)sprintf(json + at, "%s\"t.%d\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "{", i, 2 * i,
                              2 * i + 2);
    strcpy(json + at, "}");
    p = image_of(json, 2 * N, &size);
    free(json);
    CHECK_OK(parse(&ts, p, size, &err));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t.%d", i);
        CHECK(tensors_find(ts, name) && !strcmp(tensors_find(ts, name)->name, name));
    }
    CHECK(!tensors_find(ts, "t.5000"));
    tensors_close(ts);
    free(p);
}

int main(void)
{
    strcpy(dir, "/tmp/mo-safetensors-XXXXXX");
    if (!mkdtemp(dir)) return 2;
    RUN(good_file);
    RUN(bad_headers);
    RUN(cut_off);
    RUN(length_field);
    RUN(sharded);
    RUN(bad_indexes);
    RUN(other_files);
    RUN(memory_short);
    RUN(many);
    rmdir(dir);
    return test_end();
}
