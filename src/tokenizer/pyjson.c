/* JSON values as Python prints them (pyjson.h): parse, convert, look up, print. */
#include "tokenizer/pyjson.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

static mo_status nomem(mo_error *err) { return mo_fail(err, MO_E_NOMEM, "no memory for a JSON value"); }

/* ---- floats ---- */

/* The fewest digits that read back as x, then Python's layout: an exponent below 1e-4 and from 1e16 on. The conversions
 * use no decimal point, which a locale may have made a comma. */
void py_put_repr(double x, buf *out)
{
    char e[48], digit[24], back[40];
    int n = 0, exp10, prec;

    if (isnan(x) || isinf(x)) {
        buf_puts(out, isnan(x) ? "NaN" : x < 0 ? "-Infinity" : "Infinity");
        return;
    }
    if (signbit(x)) buf_puts(out, "-");
    x = fabs(x);
    for (prec = 0; prec < 17; prec++) {
        const char *p;
        snprintf(e, sizeof e, "%.*e", prec, x);
        for (n = 0, p = e; *p && *p != 'e'; p++)
            if (*p >= '0' && *p <= '9' && n < 20) digit[n++] = *p;
        digit[n] = 0;
        exp10 = atoi(p + 1);
        snprintf(back, sizeof back, "%se%d", digit, exp10 - (n - 1));
        if (strtod(back, NULL) == x) break;
    }
    while (n > 1 && digit[n - 1] == '0') digit[--n] = 0;
    if (exp10 < -4 || exp10 >= 16) {
        buf_put(out, digit, 1);
        if (n > 1) buf_printf(out, ".%s", digit + 1);
        buf_printf(out, "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10));
    } else if (exp10 < 0) {
        buf_puts(out, "0.");
        for (int k = -1; k > exp10; k--) buf_puts(out, "0");
        buf_puts(out, digit);
    } else {
        for (int k = 0; k <= exp10; k++) buf_put(out, k < n ? &digit[k] : "0", 1);
        buf_printf(out, ".%s", n > exp10 + 1 ? digit + exp10 + 1 : "0");
    }
}

/* ---- trees ---- */

static void clear(py_value *v)
{
    for (size_t i = 0; i < v->n_child; i++) clear(&v->child[i]);
    mo_free(v->child);
    mo_free(v->key);
    mo_free(v->text);
}

void py_free(py_value *v)
{
    if (!v) return;
    clear(v);
    mo_free(v);
}

/* A new last child, zeroed; NULL when memory is short. */
static py_value *add_child(py_value *v)
{
    if (v->n_child == v->cap_child) {
        size_t cap = v->cap_child ? v->cap_child * 2 : 4, bytes;
        py_value *p;
        if (!mo_size_mul(cap, sizeof *p, &bytes) || !(p = mo_realloc(v->child, bytes))) return NULL;
        v->child = p;
        v->cap_child = cap;
    }
    memset(&v->child[v->n_child], 0, sizeof *v->child);
    return &v->child[v->n_child++];
}

static mo_status set_text(py_value *v, py_kind kind, const char *s, size_t n, mo_error *err)
{
    v->kind = kind;
    v->n_text = n;
    return (v->text = mo_strndup(n ? s : "", n)) ? MO_OK : nomem(err);
}

static mo_status set_float(py_value *v, double x, mo_error *err)
{
    buf b = { 0 };
    mo_status st;

    py_put_repr(x, &b);
    st = b.failed ? nomem(err) : set_text(v, PY_NUMBER, b.data, b.len, err);
    buf_free(&b);
    return st;
}

static int by_key(const void *a, const void *b)
{
    const py_value *x = *(const py_value *const *)a, *y = *(const py_value *const *)b;
    size_t n = x->n_key < y->n_key ? x->n_key : y->n_key;
    int c = memcmp(x->key, y->key, n);

    if (c) return c;
    if (x->n_key != y->n_key) return x->n_key < y->n_key ? -1 : 1;
    return x < y ? -1 : x > y; /* the order they came in */
}

/* A repeated key's last value moves to its first place, as in a Python dict. Sorted, not searched: a hostile object may
 * have a million keys. */
static mo_status unify_keys(py_value *v, mo_error *err)
{
    size_t n = v->n_child, kept = 0;
    py_value **p;
    bool repeated = false;

    if (n < 2) return MO_OK;
    if (!(p = mo_calloc(n, sizeof *p))) return nomem(err);
    for (size_t i = 0; i < n; i++) p[i] = &v->child[i];
    qsort(p, n, sizeof(py_value *), by_key);
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && p[k]->n_key == p[i]->n_key && !memcmp(p[k]->key, p[i]->key, p[i]->n_key); k++) {
        }
        if (k == i + 1) continue;
        repeated = true;
        py_value first = *p[i];
        *p[i] = *p[k - 1];
        *p[k - 1] = first;
        for (size_t d = i + 1; d < k; d++) { /* now dead: emptied, and taken out below */
            clear(p[d]);
            memset(p[d], 0, sizeof *p[d]);
        }
    }
    mo_free(p);
    for (size_t i = 0; repeated && i < n; i++)
        if (v->child[i].key) v->child[kept++] = v->child[i];
    if (repeated) v->n_child = kept;
    return MO_OK;
}

static mo_status parse_value(json_scan *j, py_value *v, int depth, buf *tmp, mo_error *err);

/* After the opening bracket, up to and with the closing one. */
static mo_status parse_members(json_scan *j, py_value *v, char close, int depth, buf *tmp, mo_error *err)
{
    mo_status st;
    py_value *c;

    if (depth >= PY_DEPTH_LIMIT) return mo_fail(err, MO_E_LIMIT, "JSON: nested deeper than %d", PY_DEPTH_LIMIT);
    if (json_take(j, close)) return MO_OK;
    do {
        if (!(c = add_child(v))) return nomem(err);
        if (v->kind == PY_DICT) {
            if ((st = json_take_string(j, tmp, err)) != MO_OK) return st;
            c->n_key = tmp->len;
            if (!(c->key = mo_strndup(tmp->len ? tmp->data : "", tmp->len))) return nomem(err);
            if (!json_take(j, ':')) return mo_fail(err, MO_E_FORMAT, "JSON: no ':' after a key at byte %zu", j->i);
        }
        if ((st = parse_value(j, c, depth + 1, tmp, err)) != MO_OK) return st;
    } while (json_take(j, ','));
    if (!json_take(j, close)) return mo_fail(err, MO_E_FORMAT, "JSON: no ',' or '%c' at byte %zu", close, j->i);
    return v->kind == PY_DICT ? unify_keys(v, err) : MO_OK;
}

static bool take_word(json_scan *j, const char *word)
{
    size_t n = strlen(word);

    if (j->n - j->i < n || memcmp(j->s + j->i, word, n)) return false;
    j->i += n;
    return true;
}

/* strtod reads this locale's point, so a number with a fraction goes in as digits and an exponent. `text` follows the
 * grammar and need not end in NUL. */
static mo_status parse_float(py_value *v, const char *text, size_t n, buf *tmp, mo_error *err)
{
    long exp10 = 0, given = 0;
    bool after = false, is_negative = false;
    size_t i = 0;

    buf_clear(tmp);
    for (; i < n && text[i] != 'e' && text[i] != 'E'; i++) {
        if (text[i] == '.') {
            after = true;
            continue;
        }
        buf_put(tmp, text + i, 1);
        if (after) exp10--;
    }
    for (i++; i < n; i++) {
        if (text[i] == '-') is_negative = true;
        if (text[i] >= '0' && text[i] <= '9' && given < 100000000) given = given * 10 + (text[i] - '0');
    }
    buf_printf(tmp, "e%ld", exp10 + (is_negative ? -given : given));
    return tmp->failed ? nomem(err) : set_float(v, strtod(tmp->data, NULL), err);
}

static mo_status parse_value(json_scan *j, py_value *v, int depth, buf *tmp, mo_error *err)
{
    const char *text;
    bool is_int;
    mo_status st;
    size_t n;

    json_skip_space(j);
    if (json_take(j, '{')) {
        v->kind = PY_DICT;
        return parse_members(j, v, '}', depth, tmp, err);
    }
    if (json_take(j, '[')) {
        v->kind = PY_LIST;
        return parse_members(j, v, ']', depth, tmp, err);
    }
    if (j->i < j->n && j->s[j->i] == '"')
        return (st = json_take_string(j, tmp, err)) != MO_OK ? st : set_text(v, PY_STRING, tmp->data, tmp->len, err);
    v->kind = PY_NULL;
    if (take_word(j, "null")) return MO_OK;
    v->kind = PY_TRUE;
    if (take_word(j, "true")) return MO_OK;
    v->kind = PY_FALSE;
    if (take_word(j, "false")) return MO_OK;
    if ((st = json_take_number(j, &text, &n, &is_int, err)) != MO_OK) return st;
    if (is_int && n == 2 && !memcmp(text, "-0", 2)) return set_text(v, PY_NUMBER, "0", 1, err);
    if (is_int) return set_text(v, PY_NUMBER, text, n, err);
    return parse_float(v, text, n, tmp, err);
}

mo_status py_parse(py_value **out, const char *text, size_t n, mo_error *err)
{
    json_scan j = { text, n, 0 };
    buf tmp = { 0 };
    mo_status st;
    py_value *v;

    *out = NULL;
    if (!(v = mo_zalloc(sizeof *v))) return nomem(err);
    st = parse_value(&j, v, 0, &tmp, err);
    buf_free(&tmp);
    if (st == MO_OK) {
        json_skip_space(&j);
        if (j.i < n) st = mo_fail(err, MO_E_FORMAT, "JSON: more text after the value at byte %zu", j.i);
    }
    if (st != MO_OK) {
        py_free(v);
        return st;
    }
    *out = v;
    return MO_OK;
}

static mo_status convert(py_value *v, const json_t *j, int depth, mo_error *err)
{
    mo_status st = MO_OK;
    char number[32];
    json_t *member;
    const char *key;
    py_value *c;
    size_t i, n_key;

    if (depth > PY_DEPTH_LIMIT) return mo_fail(err, MO_E_LIMIT, "JSON: nested deeper than %d", PY_DEPTH_LIMIT);
    switch (json_typeof(j)) {
    case JSON_NULL: v->kind = PY_NULL; break;
    case JSON_TRUE: v->kind = PY_TRUE; break;
    case JSON_FALSE: v->kind = PY_FALSE; break;
    case JSON_STRING: return set_text(v, PY_STRING, json_string_value(j), json_string_length(j), err);
    case JSON_REAL: return set_float(v, json_real_value(j), err);
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
        return set_text(v, PY_NUMBER, number, strlen(number), err);
    case JSON_ARRAY:
        v->kind = PY_LIST;
        json_array_foreach(j, i, member) {
            if (!(c = add_child(v))) return nomem(err);
            if ((st = convert(c, member, depth + 1, err)) != MO_OK) return st;
        }
        break;
    case JSON_OBJECT:
        v->kind = PY_DICT;
        for (void *it = json_object_iter((json_t *)(uintptr_t)j); it; it = json_object_iter_next((json_t *)(uintptr_t)j, it)) {
            key = json_object_iter_key(it);
            n_key = json_object_iter_key_len(it);
            if (!(c = add_child(v)) || !(c->key = mo_strndup(key, n_key))) return nomem(err);
            c->n_key = n_key;
            if ((st = convert(c, json_object_iter_value(it), depth + 1, err)) != MO_OK) return st;
        }
        break;
    }
    return MO_OK;
}

mo_status py_from_json(py_value **out, const json_t *j, mo_error *err)
{
    py_value *v;
    mo_status st;

    *out = NULL;
    if (!j) return mo_fail(err, MO_E_ARG, "no JSON value");
    if (!(v = mo_zalloc(sizeof *v))) return nomem(err);
    if ((st = convert(v, j, 0, err)) != MO_OK) {
        py_free(v);
        return st;
    }
    *out = v;
    return MO_OK;
}

const py_value *py_get(const py_value *v, const char *key)
{
    size_t n = strlen(key);

    if (!v || v->kind != PY_DICT) return NULL;
    for (size_t i = 0; i < v->n_child; i++)
        if (v->child[i].n_key == n && !memcmp(v->child[i].key, key, n)) return &v->child[i];
    return NULL;
}

const py_value *py_at(const py_value *v, size_t i)
{
    return v && (v->kind == PY_LIST || v->kind == PY_DICT) && i < v->n_child ? &v->child[i] : NULL;
}

bool py_truthy(const py_value *v)
{
    if (!v) return false;
    switch (v->kind) {
    case PY_NULL:
    case PY_FALSE: return false;
    case PY_TRUE: return true;
    case PY_STRING: return v->n_text > 0;
    case PY_LIST:
    case PY_DICT: return v->n_child > 0;
    case PY_NUMBER: break;
    }
    for (const char *p = v->text; *p && *p != 'e'; p++)
        if (*p != '-' && *p != '.' && *p != '0') return true;
    return false;
}

/* ---- printing ---- */

static void put_string(buf *out, const char *s, size_t n)
{
    size_t from = 0;

    buf_puts(out, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_put(out, s + from, i - from);
        from = i + 1;
        switch (c) {
        case '"': buf_puts(out, "\\\""); break;
        case '\\': buf_puts(out, "\\\\"); break;
        case '\n': buf_puts(out, "\\n"); break;
        case '\r': buf_puts(out, "\\r"); break;
        case '\t': buf_puts(out, "\\t"); break;
        case '\b': buf_puts(out, "\\b"); break;
        case '\f': buf_puts(out, "\\f"); break;
        default: buf_printf(out, "\\u%04x", c);
        }
    }
    buf_put(out, s + from, n - from);
    buf_puts(out, "\"");
}

void py_dump(const py_value *v, buf *out)
{
    switch (v->kind) {
    case PY_NULL: buf_puts(out, "null"); break;
    case PY_FALSE: buf_puts(out, "false"); break;
    case PY_TRUE: buf_puts(out, "true"); break;
    case PY_NUMBER: buf_put(out, v->text, v->n_text); break;
    case PY_STRING: put_string(out, v->text, v->n_text); break;
    case PY_LIST:
    case PY_DICT:
        buf_puts(out, v->kind == PY_LIST ? "[" : "{");
        for (size_t i = 0; i < v->n_child; i++) {
            if (i) buf_puts(out, ", ");
            if (v->kind == PY_DICT) {
                put_string(out, v->child[i].key, v->child[i].n_key);
                buf_puts(out, ": ");
            }
            py_dump(&v->child[i], out);
        }
        buf_puts(out, v->kind == PY_LIST ? "]" : "}");
        break;
    }
}
