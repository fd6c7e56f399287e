/* What a GGUF file of the family's published sets is, by its metadata and tensors, never its name (spec: formats 1.3, tts-lm 8,
 * token2wav 8). */
#ifndef MO_MODELS_GGUF_KIND_H
#define MO_MODELS_GGUF_KIND_H

#include "formats/gguf.h"

typedef enum gguf_kind {
    GGUF_KIND_UNKNOWN,
    GGUF_KIND_LLM,
    GGUF_KIND_VISION,
    GGUF_KIND_AUDIO,
    GGUF_KIND_TTS,          /* the language model of speech tokens */
    GGUF_KIND_PROJECTOR,    /* from the language model's hidden states to it */
    GGUF_KIND_FLOW_ENCODER, /* token2wav: speech tokens to mel frames, in three files */
    GGUF_KIND_FLOW_MATCHING,
    GGUF_KIND_FLOW_EXTRA,
    GGUF_KIND_VOCODER,     /* mel frames to sound */
    GGUF_KIND_VOICE_PROMPT /* the voice that it speaks with */
} gguf_kind;

gguf_kind gguf_kind_of(const gguf *g);
const char *gguf_kind_text(gguf_kind k); /* "vision encoder" */

/* Is it one of those that make speech? */
static inline bool gguf_kind_is_speech(gguf_kind k) { return k >= GGUF_KIND_TTS; }

#endif
