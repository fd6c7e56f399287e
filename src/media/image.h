/* Pictures: bytes to RGB, exactly as the reference pipeline (PIL) decodes and resizes them. */
#ifndef MO_MEDIA_IMAGE_H
#define MO_MEDIA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* 8-bit RGB, rows of 3*w bytes without padding. */
typedef struct image {
    int32_t w, h;
    uint8_t *rgb; /* [h, w, 3]; owned */
} image;

/* What a file may claim and a resize may be asked to make. Sides (of files only) end where JPEG's do; pixels where PIL
 * refuses a "decompression bomb" (2^30 / 6, half a gigabyte of RGB). Checked before memory is asked for: MO_E_LIMIT. */
enum { IMAGE_MAX_SIDE = 65500, IMAGE_MAX_PIXELS = 178956970 };

/* Decode JPEG, PNG, WebP, GIF (first frame), BMP; the kind is recognised by content. *out is zeroed on failure.
 *
 * MO_E_FORMAT       broken or truncated
 * MO_E_UNSUPPORTED  none of the five kinds, or a rare variant (the sentence names it)
 * MO_E_LIMIT        larger than IMAGE_MAX_SIDE or IMAGE_MAX_PIXELS
 *
 * Transparency is dropped, EXIF orientation not applied, as the reference pipeline does. */
mo_status image_decode(image *out, const void *data, size_t n, mo_error *err);
/* The same with a pixel limit of the caller's (a server, a fuzzer); at most IMAGE_MAX_PIXELS. */
mo_status image_decode_within(image *out, const void *data, size_t n, int64_t n_pixel_max, mo_error *err);
mo_status image_open(image *out, const char *path, mo_error *err);
void image_free(image *im); /* accepts a zeroed image */

/* A black picture of w x h; MO_E_ARG for sides below 1, MO_E_LIMIT beyond IMAGE_MAX_PIXELS. */
mo_status image_new(image *out, int64_t w, int64_t h, mo_error *err);

/* PIL BICUBIC, bit-exact; a copy where the size stays. out may not be in. MO_E_ARG, MO_E_LIMIT, MO_E_NOMEM. */
mo_status image_resize(image *out, const image *in, int32_t w, int32_t h, mo_error *err);

/* Several pictures joined into one, n >= 1 (vision spec 7.2): cells of the largest width and height, each picture letterboxed
 * on white in its own, 6 black pixels between cells. */
mo_status image_stack(image *out, const image *const *in, int n, mo_error *err);

/* A picture's tiles for the encoder: overview first, then the grid's cells row-major (vision spec 2). */
typedef struct image_slices {
    int32_t cols, rows; /* the grid; 0, 0 if there is none */
    int32_t n_tile;     /* 1 + cols * rows */
    image *tile;        /* owned */
} image_slices;

/* Sizes only. scale_resolution and patch are 448 and 14 in every released model (patch 56 in V 4.6). */
typedef struct slice_plan {
    int32_t cols, rows;
    int32_t overview_w, overview_h, refined_w, refined_h; /* refined: 0, 0 without a grid */
} slice_plan;

void image_plan_slices(slice_plan *out, int32_t w, int32_t h, int32_t max_slice_nums, int32_t scale_resolution, int32_t patch);
mo_status image_slice(image_slices *out, const image *in, int32_t max_slice_nums, int32_t scale_resolution, int32_t patch, mo_error *err);
void image_slices_free(image_slices *s);

/* One tile as encoder input: patches in raster order, each [3][patch][patch] (conv weight order), normalised to
 * (u/255 - 0.5)/0.5 in float32 with true divisions. dst [rows*cols, 3*patch*patch]. Sides must be multiples of patch. */
void image_patches(float *dst, const image *tile, int32_t patch);

#endif
