/* From a conversation with pictures and sounds to token ids with marked places for their embeddings.
 *
 *     messages -- flatten --> text with markers -- chat template --> prompt -- expand, encode --> ids and bounds
 *
 * Markers travel through the template as byte sequences that no valid text contains, so nothing a user writes can pose
 * as a picture: a literal "<image>./</image>" in a message stays text. spec/omni-session.md 3.1-3.4, spec/vision.md 6.
 */
#ifndef MO_TOKENIZER_PROMPT_H
#define MO_TOKENIZER_PROMPT_H

#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

typedef enum prompt_item_kind { PROMPT_TEXT, PROMPT_IMAGE, PROMPT_AUDIO } prompt_item_kind;

typedef struct prompt_item {
    prompt_item_kind kind;
    const char *text; /* TEXT */
    size_t n_text;
    int32_t cols, rows; /* IMAGE: grid of slices after the overview; 0, 0: none */
    int32_t n_token;    /* AUDIO: embeddings it will get */
} prompt_item;

/* A text item of a C string. */
prompt_item prompt_text(const char *s);

typedef struct prompt_message {
    const char *role;
    const prompt_item *item; /* [n_item] */
    int32_t n_item;
    const char *reasoning; /* as in chat_message */
    size_t n_reasoning;
    const py_value *tool_calls;
} prompt_message;

typedef struct prompt_options {
    chat_kind kind;
    chat_switch enable_thinking;
    bool use_tts_template; /* any audio item switches it on */
    bool omni_mode;        /* items are joined by "", not "\n" */
    bool stream_input;     /* the same, and on o 4.5 audio is marked second by second */
    bool teacher_forcing;  /* no generation prompt */
    bool add_bos;
    bool use_image_id;      /* <image_id>k</image_id> before each picture, where the member has it */
    bool chunk_audio;       /* mark audio second by second, whatever stream_input says */
    int32_t first_image_id; /* number of the first picture */
    int32_t n_query;        /* embeddings of a picture or slice */
    int32_t n_audio_chunk;  /* embeddings of a second of audio */
    int32_t max_inp_length; /* keep the first so many ids; 0: all */
    const py_value *tools;
    const char *default_system; /* as in chat_options */
} prompt_options;

/* What the member's chat() does by default. */
prompt_options prompt_options_default(chat_kind kind);

typedef struct prompt {
    buf text;              /* the template's text with "<image>./</image>" and "<audio>./</audio>" for media */
    ids ids;               /* what the model is fed: without <|listen|>, cut to max_inp_length */
    ids image_bounds;      /* pairs [first, past last) of the embeddings' places: overview, then slices row by row */
    ids audio_bounds;      /* the same for audio, one pair a group */
    bool use_tts_template; /* as it turned out */
} prompt;

void prompt_free(prompt *p); /* accepts a zeroed one */

/* MO_E_ARG: a role or an item in a wrong place. MO_E_LIMIT: the cut to max_inp_length would lose a picture or sound. */
mo_status prompt_build(prompt *out, const tokenizer *t, const prompt_options *opt, const prompt_message *msg, int n, mo_error *err);

/* Items one after the other, no template, nothing between them: for streaming, where the caller writes the frame. */
mo_status prompt_build_items(prompt *out, const tokenizer *t, const prompt_options *opt, const prompt_item *item, int n, mo_error *err);

/* The official system prompt of a mode ("omni", "audio_assistant", "audio_roleplay", "voice_cloning", else the default) and
 * language ("zh", else English), with the place of a voice sample if there is one (an AUDIO item, n_token 0 to be filled in).
 * Texts are static. *n items, at most 3. */
#define PROMPT_SYSTEM_ITEM_MAX 3
mo_status prompt_system(prompt_item item[PROMPT_SYSTEM_ITEM_MAX], int *n, const char *mode, const char *language, bool has_voice,
                        mo_error *err);

#endif
