/* Pictures: what kind of file it is, the limits, and the RGB buffer all decoders fill.
 *
 *     bytes -> kind (magic number) -> image_{jpeg,png,webp,gif,bmp}.c -> RGB [h, w, 3]
 *
 * The result is what PIL's Image.open(f).convert("RGB") gives, to the last bit: alpha dropped, palettes looked up,
 * EXIF orientation left alone, an animation's first frame. Limits are checked on the header's claim, before memory is
 * asked for, so that a small lying file costs nothing.
 */
#include "media/image_codec.h"

#include <string.h>

#include "core/alloc.h"
#include "core/file.h"

#define IMAGE_FILE_MAX ((size_t)1 << 30) /* bytes of an encoded picture */

static bool starts(const image_source *src, size_t at, const char *magic, size_t n)
{
    return src->n >= at + n && !memcmp(src->data + at, magic, n);
}

mo_status image_alloc(image *out, int64_t w, int64_t h, int64_t n_pixel_max, mo_error *err)
{
    if (w < 1 || h < 1) return mo_fail(err, MO_E_FORMAT, "picture of %lld x %lld pixels: nothing to see", (long long)w, (long long)h);
    if (w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE)
        return mo_fail(err, MO_E_LIMIT, "picture of %lld x %lld pixels: no side may exceed %d", (long long)w, (long long)h, IMAGE_MAX_SIDE);
    if (w * h > n_pixel_max)
        return mo_fail(err, MO_E_LIMIT, "picture of %lld x %lld pixels: more than the %lld allowed; scale it down first", (long long)w,
                       (long long)h, (long long)n_pixel_max);
    out->w = (int32_t)w;
    out->h = (int32_t)h;
    out->rgb = mo_malloc((size_t)w * (size_t)h * 3); /* at most 3 * 2^28 */
    return out->rgb ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a picture of %lld x %lld pixels", (long long)w, (long long)h);
}

bool image_claim_possible(const image_source *src, int64_t w, int64_t h, int64_t n_per_byte)
{
    return w <= 0 || h <= 0 || (uint64_t)w > UINT64_MAX / (uint64_t)h || (uint64_t)w * (uint64_t)h / (uint64_t)n_per_byte <= src->n;
}

void image_palette_complete(uint8_t palette[256][3], int n)
{
    bool is_grey = true;

    for (int i = 0; i < n; i++) is_grey &= palette[i][0] == i && palette[i][1] == i && palette[i][2] == i;
    for (int i = n; i < 256; i++) memset(palette[i], is_grey ? i : 0, 3);
}

mo_status image_new(image *out, int64_t w, int64_t h, mo_error *err)
{
    memset(out, 0, sizeof *out);
    if (w < 1 || h < 1) return mo_fail(err, MO_E_ARG, "picture of %lld x %lld pixels asked for", (long long)w, (long long)h);
    if (w > IMAGE_MAX_PIXELS || h > IMAGE_MAX_PIXELS / w)
        return mo_fail(err, MO_E_LIMIT, "picture of %lld x %lld pixels asked for: at most %d are allowed", (long long)w, (long long)h,
                       IMAGE_MAX_PIXELS);
    if (!(out->rgb = mo_calloc((size_t)w * (size_t)h, 3)))
        return mo_fail(err, MO_E_NOMEM, "no memory for a picture of %lld x %lld pixels", (long long)w, (long long)h);
    out->w = (int32_t)w;
    out->h = (int32_t)h;
    return MO_OK;
}

void image_free(image *im)
{
    mo_free(im->rgb);
    memset(im, 0, sizeof *im);
}

static mo_status decode_kind(image *out, const image_source *src, mo_error *err)
{
    if (starts(src, 0, "\xff\xd8\xff", 3)) return image_decode_jpeg(out, src, err);
    if (starts(src, 0, "\x89PNG\r\n\x1a\n", 8)) return image_decode_png(out, src, err);
    if (starts(src, 0, "RIFF", 4) && starts(src, 8, "WEBP", 4)) return image_decode_webp(out, src, err);
    if (starts(src, 0, "GIF87a", 6) || starts(src, 0, "GIF89a", 6)) return image_decode_gif(out, src, err);
    if (starts(src, 0, "BM", 2)) return image_decode_bmp(out, src, err);
    return mo_fail(err, MO_E_UNSUPPORTED, "not a picture we can read: JPEG, PNG, WebP, GIF or BMP is needed");
}

mo_status image_decode_within(image *out, const void *data, size_t n, int64_t n_pixel_max, mo_error *err)
{
    image_source src = { data, n, n_pixel_max < IMAGE_MAX_PIXELS ? n_pixel_max : IMAGE_MAX_PIXELS };
    mo_status st;

    memset(out, 0, sizeof *out);
    if (!n) return mo_fail(err, MO_E_FORMAT, "the picture is empty: 0 bytes");
    if (!data) return mo_fail(err, MO_E_ARG, "picture data is NULL");
    if ((st = decode_kind(out, &src, err)) != MO_OK) image_free(out);
    return st;
}

mo_status image_decode(image *out, const void *data, size_t n, mo_error *err)
{
    return image_decode_within(out, data, n, IMAGE_MAX_PIXELS, err);
}

mo_status image_open(image *out, const char *path, mo_error *err)
{
    char *data = NULL;
    size_t n = 0;
    mo_status st;

    memset(out, 0, sizeof *out);
    if (!path) return mo_fail(err, MO_E_ARG, "picture path is NULL");
    if ((st = file_read(&data, &n, path, IMAGE_FILE_MAX, err)) != MO_OK) return st;
    if ((st = image_decode(out, data, n, err)) != MO_OK) mo_fail_in(err, st, "%s", path);
    mo_free(data);
    return st;
}
