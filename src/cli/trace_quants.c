/* Golden stages `dequantize` and `quantize`: element types by themselves, no model (../shared/golden/quants/README.md).
 *
 *     dequantize  blocks [n, bytes], or every 16-bit pattern but NaN  ->  values [n, elements], first (its first four rows)
 *     quantize    values [n, elements]                                ->  bytes [n, bytes of a row]
 */
#include "cli/trace_quants.h"

#include <string.h>

#include "cli/npy.h"
#include "core/alloc.h"
#include "core/dtype.h"

enum { FIRST_ROWS = 4 };

static mo_status type_of(const json_t *input, int32_t *type, mo_error *err)
{
    const char *name = json_string_value(json_object_get(input, "type"));

    *type = name ? dtype_by_name(name) : -1;
    return *type >= 0 ? MO_OK : mo_fail(err, MO_E_UNSUPPORTED, "this build has no element type '%s'", name ? name : "");
}

static mo_status read_array(npy_array *a, const trace_ctx *ctx, const json_t *name, const char *dtype, mo_error *err)
{
    char *path = json_is_string(name) ? trace_path(ctx, json_string_value(name)) : NULL;
    mo_status st = path ? npy_read(a, path, err) : mo_fail(err, MO_E_FORMAT, "the case names no input array");

    if (st == MO_OK && (strcmp(a->dtype, dtype) || a->n_dim != 2)) st = mo_fail(err, MO_E_FORMAT, "'%s' is no matrix of %s", path, dtype);
    mo_free(path);
    return st;
}

static mo_status put_values(trace_out *out, const float *v, int64_t n_row, int64_t n_col, mo_error *err)
{
    int64_t dim[2] = { n_row, n_col };
    mo_status st = trace_put_array(out, "values", "f4", 2, dim, v, err);

    dim[0] = n_row < FIRST_ROWS ? n_row : FIRST_ROWS;
    return st == MO_OK ? trace_put_array(out, "first", "f4", 2, dim, v, err) : st;
}

/* 0, 1, … 65535 as f16 or bf16, those that mean NaN left out. */
static mo_status run_patterns(int32_t type, trace_out *out, mo_error *err)
{
    float *v = mo_calloc(65536, sizeof *v);
    int64_t n = 0;
    mo_status st;

    if (!v) return mo_fail(err, MO_E_NOMEM, "no memory for 65536 values");
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t h = (uint16_t)i;
        dtype_to_f32(v + n, &h, type, 1);
        n += v[n] == v[n];
    }
    st = put_values(out, v, n, 1, err);
    mo_free(v);
    return st;
}

static mo_status run_dequantize(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    npy_array a = { 0 };
    const dtype_info *d;
    float *v = NULL;
    int32_t type;
    mo_status st;

    if ((st = type_of(input, &type, err)) != MO_OK) return st;
    if (json_object_get(input, "patterns")) return run_patterns(type, out, err);
    d = dtype_get(type);
    if ((st = read_array(&a, ctx, json_object_get(input, "blocks"), "u1", err)) != MO_OK) goto done;
    if (a.dim[1] != d->block_bytes)
        st = mo_fail(err, MO_E_FORMAT, "blocks of %lld bytes, %s has %d", (long long)a.dim[1], d->name, d->block_bytes);
    else if (!(v = mo_calloc((size_t)a.dim[0] * (size_t)d->n_block, sizeof *v))) st = mo_fail(err, MO_E_NOMEM, "no memory for the values");
    if (st != MO_OK) goto done;
    dtype_to_f32(v, a.data, type, a.dim[0] * d->n_block);
    st = put_values(out, v, a.dim[0], d->n_block, err);
done:
    mo_free(v);
    npy_free(&a);
    return st;
}

static mo_status run_quantize(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    npy_array a = { 0 };
    uint8_t *bytes = NULL;
    int32_t type;
    mo_status st;

    if ((st = type_of(input, &type, err)) != MO_OK) return st;
    if ((st = read_array(&a, ctx, json_object_get(input, "values"), "f4", err)) == MO_OK) {
        const int64_t dim[2] = { a.dim[0], (int64_t)dtype_row_bytes(type, a.dim[1]) };
        if (!(bytes = mo_calloc((size_t)dim[0] + 1, (size_t)dim[1] + 1))) st = mo_fail(err, MO_E_NOMEM, "no memory for the bytes");
        else if (!dtype_from_f32(bytes, a.data, type, a.dim[0], a.dim[1], NULL))
            st = mo_fail(err, MO_E_UNSUPPORTED, "rows of %lld cannot be written as %s", (long long)a.dim[1], dtype_get(type)->name);
        else st = trace_put_array(out, "bytes", "u1", 2, dim, bytes, err);
    }
    mo_free(bytes);
    npy_free(&a);
    return st;
}

mo_status trace_quants_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, bool *known, mo_error *err)
{
    const bool encode = !strcmp(stage, "quantize");

    *known = encode || !strcmp(stage, "dequantize");
    if (!*known) return MO_OK;
    return encode ? run_quantize(ctx, input, out, err) : run_dequantize(ctx, input, out, err);
}
