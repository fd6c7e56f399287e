/* Random blocks (synth_blocks.h). Layouts: spec, formats 2. */
#include "cli/synth_blocks.h"

#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "core/rng.h"

/* Where a type's scale is, and its minimum as a multiple of the scale: what puts the middle of random values at 0. */
static const struct {
    int32_t type, at_scale, at_min;
    float min;
} layouts[] = {
    { MO_Q4_0, 0, -1, 0 },    { MO_Q4_1, 0, 2, -7.5f },  { MO_Q5_0, 0, -1, 0 },   { MO_Q5_1, 0, 2, -15.5f },
    { MO_Q8_0, 0, -1, 0 },    { MO_Q2_K, 80, 82, 1.5f }, { MO_Q3_K, 108, -1, 0 }, { MO_Q4_K, 0, 2, 7.5f },
    { MO_Q5_K, 0, 2, 15.5f }, { MO_Q6_K, 208, -1, 0 },   { MO_IQ4_NL, 0, -1, 0 }, { MO_IQ4_XS, 0, -1, 0 },
};

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void synth_blocks_fill(const synth_blocks *b, void *dst, size_t n, uint64_t key)
{
    const size_t bytes = n * (size_t)b->block_bytes;
    uint8_t *p = dst;
    uint64_t z;
    rng r;

    rng_seed(&r, key);
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        z = rng_next(&r);
        memcpy(p + i, &z, 8);
    }
    z = rng_next(&r);
    memcpy(p + bytes / 8 * 8, &z, bytes % 8);
    for (size_t i = 0; i < n; i++, p += b->block_bytes) {
        const int k = p[b->at_scale] & 15;
        put16(p + b->at_scale, b->scale[k]);
        if (b->at_min >= 0) put16(p + b->at_min, b->min[k]);
        for (int e = 2; b->type == MO_Q8_0 && e < b->block_bytes; e++)
            if (p[e] == 0x80) p[e] = 0x81; /* no quantiser makes -128, and not every reader stands it */
    }
}

static uint16_t times(const uint8_t *p, float k) { return f32_to_f16(f16_to_f32((uint16_t)(p[0] | p[1] << 8)) * k); }

void synth_blocks_multiply(const synth_blocks *b, void *blocks, size_t n, float k)
{
    uint8_t *p = blocks;

    for (size_t i = 0; i < n; i++, p += b->block_bytes) {
        put16(p + b->at_scale, times(p + b->at_scale, k));
        if (b->at_min >= 0) put16(p + b->at_min, times(p + b->at_min, k));
    }
}

/* Standard deviation of what random bits mean under a scale of 1. */
static double spread_of_bits(const synth_blocks *b)
{
    enum { N = 64, BYTES_MAX = 256, VALUES_MAX = 256 };
    uint8_t block[BYTES_MAX];
    float v[VALUES_MAX];
    double sum = 0;
    const int32_t n = dtype_get(b->type)->n_block;

    for (int i = 0; i < N; i++) {
        synth_blocks_fill(b, block, 1, (uint64_t)i);
        dtype_to_f32(v, block, b->type, n);
        for (int32_t e = 0; e < n; e++) sum += (double)v[e] * (double)v[e];
    }
    return sqrt(sum / (N * (double)n));
}

bool synth_blocks_init(synth_blocks *b, int32_t type, float spread)
{
    size_t k = 0;
    double unit;

    while (k < sizeof layouts / sizeof *layouts && layouts[k].type != type) k++;
    if (k == sizeof layouts / sizeof *layouts) return false;
    *b = (synth_blocks){ type, dtype_get(type)->block_bytes, layouts[k].at_scale, layouts[k].at_min, { 0 }, { 0 } };
    for (int i = 0; i < 16; i++) {
        b->scale[i] = f32_to_f16(1);
        b->min[i] = f32_to_f16(layouts[k].min);
    }
    unit = spread / spread_of_bits(b);
    for (int i = 0; i < 16; i++) {
        const float scale = (float)(unit * (0.8 + 0.025 * i));
        b->scale[i] = f32_to_f16(scale);
        b->min[i] = f32_to_f16(scale * layouts[k].min);
    }
    return true;
}
