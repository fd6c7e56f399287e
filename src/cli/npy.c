/* .npy files, format version 1.0 (numpy.lib.format): magic, version, header length, a Python dictionary as text padded to
 * 64 bytes, then the elements. The header we read is matched key by key, not evaluated. */
#include "cli/npy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"

#define NPY_MAGIC    "\x93NUMPY"
#define NPY_FILE_MAX ((size_t)1 << 32)

static size_t dtype_size(const char *dtype)
{
    if (!strcmp(dtype, "f4") || !strcmp(dtype, "i4")) return 4;
    return strcmp(dtype, "u1") ? 0 : 1;
}

static bool element_count(size_t *n, int n_dim, const int64_t *dim)
{
    *n = 1;
    for (int i = 0; i < n_dim; i++)
        if (dim[i] < 0 || !mo_size_mul(*n, (size_t)dim[i], n)) return false;
    return true;
}

/* "(2, 3)", "(2,)", "()": Python's tuples. */
static void format_shape(char *out, size_t size, int n_dim, const int64_t *dim)
{
    size_t at = (size_t)snprintf(out, size, "(");

    for (int i = 0; i < n_dim; i++) at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(out + at, size - at, n_dim == 1 ? ",)" : ")");
}

mo_status npy_write(const char *path, const char *dtype, int n_dim, const int64_t *dim, const void *data, mo_error *err)
{
    const size_t size = dtype_size(dtype);
    char shape[NPY_DIM_MAX * 24], text[512];
    uint8_t head[10] = NPY_MAGIC "\x01";
    size_t n, n_text;
    FILE *f;

    if (!size || n_dim < 0 || n_dim > NPY_DIM_MAX || !element_count(&n, n_dim, dim) || !mo_size_mul(n, size, &n_text))
        return mo_fail(err, MO_E_ARG, "%s: cannot write %d dimensions of type %s", path, n_dim, dtype);
    format_shape(shape, sizeof shape, n_dim, dim);
    n_text = (size_t)snprintf(text, sizeof text, "{'descr': '%s%s', 'fortran_order': False, 'shape': %s, }", size == 1 ? "|" : "<", dtype,
                              shape);
    while ((10 + n_text + 1) % 64) text[n_text++] = ' ';
    text[n_text++] = '\n';
    head[8] = (uint8_t)(n_text & 255);
    head[9] = (uint8_t)(n_text >> 8);

    if (!(f = fopen(path, "wb"))) return mo_fail(err, MO_E_IO, "%s: %s", path, strerror(errno));
    fwrite(head, 1, sizeof head, f);
    fwrite(text, 1, n_text, f);
    if (n) fwrite(data, size, n, f);
    if (ferror(f) | fclose(f)) return mo_fail(err, MO_E_IO, "%s: could not be written", path);
    return MO_OK;
}

static bool parse_shape(npy_array *a, const char *text)
{
    const char *p = strstr(text, "'shape': (");

    if (!p) return false;
    for (p += strlen("'shape': ("); *p != ')';) {
        char *end;
        const long long v = strtoll(p, &end, 10);

        if (end == p || v < 0 || a->n_dim == NPY_DIM_MAX) return false;
        a->dim[a->n_dim++] = v;
        for (p = end; *p == ',' || *p == ' '; p++) {
        }
    }
    return element_count(&a->n, a->n_dim, a->dim);
}

static bool parse_dtype(npy_array *a, const char *text)
{
    const char *p = strstr(text, "'descr': '");

    if (!p || !strstr(text, "'fortran_order': False")) return false;
    p += strlen("'descr': '");
    if ((*p != '<' && *p != '|') || strlen(p) < 4 || p[3] != '\'') return false;
    memcpy(a->dtype, p + 1, 2);
    return dtype_size(a->dtype) != 0;
}

mo_status npy_read(npy_array *out, const char *path, mo_error *err)
{
    char *file = NULL, *text = NULL;
    const uint8_t *p;
    size_t n_file, at, n_text, n_byte;
    mo_status st;

    memset(out, 0, sizeof *out);
    if ((st = file_read(&file, &n_file, path, NPY_FILE_MAX, err)) != MO_OK) return st;
    p = (const uint8_t *)file;
    if (n_file < 12 || memcmp(p, NPY_MAGIC, 6) != 0 || p[6] < 1 || p[6] > 3) goto broken;
    at = p[6] == 1 ? 10 : 12;
    n_text = p[8] | (size_t)p[9] << 8 | (p[6] == 1 ? 0 : (size_t)p[10] << 16 | (size_t)p[11] << 24);
    if (n_text > n_file - at) goto broken;
    if (!(text = mo_strndup(file + at, n_text))) goto nomem;
    if (!parse_dtype(out, text) || !parse_shape(out, text) || !mo_size_mul(out->n, dtype_size(out->dtype), &n_byte)) goto broken;
    if (n_byte != n_file - at - n_text) goto broken;
    if (!(out->data = mo_malloc(n_byte))) goto nomem;
    memcpy(out->data, file + at + n_text, n_byte);
    mo_free(text);
    mo_free(file);
    return MO_OK;
broken:
    st = mo_fail(err, MO_E_FORMAT, "%s: not an .npy file of float32, int32 or uint8 in C order", path);
    goto fail;
nomem:
    st = mo_fail(err, MO_E_NOMEM, "%s: no memory for the array", path);
fail:
    mo_free(text);
    mo_free(file);
    npy_free(out);
    return st;
}

void npy_free(npy_array *a)
{
    mo_free(a->data);
    memset(a, 0, sizeof *a);
}
