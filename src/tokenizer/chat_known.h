/* Which of the known templates a model's own template is. Templates are Jinja programs, which we do not run: each of ours is told
 * by marks that no other has, and the one thing that varies inside a kind, the default system message, is read out of the text.
 */
#ifndef MO_TOKENIZER_CHAT_KNOWN_H
#define MO_TOKENIZER_CHAT_KNOWN_H

#include "tokenizer/chat_template.h"

typedef enum chat_origin {
    CHAT_OF_MEMBER,    /* a member of the family: its template is known without looking */
    CHAT_RECOGNISED,   /* the model's own template was recognised */
    CHAT_UNRECOGNISED, /* it has one that is none of those known: the kind is a default */
    CHAT_NO_TEMPLATE   /* it has none: the kind is a default */
} chat_origin;

typedef struct chat_format {
    chat_kind kind;
    chat_origin origin;
    char *system; /* chat_options.default_system; owned */
} chat_format;

/* From a template's text; text NULL: there is none. *out is ChatML without a system message where nothing is recognised.
 * MO_E_NOMEM only. */
mo_status chat_recognise(chat_format *out, const char *text, size_t n, mo_error *err);
void chat_format_free(chat_format *f); /* accepts a zeroed one */

const char *chat_kind_text(chat_kind kind);       /* "ChatML" */
const char *chat_origin_text(chat_origin origin); /* "recognised by its template" */

#endif
