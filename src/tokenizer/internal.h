/* How a tokenizer is laid out: shared by the files of this folder, nobody else includes it.
 *
 *     names    one blob of all token texts, entry[id] points into it
 *     by_name  open addressing on the text          -> id
 *     by_pair  open addressing on (left, right)     -> rank, merged id
 *     trie     the added tokens, byte by byte       -> id, longest match
 *     score    SentencePiece: how early a piece is merged, by id; no by_pair then
 */
#ifndef MO_TOKENIZER_INTERNAL_H
#define MO_TOKENIZER_INTERNAL_H

#include "tokenizer/split.h"
#include "tokenizer/tokenizer.h"

#define TOKEN_ID_LIMIT   (1 << 24) /* ids are below this */
#define TOKEN_TEXT_LIMIT 65536     /* bytes of a token's text */
#define ADDED_TEXT_LIMIT 1024      /* bytes of an added token's text */

enum { TOKEN_USED = 1, TOKEN_ADDED = 2, TOKEN_SPECIAL = 4, TOKEN_BYTE = 8 }; /* BYTE: SentencePiece's "<0x0A>" */

typedef struct token_entry {
    uint32_t at, n; /* text in names */
    uint32_t flags;
} token_entry;

typedef struct merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* UINT32_MAX: empty */
    int32_t merged;
} merge_slot;

typedef struct trie_node {
    int32_t child, next; /* first child, next sibling; 0: none */
    int32_t id;          /* token that ends here, -1 */
    unsigned char byte;
} trie_node;

struct tokenizer {
    buf names;
    token_entry *entry; /* [cap_entry] */
    size_t cap_entry;
    int32_t n_vocab;

    int32_t *by_name; /* [n_by_name] id, -1: empty; a power of two */
    size_t n_by_name, n_named;

    merge_slot *by_pair; /* [n_by_pair] a power of two */
    size_t n_by_pair;

    trie_node *trie; /* node 0 is the root */
    size_t n_trie, cap_trie;
    int32_t first[256]; /* root's children by byte, 0: none */

    int32_t byte_id[256]; /* id of each single byte; -1: the vocabulary lacks it, texts lose it */
    ids bad;
    tokenizer_roles roles;
    split_kind split;
    bool nfc, ignore_merges;

    bool is_spm;        /* SentencePiece: pieces with scores, whole stretches are merged, spaces are U+2581 */
    bool space_prefix;  /* a stretch begins with a space of its own, which decoding takes off again */
    float *score;       /* [n_vocab] */
    size_t n_piece_max; /* bytes of the longest piece */
};

/* vocab.c: building. Every call reports with one sentence. */
tokenizer *tokenizer_new(mo_error *err);
mo_status vocab_add(tokenizer *t, int64_t id, const char *text, size_t n, mo_error *err);
/* An added token: may repeat what is there, may give a vocabulary entry the flag, may not contradict it. */
mo_status vocab_add_added(tokenizer *t, int64_t id, const char *text, size_t n, bool special, mo_error *err);
mo_status vocab_reserve_merges(tokenizer *t, size_t n, mo_error *err);
/* "left right"; i_line: for the message. */
mo_status vocab_add_merge(tokenizer *t, uint32_t rank, const char *text, size_t n, mo_error *err);
mo_status vocab_add_merge_pair(tokenizer *t, uint32_t rank, const char *left, size_t n_left, const char *right, size_t n_right,
                               mo_error *err);
/* After the last: every byte must be a token, or (every_byte false) all that plain text needs. */
mo_status vocab_finish(tokenizer *t, bool every_byte, mo_error *err);

int32_t vocab_find(const tokenizer *t, const char *text, size_t n);
/* Longest added token that begins text[0..n): its id and length, -1 if none. */
int32_t vocab_match_added(const tokenizer *t, const char *text, size_t n, size_t *len);
static inline const char *vocab_text(const tokenizer *t, int32_t id, size_t *n)
{
    *n = t->entry[id].n;
    return t->names.data + t->entry[id].at;
}

uint32_t byte_to_symbol(unsigned char byte); /* GPT-2's byte alphabet: 21-7E, A1-AC, AE-FF are themselves */
int symbol_to_byte(uint32_t cp);             /* -1: not of the alphabet */

/* bpe.c: append the ids of one word, or of a whole stretch of text between added tokens (SentencePiece). The workspace is
 * reused from word to word. */
typedef struct bpe_work {
    struct bpe_symbol *symbol;
    struct bpe_pair *heap;
    size_t cap;
    buf name;
} bpe_work;

bool bpe_word(const tokenizer *t, bpe_work *w, const char *word, size_t n, ids *out);    /* false: no memory */
bool spm_stretch(const tokenizer *t, bpe_work *w, const char *text, size_t n, ids *out); /* the same */
void bpe_work_free(bpe_work *w);
const merge_slot *vocab_find_merge(const tokenizer *t, int32_t left, int32_t right); /* NULL: no such merge */

/* spm.c */
mo_status spm_open(tokenizer *t, const tokenizer_lists *l, mo_error *err);
void spm_bytes(const tokenizer *t, int32_t id, buf *out); /* of a token that is not added */

/* special.c: the o 4.5 family's added tokens, and writing a stand-in. */
typedef struct family_token {
    int32_t id;
    bool special;
    const char *text;
} family_token;

extern const family_token family_tokens[];
extern const int n_family_token;

#endif
