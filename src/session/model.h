/* The engine: one checkpoint's weights, the device they run on, the working memory its sessions share.
 *
 *     files -> config, tensors, tokenizer -> plan -> backend -> llm, vision, audio -> scratch
 *
 * Read-only after opening but for the scratch, which `step_lock` guards: sessions take turns.
 */
#ifndef MO_SESSION_MODEL_H
#define MO_SESSION_MODEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "backend/backend.h"
#include "media/audio.h"
#include "minicpmo.h"
#include "models/checkpoint.h"
#include "models/llm.h"
#include "models/resampler.h"
#include "models/siglip.h"
#include "models/whisper.h"
#include "tokenizer/tokenizer.h"

enum {
    VISION_ROWS = 4736, /* patches of one encoder pass: the largest tile there can be (65500 x 1 pixels: 4679) fits */
    VISION_TILES = 16,  /* tiles of one encoder pass */
    AUDIO_ROWS = 1536   /* encoder rows of one pass: a piece of 30 s (1500) fits */
};

struct mo_model {
    mo_model_opts opts; /* isa is not kept */
    model_config cfg;
    tensors *ts;
    gguf *meta;       /* of a GGUF model, or NULL */
    chat_format chat; /* how its conversations are written */
    char name[CHECKPOINT_NAME];
    tokenizer *tok;
    backend *be;
    llm *llm;
    siglip *vision; /* NULL: not loaded, as resampler */
    resampler *resampler;
    whisper *audio; /* NULL: not loaded, as mel */
    mel_bank *mel;
    mo_plan plan;      /* of the model alone */
    uint64_t n_packed; /* bytes that were packed so far */
    char device[96];

    pthread_mutex_t step_lock;
    scratch scratch; /* sized for the largest of: a forward of n_ubatch rows, a vision pass, an audio pass */
    atomic_int n_session;
};

/* Working memory of one vision pass, in device memory: patches in, hidden rows, embeddings out. */
typedef struct vision_pass {
    float *patch;  /* [VISION_ROWS, 3 * patch * patch] */
    float *hidden; /* [VISION_ROWS, vision.n_embd] */
    float *embeds; /* [VISION_TILES, n_query, n_embd] */
    float *host;   /* [VISION_ROWS, 3 * patch * patch] host memory, to upload from */
} vision_pass;

/* The same for sound: pieces of at most 30 s, one at a time. */
typedef struct audio_pass {
    float *mel;    /* [2 * n_pos, n_mel] */
    float *hidden; /* [n_pos, audio.n_embd] */
    float *embeds; /* [n_pos / pool_step, n_embd] */
    float *host;   /* [2 * n_pos, n_mel] host memory, to upload from */
    float *pcm;    /* [MEL_MAX_SAMPLES] host memory */
} audio_pass;

vision_pass model_vision_carve(scratch *s, const model_config *c);
audio_pass model_audio_carve(scratch *s, const model_config *c);

/* Text that mentions numbers of bytes: "18.8 GiB". Returns out. */
char *format_bytes(char out[16], uint64_t n);

/* What a session of these options would add to the plan. */
void model_plan_session(mo_plan *p, const mo_model *m, const mo_session_opts *o);
/* MO_E_ARG with a sentence if an option is out of range, MO_E_UNSUPPORTED if it is not for this model (session.c). */
mo_status session_check_opts(const mo_session_opts *o, const model_config *c, mo_error *err);
/* MO_E_NOMEM with numbers if one more session of these options does not fit. */
mo_status model_session_fits(const mo_model *m, const mo_session_opts *o, mo_error *err);
/* The caches of a session of these options. */
kv_shape session_kv_shape(const llm_config *c, const mo_session_opts *o);
/* n_ctx as it will be: the default filled in, rounded up to whole pages. */
int32_t session_n_ctx(const model_config *c, const mo_session_opts *o);
/* Rows of logits it holds at a time: one, and one for each guessed token (speculate.h). */
int32_t session_logit_rows(const mo_model *m, const mo_session_opts *o);

#endif
