/* A picture as the encoder's tiles: how many and how large, cut, and laid out as patches (vision spec 2 and 4).
 *
 *     picture --resize--> overview, about S x S pixels in area
 *             --resize--> refined --cut--> cols x rows cells, each about S x S in area (only for pictures larger than S x S)
 *
 * S (scale_resolution) is 448; every side is a multiple of the patch. The arithmetic is the official processor's, in
 * doubles with Python's round-half-to-even: a different rounding changes sizes, and with them every pixel.
 */
#include "media/image.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

/* Python's round() is rint() in the default rounding mode. */
static int32_t ensure_divide(double len, int32_t p)
{
    const double n = rint(len / p) * p;

    return n > p ? (int32_t)n : p;
}

static void find_best_resize(int32_t out[2], double w, double h, int32_t s, int32_t patch, bool allow_upscale)
{
    if (w * h > (double)s * s || allow_upscale) {
        const double r = w / h;

        h = trunc(s / sqrt(r));
        w = trunc(h * r); /* from the truncated height */
    }
    out[0] = ensure_divide(w, patch);
    out[1] = ensure_divide(h, patch);
}

/* The grid [m, n/m] whose shape is nearest in log ratio, of n cells about the picture's area. First met wins ties. */
static void choose_grid(slice_plan *out, int32_t w, int32_t h, int32_t max_slice_nums, int32_t s)
{
    const double log_ratio = log((double)w / h), ratio = (double)w * h / ((double)s * s);
    const int32_t multiple = ceil(ratio) < max_slice_nums ? (int32_t)ceil(ratio) : max_slice_nums;
    double best = INFINITY;

    if (multiple <= 1) return;
    out->cols = out->rows = 1;
    for (int32_t n = multiple - 1; n <= multiple + 1 && n <= max_slice_nums; n++) {
        for (int32_t m = 1; n > 1 && m <= n; m++) {
            const int32_t rows = n / m;
            double e;

            if (m * rows != n) continue;
            e = fabs(log_ratio - log((double)m / rows));
            if (e >= best) continue;
            best = e;
            out->cols = m;
            out->rows = rows;
        }
    }
}

void image_plan_slices(slice_plan *out, int32_t w, int32_t h, int32_t max_slice_nums, int32_t scale_resolution, int32_t patch)
{
    int32_t size[2];

    memset(out, 0, sizeof *out);
    choose_grid(out, w, h, max_slice_nums, scale_resolution);
    find_best_resize(size, w, h, scale_resolution, patch, !out->cols);
    out->overview_w = size[0];
    out->overview_h = size[1];
    if (!out->cols) return;
    find_best_resize(size, ensure_divide(w, out->cols) / (double)out->cols, ensure_divide(h, out->rows) / (double)out->rows,
                     scale_resolution, patch, true);
    out->refined_w = size[0] * out->cols;
    out->refined_h = size[1] * out->rows;
}

/* dst (at x, y) <- src, whole; it must fit. */
static void paste(image *dst, const image *src, int32_t x, int32_t y)
{
    for (int32_t i = 0; i < src->h; i++)
        memcpy(dst->rgb + ((size_t)(y + i) * (size_t)dst->w + (size_t)x) * 3, src->rgb + (size_t)i * (size_t)src->w * 3,
               (size_t)src->w * 3);
}

static mo_status crop(image *out, const image *in, int32_t x, int32_t y, int32_t w, int32_t h, mo_error *err)
{
    mo_status st = image_new(out, w, h, err);

    if (st != MO_OK) return st;
    for (int32_t i = 0; i < h; i++)
        memcpy(out->rgb + (size_t)i * (size_t)w * 3, in->rgb + ((size_t)(y + i) * (size_t)in->w + (size_t)x) * 3, (size_t)w * 3);
    return MO_OK;
}

static mo_status cut_cells(image_slices *out, const image *in, const slice_plan *p, mo_error *err)
{
    const int32_t cell_w = p->refined_w / p->cols, cell_h = p->refined_h / p->rows;
    image refined;
    mo_status st = image_resize(&refined, in, p->refined_w, p->refined_h, err); /* from the original, not the overview */

    for (int32_t i = 0; st == MO_OK && i < p->cols * p->rows; i++)
        st = crop(&out->tile[1 + i], &refined, i % p->cols * cell_w, i / p->cols * cell_h, cell_w, cell_h, err);
    image_free(&refined);
    return st;
}

mo_status image_slice(image_slices *out, const image *in, int32_t max_slice_nums, int32_t scale_resolution, int32_t patch, mo_error *err)
{
    slice_plan p;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (!in->rgb || in->w < 1 || in->h < 1) return mo_fail(err, MO_E_ARG, "no picture to slice");
    if (scale_resolution < 1 || scale_resolution > 1 << 14 || patch < 1 || patch > scale_resolution)
        return mo_fail(err, MO_E_ARG, "cannot slice with scale_resolution %d and patch %d", scale_resolution, patch);
    image_plan_slices(&p, in->w, in->h, max_slice_nums, scale_resolution, patch);
    if (!(out->tile = mo_calloc(1 + (size_t)p.cols * (size_t)p.rows, sizeof *out->tile)))
        return mo_fail(err, MO_E_NOMEM, "no memory for a picture's tiles");
    out->cols = p.cols;
    out->rows = p.rows;
    out->n_tile = 1 + p.cols * p.rows;
    if ((st = image_resize(&out->tile[0], in, p.overview_w, p.overview_h, err)) != MO_OK) goto fail;
    if (p.cols && (st = cut_cells(out, in, &p, err)) != MO_OK) goto fail;
    return MO_OK;
fail:
    image_slices_free(out);
    return st;
}

void image_slices_free(image_slices *s)
{
    for (int32_t i = 0; s->tile && i < s->n_tile; i++) image_free(&s->tile[i]);
    mo_free(s->tile);
    memset(s, 0, sizeof *s);
}

void image_patches(float *dst, const image *tile, int32_t patch)
{
    const size_t stride = (size_t)tile->w * 3, n = (size_t)patch;
    float value[256];

    for (int i = 0; i < 256; i++) value[i] = ((float)i / 255.0f - 0.5f) / 0.5f; /* each step rounded, as the reference's */
    for (int32_t row = 0; row < tile->h / patch; row++)
        for (int32_t col = 0; col < tile->w / patch; col++, dst += 3 * n * n) {
            const uint8_t *src = tile->rgb + (size_t)row * n * stride + (size_t)col * n * 3;

            for (size_t y = 0; y < n; y++, src += stride)
                for (size_t x = 0; x < n; x++)
                    for (size_t c = 0; c < 3; c++) dst[(c * n + y) * n + x] = value[src[3 * x + c]];
        }
}

/* Stacking (vision spec 7.2). */

enum { STACK_GAP = 6 };

static double off_square(int32_t cols, int32_t rows, int32_t cell_w, int32_t cell_h)
{
    const double w = (double)cols * cell_w + (cols - 1) * STACK_GAP, h = (double)rows * cell_h + (rows - 1) * STACK_GAP;

    return fabs(w / h - 1.0);
}

/* A row of cells, or for 2 and 3 a column if that makes the canvas squarer; 4 are 2 x 2. */
static void stack_layout(int32_t *cols, int32_t *rows, const image *const *in, int n, int32_t cell_w, int32_t cell_h)
{
    double side_by_side, above, mean_ratio = 0;

    *cols = n == 4 ? 2 : n;
    *rows = n == 4 ? 2 : 1;
    if (n != 2 && n != 3) return;
    side_by_side = off_square(n, 1, cell_w, cell_h);
    above = off_square(1, n, cell_w, cell_h);
    for (int i = 0; i < n; i++) mean_ratio += (double)in[i]->w / in[i]->h;
    if (above < side_by_side || (n == 2 && above == side_by_side && mean_ratio / n < 1.0)) {
        *cols = 1;
        *rows = n;
    }
}

/* Letterbox `in` on white in the cell at (x, y). */
static mo_status stack_cell(image *out, const image *in, int32_t x, int32_t y, int32_t cell_w, int32_t cell_h, mo_error *err)
{
    const double sx = (double)cell_w / in->w, sy = (double)cell_h / in->h, s = sx < sy ? sx : sy;
    const double w = rint(in->w * s), h = rint(in->h * s);
    const int32_t iw = w < 1 ? 1 : (int32_t)w, ih = h < 1 ? 1 : (int32_t)h;
    image scaled;
    mo_status st;

    for (int32_t i = 0; i < cell_h; i++) memset(out->rgb + ((size_t)(y + i) * (size_t)out->w + (size_t)x) * 3, 255, (size_t)cell_w * 3);
    if ((st = image_resize(&scaled, in, iw, ih, err)) != MO_OK) return st;
    paste(out, &scaled, x + (cell_w - iw) / 2, y + (cell_h - ih) / 2);
    image_free(&scaled);
    return MO_OK;
}

mo_status image_stack(image *out, const image *const *in, int n, mo_error *err)
{
    int32_t cols, rows, cell_w = 1, cell_h = 1;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (n < 1) return mo_fail(err, MO_E_ARG, "no pictures to join");
    for (int i = 0; i < n; i++) {
        if (!in[i] || !in[i]->rgb || in[i]->w < 1 || in[i]->h < 1)
            return mo_fail(err, MO_E_ARG, "picture %d of %d to join is missing", i + 1, n);
        if (in[i]->w > cell_w) cell_w = in[i]->w;
        if (in[i]->h > cell_h) cell_h = in[i]->h;
    }
    stack_layout(&cols, &rows, in, n, cell_w, cell_h);
    st = image_new(out, (int64_t)cols * cell_w + (cols - 1) * (int64_t)STACK_GAP, (int64_t)rows * cell_h + (rows - 1) * (int64_t)STACK_GAP,
                   err);
    for (int i = 0; st == MO_OK && i < n; i++)
        st = stack_cell(out, in[i], i % cols * (cell_w + STACK_GAP), i / cols * (cell_h + STACK_GAP), cell_w, cell_h, err);
    if (st != MO_OK) image_free(out);
    return st;
}
