/* A configuration and a tokenizer as the keys of GGUF files, the inverse of config_gguf.h (spec: language-models 3.2, tokenizer 4,
 * vision 9.2, audio-encoder 4.2).
 */
#ifndef MO_MODELS_GGUF_KEYS_H
#define MO_MODELS_GGUF_KEYS_H

#include "formats/gguf_mix.h"
#include "formats/gguf_write.h"
#include "models/config.h"
#include "models/config_gguf.h"
#include "tokenizer/tokenizer.h"

/* Everything but the tokenizer. name: general.name. Failures are remembered by w. MO_E_UNSUPPORTED: such a part has no place in
 * a GGUF file. */
mo_status gguf_put_config(gguf_writer *w, const model_config *c, gguf_role role, const char *name, const file_type *type, mo_error *err);

/* The mel filters of an audio encoder [n_mel, n_bin], which other readers take from the file. */
void gguf_put_filters(gguf_writer *w, const float *filters, int32_t n_mel, int32_t n_bin);

/* tokenizer.*: the vocabulary as n_vocab tokens (holes are "[PADn]"), merges, roles; and tokenizer.chat_template as the Hugging Face
 * folder `dir` has it (NULL or none there: no such key). MO_E_FORMAT: the tokenizer has ids of n_vocab or above. */
mo_status gguf_put_tokenizer(gguf_writer *w, const tokenizer *t, int32_t n_vocab, const char *dir, mo_error *err);

#endif
