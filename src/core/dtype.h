/* Element types of stored tensors, as table entries: a block-quantised type is one more row, not a special case.
 *
 * Values are ggml's type ids (spec: GGUF v3), so that a GGUF reader needs no translation.
 */
#ifndef MO_CORE_DTYPE_H
#define MO_CORE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum mo_dtype {
    MO_F32 = 0,
    MO_F16 = 1,
    MO_Q4_0 = 2,
    MO_Q4_1 = 3,
    MO_Q5_0 = 6,
    MO_Q5_1 = 7,
    MO_Q8_0 = 8,
    MO_Q2_K = 10,
    MO_Q3_K = 11,
    MO_Q4_K = 12,
    MO_Q5_K = 13,
    MO_Q6_K = 14,
    MO_IQ2_XXS = 16,
    MO_IQ2_XS = 17,
    MO_IQ3_XXS = 18,
    MO_IQ1_S = 19,
    MO_IQ4_NL = 20,
    MO_IQ3_S = 21,
    MO_IQ2_S = 22,
    MO_IQ4_XS = 23,
    MO_IQ1_M = 29,
    MO_BF16 = 30,
    MO_TQ1_0 = 34,
    MO_TQ2_0 = 35,
    MO_MXFP4 = 39,
    MO_DTYPE_COUNT = 40 /* ids are sparse; dtype_get() tells which exist */
} mo_dtype;

typedef struct dtype_info {
    const char *name; /* "BF16"; NULL: this build does not know the type */
    int32_t n_block;  /* elements in a block; rows are whole blocks */
    int32_t block_bytes;
    /* n elements to float32, exact; block types take any address, the others their natural alignment */
    void (*to_f32)(float *y, const void *x, int64_t n);
    /* One row to this type; importance [n] or NULL. NULL: this build reads the type but does not write it. */
    void (*from_f32)(void *dst, const float *x, int64_t n, const float *importance);
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

float f16_to_f32(uint16_t h); /* exact, subnormals included */
uint16_t f32_to_f16(float f); /* round to nearest, ties to even; overflow to infinity */

/* n elements of `type` (whole blocks) to float32. */
void dtype_to_f32(float *y, const void *x, int32_t type, int64_t n);

/* Rows of float32 to `type` (spec: formats 3), rows one after the other in dst, n_row * dtype_row_bytes(type, n_col) bytes.
 * importance [n_col]: how much each column matters (an importance matrix's diagonal), or NULL. false: the type is not one
 * that is written here, or n_col is no multiple of its block. */
bool dtype_from_f32(void *dst, const float *x, int32_t type, int64_t n_row, int64_t n_col, const float *importance);

#endif
