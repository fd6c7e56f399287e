/* Scoring a text: the figures are those of the model's own logits, whatever the passes, threads and rows of logits; a
 * conversation goes on as if nothing had been scored; what is out of range is refused. */
#include "session/model.h"
#include "talk.h"

enum { N = 150 };

static char dir[64];
static mo_model *model; /* one thread, passes of 64 */
static int32_t text[N];

/* -ln p of every position by a plain forward that asks for all logits. */
static mo_status by_forward(float nll[N], mo_error *err)
{
    const llm *l = model->llm;
    int32_t n_vocab = model->cfg.llm.n_vocab;
    kv_shape shape = llm_kv_shape(&model->cfg.llm, MO_F16);
    float *logits = calloc((size_t)N * (size_t)n_vocab, sizeof *logits);
    kv_seq seq, *of_row[N];
    uint8_t want[N];
    kv_pool pages;
    mo_status st;

    if (!logits) abort();
    for (int i = 0; i < N; i++) {
        of_row[i] = &seq;
        want[i] = LLM_WANT_LOGITS;
    }
    llm_batch b = { .n_row = N, .token = text, .seq = of_row, .want = want };
    if ((st = kv_pool_init(&pages, model->be, &shape, kv_pages_for(N), err)) != MO_OK) goto done;
    if ((st = kv_seq_init(&seq, &pages, N, err)) == MO_OK) st = llm_forward(l, &model->scratch, 64, &b, logits, NULL, err);
    for (int i = 1; st == MO_OK && i < N; i++) {
        const float *x = logits + (int64_t)(i - 1) * n_vocab;
        double sum = 0;
        for (int k = 0; k < n_vocab; k++) sum += exp((double)x[k]);
        nll[i] = (float)(log(sum) - (double)x[text[i]]);
    }
    kv_seq_free(&seq);
    kv_pool_free(&pages);
done:
    free(logits);
    return st;
}

typedef struct rows {
    int n, stop_at;
    int32_t last;
    double sum; /* of all logits: tells any two apart */
} rows;

static mo_status take(void *user, int32_t i, const float *logits)
{
    rows *r = user;

    if (r->n && i != r->last + 1) r->n = -1000;
    if (r->stop_at && i == r->stop_at) return MO_E_LIMIT;
    r->last = i;
    r->n++;
    for (int k = 0; k < TINY_VOCAB; k++) r->sum += (double)logits[k] * (1 + i % 7);
    return MO_OK;
}

TEST(as_the_forward_says)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    float want[N], nll[N], again[N];
    mo_session *s;
    rows r = { 0 };

    CHECK_OK(by_forward(want, &err));
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_OK(mo_session_score(s, text, N, 1, nll, take, &r, &err));
    for (int i = 1; i < N; i++) CHECK_NEAR(nll[i], want[i], 1e-5);
    CHECK(r.n == N - 1 && r.last == N - 1);
    for (int first = 2; first < N; first += 7) { /* from anywhere: the same bits, and nothing before is touched */
        for (int i = 0; i < N; i++) again[i] = -1;
        CHECK_OK(mo_session_score(s, text, N, first, again, NULL, NULL, &err));
        CHECK(!memcmp(again + first, nll + first, (size_t)(N - first) * sizeof *nll) && again[first - 1] == -1);
    }
    CHECK_OK(mo_session_score(s, text, 2, 1, again, NULL, NULL, &err));
    CHECK(again[1] == nll[1]);
    mo_session_free(s);
}

TEST(passes_threads_rows)
{
    static const int n_ubatch[] = { 1, 3, 17, 512 };
    mo_error err = { 0 };
    float want[N], nll[N];
    double sum = 0;

    for (int k = 0; k < 8; k++) {
        mo_model_opts mo = model_opts(1 + k % 3, n_ubatch[k % 4]);
        mo_session_opts o = session_opts();
        rows r = { 0 };
        mo_session *s;
        mo_model *m;

        o.speculate = k < 4 ? MO_AUTO : MO_OFF; /* 16 rows of logits, or one */
        CHECK_OK(mo_model_open(&m, dir, &mo, &err));
        CHECK_OK(mo_session_new(&s, m, &o, &err));
        CHECK_OK(mo_session_score(s, text, N, 40, k ? nll : want, take, &r, &err));
        if (k) CHECK(!memcmp(nll + 40, want + 40, (N - 40) * sizeof *nll) && r.sum == sum);
        sum = r.sum;
        mo_session_free(s);
        mo_model_close(m);
    }
}

TEST(conversations_go_on)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    reply a, b, want;
    float nll[N];
    mo_session *s;

    for (int k = 0; k < 2; k++) {
        CHECK_OK(mo_session_new(&s, model, &o, &err));
        CHECK_OK(say(s, "user", "hello", &err));
        CHECK_OK(talk(s, &a, &err));
        if (k) CHECK_OK(mo_session_score(s, text, N, 1, nll, NULL, NULL, &err));
        CHECK_OK(say(s, "user", "go on", &err));
        CHECK_OK(talk(s, k ? &b : &want, &err));
        reply_free(&a);
        mo_session_free(s);
    }
    CHECK_STR(reply_text(&b), reply_text(&want));
    CHECK(b.end.n_reused < want.end.n_reused);
    reply_free(&b);
    reply_free(&want);
}

static mo_session *interrupted;

static mo_status interrupt(void *user, int32_t i, const float *logits)
{
    (void)user, (void)i, (void)logits;
    mo_session_interrupt(interrupted);
    return MO_OK;
}

TEST(refusals)
{
    mo_session_opts o = session_opts();
    mo_error err = { 0 };
    int32_t bad[3] = { 1, 2, TINY_VOCAB };
    float nll[N];
    mo_session *s;
    int64_t n_alloc;

    o.n_ctx = 128;
    CHECK_OK(mo_session_new(&s, model, &o, &err));
    CHECK_INT(mo_session_score(s, text, N, 1, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK(strstr(err.message, "at most 128"));
    CHECK_INT(mo_session_score(s, NULL, 3, 1, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK_INT(mo_session_score(s, text, 3, 0, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK_INT(mo_session_score(s, text, 3, 3, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK_INT(mo_session_score(s, text, 1, 1, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK_INT(mo_session_score(s, bad, 3, 1, nll, NULL, NULL, &err), MO_E_ARG);
    CHECK(strstr(err.message, "token 288 at position 2"));
    bad[2] = -1;
    CHECK_INT(mo_session_score(s, bad, 3, 1, nll, NULL, NULL, &err), MO_E_ARG);

    CHECK_INT(mo_session_score(s, text, 100, 1, nll, take, &(rows){ .stop_at = 50 }, &err), MO_E_LIMIT);
    CHECK(strstr(err.message, "position 50"));
    interrupted = s;
    CHECK_INT(mo_session_score(s, text, 100, 1, nll, interrupt, NULL, &err), MO_E_INTERRUPTED);
    CHECK_INT(mo_session_step(s, &err), MO_E_AGAIN);

    n_alloc = mo_alloc_count();
    CHECK_OK(mo_session_score(s, text, 100, 1, nll, NULL, NULL, &err));
    CHECK_INT(mo_alloc_count(), n_alloc);

    CHECK_OK(say(s, "user", "hi", &err));
    CHECK_OK(mo_session_answer(s, &err));
    CHECK_INT(mo_session_score(s, text, 100, 1, nll, NULL, NULL, &err), MO_E_STATE);
    mo_session_free(s);
}

TEST(ids_of_a_text)
{
    mo_error err = { 0 };
    int32_t *id;
    size_t n;

    CHECK_OK(mo_model_tokenize(model, "abc<|im_end|>", 13, &id, &n, &err));
    CHECK_INT(n, 13); /* bytes: the marker is none here */
    mo_ids_free(id);
    CHECK_OK(mo_model_tokenize(model, NULL, 0, &id, &n, &err));
    CHECK_INT(n, 0);
    mo_ids_free(id);
    CHECK_INT(mo_model_tokenize(model, NULL, 1, &id, &n, &err), MO_E_ARG);
    CHECK_INT(mo_model_tokenize(model, "\xff", 1, &id, &n, &err), MO_E_ARG);
    CHECK(!id && strstr(err.message, "UTF-8"));
    for (int i = 0; i < 20; i++) {
        mo_status st;
        mo_alloc_fail_after(i);
        st = mo_model_tokenize(model, "some text", 9, &id, &n, &err);
        mo_alloc_fail_after(-1);
        CHECK(st == MO_OK || (st == MO_E_NOMEM && !id));
        mo_ids_free(id);
    }
    CHECK_INT(mo_model_n_vocab(model), TINY_VOCAB);
    CHECK_INT(mo_model_bos(model), -1);
}

int main(void)
{
    mo_model_opts mo = model_opts(1, 64);
    mo_error err = { 0 };

    for (int i = 0; i < N; i++) text[i] = 64 + (i * i + i / 7) % 26;
    if (tiny_write(dir, NULL, &err) != MO_OK || mo_model_open(&model, dir, &mo, &err) != MO_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    RUN(as_the_forward_says);
    RUN(passes_threads_rows);
    RUN(conversations_go_on);
    RUN(refusals);
    RUN(ids_of_a_text);
    mo_model_close(model);
    tiny_remove(dir);
    return test_end();
}
