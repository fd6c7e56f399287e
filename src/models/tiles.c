#include "models/tiles.h"

mo_status tiles_check(const tile_size *tile, int n_tile, int64_t n_row, mo_error *err)
{
    for (int i = 0; i < n_tile; i++) {
        if (tile[i].rows < 1 || tile[i].cols < 1) return mo_fail(err, MO_E_ARG, "tile %d has no patches", i);
        if (tile_patches(tile[i]) > n_row)
            return mo_fail(err, MO_E_LIMIT, "tile %d has %lld patches, a pass takes %lld", i, (long long)tile_patches(tile[i]),
                           (long long)n_row);
    }
    return MO_OK;
}

int tile_group(const tile_size *tile, int n_tile, int first, int64_t n_row, int n_tile_max, int64_t *n)
{
    int i = first;

    *n = 0;
    do *n += tile_patches(tile[i++]);
    while (i < n_tile && i - first < n_tile_max && *n + tile_patches(tile[i]) <= n_row);
    return i - first;
}
