/* What the traced stages share: outputs into files, pictures and rule-made arrays out of a case's JSON (trace.h). */
#include "cli/trace.h"

#include <stdbool.h>
#include <string.h>

#include "cli/npy.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/cpu.h"
#include "core/file.h"
#include "core/synth.h"

cpu_backend_opts trace_backend_opts(const trace_ctx *ctx)
{
    return (cpu_backend_opts){ .isa_mask = MO_ISA_ALL,
                               .fast = ctx->fast,
                               .int8 = ctx->int8,
                               .int16 = ctx->int16,
                               .exact_quant = !ctx->int8 && !ctx->int16 && !ctx->as_run };
}

mo_status trace_put_array(trace_out *o, const char *output, const char *dtype, int n_dim, const int64_t *dim, const void *data,
                          mo_error *err)
{
    buf path = { 0 };
    mo_status st;

    buf_printf(&path, "%s/%s.%s.npy", o->dir, o->name, output);
    st = path.failed ? mo_fail(err, MO_E_NOMEM, "no memory for a path") : npy_write(path.data, dtype, n_dim, dim, data, err);
    buf_free(&path);
    return st;
}

mo_status trace_put_json(trace_out *o, const char *output, json_t *value, mo_error *err)
{
    return json_object_set_new(o->values, output, value) ? mo_fail(err, MO_E_NOMEM, "no memory for output %s", output) : MO_OK;
}

char *trace_path(const trace_ctx *ctx, const char *name)
{
    const bool is_media = !strncmp(name, "media:", 6);

    return is_media ? path_join(ctx->media_dir, name + 6) : path_join(ctx->part_dir, name);
}

static mo_status load_file(image *out, const trace_ctx *ctx, const char *name, mo_error *err)
{
    char *path = trace_path(ctx, name);
    mo_status st;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    st = image_open(out, path, err);
    mo_free(path);
    return st;
}

/* The test picture of vision spec 3. */
static mo_status make_pattern(image *out, const json_t *size, mo_error *err)
{
    const int64_t w = json_integer_value(json_array_get(size, 0)), h = json_integer_value(json_array_get(size, 1));
    mo_status st = image_new(out, w, h, err);
    uint8_t *p;

    if (st != MO_OK) return st;
    p = out->rgb;
    for (uint32_t y = 0; y < (uint32_t)h; y++)
        for (uint32_t x = 0; x < (uint32_t)w; x++, p += 3) {
            p[0] = (uint8_t)(7 * x + 13 * y);
            p[1] = (uint8_t)(x * x + 3 * y);
            p[2] = (uint8_t)(5 * (x ^ y));
        }
    return MO_OK;
}

static mo_status load_stack(image *out, const trace_ctx *ctx, const json_t *list, mo_error *err)
{
    const size_t n = json_array_size(list);
    image *part = mo_calloc(n, sizeof *part);
    const image **in = mo_calloc(n, sizeof(const image *));
    mo_status st = MO_OK;

    if (!part || !in) {
        mo_fail(err, st = MO_E_NOMEM, "no memory for pictures");
        goto done;
    }
    for (size_t i = 0; st == MO_OK && i < n; i++) {
        in[i] = &part[i];
        st = trace_image_load(&part[i], ctx, json_array_get(list, i), err);
    }
    if (st == MO_OK) st = image_stack(out, in, (int)n, err);
done:
    for (size_t i = 0; part && i < n; i++) image_free(&part[i]);
    mo_free(part);
    mo_free(in);
    return st;
}

mo_status trace_image_load(image *out, const trace_ctx *ctx, const json_t *image_spec, mo_error *err)
{
    const json_t *v;

    memset(out, 0, sizeof *out);
    if (json_is_string(image_spec)) return load_file(out, ctx, json_string_value(image_spec), err);
    if ((v = json_object_get(image_spec, "pattern"))) return make_pattern(out, v, err);
    if ((v = json_object_get(image_spec, "stack"))) return load_stack(out, ctx, v, err);
    return mo_fail(err, MO_E_FORMAT, "a picture is a file name, a pattern or a stack");
}

mo_status trace_synth_array(float **out, size_t *n, const json_t *spec, mo_error *err)
{
    const json_t *synth = json_object_get(spec, "synth"), *shape = json_array_get(synth, 1), *amp = json_object_get(spec, "amp");
    const char *name = json_string_value(json_array_get(synth, 0));
    const float scale = amp ? (float)json_number_value(amp) : 1.0f;
    uint64_t key;

    *out = NULL;
    *n = 1;
    if (!name || !json_is_array(shape)) return mo_fail(err, MO_E_FORMAT, "a rule-made array is {\"synth\": [NAME, SHAPE], \"amp\": A}");
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_int_t d = json_integer_value(json_array_get(shape, i));

        if (d < 0 || !mo_size_mul(*n, (size_t)d, n))
            return mo_fail(err, MO_E_FORMAT, "array %s: a dimension is negative or too large", name);
    }
    if (!(*out = mo_calloc(*n, sizeof **out))) return mo_fail(err, MO_E_NOMEM, "no memory for array %s", name);
    key = synth_key(name, 0);
    for (size_t i = 0; i < *n; i++) (*out)[i] = scale * synth_x(key, i);
    return MO_OK;
}
