/* Recognising a model's chat template by its text, and what a conversation without a system message then begins with. */
#include "test.h"

#include "core/buf.h"
#include "tokenizer/chat_known.h"

static mo_error err;

/* As template files write them: SmolLM2's has real newlines in its strings, Qwen2's escapes. */
static const char smollm[] = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
                             "You are SmolLM.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
                             "'<|im_end|>' + '\n'}}{% endfor %}";
static const char qwen2[] =
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen.\\tHelp.<|im_end|>\\n' }}{%- endif %}";
static const char qwen3[] = "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- if enable_thinking is defined %}";
static const char plain[] = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}";

/* Kind, origin, system message in one line. */
static const char *recognised(const char *text)
{
    static char out[256];
    chat_format f;

    if (chat_recognise(&f, text, text ? strlen(text) : 0, &err) != MO_OK) return err.message;
    snprintf(out, sizeof out, "%s|%d|%s", chat_kind_text(f.kind), (int)f.origin, f.system);
    chat_format_free(&f);
    return out;
}

TEST(kinds)
{
    CHECK_STR(recognised(smollm), "ChatML|1|You are SmolLM.");
    CHECK_STR(recognised(qwen2), "ChatML|1|You are Qwen.\tHelp.");
    CHECK_STR(recognised(qwen3), "Qwen3 ChatML|1|");
    CHECK_STR(recognised(plain), "ChatML|1|");
    CHECK_STR(recognised("'<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n'"), "Llama 3 headers|1|");
    CHECK_STR(recognised("'<|user|>\\n' + m.content + eos_token + '<|assistant|>'"), "Zephyr|1|");
    CHECK_STR(recognised("'<用户>' + m.content + '<AI>'"), "<用户> and <AI>|1|");
}

TEST(defaults)
{
    CHECK_STR(recognised(NULL), "ChatML|3|");
    CHECK_STR(recognised(""), "ChatML|2|");
    CHECK_STR(recognised("bos_token + '[INST] ' + m.content + ' [/INST]'"), "ChatML|2|");
    CHECK_STR(recognised("<|im_start|>system"), "ChatML|1|");              /* cut off */
    CHECK_STR(recognised("<|im_start|>system\\n"), "ChatML|1|");           /* cut off */
    CHECK_STR(recognised("<|im_start|>system\\n<|im_end|>"), "ChatML|1|"); /* empty */
    CHECK_STR(recognised("<|im_start|>system\\n{{ x }}<|im_end|>"), "ChatML|1|");
}

static const char *prompt_of(chat_kind kind, const char *role, const char *system)
{
    static char out[512];
    chat_message m = { .role = role, .content = "x", .n_content = 1 };
    chat_options o = { .default_system = system };
    buf b = { 0 };

    if (chat_template_render(kind, &m, 1, &o, &b, &err) != MO_OK) return err.message;
    snprintf(out, sizeof out, "%s", b.data);
    buf_free(&b);
    return out;
}

TEST(default_system_message)
{
    CHECK_STR(prompt_of(CHAT_V40, "user", "Be brief."), "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n");
    CHECK_STR(prompt_of(CHAT_V40, "user", "100 %s"), "<|im_start|>system\n100 %s<|im_end|>\n<|im_start|>user\nx<|im_end|>\n");
    CHECK_STR(prompt_of(CHAT_V40, "system", "Be brief."), "<|im_start|>system\nx<|im_end|>\n");
    CHECK_STR(prompt_of(CHAT_V26, "user", ""), "<|im_start|>user\nx<|im_end|>\n");
    CHECK_STR(prompt_of(CHAT_OMNILMM, "user", ""), "<s><|user|>\nx</s>\n");
    CHECK_STR(prompt_of(CHAT_OMNILMM, "user", "S"), "<s><|system|>\nS</s>\n<|user|>\nx</s>\n");
}

int main(void)
{
    RUN(kinds);
    RUN(defaults);
    RUN(default_system_message);
    return test_end();
}
