/* Golden stage `chat`: a conversation with pictures and sounds through the engine, as the official chat() does it
 * (../shared/golden/see/README.md, hear/README.md), and the text of stage `slices`.
 *
 *     msgs -> conversation -> prompt, ids, bounds -> rows -> hidden state of the last position -> greedy ids
 */
#include <string.h>

#include "cli/trace_audio.h"
#include "cli/trace_llm.h"
#include "core/alloc.h"
#include "session/conversation.h"
#include "session/encode.h"
#include "session/model.h"
#include "session/sampling.h"
#include "session/turn.h"

/* ---- the conversation ------------------------------------------------------------------------------------------- */

static mo_status add_item(conversation *c, const trace_ctx *ctx, const mo_model *m, const json_t *item, int32_t max_slices, mo_error *err)
{
    const json_t *picture = json_object_get(item, "image"), *clip = json_object_get(item, "audio");
    mo_status st;

    if (json_is_string(item)) return conversation_add_text(c, json_string_value(item), json_string_length(item), err);
    if (picture) {
        image im;
        if ((st = trace_image_load(&im, ctx, picture, err)) != MO_OK) return st;
        st = conversation_add_image(c, &im, max_slices, m->cfg.slice.scale_resolution, m->cfg.slice.patch_size, VISION_ROWS, err);
        image_free(&im);
        return st;
    }
    if (clip) {
        float *x;
        int64_t n;
        if ((st = trace_clip_load(&x, &n, ctx, clip, err)) != MO_OK) return st;
        st = conversation_add_audio(c, x, n, err);
        mo_free(x);
        return st;
    }
    return mo_fail(err, MO_E_FORMAT, "an item is a string, an image or an audio");
}

static mo_status read_messages(conversation *c, const trace_ctx *ctx, const mo_model *m, const json_t *input, mo_error *err)
{
    const json_t *max = json_object_get(input, "max_slice_nums"), *msg, *item;
    int32_t max_slices = max ? (int32_t)json_integer_value(max) : m->cfg.slice.max_slice_nums;
    mo_status st;
    size_t i, j;

    json_array_foreach(json_object_get(input, "msgs"), i, msg) {
        const json_t *content = json_object_get(msg, "content");

        if ((st = conversation_begin(c, json_string_value(json_object_get(msg, "role")), err)) != MO_OK) return st;
        if (!json_is_array(content)) {
            if ((st = add_item(c, ctx, m, content, max_slices, err)) != MO_OK) return st;
            continue;
        }
        json_array_foreach(content, j, item)
            if ((st = add_item(c, ctx, m, item, max_slices, err)) != MO_OK) return st;
    }
    return MO_OK;
}

/* ---- the prompt ------------------------------------------------------------------------------------------------- */

static bool flag(const json_t *input, const char *name, bool otherwise)
{
    const json_t *v = json_object_get(input, name);
    return v ? json_is_true(v) : otherwise;
}

static turn_opts options(const json_t *input)
{
    const json_t *numbered = json_object_get(input, "use_image_id"), *max = json_object_get(input, "max_inp_length");

    return (turn_opts){
        .thinking = flag(input, "enable_thinking", false),
        .omni = flag(input, "omni_mode", false),
        .speech_mark = flag(input, "use_tts_template", false),
        .stream_input = flag(input, "stream_input", false),
        .teacher_forcing = flag(input, "teacher_forcing", false),
        .image_ids = !numbered                ? MO_AUTO
                     : json_is_true(numbered) ? MO_ON
                                              : MO_OFF,
        .max_inp_length = max ? (int32_t)json_integer_value(max) : 8192,
    };
}

static json_t *id_list_json(const int32_t *id, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++) json_array_append_new(a, json_integer(id[i]));
    return a;
}

static json_t *bounds_json(const ids *b)
{
    json_t *a = json_array();

    for (size_t i = 0; i + 1 < b->len; i += 2) json_array_append_new(a, id_list_json(b->data + i, 2));
    return a;
}

static mo_status put_prompt(const turn *t, trace_out *out, mo_error *err)
{
    const prompt *p = &t->prompt;
    mo_status st = trace_put_json(out, "prompt", json_stringn(p->text.data, p->text.len), err);

    if (st == MO_OK) st = trace_put_json(out, "ids", id_list_json(p->ids.data, p->ids.len), err);
    if (st == MO_OK) st = trace_put_json(out, "image_bounds", bounds_json(&p->image_bounds), err);
    return st == MO_OK ? trace_put_json(out, "audio_bounds", bounds_json(&p->audio_bounds), err) : st;
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

typedef struct answer {
    mo_model *m;
    kv_pool pool;
    kv_seq kv;
    float *embeds; /* [n, n_embd] */
    float *hidden; /* [n_embd] */
    float *logits; /* [n_vocab] */
} answer;

static void answer_free(answer *a)
{
    kv_seq_free(&a->kv);
    kv_pool_free(&a->pool);
    mo_free(a->embeds);
    mo_free(a->hidden);
    mo_free(a->logits);
}

/* Every position's input vector: the token's embedding, or the media row. */
static mo_status gather_embeds(answer *a, const turn *t, mo_error *err)
{
    size_t width = (size_t)a->m->cfg.llm.n_embd;
    mo_status st;

    st = llm_embed(a->m->llm, &a->m->scratch, a->m->opts.n_ubatch, t->prompt.ids.data, t->n, a->embeds, err);
    for (int32_t i = 0; st == MO_OK && i < t->n; i++)
        if (t->row[i]) memcpy(a->embeds + (size_t)i * width, t->row[i], width * sizeof(float));
    return st;
}

static mo_status feed(answer *a, const int32_t *id, const float *embd, int32_t n, mo_error *err)
{
    kv_seq **seq = mo_calloc((size_t)n, sizeof(kv_seq *));
    uint8_t *want = mo_calloc((size_t)n, 1);
    mo_status st;

    if (seq && want) {
        for (int32_t i = 0; i < n; i++) seq[i] = &a->kv;
        want[n - 1] = LLM_WANT_LOGITS | LLM_WANT_HIDDEN;
        llm_batch b = { .n_row = n, .token = id, .embd = embd, .seq = seq, .want = want };
        st = llm_forward(a->m->llm, &a->m->scratch, a->m->opts.n_ubatch, &b, a->logits, a->hidden, err);
    } else {
        st = mo_fail(err, MO_E_NOMEM, "no memory for %d rows", n);
    }
    mo_free(seq);
    mo_free(want);
    return st;
}

/* Argmax after the penalty on generated ids; an end id is the last. */
static mo_status put_greedy(answer *a, const json_t *input, trace_out *out, mo_error *err)
{
    int32_t end[3] = { tokenizer_find(a->m->tok, "<|im_end|>"), tokenizer_find(a->m->tok, "<|endoftext|>"),
                       tokenizer_get_roles(a->m->tok).eos };
    int64_t n = json_integer_value(json_object_get(input, "max_new_tokens"));
    const json_t *penalty = json_object_get(input, "repetition_penalty");
    sampler_params p = sampler_params_default();
    json_t *list = json_array();
    sampler *s = NULL;
    mo_status st;

    p.do_sample = false;
    p.repetition_penalty = penalty ? (float)json_number_value(penalty) : 1.02f;
    st = sampler_open(&s, a->m->cfg.llm.n_vocab, &p, (id_list){ end, 3 }, NULL, err);
    for (int64_t i = 0; st == MO_OK && i < (n ? n : 16); i++) {
        int32_t id;
        if ((st = sampler_next(s, a->logits, &id, err)) != MO_OK) break;
        sampler_accept(s, id);
        json_array_append_new(list, json_integer(id));
        if (sampler_is_end(s, id)) break;
        st = feed(a, &id, NULL, 1, err);
    }
    if (st == MO_OK) st = trace_put_json(out, "greedy", json_incref(list), err);
    json_decref(list);
    sampler_close(s);
    return st;
}

static mo_status put_answer(answer *a, const turn *t, const json_t *input, trace_out *out, mo_error *err)
{
    int64_t width = a->m->cfg.llm.n_embd, dim[2] = { t->n, width };
    kv_shape shape = llm_kv_shape(&a->m->cfg.llm, MO_F32);
    int32_t n_ctx = t->n + 256;
    mo_status st;

    a->embeds = mo_calloc((size_t)t->n * (size_t)width, sizeof(float));
    a->hidden = mo_calloc((size_t)width, sizeof(float));
    a->logits = mo_calloc((size_t)a->m->cfg.llm.n_vocab, sizeof(float));
    if (!a->embeds || !a->hidden || !a->logits) return mo_fail(err, MO_E_NOMEM, "no memory for %d positions", t->n);
    if ((st = kv_pool_init(&a->pool, a->m->be, &shape, kv_pages_for(n_ctx), err)) != MO_OK) return st;
    if ((st = kv_seq_init(&a->kv, &a->pool, n_ctx, err)) != MO_OK) return st;
    if ((st = gather_embeds(a, t, err)) != MO_OK) return st;
    if ((st = trace_put_array(out, "embeds", "f4", 2, dim, a->embeds, err)) != MO_OK) return st;
    if ((st = feed(a, NULL, a->embeds, t->n, err)) != MO_OK) return st;
    if ((st = trace_put_array(out, "hidden", "f4", 1, &width, a->hidden, err)) != MO_OK) return st;
    return put_greedy(a, input, out, err);
}

static mo_status encode_all(mo_model *m, conversation *c, mo_error *err)
{
    encode_state state;
    bool more = true;
    mo_status st = MO_OK;

    while (st == MO_OK && more) st = encode_step(m, c, m->cfg.audio.chunk_length_s, &state, &more, err);
    return st;
}

static mo_status run_chat(mo_model *m, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    turn_opts o = options(input);
    conversation c = { 0 };
    answer a = { .m = m };
    turn t = { 0 };
    mo_status st;

    st = read_messages(&c, ctx, m, input, err);
    if (st == MO_OK) st = encode_plan_sounds(&c, flag(input, "merge_audio_from_same_content", true), err);
    if (st == MO_OK) st = turn_layout(&t, m, &c, &o, err);
    if (st == MO_OK) st = put_prompt(&t, out, err);
    if (st == MO_OK) st = encode_all(m, &c, err);
    if (st == MO_OK) st = turn_fill(&t, m, &c, err);
    if (st == MO_OK) st = put_answer(&a, &t, input, out, err);
    answer_free(&a);
    turn_free(&t);
    conversation_free(&c);
    return st;
}

mo_status trace_chat_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    mo_model_opts o = mo_model_opts_default();
    mo_status st;
    mo_model *m;

    *known = !strcmp(stage, "chat");
    if (!*known) return MO_OK;
    o.exact = 1; /* the golden tolerances are for float32 */
    if ((st = mo_model_open(&m, ctx->model_dir, &o, err)) != MO_OK) return st;
    st = run_chat(m, ctx, input, out, err);
    mo_model_close(m);
    return st;
}

/* ---- the text of stage `slices` --------------------------------------------------------------------------------- */

mo_status trace_slices_text(const trace_ctx *ctx, const json_t *input, int32_t cols, int32_t rows, trace_out *out, mo_error *err)
{
    prompt_options o = prompt_options_default(CHAT_O45);
    prompt_item item = { .kind = PROMPT_IMAGE, .cols = cols, .rows = rows };
    tokenizer *tok = NULL;
    prompt p = { 0 };
    buf text = { 0 };
    mo_status st;

    o.use_image_id = flag(input, "use_image_id", true);
    o.first_image_id = (int32_t)json_integer_value(json_object_get(input, "image_index"));
    st = checkpoint_open_tokenizer(&tok, ctx->model_dir, err);
    if (st == MO_OK) st = prompt_build_items(&p, tok, &o, &item, 1, err);
    if (st == MO_OK) st = tokenizer_decode(tok, p.ids.data, p.ids.len, false, &text, err);
    if (st == MO_OK) st = trace_put_json(out, "ids", id_list_json(p.ids.data, p.ids.len), err);
    if (st == MO_OK) st = trace_put_json(out, "text", json_stringn(text.data, text.len), err);
    buf_free(&text);
    prompt_free(&p);
    tokenizer_close(tok);
    return st;
}
