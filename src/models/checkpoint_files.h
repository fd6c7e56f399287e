/* Which files make up a checkpoint (checkpoint_files.c). Paths are mo_malloc'd. */
#ifndef MO_MODELS_CHECKPOINT_FILES_H
#define MO_MODELS_CHECKPOINT_FILES_H

#include "models/config_gguf.h"

/* The GGUF file of the language model that `path`, a file or a folder, means. *out NULL, and MO_OK: a Hugging Face folder. */
mo_status checkpoint_find_llm(char **out, const char *path, mo_error *err);

/* An encoder's file for the language model in llm_path, beside it or in a folder of its own. *out NULL: none. */
mo_status checkpoint_find_encoder(char **out, const char *llm_path, gguf_role role, mo_error *err);

#endif
