/* The filters written the slow and obvious way: sort everything, cut, sum. What draw.c must agree with. */
#ifndef TEST_SAMPLING_NAIVE_H
#define TEST_SAMPLING_NAIVE_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "session/draw.h"

typedef struct naive_item {
    double p;
    float x;
    int32_t id;
} naive_item;

static inline int naive_best_first(const void *pa, const void *pb)
{
    const naive_item *a = pa, *b = pb;

    if (a->x != b->x) return a->x > b->x ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static inline int naive_by_id(const void *pa, const void *pb)
{
    const naive_item *a = pa, *b = pb;

    return a->id < b->id ? -1 : 1;
}

/* Fills v [n] with what the filters leave, in vocabulary order, p normalised. Returns how many. */
static inline int32_t naive_filter(naive_item *v, const float *scores, int32_t n, const draw_filter *f)
{
    int32_t m = 0, k;
    double sum = 0, mass = 0;

    for (int32_t i = 0; i < n; i++) {
        float x = scores[i] / f->temperature;

        if (!(scores[i] > -INFINITY)) continue;
        v[m++] = (naive_item){ .x = x > FLT_MAX ? FLT_MAX : x, .id = i };
    }
    qsort(v, (size_t)m, sizeof *v, naive_best_first);
    if (f->top_k > 0 && m > f->top_k) {
        for (k = f->top_k; !f->top_k_exact && k < m && v[k].x == v[f->top_k - 1].x;) k++;
        m = k;
    }
    for (int32_t i = 0; i < m; i++) sum += v[i].p = exp((double)v[i].x - (double)v[0].x);
    if (f->top_p < 1.0f)
        for (k = 0; k < m; k++) {
            mass += v[k].p;
            if (f->top_p_exceeds ? mass > (double)f->top_p * sum : mass >= (double)f->top_p * sum) {
                m = k + 1;
                break;
            }
        }
    if (f->min_p > 0)
        for (k = 0; k < m; k++)
            if (v[k].p < (double)f->min_p) m = k;
    qsort(v, (size_t)m, sizeof *v, naive_by_id);
    sum = 0;
    for (int32_t i = 0; i < m; i++) sum += v[i].p;
    for (int32_t i = 0; i < m; i++) v[i].p /= sum;
    return m;
}

/* *near: u lies so close to a step that rounding may decide. */
static inline int32_t naive_draw(const naive_item *v, int32_t m, double u, int *near)
{
    double acc = 0;

    *near = 0;
    for (int32_t i = 0; i < m; i++) {
        acc += v[i].p;
        if (fabs(acc - u) < 1e-12) *near = 1;
        if (acc > u) return v[i].id;
    }
    *near = 1;
    return m ? v[m - 1].id : -1;
}

#endif
