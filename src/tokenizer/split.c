/* The pre-tokenisers' regular expression, by hand (split.h).
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
 *
 * GPT-2's, and what is left of it between SmolLM's digits:
 *
 *   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
 *
 * The alternatives are tried in this order and the first that matches wins; together they match any character, so the
 * words tile the text. spec/tokenizer.md 1.2 and 2.
 */
#include "tokenizer/split.h"

#include "tokenizer/unicode.h"

typedef struct cursor {
    const char *s;
    size_t n;
    split_kind kind;
} cursor;

static bool is_newline(uint32_t cp) { return cp == '\r' || cp == '\n'; }
static bool is_number(uint32_t cp) { return unicode_class(cp) == UNI_NUMBER; }

/* The character at i and the index after it; at the end of the text cp is UTF8_INVALID, which is in no class. A digit of
 * SmolLM's ends the text for what stands before it. */
static size_t peek(const cursor *c, size_t i, uint32_t *cp)
{
    size_t next = i < c->n ? i + (size_t)utf8_next(c->s + i, c->n - i, cp) : i;

    if (next > i && !(c->kind == SPLIT_SMOLLM && is_number(*cp))) return next;
    *cp = UTF8_INVALID;
    return i;
}

static bool is_letter(uint32_t cp) { return unicode_class(cp) == UNI_LETTER; }

/* What words are made of: letters, and marks too for the pre-tokeniser that says so. */
static bool is_word(const cursor *c, uint32_t cp)
{
    int k = unicode_class(cp);
    return k == UNI_LETTER || (k == UNI_MARK && c->kind == SPLIT_QWEN35);
}

static bool is_digit(const cursor *c, uint32_t cp)
{
    (void)c;
    return is_number(cp);
}

/* [^\s\p{L}\p{N}], with marks taken out too where they are letters */
static bool is_punct(const cursor *c, uint32_t cp)
{
    return cp != UTF8_INVALID && !unicode_is_space(cp) && !is_number(cp) && !is_word(c, cp);
}

static bool is_gpt2(split_kind kind) { return kind == SPLIT_GPT2 || kind == SPLIT_SMOLLM; }

static uint32_t fold(const cursor *c, uint32_t cp)
{
    if (is_gpt2(c->kind)) return cp; /* it knows small letters only */
    if (cp >= 'A' && cp <= 'Z') return cp + 32;
    return cp == 0x17f ? 's' : cp; /* the long s folds to s; nothing else outside ASCII folds into these letters */
}

/* 's 't 're 've 'm 'll 'd in any case; returns i if none. */
static size_t contraction(const cursor *c, size_t i)
{
    uint32_t quote, a, b;
    size_t k1, k2;

    k1 = peek(c, i, &quote);
    if (quote != '\'') return i;
    k1 = peek(c, k1, &a);
    a = fold(c, a);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return k1;
    k2 = peek(c, k1, &b);
    b = fold(c, b);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return k2;
    return i;
}

static size_t run_of_word(const cursor *c, size_t i)
{
    uint32_t cp;
    size_t k;

    for (; k = peek(c, i, &cp), is_word(c, cp); i = k) {
    }
    return i;
}

/* White space: up to the last newline of the run; else all but its last character, which belongs to the next word,
 * unless the run ends the text or has one character only. */
static size_t run_of_space(const cursor *c, size_t i)
{
    size_t k = i, next, last = i, newline = 0;
    uint32_t cp;

    for (; next = peek(c, k, &cp), cp != UTF8_INVALID && unicode_is_space(cp); k = next) {
        if (is_newline(cp) && !is_gpt2(c->kind)) newline = next;
        last = k;
    }
    if (newline) return newline;
    return cp == UTF8_INVALID || last == i ? k : last;
}

/* GPT-2: a run of letters, of numbers or of neither, with one space before it; or white space. */
static size_t next_gpt2(const cursor *c, size_t i)
{
    bool (*const in_run[])(const cursor *, uint32_t) = { is_word, is_digit, is_punct };
    size_t start, next, k;
    uint32_t cp;

    next = peek(c, i, &cp);
    if (cp == UTF8_INVALID) return i + (size_t)utf8_next(c->s + i, c->n - i, &cp); /* SmolLM's digit */
    start = cp == ' ' ? next : i;
    for (int r = 0; r < 3; r++) {
        for (k = start; next = peek(c, k, &cp), in_run[r](c, cp); k = next) {
        }
        if (k > start) return k;
    }
    return run_of_space(c, i);
}

size_t split_next(split_kind kind, const char *s, size_t n, size_t i)
{
    cursor c = { s, n, kind };
    uint32_t cp, next_cp;
    size_t k, next;

    if ((k = contraction(&c, i)) > i) return k;
    if (is_gpt2(kind)) return next_gpt2(&c, i);

    next = peek(&c, i, &cp);
    if (is_word(&c, cp)) return run_of_word(&c, next);
    if (!is_newline(cp) && !is_number(cp) && !is_letter(cp)) {
        peek(&c, next, &next_cp);
        if (is_word(&c, next_cp)) return run_of_word(&c, next);
    }
    if (is_number(cp)) {
        for (int digits = 1; kind == SPLIT_LLAMA3 && digits < 3; digits++) {
            k = peek(&c, next, &next_cp);
            if (!is_number(next_cp)) break;
            next = k;
        }
        return next;
    }
    k = cp == ' ' ? next : i;
    next = peek(&c, k, &next_cp);
    if (is_punct(&c, next_cp)) {
        for (k = next; next = peek(&c, k, &cp), is_punct(&c, cp); k = next) {
        }
        for (; next = peek(&c, k, &cp), is_newline(cp); k = next) {
        }
        return k;
    }
    return run_of_space(&c, i);
}
