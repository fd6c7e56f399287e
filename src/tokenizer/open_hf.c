/* Opening a tokenizer from the files of a Hugging Face directory, or from lists (tokenizer.h).
 *
 *     tokenizer.json                    vocabulary, merges, added tokens, and which regex and normaliser: used where it is
 *     vocab.json, merges.txt            else these: Qwen2's regex with NFC
 *     added_tokens.json                 text -> id
 *     tokenizer_config.json             added_tokens_decoder (id -> text, special), roles, bad_token_ids
 *     special_tokens_map.json           which texts are special
 *
 * Nothing in a file is trusted: types, ids, sizes and every merge's parts are checked.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "tokenizer/internal.h"
#include "tokenizer/pyjson.h"

#define FILE_LIMIT ((size_t)256 << 20)

/* A JSON object from dir/name; *out NULL if there is no such file and it is optional. */
static mo_status read_json(json_t **out, const char *dir, const char *name, bool optional, mo_error *err)
{
    mo_status st;
    json_error_t je;
    char *path, *text = NULL;
    size_t n;

    *out = NULL;
    if (!(path = path_join(dir, name))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if (!file_exists(path)) {
        st = optional ? MO_OK : mo_fail(err, MO_E_IO, "'%s' does not exist", path);
        goto done;
    }
    if ((st = file_read(&text, &n, path, FILE_LIMIT, err)) != MO_OK) goto done;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!*out) {
        st = mo_fail(err, MO_E_FORMAT, "'%s' is not JSON: %s at line %d, column %d", path, je.text, je.line, je.column);
    } else if (!json_is_object(*out)) {
        st = mo_fail(err, MO_E_FORMAT, "'%s' is not a JSON object", path);
        json_decref(*out);
        *out = NULL;
    }
done:
    mo_free(path);
    mo_free(text);
    return st;
}

/* {"text": id, ...} into the vocabulary, as ordinary or as added tokens. */
static mo_status load_ids(tokenizer *t, json_t *map, bool added, const char *what, mo_error *err)
{
    mo_status st = MO_OK;

    for (void *it = json_object_iter(map); it && st == MO_OK; it = json_object_iter_next(map, it)) {
        const char *text = json_object_iter_key(it);
        size_t n = json_object_iter_key_len(it);
        json_t *id = json_object_iter_value(it);
        if (!json_is_integer(id)) return mo_fail(err, MO_E_FORMAT, "%s: the id of '%.60s' is not an integer", what, text);
        st = added ? vocab_add_added(t, json_integer_value(id), text, n, false, err) : vocab_add(t, json_integer_value(id), text, n, err);
    }
    return st == MO_OK ? st : mo_fail_in(err, st, "%s", what);
}

/* The one large file, 150,000 members: scanned straight into the tables, without a tree. */
static mo_status load_vocab_json(tokenizer *t, const char *dir, mo_error *err)
{
    char *path = path_join(dir, "vocab.json"), *text = NULL;
    json_scan j = { 0 };
    buf key = { 0 };
    mo_status st;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if ((st = file_read(&text, &j.n, path, FILE_LIMIT, err)) != MO_OK) goto done;
    j.s = text;
    if (!json_take(&j, '{')) st = mo_fail(err, MO_E_FORMAT, "no JSON object");
    while (st == MO_OK && !(t->n_vocab == 0 && json_take(&j, '}'))) {
        const char *number;
        bool is_int = false;
        size_t n = 0;
        if ((st = json_take_string(&j, &key, err)) != MO_OK) break;
        if (!json_take(&j, ':') || json_take_number(&j, &number, &n, &is_int, err) != MO_OK || !is_int || n > 10) {
            st = mo_fail(err, MO_E_FORMAT, "the id of '%.60s' is not an integer in range", key.data);
            break;
        }
        if ((st = vocab_add(t, strtoll(number, NULL, 10), key.data, key.len, err)) != MO_OK) break;
        if (json_take(&j, '}')) break;
        if (!json_take(&j, ',')) st = mo_fail(err, MO_E_FORMAT, "no ',' or '}' at byte %zu", j.i);
    }
    json_skip_space(&j);
    if (st == MO_OK && j.i < j.n) st = mo_fail(err, MO_E_FORMAT, "more text after the object at byte %zu", j.i);
    if (st != MO_OK) mo_fail_in(err, st, "vocab.json");
done:
    mo_free(path);
    mo_free(text);
    buf_free(&key);
    return st;
}

static mo_status load_merges_txt(tokenizer *t, const char *dir, mo_error *err)
{
    char *path = path_join(dir, "merges.txt"), *text = NULL;
    size_t n = 0, n_line = 0, i, end;
    uint32_t rank = 0;
    mo_status st;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if ((st = file_read(&text, &n, path, FILE_LIMIT, err)) != MO_OK) goto done;
    for (i = 0; i < n; i++) n_line += text[i] == '\n';
    if ((st = vocab_reserve_merges(t, n_line + 1, err)) != MO_OK) goto done;
    for (i = 0; i < n && st == MO_OK; i = end + 1) {
        const char *nl = memchr(text + i, '\n', n - i);
        size_t len;
        end = nl ? (size_t)(nl - text) : n;
        len = end - i;
        if (len && text[i + len - 1] == '\r') len--;
        if (!len || (i == 0 && len >= 8 && !memcmp(text, "#version", 8))) continue;
        st = vocab_add_merge(t, rank++, text + i, len, err);
    }
    if (st != MO_OK) mo_fail_in(err, st, "merges.txt");
done:
    mo_free(path);
    mo_free(text);
    return st;
}

/* ---- tokenizer.json ---- */

static mo_status load_merge_list(tokenizer *t, json_t *list, mo_error *err)
{
    size_t n = json_array_size(list);
    mo_status st = vocab_reserve_merges(t, n, err);

    for (size_t i = 0; i < n && st == MO_OK; i++) {
        json_t *m = json_array_get(list, i), *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (json_is_string(m)) /* "left right"; newer files hold pairs */
            st = vocab_add_merge(t, (uint32_t)i, json_string_value(m), json_string_length(m), err);
        else if (json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
            st = vocab_add_merge_pair(t, (uint32_t)i, json_string_value(a), json_string_length(a), json_string_value(b),
                                      json_string_length(b), err);
        else st = mo_fail(err, MO_E_FORMAT, "merge %zu is neither a string nor a pair of strings", i + 1);
    }
    return st;
}

static mo_status load_added_list(tokenizer *t, json_t *list, mo_error *err)
{
    mo_status st = MO_OK;

    for (size_t i = 0; i < json_array_size(list) && st == MO_OK; i++) {
        json_t *a = json_array_get(list, i), *id = json_object_get(a, "id"), *text = json_object_get(a, "content");
        if (!json_is_integer(id) || !json_is_string(text)) return mo_fail(err, MO_E_FORMAT, "added token %zu has no id or no content", i);
        st = vocab_add_added(t, json_integer_value(id), json_string_value(text), json_string_length(text),
                             json_is_true(json_object_get(a, "special")), err);
    }
    return st;
}

/* Does a {"type": ...} tree name this regular expression or normaliser anywhere? Files nest them in Sequences. */
static bool tree_has(json_t *node, const char *text, int depth)
{
    const char *key;
    json_t *v;
    size_t i;

    if (depth > 8) return false;
    if (json_is_string(node)) return strstr(json_string_value(node), text) != NULL;
    json_array_foreach(node, i, v) {
        if (tree_has(v, text, depth + 1)) return true;
    }
    json_object_foreach(node, key, v) {
        if (tree_has(v, text, depth + 1)) return true;
    }
    return false;
}

static mo_status load_pipeline(tokenizer *t, json_t *root, json_t *model, mo_error *err)
{
    json_t *pre = json_object_get(root, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(model, "type"));

    if ((type && strcmp(type, "BPE")) || json_is_true(json_object_get(model, "byte_fallback")) || !tree_has(pre, "ByteLevel", 0))
        return mo_fail(err, MO_E_UNSUPPORTED,
                       "this tokenizer is not byte-level BPE (SentencePiece vocabularies are read from GGUF files only)");
    t->nfc = tree_has(json_object_get(root, "normalizer"), "NFC", 0);
    t->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    if (tree_has(pre, "\\p{N}{1,3}", 0)) t->split = SPLIT_LLAMA3;
    else if (tree_has(pre, "[\\p{L}\\p{M}]+", 0)) t->split = SPLIT_QWEN35;
    else if (tree_has(pre, "\\p{L}+|\\p{N}|", 0)) t->split = SPLIT_QWEN2;
    else return mo_fail(err, MO_E_UNSUPPORTED, "the pre-tokenizer's regular expression is none of those known (qwen2, llama-bpe, qwen35)");
    return MO_OK;
}

/* Sets *found when the file is there. */
static mo_status load_tokenizer_json(tokenizer *t, const char *dir, bool *found, mo_error *err)
{
    json_t *root, *model;
    mo_status st = read_json(&root, dir, "tokenizer.json", true, err);

    *found = root != NULL;
    if (st != MO_OK || !root) return st;
    model = json_object_get(root, "model");
    if (!json_is_object(json_object_get(model, "vocab")) || !json_is_array(json_object_get(model, "merges")))
        st = mo_fail(err, MO_E_FORMAT, "no model with a vocabulary and merges");
    if (st == MO_OK) st = load_pipeline(t, root, model, err);
    if (st == MO_OK) st = load_ids(t, json_object_get(model, "vocab"), false, "vocabulary", err);
    if (st == MO_OK) st = load_merge_list(t, json_object_get(model, "merges"), err);
    if (st == MO_OK) st = load_added_list(t, json_object_get(root, "added_tokens"), err);
    json_decref(root);
    return st == MO_OK ? st : mo_fail_in(err, st, "tokenizer.json");
}

/* ---- configuration ---- */

/* {"151643": {"content": "<|endoftext|>", "special": true}, ...} */
static mo_status load_added_decoder(tokenizer *t, json_t *map, mo_error *err)
{
    const char *key;
    json_t *v;

    if (map && !json_is_object(map)) return mo_fail(err, MO_E_FORMAT, "added_tokens_decoder is not an object");
    json_object_foreach(map, key, v) {
        json_t *text = json_object_get(v, "content");
        char *end;
        long long id = strtoll(key, &end, 10);
        mo_status st;
        if (*end || end == key || !json_is_string(text))
            return mo_fail(err, MO_E_FORMAT, "added token '%.40s' has no id or no content", key);
        st = vocab_add_added(t, id, json_string_value(text), json_string_length(text), json_is_true(json_object_get(v, "special")), err);
        if (st != MO_OK) return st;
    }
    return MO_OK;
}

/* A token named as "text" or as {"content": "text"}: its id, -1 if it is neither or not in the vocabulary. */
static int32_t named(const tokenizer *t, json_t *v)
{
    json_t *text = json_is_object(v) ? json_object_get(v, "content") : v;

    return json_is_string(text) ? vocab_find(t, json_string_value(text), json_string_length(text)) : -1;
}

/* Make every token that the map names special; texts that the vocabulary does not have are left alone. */
static mo_status mark_special(tokenizer *t, json_t *v, mo_error *err)
{
    int32_t id = named(t, v);
    size_t n;

    if (id < 0) return MO_OK;
    const char *text = vocab_text(t, id, &n);
    if (n > ADDED_TEXT_LIMIT) return MO_OK;
    /* vocab_add_added keeps a known text where it is: it only reads `text` */
    return vocab_add_added(t, id, text, n, true, err);
}

static mo_status load_special_map(tokenizer *t, json_t *map, mo_error *err)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token" };
    json_t *extra = json_object_get(map, "additional_special_tokens");
    mo_status st = MO_OK;

    for (size_t i = 0; i < sizeof names / sizeof *names && st == MO_OK; i++) st = mark_special(t, json_object_get(map, names[i]), err);
    for (size_t i = 0; i < json_array_size(extra) && st == MO_OK; i++) st = mark_special(t, json_array_get(extra, i), err);
    return st;
}

static mo_status load_bad_ids(tokenizer *t, json_t *list, mo_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= TOKEN_ID_LIMIT)
            return mo_fail(err, MO_E_FORMAT, "bad_token_ids[%zu] is not a token id", i);
        ids_put(&t->bad, (int32_t)json_integer_value(v));
    }
    return t->bad.failed ? mo_fail(err, MO_E_NOMEM, "no memory for bad_token_ids") : MO_OK;
}

static mo_status load_config(tokenizer *t, const char *dir, mo_error *err)
{
    json_t *added = NULL, *config = NULL, *special = NULL;
    mo_status st;

    if ((st = read_json(&added, dir, "added_tokens.json", true, err)) != MO_OK) goto done;
    if ((st = read_json(&config, dir, "tokenizer_config.json", true, err)) != MO_OK) goto done;
    if ((st = read_json(&special, dir, "special_tokens_map.json", true, err)) != MO_OK) goto done;
    if ((st = load_ids(t, added, true, "added_tokens.json", err)) != MO_OK) goto done;
    st = load_added_decoder(t, json_object_get(config, "added_tokens_decoder"), err);
    if (st == MO_OK) st = load_special_map(t, config, err);
    if (st == MO_OK) st = load_bad_ids(t, json_object_get(config, "bad_token_ids"), err);
    if (st != MO_OK) {
        mo_fail_in(err, st, "tokenizer_config.json");
        goto done;
    }
    if ((st = load_special_map(t, special, err)) != MO_OK) {
        mo_fail_in(err, st, "special_tokens_map.json");
        goto done;
    }
    t->roles.bos = named(t, json_object_get(config, "bos_token"));
    t->roles.eos = named(t, json_object_get(config, "eos_token"));
    t->roles.pad = named(t, json_object_get(config, "pad_token"));
    t->roles.unk = named(t, json_object_get(config, "unk_token"));
    json_t *add_bos = json_object_get(config, "add_bos_token");
    t->roles.add_bos = t->roles.bos >= 0 && (json_is_boolean(add_bos) ? json_is_true(add_bos) : t->split == SPLIT_LLAMA3);
done:
    json_decref(added);
    json_decref(config);
    json_decref(special);
    return st;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = path_join(dir, name);
    bool yes = path && file_exists(path);

    mo_free(path);
    return yes;
}

mo_status tokenizer_open_hf(tokenizer **out, const char *dir, mo_error *err)
{
    tokenizer *t;
    mo_status st;
    bool found;

    *out = NULL;
    if (!dir) return mo_fail(err, MO_E_ARG, "tokenizer directory is NULL");
    if (!(t = tokenizer_new(err))) return MO_E_NOMEM;
    if ((st = load_tokenizer_json(t, dir, &found, err)) != MO_OK) goto fail;
    if (!found) {
        st = load_vocab_json(t, dir, err);
        if (st == MO_E_IO && has_file(dir, "tokenizer.model"))
            st = mo_fail(err, MO_E_UNSUPPORTED,
                         "it has a SentencePiece model (tokenizer.model), which is read from GGUF files only; a byte-level BPE vocabulary "
                         "is needed");
        if (st != MO_OK || (st = load_merges_txt(t, dir, err)) != MO_OK) goto fail;
    }
    if ((st = vocab_finish(t, true, err)) != MO_OK || (st = load_config(t, dir, err)) != MO_OK) goto fail;
    *out = t;
    return MO_OK;
fail:
    tokenizer_close(t);
    return mo_fail_in(err, st, "tokenizer in '%.200s'", dir);
}

/* ---- lists ---- */

static mo_status set_pre(tokenizer *t, const char *pre, mo_error *err)
{
    if (!pre || !strcmp(pre, "qwen2")) {
        t->split = SPLIT_QWEN2;
    } else if (!strcmp(pre, "llama-bpe") || !strcmp(pre, "llama3") || !strcmp(pre, "llama-v3")) {
        t->split = SPLIT_LLAMA3;
        t->nfc = false;
        t->ignore_merges = true;
    } else if (!strcmp(pre, "qwen35")) {
        t->split = SPLIT_QWEN35;
    } else if (!strcmp(pre, "gpt2") || !strcmp(pre, "gpt-2") || !strcmp(pre, "default")) {
        t->split = SPLIT_GPT2;
        t->nfc = false;
    } else if (!strcmp(pre, "smollm")) {
        t->split = SPLIT_SMOLLM;
        t->nfc = false;
    } else {
        return mo_fail(err, MO_E_UNSUPPORTED, "pre-tokenizer '%.40s' is none of those known (qwen2, llama-bpe, qwen35, gpt2, smollm)", pre);
    }
    return MO_OK;
}

static int32_t role(const tokenizer *t, int32_t id) { return id >= 0 && id < t->n_vocab ? id : -1; }

/* GGUF's types: the converter calls tokens that look special CONTROL, other added ones USER_DEFINED, holes UNUSED. */
enum { TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

mo_status tokenizer_open_lists(tokenizer **out, const tokenizer_lists *l, mo_error *err)
{
    tokenizer *t;
    mo_status st;

    *out = NULL;
    if (!(t = tokenizer_new(err))) return MO_E_NOMEM;
    if (l->n_token > TOKEN_ID_LIMIT) {
        st = mo_fail(err, MO_E_LIMIT, "%zu tokens, more than the %d allowed", l->n_token, TOKEN_ID_LIMIT);
        goto fail;
    }
    if (l->scores) {
        if ((st = spm_open(t, l, err)) != MO_OK) goto fail;
        *out = t;
        return MO_OK;
    }
    if ((st = set_pre(t, l->pre, err)) != MO_OK) goto fail;
    for (size_t i = 0; i < l->n_token && st == MO_OK; i++) {
        int32_t type = l->types ? l->types[i] : 1;
        if (type == TYPE_CONTROL || type == TYPE_USER_DEFINED)
            st = vocab_add_added(t, (int64_t)i, l->tokens[i].s, l->tokens[i].n, type == TYPE_CONTROL, err);
        else if (type != TYPE_UNUSED) st = vocab_add(t, (int64_t)i, l->tokens[i].s, l->tokens[i].n, err);
    }
    if (st == MO_OK) st = vocab_reserve_merges(t, l->n_merge, err);
    for (size_t i = 0; i < l->n_merge && st == MO_OK; i++) st = vocab_add_merge(t, (uint32_t)i, l->merges[i].s, l->merges[i].n, err);
    if (st == MO_OK) st = vocab_finish(t, false, err);
    if (st != MO_OK) goto fail;
    t->roles = (tokenizer_roles){ role(t, l->bos), role(t, l->eos), role(t, l->pad), role(t, l->unk), l->add_bos };
    *out = t;
    return MO_OK;
fail:
    tokenizer_close(t);
    return st;
}
