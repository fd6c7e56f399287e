/* Codebooks of the IQ1, IQ2 and IQ3 types (iq_grids.c). */
#ifndef MO_CORE_QUANTS_IQ_GRIDS_H
#define MO_CORE_QUANTS_IQ_GRIDS_H

#include <stdint.h>

/* Groups of eight, 2 bits a value. */
extern const uint16_t iq1_grid[2048], iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024];
/* Groups of four, 3 bits a value. */
extern const uint16_t iq3_xxs_grid[256], iq3_s_grid[512];

/* The same groups with a byte a value, first value in the lowest: magnitudes; of IQ1 eight times (the value + 1). What the
 * kernels look up: 1 to 16 KiB. */
extern const uint64_t iq1_bytes[2048], iq2_xxs_bytes[256], iq2_xs_bytes[512], iq2_s_bytes[1024];
extern const uint32_t iq3_xxs_bytes[256], iq3_s_bytes[512];

#endif
