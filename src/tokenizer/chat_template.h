/* From messages to the text a model was trained on: one renderer per family (spec/language-models.md section 6). */
#ifndef MO_TOKENIZER_CHAT_TEMPLATE_H
#define MO_TOKENIZER_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/status.h"
#include "tokenizer/pyjson.h"

/* Members by their prompt: template, placeholders and joiners together. */
typedef enum chat_kind {
    CHAT_O45,    /* Qwen3 with the speech switch; <image>./</image> */
    CHAT_V45,    /* Qwen3; (<image>./</image>) from here to V26 */
    CHAT_V40,    /* MiniCPM4 ChatML */
    CHAT_O26,    /* Qwen2.5 ChatML, speech prompt <|spk_bos|>... */
    CHAT_V26,    /* Qwen2 ChatML, default system prompt */
    CHAT_V25,    /* Llama 3 headers; tiles inside one <slice> */
    CHAT_V20,    /* <用户> and <AI>; tiles as V2.5 */
    CHAT_V10,    /* <用户> and <AI>; one tile */
    CHAT_OMNILMM /* Zephyr; <im_start> <im_patch>... <im_end> */
} chat_kind;

/* Strings need not end in NUL and may hold it. NULL content is the empty string. */
typedef struct chat_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;
    size_t n_content;
    const char *reasoning; /* NULL: not given, which is not the same as "" */
    size_t n_reasoning;
    const py_value *tool_calls; /* list of {"function": {...}} or {"name":, "arguments":}; NULL: none. Qwen3 only */
} chat_message;

typedef enum chat_switch { CHAT_UNSET = 0, CHAT_OFF, CHAT_ON } chat_switch;

typedef struct chat_options {
    bool add_generation_prompt;
    chat_switch enable_thinking; /* Qwen3: OFF puts the empty thought into the prompt, ON and UNSET nothing */
    bool use_tts_template;
    bool add_bos;          /* V4.0 only: begin with <s>. V2.5, V2.0, V1.0 and OmniLMM always begin with theirs */
    const py_value *tools; /* list; NULL: none. Qwen3 only */
    /* The system message of a conversation that has none, in ChatML and Zephyr: NULL the kind's own, "" none at all. */
    const char *default_system;
} chat_options;

/* Append the prompt's text. MO_E_ARG: no messages, or a role or a tool call that the template has no place for. */
mo_status chat_template_render(chat_kind kind, const chat_message *msg, int n, const chat_options *opt, buf *out, mo_error *err);

#endif
