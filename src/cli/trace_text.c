/* The text stages of `minicpmo trace` (trace_text.h): JSON in, the tokenizer and prompt layers, JSON out. */
#include "cli/trace_text.h"

#include <string.h>

#include "core/alloc.h"
#include "models/checkpoint.h"
#include "tokenizer/prompt.h"

static mo_status bad(mo_error *err, const char *what) { return mo_fail(err, MO_E_FORMAT, "the case's input: %s", what); }

static json_t *json_of_ids(const ids *v)
{
    json_t *a = json_array();

    for (size_t i = 0; i < v->len; i++) json_array_append_new(a, json_integer(v->data[i]));
    return a;
}

static mo_status ids_of_json(const json_t *a, ids *v, mo_error *err)
{
    ids_clear(v);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *x = json_array_get(a, i);
        if (!json_is_integer(x)) return bad(err, "an id is not an integer");
        ids_put(v, (int32_t)json_integer_value(x));
    }
    return v->failed ? mo_fail(err, MO_E_NOMEM, "no memory for ids") : MO_OK;
}

static json_t *json_of_buf(const buf *b) { return json_stringn(b->data ? b->data : "", b->len); }

static mo_status stage_tokenize(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    const json_t *texts = json_object_get(input, "texts");
    json_t *lists = json_array();
    mo_status st = MO_OK;
    ids v = { 0 };

    for (size_t i = 0; i < json_array_size(texts) && st == MO_OK; i++) {
        const json_t *s = json_array_get(texts, i);
        ids_clear(&v);
        st = tokenizer_encode(t, json_string_value(s), json_string_length(s), &v, err);
        json_array_append_new(lists, json_of_ids(&v));
    }
    ids_free(&v);
    json_object_set_new(out, "ids", lists);
    return st;
}

static mo_status stage_detokenize(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    const json_t *lists = json_object_get(input, "ids");
    bool skip = json_is_true(json_object_get(input, "skip_special_tokens"));
    json_t *texts = json_array();
    mo_status st = MO_OK;
    ids v = { 0 };
    buf b = { 0 };

    for (size_t i = 0; i < json_array_size(lists) && st == MO_OK; i++) {
        buf_clear(&b);
        if ((st = ids_of_json(json_array_get(lists, i), &v, err)) == MO_OK) st = tokenizer_decode(t, v.data, v.len, skip, &b, err);
        json_array_append_new(texts, json_of_buf(&b));
    }
    ids_free(&v);
    buf_free(&b);
    json_object_set_new(out, "texts", texts);
    return st;
}

static mo_status stage_stream(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    const json_t *runs = json_object_get(input, "groups");
    bool skip = json_is_true(json_object_get(input, "skip_special_tokens"));
    json_t *all = json_array();
    mo_status st = MO_OK;
    ids v = { 0 };
    buf b = { 0 };

    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *groups = json_array_get(runs, i);
        json_t *pieces = json_array();
        detokenizer d;
        detokenizer_init(&d, t, skip);
        for (size_t k = 0; k < json_array_size(groups) && st == MO_OK; k++) {
            buf_clear(&b);
            st = ids_of_json(json_array_get(groups, k), &v, err);
            if (st == MO_OK) st = detokenizer_push(&d, v.data, v.len, k + 1 == json_array_size(groups), &b, err);
            json_array_append_new(pieces, json_of_buf(&b));
        }
        json_array_append_new(all, pieces);
    }
    ids_free(&v);
    buf_free(&b);
    json_object_set_new(out, "pieces", all);
    return st;
}

static chat_switch switch_of(const json_t *v) { return json_is_true(v) ? CHAT_ON : json_is_false(v) ? CHAT_OFF : CHAT_UNSET; }

/* A message's content: a string, or a list of strings and {"type": "image" | "audio"}. *items is mo_malloc'd. */
static mo_status items_of_json(const json_t *content, prompt_item **items, int32_t *n, bool *has_media, mo_error *err)
{
    size_t count = json_is_array(content) ? json_array_size(content) : 1;

    *n = 0;
    if (!(*items = mo_calloc(count + 1, sizeof **items))) return mo_fail(err, MO_E_NOMEM, "no memory for a message");
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_is_array(content) ? json_array_get(content, i) : content;
        const char *type = json_string_value(json_object_get(v, "type"));
        prompt_item *it = &(*items)[(*n)++];
        if (json_is_string(v)) {
            *it = (prompt_item){ .kind = PROMPT_TEXT, .text = json_string_value(v), .n_text = json_string_length(v) };
        } else if (type && (!strcmp(type, "image") || !strcmp(type, "audio"))) {
            it->kind = type[0] == 'i' ? PROMPT_IMAGE : PROMPT_AUDIO;
            *has_media = true;
        } else {
            return bad(err, "an item is neither text, image nor audio");
        }
    }
    return MO_OK;
}

static mo_status stage_prompt(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    const json_t *messages = json_object_get(input, "messages"), *o = json_object_get(input, "options");
    const json_t *limit = json_object_get(o, "max_inp_length");
    prompt_options opt = prompt_options_default(CHAT_O45);
    size_t n = json_array_size(messages);
    prompt_message *m = mo_calloc(n + 1, sizeof *m);
    prompt_item **items = mo_calloc(n + 1, sizeof *items);
    bool has_media = false;
    prompt p = { 0 };
    mo_status st = MO_OK;

    if (json_is_true(json_object_get(o, "enable_thinking"))) opt.enable_thinking = CHAT_ON;
    opt.use_tts_template = json_is_true(json_object_get(o, "use_tts_template"));
    opt.omni_mode = json_is_true(json_object_get(o, "omni_mode"));
    opt.stream_input = json_is_true(json_object_get(o, "stream_input"));
    opt.teacher_forcing = json_is_true(json_object_get(o, "teacher_forcing"));
    if (json_is_integer(limit)) opt.max_inp_length = (int32_t)json_integer_value(limit);
    if (!m || !items) st = mo_fail(err, MO_E_NOMEM, "no memory for the messages");
    for (size_t i = 0; i < n && st == MO_OK; i++) {
        const json_t *v = json_array_get(messages, i);
        m[i].role = json_string_value(json_object_get(v, "role"));
        st = items_of_json(json_object_get(v, "content"), &items[i], &m[i].n_item, &has_media, err);
        m[i].item = items[i];
    }
    if (st == MO_OK) st = prompt_build(&p, t, &opt, m, (int)n, err);
    if (st == MO_OK) {
        json_object_set_new(out, "prompt", json_of_buf(&p.text));
        if (!has_media) json_object_set_new(out, "ids", json_of_ids(&p.ids));
    }
    for (size_t i = 0; items && i < n; i++) mo_free(items[i]);
    mo_free(items);
    mo_free(m);
    prompt_free(&p);
    return st;
}

static mo_status stage_sys_prompt(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    prompt_item item[PROMPT_SYSTEM_ITEM_MAX];
    json_t *content = json_array();
    mo_status st;
    int n = 0;

    (void)t;
    st = prompt_system(item, &n, json_string_value(json_object_get(input, "mode")), json_string_value(json_object_get(input, "language")),
                       json_is_true(json_object_get(input, "ref_audio")), err);
    for (int i = 0; i < n; i++)
        json_array_append_new(content, item[i].kind == PROMPT_TEXT ? json_stringn(item[i].text, item[i].n_text)
                                                                   : json_pack("{s:s}", "type", "audio"));
    json_object_set_new(out, "message", json_pack("{s:s, s:o}", "role", "system", "content", content));
    return st;
}

/* The template's own message: every field it knows. *calls is the tree that m->tool_calls points to. */
static mo_status message_of_json(const json_t *v, chat_message *m, py_value **calls, mo_error *err)
{
    const json_t *content = json_object_get(v, "content"), *reasoning = json_object_get(v, "reasoning_content"),
                 *tc = json_object_get(v, "tool_calls");
    mo_status st = MO_OK;

    m->role = json_string_value(json_object_get(v, "role"));
    m->content = json_string_value(content);
    m->n_content = json_string_length(content);
    m->reasoning = json_string_value(reasoning);
    m->n_reasoning = json_string_length(reasoning);
    if (tc && (st = py_from_json(calls, tc, err)) == MO_OK) m->tool_calls = *calls;
    return st;
}

static mo_status stage_template(const tokenizer *t, const json_t *input, json_t *out, mo_error *err)
{
    const json_t *messages = json_object_get(input, "messages"), *o = json_object_get(input, "options"),
                 *tools = json_object_get(o, "tools");
    size_t n = json_array_size(messages);
    chat_message *m = mo_calloc(n + 1, sizeof *m);
    py_value **calls = mo_calloc(n + 1, sizeof *calls), *tool_tree = NULL;
    chat_options opt = { .add_generation_prompt = json_is_true(json_object_get(o, "add_generation_prompt")),
                         .enable_thinking = switch_of(json_object_get(o, "enable_thinking")),
                         .use_tts_template = json_is_true(json_object_get(o, "use_tts_template")) };
    mo_status st = MO_OK;
    buf text = { 0 };
    ids v = { 0 };

    if (!m || !calls) st = mo_fail(err, MO_E_NOMEM, "no memory for the messages");
    for (size_t i = 0; i < n && st == MO_OK; i++) st = message_of_json(json_array_get(messages, i), &m[i], &calls[i], err);
    if (st == MO_OK && tools) st = py_from_json(&tool_tree, tools, err);
    opt.tools = tool_tree;
    if (st == MO_OK) st = chat_template_render(CHAT_O45, m, (int)n, &opt, &text, err);
    if (st == MO_OK) st = tokenizer_encode(t, text.data ? text.data : "", text.len, &v, err);
    if (st == MO_OK) {
        json_object_set_new(out, "prompt", json_of_buf(&text));
        json_object_set_new(out, "ids", json_of_ids(&v));
    }
    for (size_t i = 0; calls && i < n; i++) py_free(calls[i]);
    py_free(tool_tree);
    mo_free(calls);
    mo_free(m);
    buf_free(&text);
    ids_free(&v);
    return st;
}

mo_status trace_text_run(const char *stage, const tokenizer *t, const json_t *input, json_t *values_out, bool *known, mo_error *err)
{
    static const struct {
        const char *name;
        mo_status (*run)(const tokenizer *t, const json_t *input, json_t *out, mo_error *err);
    } stages[] = {
        { "tokenize", stage_tokenize }, { "detokenize", stage_detokenize }, { "detokenize_stream", stage_stream },
        { "prompt", stage_prompt },     { "sys_prompt", stage_sys_prompt }, { "template", stage_template },
    };

    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (strcmp(stage, stages[i].name)) continue;
        *known = true;
        return t ? stages[i].run(t, input, values_out, err) : MO_OK;
    }
    *known = false;
    return MO_OK;
}

mo_status trace_text_stage(const char *stage, const char *model_dir, const json_t *input, json_t *values_out, bool *known, mo_error *err)
{
    tokenizer *t = NULL;
    mo_status st;

    trace_text_run(stage, NULL, input, values_out, known, err);
    if (!*known) return MO_OK;
    if ((st = checkpoint_open_tokenizer(&t, model_dir, err)) == MO_OK) st = trace_text_run(stage, t, input, values_out, known, err);
    tokenizer_close(t);
    return st;
}
