/* The CPU backend's own struct and the helpers its op drivers share. Private to this folder. */
#ifndef MO_BACKEND_CPU_INTERNAL_H
#define MO_BACKEND_CPU_INTERNAL_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "core/threads.h"

/* Memory allocated once, in cpu_backend_new; ops never allocate.
 *   x_pack   shared: activation rows of one matmul as panels. More rows than fit are done in chunks.
 *   scratch  per thread: matmul's weight panel, or attention's query block and key tile.
 * Weight rows too long for a panel of a tile's rows (k of about 24000 floats on AVX-512) go the way of few rows, however many x has. */
enum { X_PACK_BYTES = 16 << 20, SCRATCH_BYTES = 15 << 18, MATMUL_COL_MAX = 1 << 17 };

typedef struct cpu_backend {
    backend base;
    kernels k;
    pool *pool;
    int n_thread;
    void *memory;                             /* holds the two below, on huge pages where the system gives them */
    uint8_t *x_pack;                          /* X_PACK_BYTES */
    uint8_t **scratch;                        /* [n_thread], each SCRATCH_BYTES, aligned to MO_ALIGN */
    void (*packed)(void *user, size_t bytes); /* as in cpu_backend_opts */
    void *user;
} cpu_backend;

/* How w meets int8 activations, or NULL: it does not. */
static inline const quant_kernel *cpu_quant_of(const cpu_backend *c, const weight *w)
{
    return c->k.quant[w->packed ? (int)QUANT_DENSE : w->type];
}

static inline cpu_backend *cpu_of(backend *be) { return (cpu_backend *)be; }

/* fn on row ranges that cover [0, n), on several threads if n * cost (about: elements touched) is worth waking them. */
typedef void (*cpu_rows_fn)(cpu_backend *c, const void *arg, int64_t r0, int64_t r1);
void cpu_rows(cpu_backend *c, int64_t n, int64_t cost, cpu_rows_fn fn, const void *arg);

/* Tasks of which every thread has a run of neighbours of its own, and helps the others when it is done: a thread then reads its
 * part of the weights from front to back, and what is fetched ahead of a task is what the same thread uses next. */
enum { TASK_RUNS_MAX = 64 };
typedef struct task_runs {
    int64_t n_task;
    int n_run;
    struct {
        _Alignas(64) _Atomic int64_t next;
    } run[TASK_RUNS_MAX];
} task_runs;

void task_runs_begin(task_runs *t, int64_t n_task, int n_thread);
/* The next task of a thread, or -1. *at: 0 before its first, then the function's own. */
int64_t task_runs_take(task_runs *t, int i_thread, int *at);

/* As cpu_backend_new, with a kernel table of the caller's (tests run emulated instruction sets through it). */
mo_status cpu_backend_new_kernels(backend **out, const kernels *k, int n_thread, mo_error *err);

/* Ops by file. */
void cpu_matmul(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep);
void cpu_matmul_group(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n);
/* The packed form of a dense weight (quant/pack_dense.c): the bytes it needs, 0 for one that is multiplied as it is stored; and
 * made by all threads. */
size_t cpu_packed_bytes(const cpu_backend *c, int32_t type, int64_t n_row, int64_t n_col);
void cpu_pack_dense(cpu_backend *c, const weight *w, uint8_t *packed);
void cpu_matmul_quant(cpu_backend *c, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n);
void cpu_attn_dense(backend *be, const attn_dense_args *a);
void cpu_attn_paged(backend *be, const attn_paged_args *a);

void cpu_kv_store(backend *be, const attn_seq *seq, int n_seq, const int32_t *at, const float *k, const float *v, int64_t ld, int n_kv_head,
                  int head_dim, int32_t kv_type);
void cpu_kv_shift(backend *be, const attn_seq *seq, int32_t dst, int32_t src, int32_t n, int32_t shift, const float *inv_freq,
                  int n_kv_head, int head_dim, int32_t kv_type, rope_style style);
void cpu_kv_read(backend *be, const attn_seq *seq, int32_t n, float *k, float *v, int n_kv_head, int head_dim, int32_t kv_type);

void cpu_embed(backend *be, float *y, int64_t ldy, const weight *w, const int32_t *id, int64_t n, float scale);
void cpu_rms_norm(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, int64_t n, int64_t d, float eps);
void cpu_layer_norm(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, const float *b, int64_t n, int64_t d,
                    float eps);
void cpu_rope_rows(backend *be, float *angle, const int32_t *pos, const float *inv_freq, int64_t n, int head_dim);
void cpu_norm_rope(backend *be, float *x, int64_t ldx, const float *g, float eps, const float *angle, int64_t n, int n_head, int head_dim,
                   rope_style style);
void cpu_swiglu(backend *be, float *y, int64_t ldy, const float *gate, int64_t ldg, const float *up, int64_t ldu, int64_t n, int64_t d);
void cpu_add_rows(backend *be, float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, const int32_t *b_row,
                  int64_t n, int64_t d);
void cpu_mean_rows(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t d, int group);
void cpu_im2col_1d(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t c, int k, int stride, int pad,
                   int64_t n_out);

/* cos and sin of pos * inv_freq[i], i < n. The angle is the float32 the reference has (the exact product rounded once);
 * its cosine and sine are taken in double and rounded. */
void cpu_rope_angles(float *cs, float *sn, int32_t pos, const float *inv_freq, int n);

#endif
