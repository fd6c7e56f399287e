/* A tokenizer directory with hostile files. The first byte says which: 0 vocab.json, 1 merges.txt, 2 tokenizer_config.json,
 * 3 added_tokens.json, 4 special_tokens_map.json, 5 tokenizer.json; the others are the stand-in's. Where the vocabulary is the hostile file,
 * the input is put behind the 256 bytes' entries when it starts with a comma, so that it gets past "no token for byte". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/alloc.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char dir[64];
static char *vocab; /* without its closing brace */
static size_t n_vocab;

static void path_of(char *out, size_t n, const char *name) { snprintf(out, n, "%s/%s", dir, name); }

static const char *const names[] = { "vocab.json",    "merges.txt", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json",
                                     "tokenizer.json" };

static void cleanup(void)
{
    char path[128];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(path, sizeof path, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void setup(void)
{
    char path[128];
    mo_error err;

    snprintf(dir, sizeof dir, "/tmp/minicpmo-fuzz-XXXXXX");
    if (!mkdtemp(dir) || tokenizer_write_standin(dir, 256, &err) != MO_OK) abort();
    atexit(cleanup);
    path_of(path, sizeof path, "vocab.json");
    if (file_read(&vocab, &n_vocab, path, 1 << 20, &err) != MO_OK) abort();
    n_vocab = (size_t)(strrchr(vocab, '}') - vocab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[128];
    tokenizer *t;
    mo_error err = { 0 };
    ids v = { 0 };
    FILE *f;
    int which;

    if (!dir[0]) setup();
    if (n < 1) return 0;
    which = data[0] % 6;
    tokenizer_write_standin(dir, 300, &err);
    path_of(path, sizeof path, names[which]);
    if (!(f = fopen(path, "wb"))) abort();
    if (which == 0 && n > 1 && data[1] == ',') fwrite(vocab, 1, n_vocab, f);
    fwrite(data + 1, 1, n - 1, f);
    fclose(f);
    if (tokenizer_open_hf(&t, dir, &err) == MO_OK) {
        if (tokenizer_encode(t, "ab <x> 123\n", 11, &v, &err) != MO_OK) abort();
        tokenizer_close(t);
    } else if (!err.message[0] || t) {
        abort();
    }
    ids_free(&v);
    unlink(path);
    return 0;
}
