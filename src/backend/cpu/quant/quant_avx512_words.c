/* Quantised matrix products with 16-bit activations for AVX-512 with VNNI (q_words_tmpl.h). */
#define Q_VNNI_512 1
#define Q_JOIN     0 /* scales of sub-blocks stand alone */
#include "backend/cpu/quant/qvec_vnni.h"

#include "backend/cpu/quant/q_decode_tmpl.h"
#include "backend/cpu/quant/q_tile_tmpl.h"
#include "backend/cpu/quant/q_unpack_tmpl.h"
#include "backend/cpu/quant/q_grid_tmpl.h"
#if Q_ALONG_ROWS
#include "backend/cpu/quant/q_rows_tmpl.h"
#include "backend/cpu/quant/q_rows_grid_tmpl.h"
#endif
#include "backend/cpu/quant/q_words_tmpl.h"

#define SUPER_ROWS(type, bias, i) words_rows_super(out, ldo, &u, x, ldx, i, k, type, bias)
#define BLOCK_ROWS(type, i)       words_rows_blocks(out, ldo, &u, x, ldx, i, k, type)

#define ROWS_4_0(i)  BLOCK_ROWS(ROWS_q4_0, i)
#define ROWS_4_1(i)  BLOCK_ROWS(ROWS_q4_1, i)
#define ROWS_5_0(i)  BLOCK_ROWS(ROWS_q5_0, i)
#define ROWS_5_1(i)  BLOCK_ROWS(ROWS_q5_1, i)
#define ROWS_8_0(i)  BLOCK_ROWS(ROWS_q8_0, i)
#define ROWS_4_NL(i) BLOCK_ROWS(ROWS_iq4_nl, i)
WORDS_TYPE(q4_0, "Q4_0", 8 * 18, 0, 8, false, blocks, ROWS_4_0)
WORDS_TYPE(q4_1, "Q4_1", 8 * 20, 0, 0, true, blocks_m, ROWS_4_1)
WORDS_TYPE(q5_0, "Q5_0", 8 * 22, 0, 16, false, blocks, ROWS_5_0)
WORDS_TYPE(q5_1, "Q5_1", 8 * 24, 0, 0, true, blocks_m, ROWS_5_1)
WORDS_TYPE(q8_0, "Q8_0", 8 * 34, 0, 128, false, blocks, ROWS_8_0)
WORDS_TYPE(iq4_nl, "IQ4_NL", 8 * 18, 0, 128, false, blocks, ROWS_4_NL)

#define ROWS_2_K(i)  SUPER_ROWS(ROWS_q2_k, 0, i)
#define ROWS_3_K(i)  SUPER_ROWS(ROWS_q3_k, 4, i)
#define ROWS_4_K(i)  SUPER_ROWS(ROWS_q4_k, 0, i)
#define ROWS_5_K(i)  SUPER_ROWS(ROWS_q5_k, 0, i)
#define ROWS_6_K(i)  SUPER_ROWS(((rows_type){ 210, 16, OFF_SCALES_6, 0, ORDER_PLAIN, head_q6_k, row_q6_k }), 32, i)
#define ROWS_4_XS(i) SUPER_ROWS(((rows_type){ 136, 32, OFF_SCALES, 7, ORDER_LEVELS, head_iq4_xs, words_row_iq4_xs }), 128, i)
WORDS_TYPE(q2_k, "Q2_K", 84, 16, 0, true, super_16, ROWS_2_K)
WORDS_TYPE(q3_k, "Q3_K", 110, 16, 4, false, super, ROWS_3_K)
WORDS_TYPE(q4_k, "Q4_K", 144, 32, 0, true, super_32, ROWS_4_K)
WORDS_TYPE(q5_k, "Q5_K", 176, 32, 0, true, super_32, ROWS_5_K)
WORDS_TYPE(q6_k, "Q6_K", 210, 16, 32, false, super, ROWS_6_K)
WORDS_TYPE(iq4_xs, "IQ4_XS", 136, 32, 128, false, super, ROWS_4_XS)

#define ROWS_1_S(i)   SUPER_ROWS(ROWS_iq1_s, BIAS_IQ1, i)
#define ROWS_1_M(i)   SUPER_ROWS(ROWS_iq1_m, BIAS_IQ1, i)
#define ROWS_2_XXS(i) SUPER_ROWS(ROWS_iq2_xxs, BIAS_IQ2, i)
#define ROWS_2_XS(i)  SUPER_ROWS(ROWS_iq2_xs, BIAS_IQ2, i)
#define ROWS_2_S(i)   SUPER_ROWS(ROWS_iq2_s, BIAS_IQ2, i)
#define ROWS_3_XXS(i) SUPER_ROWS(ROWS_iq3_xxs, BIAS_IQ3_XXS, i)
#define ROWS_3_S(i)   SUPER_ROWS(ROWS_iq3_s, BIAS_IQ3_S, i)
#define ROWS_T1(i)    SUPER_ROWS(ROWS_tq1_0, BIAS_TQ, i)
#define ROWS_T2(i)    SUPER_ROWS(ROWS_tq2_0, BIAS_TQ, i)
WORDS_TYPE(iq1_s, "IQ1_S", 50, 32, BIAS_IQ1, false, super, ROWS_1_S)
WORDS_TYPE(iq1_m, "IQ1_M", 56, 16, BIAS_IQ1, false, super, ROWS_1_M)
WORDS_TYPE(iq2_xxs, "IQ2_XXS", 66, 32, BIAS_IQ2, false, super, ROWS_2_XXS)
WORDS_TYPE(iq2_xs, "IQ2_XS", 74, 16, BIAS_IQ2, false, super, ROWS_2_XS)
WORDS_TYPE(iq2_s, "IQ2_S", 82, 16, BIAS_IQ2, false, super, ROWS_2_S)
WORDS_TYPE(iq3_xxs, "IQ3_XXS", 98, 32, BIAS_IQ3_XXS, false, super, ROWS_3_XXS)
WORDS_TYPE(iq3_s, "IQ3_S", 110, 32, BIAS_IQ3_S, false, super, ROWS_3_S)
WORDS_TYPE(tq1_0, "TQ1_0", 54, 32, BIAS_TQ, false, super, ROWS_T1)
WORDS_TYPE(tq2_0, "TQ2_0", 66, 32, BIAS_TQ, false, super, ROWS_T2)

void quant_init_avx512_words(quant_table t)
{
    t[MO_Q4_0] = &words_q4_0;
    t[MO_Q4_1] = &words_q4_1;
    t[MO_Q5_0] = &words_q5_0;
    t[MO_Q5_1] = &words_q5_1;
    t[MO_Q8_0] = &words_q8_0;
    t[MO_IQ4_NL] = &words_iq4_nl;
    t[MO_Q2_K] = &words_q2_k;
    t[MO_Q3_K] = &words_q3_k;
    t[MO_Q4_K] = &words_q4_k;
    t[MO_Q5_K] = &words_q5_k;
    t[MO_Q6_K] = &words_q6_k;
    t[MO_IQ4_XS] = &words_iq4_xs;
    t[MO_IQ1_S] = &words_iq1_s;
    t[MO_IQ1_M] = &words_iq1_m;
    t[MO_IQ2_XXS] = &words_iq2_xxs;
    t[MO_IQ2_XS] = &words_iq2_xs;
    t[MO_IQ2_S] = &words_iq2_s;
    t[MO_IQ3_XXS] = &words_iq3_xxs;
    t[MO_IQ3_S] = &words_iq3_s;
    t[MO_TQ1_0] = &words_tq1_0;
    t[MO_TQ2_0] = &words_tq2_0;
}
