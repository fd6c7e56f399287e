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

enum { IMAGE_MAX_SIDE = 65500, IMAGE_MAX_PIXELS = 178956970 }; /* the second is PIL's decompression-bomb limit x2/2: 2^32/24 */

/* Decode JPEG, PNG, WebP, GIF (first frame), BMP; the kind is recognised by content. */
mo_status image_decode(image *out, const void *data, size_t n, mo_error *err);
mo_status image_open(image *out, const char *path, mo_error *err);
void image_free(image *im); /* accepts a zeroed image */

/* PIL BICUBIC, bit-exact. out may not be in. */
mo_status image_resize(image *out, const image *in, int32_t w, int32_t h, mo_error *err);

/* Several pictures joined into one (vision spec 7.2). */
mo_status image_stack(image *out, const image *const *in, int n, mo_error *err);

/* A picture's tiles for the encoder: overview first, then the grid's cells row-major (vision spec 2). */
typedef struct image_slices {
    int32_t cols, rows; /* the grid; 0, 0 if there is none */
    int32_t n_tile;     /* 1 + cols * rows */
    image *tile;        /* owned */
} image_slices;

/* Sizes only. scale_resolution and patch are 448 and 14 in every released model. */
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
