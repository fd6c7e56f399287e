/* Ops that work row by row: embeddings, norms, rotation, elementwise, gathers. Each splits its rows over threads. */
#include "backend/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

/* One argument struct for all of them: y, a, b, g with their row distances, and what else a row needs. */
typedef struct rows_args {
    float *y;
    const float *a, *b, *g, *bias;
    int64_t ldy, lda, ldb, n, d;
    float eps, scale;
    const int32_t *index;
    const weight *w;
    const float *inv_freq;
    int n_head, head_dim, group, k, stride, pad;
    rope_style style;
} rows_args;

static void embed_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) {
        float *y = p->y + r * p->ldy;
        c->k.to_f32[p->w->type](y, (const uint8_t *)p->w->data + (size_t)p->index[r] * p->w->row_bytes, p->w->n_col);
        if (p->scale != 1.0f) c->k.scale(y, y, p->scale, p->w->n_col);
    }
}

void cpu_embed(backend *be, float *y, int64_t ldy, const weight *w, const int32_t *id, int64_t n, float scale)
{
    cpu_rows(cpu_of(be), n, w->n_col, embed_rows, &(rows_args){ .y = y, .ldy = ldy, .w = w, .index = id, .scale = scale });
}

static void rms_norm_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) c->k.rms_norm(p->y + r * p->ldy, p->a + r * p->lda, p->g, p->d, p->eps);
}

void cpu_rms_norm(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, int64_t n, int64_t d, float eps)
{
    cpu_rows(cpu_of(be), n, 2 * d, rms_norm_rows, &(rows_args){ .y = y, .ldy = ldy, .a = x, .lda = ldx, .g = g, .d = d, .eps = eps });
}

static void layer_norm_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) c->k.layer_norm(p->y + r * p->ldy, p->a + r * p->lda, p->g, p->bias, p->d, p->eps);
}

void cpu_layer_norm(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, const float *b, int64_t n, int64_t d,
                    float eps)
{
    cpu_rows(cpu_of(be), n, 3 * d, layer_norm_rows,
             &(rows_args){ .y = y, .ldy = ldy, .a = x, .lda = ldx, .g = g, .bias = b, .d = d, .eps = eps });
}

void cpu_rope_angles(float *cs, float *sn, int32_t pos, const float *inv_freq, int n)
{
    for (int i = 0; i < n; i++) {
        const double angle = (float)((double)pos * inv_freq[i]);
        cs[i] = (float)cos(angle);
        sn[i] = (float)sin(angle);
    }
}

static void rope_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    (void)c;
    for (int64_t r = r0; r < r1; r++) {
        float *cs = p->y + r * p->ldy;
        cpu_rope_angles(cs, cs + p->head_dim / 2, p->index[r], p->inv_freq, p->head_dim / 2);
    }
}

void cpu_rope_rows(backend *be, float *angle, const int32_t *pos, const float *inv_freq, int64_t n, int head_dim)
{
    cpu_rows(cpu_of(be), n, (int64_t)head_dim * 16, rope_rows,
             &(rows_args){ .y = angle, .ldy = head_dim, .index = pos, .inv_freq = inv_freq, .head_dim = head_dim });
}

static void norm_rope_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) {
        const float *cs = p->a + r * p->head_dim, *sn = cs + p->head_dim / 2;
        for (int h = 0; h < p->n_head; h++) {
            float *x = p->y + r * p->ldy + (int64_t)h * p->head_dim;
            if (p->g) c->k.rms_norm(x, x, p->g, p->head_dim, p->eps);
            c->k.rope(x, cs, sn, p->head_dim, p->style);
        }
    }
}

void cpu_norm_rope(backend *be, float *x, int64_t ldx, const float *g, float eps, const float *angle, int64_t n, int n_head, int head_dim,
                   rope_style style)
{
    cpu_rows(cpu_of(be), n, (int64_t)head_dim * n_head * 2, norm_rope_rows,
             &(rows_args){ .y = x, .ldy = ldx, .a = angle, .g = g, .eps = eps, .n_head = n_head, .head_dim = head_dim, .style = style });
}

static void swiglu_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) c->k.swiglu(p->y + r * p->ldy, p->a + r * p->lda, p->b + r * p->ldb, p->d);
}

void cpu_swiglu(backend *be, float *y, int64_t ldy, const float *gate, int64_t ldg, const float *up, int64_t ldu, int64_t n, int64_t d)
{
    cpu_rows(cpu_of(be), n, 4 * d, swiglu_rows, &(rows_args){ .y = y, .ldy = ldy, .a = gate, .lda = ldg, .b = up, .ldb = ldu, .d = d });
}

static void add_rows_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) c->k.add(p->y + r * p->ldy, p->a + r * p->lda, p->b + (p->index ? p->index[r] : r) * p->ldb, p->d);
}

void cpu_add_rows(backend *be, float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, const int32_t *b_row,
                  int64_t n, int64_t d)
{
    cpu_rows(cpu_of(be), n, d, add_rows_rows,
             &(rows_args){ .y = y, .ldy = ldy, .a = a, .lda = lda, .b = b, .ldb = ldb, .index = b_row, .d = d });
}

static void mean_rows_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    for (int64_t r = r0; r < r1; r++) {
        float *y = p->y + r * p->ldy;
        const float *x = p->a + r * p->group * p->lda;
        if (p->group == 1) {
            memcpy(y, x, (size_t)p->d * sizeof *y);
            continue;
        }
        c->k.add(y, x, x + p->lda, p->d);
        for (int i = 2; i < p->group; i++) c->k.add(y, y, x + i * p->lda, p->d);
        c->k.scale(y, y, 1.0f / (float)p->group, p->d);
    }
}

void cpu_mean_rows(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t d, int group)
{
    cpu_rows(cpu_of(be), n / group, d * group, mean_rows_rows,
             &(rows_args){ .y = y, .ldy = ldy, .a = x, .lda = ldx, .d = d, .group = group });
}

static void im2col_rows(cpu_backend *c, const void *arg, int64_t r0, int64_t r1)
{
    const rows_args *p = arg;

    (void)c;
    for (int64_t t = r0; t < r1; t++)
        for (int j = 0; j < p->k; j++) {
            const int64_t i = t * p->stride + j - p->pad;
            float *y = p->y + t * p->ldy + j;
            if (i < 0 || i >= p->n) {
                for (int64_t ch = 0; ch < p->d; ch++) y[ch * p->k] = 0;
            } else {
                const float *x = p->a + i * p->lda;
                for (int64_t ch = 0; ch < p->d; ch++) y[ch * p->k] = x[ch];
            }
        }
}

void cpu_im2col_1d(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n, int64_t c, int k, int stride, int pad,
                   int64_t n_out)
{
    cpu_rows(cpu_of(be), n_out, c * k, im2col_rows,
             &(rows_args){ .y = y, .ldy = ldy, .a = x, .lda = ldx, .n = n, .d = c, .k = k, .stride = stride, .pad = pad });
}
