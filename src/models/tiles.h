/* Tiles of pictures in patches, and how many of them share a pass of the vision tower or the resampler. */
#ifndef MO_MODELS_TILES_H
#define MO_MODELS_TILES_H

#include <stdint.h>

#include "core/status.h"

/* A tile in patches; its rows are in raster order. */
typedef struct tile_size {
    int32_t rows, cols;
} tile_size;

static inline int64_t tile_patches(tile_size t) { return (int64_t)t.rows * t.cols; }

/* Every tile has patches (else MO_E_ARG) and fits a pass of n_row rows alone (else MO_E_LIMIT). */
mo_status tiles_check(const tile_size *tile, int n_tile, int64_t n_row, mo_error *err);

/* How many of the tiles from `first` on fit a pass of n_row rows and n_tile_max tiles; at least 1. *n: their rows. */
int tile_group(const tile_size *tile, int n_tile, int first, int64_t n_row, int n_tile_max, int64_t *n);

#endif
