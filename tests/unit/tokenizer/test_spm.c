/* SentencePiece vocabularies on a small one made by hand: the order of merges, bytes, the space before a text, streaming.
 * Of the rule itself: the ids of vocabularies trained by the sentencepiece package were compared with that package's.
 */
#include <math.h>
#include <stdlib.h>

#include "test.h"

#include "tokenizer/tokenizer.h"

static mo_error err;

enum { UNK, BOS, EOS, BYTE0, PIECE0 = BYTE0 + 256 };

/* Scores below 0 as trained ones are, but two equal ones ("aa" and "ab") and one above. */
static const struct {
    const char *text;
    float score;
    int32_t type;
} piece[] = {
    { "\xe2\x96\x81", -20, 1 }, /* 0 ▁ */
    { "h", -21, 1 },
    { "e", -22, 1 },
    { "l", -23, 1 },
    { "o", -24, 1 },
    { "a", -25, 1 }, /* 5 */
    { "b", -26, 1 },
    { "lo", 3, 1 },
    { "\xe2\x96\x81h", -1, 1 },
    { "el", -2, 1 },
    { "ello", -3, 1 }, /* 10 */
    { "\xe2\x96\x81hello", -4, 1 },
    { "aa", -5, 1 },
    { "ab", -5, 1 },
    { "<|end|>", -1000, 3 },
    { "<img>", -1000, 4 }, /* 15 */
    { "[PAD274]", -10000, 5 },
    { "he", -6, 1 },
};

enum { N_PIECE = sizeof piece / sizeof *piece, N_TOKEN = PIECE0 + N_PIECE };

static char byte_text[256][8];
static tokenizer_text token[N_TOKEN];
static int32_t type[N_TOKEN];
static float score[N_TOKEN];

static tokenizer_lists lists(void)
{
    static const char *const role[] = { "<unk>", "<s>", "</s>" };

    for (int i = 0; i < N_TOKEN; i++) {
        const char *s = i < BYTE0 ? role[i] : i < PIECE0 ? byte_text[i - BYTE0] : piece[i - PIECE0].text;
        if (i >= BYTE0 && i < PIECE0) snprintf(byte_text[i - BYTE0], 8, "<0x%02X>", (unsigned)(i - BYTE0));
        token[i] = (tokenizer_text){ s, strlen(s) };
        type[i] = i == UNK ? 2 : i < BYTE0 ? 3 : i < PIECE0 ? 6 : piece[i - PIECE0].type;
        score[i] = i < PIECE0 ? 0 : piece[i - PIECE0].score;
    }
    return (tokenizer_lists){ .tokens = token,
                              .types = type,
                              .n_token = N_TOKEN,
                              .bos = BOS,
                              .eos = EOS,
                              .pad = -1,
                              .unk = UNK,
                              .add_bos = true,
                              .scores = score,
                              .space_prefix = true };
}

/* Ids as text: pieces by their number in the table, bytes as xHH, the others by what they are. */
static const char *encoded(const tokenizer_lists *l, const char *text, size_t n, bool plain)
{
    static char out[1024];
    size_t at = 0;
    ids id = { 0 };
    tokenizer *t;

    if (tokenizer_open_lists(&t, l, &err) != MO_OK) return err.message;
    if ((plain ? tokenizer_encode_plain : tokenizer_encode)(t, text, n, &id, &err) != MO_OK) return err.message;
    *out = 0;
    for (size_t i = 0; i < id.len && at < sizeof out - 8; i++) {
        int32_t k = id.data[i];
        if (i) at += (size_t)snprintf(out + at, 8, " ");
        if (k == UNK) at += (size_t)snprintf(out + at, 8, "unk");
        else if (k < BYTE0) at += (size_t)snprintf(out + at, 8, "s%d", (int)k);
        else if (k < PIECE0) at += (size_t)snprintf(out + at, 8, "x%02X", (unsigned)(k - BYTE0));
        else at += (size_t)snprintf(out + at, 8, "%d", (int)(k - PIECE0));
    }
    ids_free(&id);
    tokenizer_close(t);
    return out;
}

#define ENCODED(l, text) encoded(l, text, sizeof(text) - 1, false)

TEST(merges)
{
    tokenizer_lists l = lists();

    CHECK_STR(ENCODED(&l, "hello"), "11"); /* lo, ▁h, el, ello, ▁hello: "he" comes too late */
    CHECK_STR(ENCODED(&l, "hello hello"), "11 11");
    CHECK_STR(ENCODED(&l, "hel"), "8 9");
    CHECK_STR(ENCODED(&l, "ahe"), "0 5 17");
    CHECK_STR(ENCODED(&l, "aab"), "0 12 6"); /* equal scores: the left one */
    CHECK_STR(ENCODED(&l, "aaa"), "0 12 5");
    CHECK_STR(ENCODED(&l, "aaaa"), "0 12 12");
    CHECK_STR(ENCODED(&l, ""), "");
    CHECK_STR(ENCODED(&l, " "), "0 0");
    CHECK_STR(ENCODED(&l, "  a"), "0 0 0 5");
}

TEST(bytes_and_markers)
{
    tokenizer_lists l = lists();

    CHECK_STR(ENCODED(&l, "\xc3\xa9"), "0 xC3 xA9"); /* é */
    CHECK_STR(ENCODED(&l, "a\nb"), "0 5 x0A 6");     /* newlines are no spaces */
    CHECK_STR(ENCODED(&l, "\xff"), "0 xEF xBF xBD"); /* not UTF-8: U+FFFD */
    CHECK_STR(ENCODED(&l, "a\0b"), "0 5 x00 6");
    CHECK_STR(ENCODED(&l, "<0x41>"), "0 x3C x30 x78 x34 x31 x3E");              /* spelt, no byte token */
    CHECK_STR(ENCODED(&l, "<s>hello<|end|>hello<img>a"), "s1 11 14 11 15 0 5"); /* a space after every marker */
    CHECK_STR(ENCODED(&l, "<|end|> a"), "14 0 0 5");
    CHECK_STR(encoded(&l, "<s>", 3, true), "0 x3C x73 x3E");
    l.space_prefix = false;
    CHECK_STR(ENCODED(&l, "hello hello"), "1 10 11");
}

TEST(unknown_characters)
{
    tokenizer_lists l = lists();

    for (int i = 0; i < 256; i++) type[BYTE0 + i] = 5;
    CHECK_STR(ENCODED(&l, "a\xc3\xa9\xc3\xa9"
                          "b"),
              "0 5 unk 6"); /* neighbours are one */
    l.unk = -1;
    CHECK_STR(ENCODED(&l, "a"), "the vocabulary has neither a token for every byte nor one for what it does not know");
}

TEST(decoding)
{
    const int32_t hello[] = { PIECE0 + 11, PIECE0 + 11, BYTE0 + 0xc3, BYTE0 + 0xa9, EOS };
    tokenizer_lists l = lists();
    buf out = { 0 };
    detokenizer d;
    tokenizer *t;

    CHECK_OK(tokenizer_open_lists(&t, &l, &err));
    CHECK_OK(tokenizer_decode(t, hello, 5, true, &out, &err));
    CHECK_STR(out.data, "hello hello\xc3\xa9");
    buf_clear(&out);
    CHECK_OK(tokenizer_decode(t, hello + 2, 1, true, &out, &err));
    CHECK_STR(out.data, "\xef\xbf\xbd"); /* half a character */
    buf_clear(&out);
    detokenizer_init(&d, t, true);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(detokenizer_push(&d, &hello[i], 1, i == 4, &out, &err));
        if (i == 0) CHECK_STR(out.data, "hello");
        if (i == 2) CHECK_STR(out.data, "hello hello");
    }
    CHECK_STR(out.data, "hello hello\xc3\xa9");
    CHECK(tokenizer_get_roles(t).add_bos && tokenizer_is_special(t, BOS) && !tokenizer_is_special(t, PIECE0 + 15));
    CHECK_INT(tokenizer_find(t, "<|end|>"), PIECE0 + 14);
    buf_free(&out);
    tokenizer_close(t);
}

/* A long stretch without a space takes no longer than its length says, and comes back. */
TEST(a_long_stretch)
{
    enum { N = 200000 };
    tokenizer_lists l = lists();
    char *text = malloc(N);
    ids id = { 0 };
    buf out = { 0 };
    tokenizer *t;

    CHECK(text);
    for (int i = 0; i < N; i++) text[i] = "hello ab"[i * 7 % 8];
    CHECK_OK(tokenizer_open_lists(&t, &l, &err));
    CHECK_OK(tokenizer_encode(t, text, N, &id, &err));
    CHECK_OK(tokenizer_decode(t, id.data, id.len, true, &out, &err));
    CHECK(out.len == N && !memcmp(out.data, text, N));
    ids_free(&id);
    buf_free(&out);
    tokenizer_close(t);
    free(text);
}

TEST(damaged)
{
    tokenizer_lists l = lists();
    tokenizer *t;

    score[7] = NAN;
    CHECK(tokenizer_open_lists(&t, &l, &err) == MO_E_FORMAT && !t && strstr(err.message, "no number"));
    l = lists();
    type[PIECE0] = 6;
    CHECK(tokenizer_open_lists(&t, &l, &err) == MO_E_FORMAT && strstr(err.message, "written as one"));
    l = lists();
    token[PIECE0] = token[PIECE0 + 1];
    CHECK(tokenizer_open_lists(&t, &l, &err) == MO_E_FORMAT && strstr(err.message, "two ids"));
    l = lists();
    l.types = NULL; /* told by their looks; markers of no role are then pieces, which characters spell */
    CHECK_STR(ENCODED(&l, "<s>\xc3\xa9"), "s1 0 xC3 xA9");
}

int main(void)
{
    RUN(merges);
    RUN(bytes_and_markers);
    RUN(unknown_characters);
    RUN(decoding);
    RUN(a_long_stretch);
    RUN(damaged);
    return test_end();
}
