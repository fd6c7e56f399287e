/* SentencePiece vocabularies (spec: tokenizer 3): pieces with scores, spaces as U+2581, bytes as "<0x0A>".
 *
 * Of the BPE kind, as in Llama 2, Mistral, MiniCPM and MiniCPM4: text is taken as it is (no normalisation, no splitting into
 * words), a space is put before it, characters are merged by score (bpe.c). Unused pieces, which this family does not have, are
 * left out.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tokenizer/internal.h"

/* GGUF's types, which are SentencePiece's. */
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED, PIECE_BYTE };

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* "<0x0A>"; -1: something else. */
static int byte_of(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0) return -1;
    return hex(s[3]) << 4 | hex(s[4]);
}

static mo_status add_byte(tokenizer *t, int64_t id, tokenizer_text x, mo_error *err)
{
    const int b = byte_of(x.s, x.n);
    mo_status st;

    if (b < 0) return mo_fail(err, MO_E_FORMAT, "token %lld is said to be a byte, but is not written as one (<0x0A>)", (long long)id);
    if ((st = vocab_add(t, id, x.s, x.n, err)) != MO_OK) return st;
    t->entry[id].flags |= TOKEN_BYTE;
    t->byte_id[b] = (int32_t)id;
    return MO_OK;
}

/* Without types what looks like a byte is one, and the role ids are markers. */
static int32_t type_of(const tokenizer_lists *l, int32_t id)
{
    if (l->types) return l->types[id];
    if (byte_of(l->tokens[id].s, l->tokens[id].n) >= 0) return PIECE_BYTE;
    return id == l->unk || id == l->bos || id == l->eos ? PIECE_CONTROL : PIECE_NORMAL;
}

static mo_status add_piece(tokenizer *t, const tokenizer_lists *l, int32_t id, mo_error *err)
{
    const tokenizer_text x = l->tokens[id];

    switch (type_of(l, id)) {
    case PIECE_UNUSED: return MO_OK;
    case PIECE_BYTE: return add_byte(t, id, x, err);
    case PIECE_UNKNOWN:
    case PIECE_CONTROL: return vocab_add_added(t, id, x.s, x.n, true, err);
    case PIECE_USER_DEFINED: return vocab_add_added(t, id, x.s, x.n, false, err);
    default: break;
    }
    if (x.n > t->n_piece_max) t->n_piece_max = x.n;
    return vocab_add(t, id, x.s, x.n, err);
}

static int32_t role(const tokenizer *t, int32_t id) { return id >= 0 && id < t->n_vocab ? id : -1; }

mo_status spm_open(tokenizer *t, const tokenizer_lists *l, mo_error *err)
{
    bool has_bytes = true;
    mo_status st = MO_OK;

    t->is_spm = true;
    t->nfc = false;
    t->space_prefix = l->space_prefix;
    if (!(t->score = mo_calloc(l->n_token + 1, sizeof *t->score))) return mo_fail(err, MO_E_NOMEM, "no memory for the vocabulary");
    for (size_t i = 0; i < l->n_token; i++) {
        if (!isfinite(l->scores[i])) return mo_fail(err, MO_E_FORMAT, "token %zu has a score that is no number", i);
        t->score[i] = l->scores[i];
    }
    for (size_t i = 0; i < l->n_token && st == MO_OK; i++) st = add_piece(t, l, (int32_t)i, err);
    if (st != MO_OK) return st;
    t->roles = (tokenizer_roles){ role(t, l->bos), role(t, l->eos), role(t, l->pad), role(t, l->unk), l->add_bos };
    for (int i = 0; i < 256; i++) has_bytes &= t->byte_id[i] >= 0;
    if (!has_bytes && t->roles.unk < 0)
        return mo_fail(err, MO_E_FORMAT, "the vocabulary has neither a token for every byte nor one for what it does not know");
    return MO_OK;
}

/* A byte, or a text with its spaces back. */
void spm_bytes(const tokenizer *t, int32_t id, buf *out)
{
    static const char space[] = "\xe2\x96\x81";
    size_t n;
    const char *s = vocab_text(t, id, &n), *end = s + n, *mark;

    if (t->entry[id].flags & TOKEN_BYTE) {
        char c = (char)byte_of(s, n);
        buf_put(out, &c, 1);
        return;
    }
    while ((mark = memmem(s, (size_t)(end - s), space, 3))) {
        buf_put(out, s, (size_t)(mark - s));
        buf_put(out, " ", 1);
        s = mark + 3;
    }
    buf_put(out, s, (size_t)(end - s));
}
