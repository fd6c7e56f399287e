/* Encoding and decoding over the tables of a vocabulary (tokenizer.h). */
#include "tokenizer/tokenizer.h"

#include <string.h>

#include "core/alloc.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

static bool is_id(const tokenizer *t, int32_t id) { return id >= 0 && id < t->n_vocab && t->entry[id].flags & TOKEN_USED; }

int32_t tokenizer_n_vocab(const tokenizer *t) { return t->n_vocab; }
int32_t tokenizer_find(const tokenizer *t, const char *name) { return vocab_find(t, name, strlen(name)); }
bool tokenizer_is_special(const tokenizer *t, int32_t id) { return is_id(t, id) && t->entry[id].flags & TOKEN_SPECIAL; }
bool tokenizer_is_added(const tokenizer *t, int32_t id) { return is_id(t, id) && t->entry[id].flags & TOKEN_ADDED; }
tokenizer_roles tokenizer_get_roles(const tokenizer *t) { return t->roles; }

const int32_t *tokenizer_bad_ids(const tokenizer *t, size_t *n)
{
    *n = t->bad.len;
    return t->bad.data;
}

/* What lies between added tokens. `text` and `norm` are scratch kept from piece to piece. */
static bool encode_piece(const tokenizer *t, bpe_work *w, buf *valid, buf *norm, const char *s, size_t n, ids *out)
{
    if (!utf8_is_valid(s, n)) {
        buf_clear(valid);
        utf8_put_lossy(valid, s, n);
        if (valid->failed) return false;
        s = valid->data;
        n = valid->len;
    }
    if (t->is_spm) return spm_stretch(t, w, s, n, out);
    if (t->nfc) {
        buf_clear(norm);
        nfc_put(norm, s, n);
        if (norm->failed) return false;
        s = norm->data;
        n = norm->len;
    }
    for (size_t i = 0, end; i < n; i = end) {
        end = split_next(t->split, s, n, i);
        if (!bpe_word(t, w, s + i, end - i, out)) return false;
    }
    return true;
}

static mo_status encode(const tokenizer *t, const char *text, size_t n, bool parse_added, ids *out, mo_error *err)
{
    bpe_work w = { 0 };
    buf valid = { 0 }, norm = { 0 };
    size_t from = 0, i = 0, len = 0;
    bool ok = !out->failed;

    while (ok && i < n && parse_added) {
        int32_t id = t->first[(unsigned char)text[i]] ? vocab_match_added(t, text + i, n - i, &len) : -1;
        if (id < 0) {
            i++;
            continue;
        }
        if (i > from) ok = encode_piece(t, &w, &valid, &norm, text + from, i - from, out);
        ids_put(out, id);
        i += len;
        from = i;
    }
    if (ok && n > from) ok = encode_piece(t, &w, &valid, &norm, text + from, n - from, out);
    bpe_work_free(&w);
    buf_free(&valid);
    buf_free(&norm);
    if (!ok || out->failed) return mo_fail(err, MO_E_NOMEM, "no memory to tokenise %zu bytes of text", n);
    return MO_OK;
}

mo_status tokenizer_encode(const tokenizer *t, const char *text, size_t n, ids *out, mo_error *err)
{
    return encode(t, text, n, true, out, err);
}

mo_status tokenizer_encode_plain(const tokenizer *t, const char *text, size_t n, ids *out, mo_error *err)
{
    return encode(t, text, n, false, out, err);
}

/* A text wholly in the byte alphabet stands for its bytes; any other (and every added token's) for itself. */
void tokenizer_bytes(const tokenizer *t, int32_t id, buf *out)
{
    size_t n, start = out->len;
    const char *s;
    uint32_t cp;

    if (!is_id(t, id)) return;
    s = vocab_text(t, id, &n);
    if (t->is_spm && !(t->entry[id].flags & TOKEN_ADDED)) {
        spm_bytes(t, id, out);
        return;
    }
    if (!(t->entry[id].flags & TOKEN_ADDED)) {
        size_t i = 0;
        while (i < n) {
            char c;
            int b, k = utf8_next(s + i, n - i, &cp);
            if ((b = symbol_to_byte(cp)) < 0) break;
            c = (char)b;
            buf_put(out, &c, 1);
            i += (size_t)k;
        }
        if (i == n) return;
        out->len = start;
    }
    buf_put(out, s, n);
}

static void put_ids(const tokenizer *t, const int32_t *id, size_t n, bool skip_special, buf *out)
{
    for (size_t i = 0; i < n; i++)
        if (!skip_special || !tokenizer_is_special(t, id[i])) tokenizer_bytes(t, id[i], out);
}

static mo_status decoded(const buf *raw, const buf *out, mo_error *err)
{
    if (raw->failed || out->failed) return mo_fail(err, MO_E_NOMEM, "no memory to turn tokens into text");
    return MO_OK;
}

mo_status tokenizer_decode(const tokenizer *t, const int32_t *id, size_t n, bool skip_special, buf *out, mo_error *err)
{
    buf raw = { 0 };
    size_t skip;
    mo_status st;

    put_ids(t, id, n, skip_special, &raw);
    skip = t->space_prefix && raw.len && *raw.data == ' ';
    if (!raw.failed && raw.len > skip) utf8_put_lossy(out, raw.data + skip, raw.len - skip);
    st = decoded(&raw, out, err);
    buf_free(&raw);
    return st;
}

void detokenizer_init(detokenizer *d, const tokenizer *t, bool skip_special)
{
    memset(d, 0, sizeof *d);
    d->t = t;
    d->skip_special = skip_special;
    d->drop_space = t->space_prefix;
}

static void put_fffd(detokenizer *d, buf *out)
{
    for (; d->n_fffd; d->n_fffd--) utf8_put(out, 0xfffd);
}

/* The ids' bytes go behind out's text, the text they make behind those, and then into their place: with room in `out`
 * nothing is allocated. */
mo_status detokenizer_push(detokenizer *d, const int32_t *id, size_t n, bool final, buf *out, mo_error *err)
{
    size_t start = out->len, end;

    buf_put(out, d->held, (size_t)d->n_held);
    put_ids(d->t, id, n, d->skip_special, out);
    if (out->failed) goto nomem;
    if (d->drop_space && out->len > start) {
        if (out->data[start] == ' ') memmove(out->data + start, out->data + start + 1, --out->len - start);
        d->drop_space = false;
    }
    end = out->len;
    d->n_held = 0;
    for (size_t i = start; i < end;) {
        uint32_t cp;
        char c[4];
        int k = utf8_next(out->data + i, end - i, &cp);
        memcpy(c, out->data + i, (size_t)k); /* appending may move out->data */
        if (cp == UTF8_CUT && !final) {
            memcpy(d->held, c, (size_t)k);
            d->n_held = k;
        } else if (cp >= UTF8_CUT || cp == 0xfffd) {
            d->n_fffd++;
        } else {
            put_fffd(d, out);
            buf_put(out, c, (size_t)k);
        }
        i += (size_t)k;
    }
    if (final) put_fffd(d, out);
    if (out->failed) goto nomem;
    memmove(out->data + start, out->data + end, out->len - end + 1);
    out->len -= end - start;
    return MO_OK;
nomem:
    out->len = start;
    return mo_fail(err, MO_E_NOMEM, "no memory to turn tokens into text");
}
