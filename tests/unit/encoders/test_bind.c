/* Binding tensors by name: shapes, messages, parts, transposition, the plan, and what a failure leaves behind. */
#include "made.h"
#include "models/bind.h"
#include "test.h"

static backend *be;

static void make(made *m, int32_t type)
{
    made_begin(m, type);
    made_2(m, 5, 12, "a.0.weight");
    made_1(m, 5, "a.0.bias");
    made_2(m, 5, 12, "a.3.weight");
    made_put(m, "conv", 3, 4, 3, 4, 1);
    made_end(m);
}

TEST(message_of_a_wrong_shape)
{
    made m;
    mo_error err = { 0 };
    binder b;
    weight w;
    float *v;

    make(&m, MO_BF16);
    b = bind_begin(be, m.ts, false, &err);
    bind_weight(&b, &w, 5, 13, "a.%d.weight", 0);
    CHECK_INT(bind_status(&b), MO_E_FORMAT);
    CHECK_STR(err.message, "tensor 'a.0.weight': shape 5x12, expected 5x13 (file made, offset 0x0)");
    CHECK(!w.data);

    /* the first failure stays, later calls do nothing */
    bind_vector(&b, &v, 5, "no such");
    CHECK(!v && strstr(err.message, "5x13"));

    b = bind_begin(be, m.ts, false, &err);
    bind_vector(&b, &v, 6, "a.0.bias");
    CHECK(strstr(err.message, "shape 5, expected 6"));
    b = bind_begin(be, m.ts, true, &err);
    bind_vector(&b, &v, 6, "a.%s.bias", "7");
    CHECK_INT(bind_status(&b), MO_E_FORMAT);
    CHECK(strstr(err.message, "a.7.bias") && strstr(err.message, "missing"));
    made_free(&m);
}

TEST(weights_are_the_mapped_bytes)
{
    made m;
    mo_error err = { 0 };
    binder b;
    weight w, part;

    make(&m, MO_F32);
    b = bind_begin(be, m.ts, false, &err);
    bind_weight(&b, &w, 4, 12, "conv");
    bind_weight_rows(&b, &part, 2, 3, 5, 12, "a.0.weight");
    CHECK_OK(bind_status(&b));
    CHECK(w.data == tensors_find(m.ts, "conv")->data);
    CHECK_INT(w.n_row, 4);
    CHECK_INT(w.n_col, 12);
    CHECK(part.data == (const char *)tensors_find(m.ts, "a.0.weight")->data + 2 * 12 * 4);
    CHECK_INT(part.n_row, 3);
    CHECK_INT(b.bytes.mapped, 4 * 12 * 4 + 3 * 12 * 4);
    unbind_weight(be, &w);
    unbind_weight(be, &part);
    unbind_weight(be, &part); /* twice is allowed */
    CHECK_INT(bind_count_layers(&b, "a."), 4);
    CHECK_INT(bind_count_layers(&b, "b."), 0);
    CHECK(bind_has(&b, "a.%d.bias", 0) && !bind_has(&b, "a.%d.bias", 3));
    made_free(&m);
}

/* A transposed weight times a unit row gives a row of the original. */
static void check_transposed(int32_t type)
{
    made m;
    mo_error err = { 0 };
    binder b;
    weight t;
    void *owned;
    float *x = made_rows(be, 5), *y = made_rows(be, 12), want[12];
    const tensor *a;

    make(&m, type);
    a = tensors_find(m.ts, "a.0.weight");
    b = bind_begin(be, m.ts, false, &err);
    bind_weight_transposed(&b, &t, &owned, 5, 12, "a.0.weight");
    CHECK_OK(bind_status(&b));
    CHECK_INT(t.n_row, 12);
    CHECK_INT(t.n_col, 5);
    for (int r = 0; r < 5; r++) {
        float unit[5] = { 0 };
        unit[r] = 1;
        be->ops->upload(be, x, unit, sizeof unit);
        be->ops->matmul(be, y, 12, &t, x, 5, 1, NULL);
        dtype_to_f32(want, (const char *)a->data + (size_t)r * dtype_row_bytes(type, 12), type, 12);
        for (int c = 0; c < 12; c++) CHECK_NEAR(y[c], want[c], 0);
    }
    unbind_weight(be, &t);
    mo_free(owned);
    be->ops->dealloc(be, x);
    be->ops->dealloc(be, y);
    made_free(&m);
}

TEST(transposed)
{
    check_transposed(MO_F32);
    check_transposed(MO_BF16);
    check_transposed(MO_F16);
}

TEST(vectors_and_parts)
{
    made m;
    mo_error err = { 0 };
    binder b;
    float *v, *part, *table;
    float got[12], want[48];

    make(&m, MO_F16);
    b = bind_begin(be, m.ts, false, &err);
    bind_vector(&b, &v, 48, "conv");
    bind_vector_part(&b, &part, 7, 3, 48, "conv");
    bind_table(&b, &table, 5, 12, "a.3.weight");
    CHECK_OK(bind_status(&b));
    CHECK_INT(b.bytes.copied, 4 * (48 + 3 + 60));
    dtype_to_f32(want, tensors_find(m.ts, "conv")->data, MO_F16, 48);
    be->ops->download(be, got, part, 3 * sizeof *got);
    for (int i = 0; i < 3; i++) CHECK_NEAR(got[i], want[7 + i], 0);
    be->ops->download(be, got, v + 36, 12 * sizeof *got);
    for (int i = 0; i < 12; i++) CHECK_NEAR(got[i], want[36 + i], 0);
    unbind_vector(be, &v);
    unbind_vector(be, &part);
    unbind_vector(be, &table);
    CHECK(!v);
    made_free(&m);
}

/* Files need not align their tensors. */
TEST(odd_address)
{
    float want[300], got[300];
    char *raw = malloc(sizeof want + 1);
    tensor t = { .name = "v", .type = MO_F32, .n_dim = 1, .dim = { 300 }, .n_bytes = sizeof want, .data = raw + 1, .file = "made" };
    tensors *ts;
    mo_error err = { 0 };
    binder b;
    float *v;

    CHECK(raw);
    for (int i = 0; i < 300; i++) want[i] = (float)i * 0.37f;
    memcpy(raw + 1, want, sizeof want);
    CHECK_OK(tensors_new(&ts, &err));
    CHECK_OK(tensors_add(ts, &t, &err));
    CHECK_OK(tensors_index(ts, &err));
    b = bind_begin(be, ts, false, &err);
    bind_vector(&b, &v, 300, "v");
    CHECK_OK(bind_status(&b));
    be->ops->download(be, got, v, sizeof got);
    CHECK(!memcmp(got, want, sizeof got));
    unbind_vector(be, &v);
    tensors_close(ts);
    free(raw);
}

int main(void)
{
    be = made_backend(1);
    RUN(message_of_a_wrong_shape);
    RUN(weights_are_the_mapped_bytes);
    RUN(transposed);
    RUN(vectors_and_parts);
    RUN(odd_address);
    be->ops->destroy(be);
    return test_end();
}
