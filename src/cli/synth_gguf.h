/* A made-up model as the family's GGUF files: the language model, and an encoder a file, in the published layout.
 *
 *     DIR/MiniCPM-o-4_5-Q4_K_M.gguf   DIR/vision/MiniCPM-o-4_5-vision-F16.gguf   DIR/audio/MiniCPM-o-4_5-audio-F16.gguf
 *
 * In F32, BF16 and F16 every value is the rule's, so the model is that of the Hugging Face folder of the same seed; the blocks of
 * quantised types are random (synth_blocks.h).
 */
#ifndef MO_CLI_SYNTH_GGUF_H
#define MO_CLI_SYNTH_GGUF_H

#include <jansson.h>
#include <signal.h>

#include "cli/synth_tensors.h"
#include "core/threads.h"
#include "formats/gguf_mix.h"
#include "tokenizer/tokenizer.h"

typedef struct synth_gguf {
    const model_config *c;
    const synth_list *tensors;
    const file_type *type;
    uint64_t seed;
    const json_t *boost; /* as in synth_opts */
    const tokenizer *tok;
    const char *tokenizer_dir;         /* for its chat template; NULL: none */
    const volatile sig_atomic_t *stop; /* not 0: give up (MO_E_INTERRUPTED) */
} synth_gguf;

/* *out: bytes of tensors in all files. */
mo_status synth_gguf_bytes(uint64_t *out, const synth_gguf *g, mo_error *err);

/* Into `dir`, which exists and is empty. A failure may leave files there: the caller removes them. */
mo_status synth_gguf_write(const char *dir, const synth_gguf *g, pool *p, mo_error *err);

#endif
