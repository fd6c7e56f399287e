/* Tables of the codebooks of the IQ1, IQ2 and IQ3 types (iq_grid_lists.h): the codes, and their values as bytes. */
#include "core/quants/iq_grids.h"

#include "core/quants/iq_grid_lists.h"

#define CODE(c) c,
const uint16_t iq2_xxs_grid[256] = { IQ2_XXS_GRID(CODE) };
const uint16_t iq2_xs_grid[512] = { IQ2_XS_GRID(CODE) };
const uint16_t iq2_s_grid[1024] = { IQ2_S_GRID(CODE) };
const uint16_t iq1_grid[2048] = { IQ1_GRID(CODE) };
const uint16_t iq3_xxs_grid[256] = { IQ3_XXS_GRID(CODE) };
const uint16_t iq3_s_grid[512] = { IQ3_S_GRID(CODE) };

/* Value i of a code: the level of its field i, shifted to byte i. */
#define FIELD_2(c, i)        ((c) / (1u << 2 * (i)) % 4)
#define FIELD_3(c, i)        ((c) / (1u << 3 * (i)) % 8)
#define BYTE(level, f, c, i) ((uint64_t)level(f(c, i)) << 8 * (i))
#define FOUR(level, f, c, i) (BYTE(level, f, c, i) | BYTE(level, f, c, (i) + 1) | BYTE(level, f, c, (i) + 2) | BYTE(level, f, c, (i) + 3))

#define LEVEL_1(v)     (8 * (v))                   /* 0 8 16 */
#define LEVEL_2(v)     (8 + 17 * (v) + (v) / 2)    /* 8 25 43 */
#define LEVEL_3_XXS(v) (4 + 8 * (v) + (v) / 7 * 2) /* 4 12 20 28 36 44 52 62 */
#define LEVEL_3_S(v)   (1 + 2 * (v))               /* 1 3 … 15 */

#define BYTES_1(c)     FOUR(LEVEL_1, FIELD_2, c, 0) | FOUR(LEVEL_1, FIELD_2, c, 4),
#define BYTES_2(c)     FOUR(LEVEL_2, FIELD_2, c, 0) | FOUR(LEVEL_2, FIELD_2, c, 4),
#define BYTES_3_XXS(c) (uint32_t)(FOUR(LEVEL_3_XXS, FIELD_3, c, 0)),
#define BYTES_3_S(c)   (uint32_t)(FOUR(LEVEL_3_S, FIELD_3, c, 0)),

const uint64_t iq1_bytes[2048] = { IQ1_GRID(BYTES_1) };
const uint64_t iq2_xxs_bytes[256] = { IQ2_XXS_GRID(BYTES_2) };
const uint64_t iq2_xs_bytes[512] = { IQ2_XS_GRID(BYTES_2) };
const uint64_t iq2_s_bytes[1024] = { IQ2_S_GRID(BYTES_2) };
const uint32_t iq3_xxs_bytes[256] = { IQ3_XXS_GRID(BYTES_3_XXS) };
const uint32_t iq3_s_bytes[512] = { IQ3_S_GRID(BYTES_3_S) };
