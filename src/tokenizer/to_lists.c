/* A tokenizer as the lists that other files hold (tokenizer.h): the inverse of tokenizer_open_lists. */
#include <string.h>

#include "core/alloc.h"
#include "tokenizer/internal.h"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

static bool encloses(const char *s, size_t n, const char *start, const char *end)
{
    const size_t a = strlen(start), b = strlen(end);

    return n >= a + b && !memcmp(s, start, a) && !memcmp(s + n - b, end, b);
}

/* Added tokens that look like markers are control tokens whatever their flag says, as the converter has it. */
static bool looks_special(const char *s, size_t n)
{
    return encloses(s, n, "<|", "|>") || encloses(s, n, "<\xef\xbd\x9c", "\xef\xbd\x9c>") || encloses(s, n, "<unused", ">") ||
           (n == 5 && !memcmp(s, "<pad>", 5)) || (n == 6 && !memcmp(s, "<mask>", 6));
}

static int32_t type_of(const tokenizer *t, int32_t id)
{
    const uint32_t flags = id < t->n_vocab ? t->entry[id].flags : 0;

    if (!(flags & TOKEN_USED)) return TYPE_UNUSED;
    if (!(flags & TOKEN_ADDED)) return TYPE_NORMAL;
    return flags & TOKEN_SPECIAL || looks_special(t->names.data + t->entry[id].at, t->entry[id].n) ? TYPE_CONTROL : TYPE_USER_DEFINED;
}

/* Texts go into d->text one after the other; where they stand is known when it has stopped growing. */
typedef struct span {
    size_t at, n;
} span;

static span put_token(buf *b, const tokenizer *t, int32_t id)
{
    span s = { b->len, 0 };

    if (type_of(t, id) == TYPE_UNUSED) buf_printf(b, "[PAD%d]", (int)id);
    else buf_put(b, t->names.data + t->entry[id].at, t->entry[id].n);
    s.n = b->len - s.at;
    return s;
}

static span put_merge(buf *b, const tokenizer *t, uint64_t pair)
{
    span s = { b->len, 0 };

    put_token(b, t, (int32_t)(pair >> 32));
    buf_puts(b, " ");
    put_token(b, t, (int32_t)(pair & UINT32_MAX));
    s.n = b->len - s.at;
    return s;
}

static uint32_t rank_end(const tokenizer *t)
{
    uint32_t n = 0;

    for (size_t i = 0; i < t->n_by_pair; i++)
        if (t->by_pair[i].rank != UINT32_MAX && t->by_pair[i].rank >= n) n = t->by_pair[i].rank + 1;
    return n;
}

/* Best first. A rank without a merge, one that was repeated, leaves no place. */
static size_t put_merges(buf *b, span *out, uint64_t *by_rank, uint32_t n_rank, const tokenizer *t)
{
    size_t n = 0;

    for (uint32_t i = 0; i < n_rank; i++) by_rank[i] = UINT64_MAX;
    for (size_t i = 0; i < t->n_by_pair; i++)
        if (t->by_pair[i].rank != UINT32_MAX) by_rank[t->by_pair[i].rank] = t->by_pair[i].pair;
    for (uint32_t i = 0; i < n_rank; i++)
        if (by_rank[i] != UINT64_MAX) out[n++] = put_merge(b, t, by_rank[i]);
    return n;
}

static const char *pre_of(split_kind k)
{
    switch (k) {
    case SPLIT_LLAMA3: return "llama-bpe";
    case SPLIT_QWEN35: return "qwen35";
    case SPLIT_GPT2: return "gpt-2";
    case SPLIT_SMOLLM: return "smollm";
    case SPLIT_QWEN2: break;
    }
    return "qwen2";
}

static tokenizer_text *texts_of(const buf *b, const span *s, size_t n)
{
    tokenizer_text *out = mo_calloc(n + 1, sizeof *out);

    for (size_t i = 0; out && i < n; i++) out[i] = (tokenizer_text){ b->data + s[i].at, s[i].n };
    return out;
}

void tokenizer_dump_free(tokenizer_dump *d)
{
    buf_free(&d->text);
    mo_free(d->tokens);
    mo_free(d->merges);
    mo_free(d->types);
    memset(d, 0, sizeof *d);
}

mo_status tokenizer_dump_lists(tokenizer_dump *out, const tokenizer *t, int32_t n_vocab, mo_error *err)
{
    const uint32_t n_rank = rank_end(t);
    const size_t n = n_vocab > 0 ? (size_t)n_vocab : 0;
    span *tokens = mo_calloc(n + 1, sizeof *tokens), *merges = mo_calloc((size_t)n_rank + 1, sizeof *merges);
    uint64_t *by_rank = mo_calloc((size_t)n_rank + 1, sizeof *by_rank);
    mo_status st = MO_OK;

    memset(out, 0, sizeof *out);
    if (t->is_spm) st = mo_fail(err, MO_E_UNSUPPORTED, "a SentencePiece vocabulary cannot be written as lists of merges");
    else if (t->n_vocab > n_vocab)
        st = mo_fail(err, MO_E_FORMAT, "the tokenizer has %d tokens, the model's embeddings only %d", (int)t->n_vocab, (int)n_vocab);
    else if (!tokens || !merges || !by_rank || !(out->types = mo_calloc(n + 1, sizeof *out->types))) st = MO_E_NOMEM;
    if (st == MO_OK) {
        for (size_t i = 0; i < n; i++) {
            tokens[i] = put_token(&out->text, t, (int32_t)i);
            out->types[i] = type_of(t, (int32_t)i);
        }
        out->lists.n_merge = put_merges(&out->text, merges, by_rank, n_rank, t);
        out->lists.n_token = n;
        if (!out->text.failed) {
            out->tokens = texts_of(&out->text, tokens, n);
            out->merges = texts_of(&out->text, merges, out->lists.n_merge);
        }
        if (!out->tokens || !out->merges) st = MO_E_NOMEM;
    }
    mo_free(tokens);
    mo_free(merges);
    mo_free(by_rank);
    if (st == MO_E_NOMEM) mo_fail(err, st, "no memory for a vocabulary");
    if (st != MO_OK) {
        tokenizer_dump_free(out);
        return st;
    }
    out->lists.tokens = out->tokens;
    out->lists.merges = out->merges;
    out->lists.types = out->types;
    out->lists.pre = pre_of(t->split);
    out->lists.bos = t->roles.bos;
    out->lists.eos = t->roles.eos;
    out->lists.pad = t->roles.pad;
    out->lists.unk = t->roles.unk;
    out->lists.add_bos = t->roles.add_bos;
    return MO_OK;
}
