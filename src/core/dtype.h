/* Element types of stored tensors, as table entries: a block-quantised type is one more row, not a special case.
 *
 * Values are ggml's type ids (spec: GGUF v3), so that a GGUF reader needs no translation.
 */
#ifndef MO_CORE_DTYPE_H
#define MO_CORE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum mo_dtype {
    MO_F32 = 0,
    MO_F16 = 1,
    MO_BF16 = 30,
    MO_DTYPE_COUNT = 40 /* ids are sparse; dtype_info() tells which exist */
} mo_dtype;

typedef struct dtype_info {
    const char *name;   /* "BF16"; NULL: this build does not know the type */
    int32_t n_block;    /* elements in a block; rows are whole blocks */
    int32_t block_bytes;
} dtype_info;

const dtype_info *dtype_get(int32_t type); /* NULL for an unknown id */
int32_t dtype_by_name(const char *name);   /* by exact name, -1 if unknown */

/* Bytes of a row of n elements; 0 if n is no multiple of the block. */
static inline size_t dtype_row_bytes(int32_t type, int64_t n)
{
    const dtype_info *d = dtype_get(type);
    return !d || n % d->n_block ? 0 : (size_t)(n / d->n_block) * (size_t)d->block_bytes;
}

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

float f16_to_f32(uint16_t h);    /* exact, subnormals included */
uint16_t f32_to_f16(float f);    /* round to nearest, ties to even; overflow to infinity */

/* n elements of `type` (whole blocks) to float32. */
void dtype_to_f32(float *y, const void *x, int32_t type, int64_t n);

#endif
