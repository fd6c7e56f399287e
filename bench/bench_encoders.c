/* How long the encoders take at MiniCPM-o 4.5's full size, on random weights in memory.
 *
 *     bench_encoders [-t THREADS] [-d f32|f16|bf16] [-n REPEATS] [-f | -8] [vision] [audio]
 *
 * Prints one line a case: a 448x448 tile through the tower and through the resampler; 1 s, 10 s and 30 s of sound. Of REPEATS
 * runs the best by processor time is shown: elapsed and processor seconds (all threads), and the arithmetic rate of matrix
 * products and attention per second of each. On a busy machine the second rate is the one that says something.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/cpu.h"
#include "formats/tensors_build.h"
#include "models/config.h"
#include "models/resampler.h"
#include "models/siglip.h"
#include "models/whisper.h"

static const vision_config vision = {
    .n_layer = 27, .n_embd = 1152, .n_head = 16, .n_ff = 4304, .patch_size = 14, .image_size = 980, .ln_eps = 1e-6f
};
static const resampler_config resampling = { .n_query = 64, .n_embd = 4096, .n_head = 32, .kv_dim = 1152 };
static const audio_config audio = {
    .n_layer = 24, .n_embd = 1024, .n_head = 16, .n_ff = 4096, .n_mel = 80, .n_pos = 1500, .pool_step = 5, .chunk_length_s = 1
};
enum { N_OUT = 4096 };

/* All tensors of all layers show different places of one block of random numbers: weights must not stay in a cache. */
typedef struct store {
    tensors *ts;
    char *data;
    size_t at, cap;
    int32_t type;
} store;

static void fail(const char *what)
{
    fprintf(stderr, "bench_encoders: %s\n", what);
    exit(1);
}

static void put(store *s, const char *name, int64_t rows, int64_t cols)
{
    tensor t = { .name = name, .type = cols ? s->type : MO_F32, .n_dim = cols ? 2 : 1, .dim = { rows, cols }, .file = "memory" };
    size_t n = (size_t)rows * (size_t)(cols ? cols : 1);

    t.n_bytes = dtype_row_bytes(t.type, (int64_t)n);
    if (s->at + t.n_bytes > s->cap) s->at = 0;
    t.data = s->data + s->at;
    s->at += (t.n_bytes + 63) / 64 * 64;
    if (tensors_add(s->ts, &t, NULL) != MO_OK) fail("out of memory");
}

static void putf(store *s, int64_t rows, int64_t cols, const char *fmt, const char *a, int il, const char *b)
{
    char name[160];

    snprintf(name, sizeof name, fmt, a, il, b);
    put(s, name, rows, cols);
}

static void put_layers(store *s, const char *p, int n, int64_t e, int64_t f, const char *ln1, const char *ln2, const char *mlp)
{
    static const char *const proj[] = { "q_proj", "k_proj", "v_proj", "out_proj" };
    char fc[32];

    for (int il = 0; il < n; il++) {
        putf(s, e, 0, "%s.%d.%s.weight", p, il, ln1);
        putf(s, e, 0, "%s.%d.%s.bias", p, il, ln1);
        putf(s, e, 0, "%s.%d.%s.weight", p, il, ln2);
        putf(s, e, 0, "%s.%d.%s.bias", p, il, ln2);
        for (int i = 0; i < 4; i++) {
            putf(s, e, e, "%s.%d.self_attn.%s.weight", p, il, proj[i]);
            putf(s, e, 0, "%s.%d.self_attn.%s.bias", p, il, proj[i]);
        }
        snprintf(fc, sizeof fc, "%sfc1", mlp);
        putf(s, f, e, "%s.%d.%s.weight", p, il, fc);
        putf(s, f, 0, "%s.%d.%s.bias", p, il, fc);
        snprintf(fc, sizeof fc, "%sfc2", mlp);
        putf(s, e, f, "%s.%d.%s.weight", p, il, fc);
        putf(s, e, 0, "%s.%d.%s.bias", p, il, fc);
    }
}

static void put_vision(store *s)
{
    int64_t e = vision.n_embd, d = resampling.n_embd;
    static const char *const ln[] = { "q", "kv", "post" };

    put(s, "vpm.embeddings.patch_embedding.weight", e, 3 * 14 * 14);
    put(s, "vpm.embeddings.patch_embedding.bias", e, 0);
    put(s, "vpm.embeddings.position_embedding.weight", 4900, e);
    put_layers(s, "vpm.encoder.layers", vision.n_layer, e, vision.n_ff, "layer_norm1", "layer_norm2", "mlp.");
    put(s, "vpm.post_layernorm.weight", e, 0);
    put(s, "vpm.post_layernorm.bias", e, 0);
    put(s, "resampler.query", resampling.n_query, d);
    put(s, "resampler.kv_proj.weight", d, e);
    put(s, "resampler.attn.in_proj_weight", 3 * d, d);
    put(s, "resampler.attn.in_proj_bias", 3 * d, 0);
    put(s, "resampler.attn.out_proj.weight", d, d);
    put(s, "resampler.attn.out_proj.bias", d, 0);
    for (int i = 0; i < 3; i++) {
        char name[40];

        snprintf(name, sizeof name, "resampler.ln_%s.weight", ln[i]);
        put(s, name, d, 0);
        snprintf(name, sizeof name, "resampler.ln_%s.bias", ln[i]);
        put(s, name, d, 0);
    }
    put(s, "resampler.proj", d, d);
}

static void put_audio(store *s)
{
    int64_t e = audio.n_embd;

    put(s, "apm.conv1.weight", e, 3 * audio.n_mel);
    put(s, "apm.conv1.bias", e, 0);
    put(s, "apm.conv2.weight", e, 3 * e);
    put(s, "apm.conv2.bias", e, 0);
    put(s, "apm.embed_positions.weight", audio.n_pos, e);
    put_layers(s, "apm.layers", audio.n_layer, e, audio.n_ff, "self_attn_layer_norm", "final_layer_norm", "");
    put(s, "apm.layer_norm.weight", e, 0);
    put(s, "apm.layer_norm.bias", e, 0);
    put(s, "audio_projection_layer.linear1.weight", N_OUT, e);
    put(s, "audio_projection_layer.linear1.bias", N_OUT, 0);
    put(s, "audio_projection_layer.linear2.weight", N_OUT, N_OUT);
    put(s, "audio_projection_layer.linear2.bias", N_OUT, 0);
}

/* Numbers of about 0.03 in the file's type; the block is also read as float32 vectors, for which any small number does. */
static void fill(store *s, size_t cap)
{
    uint64_t z = 1;

    s->cap = cap;
    if (!(s->data = mo_alloc_aligned(cap))) fail("out of memory");
    for (size_t i = 0; i < cap / 4; i++) {
        uint32_t u;
        float x;

        z = z * 6364136223846793005u + 1442695040888963407u;
        x = (float)(int32_t)(z >> 32) * (0.05f / 2147483648.0f);
        if (s->type == MO_F32) memcpy(&u, &x, 4);
        else u = (s->type == MO_BF16 ? f32_to_bf16(x) : f32_to_f16(x)) * 0x10001u;
        memcpy(s->data + 4 * i, &u, 4);
    }
}

typedef struct spent {
    double wall, cpu; /* seconds */
} spent;

static spent now(void)
{
    struct timespec w, c;

    clock_gettime(CLOCK_MONOTONIC, &w);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
    return (spent){ (double)w.tv_sec + 1e-9 * (double)w.tv_nsec, (double)c.tv_sec + 1e-9 * (double)c.tv_nsec };
}

static void keep_best(spent *best, spent from, spent to)
{
    if (to.cpu - from.cpu < best->cpu) *best = (spent){ to.wall - from.wall, to.cpu - from.cpu };
}

static float *device(backend *be, int64_t n)
{
    void *p;

    if (be->ops->alloc(be, &p, (size_t)n * 4 + 64, NULL) != MO_OK) fail("out of memory");
    return p;
}

static void line(const char *what, spent t, double flop)
{
    printf("%-24s %9.1f ms %7.1f GFLOP/s   processor %9.1f ms %6.1f GFLOP/s\n", what, t.wall * 1e3, flop / t.wall * 1e-9, t.cpu * 1e3,
           flop / t.cpu * 1e-9);
    fflush(stdout);
}

/* Multiplications and additions of a block of transformer layers over n rows that see `seen` keys each. */
static double layers_flop(double n, double seen, double n_layer, double e, double f)
{
    return n_layer * (2 * n * (4 * e * e + 2 * e * f) + 4 * n * seen * e);
}

static void bench_vision(backend *be, const store *s, int repeats)
{
    tile_size tile = { 32, 32 };
    int64_t n = tile_patches(tile), d = resampling.n_embd;
    siglip *v;
    resampler *r;
    scratch sc = scratch_plan();
    mo_error err = { 0 };
    float *patch = device(be, n * 588), *hidden = device(be, n * vision.n_embd), *embeds = device(be, 64 * d);
    spent best_v = { 1e9, 1e9 }, best_r = best_v;

    if (siglip_load(&v, be, s->ts, &vision, SIGLIP_POS_REFERENCE, &err) != MO_OK) fail(err.message);
    if (resampler_load(&r, be, s->ts, &resampling, &err) != MO_OK) fail(err.message);
    siglip_scratch(&sc, &vision, n);
    resampler_scratch(&sc, &resampling, n);
    if (scratch_alloc(&sc, be, &err) != MO_OK) fail(err.message);
    be->ops->upload(be, patch, s->data, (size_t)n * 588 * 4);
    for (int i = 0; i < repeats; i++) {
        spent t0 = now(), t1, t2;
        if (siglip_forward(v, hidden, patch, &tile, 1, n, &sc, &err) != MO_OK) fail(err.message);
        t1 = now();
        if (resampler_forward(r, embeds, hidden, &tile, 1, n, &sc, &err) != MO_OK) fail(err.message);
        t2 = now();
        keep_best(&best_v, t0, t1);
        keep_best(&best_r, t1, t2);
    }
    line("tile 448x448, tower", best_v,
         layers_flop((double)n, (double)n, vision.n_layer, vision.n_embd, vision.n_ff) + 2.0 * (double)n * 588 * vision.n_embd);
    line("tile 448x448, resampler", best_r,
         2.0 * (double)n * (double)d * (1152 + 2.0 * (double)d) + 4.0 * 64 * (double)n * (double)d + 4.0 * 64 * (double)(d * d));
    scratch_free(&sc, be);
    siglip_free(v);
    resampler_free(r);
    be->ops->dealloc(be, patch);
    be->ops->dealloc(be, hidden);
    be->ops->dealloc(be, embeds);
}

static void bench_audio(backend *be, const store *s, int repeats)
{
    static const int32_t seconds[] = { 1, 10, 30 };
    whisper *w;
    scratch sc = scratch_plan();
    mo_error err = { 0 };
    float *mel = device(be, 3000 * 80), *hidden = device(be, 1500 * 1024), *embeds = device(be, 300 * N_OUT);

    if (whisper_load(&w, be, s->ts, &audio, N_OUT, &err) != MO_OK) fail(err.message);
    whisper_scratch(&sc, &audio, N_OUT, 1500);
    if (scratch_alloc(&sc, be, &err) != MO_OK) fail(err.message);
    be->ops->upload(be, mel, s->data, 3000 * 80 * 4);
    for (int k = 0; k < 3; k++) {
        int32_t n_frame = seconds[k] * 100, n = whisper_rows(n_frame);
        double e = audio.n_embd;
        spent best = { 1e9, 1e9 };
        char what[40];

        for (int i = 0; i < repeats; i++) {
            spent t0 = now();
            if (whisper_forward(w, hidden, embeds, mel, &n_frame, 1, 1, 0, 1500, &sc, &err) != MO_OK) fail(err.message);
            keep_best(&best, t0, now());
        }
        snprintf(what, sizeof what, "sound, %d s", (int)seconds[k]);
        line(what, best,
             layers_flop(n, n / 2.0 + 25, audio.n_layer, e, audio.n_ff) + 2.0 * n * (2 * 240 * e + 3 * e * e + e * N_OUT) +
                 0.4 * n * N_OUT * N_OUT);
    }
    scratch_free(&sc, be);
    whisper_free(w);
    be->ops->dealloc(be, mel);
    be->ops->dealloc(be, hidden);
    be->ops->dealloc(be, embeds);
}

int main(int argc, char **argv)
{
    cpu_backend_opts o = { .isa_mask = MO_ISA_ALL };
    store s = { .type = MO_BF16 };
    backend *be = NULL;
    mo_error err = { 0 };
    int repeats = 3, which = 0;
    char text[128];

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t") && i + 1 < argc) o.n_thread = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-n") && i + 1 < argc) repeats = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-f")) o.fast = true; /* reduced precision */
        else if (!strcmp(argv[i], "-8")) o.int8 = true;
        else if (!strcmp(argv[i], "-d") && i + 1 < argc) {
            i++;
            s.type = !strcmp(argv[i], "f32") ? MO_F32 : !strcmp(argv[i], "f16") ? MO_F16 : MO_BF16;
        } else if (!strcmp(argv[i], "vision")) which |= 1;
        else if (!strcmp(argv[i], "audio")) which |= 2;
        else fail("usage: bench_encoders [-t THREADS] [-d f32|f16|bf16] [-n REPEATS] [-f | -8] [vision] [audio]");
    }
    if (!which) which = 3;
    fill(&s, (size_t)1 << 30);
    if (tensors_new(&s.ts, &err) != MO_OK) fail(err.message);
    put_vision(&s);
    put_audio(&s);
    if (tensors_index(s.ts, &err) != MO_OK || cpu_backend_new(&be, &o, &err) != MO_OK) fail(err.message);
    cpu_backend_describe(be, text, sizeof text);
    printf("%s, weights %s\n", text, dtype_get(s.type)->name);
    if (which & 1) bench_vision(be, &s, repeats);
    if (which & 2) bench_audio(be, &s, repeats);
    be->ops->destroy(be);
    tensors_close(s.ts);
    mo_free(s.data);
    return 0;
}
