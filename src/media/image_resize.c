/* Bicubic resizing, bit-equal to Pillow's (src/libImaging/Resample.c; vision spec 3).
 *
 *     RGB [h, w] --horizontal pass--> RGB [h, W] --vertical pass--> RGB [H, W]
 *
 * Each pass is a weighted sum of source pixels per output pixel, the kernel widened when shrinking (antialias), weights in
 * 2^-22 steps, the sum in int32, the result rounded to 8 bits: so the order of the passes is part of the answer. Sums of
 * integers may be done in any order, and both loops below are shaped for the compiler's vectors:
 * the horizontal pass works on eight rows at once, turned so that the rows are the lanes; the vertical pass on a strip of columns.
 */
#include "media/image.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

enum {
    PRECISION_BITS = 32 - 8 - 2, /* 8 for a pixel, 2 for overshoot */
    N_ROW = 8,                   /* rows a step of the horizontal pass */
    N_LANE = 3 * N_ROW,          /* a pixel of all these rows */
    N_COLUMN = 32                /* bytes a step of the vertical pass */
};

/* The weights of one axis: output i is the sum over j < count[i] of k[i * n_tap + j] * source[start[i] + j]. */
typedef struct weights {
    int32_t n_out, n_tap;
    int32_t *start, *count; /* [n_out] */
    int32_t *k;             /* [n_out, n_tap] fixed point */
} weights;

static double bicubic(double x) /* Keys, a = -0.5 */
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static void weights_free(weights *w)
{
    mo_free(w->start);
    mo_free(w->count);
    mo_free(w->k);
    memset(w, 0, sizeof *w);
}

/* Row i of the table. `tap` is scratch [n_tap]. The order of these double operations is Pillow's. */
static void weights_row(weights *w, int32_t i, int32_t n_in, double scale, double filter_scale, double support, double *tap)
{
    const double center = (i + 0.5) * scale, ss = 1.0 / filter_scale;
    int32_t from = (int32_t)(center - support + 0.5), to = (int32_t)(center + support + 0.5);
    int32_t *k = w->k + (size_t)i * (size_t)w->n_tap;
    double sum = 0.0;

    if (from < 0) from = 0;
    if (to > n_in) to = n_in;
    for (int32_t j = 0; j < to - from; j++) {
        tap[j] = bicubic((j + from - center + 0.5) * ss);
        sum += tap[j];
    }
    for (int32_t j = 0; j < to - from; j++) {
        const double v = sum != 0.0 ? tap[j] / sum : tap[j];

        k[j] = (int32_t)((v < 0 ? -0.5 : 0.5) + v * (1 << PRECISION_BITS));
    }
    w->start[i] = from;
    w->count[i] = to - from;
}

static bool weights_make(weights *w, int32_t n_in, int32_t n_out)
{
    const double scale = (double)n_in / n_out, filter_scale = scale < 1.0 ? 1.0 : scale, support = 2.0 * filter_scale;
    double *tap = NULL;

    memset(w, 0, sizeof *w);
    w->n_out = n_out;
    w->n_tap = (int32_t)ceil(support) * 2 + 1;
    w->start = mo_calloc((size_t)n_out, sizeof *w->start);
    w->count = mo_calloc((size_t)n_out, sizeof *w->count);
    w->k = mo_calloc((size_t)n_out, (size_t)w->n_tap * sizeof *w->k);
    tap = mo_calloc((size_t)w->n_tap, sizeof *tap);
    if (!w->start || !w->count || !w->k || !tap) goto fail;
    for (int32_t i = 0; i < n_out; i++) weights_row(w, i, n_in, scale, filter_scale, support, tap);
    mo_free(tap);
    return true;
fail:
    mo_free(tap);
    weights_free(w);
    return false;
}

static uint8_t clip8(int32_t v)
{
    v >>= PRECISION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* strip [3 * n_in, N_ROW] <- N_ROW rows of `in` from y on; past the last row, that row again. */
static void turn_rows(uint8_t *restrict strip, const image *in, int32_t y)
{
    const size_t n = (size_t)in->w * 3;
    const uint8_t *row[N_ROW];

    for (int r = 0; r < N_ROW; r++) row[r] = in->rgb + (size_t)(y + r < in->h ? y + r : in->h - 1) * n;
    for (size_t i = 0; i < n; i++)
        for (int r = 0; r < N_ROW; r++) strip[i * N_ROW + (size_t)r] = row[r][i];
}

/* out[l] = rounded sum over j of k[j] * px[j][l], lanes l < N_LANE. */
static inline void sum_lanes(uint8_t *restrict out, const uint8_t *restrict px, const int32_t *restrict k, int32_t n)
{
    int32_t acc[N_LANE];

    for (int l = 0; l < N_LANE; l++) acc[l] = 1 << (PRECISION_BITS - 1);
    for (int32_t j = 0; j < n; j++, px += N_LANE)
        for (int l = 0; l < N_LANE; l++) acc[l] += px[l] * k[j];
    for (int l = 0; l < N_LANE; l++) out[l] = clip8(acc[l]);
}

static mo_status horizontal(image *out, const image *in, const weights *w, mo_error *err)
{
    uint8_t *strip = mo_malloc((size_t)in->w * N_LANE);
    const size_t stride = (size_t)out->w * 3;

    if (!strip) return mo_fail(err, MO_E_NOMEM, "no memory to resize a picture");
    for (int32_t y = 0; y < in->h; y += N_ROW) {
        const int n_row = in->h - y < N_ROW ? in->h - y : N_ROW;
        uint8_t *dst = out->rgb + (size_t)y * stride;

        turn_rows(strip, in, y);
        for (int32_t x = 0; x < out->w; x++) {
            uint8_t px[N_LANE];

            sum_lanes(px, strip + (size_t)w->start[x] * N_LANE, w->k + (size_t)x * (size_t)w->n_tap, w->count[x]);
            for (int r = 0; r < n_row; r++)
                for (int c = 0; c < 3; c++) dst[(size_t)r * stride + (size_t)x * 3 + (size_t)c] = px[c * N_ROW + r];
        }
    }
    mo_free(strip);
    return MO_OK;
}

/* n <= N_COLUMN bytes of one output row; called with the constant N_COLUMN but for the last strip. */
static inline void sum_columns(uint8_t *restrict out, const uint8_t *restrict px, size_t stride, const int32_t *restrict k, int32_t n_tap,
                               int n)
{
    int32_t acc[N_COLUMN];

    for (int l = 0; l < n; l++) acc[l] = 1 << (PRECISION_BITS - 1);
    for (int32_t j = 0; j < n_tap; j++, px += stride)
        for (int l = 0; l < n; l++) acc[l] += px[l] * k[j];
    for (int l = 0; l < n; l++) out[l] = clip8(acc[l]);
}

static void vertical(image *out, const image *in, const weights *w)
{
    const size_t stride = (size_t)out->w * 3, whole = stride / N_COLUMN * N_COLUMN;

    for (int32_t y = 0; y < out->h; y++) {
        const uint8_t *src = in->rgb + (size_t)w->start[y] * stride;
        const int32_t *k = w->k + (size_t)y * (size_t)w->n_tap, n = w->count[y];
        uint8_t *dst = out->rgb + (size_t)y * stride;

        for (size_t i = 0; i < whole; i += N_COLUMN) sum_columns(dst + i, src + i, stride, k, n, N_COLUMN);
        if (whole < stride) sum_columns(dst + whole, src + whole, stride, k, n, (int)(stride - whole));
    }
}

static mo_status pass(image *out, const image *in, int32_t w, int32_t h, mo_error *err)
{
    const bool is_horizontal = h == in->h;
    weights k;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (!in->rgb) return mo_fail(err, MO_E_ARG, "no picture to resize");
    if (!(is_horizontal ? weights_make(&k, in->w, w) : weights_make(&k, in->h, h)))
        return mo_fail(err, MO_E_NOMEM, "no memory to resize a picture");
    if ((st = image_new(out, w, h, err)) != MO_OK) goto done;
    if (is_horizontal) st = horizontal(out, in, &k, err);
    else vertical(out, in, &k);
done:
    weights_free(&k);
    if (st != MO_OK) image_free(out);
    return st;
}

mo_status image_resize(image *out, const image *in, int32_t w, int32_t h, mo_error *err)
{
    image mid;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (in->rgb && w == in->w && h == in->h) {
        if ((st = image_new(out, w, h, err)) == MO_OK) memcpy(out->rgb, in->rgb, (size_t)w * (size_t)h * 3);
        return st;
    }
    if (w < 1 || h < 1) return mo_fail(err, MO_E_ARG, "cannot resize a picture to %d x %d", w, h);
    if (w > IMAGE_MAX_PIXELS || h > IMAGE_MAX_PIXELS / w) /* before the weights, which grow with the sides */
        return mo_fail(err, MO_E_LIMIT, "cannot resize a picture to %d x %d: at most %d pixels are allowed", w, h, IMAGE_MAX_PIXELS);
    if (h == in->h || w == in->w) return pass(out, in, w, h, err); /* a side that stays is left alone */
    if ((st = pass(&mid, in, w, in->h, err)) != MO_OK) return st;
    st = pass(out, &mid, w, h, err);
    image_free(&mid);
    return st;
}
