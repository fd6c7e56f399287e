/* The vocabulary's tables: token texts, merges and added tokens (internal.h). Built once, then read only. */
#include <string.h>

#include "core/alloc.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

tokenizer *tokenizer_new(mo_error *err)
{
    tokenizer *t = mo_zalloc(sizeof *t);

    if (!t) {
        mo_fail(err, MO_E_NOMEM, "no memory for the tokenizer");
        return NULL;
    }
    t->roles = (tokenizer_roles){ -1, -1, -1, -1, false };
    t->nfc = true;
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;
    return t;
}

void tokenizer_close(tokenizer *t)
{
    if (!t) return;
    buf_free(&t->names);
    ids_free(&t->bad);
    mo_free(t->entry);
    mo_free(t->by_name);
    mo_free(t->by_pair);
    mo_free(t->trie);
    mo_free(t->score);
    mo_free(t);
}

/* 68 bytes have no printable Latin-1 character; in order they get U+0100 and up. */
uint32_t byte_to_symbol(unsigned char b)
{
    if ((b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad)) return b;
    if (b <= 0x20) return 0x100u + b;
    if (b <= 0xa0) return 0x121u + (b - 0x7fu);
    return 0x143;
}

int symbol_to_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xff && cp != 0xad)) return (int)cp;
    if (cp >= 0x100 && cp <= 0x120) return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142) return (int)(cp - 0x121 + 0x7f);
    return cp == 0x143 ? 0xad : -1;
}

/* ---- texts ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

static size_t hash_text(const char *s, size_t n)
{
    uint64_t h = 0x2545f4914f6cdd1du ^ n, w;

    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&w, s, 8);
        h = mix(h ^ w) * 0xff51afd7ed558ccdu;
    }
    w = 0;
    memcpy(&w, s, n);
    return (size_t)mix(mix(h ^ w) * 0xff51afd7ed558ccdu);
}

/* The slot that holds the text, or the empty one where it belongs. */
static size_t name_slot(const tokenizer *t, const char *s, size_t n)
{
    size_t i = hash_text(s, n) & (t->n_by_name - 1);

    for (; t->by_name[i] >= 0; i = (i + 1) & (t->n_by_name - 1)) {
        size_t m;
        const char *text = vocab_text(t, t->by_name[i], &m);
        if (m == n && !memcmp(text, s, n)) break;
    }
    return i;
}

int32_t vocab_find(const tokenizer *t, const char *text, size_t n) { return t->n_by_name ? t->by_name[name_slot(t, text, n)] : -1; }

static bool grow_names(tokenizer *t)
{
    size_t want = t->n_by_name ? t->n_by_name * 2 : 1024, n_old = t->n_by_name;
    int32_t *old = t->by_name, *fresh;

    if (t->n_by_name && t->n_named < t->n_by_name / 2) return true;
    if (!(fresh = mo_calloc(want, sizeof *fresh))) return false;
    for (size_t i = 0; i < want; i++) fresh[i] = -1;
    t->by_name = fresh;
    t->n_by_name = want;
    for (size_t i = 0; i < n_old; i++) {
        size_t n;
        const char *s;
        if (old[i] < 0) continue;
        s = vocab_text(t, old[i], &n);
        t->by_name[name_slot(t, s, n)] = old[i];
    }
    mo_free(old);
    return true;
}

static bool grow_entries(tokenizer *t, size_t id)
{
    size_t cap = t->cap_entry ? t->cap_entry : 1024, bytes;
    token_entry *p;

    if (id < t->cap_entry) return true;
    while (cap <= id) cap *= 2;
    if (!mo_size_mul(cap, sizeof *p, &bytes) || !(p = mo_realloc(t->entry, bytes))) return false;
    memset(p + t->cap_entry, 0, (cap - t->cap_entry) * sizeof *p);
    t->entry = p;
    t->cap_entry = cap;
    return true;
}

/* What a message shows of a token's text. */
#define SHOWN(n) (int)((n) < 60 ? (n) : 60)

mo_status vocab_add(tokenizer *t, int64_t id, const char *text, size_t n, mo_error *err)
{
    size_t slot;

    if (id < 0 || id >= TOKEN_ID_LIMIT)
        return mo_fail(err, MO_E_FORMAT, "token '%.*s' has id %lld, outside 0..%d", SHOWN(n), text, (long long)id, TOKEN_ID_LIMIT - 1);
    if (n < 1 || n > TOKEN_TEXT_LIMIT)
        return mo_fail(err, MO_E_FORMAT, "token %lld has a text of %zu bytes; 1 to %d are allowed", (long long)id, n, TOKEN_TEXT_LIMIT);
    if (!grow_names(t) || !grow_entries(t, (size_t)id)) goto nomem;
    if (t->entry[id].flags & TOKEN_USED)
        return mo_fail(err, MO_E_FORMAT, "two tokens have id %lld, '%.*s' is the second", (long long)id, SHOWN(n), text);
    slot = name_slot(t, text, n);
    if (t->by_name[slot] >= 0)
        return mo_fail(err, MO_E_FORMAT, "token '%.*s' has two ids, %d and %lld", SHOWN(n), text, t->by_name[slot], (long long)id);
    if (t->names.len > UINT32_MAX - TOKEN_TEXT_LIMIT) return mo_fail(err, MO_E_LIMIT, "the vocabulary's texts exceed 4 GiB");
    t->entry[id] = (token_entry){ (uint32_t)t->names.len, (uint32_t)n, TOKEN_USED };
    buf_put(&t->names, text, n);
    if (t->names.failed) {
        t->entry[id].flags = 0;
        goto nomem;
    }
    t->by_name[slot] = (int32_t)id;
    t->n_named++;
    if (id >= t->n_vocab) t->n_vocab = (int32_t)id + 1;
    return MO_OK;
nomem:
    return mo_fail(err, MO_E_NOMEM, "no memory for the vocabulary");
}

/* ---- added tokens ---- */

static int32_t trie_child(const tokenizer *t, int32_t node, unsigned char byte)
{
    if (node == 0) return t->first[byte];
    for (int32_t c = t->trie[node].child; c; c = t->trie[c].next)
        if (t->trie[c].byte == byte) return c;
    return 0;
}

/* A new node below `node`; 0 if there is no memory. The root is made with the first. */
static int32_t trie_grow(tokenizer *t, int32_t node, unsigned char byte)
{
    int32_t c;

    if (t->n_trie + 2 > t->cap_trie) {
        size_t cap = t->cap_trie ? t->cap_trie * 2 : 1024, bytes;
        trie_node *p;
        if (cap > INT32_MAX || !mo_size_mul(cap, sizeof *p, &bytes) || !(p = mo_realloc(t->trie, bytes))) return 0;
        t->trie = p;
        t->cap_trie = cap;
    }
    if (t->n_trie == 0) t->trie[t->n_trie++] = (trie_node){ 0, 0, -1, 0 };
    c = (int32_t)t->n_trie++;
    t->trie[c] = (trie_node){ 0, 0, -1, byte };
    if (node == 0) {
        t->first[byte] = c;
    } else {
        t->trie[c].next = t->trie[node].child;
        t->trie[node].child = c;
    }
    return c;
}

mo_status vocab_add_added(tokenizer *t, int64_t id, const char *text, size_t n, bool special, mo_error *err)
{
    int32_t node = 0, have = vocab_find(t, text, n);
    mo_status st;

    if (n < 1 || n > ADDED_TEXT_LIMIT)
        return mo_fail(err, MO_E_FORMAT, "added token %lld has a text of %zu bytes; 1 to %d are allowed", (long long)id, n,
                       ADDED_TEXT_LIMIT);
    if (have >= 0 && have != id)
        return mo_fail(err, MO_E_FORMAT, "added token '%.*s' has two ids, %d and %lld", SHOWN(n), text, have, (long long)id);
    if (have < 0 && (st = vocab_add(t, id, text, n, err)) != MO_OK) return st;
    if (special) t->entry[id].flags |= TOKEN_SPECIAL;
    if (t->entry[id].flags & TOKEN_ADDED) return MO_OK;
    for (size_t i = 0; i < n; i++) {
        int32_t c = trie_child(t, node, (unsigned char)text[i]);
        if (!c && !(c = trie_grow(t, node, (unsigned char)text[i]))) return mo_fail(err, MO_E_NOMEM, "no memory for the added tokens");
        node = c;
    }
    t->trie[node].id = (int32_t)id;
    t->entry[id].flags |= TOKEN_ADDED;
    return MO_OK;
}

int32_t vocab_match_added(const tokenizer *t, const char *text, size_t n, size_t *len)
{
    int32_t node = 0, best = -1;

    for (size_t i = 0; i < n && (node = trie_child(t, node, (unsigned char)text[i])); i++) {
        if (t->trie[node].id < 0) continue;
        best = t->trie[node].id;
        *len = i + 1;
    }
    return best;
}

/* ---- merges ---- */

static merge_slot *merge_at(const tokenizer *t, uint64_t pair)
{
    size_t i = (size_t)mix(pair * 0xff51afd7ed558ccdu) & (t->n_by_pair - 1);

    while (t->by_pair[i].rank != UINT32_MAX && t->by_pair[i].pair != pair) i = (i + 1) & (t->n_by_pair - 1);
    return &t->by_pair[i];
}

const merge_slot *vocab_find_merge(const tokenizer *t, int32_t left, int32_t right)
{
    const merge_slot *m;

    if (!t->n_by_pair) return NULL;
    m = merge_at(t, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    return m->rank == UINT32_MAX ? NULL : m;
}

mo_status vocab_reserve_merges(tokenizer *t, size_t n, mo_error *err)
{
    size_t want = 16;

    if (n >= TOKEN_ID_LIMIT) return mo_fail(err, MO_E_LIMIT, "%zu merges, more than the %d allowed", n, TOKEN_ID_LIMIT);
    if (!n) return MO_OK;
    while (want < n + n / 2) want *= 2;
    if (!(t->by_pair = mo_calloc(want, sizeof *t->by_pair))) return mo_fail(err, MO_E_NOMEM, "no memory for %zu merges", n);
    t->n_by_pair = want;
    for (size_t i = 0; i < want; i++) t->by_pair[i].rank = UINT32_MAX;
    return MO_OK;
}

mo_status vocab_add_merge_pair(tokenizer *t, uint32_t rank, const char *left, size_t n_left, const char *right, size_t n_right,
                               mo_error *err)
{
    int32_t a = vocab_find(t, left, n_left), b = vocab_find(t, right, n_right), merged = -1;
    char text[512];
    merge_slot *m;

    if (a >= 0 && b >= 0 && n_left <= TOKEN_TEXT_LIMIT && n_right <= TOKEN_TEXT_LIMIT) {
        char *p = n_left + n_right <= sizeof text ? text : mo_malloc(n_left + n_right);
        if (!p) return mo_fail(err, MO_E_NOMEM, "no memory for a merge");
        memcpy(p, left, n_left);
        memcpy(p + n_left, right, n_right);
        merged = vocab_find(t, p, n_left + n_right);
        if (p != text) mo_free(p);
    }
    if (merged < 0)
        return mo_fail(err, MO_E_FORMAT, "merge %u, '%.*s %.*s': %s is not in the vocabulary", rank + 1, SHOWN(n_left), left,
                       SHOWN(n_right), right,
                       a < 0   ? "its left part"
                       : b < 0 ? "its right part"
                               : "its result");
    m = merge_at(t, (uint64_t)(uint32_t)a << 32 | (uint32_t)b);
    if (m->rank == UINT32_MAX) *m = (merge_slot){ (uint64_t)(uint32_t)a << 32 | (uint32_t)b, rank, merged };
    return MO_OK; /* a repeated merge keeps its first, better rank */
}

mo_status vocab_add_merge(tokenizer *t, uint32_t rank, const char *text, size_t n, mo_error *err)
{
    const char *space = n > 1 ? memchr(text + 1, ' ', n - 1) : NULL;
    size_t n_left = space ? (size_t)(space - text) : 0;

    if (!space || n_left + 1 == n || memchr(space + 1, ' ', n - n_left - 1))
        return mo_fail(err, MO_E_FORMAT, "merge %u, '%.*s', is not two parts with a space between", rank + 1, SHOWN(n), text);
    return vocab_add_merge_pair(t, rank, text, n_left, space + 1, n - n_left - 1, err);
}

/* Printable ASCII: a vocabulary without these is no byte-level one. Some lack bytes that no text of theirs had. */
static bool is_needed(int byte) { return byte >= 0x20 && byte < 0x7f; }

mo_status vocab_finish(tokenizer *t, bool every_byte, mo_error *err)
{
    for (int i = 0; i < 256; i++) {
        uint32_t cp = byte_to_symbol((unsigned char)i);
        char s[2] = { (char)cp, 0 };
        size_t n = 1;
        if (cp >= 0x80) {
            s[0] = (char)(0xc0 | cp >> 6);
            s[1] = (char)(0x80 | (cp & 0x3f));
            n = 2;
        }
        if ((t->byte_id[i] = vocab_find(t, s, n)) < 0 && (every_byte || is_needed(i)))
            return mo_fail(err, MO_E_FORMAT, "the vocabulary has no token for byte 0x%02x: this is no byte-level BPE vocabulary",
                           (unsigned)i);
    }
    return MO_OK;
}
