/* Between image.c, which recognises a picture's kind, and the decoder of each kind. Internal to this folder. */
#ifndef MO_MEDIA_IMAGE_CODEC_H
#define MO_MEDIA_IMAGE_CODEC_H

#include <stdbool.h>

#include "media/image.h"

/* An encoded picture and how many pixels its decoder may make of it. */
typedef struct image_source {
    const uint8_t *data;
    size_t n;
    int64_t n_pixel_max;
} image_source;

/* Check the limits, then allocate (not cleared). Sides come unchecked from a file's header. */
mo_status image_alloc(image *out, int64_t w, int64_t h, int64_t n_pixel_max, mo_error *err);

/* Bytes that decompress to at most n_per_byte pixels a byte cannot fill w x h: say so before allocating.
 * True if the claim is possible. */
bool image_claim_possible(const image_source *src, int64_t w, int64_t h, int64_t n_per_byte);

/* Complete a palette of which the file gave n entries (0: none): the rest is black, as in PIL, unless the entries given are
 * grey 0, 1, 2 ... n - 1, which PIL takes for a grey picture whose indices are levels. */
void image_palette_complete(uint8_t palette[256][3], int n);

/* Each fills *out, which arrives zeroed; on failure out->rgb may be set and the caller frees it. */
mo_status image_decode_jpeg(image *out, const image_source *src, mo_error *err);
mo_status image_decode_png(image *out, const image_source *src, mo_error *err);
mo_status image_decode_webp(image *out, const image_source *src, mo_error *err);
mo_status image_decode_gif(image *out, const image_source *src, mo_error *err);
mo_status image_decode_bmp(image *out, const image_source *src, mo_error *err);

#endif
