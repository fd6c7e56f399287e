/* The merge loop of byte-pair encoding.
 *
 * The word is a doubly linked list of symbols, at first one per byte. Every adjacent pair that has a merge waits in a
 * heap ordered by rank, then position; the best is taken, its symbols joined, and the new neighbours enter the heap.
 * A pair whose symbols have changed since it entered is skipped. So "the lowest rank anywhere, leftmost first" costs
 * O(n log n), also for a word of a hundred thousand characters.
 *
 * SentencePiece is the same loop with other symbols (spec: tokenizer 3.3): at first one per character of a whole stretch of
 * text, two join if their texts together are a piece, and the piece with the highest score comes first.
 */
#include <string.h>

#include "core/alloc.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

typedef struct bpe_symbol {
    int32_t id;         /* -1: joined into its left neighbour */
    int32_t prev, next; /* -1: none */
} bpe_symbol;

typedef struct bpe_pair {
    uint32_t rank;
    int32_t at;          /* the left symbol */
    int32_t left, right; /* ids when it entered */
    int32_t merged;
} bpe_pair;

static bool before(const bpe_pair *a, const bpe_pair *b) { return a->rank != b->rank ? a->rank < b->rank : a->at < b->at; }

static void heap_push(bpe_pair *h, size_t *n, bpe_pair p)
{
    size_t i = (*n)++;

    for (; i > 0 && before(&p, &h[(i - 1) / 2]); i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = p;
}

static bpe_pair heap_pop(bpe_pair *h, size_t *n)
{
    bpe_pair top = h[0], last = h[--*n];
    size_t i = 0, c;

    for (; (c = 2 * i + 1) < *n; i = c) {
        if (c + 1 < *n && before(&h[c + 1], &h[c])) c++;
        if (!before(&h[c], &last)) break;
        h[i] = h[c];
    }
    h[i] = last;
    return top;
}

static void offer(const tokenizer *t, const bpe_symbol *s, int32_t at, bpe_pair *h, size_t *n)
{
    int32_t next = at < 0 ? -1 : s[at].next;
    const merge_slot *m;

    if (next < 0 || !(m = vocab_find_merge(t, s[at].id, s[next].id))) return;
    heap_push(h, n, (bpe_pair){ m->rank, at, s[at].id, s[next].id, m->merged });
}

static bool reserve(bpe_work *w, size_t n)
{
    size_t bytes, cap = w->cap ? w->cap : 64;
    void *p;

    if (n <= w->cap) return true;
    while (cap < n) cap *= 2;
    if (!mo_size_mul(cap, 3 * sizeof *w->heap, &bytes)) return false; /* n - 1 pairs at first, then two a merge */
    if (!(p = mo_realloc(w->symbol, cap * sizeof *w->symbol))) return false;
    w->symbol = p;
    if (!(p = mo_realloc(w->heap, bytes))) return false;
    w->heap = p;
    w->cap = cap;
    return true;
}

void bpe_work_free(bpe_work *w)
{
    mo_free(w->symbol);
    mo_free(w->heap);
    buf_free(&w->name);
}

/* The whole word as one token, for vocabularies that look there before merging. */
static int32_t whole_word(const tokenizer *t, bpe_work *w, const char *word, size_t n)
{
    buf_clear(&w->name);
    if (n > TOKEN_TEXT_LIMIT) return -1;
    for (size_t i = 0; i < n; i++) utf8_put(&w->name, byte_to_symbol((unsigned char)word[i]));
    return w->name.failed ? -1 : vocab_find(t, w->name.data, w->name.len);
}

bool bpe_word(const tokenizer *t, bpe_work *w, const char *word, size_t n, ids *out)
{
    bpe_symbol *s;
    size_t n_heap = 0, m = 0;
    int32_t id;

    if (n == 1) {
        if (t->byte_id[(unsigned char)word[0]] >= 0) ids_put(out, t->byte_id[(unsigned char)word[0]]);
        return !out->failed;
    }
    if (t->ignore_merges) {
        id = whole_word(t, w, word, n);
        if (w->name.failed) return false;
        if (id >= 0) {
            ids_put(out, id);
            return !out->failed;
        }
    }
    if (n > INT32_MAX / 2 || !reserve(w, n)) return false;
    s = w->symbol;
    for (size_t i = 0; i < n; i++) { /* bytes that the vocabulary lacks are left out, as the reference does */
        id = t->byte_id[(unsigned char)word[i]];
        if (id < 0) continue;
        s[m] = (bpe_symbol){ id, (int32_t)m - 1, (int32_t)m + 1 };
        m++;
    }
    if (!m) return true;
    s[m - 1].next = -1;
    for (size_t i = 0; i + 1 < m; i++) offer(t, s, (int32_t)i, w->heap, &n_heap);
    while (n_heap) {
        bpe_pair p = heap_pop(w->heap, &n_heap);
        int32_t next = s[p.at].next;
        if (s[p.at].id != p.left || next < 0 || s[next].id != p.right) continue;
        s[p.at].id = p.merged;
        s[p.at].next = s[next].next;
        s[next].id = -1;
        if (s[next].next >= 0) s[s[next].next].prev = p.at;
        offer(t, s, s[p.at].prev, w->heap, &n_heap);
        offer(t, s, p.at, w->heap, &n_heap);
    }
    for (int32_t i = 0; i >= 0; i = s[i].next) ids_put(out, s[i].id);
    return !out->failed;
}

/* ---- SentencePiece ---------------------------------------------------------------------------------------------- */

/* Here a symbol's id is where its text begins; the text reaches to the next symbol's. */
static size_t symbol_end(const bpe_symbol *s, int32_t at, size_t n) { return s[at].next < 0 ? n : (size_t)s[s[at].next].id; }

/* Markers and byte tokens are no pieces that characters could spell. */
static int32_t find_piece(const tokenizer *t, const char *text, size_t n)
{
    int32_t id = n <= t->n_piece_max ? vocab_find(t, text, n) : -1;

    return id >= 0 && t->entry[id].flags & (TOKEN_SPECIAL | TOKEN_BYTE) ? -1 : id;
}

/* The higher a score the lower its rank. */
static uint32_t score_rank(float score)
{
    uint32_t u;

    score += 0.0f; /* -0 is 0 */
    memcpy(&u, &score, sizeof u);
    return u & 0x80000000u ? u : ~u & 0x7fffffffu;
}

static void offer_piece(const tokenizer *t, const bpe_symbol *s, int32_t at, const buf *text, bpe_pair *h, size_t *n)
{
    int32_t next = at < 0 ? -1 : s[at].next, id;
    size_t mid, end;

    if (next < 0) return;
    mid = (size_t)s[next].id;
    end = symbol_end(s, next, text->len);
    if ((id = find_piece(t, text->data + s[at].id, end - (size_t)s[at].id)) < 0) return;
    heap_push(h, n, (bpe_pair){ score_rank(t->score[id]), at, (int32_t)mid, (int32_t)end, id });
}

/* What no piece covers is spelt in bytes; what the vocabulary has no bytes for is one <unk>. */
static void put_spelling(const tokenizer *t, const char *text, size_t n, ids *out)
{
    bool all = true;

    for (size_t i = 0; i < n; i++) all &= t->byte_id[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; all && i < n; i++) ids_put(out, t->byte_id[(unsigned char)text[i]]);
    if (!all && t->roles.unk >= 0 && !(out->len && out->data[out->len - 1] == t->roles.unk)) ids_put(out, t->roles.unk);
}

/* Spaces as the pieces have them, one more before the first if the vocabulary is so. */
static void put_escaped(const tokenizer *t, const char *text, size_t n, buf *out)
{
    buf_clear(out);
    if (t->space_prefix) buf_puts(out, "\xe2\x96\x81");
    for (size_t i = 0, k; i < n; i += k) {
        for (k = 0; i + k < n && text[i + k] != ' '; k++) {
        }
        buf_put(out, text + i, k);
        if (i + k == n) break;
        buf_puts(out, "\xe2\x96\x81");
        k++;
    }
}

bool spm_stretch(const tokenizer *t, bpe_work *w, const char *text, size_t n, ids *out)
{
    const buf *e = &w->name;
    bpe_symbol *s;
    size_t n_heap = 0, m = 0;
    uint32_t cp;

    put_escaped(t, text, n, &w->name);
    if (e->failed || e->len > INT32_MAX / 2 || !reserve(w, e->len)) return false;
    s = w->symbol;
    for (size_t i = 0; i < e->len; m++) {
        s[m] = (bpe_symbol){ (int32_t)i, (int32_t)m - 1, (int32_t)m + 1 };
        i += (size_t)utf8_next(e->data + i, e->len - i, &cp);
    }
    if (!m) return true;
    s[m - 1].next = -1;
    for (size_t i = 0; i + 1 < m; i++) offer_piece(t, s, (int32_t)i, e, w->heap, &n_heap);
    while (n_heap) {
        bpe_pair p = heap_pop(w->heap, &n_heap);
        int32_t next = s[p.at].next;
        if (s[p.at].id < 0 || next < 0 || s[next].id != p.left || symbol_end(s, next, e->len) != (size_t)p.right) continue;
        s[p.at].next = s[next].next;
        s[next].id = -1;
        if (s[next].next >= 0) s[s[next].next].prev = p.at;
        offer_piece(t, s, s[p.at].prev, e, w->heap, &n_heap);
        offer_piece(t, s, p.at, e, w->heap, &n_heap);
    }
    for (int32_t i = 0; i >= 0; i = s[i].next) {
        size_t at = (size_t)s[i].id, k = symbol_end(s, i, e->len) - at;
        int32_t id = find_piece(t, e->data + at, k);
        if (id >= 0) ids_put(out, id);
        else put_spelling(t, e->data + at, k, out);
    }
    return !out->failed;
}
