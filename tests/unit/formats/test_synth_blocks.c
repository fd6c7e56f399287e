/* Made-up blocks: of every type that files are made in, values of the wanted spread about 0, the same for the same key. */
#include <stdlib.h>

#include "test.h"

#include "cli/synth_blocks.h"
#include "formats/gguf_mix.h"

enum { N_BLOCK = 512 };

static uint8_t block[N_BLOCK * 256 + 1], again[N_BLOCK * 256 + 1];
static float value[N_BLOCK * 256];

static void spread_of(const synth_blocks *b, double *mean, double *spread)
{
    const int32_t n = dtype_get(b->type)->n_block * N_BLOCK;
    double sum = 0, square = 0;

    dtype_to_f32(value, block, b->type, n);
    for (int32_t i = 0; i < n; i++) {
        sum += (double)value[i];
        square += (double)value[i] * (double)value[i];
    }
    *mean = sum / n;
    *spread = sqrt(square / n);
}

TEST(every_type)
{
    static const float want[] = { 0.5f, 0.0156f, 0.004f };
    const file_type *t;
    synth_blocks b;
    double mean, spread;

    for (int i = 0; (t = file_type_at(i)); i++)
        for (int k = 0; k < 3 && file_type_is_quantised(t); k++) {
            const size_t bytes = N_BLOCK * (size_t)dtype_get(t->base)->block_bytes;
            CHECK(synth_blocks_init(&b, t->base, want[k]));
            block[bytes] = 0x5a;
            synth_blocks_fill(&b, block, N_BLOCK, 7);
            CHECK_INT(block[bytes], 0x5a);
            spread_of(&b, &mean, &spread);
            if (!(fabs(spread / (double)want[k] - 1) < 0.05) || !(fabs(mean) < 0.15 * (double)want[k]))
                TEST_FAIL("%s: mean %g, spread %g, want 0 and %g", dtype_get(t->base)->name, mean, spread, (double)want[k]);
            synth_blocks_fill(&b, again, N_BLOCK, 7);
            CHECK(!memcmp(block, again, bytes));
            synth_blocks_fill(&b, again, N_BLOCK, 8);
            CHECK(memcmp(block, again, bytes));
            synth_blocks_multiply(&b, block, N_BLOCK, 8);
            spread_of(&b, &mean, &spread);
            CHECK_NEAR(spread / (double)want[k], 8, 0.4);
        }
}

TEST(refused)
{
    synth_blocks b;

    CHECK(!synth_blocks_init(&b, MO_F16, 1));
    CHECK(!synth_blocks_init(&b, MO_IQ2_XXS, 1));
    CHECK(!synth_blocks_init(&b, -1, 1));
}

TEST(q8_has_no_minus_128)
{
    synth_blocks b;

    CHECK(synth_blocks_init(&b, MO_Q8_0, 1));
    synth_blocks_fill(&b, block, N_BLOCK, 1);
    for (int i = 0; i < N_BLOCK * 34; i++) CHECK(i % 34 < 2 || block[i] != 0x80);
}

int main(void)
{
    RUN(every_type);
    RUN(refused);
    RUN(q8_has_no_minus_128);
    return test_end();
}
