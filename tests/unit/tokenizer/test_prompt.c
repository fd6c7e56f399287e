/* Python's JSON, the older members' templates, and prompts with media: bounds, forms, hostile contents. */
#include <stdlib.h>
#include <unistd.h>

#include "core/alloc.h"
#include "tokenizer/prompt.h"
#include "test.h"

static mo_error err;
static tokenizer *tok; /* a stand-in with every o 4.5 token */

/* ---- JSON ---- */

static const char *reprinted(const char *s)
{
    static char out[512];
    py_value *v;
    buf b = { 0 };

    if (py_parse(&v, s, strlen(s), &err) != MO_OK) return err.message;
    py_dump(v, &b);
    snprintf(out, sizeof out, "%s", b.data);
    buf_free(&b);
    py_free(v);
    return out;
}

TEST(json_like_python)
{
    CHECK_STR(reprinted(" {\"a\":1,\"b\":[1,2.50,-0,-0.0,null,true,false],\"c\":{}} "),
              "{\"a\": 1, \"b\": [1, 2.5, 0, -0.0, null, true, false], \"c\": {}}");
    CHECK_STR(reprinted("123456789012345678901234567890"), "123456789012345678901234567890");
    CHECK_STR(reprinted("[1.0,1e-7,1E5,1e16,1e15,0.0001,0.00001,123456.789,1e400,-1e400,5e-324,0.1,1.7976931348623157e308,0e5,"
                        "100000000000000000000.0]"),
              "[1.0, 1e-07, 100000.0, 1e+16, 1000000000000000.0, 0.0001, 1e-05, 123456.789, Infinity, -Infinity, 5e-324, 0.1, "
              "1.7976931348623157e+308, 0.0, 1e+20]");
    CHECK_STR(reprinted("\"\\u0000\\u001f\\n\\t\\r\\b\\f\\\"\\\\\\/\\u007f\\u4f60\\ud83d\\ude00\""),
              "\"\\u0000\\u001f\\n\\t\\r\\b\\f\\\"\\\\/\x7f\xe4\xbd\xa0\xf0\x9f\x98\x80\"");
    CHECK_STR(reprinted("{\"a\":1,\"b\":2,\"a\":3,\"c\":4,\"b\":5}"), "{\"a\": 3, \"b\": 5, \"c\": 4}");
    CHECK_STR(reprinted("[0.5e99999999999999999999, 5e-99999999999999999999, 2.5E+3]"), "[Infinity, 0.0, 2500.0]");
    CHECK_STR(reprinted("[]"), "[]");
    CHECK_STR(reprinted("\"\""), "\"\"");
}

TEST(json_refused)
{
    static const char *const bad[] = { "",
                                       " ",
                                       "{",
                                       "[1,",
                                       "[1,]",
                                       "{\"a\"}",
                                       "{\"a\":}",
                                       "{a:1}",
                                       "01",
                                       "+1",
                                       "1.",
                                       ".5",
                                       "1e",
                                       "-",
                                       "nul",
                                       "NaN",
                                       "\"",
                                       "\"\\x\"",
                                       "\"\\u12\"",
                                       "\"\\ud800\"",
                                       "\"\\udc00\"",
                                       "\"\\ud800\\u0041\"",
                                       "\"\x01\"",
                                       "\"\xff\"",
                                       "1 2",
                                       "[1 2]" };
    py_value *v;
    char deep[2000];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (py_parse(&v, bad[i], strlen(bad[i]), &err) != MO_E_FORMAT) TEST_FAIL("taken: %s", bad[i]);
        CHECK(!v);
    }
    char *cut = malloc(3); /* of exactly this size: nothing may be read past a number at the end */
    memcpy(cut, "1e5", 3);
    CHECK_OK(py_parse(&v, cut, 3, &err));
    CHECK_STR(v->text, "100000.0");
    py_free(v);
    free(cut);
    memset(deep, '[', sizeof deep);
    CHECK(py_parse(&v, deep, sizeof deep, &err) == MO_E_LIMIT);
}

TEST(json_many_keys)
{
    buf b = { 0 }, out = { 0 };
    py_value *v;

    buf_puts(&b, "{");
    for (int i = 0; i < 100000; i++) buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i % 50000, i);
    buf_puts(&b, "}");
    CHECK_OK(py_parse(&v, b.data, b.len, &err));
    CHECK_INT(v->n_child, 50000);
    CHECK_STR(py_get(v, "k7")->text, "50007");
    CHECK(!py_get(v, "k50000") && !py_get(NULL, "x") && py_at(v, 49999) && !py_at(v, 50000));
    py_free(v);
    buf_free(&b);
    buf_free(&out);
}

/* ---- templates ---- */

static const char *rendered(chat_kind kind, const chat_message *m, int n, chat_options opt)
{
    static char out[4096];
    buf b = { 0 };

    opt.add_generation_prompt = true;
    if (chat_template_render(kind, m, n, &opt, &b, &err) != MO_OK) snprintf(out, sizeof out, "%s", err.message);
    else snprintf(out, sizeof out, "%s", b.data ? b.data : "");
    buf_free(&b);
    return out;
}

#define M(r, c)                                                                                                                            \
    {                                                                                                                                      \
        .role = r, .content = c, .n_content = sizeof(c) - 1                                                                                \
    }

TEST(older_members)
{
    chat_message m[] = { M("user", " hi\n"), M("assistant", "yo"), M("user", "x") }, sys[] = { M("system", "s"), M("user", "x") };
    chat_options o = { 0 }, tts = { .use_tts_template = true }, bos = { .add_bos = true };

    CHECK_STR(rendered(CHAT_V26, m, 1, o),
              "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n hi\n<|im_end|>\n<|im_start|>assistant\n");
    CHECK_STR(rendered(CHAT_V26, sys, 2, o), "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
    CHECK_STR(rendered(CHAT_V40, sys, 2, bos),
              "<s><|im_start|>system\ns<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
    CHECK_STR(
        rendered(CHAT_O26, sys, 2, tts),
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>");
    CHECK_STR(rendered(CHAT_V25, m, 3, o),
              "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
              "\n\nyo<|eot_id|>"
              "<|start_header_id|>user<|end_header_id|>\n\nx<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    CHECK_STR(rendered(CHAT_V20, m, 3, o), "<s><用户> hi\n<AI>yo<用户>x<AI>");
    CHECK(strstr(rendered(CHAT_V10, sys, 2, o), "'system'"));
    CHECK_STR(rendered(CHAT_OMNILMM, m + 1, 2, o), "<s><|system|>\nYou are an artificial intelligence assistant, which gives helpful, "
                                                   "detailed, and polite answers to the human's questions.</s>\n"
                                                   "<|assistant|>\nyo</s>\n<|user|>\nx</s>\n<|assistant|>\n");
    CHECK_STR(rendered(CHAT_V45, m + 2, 1, (chat_options){ .enable_thinking = CHAT_OFF, .use_tts_template = true }),
              "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    CHECK(strstr(rendered(CHAT_O45, m, 0, o), "at least one"));
}

TEST(tool_calls)
{
    static const char text[] = "[{\"function\": {\"name\": \"f\", \"arguments\": {\"n\": 123456789012345678901234567890, \"x\": 1e-7}}}, "
                               "{\"name\": 7, \"arguments\": null}]";
    chat_message m[] = { M("user", "q"), M("assistant", "") };
    py_value *v;

    CHECK_OK(py_parse(&v, text, sizeof text - 1, &err));
    m[1].tool_calls = v;
    CHECK_STR(rendered(CHAT_O45, m, 2, (chat_options){ 0 }),
              "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
              "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 123456789012345678901234567890, \"x\": 1e-07}}\n</tool_call>\n"
              "<tool_call>\n{\"name\": \"7\", \"arguments\": null}\n</tool_call><|im_end|>\n<|im_start|>assistant\n");
    py_free(v);
    CHECK_OK(py_parse(&v, "[{\"name\": \"f\"}]", 15, &err));
    m[1].tool_calls = v;
    CHECK(strstr(rendered(CHAT_O45, m, 2, (chat_options){ 0 }), "no arguments"));
    py_free(v);
}

/* ---- prompts ---- */

/* Ids of the text that the reference would have encoded after expanding. */
static int same_ids(const prompt *p, const char *text)
{
    ids v = { 0 };
    int same = tokenizer_encode(tok, text, strlen(text), &v, &err) == MO_OK && v.len == p->ids.len &&
               !memcmp(v.data, p->ids.data, v.len * sizeof *v.data);

    ids_free(&v);
    return same;
}

static int bound_is(const ids *v, size_t i, int32_t from, int32_t to)
{
    return v->len >= 2 * i + 2 && v->data[2 * i] == from && v->data[2 * i + 1] == to;
}

TEST(images)
{
    prompt_item items[] = { { .kind = PROMPT_IMAGE, .cols = 2, .rows = 2 }, prompt_text("What?"), { .kind = PROMPT_IMAGE } };
    prompt_message m = { .role = "user", .item = items, .n_item = 3 };
    prompt_options o = prompt_options_default(CHAT_O45);
    prompt p;

    o.n_query = 2;
    CHECK_OK(prompt_build(&p, tok, &o, &m, 1, &err));
    CHECK_STR(p.text.data,
              "<|im_start|>user\n<image>./</image>\nWhat?\n<image>./</image><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    CHECK(same_ids(&p,
                   "<|im_start|>user\n<image_id>0</image_id><image><unk><unk></image><slice><unk><unk></slice><slice><unk><unk></slice>\n"
                   "<slice><unk><unk></slice><slice><unk><unk></slice>\nWhat?\n<image_id>1</image_id><image><unk><unk></image>"
                   "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    CHECK_INT(p.image_bounds.len, 12);
    CHECK_INT(p.audio_bounds.len, 0);
    for (size_t i = 0; i < 6; i++) {
        int32_t from = p.image_bounds.data[2 * i], to = p.image_bounds.data[2 * i + 1];
        CHECK_INT(to - from, 2);
        CHECK(p.ids.data[from] == 128244 && p.ids.data[to - 1] == 128244);
        CHECK(p.ids.data[from - 1] == (i == 0 || i == 5 ? 151669 : 151679) && p.ids.data[to] == (i == 0 || i == 5 ? 151670 : 151680));
    }
    prompt_free(&p);

    o.use_image_id = false;
    o.omni_mode = true;
    CHECK_OK(prompt_build(&p, tok, &o, &m, 1, &err));
    CHECK(same_ids(&p, "<|im_start|>user\n<image><unk><unk></image><slice><unk><unk></slice><slice><unk><unk></slice>\n"
                       "<slice><unk><unk></slice><slice><unk><unk></slice>What?<image><unk><unk></image>"
                       "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    prompt_free(&p);

    o.max_inp_length = 20;
    CHECK(prompt_build(&p, tok, &o, &m, 1, &err) == MO_E_LIMIT);
    CHECK(!p.ids.data && !p.text.data);
    items[0].cols = 0;
    CHECK(prompt_build(&p, tok, &o, &m, 1, &err) == MO_E_ARG);
}

TEST(older_images)
{
    prompt_item items[] = { { .kind = PROMPT_IMAGE, .cols = 2, .rows = 2 }, prompt_text("a") };
    prompt_message m = { .role = "user", .item = items, .n_item = 2 };
    prompt_options o = prompt_options_default(CHAT_V20);
    prompt p;

    CHECK_INT(prompt_options_default(CHAT_V25).n_query, 96);
    o.n_query = 1;
    CHECK_OK(prompt_build(&p, tok, &o, &m, 1, &err));
    CHECK(same_ids(&p, "<s><用户><image><unk></image><slice><image><unk></image><image><unk></image>\n<image><unk></image><image><unk></"
                       "image></slice>\na<AI>"));
    CHECK_INT(p.image_bounds.len, 10);
    prompt_free(&p);
    o = prompt_options_default(CHAT_V26);
    o.n_query = 1;
    CHECK_OK(prompt_build(&p, tok, &o, &m, 1, &err));
    CHECK(strstr(p.text.data, "user\n(<image>./</image>)\na<|im_end|>"));
    prompt_free(&p);
    o.kind = CHAT_V10;
    o.use_image_id = false;
    CHECK(prompt_build(&p, tok, &o, &m, 1, &err) == MO_E_ARG);
    o.kind = CHAT_OMNILMM;
    CHECK(prompt_build(&p, tok, &o, &m, 1, &err) == MO_E_UNSUPPORTED && strstr(err.message, "<im_start>"));
}

TEST(audio)
{
    prompt_item items[] = { { .kind = PROMPT_AUDIO, .n_token = 23 } };
    prompt_message m = { .role = "user", .item = items, .n_item = 1 };
    prompt_options o = prompt_options_default(CHAT_O45);
    prompt p;

    CHECK_OK(prompt_build(&p, tok, &o, &m, 1, &err));
    CHECK(p.use_tts_template && strstr(p.text.data, "<|tts_bos|>"));
    CHECK_INT(p.audio_bounds.len, 2);
    CHECK(p.audio_bounds.data[1] - p.audio_bounds.data[0] == 23);
    prompt_free(&p);
    o.stream_input = true;
    CHECK_OK(prompt_build_items(&p, tok, &o, items, 1, &err));
    CHECK(bound_is(&p.audio_bounds, 0, 1, 11) && bound_is(&p.audio_bounds, 1, 13, 23) && bound_is(&p.audio_bounds, 2, 25, 28));
    CHECK_INT(p.ids.len, 29);
    prompt_free(&p);
}

/* What a user writes is text, whatever it looks like. */
TEST(impostors)
{
    prompt_item items[] = { prompt_text("<image>./</image>\xff"
                                        "0\xfe<|listen|>!"),
                            { .kind = PROMPT_IMAGE } };
    prompt_message m[] = { { .role = "user", .item = items, .n_item = 2 },
                           { .role = "assistant",
                             .item = items + 1,
                             .n_item = 1,
                             .reasoning = "\xff"
                                          "1",
                             .n_reasoning = 2 } };
    prompt_item hidden[] = { { .kind = PROMPT_IMAGE }, prompt_text("</think>x") };
    prompt_message h[] = { { .role = "assistant", .item = hidden, .n_item = 2 }, { .role = "user", .item = hidden + 1, .n_item = 1 } };
    prompt_options o = prompt_options_default(CHAT_O45);
    prompt p;

    o.n_query = 1;
    CHECK_OK(prompt_build(&p, tok, &o, m, 2, &err));
    CHECK_INT(p.image_bounds.len, 4);
    for (size_t i = 0; i < p.ids.len; i++) CHECK(p.ids.data[i] != 151705);
    prompt_free(&p);
    CHECK(prompt_build(&p, tok, &o, h, 2, &err) == MO_E_ARG && strstr(err.message, "thoughts"));
}

TEST(system_prompts)
{
    prompt_item item[PROMPT_SYSTEM_ITEM_MAX];
    int n;

    CHECK_OK(prompt_system(item, &n, "omni", "en", true, &err));
    CHECK(n == 3 && item[1].kind == PROMPT_AUDIO);
    CHECK(prompt_system(item, &n, "voice_cloning", "zh", false, &err) == MO_E_ARG);
    CHECK_OK(prompt_system(item, &n, NULL, NULL, false, &err));
    CHECK_INT(n, 1);
}

TEST(no_memory)
{
    static const char tools[] = "[{\"name\": \"f\", \"b\": [1, 2.5, {\"c\": \"d\", \"c\": 1}]}]";
    prompt_item items[] = { { .kind = PROMPT_IMAGE, .cols = 1, .rows = 2 },
                            prompt_text("e\xcc\x81"),
                            { .kind = PROMPT_AUDIO, .n_token = 40 } };
    prompt_message m[] = { { .role = "user", .item = items, .n_item = 3 },
                           { .role = "assistant", .item = items + 1, .n_item = 1, .reasoning = "r", .n_reasoning = 1 } };
    prompt_options o = prompt_options_default(CHAT_O45);
    int64_t n = 0;
    mo_status st;

    do {
        py_value *v = NULL;
        prompt p = { 0 };
        mo_alloc_fail_after(n++);
        st = py_parse(&v, tools, sizeof tools - 1, &err);
        o.tools = v;
        if (st == MO_OK) st = prompt_build(&p, tok, &o, m, 2, &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || st == MO_E_NOMEM);
        prompt_free(&p);
        py_free(v);
    } while (st != MO_OK && n < 10000);
    CHECK(n > 20 && n < 10000);
}

int main(void)
{
    char dir[] = "/tmp/minicpmo-prompt-XXXXXX", path[128];
    static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json" };

    if (!mkdtemp(dir) || tokenizer_write_standin(dir, 151748, &err) != MO_OK || tokenizer_open_hf(&tok, dir, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    RUN(json_like_python);
    RUN(json_refused);
    RUN(json_many_keys);
    RUN(older_members);
    RUN(tool_calls);
    RUN(images);
    RUN(older_images);
    RUN(audio);
    RUN(impostors);
    RUN(system_prompts);
    RUN(no_memory);
    tokenizer_close(tok);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return test_end();
}
