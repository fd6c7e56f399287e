/* JSON printed as Python prints it, which is what chat templates put into prompts.
 *
 * json.dumps(json.loads(text), ensure_ascii=False): ", " and ": " between, keys in order (a repeated key keeps its first
 * place and its last value), integers of any length as they are, floats as repr() ("1.0", "1e-07"), only '"', '\' and
 * U+0000..001F escaped. Jansson cannot hold integers beyond 64 bits, so text is parsed here into a tree of our own;
 * json_t values convert into it too.
 */
#ifndef MO_TOKENIZER_PYJSON_H
#define MO_TOKENIZER_PYJSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/status.h"

typedef enum py_kind { PY_NULL, PY_FALSE, PY_TRUE, PY_NUMBER, PY_STRING, PY_LIST, PY_DICT } py_kind;

typedef struct py_value {
    py_kind kind;
    char *key; /* in a dict: this member's name */
    size_t n_key;
    char *text; /* string: its characters; number: as Python prints it */
    size_t n_text;
    struct py_value *child; /* [n_child] items or members */
    size_t n_child, cap_child;
} py_value;

#define PY_DEPTH_LIMIT 256 /* lists and dicts inside each other */

mo_status py_parse(py_value **out, const char *text, size_t n, mo_error *err);
mo_status py_from_json(py_value **out, const json_t *v, mo_error *err);
void py_free(py_value *v); /* accepts NULL */

/* A dict's member, a list's item; NULL if v is NULL, no such kind, or there is none. */
const py_value *py_get(const py_value *v, const char *key);
const py_value *py_at(const py_value *v, size_t i);
bool py_truthy(const py_value *v); /* bool(v); false for NULL */

void py_dump(const py_value *v, buf *out);
void py_put_repr(double x, buf *out); /* repr(float) */

/* The scanner below the parser, also used for files too large to want a tree of. */
typedef struct json_scan {
    const char *s;
    size_t n, i;
} json_scan;

void json_skip_space(json_scan *j);
bool json_take(json_scan *j, char c); /* skip space; take c if it is next */
/* After space, a string: its characters replace out's. Escapes are resolved; lone surrogates and bare controls are errors. */
mo_status json_take_string(json_scan *j, buf *out, mo_error *err);
/* After space, a number's own text, which must follow the grammar. *is_int: neither fraction nor exponent. */
mo_status json_take_number(json_scan *j, const char **text, size_t *n, bool *is_int, mo_error *err);

#endif
