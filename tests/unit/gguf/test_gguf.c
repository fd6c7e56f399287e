/* GGUF files: what our writer makes our reader gives back; what is damaged is refused with a sentence, whatever the damage. */
#include "formats/gguf_write.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buf.h"
#include "test.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* Three tensors; the second, of blocks, is written in two pieces. split: "no" of two, or -1. */
static mo_status write_good(const char *path, int split, mo_error *err)
{
    static const gguf_text words[3] = { { "a", 1 }, { "", 0 }, { "h\xc3\xa9", 3 } };
    static const int32_t types[3] = { 1, 3, -4 };
    static const float scores[2] = { 0.5f, -2 };
    float f[40];
    uint8_t q[36];
    gguf_writer *w;
    mo_status st = gguf_write_begin(&w, path, err);

    if (st != MO_OK) return st;
    for (int i = 0; i < 40; i++) f[i] = (float)i;
    for (int i = 0; i < 36; i++) q[i] = (uint8_t)i;
    gguf_put_text(w, "general.architecture", "qwen3", 5);
    gguf_put_u32(w, "qwen3.block_count", 7);
    gguf_put_i32(w, "n.negative", -7);
    gguf_put_u64(w, "n.large", (uint64_t)1 << 40);
    gguf_put_f32(w, "n.real", 1.5f);
    gguf_put_bool(w, "n.yes", true);
    gguf_put_texts(w, "list.words", words, 3);
    gguf_put_ints(w, "list.types", types, 3);
    gguf_put_reals(w, "list.scores", scores, 2);
    if (split >= 0) {
        gguf_put_i32(w, "split.no", split);
        gguf_put_i32(w, "split.count", 2);
        gguf_put_i32(w, "split.tensors.count", 6);
    }
    gguf_declare(w, split == 1 ? "blk.1.attn_norm.weight" : "output_norm.weight", MO_F32, 1, (int64_t[]){ 5 });
    gguf_declare(w, split == 1 ? "blk.1.ffn_up.weight" : "blk.12.ffn_up.weight", MO_Q4_0, 2, (int64_t[]){ 2, 32 });
    gguf_declare(w, split == 1 ? "other" : "unknown.name", MO_F32, 3, (int64_t[]){ 2, 3, 5 });
    if ((st = gguf_write_data(w, f, 20, err)) != MO_OK || (st = gguf_write_data(w, q, 10, err)) != MO_OK ||
        (st = gguf_write_data(w, q + 10, 26, err)) != MO_OK || (st = gguf_write_data(w, f, 120, err)) != MO_OK) {
        gguf_write_abort(w);
        return st;
    }
    return gguf_write_end(w, err);
}

TEST(what_is_written_can_be_read)
{
    const char *path = in_dir("good.gguf");
    mo_error err = { 0 };
    tensors *ts;
    gguf *g;
    gguf_text t, *words;
    int32_t *types;
    float *scores;
    size_t n;
    int64_t i;
    double d;
    bool b = false;

    CHECK_OK(write_good(path, -1, &err));
    CHECK_OK(tensors_open_gguf(&ts, &g, path, &err));
    CHECK(g->version == 3 && g->alignment == 32 && g->n_value == 9);
    CHECK(gguf_get_text(g, "general.architecture", &t) && gguf_text_is(t, "qwen3") && gguf_text_has(t, "wen") && !gguf_text_has(t, "wan"));
    CHECK(gguf_get_int(g, "qwen3.block_count", &i) && i == 7);
    CHECK(gguf_get_int(g, "n.negative", &i) && i == -7);
    CHECK(gguf_get_int(g, "n.large", &i) && i == (int64_t)1 << 40);
    CHECK(gguf_get_real(g, "n.real", &d) && d == 1.5);
    CHECK(gguf_get_real(g, "n.negative", &d) && d == -7);
    CHECK(gguf_get_bool(g, "n.yes", &b) && b);
    CHECK(!gguf_get_int(g, "n.real", &i) && !gguf_get_int(g, "list.types", &i) && !gguf_get_text(g, "n.yes", &t) &&
          !gguf_get_int(g, "missing", &i));
    CHECK_OK(gguf_get_texts(g, "list.words", &words, &n, &err));
    CHECK(n == 3 && gguf_text_is(words[0], "a") && words[1].n == 0 && gguf_text_is(words[2], "h\xc3\xa9"));
    CHECK_OK(gguf_get_ints(g, "list.types", &types, &n, &err));
    CHECK(n == 3 && types[0] == 1 && types[2] == -4);
    CHECK_OK(gguf_get_reals(g, "list.scores", &scores, &n, &err));
    CHECK(n == 2 && scores[1] == -2);
    mo_free(words);
    mo_free(types);
    mo_free(scores);
    CHECK_INT(gguf_get_texts(g, "list.types", &words, &n, &err), MO_E_FORMAT);
    CHECK_INT(gguf_get_ints(g, "n.yes", &types, &n, &err), MO_E_FORMAT);

    CHECK_INT(tensors_count(ts), 3);
    const tensor *up = tensors_find(ts, "llm.model.layers.12.mlp.up_proj.weight"), *rest = tensors_find(ts, "unknown.name");
    CHECK(tensors_find(ts, "llm.model.norm.weight") && up && rest);
    CHECK(up->type == MO_Q4_0 && up->n_dim == 2 && up->dim[0] == 2 && up->dim[1] == 32 && up->n_bytes == 36 &&
          ((const uint8_t *)up->data)[35] == 35);
    CHECK(rest->n_dim == 3 && rest->dim[0] == 2 && rest->dim[2] == 5 && ((const float *)rest->data)[29] == 29);
    gguf_free(g);
    tensors_close(ts);
}

TEST(a_model_in_parts)
{
    char first[128], second[128];
    mo_error err = { 0 };
    tensors *ts;
    gguf *g;

    snprintf(first, sizeof first, "%s", in_dir("m-00001-of-00002.gguf"));
    snprintf(second, sizeof second, "%s", in_dir("m-00002-of-00002.gguf"));
    CHECK_OK(write_good(first, 0, &err));
    CHECK_INT(tensors_open_gguf(&ts, &g, first, &err), MO_E_IO); /* the second is missing */
    CHECK_OK(write_good(second, 1, &err));
    CHECK_OK(tensors_open_gguf(&ts, &g, first, &err));
    CHECK(tensors_count(ts) == 6 && tensors_find(ts, "other"));
    gguf_free(g);
    tensors_close(ts);
    CHECK_INT(tensors_open_gguf(&ts, &g, second, &err), MO_E_ARG);
    CHECK(strstr(err.message, "open the first part"));
    CHECK_OK(write_good(second, 0, &err));
    CHECK_INT(tensors_open_gguf(&ts, &g, first, &err), MO_E_FORMAT);
    CHECK_OK(write_good(in_dir("wrong-name.gguf"), 0, &err));
    CHECK_INT(tensors_open_gguf(&ts, &g, in_dir("wrong-name.gguf"), &err), MO_E_FORMAT);
}

/* A whole image from a string of bytes: header with counts, then what the test says. */
static mo_status parse(const void *body, size_t n, uint32_t version, uint64_t n_tensor, uint64_t n_kv, mo_error *err)
{
    uint8_t *p = malloc(24 + n);
    gguf *g;
    mo_status st;

    if (!p) exit(2);
    memcpy(p, "GGUF", 4);
    memcpy(p + 4, &version, 4);
    memcpy(p + 8, &n_tensor, 8);
    memcpy(p + 16, &n_kv, 8);
    if (n) memcpy(p + 24, body, n);
    st = gguf_parse(&g, p, 24 + n, "f.gguf", err);
    gguf_free(g);
    free(p);
    return st;
}

/* Length and text of a name of 1 byte. */
#define NAME(c)          "\1\0\0\0\0\0\0\0" c
#define U32(a)           a "\0\0\0"
#define U64(a)           a "\0\0\0\0\0\0\0"
#define PARSE(s, nt, nk) parse(s, sizeof(s) - 1, 3, nt, nk, &err)

TEST(hostile_headers)
{
    static const char pad64[64] = { 0 };
    mo_error err;

    CHECK_OK(parse(NULL, 0, 3, 0, 0, &err));
    CHECK_OK(parse(NULL, 0, 2, 0, 0, &err));
    CHECK_INT(parse(NULL, 0, 1, 0, 0, &err), MO_E_UNSUPPORTED);
    CHECK_INT(parse(NULL, 0, 0x03000000, 0, 0, &err), MO_E_UNSUPPORTED);
    CHECK_INT(parse(NULL, 0, 3, UINT64_MAX, 0, &err), MO_E_LIMIT);
    CHECK_INT(parse(NULL, 0, 3, 0, 70000, &err), MO_E_LIMIT);
    CHECK_INT(parse(pad64, 64, 3, 60000, 0, &err), MO_E_FORMAT);
    /* keys */
    CHECK_OK(PARSE(NAME("k") U32("\4") U32("\7"), 0, 1));
    CHECK_INT(PARSE(NAME("k") U32("\4") U32("\7") NAME("k") U32("\4") U32("\7"), 0, 2), MO_E_FORMAT);   /* twice */
    CHECK_INT(PARSE(NAME("\0") U32("\4") U32("\7"), 0, 1), MO_E_FORMAT);                                /* NUL */
    CHECK_INT(PARSE("\0\0\0\0\0\0\0\0" U32("\4") U32("\7"), 0, 1), MO_E_FORMAT);                        /* empty */
    CHECK_INT(PARSE("\377\377\377\377\377\377\377\377k" U32("\4") U32("\7"), 0, 1), MO_E_FORMAT);       /* longer than anything */
    CHECK_INT(PARSE(NAME("k") U32("\15") U64("\0"), 0, 1), MO_E_FORMAT);                                /* unknown type */
    CHECK_INT(PARSE(NAME("k") U32("\11") U32("\11") U64("\0"), 0, 1), MO_E_FORMAT);                     /* arrays of arrays */
    CHECK_INT(PARSE(NAME("k") U32("\11") U32("\4") "\0\0\0\0\0\0\0\100" U64("\0"), 0, 1), MO_E_FORMAT); /* 2^62 items */
    CHECK_INT(PARSE(NAME("k") U32("\11") U32("\10") U64("\3") U64("\0"), 0, 1), MO_E_FORMAT);           /* three strings in eight bytes */
    /* tensors: name, n_dim, dims, type, offset, data */
    CHECK_OK(PARSE(NAME("t") U32("\1") U64("\1") U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                     "\1\2\3\4",
                   1, 0));
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3",
                    1, 0),
              MO_E_FORMAT); /* cut off */
    CHECK_INT(PARSE(NAME("t") U32("\0") U64("\1") U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT); /* no dimensions */
    CHECK_INT(PARSE(NAME("t") U32("\5") U64("\1") U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT); /* five */
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\0") U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT); /* of zero */
    CHECK_INT(PARSE(NAME("t") U32("\1") "\0\0\0\0\0\0\0\200" U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                                 "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT);
    CHECK_INT(PARSE(NAME("t") U32("\1") "\0\0\0\0\0\0\0\100" U32("\0") U64("\0") "\0\0\0\0\0\0\0"
                                                                                 "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT);
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\4") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_UNSUPPORTED); /* a removed type */
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\2") U64("\0") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT); /* part of a block */
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\0") U64("\4") "\0\0\0\0\0\0\0"
                                                                      "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT); /* not aligned */
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\0") "\0\0\0\0\0\0\0\200"
                                                            "\0\0\0\0\0\0\0"
                                                            "\1\2\3\4",
                    1, 0),
              MO_E_FORMAT);
    CHECK_INT(PARSE(NAME("t") U32("\1") U64("\1") U32("\0") U64("\0") NAME("u") U32("\1") U64("\1") U32("\0")
                        U64("\0") "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                  "\1\2\3\4",
                    2, 0),
              MO_E_FORMAT); /* one over the other */
}

TEST(cut_anywhere_is_refused)
{
    mo_error err = { 0 };
    file_map m;
    gguf *g;

    CHECK_OK(write_good(in_dir("cut.gguf"), -1, &err));
    CHECK_OK(file_map_open(&m, in_dir("cut.gguf"), &err));
    for (size_t n = 0; n + 8 < m.size; n++) { /* the last tensor's 120 bytes are followed by padding */
        uint8_t *p = malloc(n ? n : 1);
        CHECK(p);
        memcpy(p, m.data, n);
        mo_status st = gguf_parse(&g, p, n, "cut", &err);
        free(p);
        if (st == MO_OK) gguf_free(g);
        if (st != MO_E_FORMAT) TEST_FAIL("%zu of %zu bytes: status %d", n, m.size, (int)st);
    }
    file_map_close(&m);
}

TEST(lost_allocations)
{
    mo_error err = { 0 };
    tensors *ts;
    gguf *g;
    mo_status st = MO_E_NOMEM;

    for (int i = 0; st != MO_OK && i < 200; i++) {
        mo_alloc_fail_after(i);
        st = write_good(in_dir("nomem.gguf"), -1, &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || st == MO_E_NOMEM);
    }
    CHECK(st == MO_OK);
    st = MO_E_NOMEM;
    for (int i = 0; st != MO_OK && i < 200; i++) {
        mo_alloc_fail_after(i);
        st = tensors_open_gguf(&ts, &g, in_dir("nomem.gguf"), &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || st == MO_E_NOMEM);
    }
    CHECK(st == MO_OK);
    gguf_free(g);
    tensors_close(ts);
}

TEST(writer_counts_bytes)
{
    mo_error err = { 0 };
    gguf_writer *w;
    float f[4] = { 0 };

    CHECK_OK(gguf_write_begin(&w, in_dir("short.gguf"), &err));
    gguf_declare(w, "t", MO_F32, 1, (int64_t[]){ 4 });
    CHECK_OK(gguf_write_data(w, f, 8, &err));
    CHECK_INT(gguf_write_end(w, &err), MO_E_ARG);
    CHECK(access(in_dir("short.gguf"), F_OK));
    CHECK_OK(gguf_write_begin(&w, in_dir("long.gguf"), &err));
    gguf_declare(w, "t", MO_F32, 1, (int64_t[]){ 1 });
    CHECK_INT(gguf_write_data(w, f, 8, &err), MO_E_ARG);
    gguf_write_abort(w);
    CHECK_OK(gguf_write_begin(&w, in_dir("odd.gguf"), &err));
    gguf_declare(w, "t", MO_Q4_K, 2, (int64_t[]){ 1, 100 });
    CHECK_INT(gguf_write_end(w, &err), MO_E_ARG);
    CHECK_INT(gguf_write_begin(&w, "/nonexistent/x.gguf", &err), MO_E_IO);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    char command[80];

    snprintf(dir, sizeof dir, "%.40s/mo-gguf-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(dir)) return 2;
    RUN(what_is_written_can_be_read);
    RUN(a_model_in_parts);
    RUN(hostile_headers);
    RUN(cut_anywhere_is_refused);
    RUN(lost_allocations);
    RUN(writer_counts_bytes);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    if (system(command)) return 2;
    return test_end();
}
