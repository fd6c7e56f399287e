/* Matrix products of block-quantised weights with activations of 8 or 16 bits: y = W x.
 *
 * Activations are quantised once per call, in chunks of Q_CHUNK = 256 elements; products inside a block of weights are exact
 * integers. Integers do not care about order, so the few-rows and the many-rows kernels and every number of threads give the same
 * bits.
 *
 * Two families of kernels. With 16 bits (q_words_tmpl.h; AVX-512 VNNI) a row of x has 13 to 15 of them where it matters and products are
 * nearly those of float32. With int8 each block adds one rounded float32 term to the result, in the order of the blocks:
 *
 *     legacy blocks (32)   y += (d * I [+ m * S]) * dx[block]     I = sum q x,  S = sum x
 *     super-blocks (256)   y += (d * I [- dmin * M]) * dx         I = sum_j scale_j sum q x,  M = sum_j min_j sum x
 *
 * For blocks of 32 some elements of x are integers of more than 8 bits (q_act_block): trained models have channels many times
 * as large as their neighbours, and one scale for all would round those away.
 *
 * every product and sum rounded by itself (no fused multiply-adds), so every instruction set gives the same bits too.
 *
 * Few rows (matvec): bound by memory; a block is decoded in registers and used for several activation rows (q_matvec_tmpl.h;
 * with 64-byte vectors q_rows_tmpl.h), or in a panel that lives for one use.
 * Many rows (tile): bound by arithmetic; Q_ROWS weight rows of one chunk are decoded into a panel in the L1 cache, whose
 * vectors hold 4 elements of each of several rows, and many activation rows pass over it:
 *
 *     panel.q [step][Q_ROWS][4 bytes]         x: 4 bytes of one activation row, broadcast
 *     one multiply-add sums 4 elements in each 32-bit lane; a lane is a weight row, so nothing is summed across lanes.
 *
 * Block layouts: ggml-org/ggml src/ggml-common.h (spec: formats 2).
 */
#ifndef MO_BACKEND_CPU_QUANT_H
#define MO_BACKEND_CPU_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

enum {
    Q_CHUNK = 256,
    Q_ROWS = 16,       /* weight rows that are unpacked together; of a panel of bytes */
    Q_FEW_MAX = 16,    /* most activation rows of a matvec call */
    Q_TILE_X = 4,      /* most activation rows of a tile call of a block type with int8 */
    Q_ACC = 128,       /* floats between the sums of two activation rows of a tile call: most weight rows of a many-rows task. As often
                          is x read from beyond L2. */
    Q_DENSE_BLOCK = 64 /* dense weights packed as int8: columns of a block (q_dense_tmpl.h) */
};

/* 1.5 * 2^23: adding it rounds to an integer (nearest, ties to even) that stands in the low bits. */
#define Q_MAGIC      12582912.0f
#define Q_MAGIC_BITS 0x4b400000

/* Where a chunk has one scale, d[ACT_REACH] bounds the sums of products: the largest sum of |q| that `sum` is of. */
enum { ACT_REACH = 1 };

/* The steps of 4 elements in 32 that may be large, and how large: |q| <= Q_LARGE * 128, so that sums of 32 fit 16 bits. */
enum { Q_HIGH = 2, Q_LARGE = 28 };
_Static_assert(Q_HIGH * 4 * Q_LARGE * 128 + (32 - Q_HIGH * 4) * 127 <= INT16_MAX, "q_act.sum");

/* One chunk of an activation row. x ~ d * q, |q| <= 127. A chunk whose largest |x| is below 1e-30 counts as zero; one that
 * holds an infinity or a NaN has d = NaN. */
typedef struct q_act {
    float d[8];      /* of each 32 elements; or d[0] of all, and ACT_REACH */
    int16_t sum[16]; /* sums of q of each 32 elements, or of each 16 */
    int8_t q[Q_CHUNK];
} q_act;

/* The same for blocks of 32, whose scale comes from all elements but the Q_HIGH steps with the largest: x ~ d * (q + 128 * high).
 * `high` is zero outside those steps; sums count it. */
typedef struct q_act_block {
    q_act a;
    union {
        int32_t less[8]; /* sums times the bias of the weights, of types that have one */
        float sum[8];    /* sums */
    } times;
    int8_t high_step[8][Q_HIGH][4]; /* high of those steps */
    uint16_t at[8][Q_HIGH];         /* where a panel has them: bytes from q */
    int8_t high[Q_CHUNK];
} q_act_block;

/* With 16-bit elements, q + 128 * high: what some tiles read. */
typedef struct q_act_wide {
    float d[8];
    int16_t sum[16];
    int16_t q[Q_CHUNK];
} q_act_wide;

/* Panels of a tile: more than one where vectors are as long as a panel is wide and a load of x should be used more than once. A file that
 * wants more says so before it includes this. */
#ifndef Q_PANELS
#define Q_PANELS 1
#endif

/* One chunk of Q_ROWS weight rows. Per instruction set and type only parts are used. */
typedef struct q_panel {
    float d[8][Q_ROWS], m[8][Q_ROWS]; /* of each block; super-blocks: [0] */
    int32_t scale[16][Q_ROWS];        /* of each sub-block, in the form its multiplication wants */
    int32_t min[8][Q_ROWS];           /* of two sub-blocks, int16 each */
    uint8_t q[2 * Q_CHUNK * Q_ROWS];  /* bytes; or 16-bit elements: then twice as long */
} q_panel;

/* One weight type. */
typedef struct quant_kernel {
    const char *name;
    int panel_rows;               /* weight rows of a panel: Q_ROWS, or more */
    size_t panel_bytes;           /* where there is unpack */
    int n_strip;                  /* panels that share the L1 cache; together a divisor of Q_ACC rows */
    size_t few_bytes, many_bytes; /* of one activation chunk, for matvec and tile */

    /* x [k] into ceil(k / Q_CHUNK) chunks, `stride` bytes apart */
    void (*pack_few)(void *dst, size_t stride, const float *x, int64_t k);
    void (*pack_many)(void *dst, size_t stride, const float *x, int64_t k);
    /* n_col <= Q_CHUNK columns (whole blocks) of n <= panel_rows weight rows, row_bytes apart; missing rows become zero.
     * NULL: weights are packed already (weight.packed), in the form the tile reads. */
    void (*unpack)(void *panel, const uint8_t *w, size_t row_bytes, int n, int n_col);
    /* acc[i * Q_ACC + j] += panel row j times activation row i; n <= tile_x rows, many_bytes apart */
    void (*tile)(float *acc, const void *panel, const uint8_t *x, int n, int n_col);
    int tile_x;
    int n_few;   /* activation rows of a matvec call, <= Q_FEW_MAX */
    int n_along; /* up to so many of them it takes Q_ROWS weight rows at a time, with more panels of them */
    /* out[i * ldo + r] = weight row r times activation row i, n <= n_few rows few_bytes apart, whose chunks are ldx bytes apart.
     * Reads every weight byte once and nothing past the last row. */
    void (*matvec)(float *out, int64_t ldo, const uint8_t *w, size_t row_bytes, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                   int64_t k);
    /* Without unpack: n_col <= Q_CHUNK columns of n <= panel_rows weight rows of floats, ldw apart, into panel_rows times
     * quant_packed_bytes(n_col) bytes. */
    void (*pack_weights)(void *panel, const float *w, int64_t ldw, int n, int n_col);
} quant_kernel;

/* Bytes of a packed weight row of n_col columns, a panel_rows-th of its panel; whole chunks before a last one add up. */
static inline size_t quant_packed_bytes(int64_t n_col)
{
    const int64_t n_chunk = (n_col + Q_CHUNK - 1) / Q_CHUNK, n_block = (n_col + Q_DENSE_BLOCK - 1) / Q_DENSE_BLOCK;

    return (size_t)n_chunk * sizeof(float) + (size_t)n_block * Q_DENSE_BLOCK;
}

enum { QUANT_DENSE = MO_DTYPE_COUNT }; /* dense weights that were packed as int8 */

typedef const quant_kernel *quant_table[MO_DTYPE_COUNT + 1]; /* NULL: not multiplied this way */

/* One per instruction set; each overwrites the slots it has. */
void quant_init_generic(quant_table t);
void quant_init_avx2(quant_table t);
void quant_init_avx_vnni(quant_table t);     /* 256-bit VNNI, VEX encoding */
void quant_init_avx512_vnni(quant_table t);  /* 512-bit VNNI */
void quant_init_avx512_words(quant_table t); /* the same, 16-bit activations; block types only */
void quant_init_dotprod(quant_table t);
void quant_init_i8mm(quant_table t);

/* The best of `isa` (MO_ISA_… bits); returns the bits it uses. words: activations of 16 bits where there are kernels for it, else int8. */
unsigned quant_init(quant_table t, unsigned isa, bool words);
bool quant_has_words(unsigned isa);

#endif
