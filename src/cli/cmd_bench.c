/* minicpmo bench: how long a model's parts take on this machine, beside what its memory allows.
 *
 *     open -> feed prompts -> generate -> answers -> a picture -> sounds -> peak memory -> reading speed of the memory
 *
 * Prefill and decode are the language model's forward, without sampling and templates; pictures and sounds go through a
 * session. Random tokens, pictures and sounds: how long a dense model computes does not depend on what it is told.
 *
 * With --against it alternates with other programs instead, on prefill and decode alone.
 */
#include "cli/cli.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_answer.h"
#include "cli/bench_measure.h"
#include "cli/bench_peer.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/threads.h"
#include "media/image.h"
#include "session/model.h"

enum { RESULTS_MAX = 16, PEERS_MAX = 8, READ_BYTES = 512 << 20, RATE_HZ = 16000 };

typedef struct options {
    model_options m;
    int32_t prompt, gen, answer, image, repeat, json;
    float audio;
    option_list against; /* programs */
} options;

typedef struct result {
    char name[40];
    const char *unit;
    bench_sample s;
} result;

typedef struct bench {
    const options *o;
    const char *path;
    mo_model *m;
    kv_pool pool;
    kv_seq seq;
    kv_seq **seq_of_row;   /* [n_ctx] */
    int32_t *token;        /* [n_ctx] */
    float *logits;         /* [n_vocab] */
    int32_t n_ctx, n_past; /* n_past: cached positions that decoding starts from */
    result result[RESULTS_MAX];
    int n_result;
    progress bar;
    bench_guesses guesses[BENCH_TEXTS];
    mo_plan plan;
    uint64_t peak;                     /* resident bytes */
    bench_sample against[BENCH_PARTS]; /* our own runs beside the peers' */
    bench_peer peer[PEERS_MAX];
    double token_bytes, decode_s, read_speed; /* bytes a token reads; median seconds it takes; bytes per second */
    double huge_share;                        /* of the weights in memory, after decode */
} bench;

static int parse(options *o, int argc, char **argv)
{
    const option_spec spec[] = {
        { "prompt", 0, OPTION_INT, "N", "prompt positions to feed (512, and 128)", .out = &o->prompt, .lo = 1, .hi = 1 << 20 },
        { "gen", 0, OPTION_INT, "N", "tokens to generate after the longest prompt (32)", .out = &o->gen, .lo = 1, .hi = 1 << 20 },
        { "answer", 0, OPTION_INT, "N", "tokens of answers with guesses and without (64; 0: none)", .out = &o->answer, .lo = 0,
          .hi = 1 << 20 },
        { "image", 0, OPTION_INT, "SIDE", "side of the picture in pixels (448)", .out = &o->image, .lo = 14, .hi = 8192 },
        { "audio", 0, OPTION_REAL, "S", "seconds of sound (1, and 30)", .out = &o->audio, .lo = 0.1, .hi = 3600 },
        { "repeat", 0, OPTION_INT, "R", "runs of each; median, least and most are shown (5)", .out = &o->repeat, .lo = 1,
          .hi = BENCH_RUNS_MAX },
        { "against", 0, OPTION_LIST, "PEER", "a llama-bench to alternate with on this file, instead of all else", .out = &o->against },
        { "json", 0, OPTION_FLAG, NULL, "print one JSON object", .out = &o->json },
    };
    option_spec model[MODEL_SPECS];
    const option_group group[] = { { NULL, spec, (int)(sizeof spec / sizeof *spec) }, model_options_group(model, &o->m) };
    const option_table table = {
        .command = "bench",
        .usage = "bench MODEL [OPTION...]",
        .about = "Times opening, prefill, decode and the encoders, and compares decode with the memory's reading speed.\n",
        .group = group,
        .n_group = 2,
        .n_arg_min = 1,
        .n_arg_max = 1,
        .arg_needed = "a MODEL, the folder of a checkpoint or a GGUF file",
    };
    int n, code = options_parse(&table, argc, argv, &n);

    if (code < 0 && o->against.n > PEERS_MAX) {
        cli_error("--against: at most %d programs", PEERS_MAX);
        return 2;
    }
    return code < 0 ? model_options_check(&o->m) : code;
}

static bench_sample *new_result(bench *b, const char *unit, const char *fmt, double x)
{
    result *r = &b->result[b->n_result < RESULTS_MAX - 1 ? b->n_result++ : RESULTS_MAX - 1];

    snprintf(r->name, sizeof r->name, fmt, x);
    r->unit = unit;
    if (!b->o->m.quiet) {
        progress_end(&b->bar);
        progress_begin_steps(&b->bar, r->name, (uint64_t)b->o->repeat, "runs");
    }
    return &r->s;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static mo_status measure_open(bench *b, mo_error *err)
{
    bench_sample *s = new_result(b, "ms", "open", 0);
    mo_status st = MO_OK;

    for (int i = 0; st == MO_OK && i < b->o->repeat; i++) {
        mo_model_close(b->m);
        const double t = clock_ms();
        if ((st = mo_model_open(&b->m, b->path, &b->o->m.model, err)) == MO_OK) bench_add(s, clock_ms() - t);
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    return st;
}

/* ---- language model --------------------------------------------------------------------------------------------- */

static mo_status prepare(bench *b, mo_error *err)
{
    const model_config *c = &b->m->cfg;
    kv_shape kv = session_kv_shape(&c->llm, &b->o->m.session);
    uint32_t x = 1;
    mo_status st;

    b->n_past = b->o->prompt ? b->o->prompt : 512;
    b->n_ctx = b->n_past + b->o->gen;
    if (b->n_ctx > c->llm.n_ctx_train)
        return mo_fail(err, MO_E_ARG, "--prompt and --gen are %d positions together, and this model takes %d", b->n_ctx,
                       c->llm.n_ctx_train);
    b->token = mo_calloc((size_t)b->n_ctx, sizeof *b->token);
    b->seq_of_row = mo_calloc((size_t)b->n_ctx, sizeof(kv_seq *));
    b->logits = mo_calloc((size_t)c->llm.n_vocab, sizeof *b->logits);
    if (!b->token || !b->seq_of_row || !b->logits) return mo_fail(err, MO_E_NOMEM, "no memory for %d positions", b->n_ctx);
    for (int32_t i = 0; i < b->n_ctx; i++) {
        x = x * 1664525u + 1013904223u;
        b->token[i] = (int32_t)((x >> 8) % (uint32_t)c->llm.n_vocab);
        b->seq_of_row[i] = &b->seq;
    }
    if ((st = kv_pool_init(&b->pool, b->m->be, &kv, kv_pages_for(b->n_ctx), err)) != MO_OK) return st;
    return kv_seq_init(&b->seq, &b->pool, b->n_ctx, err);
}

/* Feed n positions after the n_past that are cached; logits of the last. */
static mo_status feed(bench *b, int32_t n_past, int32_t n, mo_error *err)
{
    uint8_t *want = mo_calloc((size_t)n, 1);
    llm_batch batch = { .n_row = n, .token = b->token + n_past, .seq = b->seq_of_row, .want = want };
    mo_status st;

    if (!want) return mo_fail(err, MO_E_NOMEM, "no memory for %d positions", n);
    want[n - 1] = LLM_WANT_LOGITS;
    kv_seq_truncate(&b->seq, n_past);
    st = llm_forward(b->m->llm, &b->m->scratch, b->m->opts.n_ubatch, &batch, b->logits, NULL, err);
    if (st == MO_OK) st = b->m->be->ops->sync(b->m->be, err);
    mo_free(want);
    return st;
}

static mo_status measure_prefill(bench *b, int32_t n, mo_error *err)
{
    bench_sample *s = new_result(b, "tok/s", "prefill %.0f", n);
    mo_status st = feed(b, 0, n < 16 ? n : 16, err); /* weights come into memory */

    for (int i = 0; st == MO_OK && i < b->o->repeat; i++) {
        double t = clock_ms();
        if ((st = feed(b, 0, n, err)) == MO_OK) bench_add(s, n * 1e3 / (clock_ms() - t));
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    return st;
}

static mo_status measure_decode(bench *b, mo_error *err)
{
    bench_sample *s = new_result(b, "tok/s", "decode at %.0f", b->n_past);
    mo_status st = feed(b, 0, b->n_past, err);

    for (int i = 0; st == MO_OK && i < b->o->repeat; i++) {
        double t = clock_ms();
        for (int32_t k = 0; st == MO_OK && k < b->o->gen; k++) st = feed(b, b->n_past + k, 1, err);
        if (st == MO_OK) bench_add(s, b->o->gen * 1e3 / (clock_ms() - t));
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    b->decode_s = s->n ? 1 / bench_median(s) : 0;
    b->huge_share = tensors_huge_share(b->m->ts);
    return st;
}

/* Answers that repeat and that do not; with guesses and without in turn, so that both meet the same machine. */
static mo_status measure_answers(bench *b, int text, mo_error *err)
{
    const bool other = text == BENCH_TEXT_OTHER;
    bench_sample *plain = new_result(b, "tok/s", other ? "other, no guesses" : "repeating, no guesses", 0);
    bench_sample *guessed = new_result(b, "tok/s", other ? "other, guesses" : "repeating, guesses", 0);
    const mo_session_opts *o = &b->o->m.session;
    bench_guesses none = { 0 };
    mo_status st = MO_OK;

    for (int i = 0; st == MO_OK && i < b->o->repeat; i++) {
        st = bench_answer(b->m, o, text, MO_OFF, b->o->answer, plain, &none, err);
        if (st == MO_OK) st = bench_answer(b->m, o, text, o->speculate, b->o->answer, guessed, &b->guesses[text], err);
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    return st;
}

static double weight_size(const bench *b, const weight *w)
{
    return w->packed ? (double)b->m->be->ops->weight_bytes(b->m->be, w->type, w->n_row, w->n_col) : (double)w->row_bytes * (double)w->n_row;
}

/* What a generated token reads at least: each matrix of the layers and the head once, the cache up to it. */
static double bytes_per_token(const bench *b)
{
    const llm *l = b->m->llm;
    double n = weight_size(b, &l->head);

    for (int32_t i = 0; i < l->cfg.n_layer; i++) {
        const llm_layer *y = &l->layer[i];
        n += weight_size(b, &y->w_q) + weight_size(b, &y->w_k) + weight_size(b, &y->w_v) + weight_size(b, &y->w_o) +
             weight_size(b, &y->w_gate) + weight_size(b, &y->w_up) + weight_size(b, &y->w_down);
    }
    return n + (double)b->pool.page_bytes / KV_PAGE * (b->n_past + b->o->gen / 2.0);
}

/* ---- encoders --------------------------------------------------------------------------------------------------- */

/* What is timed: from pushing the picture or the sound to its rows being there. Then the answer is called off. */
static mo_status encode_once(mo_session *s, const image *im, const float *x, int64_t n_sample, double *ms, mo_error *err)
{
    double t = clock_ms();
    bool is_done = false;
    mo_event e;
    mo_status st;

    if ((st = mo_session_begin(s, "user", err)) != MO_OK) return st;
    st = im ? mo_session_push_image_rgb(s, im->rgb, im->w, im->h, err) : mo_session_push_audio(s, x, n_sample, err);
    if (st == MO_OK) st = mo_session_answer(s, err);
    while (st == MO_OK && !is_done) {
        st = mo_session_step(s, err);
        while (mo_session_pull(s, &e)) is_done |= e.type == MO_EVENT_PROGRESS && (e.done == e.total || strcmp(e.text, "encoding") != 0);
    }
    *ms = clock_ms() - t;
    if (st != MO_OK) return st;
    mo_session_interrupt(s);
    while ((st = mo_session_step(s, err)) == MO_OK) {
    }
    while (mo_session_pull(s, &e)) {
    }
    return st == MO_E_AGAIN ? mo_session_clear(s, err) : st;
}

/* `im` or else `x`. Run -1 warms up. */
static mo_status measure_encoder(bench *b, bench_sample *out, const image *im, const float *x, int64_t n_sample, mo_error *err)
{
    mo_session_opts o = b->o->m.session;
    mo_session *s = NULL;
    mo_status st = mo_session_new(&s, b->m, &o, err);
    double ms;

    for (int i = -1; st == MO_OK && i < b->o->repeat; i++) {
        st = encode_once(s, im, x, n_sample, &ms, err);
        if (st == MO_OK && i >= 0) bench_add(out, ms);
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    mo_session_free(s);
    return st;
}

static mo_status measure_image(bench *b, mo_error *err)
{
    int32_t side = b->o->image;
    bench_sample *s = new_result(b, "ms", "picture, side %.0f", side);
    uint32_t x = 1;
    image im;
    mo_status st = image_new(&im, side, side, err);

    if (st != MO_OK) return st;
    for (size_t i = 0; i < (size_t)side * (size_t)side * 3; i++) {
        x = x * 1664525u + 1013904223u;
        im.rgb[i] = (uint8_t)(x >> 24);
    }
    st = measure_encoder(b, s, &im, NULL, 0, err);
    image_free(&im);
    return st;
}

static mo_status measure_sound(bench *b, double seconds, mo_error *err)
{
    bench_sample *s = new_result(b, "ms", "sound of %g s", seconds);
    int64_t n = (int64_t)(seconds * RATE_HZ);
    float *wave = mo_calloc((size_t)n, sizeof *wave);
    uint32_t x = 1;
    mo_status st;

    if (!wave) return mo_fail(err, MO_E_NOMEM, "no memory for %.0f s of sound", seconds);
    for (int64_t i = 0; i < n; i++) { /* noise over a tone */
        x = x * 1664525u + 1013904223u;
        wave[i] = 0.3f * sinf(0.17f * (float)(i % 100000)) + 0.1f * ((float)(x >> 8) / 8388608.0f - 1);
    }
    st = measure_encoder(b, s, NULL, wave, n, err);
    mo_free(wave);
    return st;
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

/* Our speeds once, each from an empty cache, as llama-bench does it. */
static mo_status own_round(bench *b, double *speed, mo_error *err)
{
    double t;
    mo_status st = feed(b, 0, b->n_past < 16 ? b->n_past : 16, err); /* caches and cores as warm as a second run finds them */

    if (st == MO_OK) st = feed(b, 0, 1, err);
    t = clock_ms();
    if (st == MO_OK) st = feed(b, 0, b->n_past, err);
    speed[BENCH_PREFILL] = b->n_past * 1e3 / (clock_ms() - t);
    t = clock_ms();
    for (int32_t k = 0; st == MO_OK && k < b->o->gen; k++) st = feed(b, k, 1, err);
    speed[BENCH_DECODE] = b->o->gen * 1e3 / (clock_ms() - t);
    for (int i = 0; st == MO_OK && i < BENCH_PARTS; i++) bench_add(&b->against[i], speed[i]);
    return st;
}

static bench_task peer_task(const bench *b)
{
    int32_t n_thread = b->o->m.model.n_thread;

    return (bench_task){ .path = b->path, .n_prompt = b->n_past, .n_gen = b->o->gen, .n_thread = n_thread ? n_thread : cpu_count() };
}

static mo_status measure_against(bench *b, mo_error *err)
{
    bench_task task;
    double speed[BENCH_PARTS];
    mo_status st;

    if ((st = mo_model_open(&b->m, b->path, &b->o->m.model, err)) != MO_OK || (st = prepare(b, err)) != MO_OK) return st;
    task = peer_task(b);
    if (!b->o->m.quiet) progress_begin_steps(&b->bar, "rounds", (uint64_t)b->o->repeat, "rounds");
    for (int i = 0; i < b->o->repeat; i++) {
        if ((st = own_round(b, speed, err)) != MO_OK) return st;
        for (int k = 0; k < b->o->against.n; k++) {
            b->peer[k].program = b->o->against.use[k].value;
            if ((st = bench_peer_round(&b->peer[k], &task, speed, err)) != MO_OK) return st;
        }
        progress_update(&b->bar, (uint64_t)i + 1);
    }
    return MO_OK;
}

static void print_against_text(const bench *b)
{
    const bench_task task = peer_task(b);

    printf("%s, %s, minicpmo %s; %d round%s of ours and theirs in turn\n\n", mo_model_name(b->m), mo_model_device(b->m), mo_version(),
           b->o->repeat, b->o->repeat == 1 ? "" : "s");
    bench_peers_print(&task, b->against, b->peer, b->o->against.n);
}

static mo_status print_against_json(const bench *b, mo_error *err)
{
    const bench_task t = peer_task(b);

    return cli_print_json(json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:o}", "model", mo_model_name(b->m), "device", mo_model_device(b->m),
                                    "version", mo_version(), "threads", t.n_thread, "prompt", t.n_prompt, "gen", t.n_gen, "rounds",
                                    b->o->repeat, "against", bench_peers_json(b->against, b->peer, b->o->against.n)),
                          6, err);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static mo_status measure_memory(bench *b, mo_error *err)
{
    uint64_t have = memory_available();
    size_t n = have && have / 4 < READ_BYTES ? (size_t)(have / 4) / 4096 * 4096 : READ_BYTES;
    int n_thread = b->o->m.model.n_thread ? b->o->m.model.n_thread : cpu_count();
    bench_sample *s;
    mo_status st;

    b->peak = memory_resident_peak();
    s = new_result(b, "GB/s", "memory read", 0);
    if ((st = bench_read_speed(s, n_thread, b->o->repeat, n, err)) != MO_OK) return st;
    b->read_speed = bench_median(s);
    for (int i = 0; i < s->n; i++) s->v[i] *= 1e-9;
    return MO_OK;
}

static mo_status measure(bench *b, mo_error *err)
{
    mo_status st;

    if ((st = measure_open(b, err)) != MO_OK || (st = prepare(b, err)) != MO_OK) return st;
    if ((st = measure_prefill(b, b->n_past, err)) != MO_OK) return st;
    if (!b->o->prompt && (st = measure_prefill(b, 128, err)) != MO_OK) return st;
    if ((st = measure_decode(b, err)) != MO_OK) return st;
    for (int i = 0; b->o->answer && b->o->m.session.speculate != MO_OFF && i < BENCH_TEXTS; i++)
        if ((st = measure_answers(b, i, err)) != MO_OK) return st;
    if (b->m->vision && (st = measure_image(b, err)) != MO_OK) return st;
    if (b->m->audio && (st = measure_sound(b, b->o->audio > 0 ? (double)b->o->audio : 1, err)) != MO_OK) return st;
    if (b->m->audio && b->o->audio <= 0 && (st = measure_sound(b, 30, err)) != MO_OK) return st;
    b->token_bytes = bytes_per_token(b);
    if ((st = mo_plan_memory(&b->plan, b->path, &b->o->m.model, &b->o->m.session, err)) != MO_OK) return st;
    b->plan.total += (uint64_t)b->pool.page_bytes * (uint64_t)b->pool.n_page; /* the cache of the forwards */
    return measure_memory(b, err);
}

static double decode_share(const bench *b)
{
    return b->decode_s > 0 && b->read_speed > 0 ? b->token_bytes / b->decode_s / b->read_speed : 0;
}

static void print_text(const bench *b)
{
    char plan[16], peak[16], token[16];

    printf("%s, %s, minicpmo %s; median, least and most of %d runs\n\n", mo_model_name(b->m), mo_model_device(b->m), mo_version(),
           b->o->repeat);
    printf("%-24s %10s %10s %10s\n", "", "median", "least", "most");
    for (int i = 0; i < b->n_result; i++) {
        const result *r = &b->result[i];
        printf("%-24s %10.2f %10.2f %10.2f %s\n", r->name, bench_median(&r->s), bench_min(&r->s), bench_max(&r->s), r->unit);
    }
    printf("\na token reads %s (weights and cache): decode reaches %.0f %% of the memory's reading speed%s\n",
           format_bytes(token, (uint64_t)b->token_bytes), 100 * decode_share(b),
           decode_share(b) > 1.05 ? " (more than all: they stay in the processor's cache)" : "");
    printf("of the weights in memory %.0f %% lie in huge pages, as all that the reading speed was measured on\n", 100 * b->huge_share);
    for (int i = 0; i < BENCH_TEXTS; i++)
        if (b->guesses[i].n_drafted)
            printf("guesses in the %s answers: %lld of %lld came true\n", i == BENCH_TEXT_OTHER ? "other" : "repeating",
                   (long long)b->guesses[i].n_accepted, (long long)b->guesses[i].n_drafted);
    printf("memory: %s resident at most, %s planned\n", format_bytes(peak, b->peak), format_bytes(plan, b->plan.total));
}

static mo_status print_json(const bench *b, mo_error *err)
{
    json_t *list = json_array(), *j;

    for (int i = 0; i < b->n_result; i++) {
        const result *r = &b->result[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:f,s:f,s:i}", "name", r->name, "unit", r->unit, "median", bench_median(&r->s),
                                              "min", bench_min(&r->s), "max", bench_max(&r->s), "runs", r->s.n));
    }
    j = json_pack("{s:s,s:s,s:s,s:o,s:f,s:f,s:f,s:{s:I,s:I},s:{s:{s:I,s:I},s:{s:I,s:I}}}", "model", mo_model_name(b->m), "device",
                  mo_model_device(b->m), "version", mo_version(), "results", list, "token_bytes", b->token_bytes, "decode_share",
                  decode_share(b), "huge_share", b->huge_share, "memory", "peak_resident", (json_int_t)b->peak, "planned",
                  (json_int_t)b->plan.total, "guesses", "repeating", "drafted", (json_int_t)b->guesses[BENCH_TEXT_REPEATING].n_drafted,
                  "accepted", (json_int_t)b->guesses[BENCH_TEXT_REPEATING].n_accepted, "other", "drafted",
                  (json_int_t)b->guesses[BENCH_TEXT_OTHER].n_drafted, "accepted", (json_int_t)b->guesses[BENCH_TEXT_OTHER].n_accepted);
    return cli_print_json(j, 6, err);
}

static mo_status print(const bench *b, mo_error *err)
{
    if (b->o->against.n && b->o->json) return print_against_json(b, err);
    if (b->o->json) return print_json(b, err);
    if (b->o->against.n) print_against_text(b);
    else print_text(b);
    return MO_OK;
}

static void bench_free(bench *b)
{
    kv_seq_free(&b->seq);
    kv_pool_free(&b->pool);
    mo_model_close(b->m);
    mo_free(b->token);
    mo_free(b->seq_of_row);
    mo_free(b->logits);
    mo_free(b);
}

int cmd_bench(int argc, char **argv)
{
    options o = { .m = model_options_default(), .gen = 32, .answer = 64, .image = 448, .repeat = 5 };
    mo_error err = { 0 };
    bench *b;
    mo_status st;
    int code = parse(&o, argc, argv);

    if (code >= 0) {
        option_list_free(&o.against);
        return code;
    }
    if (!(b = mo_zalloc(sizeof *b))) {
        option_list_free(&o.against);
        cli_error("no memory to measure");
        return 1;
    }
    b->o = &o;
    b->path = argv[1];
    st = o.against.n ? measure_against(b, &err) : measure(b, &err);
    progress_end(&b->bar);
    if (st == MO_OK) st = print(b, &err);
    bench_free(b);
    option_list_free(&o.against);
    if (st != MO_OK) cli_error("%s", err.message);
    return st == MO_OK ? 0 : 1;
}
