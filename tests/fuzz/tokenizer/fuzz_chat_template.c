/* Conversations from bytes: every template, contents and roles of all shapes, tools and calls as JSON, media anywhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenizer/prompt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static tokenizer *open_standin(void)
{
    static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json" };
    char dir[] = "/tmp/minicpmo-fuzz-XXXXXX", path[128];
    tokenizer *t;
    mo_error err;

    if (!mkdtemp(dir) || tokenizer_write_standin(dir, 151748, &err) != MO_OK || tokenizer_open_hf(&t, dir, &err) != MO_OK) abort();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return t;
}

/* Up to the next 01 byte. */
static prompt_item take(const uint8_t **p, size_t *n)
{
    const uint8_t *end = memchr(*p, 1, *n);
    size_t len = end ? (size_t)(end - *p) : *n;
    prompt_item it = { .kind = PROMPT_TEXT, .text = (const char *)*p, .n_text = len };

    *p += len + (end != NULL);
    *n -= len + (end != NULL);
    return it;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static tokenizer *t;
    static const char *const roles[] = { "user", "assistant", "system", "tool", "\xff\x30\xfe" };
    prompt_item item[24];
    prompt_message m[8];
    prompt_options o;
    py_value *v = NULL;
    prompt p;
    mo_error err;
    int n_message = 0, n_item = 0;

    if (!t) t = open_standin();
    if (n < 2) return 0;
    o = prompt_options_default((chat_kind)(data[0] % 9));
    o.omni_mode = data[1] & 1;
    o.stream_input = data[1] & 2;
    o.enable_thinking = data[1] & 4 ? CHAT_ON : CHAT_OFF;
    o.use_image_id = data[1] & 8;
    o.teacher_forcing = data[1] & 16;
    o.max_inp_length = data[1] & 32 ? 50 : 0;
    o.n_query = 3;
    data += 2;
    n -= 2;
    prompt_item json = take(&data, &n);
    if (py_parse(&v, json.text, json.n_text, &err) != MO_OK) v = NULL;
    o.tools = v;
    while (n > 1 && n_message < 8) {
        prompt_message *x = &m[n_message++];
        uint8_t head = data[0];
        data++;
        n--;
        memset(x, 0, sizeof *x);
        x->role = roles[head % 5];
        x->item = &item[n_item];
        if (head & 32) item[n_item++] = (prompt_item){ .kind = PROMPT_IMAGE, .cols = head >> 6, .rows = head >> 6 };
        item[n_item++] = take(&data, &n);
        if (head & 16) item[n_item++] = (prompt_item){ .kind = PROMPT_AUDIO, .n_token = head };
        x->n_item = (int32_t)(&item[n_item] - x->item);
        if (head & 8) {
            x->reasoning = item[n_item - 1 - !!(head & 16)].text;
            x->n_reasoning = item[n_item - 1 - !!(head & 16)].n_text;
            x->tool_calls = v;
        }
    }
    if (n_message && prompt_build(&p, t, &o, m, n_message, &err) == MO_OK) {
        for (size_t i = 0; i + 1 < p.image_bounds.len; i += 2)
            if (p.image_bounds.data[i + 1] - p.image_bounds.data[i] != 3 || p.image_bounds.data[i + 1] >= (int32_t)p.ids.len) abort();
        if (p.text.len && memchr(p.text.data, 0xff, p.text.len)) abort();
        prompt_free(&p);
    }
    py_free(v);
    return 0;
}
