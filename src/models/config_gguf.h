/* A model's configuration from GGUF metadata and the shapes of its tensors (spec: family 2.3, language-models 3.2, vision 9.2,
 * audio-encoder 4.2).
 */
#ifndef MO_MODELS_CONFIG_GGUF_H
#define MO_MODELS_CONFIG_GGUF_H

#include "formats/gguf.h"
#include "models/config.h"

/* What kind of file is it, of those that a model is made of (gguf_kind.h)? */
typedef enum gguf_role { GGUF_ROLE_OTHER, GGUF_ROLE_LLM, GGUF_ROLE_VISION, GGUF_ROLE_AUDIO } gguf_role;

gguf_role gguf_role_of(const gguf *g);

/* The language model's file, with those of its encoders or NULL; ts holds the tensors of all of them under official names. */
mo_status model_config_from_gguf(model_config *out, const gguf *llm, const gguf *vision, const gguf *audio, const tensors *ts,
                                 mo_error *err);

#endif
