/* Recognising chat templates (chat_known.h). */
#include "tokenizer/chat_known.h"

#include <string.h>

#include "core/alloc.h"

/* The first line that fits counts. */
static const struct {
    const char *mark, *also;
    chat_kind kind;
} template_marks[] = {
    { "<|start_header_id|>", "", CHAT_V25 },         { "<\xe7\x94\xa8\xe6\x88\xb7>", "", CHAT_V20 }, /* <用户> */
    { "<|im_start|>", "enable_thinking", CHAT_V45 }, { "<|im_start|>", "", CHAT_V40 },
    { "<|user|>", "<|assistant|>", CHAT_OMNILMM },
};

static const char *find(const char *s, size_t n, const char *what) { return n ? memmem(s, n, what, strlen(what)) : NULL; }

static bool has(const char *s, size_t n, const char *what) { return !*what || find(s, n, what); }

/* ---- the default system message ---------------------------------------------------------------------------------- */

/* A newline inside a string of the program: itself, or its escape. Bytes it takes, 0: none. */
static size_t newline_at(const char *s, size_t n)
{
    if (n && *s == '\n') return 1;
    return n >= 2 && s[0] == '\\' && s[1] == 'n' ? 2 : 0;
}

/* The text of one string of the program, escapes undone. */
static char *unescape(const char *s, size_t n)
{
    char *out = mo_malloc(n + 1);
    size_t m = 0;

    if (!out) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\' && i + 1 < n) {
            i++;
            out[m++] = s[i] == 'n' ? '\n' : s[i] == 't' ? '\t' : s[i];
        } else {
            out[m++] = s[i];
        }
    }
    out[m] = 0;
    return out;
}

/* '<|im_start|>system\nYou are …<|im_end|>' within one string is the message that stands where the user gives none. In
 * templates without such a default the string ends before the message. */
static mo_status read_default_system(chat_format *f, const char *s, size_t n, mo_error *err)
{
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    const char *end = s + n, *at = s, *stop;
    size_t k;

    while ((at = find(at, (size_t)(end - at), open))) {
        at += strlen(open);
        if (!(k = newline_at(at, (size_t)(end - at)))) continue;
        at += k;
        if (!(stop = find(at, (size_t)(end - at), close))) break;
        if (stop == at || memchr(at, '\'', (size_t)(stop - at)) || memchr(at, '"', (size_t)(stop - at)) ||
            memchr(at, '{', (size_t)(stop - at)) || memchr(at, '}', (size_t)(stop - at)))
            continue; /* the string ended in between, or the message is put in */
        mo_free(f->system);
        f->system = unescape(at, (size_t)(stop - at));
        break;
    }
    return f->system ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for the chat template");
}

mo_status chat_recognise(chat_format *out, const char *text, size_t n, mo_error *err)
{
    *out = (chat_format){ CHAT_V40, text ? CHAT_UNRECOGNISED : CHAT_NO_TEMPLATE, mo_strdup("") };
    if (!out->system) return mo_fail(err, MO_E_NOMEM, "no memory for the chat template");
    for (size_t i = 0; text && i < sizeof template_marks / sizeof *template_marks; i++) {
        if (!has(text, n, template_marks[i].mark) || !has(text, n, template_marks[i].also)) continue;
        out->kind = template_marks[i].kind;
        out->origin = CHAT_RECOGNISED;
        return read_default_system(out, text, n, err);
    }
    return MO_OK;
}

void chat_format_free(chat_format *f)
{
    mo_free(f->system);
    f->system = NULL;
}

const char *chat_kind_text(chat_kind kind)
{
    switch (kind) {
    case CHAT_O45: return "Qwen3 ChatML with a speech mark";
    case CHAT_V45: return "Qwen3 ChatML";
    case CHAT_V40: return "ChatML";
    case CHAT_O26: return "Qwen2.5 ChatML with a speech mark";
    case CHAT_V26: return "Qwen2 ChatML";
    case CHAT_V25: return "Llama 3 headers";
    case CHAT_V20:
    case CHAT_V10: return "<\xe7\x94\xa8\xe6\x88\xb7> and <AI>";
    case CHAT_OMNILMM: return "Zephyr";
    }
    return "ChatML";
}

const char *chat_origin_text(chat_origin origin)
{
    switch (origin) {
    case CHAT_OF_MEMBER: return "this member's own";
    case CHAT_RECOGNISED: return "recognised by its template";
    case CHAT_UNRECOGNISED: return "by default: its template is none of those this build knows";
    case CHAT_NO_TEMPLATE: return "by default: it has no template";
    }
    return "";
}
