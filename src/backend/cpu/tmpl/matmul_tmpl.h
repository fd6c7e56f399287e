/* Matrix products of dense weights (matmul_type in kernels.h). Included after math_tmpl.h.
 *
 *   tile, one part of two panels:            TILE_V vectors of weight rows by TILE_X rows of x, a vector accumulator each; per step
 *            x0 x1 x2 ..                     TILE_V loads of weights, and of each row of x one unit, in all lanes: half as many
 *   w0..15   [ . . . ]                       loads as a tile of dot products, and of a weight's line twice the use. A part is one
 *   w16..31  [ . . . ]                       lane's chain; matvec walks all lanes' at once (matmul_weight_tmpl.h).
 *
 * DOT_T is the vector in which products are made, DOT_K its elements: VL floats, or 2 VL bf16 in the bf16 file.
 *   DOT_ROUND(p)   DOT_K floats of x as DOT_T        DOT_ALL(p)   the unit at p in every lane
 *   DOT_VF(v)      the same bits as vf
 */
#include "backend/cpu/tmpl/parts_tmpl.h"

#ifndef DOT_T
#define DOT_T              vf
#define DOT_K              VL
#define DOT_FMA(w, x, acc) vf_fma(w, x, acc)
#define DOT_LOAD(p)        vf_load(p)
#define DOT_STORE(p, v)    vf_store(p, v)
#define DOT_ROUND(p)       vf_load(p)
#define DOT_ALL(p)         vf_all(p)
#define DOT_VF(v)          (v)
#endif

enum { DOT_ELEM = VL * UNIT_BYTES / DOT_K }; /* bytes of a packed element */

/* Step from + [0, k) of a row of x, k < DOT_K: padded with zeros. */
static inline DOT_T x_tail(const float *x, int64_t k)
{
    float t[DOT_K] = { 0 };
    memcpy(t, x, (size_t)k * sizeof *t);
    return DOT_ROUND(t);
}

static void pack_row(void *row, const float *x, int64_t k)
{
    uint8_t *o = row;
    int64_t i = 0;

    for (; i + DOT_K <= k; i += DOT_K, o += VL * UNIT_BYTES) DOT_STORE(o, DOT_ROUND(x + i));
    if (i < k) DOT_STORE(o, x_tail(x + i, k - i));
}

static void pack_x(void *panel, size_t part_bytes, float *scale, const float *x, int64_t ldx, int n, int64_t k)
{
    const int64_t end = (k + DOT_K - 1) / DOT_K * n;
    uint8_t *o = panel;

    (void)scale;
    for (int64_t i = 0, at = 0; i < k; i += DOT_K, at += n)
        for (int r = 0; r < n; r += VL) {
            vf u[VL];
            for (int j = 0; j < VL; j++) {
                const float *p = x + (r + j) * ldx + i;
                if (r + j >= n) u[j] = vf_zero();
                else u[j] = DOT_VF(k - i >= DOT_K ? DOT_ROUND(p) : x_tail(p, k - i));
            }
            put_units(o + (at + r) * UNIT_BYTES, part_bytes, u, n - r, end - at - r);
        }
}

/* Inlined with constant n. */
static inline __attribute__((always_inline)) void tile_n(float *sums, const tile_in *in, const int n)
{
    const uint8_t *w = in->w, *x = in->x, *ahead = in->ahead;
    const int64_t ahead_step = in->ahead_step;
    int64_t n_step = in->n_step;
    vf a[TILE_X][TILE_V];

    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_V; j++) a[i][j] = vf_zero();
    do { /* not a loop that may be empty: for that GCC keeps the zeros in memory, and every sum with them */
        DOT_T ww[TILE_V];
        __builtin_prefetch(x + X_AHEAD_BYTES);
        __builtin_prefetch(ahead, 0, 2);
        for (int j = 0; j < TILE_V; j++) ww[j] = DOT_LOAD(w + j * VL * UNIT_BYTES);
        for (int i = 0; i < n; i++) {
            const DOT_T b = DOT_ALL(x + i * UNIT_BYTES);
            for (int j = 0; j < TILE_V; j++) a[i][j] = DOT_FMA(ww[j], b, a[i][j]);
        }
        w += STRIP_W * UNIT_BYTES;
        x += n * UNIT_BYTES;
        ahead += ahead_step;
    } while (--n_step > 0);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_V; j++) vf_store(sums + i * STRIP_W + j * VL, a[i][j]);
}

static void matmul_tile(float *sums, int n_sum, const tile_in *in, int n)
{
#define TILE(n) tile_n(sums, in, n)
    TILE_CASES(n, TILE)
#undef TILE
    add_pairs(sums, n_sum, n);
}

/* Copy of the last, partial step of a weight row, zero padded. */
static inline const uint8_t *dot_tail(uint8_t *t, const uint8_t *w, int64_t k0, int64_t k, int elem)
{
    memset(t, 0, (size_t)(DOT_K * elem));
    memcpy(t, w + k0 * elem, (size_t)((k - k0) * elem));
    return t;
}

/* Longest row of x with which weights are read row after row: it stays in L1 beside them. AVX2 is faster with four rows side
 * by side. */
enum { MATVEC_1_BYTES = VL == 16 ? 16384 : 0 };

/* One row of x: memory is asked for a row, or four, ahead, into L2, as one stream; this far ahead a row's own bytes are taken on
 * into L1. Measured on Zen 4, on huge pages; 256 to 1024 are alike. */
enum { NEAR_BYTES = VL == 16 ? 768 : 0 };

#define MM_CAT_(a, b) a##_##b
#define MM_CAT(a, b)  MM_CAT_(a, b)
