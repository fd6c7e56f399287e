/* Any sizes: resize, slice, stack and patch a picture whose sides and pixels come from the input.
 *
 *     w, h, W, H (16 bits each, folded so that an input stays cheap), max slices, then pixels, repeated to fill the picture
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "media/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int32_t side(const uint8_t *p, int32_t other) /* long or short, never both */
{
    const int32_t v = p[0] | p[1] << 8;

    return 1 + v % (other > 40 ? 8 : 400);
}

static void check_slices(const image *im, int32_t max)
{
    image_slices s;
    float *patches;

    if (image_slice(&s, im, max, 56, 14, NULL) != MO_OK) abort();
    if (s.n_tile != 1 + s.cols * s.rows || s.cols * s.rows > max) abort();
    for (int32_t i = 0; i < s.n_tile; i++)
        if (s.tile[i].w % 14 || s.tile[i].h % 14) abort();
    if (!(patches = mo_calloc((size_t)s.tile[0].w * (size_t)s.tile[0].h * 3, sizeof *patches))) abort();
    image_patches(patches, &s.tile[0], 14);
    mo_free(patches);
    image_slices_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    image im, to, both;
    const uint8_t *pixels = data + 9;
    int32_t w, h;

    if (n < 10) return 0;
    w = side(data, 0);
    if (image_new(&im, w, side(data + 2, w), NULL) != MO_OK) abort();
    for (size_t i = 0; i < (size_t)im.w * (size_t)im.h * 3; i++) im.rgb[i] = pixels[i % (n - 9)];
    w = side(data + 4, 0);
    h = side(data + 6, w);
    if (image_resize(&to, &im, w, h, NULL) != MO_OK || to.w != w || to.h != h) abort();
    if (image_stack(&both, (const image *[]){ &im, &to, &im, &to }, 1 + data[8] % 4, NULL) == MO_OK) image_free(&both);
    check_slices(&im, data[8]);
    image_free(&to);
    image_free(&im);
    return 0;
}
