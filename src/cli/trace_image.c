/* The picture stages of `minicpmo trace`: a case's input through src/media/image.h, everything it makes written down. */
#include "cli/trace_image.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

enum { SCALE_RESOLUTION = 448, PATCH = 14 };

typedef mo_status (*stage_fn)(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err);

static json_t *pair(int32_t a, int32_t b) { return json_pack("[i, i]", a, b); }

static mo_status put_image(trace_out *out, const char *output, const image *im, mo_error *err)
{
    return trace_put_array(out, output, "u1", 3, (const int64_t[]){ im->h, im->w, 3 }, im->rgb, err);
}

static mo_status stage_decode(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    image im;
    mo_status st = trace_image_load(&im, ctx, json_object_get(input, "image"), err);

    if (st == MO_OK) st = trace_put_json(out, "size", pair(im.w, im.h), err);
    if (st == MO_OK) st = put_image(out, "rgb", &im, err);
    image_free(&im);
    return st;
}

static mo_status stage_resize(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const json_t *size = json_object_get(input, "size");
    image im, to = { 0 };
    mo_status st = trace_image_load(&im, ctx, json_object_get(input, "image"), err);

    if (st == MO_OK)
        st = image_resize(&to, &im, (int32_t)json_integer_value(json_array_get(size, 0)),
                          (int32_t)json_integer_value(json_array_get(size, 1)), err);
    if (st == MO_OK) st = put_image(out, "rgb", &to, err);
    image_free(&im);
    image_free(&to);
    return st;
}

static mo_status stage_grid(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const json_t *sizes = json_object_get(input, "sizes"), *size;
    const int32_t max = (int32_t)json_integer_value(json_object_get(input, "max_slice_nums"));
    json_t *grids = json_array();
    size_t i;

    (void)ctx;
    json_array_foreach(sizes, i, size) {
        slice_plan p;

        image_plan_slices(&p, (int32_t)json_integer_value(json_array_get(size, 0)), (int32_t)json_integer_value(json_array_get(size, 1)),
                          max, SCALE_RESOLUTION, PATCH);
        json_array_append_new(grids, json_pack("[i, i, i, i, i, i]", p.cols, p.rows, p.overview_w, p.overview_h, p.refined_w, p.refined_h));
    }
    return trace_put_json(out, "grids", grids, err);
}

static mo_status load_slices(image_slices *s, const trace_ctx *ctx, const json_t *input, mo_error *err)
{
    const json_t *max = json_object_get(input, "max_slice_nums");
    image im;
    mo_status st = trace_image_load(&im, ctx, json_object_get(input, "image"), err);

    memset(s, 0, sizeof *s);
    if (st == MO_OK) st = image_slice(s, &im, max ? (int32_t)json_integer_value(max) : 9, SCALE_RESOLUTION, PATCH, err);
    image_free(&im);
    return st;
}

static mo_status put_tgt_sizes(trace_out *out, const image_slices *s, mo_error *err)
{
    json_t *list = json_array();

    for (int32_t i = 0; i < s->n_tile; i++) json_array_append_new(list, pair(s->tile[i].h / PATCH, s->tile[i].w / PATCH));
    return trace_put_json(out, "tgt_sizes", list, err);
}

static mo_status put_tiles(trace_out *out, const image_slices *s, mo_error *err)
{
    mo_status st = MO_OK;

    for (int32_t i = 0; st == MO_OK && i < s->n_tile; i++) {
        char name[24];

        snprintf(name, sizeof name, "tile%d", i);
        st = put_image(out, name, &s->tile[i], err);
    }
    return st;
}

static mo_status stage_slices(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    image_slices s;
    json_t *sizes = json_array();
    mo_status st = load_slices(&s, ctx, input, err);

    for (int32_t i = 0; i < s.n_tile; i++) json_array_append_new(sizes, pair(s.tile[i].w, s.tile[i].h));
    if (st == MO_OK) st = trace_put_json(out, "grid", s.cols ? pair(s.cols, s.rows) : json_null(), err);
    if (st == MO_OK) st = trace_put_json(out, "sizes", json_incref(sizes), err);
    if (st == MO_OK) st = put_tgt_sizes(out, &s, err);
    if (st == MO_OK && json_is_true(json_object_get(input, "use_image_id"))) st = put_tiles(out, &s, err);
    json_decref(sizes);
    image_slices_free(&s);
    return st;
}

/* Patches [L][3][14][14] as the official transport layout [3][14][14 * L]: patch k is columns 14k ... 14k + 13. */
static void to_strip(float *dst, const float *src, size_t n_patch)
{
    for (size_t k = 0; k < n_patch; k++)
        for (size_t row = 0; row < 3 * PATCH; row++, src += PATCH) memcpy(dst + (row * n_patch + k) * PATCH, src, PATCH * sizeof *src);
}

/* The same, transposed: row 14k + x holds column x of patch k, 42 values (channel, y). */
static void to_columns(float *dst, const float *src, size_t n_patch)
{
    for (size_t k = 0; k < n_patch; k++)
        for (size_t row = 0; row < 3 * PATCH; row++)
            for (size_t x = 0; x < PATCH; x++) dst[(k * PATCH + x) * 3 * PATCH + row] = *src++;
}

static mo_status put_pixels(trace_out *out, const image *tile, int32_t i, mo_error *err)
{
    const int64_t n_patch = (int64_t)(tile->h / PATCH) * (tile->w / PATCH);
    const size_t n = (size_t)n_patch * 3 * PATCH * PATCH;
    float *patches = mo_calloc(n, sizeof *patches), *laid = mo_calloc(n, sizeof *laid);
    mo_status st = MO_E_NOMEM;
    char name[24];

    if (!patches || !laid) {
        mo_fail(err, st, "no memory for a tile's pixels");
        goto done;
    }
    image_patches(patches, tile, PATCH);
    to_strip(laid, patches, (size_t)n_patch);
    snprintf(name, sizeof name, "pixels%d", i);
    if ((st = trace_put_array(out, name, "f4", 3, (const int64_t[]){ 3, PATCH, PATCH * n_patch }, laid, err)) != MO_OK || i) goto done;
    to_columns(laid, patches, (size_t)n_patch);
    st = trace_put_array(out, "columns", "f4", 2, (const int64_t[]){ PATCH * n_patch, 3 * PATCH }, laid, err);
done:
    mo_free(patches);
    mo_free(laid);
    return st;
}

static mo_status stage_pixels(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    image_slices s;
    mo_status st = load_slices(&s, ctx, input, err);

    if (st == MO_OK) st = put_tgt_sizes(out, &s, err);
    for (int32_t i = 0; st == MO_OK && i < s.n_tile; i++) st = put_pixels(out, &s.tile[i], i, err);
    image_slices_free(&s);
    return st;
}

static mo_status stage_stack(const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    json_t *spec = json_pack("{s: O}", "stack", json_object_get(input, "images"));
    image im = { 0 };
    mo_status st = spec ? trace_image_load(&im, ctx, spec, err) : mo_fail(err, MO_E_FORMAT, "stage stack needs `images`");

    if (st == MO_OK) st = trace_put_json(out, "size", pair(im.w, im.h), err);
    if (st == MO_OK) st = put_image(out, "rgb", &im, err);
    json_decref(spec);
    image_free(&im);
    return st;
}

static stage_fn find_stage(const char *stage)
{
    static const struct {
        const char *name;
        stage_fn fn;
    } all[] = { { "decode", stage_decode }, { "resize", stage_resize }, { "grid", stage_grid },
                { "slices", stage_slices }, { "pixels", stage_pixels }, { "stack", stage_stack } };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, stage)) return all[i].fn;
    return NULL;
}

bool trace_image_has_stage(const char *stage) { return find_stage(stage) != NULL; }

mo_status trace_image_stage(const char *stage, const trace_ctx *ctx, const json_t *input, trace_out *out, mo_error *err)
{
    const stage_fn fn = find_stage(stage);

    return fn ? fn(ctx, input, out, err) : mo_fail(err, MO_E_ARG, "stage %s is not one of pictures", stage);
}
