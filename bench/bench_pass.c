/* Where the time of a prefill and of a decode step goes, op by op, in a real model.
 *
 *     bench_pass MODEL [-t THREADS] [-p PROMPT] [-g GEN] [-r RUNS]
 *
 * The language model's forward runs on a backend whose table of ops reads the clock around each call. A matmul's line is one
 * shape and type of weights. GB/s: bytes of weights by time (what a decode step is bound by); GOP/s: multiply-adds counted as two.
 * Where in the cache and how warm: n PROMPT tokens are fed RUNS times, then GEN tokens follow; the first of either is not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "session/model.h"

enum { LINE_MAX = 64 };

typedef struct line {
    char name[64];
    int64_t n_call, ns;
    double bytes, ops;
} line;

/* The wrapped ops have no argument of their own to find this by. */
static struct {
    const backend_ops *ops;
    line line[LINE_MAX];
    int n_line;
} at;

static line *line_of(const char *name)
{
    int i = 0;

    while (i < at.n_line && strcmp(at.line[i].name, name) != 0) i++;
    if (i == LINE_MAX) i--;
    else if (i == at.n_line) snprintf(at.line[at.n_line++].name, sizeof at.line->name, "%s", name);
    return &at.line[i];
}

static void took(line *l, int64_t since)
{
    l->ns += clock_ns() - since;
    l->n_call++;
}

#define TIMED(name, call)                                                                                                                  \
    do {                                                                                                                                   \
        line *l = line_of(name);                                                                                                           \
        int64_t t = clock_ns();                                                                                                            \
        call;                                                                                                                              \
        took(l, t);                                                                                                                        \
    } while (0)

static void matmul_group(backend *be, const matmul_part *part, int n_part, const float *x, int64_t ldx, int64_t n)
{
    char name[64] = "matmul";
    line *l;
    int64_t t;

    for (int i = 0; i < n_part; i++) {
        const weight *w = part[i].w;
        size_t used = strlen(name);
        snprintf(name + used, sizeof name - used, " %s %lldx%lld", dtype_get(w->type)->name, (long long)w->n_row, (long long)w->n_col);
    }
    l = line_of(name);
    for (int i = 0; i < n_part; i++) {
        l->bytes += (double)part[i].w->row_bytes * (double)part[i].w->n_row;
        l->ops += 2.0 * (double)part[i].w->n_row * (double)part[i].w->n_col * (double)n;
    }
    t = clock_ns();
    at.ops->matmul_group(be, part, n_part, x, ldx, n);
    took(l, t);
}

static void matmul(backend *be, float *y, int64_t ldy, const weight *w, const float *x, int64_t ldx, int64_t n, const epilogue *ep)
{
    matmul_group(be, &(matmul_part){ y, ldy, w, ep }, 1, x, ldx, n);
}

static void embed(backend *be, float *y, int64_t ldy, const weight *w, const int32_t *id, int64_t n, float scale)
{
    TIMED("embed", at.ops->embed(be, y, ldy, w, id, n, scale));
}

static void rms_norm(backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, const float *g, int64_t n, int64_t d, float eps)
{
    TIMED("rms_norm", at.ops->rms_norm(be, y, ldy, x, ldx, g, n, d, eps));
}

static void rope_angles(backend *be, float *angle, const int32_t *pos, const float *inv_freq, int64_t n, int head_dim)
{
    TIMED("rope_angles", at.ops->rope_angles(be, angle, pos, inv_freq, n, head_dim));
}

static void norm_rope(backend *be, float *x, int64_t ldx, const float *g, float eps, const float *angle, int64_t n, int n_head,
                      int head_dim, rope_style style)
{
    TIMED("norm_rope", at.ops->norm_rope(be, x, ldx, g, eps, angle, n, n_head, head_dim, style));
}

static void swiglu(backend *be, float *y, int64_t ldy, const float *gate, int64_t ldg, const float *up, int64_t ldu, int64_t n, int64_t d)
{
    TIMED("swiglu", at.ops->swiglu(be, y, ldy, gate, ldg, up, ldu, n, d));
}

static void attn_paged(backend *be, const attn_paged_args *a) { TIMED("attn_paged", at.ops->attn_paged(be, a)); }

static void kv_store(backend *be, const attn_seq *seq, int n_seq, const int32_t *pos, const float *k, const float *v, int64_t ld,
                     int n_kv_head, int head_dim, int32_t kv_type)
{
    TIMED("kv_store", at.ops->kv_store(be, seq, n_seq, pos, k, v, ld, n_kv_head, head_dim, kv_type));
}

static void download(backend *be, void *dst, const void *src, size_t bytes) { TIMED("download", at.ops->download(be, dst, src, bytes)); }

static void fail(const char *what)
{
    fprintf(stderr, "bench_pass: %s\n", what);
    exit(1);
}

static void print_lines(const char *title, int64_t total_ns, int n_pass)
{
    int64_t in_ops = 0;

    printf("%s: %.3f ms\n%-46s %6s %10s %7s %8s %8s\n", title, (double)total_ns * 1e-6 / n_pass, "", "calls", "ms", "share", "GB/s",
           "GOP/s");
    for (int i = 0; i < at.n_line; i++) {
        const line *l = &at.line[i];
        in_ops += l->ns;
        printf("%-46s %6.0f %10.3f %6.1f%%", l->name, (double)l->n_call / n_pass, (double)l->ns * 1e-6 / n_pass,
               100.0 * (double)l->ns / (double)total_ns);
        if (l->bytes > 0) printf(" %8.2f %8.1f", l->bytes / (double)l->ns, l->ops / (double)l->ns);
        putchar('\n');
    }
    printf("%-46s %6s %10.3f %6.1f%%\n\n", "between ops", "", (double)(total_ns - in_ops) * 1e-6 / n_pass,
           100.0 * (double)(total_ns - in_ops) / (double)total_ns);
    at.n_line = 0;
    memset(at.line, 0, sizeof at.line);
}

typedef struct pass {
    mo_model *m;
    kv_pool pool;
    kv_seq seq;
    kv_seq **seq_of_row;
    int32_t *token;
    uint8_t *want;
    float *logits;
} pass;

static int64_t feed(pass *p, int32_t n_past, int32_t n)
{
    llm_batch b = { .n_row = n, .token = p->token + n_past, .seq = p->seq_of_row, .want = p->want };
    mo_error err;
    int64_t t;

    memset(p->want, 0, (size_t)n);
    p->want[n - 1] = LLM_WANT_LOGITS;
    kv_seq_truncate(&p->seq, n_past);
    t = clock_ns();
    if (llm_forward(p->m->llm, &p->m->scratch, p->m->opts.n_ubatch, &b, p->logits, NULL, &err) != MO_OK) fail(err.message);
    return clock_ns() - t;
}

static void prepare(pass *p, int32_t n_ctx)
{
    kv_shape kv = llm_kv_shape(&p->m->cfg.llm, MO_F16);
    uint32_t x = 1;
    mo_error err;

    p->token = calloc((size_t)n_ctx, sizeof *p->token);
    p->want = calloc((size_t)n_ctx, 1);
    p->seq_of_row = calloc((size_t)n_ctx, sizeof(kv_seq *));
    p->logits = calloc((size_t)p->m->cfg.llm.n_vocab, sizeof *p->logits);
    if (!p->token || !p->want || !p->seq_of_row || !p->logits) fail("no memory");
    for (int32_t i = 0; i < n_ctx; i++) {
        x = x * 1664525u + 1013904223u;
        p->token[i] = (int32_t)((x >> 8) % (uint32_t)p->m->cfg.llm.n_vocab);
        p->seq_of_row[i] = &p->seq;
    }
    if (kv_pool_init(&p->pool, p->m->be, &kv, kv_pages_for(n_ctx), &err) != MO_OK) fail(err.message);
    if (kv_seq_init(&p->seq, &p->pool, n_ctx, &err) != MO_OK) fail(err.message);
}

static void measure(pass *p, int32_t n_prompt, int32_t n_gen, int n_run)
{
    int64_t ns = 0;
    char title[64];

    feed(p, 0, n_prompt);
    at.n_line = 0;
    memset(at.line, 0, sizeof at.line);
    for (int i = 0; i < n_run; i++) ns += feed(p, 0, n_prompt);
    snprintf(title, sizeof title, "prefill of %d (%.1f tok/s)", n_prompt, n_prompt * 1e9 * n_run / (double)ns);
    print_lines(title, ns, n_run);
    if (!n_gen) return;
    feed(p, n_prompt, 1);
    at.n_line = 0;
    memset(at.line, 0, sizeof at.line);
    ns = 0;
    for (int32_t i = 0; i < n_gen; i++) ns += feed(p, n_prompt + i, 1);
    snprintf(title, sizeof title, "decode at %d (%.1f tok/s)", n_prompt, n_gen * 1e9 / (double)ns);
    print_lines(title, ns, n_gen);
}

int main(int argc, char **argv)
{
    mo_model_opts o = mo_model_opts_default();
    int n_prompt = 512, n_gen = 32, n_run = 3;
    const char *path = NULL;
    backend_ops timed;
    pass p = { 0 };
    mo_error err;

    o.vision = o.audio = MO_OFF;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') path = argv[i];
        else if (i + 1 == argc) fail("an option without its value");
        else if (!strcmp(argv[i], "-t")) o.n_thread = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-p")) n_prompt = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-g")) n_gen = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-r")) n_run = atoi(argv[++i]);
        else fail("options: -t THREADS -p PROMPT -g GEN -r RUNS");
    }
    if (!path || n_prompt < 1 || n_gen < 0 || n_run < 1) fail("usage: bench_pass MODEL [-t THREADS] [-p PROMPT] [-g GEN] [-r RUNS]");
    if (mo_model_open(&p.m, path, &o, &err) != MO_OK) fail(err.message);
    prepare(&p, n_prompt + n_gen + 1);
    at.ops = p.m->be->ops;
    timed = *at.ops;
    timed.matmul = matmul;
    timed.matmul_group = matmul_group;
    timed.embed = embed;
    timed.rms_norm = rms_norm;
    timed.rope_angles = rope_angles;
    timed.norm_rope = norm_rope;
    timed.swiglu = swiglu;
    timed.attn_paged = attn_paged;
    timed.kv_store = kv_store;
    timed.download = download;
    p.m->be->ops = &timed;
    measure(&p, n_prompt, n_gen, n_run);
    p.m->be->ops = at.ops;
    kv_seq_free(&p.seq);
    kv_pool_free(&p.pool);
    mo_model_close(p.m);
    free(p.token);
    free(p.want);
    free(p.seq_of_row);
    free(p.logits);
    return 0;
}
