/* The tokenizer without official files: Unicode, splitting, merging, hostile files, stand-ins, streaming, lost memory. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "tokenizer/split.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "test.h"

static char dir[64];
static mo_error err;

static void put_file(const char *name, const char *text, size_t n)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!text) {
        unlink(path);
        return;
    }
    if ((f = fopen(path, "wb"))) {
        fwrite(text, 1, n, f);
        fclose(f);
    }
}

static void clear_dir(void)
{
    static const char *const names[] = { "vocab.json",        "merges.txt",
                                         "tokenizer.json",    "tokenizer_config.json",
                                         "added_tokens.json", "special_tokens_map.json",
                                         "tokenizer.model" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put_file(names[i], NULL, 0);
}

/* {"!": 0, ...} of the 256 bytes, without the closing brace, and how many ids it has. */
static void put_bytes_vocab(buf *b)
{
    int id = 0;

    buf_puts(b, "{");
    for (uint32_t cp = 0x21; cp <= 0x143; cp++) {
        if (cp == 0x7f || (cp > 0x7f && cp < 0xa1) || cp == 0xad) continue;
        buf_puts(b, id ? ", \"" : "\"");
        if (cp == '"' || cp == '\\') buf_puts(b, "\\");
        utf8_put(b, cp);
        buf_printf(b, "\": %d", id++);
    }
}

/* The bytes and these tokens and merges; NULL parts are left out. */
static void put_model(const char *more_vocab, const char *merges, const char *config)
{
    buf b = { 0 };

    clear_dir();
    put_bytes_vocab(&b);
    if (more_vocab) buf_printf(&b, ", %s", more_vocab);
    buf_puts(&b, "}");
    put_file("vocab.json", b.data, b.len);
    if (merges) put_file("merges.txt", merges, strlen(merges));
    if (config) put_file("tokenizer_config.json", config, strlen(config));
    buf_free(&b);
}

static const char *ids_text(const ids *v)
{
    static char text[512];
    size_t at = 0;

    text[0] = 0;
    for (size_t i = 0; i < v->len && at < sizeof text - 12; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, i ? " %d" : "%d", v->data[i]);
    return text;
}

static const char *encoded(const tokenizer *t, const char *s, size_t n)
{
    static char text[512];
    ids v = { 0 };

    if (tokenizer_encode(t, s, n, &v, &err) != MO_OK) return err.message;
    snprintf(text, sizeof text, "%s", ids_text(&v));
    ids_free(&v);
    return text;
}

TEST(utf8_lossy)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        { "a\xf0\x9f", "a\xef\xbf\xbd" },                           /* cut: one */
        { "\xf0\x9f\x98x", "\xef\xbf\xbdx" },                       /* maximal subpart: one */
        { "\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd" },                 /* lone continuations: one each */
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },                 /* overlong */
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* surrogate */
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x41" }, /* Unicode table 3-11 */
        { "\xe4\xbd\xa0", "\xe4\xbd\xa0" },
    };
    buf b = { 0 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&b);
        utf8_put_lossy(&b, cases[i].in, strlen(cases[i].in));
        CHECK_STR(b.data, cases[i].want);
    }
    CHECK(utf8_is_valid("a\0b", 3));
    CHECK(!utf8_is_valid("a\xff", 2));
    buf_free(&b);
}

TEST(classes)
{
    CHECK_INT(unicode_class('a'), UNI_LETTER);
    CHECK_INT(unicode_class('7'), UNI_NUMBER);
    CHECK_INT(unicode_class('_'), UNI_OTHER);
    CHECK_INT(unicode_class(0x4f60), UNI_LETTER);
    CHECK_INT(unicode_class(0xb2), UNI_NUMBER); /* superscript two */
    CHECK_INT(unicode_class(0x301), UNI_MARK);
    CHECK_INT(unicode_class(0x10d4a), UNI_LETTER); /* new in 16.0 */
    CHECK_INT(unicode_class(0x11f50), UNI_NUMBER);
    CHECK_INT(unicode_class(0x10ffff), UNI_OTHER);
    CHECK(unicode_is_space(0x3000) && unicode_is_space(0x85) && !unicode_is_space(0x200b) && !unicode_is_space(0x1c));
}

static const char *nfc(const char *s)
{
    static char out[256];
    buf b = { 0 };

    nfc_put(&b, s, strlen(s));
    snprintf(out, sizeof out, "%s", b.data ? b.data : "");
    buf_free(&b);
    return out;
}

TEST(normalise)
{
    CHECK_STR(nfc("e\xcc\x81"), "\xc3\xa9");
    CHECK_STR(nfc("\xe2\x84\xa6"), "\xce\xa9");                             /* OHM to OMEGA */
    CHECK_STR(nfc("a\xcc\x81\xcc\xa3"), nfc("a\xcc\xa3\xcc\x81"));          /* canonical order */
    CHECK_STR(nfc("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab"), "\xed\x95\x9c"); /* Hangul */
    CHECK_STR(nfc("a\xe1\xb7\xb6\xcc\xa3"), "a\xe1\xb7\xb6\xcc\xa3");       /* U+1DF6 is younger than 9.0: no reordering over it */
    CHECK_STR(nfc("\xea\xb0\x80\xe1\x86\xa7"), "\xea\xb0\x80\xe1\x86\xa7"); /* U+11A7 is no Hangul final */
    CHECK_STR(nfc("plain"), "plain");
}

/* A run of marks longer than the small sort takes: same result, and fast. */
TEST(normalise_long_runs)
{
    size_t n = 200000, n_below = 0;
    buf in = { 0 }, out = { 0 };

    buf_puts(&in, "a");
    for (size_t i = 0; i < n; i++) buf_puts(&in, i & 1 ? "\xcc\xa3" : "\xcc\x81"); /* below (220), above (230) */
    nfc_put(&out, in.data, in.len);
    CHECK(!out.failed);
    CHECK(!memcmp(out.data, "\xe1\xba\xa1", 3)); /* a with dot below */
    for (size_t i = 3; i + 1 < out.len && !memcmp(out.data + i, "\xcc\xa3", 2); i += 2) n_below++;
    CHECK_INT(n_below, n / 2 - 1);
    CHECK_INT(out.len, 3 + 2 * (n - 1));
    buf_free(&in);
    buf_free(&out);
}

static const char *split(split_kind kind, const char *s)
{
    static char out[512];
    size_t at = 0;

    for (size_t i = 0, end, n = strlen(s); i < n; i = end) {
        end = split_next(kind, s, n, i);
        at += (size_t)snprintf(out + at, sizeof out - at, "[%.*s]", (int)(end - i), s + i);
    }
    return out;
}

TEST(splitting)
{
    CHECK_STR(split(SPLIT_QWEN2, "I'll don'T 123 4.5"), "[I]['ll][ don]['T][ ][1][2][3][ ][4][.][5]");
    CHECK_STR(split(SPLIT_LLAMA3, "12345 1"), "[123][45][ ][1]");
    CHECK_STR(split(SPLIT_QWEN2, "  a\n\n b"), "[ ][ a][\n\n][ b]");
    CHECK_STR(split(SPLIT_QWEN2, "a  "), "[a][  ]");
    CHECK_STR(split(SPLIT_QWEN2, " \t\n x"), "[ \t\n][ x]");
    CHECK_STR(split(SPLIT_QWEN2, "!?\n\nx (a)"), "[!?\n\n][x][ (][a][)]");
    CHECK_STR(split(SPLIT_QWEN2, "it'\xc5\xbfx"), "[it]['\xc5\xbf][x]"); /* long s */
    CHECK_STR(split(SPLIT_QWEN2, "$a _b"), "[$a][ _][b]");
    CHECK_STR(split(SPLIT_QWEN2, "e\xcc\xa7"
                                 "a"),
              "[e][\xcc\xa7"
              "a]"); /* a mark may precede letters */
    CHECK_STR(split(SPLIT_QWEN35, "e\xcc\xa7"
                                  "a!"),
              "[e\xcc\xa7"
              "a][!]");                                                                         /* or be one */
    CHECK_STR(split(SPLIT_GPT2, "I'll don'T 123 4.5"), "[I]['ll][ don]['][T][ 123][ 4][.][5]"); /* small letters only */
    CHECK_STR(split(SPLIT_GPT2, "$a\n\n  b!?\n"), "[$][a][\n\n ][ b][!?][\n]");
    CHECK_STR(split(SPLIT_SMOLLM, "ab12 3  4x  "), "[ab][1][2][ ][3][  ][4][x][  ]"); /* a digit ends the text before it */
}

static const char merges[] = "#version: 0.2\na b\nab c\nb c\nc d\nbc cd\n";
static const char tokens[] = "\"ab\": 256, \"abc\": 257, \"bc\": 258, \"cd\": 259, \"bccd\": 260, \"<x>\": 300";

TEST(merging)
{
    tokenizer *t;

    put_model(tokens, merges,
              "{\"added_tokens_decoder\": {\"301\": {\"content\": \"<|a|>\", \"special\": true}, \"302\": {\"content\": \"<|a|><\"}}, "
              "\"unk_token\": \"<x>\"}");
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    CHECK_STR(encoded(t, "abc", 3), "257");
    CHECK_STR(encoded(t, "bcd", 3), "258 67"); /* "b c" is better than "c d" */
    CHECK_STR(encoded(t, "xbccd", 5), "87 260");
    CHECK_STR(encoded(t, "ababc", 5), "256 257");
    CHECK_STR(encoded(t, "a\0b", 3), "64 188 65");
    CHECK_STR(encoded(t, "<|a|>", 5), "301");
    CHECK_STR(encoded(t, "<|a|><x>", 8), "302 87 29"); /* the longest wins, and takes the next one's first character */
    CHECK_STR(encoded(t, "<x>b", 4), "300 65");        /* declared special by the configuration */
    CHECK_INT(tokenizer_find(t, "abc"), 257);
    CHECK_INT(tokenizer_find(t, "abcd"), -1);
    CHECK_INT(tokenizer_n_vocab(t), 303);
    CHECK(tokenizer_is_special(t, 301) && !tokenizer_is_special(t, 302) && tokenizer_is_added(t, 302) && tokenizer_is_special(t, 300));
    CHECK(!tokenizer_is_special(t, -1) && !tokenizer_is_special(t, 1 << 30) && !tokenizer_is_added(t, 299));
    CHECK_INT(tokenizer_get_roles(t).unk, 300);
    ids v = { 0 };
    CHECK_OK(tokenizer_encode_plain(t, "<|a|>", 5, &v, &err));
    CHECK_INT(v.len, 5);
    ids_free(&v);
    tokenizer_close(t);
}

TEST(long_words)
{
    tokenizer *t;
    size_t n = 1 << 20;
    char *s = malloc(n);
    ids v = { 0 };

    put_model("\"aa\": 256, \"aaaa\": 257, \"aaaaaaaa\": 258", "a a\naa aa\naaaa aaaa\n", NULL);
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    memset(s, 'a', n);
    CHECK_OK(tokenizer_encode(t, s, n, &v, &err));
    CHECK_INT(v.len, n / 8);
    CHECK_INT(v.data[v.len - 1], 258);
    ids_free(&v);
    free(s);
    tokenizer_close(t);
}

TEST(hostile_files)
{
    static const struct {
        const char *vocab, *merges, *config, *want;
    } cases[] = {
        { "\"a\": 300", "", NULL, "two ids" },
        { "\"zz\": 3", "", NULL, "two tokens have id 3" },
        { "\"zz\": -1", "", NULL, "outside" },
        { "\"zz\": 16777216", "", NULL, "outside" },
        { "\"zz\": 99999999999999999999", "", NULL, "not an integer in range" },
        { "\"zz\": 1.5", "", NULL, "not an integer" },
        { "\"zz\": \"1\"", "", NULL, "not an integer" },
        { "\"\": 256", "", NULL, "text of 0 bytes" },
        { "\"zz\": 256,", "", NULL, "no string" },
        { "\"z\\ud800\": 256", "", NULL, "surrogate" },
        { "\"zz\": 256", "z z z\n", NULL, "not two parts" },
        { "\"zz\": 256", "zz\n", NULL, "not two parts" },
        { "\"zz\": 256", "z y\n", NULL, "its result is not in the vocabulary" },
        { "\"zz\": 256", "z qq\n", NULL, "its right part is not in the vocabulary" },
        { NULL, NULL, NULL, "merges.txt" },
        { NULL, "", "[]", "not a JSON object" },
        { NULL, "", "{\"added_tokens_decoder\": []}", "not an object" },
        { NULL, "", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<a>\"}}}", "no id" },
        { NULL, "", "{\"added_tokens_decoder\": {\"256\": {}}}", "no content" },
        { NULL, "", "{\"added_tokens_decoder\": {\"256\": {\"content\": \"\"}}}", "text of 0 bytes" },
        { NULL, "", "{\"added_tokens_decoder\": {\"3\": {\"content\": \"<a>\"}}}", "two tokens have id 3" },
        { NULL, "", "{\"added_tokens_decoder\": {\"256\": {\"content\": \"a\"}}}", "two ids" },
        { NULL, "", "{\"bad_token_ids\": [1, -2]}", "bad_token_ids[1]" },
        { NULL, "", "{\"a\": ", "not JSON" },
    };
    tokenizer *t;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_model(cases[i].vocab, cases[i].merges, cases[i].config);
        err.message[0] = 0;
        CHECK(tokenizer_open_hf(&t, dir, &err) != MO_OK);
        CHECK(!t);
        if (!strstr(err.message, cases[i].want)) TEST_FAIL("case %zu says \"%s\", not \"%s\"", i, err.message, cases[i].want);
    }
    clear_dir();
    put_file("vocab.json", "{\"a\": 0}", 8);
    put_file("merges.txt", "", 0);
    CHECK(tokenizer_open_hf(&t, dir, &err) == MO_E_FORMAT && strstr(err.message, "no token for byte 0x00"));
    put_file("vocab.json", "{\"a\": 0, \"b\"", 12);
    CHECK(tokenizer_open_hf(&t, dir, &err) == MO_E_FORMAT);
    clear_dir();
    put_file("tokenizer.model", "x", 1);
    CHECK(tokenizer_open_hf(&t, dir, &err) == MO_E_UNSUPPORTED && strstr(err.message, "SentencePiece"));
    CHECK(tokenizer_open_hf(&t, "/nonexistent", &err) == MO_E_IO);
}

/* tokenizer.json, as Llama 3 has it: groups of digits, whole words first, no NFC. */
TEST(tokenizer_json)
{
    tokenizer *t;
    buf b = { 0 };

    clear_dir();
    buf_puts(&b, "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
                 "\"pattern\": {\"Regex\": "
                 "\"(?i:'s)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?x\"}}, {\"type\": \"ByteLevel\"}]}, "
                 "\"added_tokens\": [{\"id\": 300, \"content\": \"<|b|>\", \"special\": true}], "
                 "\"model\": {\"type\": \"BPE\", \"ignore_merges\": true, \"merges\": [\"a b\", [\"c\", \"d\"]], \"vocab\": ");
    put_bytes_vocab(&b);
    buf_puts(&b, ", \"ab\": 256, \"cd\": 257, \"abcd\": 258, \"123\": 259}}}");
    put_file("tokenizer.json", b.data, b.len);
    buf_free(&b);
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    CHECK_STR(encoded(t, "abcd", 4), "258"); /* no merge makes it */
    CHECK_STR(encoded(t, "xabcd", 5), "87 256 257");
    CHECK_STR(encoded(t, "1234<|b|>", 9), "259 19 300");
    CHECK_STR(encoded(t, "e\xcc\x81", 3), "68 136 223");
    tokenizer_close(t);
}

TEST(lists)
{
    tokenizer_text token[300], merge[1] = { { "a b", 3 } };
    int32_t type[300];
    char text[300][4];
    tokenizer_lists l = { token, type, 300, merge, 1, "llama-bpe", 299, -1, 7, 1000, true, NULL, false };
    tokenizer *t;
    int id = 0;

    for (uint32_t cp = 0x21; cp <= 0x143; cp++) {
        buf b = { 0 };
        if (cp == 0x7f || (cp > 0x7f && cp < 0xa1) || cp == 0xad) continue;
        utf8_put(&b, cp);
        memcpy(text[id], b.data, b.len);
        token[id] = (tokenizer_text){ text[id], b.len };
        type[id++] = 1;
        buf_free(&b);
    }
    for (; id < 300; id++) {
        token[id] = (tokenizer_text){ "[PAD]", 5 };
        type[id] = 5;
    }
    token[256] = (tokenizer_text){ "ab", 2 };
    type[256] = 1;
    token[299] = (tokenizer_text){ "<s>", 3 };
    type[299] = 3;
    token[298] = (tokenizer_text){ "<t>", 3 };
    type[298] = 4;
    CHECK_OK(tokenizer_open_lists(&t, &l, &err));
    CHECK_STR(encoded(t, "<s>ab<t>12", 10), "299 256 298 16 17");
    CHECK(tokenizer_is_special(t, 299) && !tokenizer_is_special(t, 298));
    tokenizer_roles r = tokenizer_get_roles(t);
    CHECK(r.bos == 299 && r.eos == -1 && r.pad == 7 && r.unk == -1 && r.add_bos);
    tokenizer_close(t);
    l.pre = "other";
    CHECK(tokenizer_open_lists(&t, &l, &err) == MO_E_UNSUPPORTED);
}

TEST(standin)
{
    tokenizer *t;
    buf b = { 0 };
    ids v = { 0 };
    char all[256];

    clear_dir();
    CHECK_OK(tokenizer_write_standin(dir, 151748, &err));
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    CHECK_INT(tokenizer_n_vocab(t), 151748);
    CHECK_STR(encoded(t, "<|im_start|>a\n<unk></think>", 27), "151644 64 198 128244 151668");
    CHECK(tokenizer_is_special(t, 128244) && !tokenizer_is_special(t, 151668));
    CHECK_INT(tokenizer_get_roles(t).eos, 151645);
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    CHECK_OK(tokenizer_encode(t, all, 128, &v, &err));
    CHECK_OK(tokenizer_decode(t, v.data, v.len, false, &b, &err));
    CHECK(b.len == 128 && !memcmp(b.data, all, 128));
    tokenizer_close(t);
    ids_free(&v);
    buf_free(&b);
    clear_dir();
    CHECK_OK(tokenizer_write_standin(dir, 1024, &err));
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    CHECK_INT(tokenizer_n_vocab(t), 256);
    CHECK_INT(tokenizer_find(t, "<unk>"), -1);
    tokenizer_close(t);
    CHECK(tokenizer_write_standin(dir, 255, &err) == MO_E_ARG);
    CHECK(tokenizer_write_standin("/nonexistent/x", 256, &err) == MO_E_IO);
}

/* Any way to cut a stream of tokens gives the text of the whole. */
TEST(streaming)
{
    static const int32_t id[] = { 172, 253, 246, 222, 64, 172, 253, 172, 121, 65, 186, 187, 160, 121, 254, 172, 253 };
    enum { N = sizeof id / sizeof *id };
    buf whole = { 0 }, parts = { 0 };
    tokenizer *t;

    clear_dir();
    CHECK_OK(tokenizer_write_standin(dir, 256, &err));
    CHECK_OK(tokenizer_open_hf(&t, dir, &err));
    CHECK_OK(tokenizer_decode(t, id, N, false, &whole, &err));
    for (int step = 1; step <= N; step++) {
        detokenizer d;
        detokenizer_init(&d, t, false);
        buf_clear(&parts);
        for (int i = 0; i < N; i += step) {
            int n = i + step > N ? N - i : step;
            CHECK_OK(detokenizer_push(&d, id + i, (size_t)n, i + step >= N, &parts, &err));
            CHECK(i + step >= N || parts.len < 3 || memcmp(parts.data + parts.len - 3, "\xef\xbf\xbd", 3));
        }
        CHECK(parts.len == whole.len && !memcmp(parts.data, whole.data, whole.len));
    }
    buf_free(&whole);
    buf_free(&parts);
    tokenizer_close(t);
}

/* Every allocation of opening, encoding and decoding fails once; nothing leaks (under ASan) and each says so. */
TEST(no_memory)
{
    int64_t n = 0;
    mo_status st;

    put_model(tokens, merges, "{\"added_tokens_decoder\": {\"301\": {\"content\": \"<|a|>\", \"special\": true}}, \"bad_token_ids\": [1]}");
    do {
        tokenizer *t = NULL;
        buf b = { 0 };
        ids v = { 0 };
        mo_alloc_fail_after(n++);
        st = tokenizer_open_hf(&t, dir, &err);
        if (st == MO_OK) st = tokenizer_encode(t, "abc e\xcc\x81\xff <|a|> bccd", 20, &v, &err);
        if (st == MO_OK) st = tokenizer_decode(t, v.data, v.len, false, &b, &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || st == MO_E_NOMEM);
        tokenizer_close(t);
        buf_free(&b);
        ids_free(&v);
    } while (st != MO_OK && n < 10000);
    printf("no_memory: %lld allocations\n", (long long)n - 1);
    CHECK(n > 10 && n < 10000);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/minicpmo-tok-XXXXXX");
    if (!mkdtemp(dir)) return 1;
    RUN(utf8_lossy);
    RUN(classes);
    RUN(normalise);
    RUN(normalise_long_runs);
    RUN(splitting);
    RUN(merging);
    RUN(long_words);
    RUN(hostile_files);
    RUN(tokenizer_json);
    RUN(lists);
    RUN(standin);
    RUN(streaming);
    RUN(no_memory);
    clear_dir();
    rmdir(dir);
    return test_end();
}
