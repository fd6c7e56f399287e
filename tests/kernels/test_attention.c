/* Attention and the paged cache: against softmax in double; chunked = whole, alone = in the batch, any number of threads. */
#include "../test.h"
#include "kernel_test.h"

/* Scores of standard size, values of about 1: errors of a few ulp of exp and of the sums; rounded caches are compared exactly
 * (the reference reads the rounded values). */
static const double TOL_ABS = 3e-6, TOL_REL = 3e-6;
/* Scores of size 1 from factors of 8 bits are off by some 2^-9 each way, and weights of 8 bits average over many keys. */
static const double TOL_PAIRS = 2e-2;

REFERENCE static void softmax_row(float *y, const float *q, const float *k, int64_t ldk, const float *v, int64_t ldv, int n, int hd,
                                  double scale)
{
    double m = -1e300, l = 0, *s = malloc((size_t)(n + hd) * sizeof *s), *o = s + n;

    for (int i = 0; i < n; i++) {
        s[i] = 0;
        for (int d = 0; d < hd; d++) s[i] += (double)q[d] * k[i * ldk + d];
        s[i] *= scale;
        if (s[i] > m) m = s[i];
    }
    for (int d = 0; d < hd; d++) o[d] = 0;
    for (int i = 0; i < n; i++) {
        double p = exp(s[i] - m);
        l += p;
        for (int d = 0; d < hd; d++) o[d] += p * v[i * ldv + d];
    }
    for (int d = 0; d < hd; d++) y[d] = (float)(o[d] / l);
    free(s);
}

/* ---- dense ---- */

typedef struct dense {
    attn_dense_args a;
    int32_t q_row[5], k_row[5], *n_visible;
    float *q, *k, *v;
    int n_q, n_k;
} dense;

static dense dense_new(int n_item, const int *nq, const int *nk, int n_head, int hd, bool masked, float size)
{
    dense p = { 0 };
    const int w = n_head * hd;

    for (int i = 0; i < n_item; i++) p.q_row[i + 1] = p.q_row[i] + nq[i], p.k_row[i + 1] = p.k_row[i] + nk[i];
    p.n_q = p.q_row[n_item], p.n_k = p.k_row[n_item];
    p.a = (attn_dense_args){ .ldy = w + 1,
                             .ldq = w + 2,
                             .ldk = w + 3,
                             .ldv = w,
                             .q_row = NULL,
                             .n_item = n_item,
                             .n_head = n_head,
                             .head_dim = hd,
                             .scale = size / sqrtf((float)hd) };
    p.q = new_f(p.n_q * p.a.ldq, 1), p.k = new_f(p.n_k * p.a.ldk, 1), p.v = new_f(p.n_k * p.a.ldv, 1);
    p.a.q = p.q, p.a.k = p.k, p.a.v = p.v;
    if (masked) {
        p.n_visible = malloc((size_t)p.n_q * sizeof *p.n_visible);
        for (int i = 0; i < n_item; i++)
            for (int r = p.q_row[i]; r < p.q_row[i + 1]; r++) p.n_visible[r] = rnd_int(1, nk[i]);
        p.a.n_visible = p.n_visible;
    }
    return p;
}

static void dense_free(dense *p)
{
    free_f(p->q, 1), free_f(p->k, 1), free_f(p->v, 1);
    free(p->n_visible);
}

static void dense_run(const isa_case *isa, int n_thread, dense *p, float *y)
{
    backend *be = test_backend(isa, n_thread);
    p->a.y = y, p->a.q_row = p->q_row, p->a.k_row = p->k_row;
    be->ops->attn_dense(be, &p->a);
}

static bool dense_case(const isa_case *isa, int n_item, const int *nq, const int *nk, int n_head, int hd, bool masked, float size)
{
    dense p = dense_new(n_item, nq, nk, n_head, hd, masked, size);
    const int64_t n = p.n_q * p.a.ldy;
    float *got = guard_new(n), *other = guard_new(n), *want = malloc((size_t)hd * sizeof *want);
    char what[120];
    bool ok = true;

    snprintf(what, sizeof what, "%s dense items %d q %d k %d heads %d x %d", isa->name, n_item, nq[0], nk[0], n_head, hd);
    dense_run(isa, 2, &p, got);
    for (int i = 0; i < n_item && ok; i++)
        for (int r = p.q_row[i]; r < p.q_row[i + 1] && ok; r++)
            for (int h = 0; h < n_head && ok; h++) {
                const int64_t c = (int64_t)h * hd, k0 = p.k_row[i];
                softmax_row(want, p.q + r * p.a.ldq + c, p.k + k0 * p.a.ldk + c, p.a.ldk, p.v + k0 * p.a.ldv + c, p.a.ldv,
                            p.n_visible ? p.n_visible[r] : nk[i], hd, (double)p.a.scale);
                ok = near_f(what, got + r * p.a.ldy + c, want, hd,
                            (isa->k.attn_tile_pairs ? TOL_PAIRS : TOL_ABS) * (double)(size > 1 ? size : 1), TOL_REL);
            }
    ok = ok && guard_ok(got, n);
    for (int t = 1; t <= 3 && ok; t += 2) {
        dense_run(isa, t, &p, other);
        ok = same_bits(what, other, got, n) && guard_ok(other, n);
    }
    for (int i = 0; i < n_item && ok; i++) { /* an item alone, and one row of it alone */
        dense one = p;
        const int r = p.q_row[i] + rnd_int(0, nq[i] - 1);
        for (int j = 0; j < 2; j++) {
            const int from = j ? r : p.q_row[i], to = j ? r + 1 : p.q_row[i + 1];
            one.a.n_item = 1;
            one.a.q = p.q + from * p.a.ldq;
            one.a.k = p.k + p.k_row[i] * p.a.ldk;
            one.a.v = p.v + p.k_row[i] * p.a.ldv;
            one.a.n_visible = p.n_visible ? p.n_visible + from : NULL;
            one.q_row[0] = one.k_row[0] = 0, one.q_row[1] = to - from, one.k_row[1] = nk[i];
            dense_run(isa, 2, &one, other);
            for (int q = from; q < to && ok; q++)
                ok = same_bits("item or row alone", other + (q - from) * p.a.ldy, got + q * p.a.ldy, n_head * hd);
        }
    }
    guard_free(got), guard_free(other), free(want);
    dense_free(&p);
    return ok;
}

TEST(dense_shapes)
{
    static const int nq[] = { 70, 1, 90, 13 }, nk[] = { 70, 130, 90, 64 };
    static const int hd[] = { 72, 64, 1, 7, 257 };

    for (int i = 0; i < n_isa_case; i++)
        for (size_t d = 0; d < sizeof hd / sizeof *hd; d++)
            for (int masked = 0; masked < 2; masked++) CHECK(dense_case(&isa_cases[i], 4, nq, nk, 2, hd[d], masked, 1));
}

TEST(dense_long)
{
    static const int nq[] = { 5 }, nk[] = { 3001 };

    for (int i = 0; i < n_isa_case; i++) CHECK(dense_case(&isa_cases[i], 1, nq, nk, 3, 72, false, 1));
}

/* Large scores: the running maximum has to hold. */
TEST(dense_sharp)
{
    static const int nq[] = { 33 }, nk[] = { 190 };

    for (int i = 0; i < n_isa_case; i++) CHECK(dense_case(&isa_cases[i], 1, nq, nk, 2, 64, true, 30));
}

/* Keys behind a row's n_visible may hold anything. */
TEST(dense_masked_garbage)
{
    static const int nq[] = { 9 }, nk[] = { 150 };

    for (int i = 0; i < n_isa_case; i++) {
        dense p = dense_new(1, nq, nk, 1, 24, true, 1);
        float *a = guard_new(9 * p.a.ldy), *b = guard_new(9 * p.a.ldy);
        for (int r = 0; r < 9; r++) p.n_visible[r] = 60 + r * 3;
        dense_run(&isa_cases[i], 2, &p, a);
        for (int r = 0; r < 9; r++) /* for each row alone, spoil all it must not see */
            for (int key = 0; key < 150; key++)
                if (key >= 60 + 8 * 3) p.k[key * p.a.ldk] = p.v[key * p.a.ldv] = NAN;
        dense_run(&isa_cases[i], 2, &p, b);
        CHECK(same_bits("garbage behind all", b, a, 9 * p.a.ldy));
        for (int key = 61; key < 84; key++) p.v[key * p.a.ldv] = INFINITY; /* row 0 sees 60 keys */
        dense_run(&isa_cases[i], 2, &p, b);
        CHECK(same_bits("infinity behind row 0", b, a, 24));
        guard_free(a), guard_free(b);
        dense_free(&p);
    }
}

/* ---- paged ---- */

enum { MAX_PAGE = 24 };

typedef struct cache {
    void *page[MAX_PAGE];
    int n_page;
    size_t offset;
} cache;

/* Pages hold NaN until something is stored. */
static cache cache_new(int n_page, size_t offset, size_t bytes)
{
    cache c = { .n_page = n_page, .offset = offset };

    for (int i = 0; i < n_page; i++) {
        c.page[i] = malloc(offset + bytes);
        memset(c.page[i], 0xff, offset + bytes);
    }
    return c;
}

static void cache_free(cache *c)
{
    for (int i = 0; i < c->n_page; i++) free(c->page[i]);
}

typedef struct paged {
    int n_head, n_kv_head, hd, n[2]; /* rows of each of two sequences */
    int32_t type;
    float *q, *k, *v;
    int32_t *at, *n_visible;
    cache c[2];
} paged;

static paged paged_new(int n_head, int n_kv_head, int hd, int n0, int n1, int32_t type)
{
    paged p = { n_head, n_kv_head, hd, { n0, n1 }, type, NULL, NULL, NULL, NULL, NULL, { { { 0 }, 0, 0 }, { { 0 }, 0, 0 } } };
    const int n = n0 + n1;

    p.q = new_f((int64_t)n * n_head * hd, 1);
    p.k = new_f((int64_t)n * n_kv_head * hd, 1);
    p.v = new_f((int64_t)n * n_kv_head * hd, 1);
    p.at = malloc((size_t)n * sizeof *p.at);
    p.n_visible = malloc((size_t)n * sizeof *p.n_visible);
    for (int i = 0; i < n; i++) p.at[i] = i < n0 ? i : i - n0, p.n_visible[i] = p.at[i] + 1;
    for (int s = 0; s < 2; s++)
        p.c[s] = cache_new((p.n[s] + KV_PAGE - 1) / KV_PAGE, (size_t)s * 128, kv_page_layer_bytes(type, n_kv_head, hd));
    return p;
}

static void paged_free(paged *p)
{
    free_f(p->q, 1), free_f(p->k, 1), free_f(p->v, 1);
    free(p->at), free(p->n_visible);
    cache_free(&p->c[0]), cache_free(&p->c[1]);
}

/* Stores and attends rows [from, from + n) of the rows listed; each range is one sequence's. */
static void paged_run(backend *be, const paged *p, const int (*range)[3], int n_range, float *y)
{
    attn_seq seq[4];
    const int64_t ldq = (int64_t)p->n_head * p->hd, ldk = (int64_t)p->n_kv_head * p->hd;
    const attn_paged_args a = { .y = y,
                                .q = p->q,
                                .ldy = ldq,
                                .ldq = ldq,
                                .n_visible = p->n_visible,
                                .seq = seq,
                                .n_seq = n_range,
                                .n_head = p->n_head,
                                .n_kv_head = p->n_kv_head,
                                .head_dim = p->hd,
                                .kv_type = p->type,
                                .scale = 1 / sqrtf((float)p->hd) };

    for (int i = 0; i < n_range; i++) {
        const int s = range[i][0];
        seq[i] = (attn_seq){
            .row = (s ? p->n[0] : 0) + range[i][1], .n_row = range[i][2], .page = p->c[s].page, .layer_offset = p->c[s].offset
        };
    }
    be->ops->kv_store(be, seq, n_range, p->at, p->k, p->v, ldk, p->n_kv_head, p->hd, p->type);
    be->ops->attn_paged(be, &a);
}

/* The largest error of element i of rows of standard size, of a head's row x. A scale is rounded to float16 too. */
static double store_error(int32_t type, const float *x, int i)
{
    float most = 0;

    if (type == MO_F32) return 0;
    if (type == MO_F16) return ldexp(fabs((double)x[i]), -11) + ldexp(1, -25);
    for (int d = i - i % 32; d < i - i % 32 + 32; d++) most = fmaxf(most, fabsf(x[d]));
    return (double)most * (0.5 / 127 + ldexp(1, -11) + 1e-6);
}

static bool row_back(int32_t type, const char *what, float *x, const float *stored, int n)
{
    for (int d = 0; d < n; d++)
        if (!(fabs((double)stored[d] - x[d]) <= store_error(type, x, d))) {
            printf("%s: element %d is %.9g, want %.9g\n", what, d, (double)stored[d], (double)x[d]);
            return false;
        }
    memcpy(x, stored, (size_t)n * sizeof *x);
    return true;
}

/* k and v become what the caches hold of them, within the type's rounding. */
static bool read_back(backend *be, paged *p, const char *what)
{
    const int64_t wk = (int64_t)p->n_kv_head * p->hd;
    bool ok = true;

    for (int s = 0; s < 2; s++) {
        const int n = p->n[s], first = s ? p->n[0] : 0;
        const attn_seq seq = { first, n, p->c[s].page, p->c[s].offset };
        float *k = malloc((size_t)(n * wk) * sizeof *k), *v = malloc((size_t)(n * wk) * sizeof *v);
        be->ops->kv_read(be, &seq, n, k, v, p->n_kv_head, p->hd, p->type);
        for (int h = 0; h < p->n_kv_head && ok; h++)
            for (int r = 0; r < n && ok; r++) {
                const int64_t from = (h * (int64_t)n + r) * p->hd, to = (first + r) * wk + (int64_t)h * p->hd;
                ok = row_back(p->type, what, p->k + to, k + from, p->hd) && row_back(p->type, what, p->v + to, v + from, p->hd);
            }
        free(k), free(v);
    }
    return ok;
}

static bool paged_case(const isa_case *isa, int n_head, int n_kv_head, int hd, int n0, int n1, int32_t type)
{
    paged p = paged_new(n_head, n_kv_head, hd, n0, n1, type);
    const int64_t w = (int64_t)n_head * hd, wk = (int64_t)n_kv_head * hd, n = (int64_t)(n0 + n1) * w;
    float *whole = guard_new(n), *part = guard_new(n), *want = malloc((size_t)hd * sizeof *want);
    const int all[2][3] = { { 0, 0, n0 }, { 1, 0, n1 } };
    backend *be = test_backend(isa, 2);
    char what[120];
    bool ok = true;

    snprintf(what, sizeof what, "%s paged %s heads %d/%d x %d rows %d+%d", isa->name, dtype_get(type)->name, n_head, n_kv_head, hd, n0, n1);
    paged_run(be, &p, all, 2, whole);
    ok = read_back(be, &p, what);
    for (int r = 0; r < n0 + n1 && ok; r++)
        for (int h = 0; h < n_head && ok; h++) {
            const int64_t first = r < n0 ? 0 : n0, ck = (int64_t)(h / (n_head / n_kv_head)) * hd;
            softmax_row(want, p.q + r * w + (int64_t)h * hd, p.k + first * wk + ck, wk, p.v + first * wk + ck, wk, p.n_visible[r], hd,
                        1 / sqrt(hd));
            ok = near_f(what, whole + r * w + (int64_t)h * hd, want, hd, TOL_ABS, TOL_REL);
        }
    ok = ok && guard_ok(whole, n);

    /* in chunks of uneven size, down to one row, sequences alone and together, other numbers of threads */
    for (int t = 1; t <= 3 && ok; t++) {
        int done[2] = { 0, 0 };
        be = test_backend(isa, t);
        while (done[0] < n0 || done[1] < n1) {
            int range[2][3], n_range = 0;
            for (int s = 0; s < 2; s++) {
                int left = p.n[s] - done[s], take = rnd_int(0, t == 1 ? 5 : 90);
                if (take > left) take = left;
                if (!take) continue;
                range[n_range][0] = s, range[n_range][1] = done[s], range[n_range][2] = take;
                n_range++;
                done[s] += take;
            }
            if (n_range) paged_run(be, &p, range, n_range, part);
        }
        ok = same_bits(what, part, whole, n) && guard_ok(part, n);
    }
    guard_free(whole), guard_free(part), free(want);
    paged_free(&p);
    return ok;
}

static const int32_t types[] = { MO_F32, MO_F16, MO_Q8_0 };

TEST(paged_shapes)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int t = 0; t < 3; t++) {
            const int32_t type = types[t];
            CHECK(paged_case(&isa_cases[i], 8, 2, 128, 140, 67, type));
            CHECK(paged_case(&isa_cases[i], 4, 4, 64, 200, 1, type));
            CHECK(paged_case(&isa_cases[i], 9, 3, 64, 80, 70, type));
            CHECK(paged_case(&isa_cases[i], 6, 2, 32, 64, 128, type));
            CHECK(paged_case(&isa_cases[i], 10, 2, 96, 70, 5, type));
            if (type == MO_Q8_0) continue; /* the others are no whole blocks */
            CHECK(paged_case(&isa_cases[i], 14, 2, 16, 90, 30, type));
            CHECK(paged_case(&isa_cases[i], 4, 2, 20, 130, 65, type)); /* head_dim no multiple of a vector */
            CHECK(paged_case(&isa_cases[i], 3, 1, 5, 70, 3, type));
            CHECK(paged_case(&isa_cases[i], 8, 1, 256, 20, 70, type));
        }
}

/* Few rows, a long past: several spans, split over threads or not. */
TEST(paged_long)
{
    for (int i = 0; i < n_isa_case; i++) {
        CHECK(paged_case(&isa_cases[i], 4, 2, 16, 300, 700, MO_F16));
        CHECK(paged_case(&isa_cases[i], 3, 1, 32, 700, 300, MO_Q8_0));
        CHECK(paged_case(&isa_cases[i], 2, 1, 20, 513, 256, MO_F32));
    }
}

/* Every instruction set stores the same bytes: ordinary numbers, zeros, numbers whose scale rounds to zero or is large. */
TEST(blocks_same_bytes)
{
    enum { N = 32 * 6 };
    float *x = new_f(N, 1);
    int8_t want[N], got[N];
    uint16_t want_scale[N / 32], got_scale[N / 32];
    kernels generic;

    kernels_init(&generic, 0, KERNELS_FLOAT32, false);
    for (int i = 0; i < 32; i++) x[32 + i] = 0, x[64 + i] *= 1e-12f, x[96 + i] *= 1e6f, x[128 + i] = (float)(i - 16) * 0.5f;
    generic.to_q8_0(want, want_scale, x, N);
    for (int i = 0; i < 32; i++) CHECK(!want[32 + i] && !want[64 + i]);
    CHECK(!want_scale[1] && !want_scale[2]);
    CHECK_INT(want[128], -127);
    for (int i = 0; i < n_isa_case; i++) {
        isa_cases[i].k.to_q8_0(got, got_scale, x, N);
        CHECK(!memcmp(got, want, sizeof want) && !memcmp(got_scale, want_scale, sizeof want_scale));
    }
    free_f(x, 1);
}

/* ---- moving keys ---- */

enum { MOVE_N = 200, MOVE_DST = 10, MOVE_SRC = 73 };

static void kv_move_case(const isa_case *isa, int32_t type, rope_style style)
{
    const int hd = type == MO_Q8_0 ? 32 : 8, half = hd / 2, n = MOVE_N, cnt = n - MOVE_SRC;
    const double tol = type == MO_F32 ? 2e-5 : type == MO_F16 ? 4e-3 : 2e-2; /* a key is rounded again */
    paged p = paged_new(2, 2, hd, n, 1, type);
    const attn_seq s = { 0, n, p.c[0].page, p.c[0].offset }, s1 = { n, 1, p.c[1].page, p.c[1].offset }, both[] = { s, s1 };
    backend *be = test_backend(isa, 2);
    float *k0 = new_f(2 * hd * n, 0), *v0 = new_f(2 * hd * n, 0), *k1 = new_f(2 * hd * n, 0), *v1 = new_f(2 * hd * n, 0), inv_freq[16];

    for (int d = 0; d < half; d++) inv_freq[d] = powf(0.3f, (float)d);
    be->ops->kv_store(be, both, 2, p.at, p.k, p.v, 2 * hd, 2, hd, type);
    be->ops->kv_read(be, &s, n, k0, v0, 2, hd, type);
    CHECK(read_back(be, &p, "stored"));
    be->ops->kv_shift(be, &s, MOVE_DST, MOVE_SRC, cnt, MOVE_DST - MOVE_SRC, inv_freq, 2, hd, type, style);
    be->ops->kv_read(be, &s, n, k1, v1, 2, hd, type);
    for (int h = 0; h < 2; h++)
        for (int r = 0; r < cnt; r++) {
            const float *from = k0 + (h * n + MOVE_SRC + r) * hd, *to = k1 + (h * n + MOVE_DST + r) * hd;
            CHECK(same_bits("moved value", v1 + (h * n + MOVE_DST + r) * hd, v0 + (h * n + MOVE_SRC + r) * hd, hd));
            for (int d = 0; d < half; d++) {
                const int a = style == ROPE_PAIRS ? 2 * d : d, b = style == ROPE_PAIRS ? 2 * d + 1 : d + half;
                const double w = (MOVE_DST - MOVE_SRC) * (double)inv_freq[d];
                CHECK_NEAR(to[a], from[a] * cos(w) - from[b] * sin(w), tol);
                CHECK_NEAR(to[b], from[b] * cos(w) + from[a] * sin(w), tol);
            }
        }
    CHECK(same_bits("untouched", k1, k0, MOVE_DST * hd));
    free_f(k0, 0), free_f(v0, 0), free_f(k1, 0), free_f(v1, 0);
    paged_free(&p);
}

TEST(kv_move)
{
    for (int i = 0; i < n_isa_case; i++)
        for (int t = 0; t < 6 && !test_this_failed; t++) kv_move_case(&isa_cases[i], types[t / 2], t % 2 ? ROPE_PAIRS : ROPE_HALVES);
}

int main(void)
{
    isa_cases_init();
    RUN(dense_shapes);
    RUN(dense_long);
    RUN(dense_sharp);
    RUN(dense_masked_garbage);
    RUN(paged_shapes);
    RUN(paged_long);
    RUN(blocks_same_bytes);
    RUN(kv_move);
    return test_end();
}
