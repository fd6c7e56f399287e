/* Made-up contents of block-quantised tensors: random bits under scales that give the values a wanted spread about 0. Nothing is
 * quantised, so writing is as fast as the disk. */
#ifndef MO_CLI_SYNTH_BLOCKS_H
#define MO_CLI_SYNTH_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct synth_blocks {
    int32_t type, block_bytes;
    int32_t at_scale, at_min;    /* bytes into a block; at_min -1: none */
    uint16_t scale[16], min[16]; /* as F16; which of them a block gets is random */
} synth_blocks;

/* spread: standard deviation of the values. false: no such block type here. */
bool synth_blocks_init(synth_blocks *b, int32_t type, float spread);

/* n blocks; the same key, the same blocks. */
void synth_blocks_fill(const synth_blocks *b, void *dst, size_t n, uint64_t key);
void synth_blocks_multiply(const synth_blocks *b, void *blocks, size_t n, float k);

#endif
