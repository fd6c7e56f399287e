/* What a device must do: memory, weights, and one table of ops.
 *
 * A forward pass in models/ is a straight list of these calls (eager, no graph). Activations are float32 rows in
 * device memory, addressed by pointers that only the backend dereferences: models/ does pointer arithmetic on them and
 * moves data with upload / download. On the CPU device memory is ordinary memory.
 *
 * Ops return nothing: they cannot fail once memory is planned, except when the device itself is lost, which the
 * backend remembers and `sync` reports. All calls on one backend come from one thread at a time.
 *
 * Index arrays (ids, positions, n_visible, attn_seq and its page tables) are host memory, read before the op returns.
 * Shapes are [rows, columns], row-major; `ld…` is the distance between rows in floats. Outputs never alias inputs
 * unless the op says so.
 *
 * THE PROMISE: a row of a result has the same bits whatever other rows are computed beside it, whatever the number of
 * threads. Matmul sums along the inner dimension as one fixed sequence of lane-wise partial sums and one fixed final
 * reduction; attention walks its keys in tiles that start at multiples of KV_PAGE of the cache, in spans of a fixed
 * number of tiles that are merged in order. (Bits may differ between instruction sets.)
 */
#ifndef MO_BACKEND_H
#define MO_BACKEND_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/status.h"

typedef struct backend backend;

/* A matrix [n_row, n_col] ready for matmul: y = W x. Made by ops->weight, owned by the backend that made it. */
typedef struct weight {
    const void *data; /* rows of `type`, row_bytes apart: usually the file's own mapped bytes */
    void *packed;     /* what a backend repacked, or NULL */
    int64_t n_row, n_col;
    size_t row_bytes;
    int32_t type; /* mo_dtype */
} weight;

typedef enum activation { ACT_NONE, ACT_RELU, ACT_SILU, ACT_GELU_ERF, ACT_GELU_TANH } activation;

/* What happens to a matmul's result before it is stored, in this order: + bias, activation, * scale, + what y held. */
typedef struct epilogue {
    const float *bias; /* [n_row] or NULL */
    activation act;
    float scale;     /* 0 counts as 1 */
    bool accumulate; /* y += instead of y = : a residual branch */
} epilogue;

/* One of several matmuls of the same x. */
typedef struct matmul_part {
    float *y; /* [n, w->n_row] */
    int64_t ldy;
    const weight *w;
    const epilogue *ep; /* NULL: none */
} matmul_part;

enum { MATMUL_PARTS_MAX = 4 };

/* Keys and values live in pages of KV_PAGE positions. One page of one layer holds K of all heads, then V of all heads:
 *   K [n_kv_head][head_dim, KV_PAGE]    transposed, so that scores of many keys are sums down a column
 *   V [n_kv_head][KV_PAGE, head_dim]
 * kv_type is MO_F32, MO_F16 or MO_Q8_0. For Q8_0 a head's part is int8 in that shape, then its float16 scales, one for a position
 * and 32 elements of head_dim (so head_dim % 32 == 0): of K [head_dim / 32, KV_PAGE], of V [KV_PAGE, head_dim / 32]. */
enum { KV_PAGE = 64 };

/* What one head's K, or its V, takes of a page of one layer; 0: head_dim is no multiple of the type's block. */
static inline size_t kv_page_head_bytes(int32_t kv_type, int head_dim) { return KV_PAGE * dtype_row_bytes(kv_type, head_dim); }

static inline size_t kv_page_layer_bytes(int32_t kv_type, int n_kv_head, int head_dim)
{
    return 2 * (size_t)n_kv_head * kv_page_head_bytes(kv_type, head_dim);
}

/* One sequence's rows in an attention or kv_store call. */
typedef struct attn_seq {
    int row, n_row;      /* rows [row, row + n_row) of q belong to this sequence */
    void *const *page;   /* page i holds cache positions [i*KV_PAGE, (i+1)*KV_PAGE) of ALL layers */
    size_t layer_offset; /* bytes from a page's start to this layer's K */
} attn_seq;

/* Attention over paged keys and values (language models, streaming encoders). */
typedef struct attn_paged_args {
    float *y;       /* [n, n_head * head_dim], ldy */
    const float *q; /* [n, n_head * head_dim], ldq; after norm and rotation, unscaled */
    int64_t ldy, ldq;
    const int32_t *n_visible; /* [n] row i sees cache positions [0, n_visible[i]); >= 1 */
    const attn_seq *seq;
    int n_seq;
    int n_head, n_kv_head, head_dim; /* head h reads kv head h / (n_head / n_kv_head) */
    int32_t kv_type;
    float scale; /* on q.k */
} attn_paged_args;

/* Attention over plain rows (encoders, cross attention). Several independent items (image tiles, audio pieces) in one
 * call: item i has query rows [q_row[i], q_row[i+1]) and key rows [k_row[i], k_row[i+1]). */
typedef struct attn_dense_args {
    float *y;               /* [n_q, n_head * head_dim] */
    const float *q, *k, *v; /* [n_q | n_k, n_head * head_dim] */
    int64_t ldy, ldq, ldk, ldv;
    const int32_t *q_row, *k_row; /* [n_item + 1] */
    const int32_t *n_visible;     /* [n_q] keys of its item that a row sees, counted from the item's first; NULL: all */
    int n_item, n_head, head_dim;
    float scale;
} attn_dense_args;

/* The usual case: rows of one width d, scores scaled by 1 / sqrt(head_dim). */
static inline attn_dense_args attn_dense_of(float *y, const float *q, const float *k, const float *v, int64_t d, int n_head)
{
    const int head_dim = (int)(d / n_head);

    return (attn_dense_args){ .y = y,
                              .q = q,
                              .k = k,
                              .v = v,
                              .ldy = d,
                              .ldq = d,
                              .ldk = d,
                              .ldv = d,
                              .n_head = n_head,
                              .head_dim = head_dim,
                              .scale = 1.0f / sqrtf((float)head_dim) };
}

typedef enum rope_style { ROPE_HALVES, ROPE_PAIRS } rope_style; /* pairs (i, i + d/2), or (2i, 2i+1) */

typedef struct backend_ops {
    const char *name;

    void (*destroy)(backend *be);
    mo_status (*sync)(backend *be, mo_error *err); /* wait; MO_E_IO if the device was lost */

    /* Memory */
    mo_status (*alloc)(backend *be, void **out, size_t bytes, mo_error *err); /* 64-byte aligned, zeroed, resident */
    void (*dealloc)(backend *be, void *p);
    void (*upload)(backend *be, void *dst, const void *src, size_t bytes);
    void (*download)(backend *be, void *dst, const void *src, size_t bytes);
    void (*copy)(backend *be, void *dst, const void *src, size_t bytes); /* device to device, may not overlap */

    /* Weights. `data` stays mapped while the weight lives. MO_E_UNSUPPORTED for a type the backend has no kernel for.
     * weight_bytes: what weight() would allocate (0 when it repacks nothing): for the plan. A repacked weight's mapped bytes are not
     * read by matmul, only by embed.
     * table: rows that are only looked up (embed), never repacked. */
    mo_status (*weight)(backend *be, weight *out, int32_t type, int64_t n_row, int64_t n_col, const void *data, mo_error *err);
    mo_status (*table)(backend *be, weight *out, int32_t type, int64_t n_row, int64_t n_col, const void *data, mo_error *err);
    size_t (*weight_bytes)(backend *be, int32_t type, int64_t n_row, int64_t n_col);
    void (*weight_free)(backend *be, weight *w);

    /* y[n, w->n_row] = x[n, w->n_col] W^T, then the epilogue (NULL: none). */
    void (*matmul)(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep);
    /* matmul of each of n_part <= MATMUL_PARTS_MAX weights with one x: the same bits, less waiting. No y overlaps another or x. */
    void (*matmul_group)(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n);
    /* Rows of a weight as float32: y[n, n_col] = W[id[i]] * scale. Every id is in range (the caller checks). */
    void (*embed)(backend *be, float *y, int64_t ldy, const weight *w, const int32_t *id, int64_t n, float scale);

    /* Per row of d elements; y may be x. rms: y = x / sqrt(mean(x^2) + eps) * g.  layer: (x - mean)/sqrt(var + eps) * g + b. */
    void (*rms_norm)(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, int64_t n, int64_t d, float eps);
    void (*layer_norm)(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, const float *b, int64_t n,
                       int64_t d, float eps);

    /* What n rows are rotated by: angle [n, head_dim], a row's cosines of pos[row] * inv_freq[i] (i < head_dim/2), then the
     * sines; the angle is computed in double and rounded once. All layers of a pass share them. inv_freq: host memory. */
    void (*rope_angles)(backend *be, float *angle, const int32_t *pos, const float *inv_freq, int64_t n, int head_dim);
    /* In place on n_head heads of head_dim per row: optional RMSNorm per head (g NULL: none), then rotation. angle: above. */
    void (*norm_rope)(backend *be, float *x, int64_t ldx, const float *g, float eps, const float *angle, int64_t n, int n_head,
                      int head_dim, rope_style style);

    /* y[n, d] = silu(gate) * up; y may be gate or up */
    void (*swiglu)(backend *be, float *y, int64_t ldy, const float *gate, int64_t ldg, const float *up, int64_t ldu, int64_t n, int64_t d);
    /* y = a + b, rows of b chosen by b_row (NULL: row i); y may be a. For position tables. */
    void (*add_rows)(backend *be, float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, const int32_t *b_row,
                     int64_t n, int64_t d);
    /* y[n / group, d] = mean over groups of `group` consecutive rows; a rest is dropped */
    void (*mean_rows)(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t d, int group);
    /* y[n_out, c * k]: row t holds x[s*t + j - pad][ch] at column ch*k + j (zero outside [0, n)): a 1-D convolution over rows
     * becomes matmul with the checkpoint's own [out, c, k] weight. */
    void (*im2col_1d)(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t c, int k, int stride, int pad,
                      int64_t n_out);

    void (*attn_dense)(backend *be, const attn_dense_args *a);
    void (*attn_paged)(backend *be, const attn_paged_args *a);
    /* Store k, v [n, n_kv_head * head_dim] at cache positions at[row] of each sequence's pages. */
    void (*kv_store)(backend *be, const attn_seq *seq, int n_seq, const int32_t *at, const float *k, const float *v, int64_t ld,
                     int n_kv_head, int head_dim, int32_t kv_type);
    /* In one layer: move cache positions [src, src + n) down to dst < src and rotate the keys by `shift` positions. Rotated keys are
     * rounded to kv_type again; values move as they are. */
    void (*kv_shift)(backend *be, const attn_seq *seq, int32_t dst, int32_t src, int32_t n, int32_t shift, const float *inv_freq,
                     int n_kv_head, int head_dim, int32_t kv_type, rope_style style);
    /* One layer's K and V of positions [0, n) as float32 [n_kv_head, n, head_dim], in host memory. For traces and snapshots. */
    void (*kv_read)(backend *be, const attn_seq *seq, int32_t n, float *k, float *v, int n_kv_head, int head_dim, int32_t kv_type);
} backend_ops;

struct backend {
    const backend_ops *ops; /* first member of every backend's own struct */
};

/* The CPU backend. isa_mask: MO_ISA_… bits that may be used (cpu.h); n_thread 0: every core.
 * fast: multiply F16/BF16/F32 weights in reduced precision where that is faster: as bf16 pairs on AVX-512 BF16, as 16-bit
 * block fixed point on AVX2. With bf16 pairs attention over plain rows (encoders) is computed in them too; paged attention
 * stays float32. The promise above holds.
 * int8: as fast, and F16/BF16/F32 weights become int8 when they are bound, one scale for 256 columns of a row; activations are
 * rounded to int8 too, one scale for 64 (quant/q_dense_tmpl.h). All instruction sets give the same products. Packing takes all threads;
 * after each weight `packed` (NULL: nobody asks) is called with the bytes it took, from the thread that binds.
 * exact_quant: multiply block-quantised weights as the float32 they stand for, several times slower. Else their activations are rounded: to
 * 16 bits on AVX-512 VNNI where that costs little (cpu_words_are_fast), to int8 elsewhere and with `int8`.
 * int16: to 16 bits even so; MO_E_ARG without AVX-512 VNNI. */
typedef struct cpu_backend_opts {
    int n_thread;
    unsigned isa_mask;
    bool fast;
    bool int8;
    bool int16;
    bool exact_quant;
    void (*packed)(void *user, size_t bytes);
    void *user;
} cpu_backend_opts;

mo_status cpu_backend_new(backend **out, const cpu_backend_opts *opts, mo_error *err);
/* What it chose, e.g. "avx2, 2 threads". */
void cpu_backend_describe(const backend *be, char *out, size_t n);

#endif
