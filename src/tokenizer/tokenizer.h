/* Text to token ids and back. Byte-level BPE (Qwen2/2.5/3, Llama 3); which ids are special is known here and nowhere else.
 *
 * A tokenizer is read-only after opening: any thread may use it.
 */
#ifndef MO_TOKENIZER_H
#define MO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/status.h"

typedef struct tokenizer tokenizer;

/* From a Hugging Face directory: vocab.json, merges.txt, tokenizer_config.json (added_tokens_decoder),
 * added_tokens.json, special_tokens_map.json. */
mo_status tokenizer_open_hf(tokenizer **out, const char *dir, mo_error *err);
void tokenizer_close(tokenizer *t); /* accepts NULL */

int32_t tokenizer_n_vocab(const tokenizer *t);                    /* largest id + 1 */
int32_t tokenizer_find(const tokenizer *t, const char *name);     /* id of an added or vocabulary token by its text, -1 */
bool tokenizer_is_special(const tokenizer *t, int32_t id);
bool tokenizer_is_added(const tokenizer *t, int32_t id);

/* Append the ids of text[0..n) (may hold NUL). Added tokens in the text are recognised; nothing is prepended. */
mo_status tokenizer_encode(const tokenizer *t, const char *text, size_t n, ids *out, mo_error *err);

/* Append the raw bytes of one id (an added token: its text). Unknown ids give nothing. */
void tokenizer_bytes(const tokenizer *t, int32_t id, buf *out);

/* Append the text of ids; bytes that are not UTF-8 become U+FFFD, one per maximal subpart. */
mo_status tokenizer_decode(const tokenizer *t, const int32_t *id, size_t n, bool skip_special, buf *out, mo_error *err);

/* Text as it streams: bytes of an unfinished character are held back until it is complete or `final`. */
typedef struct detokenizer {
    const tokenizer *t;
    bool skip_special;
    unsigned char held[4];
    int n_held;
} detokenizer;

void detokenizer_init(detokenizer *d, const tokenizer *t, bool skip_special);
/* Append to out the text that ids add; final: nothing is held back any more. */
mo_status detokenizer_push(detokenizer *d, const int32_t *id, size_t n, bool final, buf *out, mo_error *err);

#endif
