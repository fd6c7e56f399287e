/* Text to token ids and back. Byte-level BPE (Qwen2/2.5/3, Llama 3) and SentencePiece BPE (MiniCPM, Mistral); which ids are
 * special is known here and nowhere else.
 *
 *     text -- added tokens --> pieces -- NFC --> -- regex --> words -- bytes, merges --> ids
 *
 * Names of tokens are written as in the vocabulary file: ordinary tokens in GPT-2's byte alphabet ("Ċ" is a newline),
 * added tokens literally ("<|im_end|>"). A tokenizer is read-only after opening: any thread may use it.
 */
#ifndef MO_TOKENIZER_H
#define MO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/status.h"

typedef struct tokenizer tokenizer;

/* From a Hugging Face directory: tokenizer.json, or vocab.json and merges.txt; with tokenizer_config.json
 * (added_tokens_decoder), added_tokens.json and special_tokens_map.json where they exist. */
mo_status tokenizer_open_hf(tokenizer **out, const char *dir, mo_error *err);

/* From lists, as other files hold them (GGUF: tokenizer.ggml.tokens, .token_type, .scores, .merges, .pre). Strings need not
 * end in NUL and are copied. With scores it is a SentencePiece vocabulary (BPE by score, bytes as "<0x0A>"): spaces are U+2581
 * in it, merges and pre are not looked at. */
typedef struct tokenizer_text {
    const char *s;
    size_t n;
} tokenizer_text;

typedef struct tokenizer_lists {
    const tokenizer_text *tokens; /* [n_token] by id */
    const int32_t *types;         /* [n_token] GGUF: 1 normal, 3 control, 4 user defined, 5 unused, 6 byte; NULL: all normal */
    size_t n_token;
    const tokenizer_text *merges; /* [n_merge] "left right", best first */
    size_t n_merge;
    const char *pre;            /* "qwen2", "llama-bpe", "qwen35", "gpt2", "smollm"; NULL is "qwen2" */
    int32_t bos, eos, pad, unk; /* -1: none */
    bool add_bos;
    const float *scores; /* [n_token] SentencePiece; NULL: byte-level BPE */
    bool space_prefix;   /* SentencePiece: text begins with a space of its own, also after an added token */
} tokenizer_lists;

mo_status tokenizer_open_lists(tokenizer **out, const tokenizer_lists *l, mo_error *err);
void tokenizer_close(tokenizer *t); /* accepts NULL */

/* The other way round: `lists`, whose arrays are the dump's. */
typedef struct tokenizer_dump {
    tokenizer_lists lists;
    buf text; /* of all tokens and merges */
    tokenizer_text *tokens, *merges;
    int32_t *types;
} tokenizer_dump;

/* n_vocab tokens: ids that the tokenizer lacks are "[PADn]" of type 5. MO_E_FORMAT: it has ids of n_vocab or above. Opened
 * again, the lists encode alike, but tokens of the form <|…|> are special whatever they were, as in every converted file. */
mo_status tokenizer_dump_lists(tokenizer_dump *out, const tokenizer *t, int32_t n_vocab, mo_error *err);
void tokenizer_dump_free(tokenizer_dump *d); /* accepts a zeroed one */

int32_t tokenizer_n_vocab(const tokenizer *t);                /* largest id + 1 */
int32_t tokenizer_find(const tokenizer *t, const char *name); /* id of an added or vocabulary token by its text, -1 */
bool tokenizer_is_special(const tokenizer *t, int32_t id);
bool tokenizer_is_added(const tokenizer *t, int32_t id);

/* What the configuration calls its ends; -1 where it names none. add_bos: a text's ids should begin with bos (Llama 3;
 * encoding itself never adds it, the chat template does). */
typedef struct tokenizer_roles {
    int32_t bos, eos, pad, unk;
    bool add_bos;
} tokenizer_roles;

tokenizer_roles tokenizer_get_roles(const tokenizer *t);

/* `bad_token_ids` of tokenizer_config.json, which speech generation never samples; in file order, owned by t. */
const int32_t *tokenizer_bad_ids(const tokenizer *t, size_t *n);

/* Append the ids of text[0..n) (may hold NUL). Added tokens in the text are recognised; nothing is prepended. Bytes that
 * are not UTF-8 count as U+FFFD. Time is near-linear whatever the text. */
mo_status tokenizer_encode(const tokenizer *t, const char *text, size_t n, ids *out, mo_error *err);

/* The same with added tokens taken literally: the text is data, nothing in it can act as a marker. */
mo_status tokenizer_encode_plain(const tokenizer *t, const char *text, size_t n, ids *out, mo_error *err);

/* Append the raw bytes of one id (an added token: its text). Unknown ids give nothing. */
void tokenizer_bytes(const tokenizer *t, int32_t id, buf *out);

/* Append the text of ids; bytes that are not UTF-8 become U+FFFD, one per maximal subpart. */
mo_status tokenizer_decode(const tokenizer *t, const int32_t *id, size_t n, bool skip_special, buf *out, mo_error *err);

/* Text as it streams: bytes of an unfinished character are held back until it is complete or `final`, and so are
 * U+FFFD at the end, whether they stand for wrong bytes or were generated. The pieces together are tokenizer_decode. */
typedef struct detokenizer {
    const tokenizer *t;
    bool skip_special;
    bool drop_space;       /* SentencePiece: the space before the first word is not the text's */
    unsigned char held[4]; /* a character that may still be completed */
    int n_held;
    size_t n_fffd; /* U+FFFD before it, waiting for something after them */
} detokenizer;

void detokenizer_init(detokenizer *d, const tokenizer *t, bool skip_special);
/* Append to out the text that ids add; final: nothing is held back any more. */
mo_status detokenizer_push(detokenizer *d, const int32_t *id, size_t n, bool final, buf *out, mo_error *err);

/* Write the files of a stand-in tokenizer into an existing directory: the 256 bytes at ids 0..255, no merges, and those
 * of the o 4.5 special tokens whose official ids are below n_vocab (>= 256). For made-up checkpoints without real files. */
mo_status tokenizer_write_standin(const char *dir, int32_t n_vocab, mo_error *err);

#endif
