/* Element types and scalar conversions (dtype.h). */
#include "core/dtype.h"

static const dtype_info table[MO_DTYPE_COUNT] = {
    [MO_F32] = { "F32", 1, 4 },
    [MO_F16] = { "F16", 1, 2 },
    [MO_BF16] = { "BF16", 1, 2 },
};

const dtype_info *dtype_get(int32_t type)
{
    if (type < 0 || type >= MO_DTYPE_COUNT || !table[type].name) return NULL;
    return &table[type];
}

int32_t dtype_by_name(const char *name)
{
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++)
        if (table[i].name && !strcmp(table[i].name, name)) return i;
    return -1;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff, u;
    float f;

    if (e == 31) {
        u = sign | 0x7f800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112) << 23 | m << 13;
    } else { /* zero or subnormal: m * 2^-24 is exact */
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u, sign, e, m, drop, half;

    memcpy(&u, &f, 4);
    sign = (u >> 16) & 0x8000;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | ((u >> 13) & 0x3ff));
    if (u >= 0x47800000u) return (uint16_t)(sign | 0x7c00); /* 65536 and up */
    e = u >> 23;
    if (e < 102) return (uint16_t)sign; /* below half of 2^-24 */
    m = (u & 0x7fffff) | 0x800000;
    if (e >= 113) { /* normal: keep 10 bits of 23 */
        u = u - (112u << 23);
        return (uint16_t)(sign | ((u + 0xfff + ((u >> 13) & 1)) >> 13)); /* a carry into the exponent is right */
    }
    drop = 126 - e; /* subnormal: value = m * 2^(e-150), unit 2^-24 */
    half = 1u << (drop - 1);
    return (uint16_t)(sign | ((m + half - 1 + ((m >> drop) & 1)) >> drop));
}

void dtype_to_f32(float *y, const void *x, int32_t type, int64_t n)
{
    const uint16_t *h = x;

    switch (type) {
    case MO_F32: memcpy(y, x, (size_t)n * sizeof *y); break;
    case MO_F16:
        for (int64_t i = 0; i < n; i++) y[i] = f16_to_f32(h[i]);
        break;
    case MO_BF16:
        for (int64_t i = 0; i < n; i++) y[i] = bf16_to_f32(h[i]);
        break;
    default: break;
    }
}
