/* What every kind of product shares of panels sorted by lanes (matmul_type in kernels.h): putting a step's units into the parts, and
 * the tree of sums. Written over vec_*.h. */
#include <string.h>

#include "core/instrumented.h"

enum {
    STRIP_W = TILE_V * VL,
    X_AHEAD_BYTES = 2048 /* panels of x come from a shared cache: one wish a step; in a burst they stall a core whose L3 is far */
};

/* m rows' units of a step, a row a vector (the others hold anything), to their place in each part. room: units from there to the panel's
 * end. Before the end whole vectors are stored: what comes behind the rows is overwritten by the steps that follow. */
static inline void put_units(uint8_t *o, size_t part_bytes, vf *u, int m, int64_t room)
{
    vf_transpose(u);
    for (int c = 0; c < VL; c++, o += part_bytes) {
        if (room >= VL) vf_store(o, u[vf_leaf(c)]);
        else memcpy(o, &u[vf_leaf(c)], (size_t)(m < VL ? m : VL) * UNIT_BYTES);
    }
}

/* The sums of n rows that were just made, and n_sum before them, become one, in the place of the first. Kept apart from the loop that made
 * them: where a branch sees its accumulators alive, compilers keep them in memory there too. */
static inline void add_pairs(float *sums, int n_sum, int n)
{
    for (; n_sum > 0; n_sum--, sums -= n * STRIP_W)
        for (int at = 0; at < n * STRIP_W; at += VL)
            vf_store(sums - n * STRIP_W + at, vf_add(vf_load(sums - n * STRIP_W + at), vf_load(sums + at)));
}

/* Calls TILE(number of rows, constant) for n, but TILE(n) where the compiler's time is worth more than speed. */
#if defined(MO_EMULATE_AVX512)
#define MM_ANY_N 1
#else
#define MM_ANY_N MO_INSTRUMENTED
#endif
#define TILE_CASE(i, TILE)                                                                                                                 \
    case i:                                                                                                                                \
        TILE(TILE_X >= i ? i : 1);                                                                                                         \
        break;
#define TILE_CASES(n, TILE)                                                                                                                \
    switch (MM_ANY_N ? 0 : n) {                                                                                                            \
        TILE_CASE(1, TILE)                                                                                                                 \
        TILE_CASE(2, TILE)                                                                                                                 \
        TILE_CASE(3, TILE)                                                                                                                 \
        TILE_CASE(4, TILE)                                                                                                                 \
        TILE_CASE(5, TILE)                                                                                                                 \
        TILE_CASE(6, TILE)                                                                                                                 \
        TILE_CASE(7, TILE)                                                                                                                 \
        TILE_CASE(8, TILE)                                                                                                                 \
        TILE_CASE(9, TILE)                                                                                                                 \
        TILE_CASE(10, TILE)                                                                                                                \
        TILE_CASE(11, TILE)                                                                                                                \
        TILE_CASE(12, TILE)                                                                                                                \
    default:                                                                                                                               \
        if (MM_ANY_N) TILE(n);                                                                                                             \
    }
