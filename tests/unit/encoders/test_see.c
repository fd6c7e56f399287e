/* Vision tower and resampler on a small made checkpoint: position buckets, independence of a tile from batch, passes and
 * threads, odd sizes, what bad checkpoints and short memory give. Agreement with the official code: ../shared/golden/see. */
#include "made_models.h"
#include "models/resampler.h"
#include "models/siglip.h"
#include "test.h"

/* ---- buckets ---- */

/* Every place where torch's float32 arithmetic gives another bucket than floor(70 i / n), n <= 140 (spec vision 4.3). */
static const struct {
    int n, i;
} tie[] = { { 25, 5 },   { 25, 10 },  { 25, 15 },  { 25, 20 },  { 49, 7 },   { 49, 14 },  { 49, 35 },  { 49, 42 },
            { 50, 5 },   { 50, 10 },  { 50, 15 },  { 50, 20 },  { 50, 30 },  { 50, 40 },  { 55, 11 },  { 55, 22 },
            { 55, 33 },  { 55, 44 },  { 58, 29 },  { 77, 55 },  { 82, 41 },  { 86, 43 },  { 94, 47 },  { 98, 7 },
            { 98, 14 },  { 98, 35 },  { 98, 42 },  { 98, 56 },  { 98, 70 },  { 98, 84 },  { 100, 10 }, { 100, 20 },
            { 100, 30 }, { 100, 40 }, { 100, 80 }, { 110, 11 }, { 110, 22 }, { 110, 33 }, { 110, 44 }, { 110, 66 },
            { 110, 88 }, { 115, 23 }, { 115, 46 }, { 115, 69 }, { 115, 92 }, { 135, 27 }, { 135, 54 } };

TEST(buckets)
{
    int32_t b[1000];

    for (int n = 1; n <= 140; n++) {
        siglip_buckets(b, n, 70);
        for (int i = 0; i < n; i++) {
            int want = 70 * i / n;
            for (size_t k = 0; k < sizeof tie / sizeof *tie; k++)
                if (tie[k].n == n && tie[k].i == i) want--;
            if (b[i] != want) TEST_FAIL("n %d, patch %d: bucket %d, want %d", n, i, b[i], want);
        }
    }
    siglip_buckets(b, 1000, 70);
    for (int i = 0; i < 1000; i++) CHECK(b[i] >= 0 && b[i] < 70 && (!i || b[i] >= b[i - 1]));
}

/* ---- a small model ---- */

static const tile_size tiles[] = { { 3, 5 }, { 1, 1 }, { 7, 2 }, { 4, 4 }, { 1, 19 }, { 90, 1 } };
enum { N_TILE = sizeof tiles / sizeof *tiles, PATCH = 3 * 2 * 2 };

typedef struct result {
    float *hidden, *embeds; /* on the device */
    int64_t n;
} result;

static int64_t n_patches(const tile_size *t, int n)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++) sum += tile_patches(t[i]);
    return sum;
}

/* Tiles [first, first + n) of the list through both, in passes of n_row rows. */
static mo_status run(result *out, backend *be, const made *m, siglip_positions how, int first, int n, int64_t n_row, mo_error *err)
{
    int64_t before = n_patches(tiles, first), all = n_patches(tiles, N_TILE);
    float *patch = made_input(be, "patches", all * PATCH);
    siglip *v = NULL;
    resampler *r = NULL;
    scratch s = scratch_plan();
    mo_status st;
    int64_t n_alloc;

    out->n = n_patches(tiles + first, n);
    out->hidden = made_rows(be, out->n * made_vision.n_embd);
    out->embeds = made_rows(be, (int64_t)n * made_resampler.n_query * made_resampler.n_embd);
    siglip_scratch(&s, &made_vision, n_row);
    resampler_scratch(&s, &made_resampler, n_row);
    if ((st = siglip_load(&v, be, m->ts, &made_vision, how, err)) != MO_OK) goto done;
    if ((st = resampler_load(&r, be, m->ts, &made_resampler, err)) != MO_OK) goto done;
    if ((st = scratch_alloc(&s, be, err)) != MO_OK) goto done;
    n_alloc = mo_alloc_count();
    st = siglip_forward(v, out->hidden, patch + before * PATCH, tiles + first, n, n_row, &s, err);
    if (st == MO_OK) st = resampler_forward(r, out->embeds, out->hidden, tiles + first, n, n_row, &s, err);
    if (mo_alloc_count() != n_alloc) st = mo_fail(err, MO_E_STATE, "a forward pass allocated");
done:
    siglip_free(v);
    resampler_free(r);
    scratch_free(&s, be);
    be->ops->dealloc(be, patch);
    return st;
}

static void result_free(result *r, backend *be)
{
    be->ops->dealloc(be, r->hidden);
    be->ops->dealloc(be, r->embeds);
}

static void make(made *m, int32_t type)
{
    made_begin(m, type);
    made_add_vision(m, &made_vision);
    made_add_resampler(m, &made_resampler);
    made_end(m);
}

/* Batched = alone, whatever the passes and threads, to the last bit. */
static void check_batch(int32_t type)
{
    size_t e = (size_t)made_vision.n_embd * 4, d = (size_t)made_resampler.n_query * (size_t)made_resampler.n_embd * 4;
    backend *be = made_backend(1);
    mo_error err = { 0 };
    result all, one;
    int64_t at = 0;
    made m;

    make(&m, type);
    CHECK_OK(run(&all, be, &m, SIGLIP_POS_REFERENCE, 0, N_TILE, 1000, &err));
    for (int64_t i = 0; i < all.n * made_vision.n_embd; i++) CHECK(isfinite(all.hidden[i]));
    for (int i = 0; i < N_TILE; i++) {
        CHECK_OK(run(&one, be, &m, SIGLIP_POS_REFERENCE, i, 1, 90, &err));
        CHECK(!memcmp(one.hidden, (char *)all.hidden + (size_t)at * e, (size_t)one.n * e));
        CHECK(!memcmp(one.embeds, (char *)all.embeds + (size_t)i * d, d));
        at += one.n;
        result_free(&one, be);
    }
    for (int n_thread = 2; n_thread <= 3; n_thread++) {
        backend *other = made_backend(n_thread);
        CHECK_OK(run(&one, other, &m, SIGLIP_POS_REFERENCE, 0, N_TILE, 90 + n_thread, &err));
        CHECK(!memcmp(one.hidden, all.hidden, (size_t)all.n * e));
        CHECK(!memcmp(one.embeds, all.embeds, N_TILE * d));
        result_free(&one, other);
        other->ops->destroy(other);
    }
    result_free(&all, be);
    be->ops->destroy(be);
    made_free(&m);
}

TEST(batch_is_alone_f32) { check_batch(MO_F32); }
TEST(batch_is_alone_bf16) { check_batch(MO_BF16); }
TEST(batch_is_alone_f16) { check_batch(MO_F16); }

/* The other position rules give other results only where they differ. */
TEST(position_rules)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    result ref, other;
    made m;

    make(&m, MO_F32);
    CHECK_OK(run(&ref, be, &m, SIGLIP_POS_REFERENCE, 0, 1, 100, &err));
    CHECK_OK(run(&other, be, &m, SIGLIP_POS_FLOOR, 0, 1, 100, &err)); /* 3 x 5 has no ties */
    CHECK(!memcmp(ref.hidden, other.hidden, (size_t)(ref.n * made_vision.n_embd) * 4));
    result_free(&other, be);
    CHECK_OK(run(&other, be, &m, SIGLIP_POS_ROW0, 0, 1, 100, &err));
    CHECK(memcmp(ref.hidden, other.hidden, (size_t)(ref.n * made_vision.n_embd) * 4));
    result_free(&other, be);
    result_free(&ref, be);
    CHECK_OK(run(&ref, be, &m, SIGLIP_POS_REFERENCE, 4, 1, 100, &err)); /* one row of patches: the same */
    CHECK_OK(run(&other, be, &m, SIGLIP_POS_ROW0, 4, 1, 100, &err));
    CHECK(!memcmp(ref.hidden, other.hidden, (size_t)(ref.n * made_vision.n_embd) * 4));
    result_free(&other, be);
    result_free(&ref, be);
    be->ops->destroy(be);
    made_free(&m);
}

TEST(limits)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    scratch s = scratch_plan();
    siglip *v;
    resampler *r;
    made m;
    tile_size none = { 0, 4 };

    make(&m, MO_BF16);
    CHECK_OK(siglip_load(&v, be, m.ts, &made_vision, SIGLIP_POS_REFERENCE, &err));
    CHECK_OK(resampler_load(&r, be, m.ts, &made_resampler, &err));
    siglip_scratch(&s, &made_vision, 20);
    CHECK_OK(scratch_alloc(&s, be, &err));
    CHECK_INT(siglip_forward(v, NULL, NULL, tiles + 5, 1, 20, &s, &err), MO_E_LIMIT);
    CHECK_STR(err.message, "tile 0 has 90 patches, a pass takes 20");
    CHECK_INT(siglip_forward(v, NULL, NULL, tiles, 1, 21, &s, &err), MO_E_STATE);
    CHECK_INT(siglip_forward(v, NULL, NULL, &none, 1, 20, &s, &err), MO_E_ARG);
    CHECK_INT(resampler_forward(r, NULL, NULL, tiles + 5, 1, 20, &s, &err), MO_E_LIMIT);
    CHECK_INT(resampler_forward(r, NULL, NULL, tiles, 1, 20, &s, &err), MO_E_STATE);
    CHECK_INT(resampler_forward(r, NULL, NULL, &none, 1, 20, &s, &err), MO_E_ARG);
    CHECK_OK(siglip_forward(v, NULL, NULL, tiles, 0, 20, &s, &err));
    scratch_free(&s, be);
    siglip_free(v);
    resampler_free(r);
    be->ops->destroy(be);
    made_free(&m);
}

/* ---- loading ---- */

static mo_status load_both(backend *be, const made *m, int *n_layer, mo_error *err)
{
    siglip *v = NULL;
    resampler *r = NULL;
    mo_status st = siglip_load(&v, be, m->ts, &made_vision, SIGLIP_POS_REFERENCE, err);

    if (st == MO_OK && n_layer) *n_layer = siglip_n_layer(v);
    if (st == MO_OK) st = resampler_load(&r, be, m->ts, &made_resampler, err);
    siglip_free(v);
    resampler_free(r);
    return st;
}

static mo_status load_without(const char *skip, const char *bend, mo_error *err)
{
    backend *be = made_backend(1);
    made m;
    mo_status st;

    made_begin(&m, MO_BF16);
    m.skip = skip;
    m.bend = bend;
    made_add_vision(&m, &made_vision);
    made_add_resampler(&m, &made_resampler);
    made_end(&m);
    st = load_both(be, &m, NULL, err);
    made_free(&m);
    be->ops->destroy(be);
    return st;
}

TEST(bad_checkpoints)
{
    mo_error err = { 0 };

    CHECK_OK(load_without(NULL, NULL, &err));
    CHECK_INT(load_without("vpm.encoder.layers.1.mlp.fc1.weight", NULL, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "'vpm.encoder.layers.1.mlp.fc1.weight' is missing"));
    CHECK_INT(load_without("resampler.ln_post.bias", NULL, &err), MO_E_FORMAT);
    CHECK_INT(load_without(NULL, "resampler.proj", &err), MO_E_FORMAT);
    CHECK_STR(err.message, "tensor 'resampler.proj': shape 64x65, expected 64x64 (file made, offset 0x0)");
    CHECK_INT(load_without(NULL, "vpm.embeddings.patch_embedding.weight", &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "48x3x2x3, expected 48x12"));
    CHECK_INT(load_without(NULL, "vpm.encoder.layers.2.self_attn.v_proj.bias", &err), MO_E_FORMAT);
}

/* A checkpoint with a layer less than its configuration says runs what it has (drop_vision_last_layer); a hole is an error. */
TEST(runs_what_exists)
{
    vision_config fewer = made_vision;
    backend *be = made_backend(1);
    mo_error err = { 0 };
    int n_layer = 0;
    made m;

    fewer.n_layer--;
    made_begin(&m, MO_BF16);
    made_add_vision(&m, &fewer);
    made_add_resampler(&m, &made_resampler);
    made_end(&m);
    CHECK_OK(load_both(be, &m, &n_layer, &err));
    CHECK_INT(n_layer, fewer.n_layer);
    made_free(&m);

    made_begin(&m, MO_BF16);
    fewer.n_layer = 0;
    made_add_vision(&m, &fewer);
    made_block(&m, fewer.n_embd, fewer.n_ff, "vpm.encoder.layers", 1, "layer_norm1", "layer_norm2", "mlp.", true);
    made_end(&m);
    CHECK_INT(load_both(be, &m, &n_layer, &err), MO_E_FORMAT);
    CHECK(strstr(err.message, "vpm.encoder.layers.0."));
    made_free(&m);
    be->ops->destroy(be);
}

TEST(plan)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    bind_bytes v, r;
    int64_t n;
    made m;

    make(&m, MO_BF16);
    CHECK_OK(siglip_plan(&v, be, m.ts, &made_vision, &err));
    n = mo_alloc_count();
    CHECK_OK(resampler_plan(&r, be, m.ts, &made_resampler, &err));
    CHECK_INT(mo_alloc_count() - n, 1); /* the handle */
    /* all matrices are mapped except the query, which is a float32 vector, and proj, of which only the transpose is used */
    CHECK_INT(v.mapped + v.lookup + r.mapped, m.matrix_bytes - 2 * 6 * 64 - 2 * 64 * 64);
    CHECK_INT(v.copied + r.copied, 4 * (m.n_vector + 6 * 64));
    CHECK(r.repacked >= 2 * 64 * 64);
    made_free(&m);
    be->ops->destroy(be);
}

TEST(allocation_failures)
{
    backend *be = made_backend(1);
    mo_error err = { 0 };
    mo_status st = MO_E_NOMEM;
    made m;
    int n_failed = 0;

    make(&m, MO_BF16);
    for (int k = 0; st != MO_OK && k < 1000; k++) {
        mo_alloc_fail_after(k);
        st = load_both(be, &m, NULL, &err);
        mo_alloc_fail_after(-1);
        if (st != MO_OK) {
            CHECK_INT(st, MO_E_NOMEM);
            n_failed++;
        }
    }
    CHECK_OK(st);
    CHECK(n_failed > 60); /* every vector is one allocation and more */
    made_free(&m);
    be->ops->destroy(be);
}

int main(void)
{
    RUN(buckets);
    RUN(batch_is_alone_f32);
    RUN(batch_is_alone_bf16);
    RUN(batch_is_alone_f16);
    RUN(position_rules);
    RUN(limits);
    RUN(bad_checkpoints);
    RUN(runs_what_exists);
    RUN(plan);
    RUN(allocation_failures);
    return test_end();
}
