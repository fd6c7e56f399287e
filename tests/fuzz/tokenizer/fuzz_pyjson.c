/* The JSON re-printer: what it prints it reads again, and prints the same. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/pyjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    py_value *v, *w;
    buf a = { 0 }, b = { 0 };
    mo_error err;

    if (py_parse(&v, (const char *)data, n, &err) != MO_OK) return 0;
    py_dump(v, &a);
    py_truthy(v);
    py_get(v, "a");
    if (!strstr(a.data, "Infinity")) { /* a float too large: Python prints what JSON cannot say */
        if (py_parse(&w, a.data, a.len, &err) != MO_OK) abort();
        py_dump(w, &b);
        if (a.len != b.len || memcmp(a.data, b.data, a.len)) abort();
        py_free(w);
    }
    py_free(v);
    buf_free(&a);
    buf_free(&b);
    return 0;
}
