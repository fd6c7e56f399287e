/* The `bad_token_ids` of MiniCPM-o 4.5: tokens with parentheses, most line breaks, stray bytes, emoji. A model that speaks
 * never says them. Hugging Face folders carry the list in tokenizer_config.json; a GGUF does not, hence the copy.
 */
#ifndef MO_SESSION_BAD_TOKENS_H
#define MO_SESSION_BAD_TOKENS_H

#include <stdint.h>

#define BAD_TOKEN_N     6965
#define BAD_TOKEN_N_BPE 151643 /* the list is about a vocabulary with this many byte-pair tokens: <|endoftext|> has this id */

/* Ascending ids, each as the difference to the one before (the first to 0). */
extern const uint16_t bad_token_step[BAD_TOKEN_N];

#endif
