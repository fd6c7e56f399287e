/* Scanning JSON text: white space, strings, numbers (pyjson.h). RFC 8259, nothing more lenient. */
#include <string.h>

#include "tokenizer/pyjson.h"
#include "tokenizer/unicode.h"

static mo_status bad(const json_scan *j, mo_error *err, const char *what)
{
    return mo_fail(err, MO_E_FORMAT, "JSON: %s at byte %zu", what, j->i);
}

void json_skip_space(json_scan *j)
{
    while (j->i < j->n && (j->s[j->i] == ' ' || j->s[j->i] == '\n' || j->s[j->i] == '\t' || j->s[j->i] == '\r')) j->i++;
}

bool json_take(json_scan *j, char c)
{
    json_skip_space(j);
    if (j->i >= j->n || j->s[j->i] != c) return false;
    j->i++;
    return true;
}

/* Four hex digits at the cursor; -1 if there are none. */
static int hex4(json_scan *j)
{
    int v = 0;

    if (j->n - j->i < 4) return -1;
    for (int k = 0; k < 4; k++) {
        char c = j->s[j->i + (size_t)k];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    j->i += 4;
    return v;
}

static mo_status take_escape(json_scan *j, buf *out, mo_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *p;
    int hi, lo;

    if (j->i >= j->n) return bad(j, err, "string without end");
    char c = j->s[j->i++];
    if (c != 'u') {
        if (!c || !(p = strchr(from, c))) return bad(j, err, "unknown escape");
        buf_put(out, &to[p - from], 1);
        return MO_OK;
    }
    if ((hi = hex4(j)) < 0) return bad(j, err, "\\u without four hex digits");
    if (hi >= 0xd800 && hi < 0xe000) {
        if (hi >= 0xdc00 || j->n - j->i < 2 || j->s[j->i] != '\\' || j->s[j->i + 1] != 'u') return bad(j, err, "half a surrogate pair");
        j->i += 2;
        if ((lo = hex4(j)) < 0xdc00 || lo > 0xdfff) return bad(j, err, "half a surrogate pair");
        hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
    }
    utf8_put(out, (uint32_t)hi);
    return MO_OK;
}

mo_status json_take_string(json_scan *j, buf *out, mo_error *err)
{
    mo_status st = MO_OK;

    buf_clear(out);
    if (!json_take(j, '"')) return bad(j, err, "no string");
    while (st == MO_OK) {
        size_t from = j->i;
        while (j->i < j->n && j->s[j->i] != '"' && j->s[j->i] != '\\' && (unsigned char)j->s[j->i] >= 0x20) j->i++;
        if (j->i > from) {
            if (!utf8_is_valid(j->s + from, j->i - from)) return bad(j, err, "string that is not UTF-8");
            buf_put(out, j->s + from, j->i - from);
        }
        if (j->i >= j->n) return bad(j, err, "string without end");
        if ((unsigned char)j->s[j->i] < 0x20) return bad(j, err, "control character in a string");
        if (j->s[j->i++] == '"') break;
        st = take_escape(j, out, err);
    }
    if (st == MO_OK && out->failed) return mo_fail(err, MO_E_NOMEM, "no memory for a JSON string");
    return st;
}

static bool digits(json_scan *j)
{
    size_t from = j->i;

    while (j->i < j->n && j->s[j->i] >= '0' && j->s[j->i] <= '9') j->i++;
    return j->i > from;
}

mo_status json_take_number(json_scan *j, const char **text, size_t *n, bool *is_int, mo_error *err)
{
    size_t from;

    json_skip_space(j);
    from = j->i;
    if (j->i < j->n && j->s[j->i] == '-') j->i++;
    if (j->i < j->n && j->s[j->i] == '0') j->i++;
    else if (!digits(j)) return bad(j, err, "no value");
    *is_int = true;
    if (j->i < j->n && j->s[j->i] == '.') {
        j->i++;
        *is_int = false;
        if (!digits(j)) return bad(j, err, "number without digits after its point");
    }
    if (j->i < j->n && (j->s[j->i] == 'e' || j->s[j->i] == 'E')) {
        j->i++;
        *is_int = false;
        if (j->i < j->n && (j->s[j->i] == '+' || j->s[j->i] == '-')) j->i++;
        if (!digits(j)) return bad(j, err, "number without digits in its exponent");
    }
    *text = j->s + from;
    *n = j->i - from;
    return MO_OK;
}
