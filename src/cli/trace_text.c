/* The text stages of `minicpmo trace` (trace_text.h): JSON in, the tokenizer and prompt layers, JSON out. */
#include "cli/trace_text.h"

#include <string.h>

#include "core/alloc.h"
#include "tokenizer/tokenizer.h"

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

mo_status trace_text_stage(const char *stage, const char *model_dir, const json_t *input, json_t *values_out, bool *known, mo_error *err)
{
    static const struct {
        const char *name;
        mo_status (*run)(const tokenizer *t, const json_t *input, json_t *out, mo_error *err);
    } stages[] = {
        { "tokenize", stage_tokenize }, { "detokenize", stage_detokenize }, { "detokenize_stream", stage_stream },
    };
    tokenizer *t = NULL;
    mo_status st;

    *known = false;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (strcmp(stage, stages[i].name)) continue;
        *known = true;
        if ((st = tokenizer_open_hf(&t, model_dir, err)) == MO_OK) st = stages[i].run(t, input, values_out, err);
        tokenizer_close(t);
        return st;
    }
    return MO_OK;
}
