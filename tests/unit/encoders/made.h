/* Small checkpoints made in memory: tensors by rule (core/synth.h), no files. */
#ifndef MADE_H
#define MADE_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "core/alloc.h"
#include "core/cpu.h"
#include "core/synth.h"
#include "formats/tensors_build.h"
#include "models/scratch.h"

typedef struct made {
    tensors *ts;
    void *data[512]; /* owned */
    int n;
    int32_t type;
    size_t matrix_bytes, n_vector; /* file bytes of tensors of two and more dimensions; elements of the others */
    const char *skip;              /* leave out the tensor of this name */
    const char *bend;              /* give this one a wrong last dimension */
} made;

static inline void made_begin(made *m, int32_t type)
{
    memset(m, 0, sizeof *m);
    m->type = type;
    if (tensors_new(&m->ts, NULL) != MO_OK) abort();
}

/* A tensor by the rule: matrices scaled by fan-in, vectors near 1 ("weight") or near 0. Dimensions past n_dim are ignored. */
static inline void made_put(made *m, const char *name, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    tensor t = { .name = name, .type = n_dim > 1 ? m->type : MO_F32, .n_dim = n_dim, .dim = { d0, d1, d2, d3 }, .file = "made" };
    int64_t n = 1, fan_in = 1;
    uint64_t key = synth_key(name, 1);
    char *x;

    if (m->skip && !strcmp(name, m->skip)) return;
    if (m->bend && !strcmp(name, m->bend)) t.dim[n_dim - 1]++;
    for (int i = 0; i < n_dim; i++) n *= t.dim[i];
    for (int i = 1; i < n_dim; i++) fan_in *= t.dim[i];
    t.n_bytes = (size_t)n * dtype_row_bytes(t.type, 1);
    if (!(x = malloc(t.n_bytes + 1))) abort();
    for (int64_t i = 0; i < n; i++) {
        float v = synth_x(key, (uint64_t)i);
        if (n_dim == 1) v = strstr(name, "weight") ? 1 + 0.1f * v : 0.2f * v;
        else v *= sqrtf(3.0f / (float)fan_in);
        if (t.type == MO_F32) memcpy(x + 4 * i, &v, 4);
        else {
            uint16_t h = t.type == MO_BF16 ? f32_to_bf16(v) : f32_to_f16(v);
            memcpy(x + 2 * i, &h, 2);
        }
    }
    t.data = m->data[m->n++] = x;
    if (n_dim > 1) m->matrix_bytes += t.n_bytes;
    else m->n_vector += (size_t)n;
    if (tensors_add(m->ts, &t, NULL) != MO_OK) abort();
}

static inline void made_1(made *m, int64_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static inline void made_1(made *m, int64_t n, const char *fmt, ...)
{
    char name[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    made_put(m, name, 1, n, 1, 1, 1);
}

static inline void made_2(made *m, int64_t r, int64_t c, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static inline void made_2(made *m, int64_t r, int64_t c, const char *fmt, ...)
{
    char name[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    made_put(m, name, 2, r, c, 1, 1);
}

static inline void made_end(made *m)
{
    if (tensors_index(m->ts, NULL) != MO_OK) abort();
}

static inline void made_free(made *m)
{
    tensors_close(m->ts);
    for (int i = 0; i < m->n; i++) free(m->data[i]);
}

static inline backend *made_backend(int n_thread)
{
    cpu_backend_opts o = { .n_thread = n_thread, .isa_mask = MO_ISA_ALL };
    backend *be = NULL;

    if (cpu_backend_new(&be, &o, NULL) != MO_OK) abort();
    return be;
}

/* Device rows; free with be->ops->dealloc. */
static inline float *made_rows(backend *be, int64_t n)
{
    void *p = NULL;

    if (be->ops->alloc(be, &p, (size_t)n * sizeof(float) + MO_ALIGN, NULL) != MO_OK) abort();
    return p;
}

static inline float *made_input(backend *be, const char *name, int64_t n)
{
    float *host = malloc((size_t)n * sizeof *host + 1), *dev = made_rows(be, n);

    if (!host) abort();
    for (int64_t i = 0; i < n; i++) host[i] = synth_x(synth_key(name, 1), (uint64_t)i);
    be->ops->upload(be, dev, host, (size_t)n * sizeof *host);
    free(host);
    return dev;
}

#endif
