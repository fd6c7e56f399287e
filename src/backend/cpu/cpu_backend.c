/* The CPU backend as an object: creation, memory, weights, the table of ops. Device memory is ordinary memory. */
#include "backend/cpu/cpu_internal.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cpu.h"
#include "core/memory.h"

static void cpu_destroy(backend *be)
{
    cpu_backend *c = cpu_of(be);

    if (!c) return;
    pool_free(c->pool);
    mo_free(c->scratch);
    mo_free(c->memory);
    mo_free(c);
}

static mo_status cpu_sync(backend *be, mo_error *err)
{
    (void)be;
    (void)err;
    return MO_OK;
}

static mo_status cpu_alloc(backend *be, void **out, size_t bytes, mo_error *err)
{
    (void)be;
    if (!(*out = mo_alloc_aligned(bytes))) return mo_fail(err, MO_E_NOMEM, "no memory for %zu bytes of buffers", bytes);
    memory_wish_huge(*out, bytes); /* activations are walked by columns of heads and rows of tiles, one page each */
    memset(*out, 0, bytes);        /* also makes the pages resident, so that a step does not fault */
    return MO_OK;
}

static void cpu_dealloc(backend *be, void *p)
{
    (void)be;
    mo_free(p);
}

static void cpu_copy(backend *be, void *dst, const void *src, size_t bytes)
{
    (void)be;
    if (bytes) memcpy(dst, src, bytes);
}

/* Rows are used where they are mapped. */
static mo_status cpu_table(backend *be, weight *out, int32_t type, int64_t n_row, int64_t n_col, const void *data, mo_error *err)
{
    const dtype_info *d = dtype_get(type);

    *out = (weight){ 0 };
    if (!d) return mo_fail(err, MO_E_UNSUPPORTED, "weight type %d is not known", type);
    if (!cpu_of(be)->k.to_f32[type]) /* without kernels of its own a type goes through F32's, decoded row by row */
        return mo_fail(err, MO_E_UNSUPPORTED, "no CPU kernel for weights of type %s", d->name);
    if (n_row < 1 || n_col < 1 || n_col % d->n_block)
        return mo_fail(err, MO_E_ARG, "weight of %lld x %lld: rows must be whole blocks of %d", (long long)n_row, (long long)n_col,
                       d->n_block);
    if (n_col > MATMUL_COL_MAX)
        return mo_fail(err, MO_E_UNSUPPORTED, "weight rows of %lld elements: the CPU backend takes up to %d", (long long)n_col,
                       MATMUL_COL_MAX);
    *out = (weight){ .data = data, .n_row = n_row, .n_col = n_col, .row_bytes = dtype_row_bytes(type, n_col), .type = type };
    return MO_OK;
}

static size_t cpu_weight_bytes(backend *be, int32_t type, int64_t n_row, int64_t n_col)
{
    return cpu_packed_bytes(cpu_of(be), type, n_row, n_col);
}

/* So are weights, unless they are packed. */
static mo_status cpu_weight(backend *be, weight *out, int32_t type, int64_t n_row, int64_t n_col, const void *data, mo_error *err)
{
    cpu_backend *c = cpu_of(be);
    const mo_status st = cpu_table(be, out, type, n_row, n_col, data, err);
    const size_t bytes = st == MO_OK ? cpu_packed_bytes(c, type, n_row, n_col) : 0;

    if (!bytes) return st;
    if (!(out->packed = mo_alloc_aligned(bytes))) {
        *out = (weight){ 0 };
        return mo_fail(err, MO_E_NOMEM, "no memory for the %zu bytes of a weight as int8", bytes);
    }
    memory_wish_huge(out->packed, bytes);
    cpu_pack_dense(c, out, out->packed);
    if (c->packed) c->packed(c->user, bytes);
    return MO_OK;
}

static void cpu_weight_free(backend *be, weight *w)
{
    (void)be;
    mo_free(w->packed);
    *w = (weight){ 0 };
}

typedef struct rows_job {
    cpu_backend *c;
    cpu_rows_fn fn;
    const void *arg;
    int64_t n;
} rows_job;

static void rows_part(void *arg, int i, int n)
{
    const rows_job *j = arg;
    int64_t r0 = j->n * i / n, r1 = j->n * (i + 1) / n;

    if (r0 < r1) j->fn(j->c, j->arg, r0, r1);
}

void cpu_rows(cpu_backend *c, int64_t n, int64_t cost, cpu_rows_fn fn, const void *arg)
{
    rows_job j = { c, fn, arg, n };

    if (n <= 0) return;
    if (n == 1 || n * cost < 32768) fn(c, arg, 0, n);
    else pool_run(c->pool, rows_part, &j);
}

static int64_t run_start(const task_runs *t, int i) { return i * t->n_task / t->n_run; }

void task_runs_begin(task_runs *t, int64_t n_task, int n_thread)
{
    t->n_task = n_task;
    t->n_run = n_thread < TASK_RUNS_MAX ? n_thread : TASK_RUNS_MAX;
    for (int i = 0; i < t->n_run; i++) atomic_store_explicit(&t->run[i].next, run_start(t, i), memory_order_relaxed);
}

int64_t task_runs_take(task_runs *t, int i_thread, int *at)
{
    for (; *at < t->n_run; ++*at) {
        const int i = (i_thread + *at) % t->n_run;
        const int64_t task = atomic_fetch_add_explicit(&t->run[i].next, 1, memory_order_relaxed);
        if (task < run_start(t, i + 1)) return task;
    }
    return -1;
}

static const backend_ops cpu_ops = {
    .name = "cpu",
    .destroy = cpu_destroy,
    .sync = cpu_sync,
    .alloc = cpu_alloc,
    .dealloc = cpu_dealloc,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .weight = cpu_weight,
    .table = cpu_table,
    .weight_bytes = cpu_weight_bytes,
    .weight_free = cpu_weight_free,
    .matmul = cpu_matmul,
    .matmul_group = cpu_matmul_group,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .layer_norm = cpu_layer_norm,
    .rope_angles = cpu_rope_rows,
    .norm_rope = cpu_norm_rope,
    .swiglu = cpu_swiglu,
    .add_rows = cpu_add_rows,
    .mean_rows = cpu_mean_rows,
    .im2col_1d = cpu_im2col_1d,
    .attn_dense = cpu_attn_dense,
    .attn_paged = cpu_attn_paged,
    .kv_store = cpu_kv_store,
    .kv_shift = cpu_kv_shift,
    .kv_read = cpu_kv_read,
};

/* x_pack and all scratch in one block. Panels are walked end to end, and with 4 KiB pages the address translation of
 * megabytes costs a tenth of a matmul. */
static bool work_memory(cpu_backend *c)
{
    const size_t bytes = X_PACK_BYTES + (size_t)c->n_thread * SCRATCH_BYTES;

    if (!(c->scratch = mo_calloc((size_t)c->n_thread, sizeof *c->scratch))) return false;
    if (!(c->memory = mo_alloc_aligned(bytes + MEMORY_HUGE_PAGE))) return false;
    c->x_pack = (uint8_t *)c->memory + (-(uintptr_t)c->memory & (MEMORY_HUGE_PAGE - 1));
    memory_wish_huge(c->x_pack, bytes);
    for (int i = 0; i < c->n_thread; i++) c->scratch[i] = c->x_pack + X_PACK_BYTES + (size_t)i * SCRATCH_BYTES;
    return true;
}

mo_status cpu_backend_new_kernels(backend **out, const kernels *k, int n_thread, mo_error *err)
{
    cpu_backend *c;
    mo_status st = MO_E_NOMEM;

    *out = NULL;
    if (n_thread < 0) return mo_fail(err, MO_E_ARG, "%d threads: give 1 or more, or 0 for every core", n_thread);
    if (!n_thread) n_thread = cpu_count();
    if (!(c = mo_zalloc(sizeof *c))) return mo_fail(err, MO_E_NOMEM, "no memory for the CPU backend");
    c->base.ops = &cpu_ops;
    c->k = *k;
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++)
        if (dtype_get(i) && !c->k.to_f32[i]) c->k.to_f32[i] = dtype_get(i)->to_f32;
    c->n_thread = n_thread;
    if (!work_memory(c)) goto nomem;
    if ((st = pool_new(&c->pool, n_thread, err)) != MO_OK) goto fail;
    *out = &c->base;
    return MO_OK;
nomem:
    mo_fail(err, MO_E_NOMEM, "no memory for the CPU backend's scratch of %d threads", n_thread);
fail:
    cpu_destroy(&c->base);
    return st;
}

mo_status cpu_backend_new(backend **out, const cpu_backend_opts *opts, mo_error *err)
{
    const unsigned isa = cpu_isa() & opts->isa_mask;
    kernels k;
    mo_status st;

    if (opts->int16 && !quant_has_words(isa))
        return mo_fail(err, MO_E_ARG,
                       "16-bit activations need AVX-512 VNNI, which this machine does not have or may not use; `exact`, in "
                       "float32, works everywhere");
    kernels_init(&k, isa,
                 opts->int8   ? KERNELS_INT8
                 : opts->fast ? KERNELS_FAST
                              : KERNELS_FLOAT32,
                 opts->int16 || (!opts->int8 && cpu_words_are_fast()));
    if (opts->exact_quant) memset(k.quant, 0, MO_DTYPE_COUNT * sizeof *k.quant);
    if ((st = cpu_backend_new_kernels(out, &k, opts->n_thread, err)) != MO_OK) return st;
    cpu_of(*out)->packed = opts->packed;
    cpu_of(*out)->user = opts->user;
    return MO_OK;
}

void cpu_backend_describe(const backend *be, char *out, size_t n)
{
    const cpu_backend *c = (const cpu_backend *)be;
    char isa[128];

    cpu_isa_format(c->k.isa, isa, sizeof isa);
    snprintf(out, n, "%s%s, %d thread%s", isa,
             c->k.int8                    ? " in int8"
             : c->k.matmul[MO_F32]->block ? " in 16-bit blocks"
                                          : "",
             c->n_thread, c->n_thread == 1 ? "" : "s");
}
