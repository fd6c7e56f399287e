/* What the quantised kernels need, in plain C: lanes are arrays' elements. The definition of correct. */
#ifndef MO_QVEC_GENERIC_H
#define MO_QVEC_GENERIC_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/quant/quant.h"
#include "core/quants/quants.h"

#pragma GCC diagnostic ignored "-Wpsabi" /* 32-byte vectors never leave this file */

#define Q_SMALL     1
#define Q_LANES     4
#define Q_PANEL_FEW 0
#define Q_JOIN      0
#define Q_ASK_LEVEL 2
enum { QL = Q_LANES, MR = 4 };
#define Q_DENSE_X     4
#define Q_WIDE_SIGNED 0
#define Q_SIGNED_BIAS 0
#define Q_ADD_ALL     1
#define Q_SCALE(v)    (v)

typedef uint8_t b32 __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(16)));
typedef int32_t i8x __attribute__((vector_size(32))); /* 8 scales */
typedef int16_t h8x __attribute__((vector_size(16)));
typedef vi va, vm, vmi;
typedef vf vmf;

#define QV static inline __attribute__((always_inline))

QV float q_f16(const uint8_t *p) { return get_f16(p); }
QV b32 q_lut(const int8_t *table, b32 i)
{
    b32 v;
    for (int e = 0; e < 32; e++) v[e] = (uint8_t)table[i[e]];
    return v;
}
QV i8x q_widen(uint64_t w)
{
    i8x v;
    for (int e = 0; e < 8; e++) v[e] = w >> (8 * e) & 255;
    return v;
}
QV h8x q_narrow(i8x v)
{
    h8x h;
    for (int e = 0; e < 8; e++) h[e] = (int16_t)v[e];
    return h;
}
#define Q_KEEP(v) (void)(v)

/* Tile */
QV va q_load(const void *p)
{
    va v;
    memcpy(&v, p, sizeof v);
    return v;
}
QV va q_bcast(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return (va){ v, v, v, v };
}
/* Bytes of each lane, one after the other: e = 3 is the highest */
QV vi q_byte(vi v, int e, bool sgn) { return sgn ? (v << (24 - 8 * e)) >> 24 : (v >> (8 * e)) & 255; }
QV va q_dot(va a, va w, va x, bool sgn)
{
    for (int e = 0; e < 4; e++) a += q_byte(w, e, sgn) * q_byte(x, e, true);
    return a;
}
QV va q_dot_bytes(va a, va w, va x) { return q_dot(a, w, x, true); }
QV vi q_fold(vi sum, va a, va scale, bool sgn)
{
    (void)sgn;
    return sum + a * scale;
}
QV vi q_total(va a, bool sgn)
{
    (void)sgn;
    return a;
}
QV vi q_pairs(vi sum, va mn, va x) { return sum + ((mn << 16) >> 16) * ((x << 16) >> 16) + (mn >> 16) * (x >> 16); }

/* Unpacking */
QV vi q_rows_of_16(const uint8_t *p, size_t rb)
{
    (void)rb;
    return q_load(p);
}
QV vf q_f16s(const uint16_t *h) { return (vf){ f16_to_f32(h[0]), f16_to_f32(h[1]), f16_to_f32(h[2]), f16_to_f32(h[3]) }; }
QV vf q_f16_low(vi v) { return q_f16s((const uint16_t[]){ (uint16_t)v[0], (uint16_t)v[1], (uint16_t)v[2], (uint16_t)v[3] }); }
QV vi q_levels(vi i)
{
    uint8_t b[16];
    memcpy(b, &i, 16);
    for (int e = 0; e < 16; e++) b[e] = (uint8_t)iq4_levels[b[e]];
    return q_load(b);
}

/* Matvec: lane l sums elements l, l + 4, … */
QV vm mv_part(b32 w, const int8_t *x, int e0, int e1, bool sgn)
{
    int32_t s = 0;
    for (int e = e0; e < e1; e++) s += (sgn ? (int8_t)w[e] : w[e]) * x[e];
    return (vm){ s };
}
QV vm mv_dot_1(b32 w, const int8_t *x, bool sgn) { return mv_part(w, x, 0, 32, sgn); }
QV vm mv_dot(vm sum, b32 w, const int8_t *x, int32_t s, bool sgn) { return sum + mv_part(w, x, 0, 32, sgn) * s; }
QV vm mv_dot2(vm sum, b32 w, const int8_t *x, int32_t s0, int32_t s1, bool sgn)
{
    return sum + mv_part(w, x, 0, 16, sgn) * s0 + mv_part(w, x, 16, 32, sgn) * s1;
}
QV vm mv_pairs(const int16_t *mn, const int16_t *sum, int n)
{
    int32_t s = 0;
    for (int i = 0; i < n; i++) s += mn[i] * sum[i];
    return (vm){ s };
}
QV vmi mv_sums(const vm *s) { return (vmi){ s[0][0], s[1][0], s[2][0], s[3][0] }; }

#endif
