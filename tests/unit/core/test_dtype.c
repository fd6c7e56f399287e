/* Half precision and bfloat16 against their definitions: all 65536 values to float32; float32 to half against the nearest
 * by search, on every value, every midpoint between neighbours and its neighbours, and many others. */
#include <stdlib.h>

#include "core/dtype.h"
#include "core/rng.h"
#include "test.h"

static float bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* The value of a half by its definition, in double; not for infinity and NaN. */
static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 0x3ff;
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

    return h & 0x8000 ? -v : v;
}

static double bf16_value(uint16_t h)
{
    int e = h >> 7 & 255, m = h & 127;
    double v = e ? ldexp(128 + m, e - 134) : ldexp(m, -133);

    return h & 0x8000 ? -v : v;
}

TEST(f16_to_f32)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);
        bool special = (h >> 10 & 31) == 31;

        if (special && (h & 0x3ff) ? !isnan(f) : special ? !isinf(f) : (double)f != half_value((uint16_t)h))
            TEST_FAIL("%04x: %g", h, (double)f);
        if (!!signbit(f) != (h >> 15)) TEST_FAIL("%04x: sign", h);
        if (!isnan(f) && f32_to_f16(f) != h) TEST_FAIL("%04x: there and back %04x", h, f32_to_f16(f));
        if (isnan(f) && ((f32_to_f16(f) & 0x7c00) != 0x7c00 || !(f32_to_f16(f) & 0x3ff)))
            TEST_FAIL("%04x: a NaN became %04x", h, f32_to_f16(f));
    }
}

TEST(bf16_to_f32)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = bf16_to_f32((uint16_t)h);
        bool special = (h >> 7 & 255) == 255;

        if (special && (h & 127) ? !isnan(f) : special ? !isinf(f) : (double)f != bf16_value((uint16_t)h))
            TEST_FAIL("%04x: %g", h, (double)f);
        if (!!signbit(f) != (h >> 15)) TEST_FAIL("%04x: sign", h);
        if (!isnan(f) && f32_to_bf16(f) != h) TEST_FAIL("%04x: there and back %04x", h, f32_to_bf16(f));
        if (isnan(f) && !isnan(bf16_to_f32(f32_to_bf16(f)))) TEST_FAIL("%04x: a NaN became %04x", h, f32_to_bf16(f));
    }
}

/* The nearest of a format's non-negative values 0..last (ascending by code), ties to the even code; past the midpoint
 * between the last and the value that would follow it is infinity (code last + 1). */
static uint16_t nearest(double x, double (*value)(uint16_t), uint16_t last)
{
    double a = fabs(x), next = 2 * value(last) - value((uint16_t)(last - 1));
    uint32_t lo = 0, hi = (uint32_t)last + 1; /* value(lo) <= a < value(hi) */
    uint16_t code;
    double low, high;

    if (a >= next) code = (uint16_t)(last + 1);
    else {
        while (hi - lo > 1) {
            uint32_t mid = (lo + hi) / 2;
            if (value((uint16_t)mid) <= a) lo = mid;
            else hi = mid;
        }
        low = value((uint16_t)lo);
        high = lo == last ? next : value((uint16_t)hi);
        if (a - low < high - a) code = (uint16_t)lo;
        else if (a - low > high - a) code = (uint16_t)hi;
        else code = (uint16_t)(lo % 2 ? hi : lo);
    }
    return (uint16_t)(code | (signbit(x) ? 0x8000 : 0));
}

static void check_both(float f)
{
    uint16_t h = nearest(f, half_value, 0x7bff), b = nearest(f, bf16_value, 0x7f7f);

    if (f32_to_f16(f) != h) TEST_FAIL("%08x (%a) to half: %04x, want %04x", to_bits(f), (double)f, f32_to_f16(f), h);
    if (f32_to_bf16(f) != b) TEST_FAIL("%08x (%a) to bfloat16: %04x, want %04x", to_bits(f), (double)f, f32_to_bf16(f), b);
}

TEST(rounding)
{
    rng r;

    for (uint32_t h = 0; h < 0x7c00 && !test_this_failed; h++) { /* midpoints of halves and their neighbours */
        float lo = (float)half_value((uint16_t)h), hi = h == 0x7bff ? 65536 : (float)half_value((uint16_t)(h + 1)), mid = (lo + hi) / 2;
        check_both(mid);
        check_both(nextafterf(mid, 0));
        check_both(nextafterf(mid, INFINITY));
        check_both(-mid);
    }
    for (uint32_t h = 0; h < 0x7f80 && !test_this_failed; h++) /* of bfloat16s */
        for (int d = -1; d <= 1; d++) check_both(bits((h << 16 | 0x8000) + (uint32_t)d));
    rng_seed(&r, 1);
    for (int i = 0; i < 300000 && !test_this_failed; i++) {
        float f = bits((uint32_t)(rng_next(&r) >> 32));
        if (!isnan(f)) check_both(f);
    }
    for (int i = 0; i < 200000 && !test_this_failed; i++) { /* around the half's range, subnormals above all */
        uint32_t e = 95 + (uint32_t)(rng_next(&r) % 55);
        check_both(bits(e << 23 | (uint32_t)(rng_next(&r) >> 41)));
    }
}

TEST(not_numbers)
{
    for (uint32_t i = 0; i < 23; i++)
        for (uint32_t sign = 0; sign < 2; sign++) {
            float f = bits(sign << 31 | 0x7f800000u | 1u << i);
            if (!isnan(f16_to_f32(f32_to_f16(f))) || !isnan(bf16_to_f32(f32_to_bf16(f)))) TEST_FAIL("NaN with bit %u", i);
        }
    CHECK_INT(f32_to_f16(INFINITY), 0x7c00);
    CHECK_INT(f32_to_f16(-INFINITY), 0xfc00);
    CHECK_INT(f32_to_bf16(INFINITY), 0x7f80);
    CHECK_INT(f32_to_f16(-0.0f), 0x8000);
    CHECK_INT(f32_to_bf16(-0.0f), 0x8000);
}

TEST(tables)
{
    static const uint16_t half[3] = { 0x3c00, 0xc000, 0x0001 }, bf[3] = { 0x3f80, 0xc000, 0x0001 };
    static const float plain[3] = { 1, -2, 0x1p-149f };
    float y[3];

    CHECK_INT(dtype_by_name("F32"), MO_F32);
    CHECK_INT(dtype_by_name("F16"), MO_F16);
    CHECK_INT(dtype_by_name("BF16"), MO_BF16);
    CHECK_INT(dtype_by_name("bf16"), -1);
    CHECK_INT(dtype_by_name(""), -1);
    CHECK(!dtype_get(-1) && !dtype_get(MO_DTYPE_COUNT) && !dtype_get(INT32_MAX));
    CHECK_INT(dtype_row_bytes(MO_F32, 10), 40);
    CHECK_INT(dtype_row_bytes(MO_BF16, 10), 20);
    CHECK_INT(dtype_row_bytes(-1, 10), 0);
    for (int32_t i = 0; i < MO_DTYPE_COUNT; i++) { /* whatever else this build knows is consistent */
        const dtype_info *d = dtype_get(i);
        if (!d) continue;
        CHECK_INT(dtype_by_name(d->name), i);
        CHECK(d->n_block >= 1 && d->block_bytes >= 1);
        CHECK_INT(dtype_row_bytes(i, 3 * d->n_block), 3 * d->block_bytes);
        if (d->n_block > 1) CHECK_INT(dtype_row_bytes(i, d->n_block + 1), 0);
    }
    dtype_to_f32(y, half, MO_F16, 3);
    CHECK(y[0] == 1 && y[1] == -2 && y[2] == 0x1p-24f);
    dtype_to_f32(y, bf, MO_BF16, 3);
    CHECK(y[0] == 1 && y[1] == -2 && y[2] == 0x1p-133f);
    dtype_to_f32(y, plain, MO_F32, 3);
    CHECK(!memcmp(y, plain, sizeof y));
}

int main(void)
{
    RUN(f16_to_f32);
    RUN(bf16_to_f32);
    RUN(rounding);
    RUN(not_numbers);
    RUN(tables);
    return test_end();
}
