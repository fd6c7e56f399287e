/* A checkpoint, whatever it is made of: its configuration, its tensors under official names, its tokenizer.
 *
 *     a Hugging Face folder        config.json, safetensors, tokenizer files
 *     a GGUF file                  the language model, all parts if it was split
 *     a folder of GGUF files       the one language model in it
 *
 * What a file is, is decided by its content. Encoders of a GGUF model are files of their own, looked for beside the language
 * model and in vision/ and audio/ (spec: family 2.2), or named by the caller.
 */
#ifndef MO_MODELS_CHECKPOINT_H
#define MO_MODELS_CHECKPOINT_H

#include "formats/gguf.h"
#include "models/config.h"
#include "models/gguf_kind.h"
#include "tokenizer/chat_known.h"
#include "tokenizer/tokenizer.h"

typedef struct checkpoint {
    model_config cfg;
    tensors *ts;
    gguf *meta;                     /* of the language model's file, or NULL: a Hugging Face folder */
    char *vision_path, *audio_path; /* encoder files that were taken, or NULL */
} checkpoint;

typedef struct checkpoint_opts {
    const char *vision_path, *audio_path; /* NULL: look for them */
    bool no_vision, no_audio;             /* do not */
} checkpoint_opts;

/* opts NULL: defaults. On failure *out is empty. Its parts may be moved out (set them NULL); meta goes before ts. */
mo_status checkpoint_open(checkpoint *out, const char *path, const checkpoint_opts *opts, mo_error *err);
void checkpoint_close(checkpoint *c); /* accepts a zeroed one */

/* Of the checkpoint at `path`; meta as checkpoint_open gave it. */
mo_status checkpoint_tokenizer(tokenizer **out, const char *path, const gguf *meta, mo_error *err);

/* How conversations are written for this model. meta may be NULL. Free with chat_format_free. MO_E_NOMEM only. */
mo_status checkpoint_chat(chat_format *out, const model_config *c, const gguf *meta, mo_error *err);

/* What to call it: the member's name; of a plain language model, what its file calls it. meta may be NULL. */
enum { CHECKPOINT_NAME = 96 };
void checkpoint_name(char out[CHECKPOINT_NAME], const model_config *c, const gguf *meta);

/* The GGUF files of a set: what they are, whether anything uses them or not. */
typedef struct checkpoint_file {
    char *path;
    gguf_kind kind;
    char arch[32]; /* what it calls itself; "": it is no readable GGUF file */
    uint64_t n_bytes;
    size_t n_tensor;
} checkpoint_file;

/* Of `path`: a GGUF file alone; a folder's, with those in vision/, audio/, tts/ and token2wav-gguf/ (later parts of split models are
 * not told); of anything else none. *file [*n] is the caller's, to be freed below. MO_E_NOMEM only. */
mo_status checkpoint_list(checkpoint_file **file, int *n, const char *path, mo_error *err);
void checkpoint_list_free(checkpoint_file *file, int n); /* accepts NULL */

/* The tokenizer alone, of any kind of path. */
mo_status checkpoint_open_tokenizer(tokenizer **out, const char *path, mo_error *err);

#endif
