/* Conversations to ids and bounds (prompt.h). */
#include "tokenizer/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tokenizer/unicode.h"

/* A medium on its way through the template: FF, its index in decimal, FE. Neither byte occurs in UTF-8. */
#define MARK_OPEN  '\xff'
#define MARK_CLOSE '\xfe'

/* Every medium of the conversation in order. */
typedef struct media {
    const prompt_item **item;
    int32_t n;
} media;

prompt_item prompt_text(const char *s) { return (prompt_item){ .kind = PROMPT_TEXT, .text = s, .n_text = strlen(s) }; }

prompt_options prompt_options_default(chat_kind kind)
{
    bool has_image_id = kind == CHAT_O45 || kind == CHAT_V45 || kind == CHAT_V40 || kind == CHAT_O26 || kind == CHAT_V26;
    bool is_short = kind == CHAT_V25 || kind == CHAT_V20 || kind == CHAT_V10 || kind == CHAT_OMNILMM;

    return (prompt_options){
        .kind = kind,
        .enable_thinking = kind == CHAT_O45 || kind == CHAT_V45 ? CHAT_OFF : CHAT_UNSET,
        .use_image_id = has_image_id,
        .chunk_audio = kind == CHAT_O26,
        .n_query = kind == CHAT_V25 ? 96 : 64,
        .n_audio_chunk = kind == CHAT_O26 ? 25 : 10,
        .max_inp_length = is_short           ? 2048
                          : kind == CHAT_V45 ? 16384
                          : kind == CHAT_O26 ? 32768
                                             : 8192,
    };
}

void prompt_free(prompt *p)
{
    buf_free(&p->text);
    ids_free(&p->ids);
    ids_free(&p->image_bounds);
    ids_free(&p->audio_bounds);
}

/* ---- flattening ---- */

static mo_status check_item(const prompt_item *it, mo_error *err)
{
    if (it->kind == PROMPT_IMAGE && (it->cols < 0 || it->rows < 0 || !it->cols != !it->rows || it->cols > 1000 || it->rows > 1000))
        return mo_fail(err, MO_E_ARG, "an image's grid is %d x %d", it->cols, it->rows);
    if (it->kind == PROMPT_AUDIO && it->n_token < 0) return mo_fail(err, MO_E_ARG, "a sound has %d embeddings", it->n_token);
    return MO_OK;
}

static void flatten(const prompt_item *item, int32_t n, const char *joiner, media *m, buf *out)
{
    for (int32_t i = 0; i < n; i++) {
        if (i) buf_puts(out, joiner);
        if (item[i].kind == PROMPT_TEXT) {
            if (item[i].text) utf8_put_lossy(out, item[i].text, item[i].n_text);
        } else {
            m->item[m->n] = &item[i];
            buf_printf(out, "%c%d%c", MARK_OPEN, m->n++, MARK_CLOSE);
        }
    }
}

/* ---- expanding ---- */

typedef struct builder {
    const tokenizer *t;
    const prompt_options *opt;
    prompt *p;
    int32_t i_image;
    int32_t id_listen; /* -1: the vocabulary has none */
    mo_error *err;
} builder;

/* The id of a marker that this prompt cannot do without. */
static mo_status marker(builder *b, const char *name, int32_t *id)
{
    if ((*id = tokenizer_find(b->t, name)) >= 0) return MO_OK;
    return mo_fail(b->err, MO_E_UNSUPPORTED, "this model's tokenizer has no token '%s'", name);
}

static mo_status put_text(builder *b, const char *s, size_t n)
{
    size_t from = b->p->ids.len, kept = from;
    mo_status st = tokenizer_encode(b->t, s, n, &b->p->ids, b->err);

    for (size_t i = from; i < b->p->ids.len; i++)
        if (b->p->ids.data[i] != b->id_listen) b->p->ids.data[kept++] = b->p->ids.data[i];
    b->p->ids.len = kept;
    return st;
}

/* open, n placeholders, close; the placeholders' bounds go to `bounds`. */
static mo_status put_block(builder *b, const char *open, const char *unit, int32_t n, const char *close, ids *bounds)
{
    int32_t id_open, id_unit, id_close;
    mo_status st;

    if ((st = marker(b, open, &id_open)) != MO_OK || (st = marker(b, unit, &id_unit)) != MO_OK ||
        (st = marker(b, close, &id_close)) != MO_OK)
        return st;
    ids_put(&b->p->ids, id_open);
    ids_put(bounds, (int32_t)b->p->ids.len);
    for (int32_t i = 0; i < n && !b->p->ids.failed; i++) ids_put(&b->p->ids, id_unit);
    ids_put(bounds, (int32_t)b->p->ids.len);
    ids_put(&b->p->ids, id_close);
    return MO_OK;
}

/* V2.6 and later: each slice in its own <slice>; before: one <slice> around <image> tiles. */
static mo_status put_slices(builder *b, const prompt_item *it)
{
    bool nested = b->opt->kind == CHAT_V25 || b->opt->kind == CHAT_V20;
    const char *open = nested ? "<image>" : "<slice>", *close = nested ? "</image>" : "</slice>";
    mo_status st = MO_OK;
    int32_t id;

    if (!it->cols) return MO_OK;
    if (b->opt->kind == CHAT_V10 || b->opt->kind == CHAT_OMNILMM)
        return mo_fail(b->err, MO_E_ARG, "this model takes whole images only, not slices");
    if (nested) {
        if ((st = marker(b, "<slice>", &id)) != MO_OK) return st;
        ids_put(&b->p->ids, id);
    }
    for (int32_t r = 0; r < it->rows && st == MO_OK; r++) {
        if (r) st = put_text(b, "\n", 1);
        for (int32_t c = 0; c < it->cols && st == MO_OK; c++) st = put_block(b, open, "<unk>", b->opt->n_query, close, &b->p->image_bounds);
    }
    if (nested && st == MO_OK && (st = marker(b, "</slice>", &id)) == MO_OK) ids_put(&b->p->ids, id);
    return st;
}

static mo_status put_image(builder *b, const prompt_item *it)
{
    int32_t id_open, id_close, i = b->i_image++;
    mo_status st;

    if (b->opt->use_image_id) {
        buf number = { 0 };
        if ((st = marker(b, "<image_id>", &id_open)) != MO_OK || (st = marker(b, "</image_id>", &id_close)) != MO_OK) return st;
        ids_put(&b->p->ids, id_open);
        buf_printf(&number, "%d", i);
        st = number.failed ? mo_fail(b->err, MO_E_NOMEM, "no memory for the prompt") : put_text(b, number.data, number.len);
        buf_free(&number);
        if (st != MO_OK) return st;
        ids_put(&b->p->ids, id_close);
    }
    if (b->opt->kind == CHAT_OMNILMM) st = put_block(b, "<im_start>", "<im_patch>", b->opt->n_query, "<im_end>", &b->p->image_bounds);
    else st = put_block(b, "<image>", "<unk>", b->opt->n_query, "</image>", &b->p->image_bounds);
    return st == MO_OK ? put_slices(b, it) : st;
}

static mo_status put_audio(builder *b, const prompt_item *it)
{
    bool chunked = b->opt->chunk_audio || (b->opt->kind == CHAT_O45 && b->opt->stream_input);
    int32_t left = it->n_token, per = chunked && b->opt->n_audio_chunk > 0 ? b->opt->n_audio_chunk : left;
    mo_status st;

    do {
        int32_t n = left < per ? left : per;
        if (chunked && !n) break; /* nothing to mark second by second */
        st = put_block(b, "<|audio_start|>", "<unk>", n, "<|audio_end|>", &b->p->audio_bounds);
        if (st != MO_OK) return st;
        left -= n;
    } while (left > 0);
    return MO_OK;
}

static void put_shown(builder *b, const prompt_item *it)
{
    bool paren = b->opt->kind == CHAT_V45 || b->opt->kind == CHAT_V40 || b->opt->kind == CHAT_O26 || b->opt->kind == CHAT_V26;

    if (paren) buf_puts(&b->p->text, "(");
    buf_puts(&b->p->text, it->kind == PROMPT_IMAGE ? "<image>./</image>" : "<audio>./</audio>");
    if (paren) buf_puts(&b->p->text, ")");
}

/* Walk the rendered text: stretches between marks are encoded, marks expanded. Every medium must come exactly once and in
 * order: a template drops what an assistant message says before </think>. Stretches end at added tokens on both sides of a
 * mark, so encoding them one by one gives the ids of the whole. */
static mo_status expand(builder *b, const media *m, const buf *raw)
{
    const char *s = raw->data ? raw->data : "", *end = s + raw->len;
    int32_t seen = 0;
    mo_status st;

    while (s < end) {
        const char *mark = memchr(s, MARK_OPEN, (size_t)(end - s)), *stop = mark ? mark : end;
        const char *close = mark ? memchr(mark, MARK_CLOSE, (size_t)(end - mark)) : NULL;
        buf_put(&b->p->text, s, (size_t)(stop - s));
        if ((st = put_text(b, s, (size_t)(stop - s))) != MO_OK) return st;
        if (!close || seen >= m->n || atoi(mark + 1) != seen) break;
        put_shown(b, m->item[seen]);
        st = m->item[seen]->kind == PROMPT_IMAGE ? put_image(b, m->item[seen]) : put_audio(b, m->item[seen]);
        if (st != MO_OK) return st;
        seen++;
        s = close + 1;
    }
    if (seen != m->n)
        return mo_fail(b->err, MO_E_ARG, "an image or sound stands where the prompt drops it: inside an assistant message's thoughts");
    return MO_OK;
}

/* Keep the front. Bounds must survive whole. */
static mo_status cut(prompt *p, int32_t limit, mo_error *err)
{
    if (limit <= 0 || p->ids.len <= (size_t)limit) return MO_OK;
    for (int k = 0; k < 2; k++) {
        const ids *v = k ? &p->audio_bounds : &p->image_bounds;
        if (v->len && v->data[v->len - 1] >= limit)
            return mo_fail(err, MO_E_LIMIT, "the prompt has %zu tokens and the limit of %d would cut off %s", p->ids.len, limit,
                           k ? "a sound" : "an image");
    }
    p->ids.len = (size_t)limit;
    return MO_OK;
}

static mo_status finish(prompt *p, const tokenizer *t, const prompt_options *opt, const media *m, const buf *raw, mo_error *err)
{
    builder b = { t, opt, p, opt->first_image_id, tokenizer_find(t, "<|listen|>"), err };
    mo_status st;

    if (raw->failed) return mo_fail(err, MO_E_NOMEM, "no memory for the prompt");
    if ((st = expand(&b, m, raw)) != MO_OK) return st;
    if (p->text.failed || p->ids.failed || p->image_bounds.failed || p->audio_bounds.failed)
        return mo_fail(err, MO_E_NOMEM, "no memory for the prompt");
    return cut(p, opt->max_inp_length, err);
}

/* Room for all media of a list of items, and what the list asks of the template. */
static mo_status count(const prompt_item *item, int32_t n, int32_t *n_media, bool *has_audio, mo_error *err)
{
    mo_status st;

    for (int32_t i = 0; i < n; i++) {
        if ((st = check_item(&item[i], err)) != MO_OK) return st;
        *n_media += item[i].kind != PROMPT_TEXT;
        if (item[i].kind == PROMPT_AUDIO) *has_audio = true;
    }
    return MO_OK;
}

/* Contents and thoughts of all messages behind each other in one buffer, valid UTF-8 but for the marks: message i's content
 * ends at at[2i + 1], its thoughts at at[2i + 2]. */
static mo_status render(buf *raw, prompt *p, const prompt_options *opt, const prompt_message *msg, int n, media *m, mo_error *err)
{
    const char *joiner = opt->omni_mode || opt->stream_input ? "" : "\n";
    chat_options chat = { !opt->teacher_forcing, opt->enable_thinking, p->use_tts_template, opt->add_bos, opt->tools, opt->default_system };
    chat_message *c = mo_calloc((size_t)n, sizeof *c);
    size_t *at = mo_calloc(2 * (size_t)n + 1, sizeof *at);
    buf flat = { 0 };
    mo_status st = MO_E_NOMEM;

    for (int i = 0; c && at && i < n; i++) {
        flatten(msg[i].item, msg[i].n_item, joiner, m, &flat);
        at[2 * i + 1] = flat.len;
        if (msg[i].reasoning) utf8_put_lossy(&flat, msg[i].reasoning, msg[i].n_reasoning);
        at[2 * i + 2] = flat.len;
    }
    if (!c || !at || flat.failed) {
        mo_fail(err, st, "no memory for %d messages", n);
        goto done;
    }
    for (int i = 0; i < n; i++) {
        const char *s = flat.data ? flat.data : "";
        size_t from = at[2 * i], mid = at[2 * i + 1], to = at[2 * i + 2];
        c[i] = (chat_message){ msg[i].role, s + from, mid - from, msg[i].reasoning ? s + mid : NULL, to - mid, msg[i].tool_calls };
    }
    st = chat_template_render(opt->kind, c, n, &chat, raw, err);
done:
    mo_free(c);
    mo_free(at);
    buf_free(&flat);
    return st;
}

mo_status prompt_build(prompt *out, const tokenizer *t, const prompt_options *opt, const prompt_message *msg, int n, mo_error *err)
{
    media m = { NULL, 0 };
    int32_t n_media = 0;
    bool has_audio = false;
    buf raw = { 0 };
    mo_status st = MO_OK;

    memset(out, 0, sizeof *out);
    if (n < 1) return mo_fail(err, MO_E_ARG, "a conversation needs at least one message");
    for (int i = 0; i < n && st == MO_OK; i++) st = count(msg[i].item, msg[i].n_item, &n_media, &has_audio, err);
    if (st != MO_OK) return st;
    out->use_tts_template = opt->use_tts_template || has_audio;
    if (!(m.item = mo_calloc((size_t)n_media + 1, sizeof *m.item))) return mo_fail(err, MO_E_NOMEM, "no memory for the prompt");
    if ((st = render(&raw, out, opt, msg, n, &m, err)) == MO_OK) st = finish(out, t, opt, &m, &raw, err);
    mo_free(m.item);
    buf_free(&raw);
    if (st != MO_OK) {
        prompt_free(out);
        memset(out, 0, sizeof *out);
    }
    return st;
}

mo_status prompt_build_items(prompt *out, const tokenizer *t, const prompt_options *opt, const prompt_item *item, int n, mo_error *err)
{
    media m = { NULL, 0 };
    int32_t n_media = 0;
    bool has_audio = false;
    buf raw = { 0 };
    mo_status st;

    memset(out, 0, sizeof *out);
    if ((st = count(item, n, &n_media, &has_audio, err)) != MO_OK) return st;
    out->use_tts_template = opt->use_tts_template || has_audio;
    if (!(m.item = mo_calloc((size_t)n_media + 1, sizeof *m.item))) return mo_fail(err, MO_E_NOMEM, "no memory for the prompt");
    flatten(item, n, "", &m, &raw);
    st = finish(out, t, opt, &m, &raw, err);
    mo_free(m.item);
    buf_free(&raw);
    if (st != MO_OK) {
        prompt_free(out);
        memset(out, 0, sizeof *out);
    }
    return st;
}

/* ---- system prompts ---- */

mo_status prompt_system(prompt_item item[PROMPT_SYSTEM_ITEM_MAX], int *n, const char *mode, const char *language, bool has_voice,
                        mo_error *err)
{
    /* [0] Chinese, [1] English */
    static const struct {
        const char *mode, *before[2], *after[2];
    } modes[] = {
        { "omni",
          { "模仿音频样本的音色并生成新的内容。", "Clone the voice in the provided audio prompt." },
          { "请用这种声音风格来为用户提供帮助。 请认真、高质量地回复用户的问题。 请用高自然度的方式和用户聊天。",
            "As an assistant, you will speak using this voice style." } },
        { "audio_assistant",
          { "模仿音频样本的音色并生成新的内容。", "Use the voice in the audio prompt to synthesize new content." },
          { "你的任务是用这种声音模式来当一个助手。请认真、高质量地回复用户的问题。请用高自然度的方式和用户聊天。你是由面壁智能开发的人工智"
            "能助手：面壁小钢炮。",
            "You are a helpful assistant with the above voice style." } },
        { "audio_roleplay",
          { "模仿输入音频中的声音特征。", "Clone the voice in the provided audio prompt." },
          { "假装你是上述音频中的人物，与我进行对话。", "Try to role-play the character based on the audio prompt above." } },
        { "voice_cloning", { "模仿输入音频中的声音特征。", "Clone the voice in the provided audio prompt." }, { NULL, NULL } },
    };
    int lang = language && !strcmp(language, "zh") ? 0 : 1;
    size_t i = 0;

    *n = 0;
    while (i < sizeof modes / sizeof *modes && (!mode || strcmp(mode, modes[i].mode))) i++;
    if (i == sizeof modes / sizeof *modes) { /* any other mode; a voice sample is not used */
        item[(*n)++] = prompt_text("You are a helpful assistant. You can accept audio and text input and output voice and text.");
    } else if (has_voice) {
        item[(*n)++] = prompt_text(modes[i].before[lang]);
        item[(*n)++] = (prompt_item){ .kind = PROMPT_AUDIO };
        if (modes[i].after[lang]) item[(*n)++] = prompt_text(modes[i].after[lang]);
    } else if (!modes[i].after[lang]) {
        return mo_fail(err, MO_E_ARG, "voice cloning needs a voice sample");
    } else if (!strcmp(modes[i].mode, "omni")) {
        item[(*n)++] = prompt_text("");
    } else {
        item[(*n)++] = prompt_text("Use the <reserved_53> voice.");
        item[(*n)++] = prompt_text(modes[i].after[lang]);
    }
    return MO_OK;
}
