/* The little of Unicode that tokenising needs: UTF-8 both ways, character classes, NFC.
 *
 * Bytes that are not UTF-8 read as U+FFFD, one per maximal subpart (the rule of the WHATWG and of Rust's lossy
 * conversion): F0 9F is one U+FFFD, a lone continuation byte is one, C0 80 are two.
 */
#ifndef MO_TOKENIZER_UNICODE_H
#define MO_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

enum { UNI_OTHER = 0, UNI_LETTER = 1, UNI_NUMBER = 2, UNI_MARK = 3 };

extern const uint8_t unicode_stage1[];
extern const uint32_t unicode_stage2[][8];
extern const uint32_t unicode_young[][2];
extern const int unicode_n_young;

/* General category of cp in Unicode 16.0, of which only L*, N*, M* are told apart. */
static inline int unicode_class(uint32_t cp)
{
    if (cp >= 0x110000) return UNI_OTHER;
    return (int)(unicode_stage2[unicode_stage1[cp >> 7]][cp >> 4 & 7] >> (cp & 15) * 2 & 3);
}

bool unicode_is_space(uint32_t cp); /* \s */

#define UTF8_INVALID 0xffffffffu
#define UTF8_CUT     0xfffffffeu /* the bytes end inside a character that could still be completed */

/* The character at s[0..n), n > 0, and how many bytes it has. For bytes that are no character *cp is UTF8_INVALID or
 * UTF8_CUT and the result the length of the maximal subpart. */
int utf8_next(const char *s, size_t n, uint32_t *cp);
void utf8_put(buf *b, uint32_t cp);

/* Append s with every invalid subpart replaced by U+FFFD. */
void utf8_put_lossy(buf *b, const char *s, size_t n);
bool utf8_is_valid(const char *s, size_t n);

/* Append the NFC form of valid UTF-8, with the data of Unicode 9.0. Linear also for long runs of marks. */
void nfc_put(buf *b, const char *s, size_t n);

#endif
