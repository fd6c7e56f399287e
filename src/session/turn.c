/* From a conversation to positions (turn.h). */
#include "session/turn.h"

#include <string.h>

#include "core/alloc.h"
#include "session/encode.h"

#define MEDIA_KEY ((int64_t)1 << 62) /* media keys: | uid << 24 | row; token keys are ids, far below */

void turn_free(turn *t)
{
    prompt_free(&t->prompt);
    mo_free(t->row);
    mo_free(t->key);
    memset(t, 0, sizeof *t);
}

/* ---- layout ----------------------------------------------------------------------------------------------------- */

/* Places of each sound. They are counted item by item, but the items of a signal are heard as one, which can give fewer
 * rows than the items' sum (spec omni-session 3.4): the last items get that many places fewer. */
static void place_sounds(const model_config *cfg, const message *m, prompt_item *item)
{
    for (int32_t k = 0; k < m->n_sound; k++) {
        const sound *s = &m->sound[k];
        int32_t over = -encode_sound_tokens(cfg, s->n_sample);

        for (int32_t i = s->first_part; i < s->first_part + s->n_part; i++) {
            if (m->part[i].kind != PART_AUDIO) continue;
            item[i].n_token = encode_sound_tokens(cfg, m->part[i].n_sample);
            over += item[i].n_token;
        }
        for (int32_t i = s->first_part + s->n_part - 1; over > 0 && i >= s->first_part; i--) {
            int32_t less = item[i].n_token < over ? item[i].n_token : over;
            if (m->part[i].kind != PART_AUDIO) continue;
            item[i].n_token -= less;
            over -= less;
        }
    }
}

static void message_items(const model_config *cfg, const message *m, prompt_item *item)
{
    for (int32_t i = 0; i < m->n_part; i++) {
        const part *p = &m->part[i];
        switch (p->kind) {
        case PART_TEXT:
            item[i] = (prompt_item){ .kind = PROMPT_TEXT, .text = p->text.data ? p->text.data : "", .n_text = p->text.len };
            break;
        case PART_IMAGE: item[i] = (prompt_item){ .kind = PROMPT_IMAGE, .cols = p->slices.cols, .rows = p->slices.rows }; break;
        case PART_AUDIO: item[i] = (prompt_item){ .kind = PROMPT_AUDIO }; break;
        }
    }
    place_sounds(cfg, m, item);
}

static prompt_options options_of(const mo_model *m, const turn_opts *o)
{
    prompt_options p = prompt_options_default(m->chat.kind);
    tokenizer_roles roles = tokenizer_get_roles(m->tok);

    if (p.enable_thinking != CHAT_UNSET) p.enable_thinking = o->thinking ? CHAT_ON : CHAT_OFF;
    p.default_system = m->chat.system;
    p.use_tts_template = o->speech_mark;
    p.omni_mode = o->omni;
    p.stream_input = o->stream_input;
    p.teacher_forcing = o->teacher_forcing;
    p.use_image_id = o->image_ids == MO_AUTO ? p.use_image_id && m->cfg.slice.use_image_id : o->image_ids == MO_ON;
    p.add_bos = roles.add_bos && roles.bos == tokenizer_find(m->tok, "<s>"); /* what the template would write */
    p.max_inp_length = o->max_inp_length;
    if (m->cfg.resampler.n_query) p.n_query = m->cfg.resampler.n_query;
    return p;
}

/* item: room for all parts. */
static mo_status build(turn *t, const mo_model *m, const conversation *c, const turn_opts *o, prompt_message *msg, prompt_item *item,
                       mo_error *err)
{
    prompt_options opt = options_of(m, o);
    py_value *tools = NULL;
    mo_status st = MO_OK;

    for (int32_t i = 0; i < c->n_message; i++) {
        message_items(&m->cfg, &c->message[i], item);
        msg[i] = (prompt_message){ .role = c->message[i].role, .item = item, .n_item = c->message[i].n_part };
        item += c->message[i].n_part;
    }
    if (o->tools) st = py_parse(&tools, o->tools, strlen(o->tools), err);
    opt.tools = tools;
    if (st == MO_OK) st = prompt_build(&t->prompt, m->tok, &opt, msg, c->n_message, err);
    py_free(tools);
    return st;
}

mo_status turn_layout(turn *t, const mo_model *m, const conversation *c, const turn_opts *o, mo_error *err)
{
    prompt_message *msg;
    prompt_item *item;
    size_t n_item = 1;
    mo_status st;

    memset(t, 0, sizeof *t);
    for (int32_t i = 0; i < c->n_message; i++) n_item += (size_t)c->message[i].n_part;
    msg = mo_calloc((size_t)c->n_message + 1, sizeof *msg);
    item = mo_calloc(n_item, sizeof *item);
    st = msg && item ? build(t, m, c, o, msg, item, err) : mo_fail(err, MO_E_NOMEM, "no memory for the prompt's items");
    mo_free(msg);
    mo_free(item);
    if (st == MO_OK && t->prompt.ids.len > INT32_MAX / 2) st = mo_fail(err, MO_E_LIMIT, "the prompt has %zu positions", t->prompt.ids.len);
    t->n = (int32_t)t->prompt.ids.len;
    for (int32_t i = 0; st == MO_OK && i < t->n; i++)
        if (t->prompt.ids.data[i] < 0 || t->prompt.ids.data[i] >= m->cfg.llm.n_vocab)
            st = mo_fail(err, MO_E_FORMAT, "the tokenizer gives id %d and the model has a vocabulary of %d: they do not belong together",
                         t->prompt.ids.data[i], m->cfg.llm.n_vocab);
    if (st != MO_OK) turn_free(t);
    return st;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void put_row(turn *t, int32_t at, const float *row, int64_t uid, int64_t i_row)
{
    t->row[at] = row;
    t->key[at] = MEDIA_KEY | uid << 24 | i_row;
}

/* Pictures: a tile's rows at its bounds, tiles in order. */
static mo_status fill_pictures(turn *t, const mo_model *m, const conversation *c, mo_error *err)
{
    const ids *b = &t->prompt.image_bounds;
    int32_t n_query = m->cfg.resampler.n_query;
    size_t width = (size_t)m->cfg.llm.n_embd, k = 0;

    for (int32_t i = 0; i < c->n_message; i++)
        for (int32_t j = 0; j < c->message[i].n_part; j++) {
            const part *p = &c->message[i].part[j];
            for (int32_t tile = 0; p->kind == PART_IMAGE && tile < p->slices.n_tile; tile++, k += 2) {
                if (k + 1 >= b->len) return MO_OK; /* cut off by max_inp_length */
                if (!p->rows || b->data[k + 1] - b->data[k] > n_query)
                    return mo_fail(err, MO_E_STATE, "a picture's places and rows do not agree");
                for (int32_t at = b->data[k], r = tile * n_query; at < b->data[k + 1]; at++, r++)
                    put_row(t, at, p->rows + (size_t)r * width, p->uid, r);
            }
        }
    return MO_OK;
}

/* Sounds: the rows of all signals, one after another, are dealt out over the places from left to right, as the reference
 * does with stream_input set. */
static mo_status fill_sounds(turn *t, const mo_model *m, const conversation *c, mo_error *err)
{
    const ids *b = &t->prompt.audio_bounds;
    size_t width = (size_t)m->cfg.llm.n_embd, k = 0;
    int32_t at = b->len ? b->data[0] : 0;

    for (int32_t i = 0; i < c->n_message; i++)
        for (int32_t j = 0; j < c->message[i].n_sound; j++) {
            const sound *s = &c->message[i].sound[j];
            for (int32_t r = 0; r < s->n_row; r++) {
                while (k + 1 < b->len && at == b->data[k + 1]) {
                    k += 2;
                    if (k + 1 < b->len) at = b->data[k];
                }
                if (k + 1 >= b->len) return MO_OK; /* more rows than places */
                put_row(t, at++, s->rows + (size_t)r * width, s->uid, r);
            }
        }
    while (k + 1 < b->len && at == b->data[k + 1]) {
        k += 2;
        if (k + 1 < b->len) at = b->data[k];
    }
    return k + 1 < b->len ? mo_fail(err, MO_E_STATE, "the sounds have fewer rows than places") : MO_OK;
}

mo_status turn_fill(turn *t, const mo_model *m, const conversation *c, mo_error *err)
{
    mo_status st;

    t->row = mo_calloc((size_t)t->n + 1, sizeof *t->row);
    t->key = mo_calloc((size_t)t->n + 1, sizeof *t->key);
    if (!t->row || !t->key) return mo_fail(err, MO_E_NOMEM, "no memory for a prompt of %d positions", t->n);
    for (int32_t i = 0; i < t->n; i++) t->key[i] = t->prompt.ids.data[i];
    if ((st = fill_pictures(t, m, c, err)) != MO_OK) return st;
    return fill_sounds(t, m, c, err);
}

int32_t turn_common(const turn *t, const int64_t *cached, int32_t n_cached)
{
    int32_t n = 0;

    while (n < t->n && n < n_cached && t->key[n] == cached[n]) n++;
    return n;
}
