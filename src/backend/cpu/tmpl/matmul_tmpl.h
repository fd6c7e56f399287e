/* Matrix products as register tiles of dot products (matmul_type in kernels.h). Included after math_tmpl.h.
 *
 *            x0 x1 x2      one vector accumulator per output; per step of VL elements of k: TILE_X loads of x, TILE_W loads
 *   w0   [ . . . ]         of w, TILE_W * TILE_X multiply-adds. Lanes are summed once, at the end. So an output is the same
 *   w1   [ . . . ]         chain of operations in a tile, alone, or cut into blocks of k (the accumulators are parked in
 *   w2   [ . . . ]         memory between blocks), and weights need no reordering in the file.
 *   w3   [ . . . ]
 *
 * What depends on the weight's type is in matmul_weight_tmpl.h. DOT_T is the vector in which products are made, DOT_K its elements: VL floats, or 2 VL bf16 in the bf16 file.
 */
#include "core/instrumented.h"

#ifndef VF_HSUM_TILE
#define vf_hsum_tile(out, ldo, a, n) /* not taken: see tile_case */
#endif

#ifndef DOT_T
#define DOT_T              vf
#define DOT_K              VL
#define DOT_FMA(w, x, acc) vf_fma(w, x, acc)
#define DOT_LOAD(p)        vf_load(p)
#define DOT_STORE(p, v)    vf_store(p, v)
#define DOT_ELEM           4
#define DOT_PACK_X         pack_x_f32

/* n rows of x, interleaved by steps, the last step padded with zeros. */
static void pack_x_f32(void *panel, const float *x, int64_t ldx, int n, int64_t k)
{
    float *o = panel;

    for (int r = 0; r < n; r++) {
        const float *p = x + r * ldx;
        float *q = o + r * VL;
        int64_t i = 0;
        for (; i + VL <= k; i += VL, q += n * VL) vf_store(q, vf_load(p + i));
        if (i < k) vf_store(q, vf_load_n(p + i, k - i));
    }
}

#endif

/* Inlined with constant n. `from`: where the sums so far are, NULL: from nothing. `last`: they go to out, else to acc. */
static inline __attribute__((always_inline)) void tile_n(float *acc, const float *from, const uint8_t *w, const uint8_t *x, int64_t n_step,
                                                         const int n, const bool last, float *out, int64_t ldo)
{
    enum { S = DOT_K * DOT_ELEM };
    vf a[TILE_X][TILE_W];

    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_W; j++) a[i][j] = from ? vf_load(from + (i * TILE_W + j) * VL) : vf_zero();
    for (int64_t s = 0; s < n_step; s++, w += TILE_W * S, x += n * S) {
        DOT_T b[TILE_X];
        for (int i = 0; i < n; i++) b[i] = DOT_LOAD(x + i * S);
        for (int j = 0; j < TILE_W; j++) {
            const DOT_T ww = DOT_LOAD(w + j * S);
            for (int i = 0; i < n; i++) a[i][j] = DOT_FMA(ww, b[i], a[i][j]);
        }
    }
    if (last) {
        vf_hsum_tile(out, ldo, a, n);
        return;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_W; j++) vf_store(acc + (i * TILE_W + j) * VL, a[i][j]);
}

/* No branch at run time may see the accumulators alive, or the compiler keeps them on the stack on both sides of the loop. */
static inline __attribute__((always_inline)) void tile_case(float *acc, const uint8_t *w, const uint8_t *x, int64_t n_step, const int n,
                                                            bool first, float *out, int64_t ldo)
{
#ifdef VF_HSUM_TILE /* a loop for each way in and out: sums never leave the registers */
    if (first && out) tile_n(acc, NULL, w, x, n_step, n, true, out, ldo);
    else if (first) tile_n(acc, NULL, w, x, n_step, n, false, out, ldo);
    else if (out) tile_n(acc, acc, w, x, n_step, n, true, out, ldo);
    else tile_n(acc, acc, w, x, n_step, n, false, out, ldo);
#else /* with few registers (AVX2) one loop between memory and memory is faster: zeros are read, a final sum reads acc again */
    static const float zeros[TILE_X * TILE_W * VL];

    tile_n(acc, first ? zeros : acc, w, x, n_step, n, false, out, ldo);
    if (!out) return;
    for (int i = 0; i < n; i++, acc += TILE_W * VL)
        vf_hsum4(out + i * ldo, vf_load(acc), vf_load(acc + VL), vf_load(acc + 2 * VL), vf_load(acc + 3 * VL));
#endif
}

/* Made for every constant number of rows, but where the compiler's time is worth more than speed. */
#if defined(MO_EMULATE_AVX512)
#define MM_ANY_N 1
#else
#define MM_ANY_N MO_INSTRUMENTED
#endif

static void matmul_tile(float *acc, const void *w, const void *x, int64_t n_step, int n, bool first, float *out, int64_t ldo)
{
#if MM_ANY_N
    tile_case(acc, w, x, n_step, n, first, out, ldo);
#else
    switch (n) {
    case 1: tile_case(acc, w, x, n_step, 1, first, out, ldo); break;
    case 2: tile_case(acc, w, x, n_step, 2, first, out, ldo); break;
#define TILE_CASE(i)                                                                                                                       \
    case i:                                                                                                                                \
        if (TILE_X >= i) tile_case(acc, w, x, n_step, TILE_X >= i ? i : 1, first, out, ldo);                                               \
        break;
        TILE_CASE(3)
        TILE_CASE(4)
        TILE_CASE(5)
        TILE_CASE(6)
#undef TILE_CASE
    }
#endif
}

/* Copy of the last, partial step of a weight row, zero padded. */
static inline const uint8_t *dot_tail(uint8_t *t, const uint8_t *w, int64_t k0, int64_t k, int elem)
{
    memset(t, 0, (size_t)(DOT_K * elem));
    memcpy(t, w + k0 * elem, (size_t)((k - k0) * elem));
    return t;
}

/* 24 sums of 64 bytes cost more to park than it costs to read panels longer than L1 from L2; with half the registers a weight
 * panel is used twice and should stay in L1. */
enum { PART_BYTES = VL == 16 ? 10240 : 2048 };

/* Longest row of x with which weights are read row after row: it stays in L1 beside them. AVX2 is faster with four rows side
 * by side. */
enum { MATVEC_1_BYTES = VL == 16 ? 16384 : 0 };

/* One row of x: memory is asked for a row, or four, ahead, into L2, as one stream; this far ahead a row's own bytes are taken on
 * into L1. Measured on Zen 4, on huge pages; 256 to 1024 are alike. */
enum { NEAR_BYTES = VL == 16 ? 768 : 0 };

/* Weights come from memory in blocks too short for the hardware's prefetcher: ask this far ahead. */
enum { PREFETCH_BYTES = 512 };

#define MM_CAT_(a, b) a##_##b
#define MM_CAT(a, b)  MM_CAT_(a, b)
