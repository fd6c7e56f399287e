/* UTF-8, white space and NFC (unicode.h). Decompositions and compositions are utf8proc's; we walk the text ourselves
 * because the official tokenizer's tables are those of Unicode 9.0 (younger marks stay as they are) and because
 * utf8proc orders marks by exchanging neighbours, which a hostile text makes quadratic. */
#include "tokenizer/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"

bool unicode_is_space(uint32_t cp)
{
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

/* Unicode table 3-7: the second byte's range depends on the first, the others are 80..BF. */
int utf8_next(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned lo = 0x80, hi = 0xbf;
    int need, i;

    *cp = UTF8_INVALID;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) return 1;
    need = p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    if (p[0] == 0xe0) lo = 0xa0;
    if (p[0] == 0xed) hi = 0x9f; /* surrogates */
    if (p[0] == 0xf0) lo = 0x90;
    if (p[0] == 0xf4) hi = 0x8f;
    uint32_t v = p[0] & (0x3fu >> need);
    for (i = 1; i <= need; i++) {
        if ((size_t)i >= n) {
            *cp = UTF8_CUT;
            return i;
        }
        if (p[i] < lo || p[i] > hi) return i;
        v = v << 6 | (p[i] & 0x3fu);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = v;
    return need + 1;
}

void utf8_put(buf *b, uint32_t cp)
{
    char c[4];
    int n = 1;

    if (cp < 0x80) {
        c[0] = (char)cp;
    } else if (cp < 0x800) {
        c[0] = (char)(0xc0 | cp >> 6);
        c[1] = (char)(0x80 | (cp & 0x3f));
        n = 2;
    } else if (cp < 0x10000) {
        c[0] = (char)(0xe0 | cp >> 12);
        c[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        c[2] = (char)(0x80 | (cp & 0x3f));
        n = 3;
    } else {
        c[0] = (char)(0xf0 | cp >> 18);
        c[1] = (char)(0x80 | (cp >> 12 & 0x3f));
        c[2] = (char)(0x80 | (cp >> 6 & 0x3f));
        c[3] = (char)(0x80 | (cp & 0x3f));
        n = 4;
    }
    buf_put(b, c, (size_t)n);
}

void utf8_put_lossy(buf *b, const char *s, size_t n)
{
    size_t from = 0, i = 0;
    uint32_t cp;

    while (i < n) {
        int k = utf8_next(s + i, n - i, &cp);
        if (cp >= UTF8_CUT) {
            buf_put(b, s + from, i - from);
            utf8_put(b, 0xfffd);
            from = i + (size_t)k;
        }
        i += (size_t)k;
    }
    buf_put(b, s + from, n - from);
}

bool utf8_is_valid(const char *s, size_t n)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        i += (size_t)utf8_next(s + i, n - i, &cp);
        if (cp >= UTF8_CUT) return false;
    }
    return true;
}

/* Characters that are NFC whatever stands beside them of the same kind: starters with NFC_QC = yes. Most text is
 * made of these alone and is copied. */
static bool is_inert(uint32_t cp)
{
    return cp < 0x300 || (cp >= 0x400 && cp < 0x483) || (cp >= 0x2010 && cp < 0x2028) || (cp >= 0x3001 && cp < 0x302a) ||
           (cp >= 0x3041 && cp < 0x3097) || (cp >= 0x30a0 && cp < 0x3100) || (cp >= 0x4e00 && cp < 0xa000) ||
           (cp >= 0xac00 && cp < 0xd7a4) || (cp >= 0xff01 && cp < 0xfff0) || (cp >= 0x1f300 && cp < 0x1fb00);
}

/* Characters that normalisation must not see. U+11A7, one before the first Hangul final, is a plain starter, but utf8proc
 * 2.8 takes it for a final and swallows it. */
static bool is_apart(uint32_t cp)
{
    int lo = 0, hi = unicode_n_young;

    if (cp == 0x11a7) return true;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (cp > unicode_young[mid][1]) lo = mid + 1;
        else hi = mid;
    }
    return lo < unicode_n_young && cp >= unicode_young[lo][0];
}

/* Canonical order: within each run of marks a stable sort by combining class, by counting when the run is long. */
static void order_run(int32_t *c, size_t n, int32_t *tmp)
{
    size_t at[257] = { 0 };

    if (n < 32) {
        for (size_t i = 1; i < n; i++) {
            int32_t x = c[i];
            utf8proc_propval_t k = utf8proc_get_property(x)->combining_class;
            size_t j = i;
            for (; j > 0 && utf8proc_get_property(c[j - 1])->combining_class > k; j--) c[j] = c[j - 1];
            c[j] = x;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) at[utf8proc_get_property(c[i])->combining_class + 1]++;
    for (int k = 0; k < 256; k++) at[k + 1] += at[k];
    for (size_t i = 0; i < n; i++) tmp[at[utf8proc_get_property(c[i])->combining_class]++] = c[i];
    memcpy(c, tmp, n * sizeof *c);
}

/* c[0..n) of decomposed characters, 2n allocated, to NFC at the end of b. */
static void compose(buf *b, int32_t *c, size_t n)
{
    utf8proc_ssize_t left;

    for (size_t i = 0, j; i < n; i = j + (j == i)) {
        for (j = i; j < n && utf8proc_get_property(c[j])->combining_class; j++) {
        }
        if (j - i > 1) order_run(c + i, j - i, c + n);
    }
    left = utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < left; i++) utf8_put(b, (uint32_t)c[i]);
}

void nfc_put(buf *b, const char *s, size_t n)
{
    size_t cap = 0, len = 0, i;
    int32_t *c = NULL;
    uint32_t cp;

    for (i = 0; i < n;) {
        int k = utf8_next(s + i, n - i, &cp);
        if (!is_inert(cp)) break;
        i += (size_t)k;
    }
    if (i == n) {
        buf_put(b, s, n);
        return;
    }
    for (i = 0; i < n && !b->failed;) {
        i += (size_t)utf8_next(s + i, n - i, &cp);
        if (cp >= UTF8_CUT) cp = 0xfffd;
        if (len + 4 > cap) { /* a canonical decomposition has at most 4 characters; twice the room, for order_run */
            size_t more = cap ? cap * 2 : 256;
            int32_t *p = mo_realloc(c, more * 2 * sizeof *c);
            if (!p) {
                b->failed = true;
                break;
            }
            c = p;
            cap = more;
        }
        if (is_apart(cp)) {
            compose(b, c, len);
            len = 0;
            utf8_put(b, cp);
        } else {
            utf8proc_ssize_t got = utf8proc_decompose_char((int32_t)cp, c + len, 4, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, NULL);
            if (got < 1 || got > 4) c[len++] = (int32_t)cp;
            else len += (size_t)got;
        }
    }
    if (len) compose(b, c, len);
    mo_free(c);
}
