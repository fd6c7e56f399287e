/* What the quantised kernels need of NEON with matrix products of bytes (i8mm): SMMLA multiplies two rows of 8 bytes with two
 * others into 2 x 2 sums, twice the products of a dot product's instruction. Few rows are left to dot products.
 *
 * In a panel the words of steps 2 s and 2 s + 1 are zipped, so that a vector is 8 bytes of two weight rows; two activation
 * rows make the other operand. Sums go back to a lane for each weight row when a sub-block is done. */
#ifndef MO_QVEC_I8MM_H
#define MO_QVEC_I8MM_H

#ifndef __ARM_FEATURE_MATMUL_INT8
#error "this file needs -march=armv8.2-a+dotprod+i8mm"
#endif

#include "backend/cpu/quant/qvec_dotprod.h"

/* Words of a panel's first n_col columns: rows r and r + 1, then rows r + 2 and r + 3 of each four. */
QV void zip_steps(q_panel *p, int n_col)
{
    for (int s = 0; s < n_col / 4; s += 2)
        for (int r = 0; r < Q_ROWS; r += QL) {
            uint32_t *a = (uint32_t *)(void *)p->q + s * Q_ROWS + r, *b = a + Q_ROWS;
            const uint32x4_t u = vld1q_u32(a), v = vld1q_u32(b);
            vst1q_u32(a, vzip1q_u32(u, v));
            vst1q_u32(b, vzip2q_u32(u, v));
        }
}
#define Q_PANEL_DONE(p, n_col) zip_steps(p, n_col)

/* a[i][v] = (or, `on`: +=) n_step steps' products of weight rows 4 v … 4 v + 3 and activation row i: tile_steps of q_tile_tmpl.h. The last of
 * an odd number of activation rows is its own partner. */
#define Q_OWN_TILE_STEPS 1
QV void tile_steps(va a[][Q_ROWS / QL], const uint8_t *w, const uint8_t *x, size_t ldx, const int n, const int n_step, const bool sgn,
                   const bool on)
{
    int32x4_t sum[Q_TILE_X / 2][Q_ROWS / 2];

    (void)sgn;
#pragma GCC unroll 8
    for (int i = 0; i < n; i += 2)
#pragma GCC unroll 8
        for (int r = 0; r < Q_ROWS / 2; r++) sum[i / 2][r] = vdupq_n_s32(0);
#pragma GCC unroll 8
    for (int s = 0; s < n_step; s += 2) {
        int8x16_t xx[Q_TILE_X / 2];
#pragma GCC unroll 8
        for (int i = 0; i < n; i += 2) {
            const int8_t *p = (const int8_t *)x + (size_t)i * ldx + 4 * s;
            xx[i / 2] = vcombine_s8(vld1_s8(p), vld1_s8(i + 1 < n ? p + ldx : p));
        }
#pragma GCC unroll 8
        for (int r = 0; r < Q_ROWS / 2; r++) {
            const int8x16_t ww = vld1q_s8((const int8_t *)w + (s + r % 2) * (Q_ROWS * 4) + r / 2 * 16);
#pragma GCC unroll 8
            for (int i = 0; i < n; i += 2) sum[i / 2][r] = vmmlaq_s32(sum[i / 2][r], ww, xx[i / 2]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; i += 2)
#pragma GCC unroll 8
        for (int v = 0; v < Q_ROWS / QL; v++) {
            const va t = (va)vuzp1q_s32(sum[i / 2][2 * v], sum[i / 2][2 * v + 1]);
            const va u = (va)vuzp2q_s32(sum[i / 2][2 * v], sum[i / 2][2 * v + 1]);
            a[i][v] = on ? a[i][v] + t : t;
            if (i + 1 < n) a[i + 1][v] = on ? a[i + 1][v] + u : u;
        }
}

#endif
