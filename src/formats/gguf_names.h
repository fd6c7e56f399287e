/* Official (Hugging Face) names for the tensors of GGUF files (gguf_names.c). */
#ifndef MO_FORMATS_GGUF_NAMES_H
#define MO_FORMATS_GGUF_NAMES_H

#include "formats/gguf.h"

enum { OFFICIAL_NAME_MAX = 160 };

/* What a file's names mean; from its architecture and shapes. */
typedef struct gguf_naming {
    const struct gguf_name *table; /* NULL: names are kept */
    size_t n;
    bool ffn_swapped; /* the tensor called ffn_down is the first of the two (old vision converters) */
} gguf_naming;

gguf_naming gguf_naming_of(const gguf *g);
/* What converters write for an architecture: "clip" and "whisper" are the encoders, all others language models. */
gguf_naming gguf_naming_for(const char *architecture);

/* The official name of `name`, in out; `name` itself where the table has no line for it. */
const char *gguf_official_name(const gguf_naming *m, const char *name, char out[OFFICIAL_NAME_MAX]);

/* The other way round: the file's name of an official tensor ("llm." before a language model's), in out; NULL where the table
 * has no line for it. */
const char *gguf_name_of(const gguf_naming *m, const char *official, char out[OFFICIAL_NAME_MAX]);

#endif
