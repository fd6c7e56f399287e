/* Any bytes through a stand-in tokenizer and back: decoding gives the NFC form of the text with bad bytes replaced, in one
 * piece or streamed, and with added tokens taken literally too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static tokenizer *open_standin(void)
{
    static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json" };
    char dir[] = "/tmp/minicpmo-fuzz-XXXXXX", path[128];
    tokenizer *t;
    mo_error err;

    if (!mkdtemp(dir) || tokenizer_write_standin(dir, 151748, &err) != MO_OK || tokenizer_open_hf(&t, dir, &err) != MO_OK) abort();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return t;
}

static void same(const buf *a, const buf *b)
{
    if (a->len != b->len || (a->len && memcmp(a->data, b->data, a->len))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static tokenizer *t;
    buf valid = { 0 }, want = { 0 }, got = { 0 }, streamed = { 0 };
    ids v = { 0 };
    detokenizer d;
    mo_error err;

    if (!t) t = open_standin();
    utf8_put_lossy(&valid, (const char *)data, n);
    nfc_put(&want, valid.data ? valid.data : "", valid.len);
    if (tokenizer_encode_plain(t, (const char *)data, n, &v, &err) != MO_OK) abort();
    if (tokenizer_decode(t, v.data, v.len, false, &got, &err) != MO_OK) abort();
    same(&got, &want);
    detokenizer_init(&d, t, false);
    for (size_t i = 0; i < v.len; i++)
        if (detokenizer_push(&d, v.data + i, 1, false, &streamed, &err) != MO_OK) abort();
    if (detokenizer_push(&d, NULL, 0, true, &streamed, &err) != MO_OK) abort();
    same(&streamed, &want);

    ids_clear(&v); /* with markers: pieces are normalised apart, so only the bytes' validity is promised */
    if (tokenizer_encode(t, (const char *)data, n, &v, &err) != MO_OK) abort();
    buf_clear(&got);
    if (tokenizer_decode(t, v.data, v.len, false, &got, &err) != MO_OK || !utf8_is_valid(got.data ? got.data : "", got.len)) abort();
    buf_free(&valid);
    buf_free(&want);
    buf_free(&got);
    buf_free(&streamed);
    ids_free(&v);
    return 0;
}
