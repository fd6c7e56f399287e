/* Several weights with one x in one call: the bits of separate calls, whatever types, rows and threads. */
#include "../test.h"
#include "kernel_test.h"

enum { COL = 512, N_MAX = 40, LDY = 400 };

/* Weights of a type: numbers, or random blocks, in which the float16 factors of Q4_0, Q8_0 and Q4_K stand first. */
static uint8_t *new_weight(backend *be, weight *w, int32_t type, int n_row)
{
    const dtype_info *d = dtype_get(type);
    const size_t n = dtype_row_bytes(type, COL) * (size_t)n_row;
    uint8_t *data = malloc(n);
    float *f = new_f((int64_t)n_row * COL, 0);
    mo_error err;

    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(rnd() >> 8);
    if (type == MO_F32) memcpy(data, f, n);
    else if (type == MO_F16)
        for (size_t i = 0; i < n / 2; i++) ((uint16_t *)(void *)data)[i] = f32_to_f16(f[i]);
    else
        for (size_t i = 0; i < n; i += d->block_bytes) memcpy(data + i, (const uint16_t[2]){ 0x1c00, 0x1800 }, type == MO_Q4_K ? 4 : 2);
    if (be->ops->weight(be, w, type, n_row, COL, data, &err) != MO_OK) fputs(err.message, stderr), exit(1);
    free_f(f, 0);
    return data;
}

static void compare(const isa_case *isa, const int32_t *type, const int *n_row, int n_part, int n, int n_thread)
{
    backend *be = test_backend(isa, n_thread), *alone = test_backend(isa, 1);
    float *x = new_f((int64_t)N_MAX * COL, 0), *bias = new_f(LDY, 0), *y[MATMUL_PARTS_MAX], *z = guard_new((int64_t)N_MAX * LDY);
    const epilogue ep[2] = { { .bias = bias, .act = ACT_SILU }, { .scale = 0.5f, .accumulate = true } };
    matmul_part part[MATMUL_PARTS_MAX];
    weight w[MATMUL_PARTS_MAX];
    uint8_t *data[MATMUL_PARTS_MAX];

    for (int i = 0; i < n_part; i++) {
        data[i] = new_weight(be, &w[i], type[i], n_row[i]);
        y[i] = guard_new((int64_t)n * LDY);
        for (int k = 0; k < n * LDY; k++) y[i][k] = 1;
        part[i] = (matmul_part){ y[i], LDY, &w[i], i < 2 ? &ep[i] : NULL };
    }
    be->ops->matmul_group(be, part, n_part, x, COL, n);
    for (int i = 0; i < n_part; i++) {
        for (int k = 0; k < n * LDY; k++) z[k] = 1;
        alone->ops->matmul(alone, z, LDY, &w[i], x, COL, n, part[i].ep);
        CHECK(same_bits("a part of a group", y[i], z, (int64_t)n * LDY) && guard_ok(y[i], (int64_t)n * LDY));
        free(data[i]), guard_free(y[i]);
    }
    free_f(x, 0), free_f(bias, 0), guard_free(z);
}

TEST(groups)
{
    static const int32_t types[][MATMUL_PARTS_MAX] = {
        { MO_Q8_0, MO_Q8_0, MO_Q8_0, MO_Q8_0 },
        { MO_Q4_K, MO_Q4_K, MO_Q8_0, MO_Q4_K }, /* x has two forms */
        { MO_F32, MO_Q4_0, MO_Q8_0, MO_F32 },
        { MO_F32, MO_F32, MO_F16, MO_F16 }, /* x is packed once for two */
    };
    static const int rows[][MATMUL_PARTS_MAX] = { { 64, 64, 192, 1 }, { 15, 17, 400, 33 } };

    for (int c = 0; c < n_isa_case; c++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (int r = 0; r < 2; r++)
                for (int n_part = 1; n_part <= MATMUL_PARTS_MAX; n_part++) {
                    static const int n[] = { 1, 3, 8, 9, N_MAX };
                    compare(&isa_cases[c], types[t], rows[r], n_part, n[(r + n_part) % 5], 1 + ((int)t + n_part) % 3);
                    compare(&isa_cases[c], types[t], rows[r], n_part, 1, 2);
                }
}

int main(void)
{
    isa_cases_init();
    RUN(groups);
    return test_end();
}
