/* The family's chat templates, written out in C (chat_template.h).
 *
 * Each official template is a Jinja program in tokenizer_config.json; these are those programs, byte for byte, for the
 * members we know. Where Jinja would raise we return MO_E_ARG.
 */
#include "tokenizer/chat_template.h"

#include <string.h>

#include "tokenizer/unicode.h"

/* A piece of somebody's string. */
typedef struct span {
    const char *s;
    size_t n;
} span;

static span content_of(const chat_message *m) { return m->content ? (span){ m->content, m->n_content } : (span){ "", 0 }; }
static bool is_role(const chat_message *m, const char *role) { return !strcmp(m->role, role); }
static void put(buf *out, span x) { buf_put(out, x.s, x.n); }

static bool starts_with(span x, const char *s) { return x.n >= strlen(s) && !memcmp(x.s, s, strlen(s)); }
static bool ends_with(span x, const char *s) { return x.n >= strlen(s) && !memcmp(x.s + x.n - strlen(s), s, strlen(s)); }

static span strip_left(span x)
{
    while (x.n && x.s[0] == '\n') x.s++, x.n--;
    return x;
}

static span strip_right(span x)
{
    while (x.n && x.s[x.n - 1] == '\n') x.n--;
    return x;
}

/* Where s occurs first (or last) in x; SIZE_MAX if it does not. */
static size_t find(span x, const char *s, bool last)
{
    size_t n = strlen(s), at = SIZE_MAX;

    for (size_t i = 0; i + n <= x.n; i++) {
        if (x.s[i] != s[0] || memcmp(x.s + i, s, n)) continue;
        at = i;
        if (!last) break;
    }
    return at;
}

/* str.strip(): Unicode white space and the four ASCII separators. */
static span strip_space(span x)
{
    uint32_t cp;

    while (x.n) {
        size_t k = (size_t)utf8_next(x.s, x.n, &cp);
        if (!unicode_is_space(cp) && !(cp >= 0x1c && cp <= 0x1f)) break;
        x.s += k;
        x.n -= k;
    }
    while (x.n) {
        size_t k = 1;
        while (k < x.n && k < 4 && ((unsigned char)x.s[x.n - k] & 0xc0) == 0x80) k++;
        utf8_next(x.s + x.n - k, k, &cp);
        if (!unicode_is_space(cp) && !(cp >= 0x1c && cp <= 0x1f)) break;
        x.n -= k;
    }
    return x;
}

/* ---- Qwen3: V4.5 and o4.5 ---- */

static void qwen3_system(const chat_message *first, const py_value *tools, buf *out)
{
    bool has_system = is_role(first, "system");

    if (!py_truthy(tools)) {
        if (!has_system) return;
        buf_puts(out, "<|im_start|>system\n");
        put(out, content_of(first));
        buf_puts(out, "<|im_end|>\n");
        return;
    }
    buf_puts(out, "<|im_start|>system\n");
    if (has_system) {
        put(out, content_of(first));
        buf_puts(out, "\n\n");
    }
    buf_puts(out, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                  "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < tools->n_child; i++) {
        buf_puts(out, "\n");
        py_dump(&tools->child[i], out);
    }
    buf_puts(out, "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
                  "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"
                  "</tool_call><|im_end|>\n");
}

/* The last user message that is not a tool's answer in disguise: thoughts before it are history and are dropped. */
static int last_query(const chat_message *msg, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        span c = content_of(&msg[i]);
        if (is_role(&msg[i], "user") && !(starts_with(c, "<tool_response>") && ends_with(c, "</tool_response>"))) return i;
    }
    return n - 1;
}

/* A value in running text: a string as it is, nothing for a missing one. */
static void put_value(const py_value *v, buf *out)
{
    if (v && v->kind == PY_STRING) buf_put(out, v->text, v->n_text);
    else if (v) py_dump(v, out);
}

static mo_status qwen3_tool_calls(const py_value *calls, bool after_content, buf *out, mo_error *err)
{
    if (!py_truthy(calls)) return MO_OK;
    if (calls->kind != PY_LIST) return mo_fail(err, MO_E_ARG, "tool_calls is not a list");
    for (size_t i = 0; i < calls->n_child; i++) {
        const py_value *call = &calls->child[i], *inner = py_get(call, "function"), *arguments;
        if (py_truthy(inner)) call = inner;
        if (!(arguments = py_get(call, "arguments"))) return mo_fail(err, MO_E_ARG, "tool call %zu has no arguments", i);
        if (i || after_content) buf_puts(out, "\n");
        buf_puts(out, "<tool_call>\n{\"name\": \"");
        put_value(py_get(call, "name"), out);
        buf_puts(out, "\", \"arguments\": ");
        put_value(arguments, out);
        buf_puts(out, "}\n</tool_call>");
    }
    return MO_OK;
}

static mo_status qwen3_assistant(const chat_message *m, bool after_query, bool is_last, buf *out, mo_error *err)
{
    span whole = content_of(m), content = whole, reasoning = { "", 0 };
    size_t end;
    mo_status st;

    if (m->reasoning) {
        reasoning = (span){ m->reasoning, m->n_reasoning };
    } else if ((end = find(whole, "</think>", false)) != SIZE_MAX) {
        size_t last = find(whole, "</think>", true) + strlen("</think>"), open;
        content = strip_left((span){ whole.s + last, whole.n - last });
        reasoning = strip_right((span){ whole.s, end });
        if ((open = find(reasoning, "<think>", true)) != SIZE_MAX) {
            open += strlen("<think>");
            reasoning = (span){ reasoning.s + open, reasoning.n - open };
        }
        reasoning = strip_left(reasoning);
    }
    buf_puts(out, "<|im_start|>assistant\n");
    if (after_query && (is_last || reasoning.n)) {
        buf_puts(out, "<think>\n");
        put(out, strip_right(strip_left(reasoning)));
        buf_puts(out, "\n</think>\n\n");
        put(out, strip_left(content));
    } else {
        put(out, content);
    }
    if ((st = qwen3_tool_calls(m->tool_calls, content.n > 0, out, err)) != MO_OK) return st;
    buf_puts(out, "<|im_end|>\n");
    return MO_OK;
}

/* Neighbouring tool messages share one user turn. */
static void qwen3_tool(const chat_message *msg, int i, int n, buf *out)
{
    if (i == 0 || !is_role(&msg[i - 1], "tool")) buf_puts(out, "<|im_start|>user");
    buf_puts(out, "\n<tool_response>\n");
    put(out, content_of(&msg[i]));
    buf_puts(out, "\n</tool_response>");
    if (i == n - 1 || !is_role(&msg[i + 1], "tool")) buf_puts(out, "<|im_end|>\n");
}

static void chatml_message(const chat_message *m, buf *out)
{
    buf_printf(out, "<|im_start|>%s\n", m->role);
    put(out, content_of(m));
    buf_puts(out, "<|im_end|>\n");
}

static mo_status render_qwen3(const chat_message *msg, int n, const chat_options *opt, bool has_tts, buf *out, mo_error *err)
{
    int i_query = last_query(msg, n);
    mo_status st;

    if (py_truthy(opt->tools) && opt->tools->kind != PY_LIST) return mo_fail(err, MO_E_ARG, "tools is not a list");
    qwen3_system(&msg[0], opt->tools, out);
    for (int i = 0; i < n; i++) {
        if (is_role(&msg[i], "user") || (is_role(&msg[i], "system") && i > 0)) chatml_message(&msg[i], out);
        else if (is_role(&msg[i], "tool")) qwen3_tool(msg, i, n, out);
        else if (is_role(&msg[i], "assistant") && (st = qwen3_assistant(&msg[i], i > i_query, i == n - 1, out, err)) != MO_OK) return st;
    }
    if (opt->add_generation_prompt) {
        buf_puts(out, "<|im_start|>assistant\n");
        if (opt->enable_thinking == CHAT_OFF) buf_puts(out, "<think>\n\n</think>\n\n");
        if (has_tts && opt->use_tts_template) buf_puts(out, "<|tts_bos|>");
    }
    return MO_OK;
}

/* ---- the older members ---- */

static void render_chatml(chat_kind kind, const chat_message *msg, int n, const chat_options *opt, buf *out)
{
    bool speech = kind == CHAT_O26 && opt->use_tts_template;
    const char *system = opt->default_system;

    if (!system && kind == CHAT_V26) system = "You are a helpful assistant.";
    if (!system && kind == CHAT_O26 && !speech) system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
    if (kind == CHAT_V40 && opt->add_bos) buf_puts(out, "<s>");
    if (system && *system && !is_role(&msg[0], "system")) {
        buf_puts(out, "<|im_start|>system\n");
        buf_puts(out, system);
        buf_puts(out, "<|im_end|>\n");
    }
    for (int i = 0; i < n; i++) chatml_message(&msg[i], out);
    if (!opt->add_generation_prompt) return;
    buf_puts(out, "<|im_start|>assistant\n");
    if (speech) buf_puts(out, "<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>");
}

static void render_llama3(const chat_message *msg, int n, const chat_options *opt, buf *out)
{
    buf_puts(out, "<|begin_of_text|>");
    for (int i = 0; i < n; i++) {
        buf_printf(out, "<|start_header_id|>%s<|end_header_id|>\n\n", msg[i].role);
        put(out, strip_space(content_of(&msg[i])));
        buf_puts(out, "<|eot_id|>");
    }
    if (opt->add_generation_prompt) buf_puts(out, "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

static mo_status render_minicpm(const chat_message *msg, int n, const chat_options *opt, buf *out, mo_error *err)
{
    buf_puts(out, "<s>");
    for (int i = 0; i < n; i++) {
        if (is_role(&msg[i], "user")) buf_puts(out, "<用户>");
        else if (is_role(&msg[i], "assistant")) buf_puts(out, "<AI>");
        else return mo_fail(err, MO_E_ARG, "this model's prompt knows the roles user and assistant, not '%.40s'", msg[i].role);
        put(out, content_of(&msg[i]));
    }
    if (opt->add_generation_prompt) buf_puts(out, "<AI>");
    return MO_OK;
}

static mo_status render_zephyr(const chat_message *msg, int n, const chat_options *opt, buf *out, mo_error *err)
{
    static const char own[] =
        "You are an artificial intelligence assistant, which gives helpful, detailed, and polite answers to the human's questions.";
    const char *system = opt->default_system ? opt->default_system : own;
    int i = 0;

    buf_puts(out, "<s>");
    if (is_role(&msg[0], "system") || *system) {
        buf_puts(out, "<|system|>\n");
        if (is_role(&msg[0], "system")) put(out, content_of(&msg[i++]));
        else buf_puts(out, system);
        buf_puts(out, "</s>\n");
    }
    for (; i < n; i++) {
        if (!is_role(&msg[i], "user") && !is_role(&msg[i], "assistant"))
            return mo_fail(err, MO_E_ARG, "this model's prompt has no place for the role '%.40s' here", msg[i].role);
        buf_printf(out, "<|%s|>\n", msg[i].role);
        put(out, content_of(&msg[i]));
        buf_puts(out, "</s>\n");
    }
    if (opt->add_generation_prompt) buf_puts(out, "<|assistant|>\n");
    return MO_OK;
}

mo_status chat_template_render(chat_kind kind, const chat_message *msg, int n, const chat_options *opt, buf *out, mo_error *err)
{
    mo_status st = MO_OK;

    if (n < 1) return mo_fail(err, MO_E_ARG, "a conversation needs at least one message");
    for (int i = 0; i < n; i++)
        if (!msg[i].role) return mo_fail(err, MO_E_ARG, "message %d has no role", i);
    switch (kind) {
    case CHAT_O45:
    case CHAT_V45: st = render_qwen3(msg, n, opt, kind == CHAT_O45, out, err); break;
    case CHAT_V40:
    case CHAT_O26:
    case CHAT_V26: render_chatml(kind, msg, n, opt, out); break;
    case CHAT_V25: render_llama3(msg, n, opt, out); break;
    case CHAT_V20:
    case CHAT_V10: st = render_minicpm(msg, n, opt, out, err); break;
    case CHAT_OMNILMM: st = render_zephyr(msg, n, opt, out, err); break;
    }
    if (st == MO_OK && out->failed) st = mo_fail(err, MO_E_NOMEM, "no memory for the prompt's text");
    return st;
}
