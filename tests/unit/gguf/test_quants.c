/* Block types: how much the encoders lose, that importances help, and that no bytes and no values make them misbehave.
 * (That decoders and the plain encoders agree with the reference to the last bit is the golden part `quants`.)
 */
#include <stdlib.h>

#include "cli/synth_rule.h"
#include "core/dtype.h"
#include "core/synth.h"
#include "test.h"

enum { N_ROW = 64, N_COL = 4096, N = N_ROW * N_COL };

/* Root mean square error of the C reference's encoders on this tensor (../shared/golden/quants/rmse.json). */
static const struct {
    int32_t type;
    double rmse;
} reference[] = {
    { MO_Q8_0, 5.88838e-05 }, { MO_Q4_0, 0.00101607 },  { MO_Q4_1, 0.000949238 },   { MO_Q5_0, 0.000488014 },
    { MO_Q5_1, 0.000458775 }, { MO_Q2_K, 0.00364361 },  { MO_Q3_K, 0.00195729 },    { MO_Q4_K, 0.000852431 },
    { MO_Q5_K, 0.000431722 }, { MO_Q6_K, 0.000209626 }, { MO_IQ4_NL, 0.000999945 }, { MO_IQ4_XS, 0.00100931 },
};
enum { N_TYPE = sizeof reference / sizeof *reference };

static float *rule_weight(void)
{
    static const char name[] = "llm.model.layers.0.mlp.up_proj.weight";
    const int64_t dim[2] = { N_ROW, N_COL };
    uint16_t *h = malloc(N * sizeof *h);
    float *x = malloc(N * sizeof *x), base, amp;

    if (!h || !x) exit(2);
    synth_base_amp(&base, &amp, name, 2, dim);
    synth_fill(h, synth_key(name, 1), base, amp, 0, N);
    for (int i = 0; i < N; i++) x[i] = bf16_to_f32(h[i]);
    free(h);
    return x;
}

/* Mean of w * (decoded - x)^2; w [N_COL] or NULL. */
static double loss(const float *x, int32_t type, const float *importance, const float *w)
{
    uint8_t *b = malloc(dtype_row_bytes(type, N_COL) * N_ROW);
    float *y = malloc(N * sizeof *y);
    double sum = 0;

    if (!b || !y || !dtype_from_f32(b, x, type, N_ROW, N_COL, importance)) exit(2);
    dtype_to_f32(y, b, type, N);
    for (int i = 0; i < N; i++) sum += (w ? w[i % N_COL] : 1) * ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
    free(b);
    free(y);
    return sum / N;
}

TEST(no_worse_than_the_reference)
{
    float *x = rule_weight();

    for (int i = 0; i < N_TYPE; i++) {
        double got = sqrt(loss(x, reference[i].type, NULL, NULL));
        if (!(got <= reference[i].rmse * 1.01))
            TEST_FAIL("%s loses %g, the reference %g", dtype_get(reference[i].type)->name, got, reference[i].rmse);
    }
    free(x);
}

TEST(importances_help_where_they_are)
{
    float *x = rule_weight(), *w = malloc(N_COL * sizeof *w);

    CHECK(w);
    for (int i = 0; i < N_COL; i++) w[i] = i % 7 ? 0.05f : 4.0f;
    for (int i = 0; i < N_TYPE; i++) {
        double with = loss(x, reference[i].type, w, w), without = loss(x, reference[i].type, NULL, w);
        if (reference[i].type == MO_Q8_0 ? with != without : !(with < without))
            TEST_FAIL("%s: %g with importances, %g without", dtype_get(reference[i].type)->name, with, without);
    }
    free(w);
    free(x);
}

TEST(any_values_can_be_encoded)
{
    static const float odd[] = { 0, -0.0f, NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 1e-40f, 65504, 1e30f, -3, 1e-20f };
    enum { N_ODD = sizeof odd / sizeof *odd };
    float x[256], y[256], zero_importance[256] = { 0 };
    uint8_t b[1024];

    for (int i = 0; i < N_TYPE; i++)
        for (int p = 0; p < 3 * N_ODD + 1; p++) {
            const int32_t type = reference[i].type;
            for (int k = 0; k < 256; k++)
                x[k] = p < N_ODD ? odd[p] : p < 2 * N_ODD ? (k == 37 ? odd[p - N_ODD] : 0.25f * (float)(k % 5)) : odd[(k * 7 + p) % N_ODD];
            CHECK(dtype_from_f32(b, x, type, 1, 256, NULL));
            dtype_to_f32(y, b, type, 256);
            for (int k = 0; p == 0 && k < 256; k++) CHECK(y[k] == 0);
            CHECK(dtype_from_f32(b, x, type, 1, 256, zero_importance));
        }
}

TEST(any_bytes_can_be_decoded)
{
    for (int32_t type = 0; type < MO_DTYPE_COUNT; type++) {
        const dtype_info *d = dtype_get(type);
        if (!d || d->n_block == 1) continue;
        for (int round = 0; round < 50; round++) { /* at odd addresses, the buffer ending where the block does */
            uint8_t *p = malloc((size_t)d->block_bytes + 1);
            float y[256];
            CHECK(p);
            for (int i = 0; i <= d->block_bytes; i++)
                p[i] = (uint8_t)(synth_mix((uint64_t)(type * 1000 + round) * 4096 + (uint64_t)i) >> 56);
            dtype_to_f32(y, p + 1, type, d->n_block);
            free(p);
        }
    }
}

TEST(what_cannot_be_written_says_so)
{
    float x[256] = { 0 };
    uint8_t b[1024];

    CHECK(!dtype_from_f32(b, x, MO_IQ2_XS, 1, 256, NULL));
    CHECK(!dtype_from_f32(b, x, MO_Q4_K, 1, 128, NULL));
    CHECK(!dtype_from_f32(b, x, 33, 1, 256, NULL));
    CHECK(dtype_by_name("Q4_K") == MO_Q4_K && dtype_by_name("Q4_2") < 0);
    CHECK_INT(dtype_row_bytes(MO_Q6_K, 512), 420);
    CHECK_INT(dtype_row_bytes(MO_Q6_K, 300), 0);
}

int main(void)
{
    RUN(no_worse_than_the_reference);
    RUN(importances_help_where_they_are);
    RUN(any_values_can_be_encoded);
    RUN(any_bytes_can_be_decoded);
    RUN(what_cannot_be_written_says_so);
    return test_end();
}
