/* The table of CPU kernels and their contracts.
 *
 * A kernel is a pure loop over memory: no allocation, no threads, no globals. The op drivers beside this file split the
 * work over threads and call kernels through this table; kernels_init fills it for the instruction sets at hand. The
 * loops themselves are written once in tmpl/ over a small set of vector primitives (generic/vec_generic.h and its twins)
 * and included by one file per instruction set.
 *
 * Bits: within one table, a result element is one fixed sequence of operations, whatever its neighbours are. Tails are
 * computed as full vectors padded with zeros.
 */
#ifndef MO_BACKEND_CPU_KERNELS_H
#define MO_BACKEND_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/cpu/quant/quant.h"

enum {
    TILE_W = 4,      /* weight rows that matvec takes together, on every instruction set */
    TILE_V = 2,      /* vectors of weight rows of a register tile: it has TILE_V * n_lane of them */
    FEW_X_MAX = 6,   /* most activation rows of a matvec */
    TILE_X_MAX = 12, /* most activation rows of a register tile */
    UNIT_BYTES = 4,  /* what a lane multiplies at once: a float32 or two 16-bit numbers */
    VEC_BYTES_MAX = 64
};

/* What a tile reads: one part of a panel of TILE_V * n_lane weight rows and of a panel of x, n_step > 0 units of each row, and scales
 * where the type has them. ahead: memory that is wanted soon; ahead_step bytes of it are fetched into L2 with each step. */
typedef struct tile_in {
    const uint8_t *w, *x;
    const float *w_scale, *x_scale;
    int64_t n_step;
    const uint8_t *ahead;
    int64_t ahead_step;
} tile_in;

/* How one weight type is multiplied.
 *
 * The inner dimension is walked in steps of `k_step` elements, a vector of n_lane units; the last step is padded with zeros. Lane l
 * multiplies and adds the l-th units of all steps, a chain; the lanes' sums are then added as a binary tree, in the order of vf_hsum4.
 * Every output is that, whoever makes it:
 *   matvec  walks k once with a vector accumulator per output, its chains side by side: weights are read as they are stored;
 *   tile    walks one chain with a vector of outputs side by side, so a unit of x is read once for all of them: for that, panels
 *           are sorted by lanes. Sums that wait for their neighbour in the tree are kept in memory meanwhile.
 *
 * A packed operand is n_lane parts, part c what the tree's c-th leaf sums: panel after panel, a panel of r rows being
 * [n_step][r] units. A type with scales has one for each `block` steps and row, apart: panel after panel, [block][r].
 */
typedef struct matmul_type {
    const char *name;
    int k_step; /* n_lane, or 2 n_lane of 16 bits */
    int few_x;  /* activation rows of a matvec, <= FEW_X_MAX */
    int n_few;  /* up to this many rows matvec is faster than packing weights for tiles */
    int tile_x; /* of a tile, <= TILE_X_MAX */
    int block;  /* steps that share a scale; 0: there are none */

    /* k elements of x as matvec reads them: [n_step] vectors; with scales, each block followed by one, in every lane. */
    void (*pack_row)(void *row, const float *x, int64_t k);
    /* Rows [0, n) of x, elements [0, k), as a panel of n rows, n <= tile_x; its parts are part_bytes apart. */
    void (*pack_x)(void *panel, size_t part_bytes, float *scale, const float *x, int64_t ldx, int n, int64_t k);
    /* n <= n_lane weight rows, row_bytes apart, elements [0, k), as the rows at `panel` of one of TILE_V * n_lane rows. What stands
     * for missing rows is some numbers. */
    void (*pack_w)(void *panel, size_t part_bytes, float *scale, const void *w, size_t row_bytes, int n, int64_t k);
    /* sums: [n][TILE_V] vectors, of n rows of x, are written there, or, if it is the second of n_sum pairs of the tree, added to those
     * before and written in place of the first of them. */
    void (*tile)(float *sums, int n_sum, const tile_in *in, int n);
    /* out[i * ldo + r] = row r of w times x row i, r < n_row, i < n <= few_x. x: rows of pack_row, ldx bytes apart.
     * Reads w in place, each byte once, nothing past the last row's end. */
    void (*matvec)(float *out, int64_t ldo, const void *w, size_t row_bytes, int64_t n_row, const void *x, size_t ldx, int n, int64_t k);
} matmul_type;

/* One strip of attention rows, each of which sees some first keys of a tile.
 * Tile sizes: 1 to ATTN_KEYS keys; n_row <= attn_rows of the table. hd_pad: head_dim rounded up to whole vectors; q and o rows
 * are hd_pad apart and zero in the padding. */
enum { ATTN_KEYS = KV_PAGE, ATTN_ROWS_MAX = 8, ATTN_HEAD_DIM_MAX = 512 };

typedef struct attn_strip {
    const float *q;           /* [n_row, hd_pad], already times scale */
    float *o;                 /* [n_row, hd_pad], unnormalised sum */
    float *m, *l;             /* [n_row] running maximum (start: -inf) and sum (start: 0) */
    float *s;                 /* [ATTN_ROWS_MAX, ATTN_KEYS] scratch */
    int n_key[ATTN_ROWS_MAX]; /* of each row */
    int n_row, head_dim, hd_pad;
    ptrdiff_t k_ahead, v_ahead; /* bytes from this tile's k and v to those that come next: to be fetched meanwhile; 0: nothing */
} attn_strip;

/* Online softmax over one tile:  s = q k^T;  m' = max(m, s);  p = exp(s - m');
 * o = o * exp(m - m') + p v;  l = l * exp(m - m') + sum p.  What lies past a row's n_key adds nothing, whatever it holds.
 * ld: elements between rows of k and v. */
typedef void (*attn_tile_fn)(const attn_strip *t, const void *k, const void *v, int64_t ld);

typedef struct kernels {
    unsigned isa; /* MO_ISA_… bits it uses */
    int n_lane;   /* float lanes of a vector */
    int attn_rows;

    const matmul_type *matmul[MO_DTYPE_COUNT]; /* NULL: no kernel for this type */
    quant_table quant;                         /* block types times 8- or 16-bit activations; goes before matmul[] */
    bool int8;                                 /* dense weights become quant[QUANT_DENSE]'s when they are bound */

    /* y[i] = epilogue of raw[i], i < n; bias may be NULL. Order as in backend.h. */
    void (*epilogue)(float *y, const float *raw, const float *bias, int64_t n, activation act, float scale, bool accumulate);
    /* n_row rows of x, n long, to y, past the caches: for results larger than those are. y: of the alignment of a vector, and so are its
     * rows. NULL where it was not seen to be faster. */
    void (*stream_rows)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n_row, int64_t n);
    /* y[i] = W[i] * scale as float32, exact conversion; indexed by type, NULL: none. */
    void (*to_f32[MO_DTYPE_COUNT])(float *y, const void *w, int64_t n);
    /* float32 to f16, round to nearest even */
    void (*to_f16)(void *y, const float *x, int64_t n);
    /* float32 to int8 in blocks of 32 (n % 32 == 0), each with a float16 scale: largest magnitude / 127, nearest even */
    void (*to_q8_0)(int8_t *y, uint16_t *scale, const float *x, int64_t n);

    void (*rms_norm)(float *y, const float *x, const float *g, int64_t d, float eps); /* g NULL: ones */
    void (*layer_norm)(float *y, const float *x, const float *g, const float *b, int64_t d, float eps);
    /* rotate x[head_dim] by cos, sin [head_dim/2], in place */
    void (*rope)(float *x, const float *cs, const float *sn, int head_dim, rope_style style);
    void (*swiglu)(float *y, const float *gate, const float *up, int64_t d);
    void (*add)(float *y, const float *a, const float *b, int64_t d);
    void (*scale)(float *y, const float *x, float s, int64_t d);

    /* k [head_dim][ATTN_KEYS], v [n_key][ld], of a type of backend.h's pages (F32, F16, Q8_0) and laid out as there; rows of v
     * readable up to hd_pad elements. */
    attn_tile_fn attn_tile[MO_DTYPE_COUNT];
    /* One head's Q8_0 panels as the float32 they stand for: kt [head_dim][ATTN_KEYS], v32 [n_key][head_dim]. */
    void (*attn_unpack_q8_0)(float *kt, float *v32, const void *k, const void *v, int n_key, int head_dim);
    /* What rows [n] know of some keys (o, m, l as in attn_strip), and then of some more; n is whole vectors. */
    void (*attn_merge)(float *o, float *m, float *l, const float *part_o, float part_m, float part_l, int n);
    /* kt[d * ATTN_KEYS + i] = k[i * ldk + d] for i < n_key, d < head_dim; zero for other i < ATTN_KEYS. */
    void (*attn_pack_kt)(float *kt, const float *k, int64_t ldk, int n_key, int head_dim);
    /* The same in reduced precision, NULL: none. k: [(head_dim + 1) / 2][ATTN_KEYS], v: [(n_key + 1) / 2][ld] pairs of bf16,
     * made by the two below; missing numbers of pairs are zero. All rows of a strip see the
     * same number of keys. */
    attn_tile_fn attn_tile_pairs;
    void (*attn_pack_k_pairs)(void *kt, const float *k, int64_t ldk, int n_key, int head_dim);
    void (*attn_pack_v_pairs)(void *vp, const float *v, int64_t ldv, int n_key, int head_dim, int hd_pad);
} kernels;

/* Every slot from generic, then what the instruction sets in `isa` beat. See cpu_backend_opts: float32 for dense weights; its `fast`; its
 * `int8`. words: as quant_init's. */
typedef enum kernels_mode { KERNELS_FLOAT32, KERNELS_FAST, KERNELS_INT8 } kernels_mode;
void kernels_init(kernels *k, unsigned isa, kernels_mode mode, bool words);

/* One per file of kernels; each overwrites the slots it has. */
void kernels_init_generic(kernels *k);
void kernels_init_avx2(kernels *k);
void kernels_init_avx2_i16(kernels *k); /* replaces matmul[] by 16-bit fixed point */
void kernels_init_avx512(kernels *k);
void kernels_init_avx512_i16(kernels *k);            /* the same, with VNNI */
void kernels_init_avx512_bf16(kernels *k);           /* replaces matmul[] by bf16 dot products */
void kernels_init_avx512_bf16_attention(kernels *k); /* attention over plain rows by bf16 dot products */
void kernels_init_neon(kernels *k);

#endif
