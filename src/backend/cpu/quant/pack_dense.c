/* Dense weights to int8 (q_dense_tmpl.h), once, when they are bound. Threads take strips of Q_ROWS rows. */
#include <stdatomic.h>

#include "backend/cpu/cpu_internal.h"

typedef struct pack_job {
    cpu_backend *c;
    const weight *w;
    uint8_t *packed;
    int64_t n_strip;
    _Atomic int64_t next;
} pack_job;

static void pack_strip(const pack_job *j, float *rows, int64_t strip)
{
    const weight *w = j->w;
    const int64_t r0 = strip * Q_ROWS, nr = w->n_row - r0 < Q_ROWS ? w->n_row - r0 : Q_ROWS;
    uint8_t *o = j->packed + (size_t)strip * quant_packed_bytes(w->n_col);

    for (int64_t k = 0; k < w->n_col; k += Q_CHUNK, o += quant_packed_bytes(Q_CHUNK)) {
        const int64_t n_col = w->n_col - k < Q_CHUNK ? w->n_col - k : Q_CHUNK;
        for (int64_t r = 0; r < nr; r++)
            j->c->k.to_f32[w->type](rows + r * Q_CHUNK,
                                    (const uint8_t *)w->data + (size_t)(r0 + r) * w->row_bytes + dtype_row_bytes(w->type, k), n_col);
        j->c->k.quant[QUANT_DENSE]->pack_weights(o, rows, Q_CHUNK, (int)nr, (int)n_col);
    }
}

static void pack_part(void *arg, int i_thread, int n_thread)
{
    pack_job *j = arg;
    int64_t strip;

    (void)n_thread;
    while ((strip = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed)) < j->n_strip)
        pack_strip(j, (float *)(void *)j->c->scratch[i_thread], strip);
}

size_t cpu_packed_bytes(const cpu_backend *c, int32_t type, int64_t n_row, int64_t n_col)
{
    if (!c->k.int8 || !c->k.quant[QUANT_DENSE] || dtype_get(type)->n_block > 1) return 0;
    return (size_t)((n_row + Q_ROWS - 1) / Q_ROWS) * quant_packed_bytes(n_col);
}

void cpu_pack_dense(cpu_backend *c, const weight *w, uint8_t *packed)
{
    pack_job j = { .c = c, .w = w, .packed = packed, .n_strip = (w->n_row + Q_ROWS - 1) / Q_ROWS };

    pool_run(c->pool, pack_part, &j);
}
