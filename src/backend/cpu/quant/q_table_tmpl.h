/* Every type's kernels, for the instruction set of the file that includes this (last); what the settings mean: q_type_tmpl.h.
 *
 * Q_ADD: steps whose products fit a 16-bit accumulator, a power of two that divides a sub-block; where accumulators have
 * 32 bits (Q_ADD_ALL) any number does. 2 * max * 127 * steps <= 32767.
 */
#if Q_ADD_ALL
#define Q_ADD(max) Q_CHUNK
#else
#define Q_ADD(max) ((max) <= 15 ? 8 : (max) <= 31 ? 4 : (max) <= 63 ? 2 : 1)
_Static_assert(8 * 2 * 15 * 127 <= 32767 && 4 * 2 * 31 * 127 <= 32767 && 2 * 2 * 63 * 127 <= 32767 && 2 * 127 * 127 <= 32767,
               "sums of products overflow");
#endif

#define T        q4_0
#define T_LABEL  "Q4_0"
#define T_BYTES  18
#define T_D      0
#define T_M      0
#define T_SUB    0
#define T_MAX    15
#define T_SIGNED 0
#define T_MINS   MIN_NONE
#define T_BIAS   8
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q4_1
#define T_LABEL  "Q4_1"
#define T_BYTES  20
#define T_D      0
#define T_M      2
#define T_SUB    0
#define T_MAX    15
#define T_SIGNED 0
#define T_MINS   MIN_FLOAT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q5_0
#define T_LABEL  "Q5_0"
#define T_BYTES  22
#define T_D      0
#define T_M      0
#define T_SUB    0
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_NONE
#define T_BIAS   16
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q5_1
#define T_LABEL  "Q5_1"
#define T_BYTES  24
#define T_D      0
#define T_M      2
#define T_SUB    0
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_FLOAT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q8_0
#define T_LABEL  "Q8_0"
#define T_BYTES  34
#define T_D      0
#define T_M      0
#define T_SUB    0
#define T_MAX    127
#define T_SIGNED 1
#define T_MINS   MIN_NONE
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq4_nl
#define T_LABEL  "IQ4_NL"
#define T_BYTES  18
#define T_D      0
#define T_M      0
#define T_SUB    0
#define T_MAX    127
#define T_SIGNED 1
#define T_MINS   MIN_NONE
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q2_k
#define T_LABEL  "Q2_K"
#define T_BYTES  84
#define T_D      80
#define T_M      82
#define T_SUB    16
#define T_MAX    3
#define T_SIGNED 0
#define T_MINS   MIN_FLOAT
#define T_BIAS   0
#define T_JOIN   Q_JOIN
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q3_k
#define T_LABEL  "Q3_K"
#define T_BYTES  110
#define T_D      108
#define T_M      0
#define T_SUB    16
#define T_MAX    7
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   4
#define T_JOIN   Q_JOIN
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q4_k
#define T_LABEL  "Q4_K"
#define T_BYTES  144
#define T_D      0
#define T_M      2
#define T_SUB    32
#define T_MAX    15
#define T_SIGNED 0
#define T_MINS   MIN_FLOAT
#define T_BIAS   0
#define T_JOIN   Q_JOIN
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q5_k
#define T_LABEL  "Q5_K"
#define T_BYTES  176
#define T_D      0
#define T_M      2
#define T_SUB    32
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_FLOAT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        q6_k
#define T_LABEL  "Q6_K"
#define T_BYTES  210
#define T_D      208
#define T_M      0
#define T_SUB    16
#define T_MAX    63
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   32
#define T_JOIN   Q_JOIN
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq4_xs
#define T_LABEL  "IQ4_XS"
#define T_BYTES  136
#define T_D      0
#define T_M      0
#define T_SUB    32
#define T_MAX    127
#define T_SIGNED 1
#define T_MINS   MIN_NONE
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq1_s
#define T_LABEL  "IQ1_S"
#define T_BYTES  50
#define T_FACTOR factor_iq1_s
#define T_M      0
#define T_SUB    32
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq1_m
#define T_LABEL  "IQ1_M"
#define T_BYTES  56
#define T_FACTOR factor_iq1_m
#define T_M      0
#define T_SUB    16
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq2_xxs
#define T_LABEL  "IQ2_XXS"
#define T_BYTES  66
#define T_FACTOR factor_iq2_xxs
#define T_M      0
#define T_SUB    32
#define T_MAX    127
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq2_xs
#define T_LABEL  "IQ2_XS"
#define T_BYTES  74
#define T_FACTOR factor_iq2_xs
#define T_M      0
#define T_SUB    16
#define T_MAX    127
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq2_s
#define T_LABEL  "IQ2_S"
#define T_BYTES  82
#define T_FACTOR factor_iq2_s
#define T_M      0
#define T_SUB    16
#define T_MAX    127
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#define T_TILE   iq2_xs
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq3_xxs
#define T_LABEL  "IQ3_XXS"
#define T_BYTES  98
#define T_FACTOR factor_iq3_xxs
#define T_M      0
#define T_SUB    32
#define T_MAX    127
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#define T_TILE   iq2_xxs
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        iq3_s
#define T_LABEL  "IQ3_S"
#define T_BYTES  110
#define T_FACTOR factor_iq3_s
#define T_M      0
#define T_SUB    32
#define T_MAX    31
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#define T_TILE   iq1_s
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        tq1_0
#define T_LABEL  "TQ1_0"
#define T_BYTES  54
#define T_FACTOR factor_tq1_0
#define T_M      0
#define T_SUB    32
#define T_MAX    3
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#define T_TILE   iq1_s
#include "backend/cpu/quant/q_type_tmpl.h"

#define T        tq2_0
#define T_LABEL  "TQ2_0"
#define T_BYTES  66
#define T_FACTOR factor_tq2_0
#define T_M      0
#define T_SUB    32
#define T_MAX    3
#define T_SIGNED 0
#define T_MINS   MIN_INT
#define T_BIAS   0
#define T_TILE   iq1_s
#include "backend/cpu/quant/q_type_tmpl.h"

#include "backend/cpu/quant/q_dense_tmpl.h"

static void quant_fill(quant_table t)
{
    t[MO_Q4_0] = &kernel_q4_0;
    t[MO_Q4_1] = &kernel_q4_1;
    t[MO_Q5_0] = &kernel_q5_0;
    t[MO_Q5_1] = &kernel_q5_1;
    t[MO_Q8_0] = &kernel_q8_0;
    t[MO_IQ4_NL] = &kernel_iq4_nl;
    t[MO_Q2_K] = &kernel_q2_k;
    t[MO_Q3_K] = &kernel_q3_k;
    t[MO_Q4_K] = &kernel_q4_k;
    t[MO_Q5_K] = &kernel_q5_k;
    t[MO_Q6_K] = &kernel_q6_k;
    t[MO_IQ4_XS] = &kernel_iq4_xs;
    t[MO_IQ1_S] = &kernel_iq1_s;
    t[MO_IQ1_M] = &kernel_iq1_m;
    t[MO_IQ2_XXS] = &kernel_iq2_xxs;
    t[MO_IQ2_XS] = &kernel_iq2_xs;
    t[MO_IQ2_S] = &kernel_iq2_s;
    t[MO_IQ3_XXS] = &kernel_iq3_xxs;
    t[MO_IQ3_S] = &kernel_iq3_s;
    t[MO_TQ1_0] = &kernel_tq1_0;
    t[MO_TQ2_0] = &kernel_tq2_0;
    t[QUANT_DENSE] = &kernel_dense;
}
