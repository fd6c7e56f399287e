/* Dense weights to int8 (q_dense_tmpl.h), once, when they are bound. Threads take panels. */
#include <stdatomic.h>

#include "backend/cpu/cpu_internal.h"

typedef struct pack_job {
    cpu_backend *c;
    const weight *w;
    const quant_kernel *t;
    uint8_t *packed;
    int64_t n_panel;
    _Atomic int64_t next;
} pack_job;

static void pack_panel(const pack_job *j, float *rows, int64_t panel)
{
    const weight *w = j->w;
    const int64_t most = j->t->panel_rows, r0 = panel * most, nr = w->n_row - r0 < most ? w->n_row - r0 : most;
    uint8_t *o = j->packed + (size_t)r0 * quant_packed_bytes(w->n_col);

    for (int64_t k = 0; k < w->n_col; k += Q_CHUNK, o += (size_t)most * quant_packed_bytes(Q_CHUNK)) {
        const int64_t n_col = w->n_col - k < Q_CHUNK ? w->n_col - k : Q_CHUNK;
        for (int64_t r = 0; r < nr; r++)
            j->c->k.to_f32[w->type](rows + r * Q_CHUNK,
                                    (const uint8_t *)w->data + (size_t)(r0 + r) * w->row_bytes + dtype_row_bytes(w->type, k), n_col);
        j->t->pack_weights(o, rows, Q_CHUNK, (int)nr, (int)n_col);
    }
}

static void pack_part(void *arg, int i_thread, int n_thread)
{
    pack_job *j = arg;
    int64_t panel;

    (void)n_thread;
    while ((panel = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_panel)
        pack_panel(j, (float *)(void *)j->c->scratch[i_thread], panel);
}

static int64_t panels_of(const quant_kernel *t, int64_t n_row) { return (n_row + t->panel_rows - 1) / t->panel_rows; }

size_t cpu_packed_bytes(const cpu_backend *c, int32_t type, int64_t n_row, int64_t n_col)
{
    const quant_kernel *t = c->k.quant[QUANT_DENSE];

    if (!c->k.int8 || !t || dtype_get(type)->n_block > 1) return 0;
    return (size_t)(panels_of(t, n_row) * t->panel_rows) * quant_packed_bytes(n_col);
}

void cpu_pack_dense(cpu_backend *c, const weight *w, uint8_t *packed)
{
    const quant_kernel *t = c->k.quant[QUANT_DENSE];
    pack_job j = { .c = c, .w = w, .t = t, .packed = packed, .n_panel = panels_of(t, w->n_row) };

    pool_run(c->pool, pack_part, &j);
}
