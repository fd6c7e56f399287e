/* Synthetic checkpoint files (synth_write.h).
 *
 * Every value depends on its place alone, so a shard is a list of blocks that threads take from a counter, fill and write
 * at their place: no queue, no order, one block of memory a thread. Space for a shard is reserved before the first block,
 * so a full disk is told at once.
 */
#include "cli/synth_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"
#include "cli/synth_rule.h"
#include "core/alloc.h"
#include "core/buf.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/synth.h"

enum { BLOCK_BYTES = 8 << 20, STEP = 8192 /* elements converted at a time: stays in the first cache */ };

/* What generating a tensor takes. */
typedef struct recipe {
    const synth_tensor *t;
    uint64_t key, offset; /* offset: of its data in the file */
    float base, amp;
    synth_boost *boost; /* [n_boost] */
    size_t n_boost;
} recipe;

typedef struct block {
    uint32_t i_recipe;
    uint64_t start; /* first element */
    size_t n;
} block;

/* One shard being written, shared by the threads. */
typedef struct job {
    const char *path;
    int fd;
    int32_t type;
    size_t elem_bytes;
    recipe *recipe; /* [n_recipe] */
    size_t n_recipe;
    block *block; /* [n_block] */
    size_t n_block;
    char **buffer; /* [n_thread] BLOCK_BYTES */
    atomic_size_t next;
    atomic_int failed;     /* errno of the first write that failed */
    _Atomic uint64_t done; /* bytes, of all shards so far */
    progress *bar;
    const volatile sig_atomic_t *stop;
} job;

uint64_t synth_total_bytes(const synth_list *l, int32_t type)
{
    uint64_t n = 0;

    for (size_t i = 0; i < l->n; i++) n += l->list[i].n;
    return n * dtype_row_bytes(type, 1);
}

/* ---- threads ---- */

/* Boosted rows that cross [start, start + n) of a tensor. Powers of two: exact. */
static void apply_boost(uint16_t *v, const recipe *r, uint64_t start, size_t n)
{
    uint64_t stride = r->t->n / (uint64_t)r->t->dim[0];

    for (size_t i = 0; i < r->n_boost; i++) {
        uint64_t from = r->boost[i].row * stride, to = from + stride;
        if (from < start) from = start;
        if (to > start + n) to = start + n;
        for (uint64_t j = from; j < to; j++) v[j - start] = f32_to_bf16(bf16_to_f32(v[j - start]) * r->boost[i].k);
    }
}

static void fill_block(char *out, const job *j, const block *b)
{
    const recipe *r = &j->recipe[b->i_recipe];
    uint16_t v[STEP];

    for (size_t at = 0; at < b->n; at += STEP) {
        size_t n = b->n - at < STEP ? b->n - at : STEP;
        char *dst = out + at * j->elem_bytes;

        synth_fill(v, r->key, r->base, r->amp, b->start + at, n);
        if (r->n_boost) apply_boost(v, r, b->start + at, n);
        if (j->type == MO_BF16) memcpy(dst, v, n * 2);
        else if (j->type == MO_F16)
            for (size_t i = 0; i < n; i++) ((uint16_t *)(void *)dst)[i] = f32_to_f16(bf16_to_f32(v[i]));
        else
            for (size_t i = 0; i < n; i++) ((float *)(void *)dst)[i] = bf16_to_f32(v[i]);
    }
}

static int write_at(int fd, const char *p, size_t n, uint64_t offset)
{
    while (n) {
        ssize_t put = pwrite(fd, p, n, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return put < 0 ? errno : EIO;
        p += put;
        n -= (size_t)put;
        offset += (uint64_t)put;
    }
    return 0;
}

static void work(void *arg, int i_thread, int n_thread)
{
    job *j = arg;
    size_t i;

    (void)n_thread;
    while (!atomic_load(&j->failed) && !*j->stop && (i = atomic_fetch_add(&j->next, 1)) < j->n_block) {
        const block *b = &j->block[i];
        int e, none = 0;

        fill_block(j->buffer[i_thread], j, b);
        e = write_at(j->fd, j->buffer[i_thread], b->n * j->elem_bytes, j->recipe[b->i_recipe].offset + b->start * j->elem_bytes);
        if (e) atomic_compare_exchange_strong(&j->failed, &none, e);
        atomic_fetch_add(&j->done, b->n * j->elem_bytes);
        if (i_thread == 0) progress_update(j->bar, atomic_load(&j->done));
    }
}

/* ---- one shard ---- */

static const char *type_name(int32_t type) { return dtype_get(type)->name; }

static void put_header(buf *b, const recipe *r, size_t n, int32_t type)
{
    uint64_t at = 0, n_bytes;
    char size[8];

    buf_put(b, size, 8); /* filled in below */
    buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        const synth_tensor *t = r[i].t;
        buf_printf(b, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, type_name(type));
        for (int d = 0; d < t->n_dim; d++) buf_printf(b, "%s%" PRId64, d ? "," : "", t->dim[d]);
        n_bytes = t->n * dtype_row_bytes(type, 1);
        buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + n_bytes);
        at += n_bytes;
    }
    buf_puts(b, "}");
    while (b->len % MO_ALIGN && !b->failed) buf_puts(b, " "); /* data starts on a cache line */
    if (b->failed) return;
    for (int i = 0; i < 8; i++) b->data[i] = (char)((uint64_t)(b->len - 8) >> (8 * i));
}

mo_status synth_boost_read(synth_boost **out, size_t *n, const json_t *rows, const char *tensor, uint64_t n_row, mo_error *err)
{
    const char *key;
    json_t *v;

    *out = NULL;
    *n = 0;
    if (!rows) return MO_OK;
    if (!(*out = mo_calloc(json_object_size(rows) + 1, sizeof **out)))
        return mo_fail(err, MO_E_NOMEM, "no memory for the boosts of '%s'", tensor);
    json_object_foreach((json_t *)(uintptr_t)rows, key, v) {
        char *end;
        unsigned long long row = strtoull(key, &end, 10);
        double k = json_number_value(v);
        int e;

        if (!*key || *end || row >= n_row) return mo_fail(err, MO_E_FORMAT, "synth.boost: tensor '%s' has no row '%.40s'", tensor, key);
        if (!json_is_number(v) || frexp(k, &e) != 0.5 || e < -30 || e > 30)
            return mo_fail(err, MO_E_FORMAT, "synth.boost: row %s of '%s' is multiplied by no power of two", key, tensor);
        (*out)[(*n)++] = (synth_boost){ row, (float)k };
    }
    return MO_OK;
}

/* Where everything of tensors [from, to) goes: recipes, blocks, header. */
static mo_status plan_shard(job *j, buf *header, const synth_list *l, size_t from, size_t to, const synth_opts *o, mo_error *err)
{
    size_t n_block = 0, per_block = BLOCK_BYTES / j->elem_bytes;
    uint64_t at;
    mo_status st;

    for (size_t i = from; i < to; i++) n_block += (l->list[i].n + per_block - 1) / per_block;
    j->recipe = mo_calloc(to - from, sizeof *j->recipe);
    j->block = mo_calloc(n_block, sizeof *j->block);
    if (!j->recipe || !j->block) return mo_fail(err, MO_E_NOMEM, "no memory to plan '%s'", j->path);
    for (size_t i = from; i < to; i++) {
        recipe *r = &j->recipe[j->n_recipe++];
        *r = (recipe){ .t = &l->list[i], .key = synth_key(l->list[i].name, o->seed) };
        synth_base_amp(&r->base, &r->amp, r->t->name, r->t->n_dim, r->t->dim);
        st = synth_boost_read(&r->boost, &r->n_boost, json_object_get(o->boost, r->t->name), r->t->name, (uint64_t)r->t->dim[0], err);
        if (st != MO_OK) return st;
    }
    put_header(header, j->recipe, j->n_recipe, j->type);
    if (header->failed) return mo_fail(err, MO_E_NOMEM, "no memory for the header of '%s'", j->path);
    at = header->len;
    for (size_t i = 0; i < j->n_recipe; i++) {
        recipe *r = &j->recipe[i];
        r->offset = at;
        at += r->t->n * j->elem_bytes;
        for (uint64_t s = 0; s < r->t->n; s += per_block)
            j->block[j->n_block++] = (block){ (uint32_t)i, s, r->t->n - s < per_block ? (size_t)(r->t->n - s) : per_block };
    }
    return MO_OK;
}

static void job_release(job *j)
{
    for (size_t i = 0; i < j->n_recipe; i++) mo_free(j->recipe[i].boost);
    mo_free(j->recipe);
    mo_free(j->block);
    j->recipe = NULL;
    j->block = NULL;
    j->n_recipe = j->n_block = 0;
}

static mo_status write_failed(const char *path, int e, mo_error *err)
{
    return mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", path, strerror(e));
}

/* Blocks for the whole file, where the file system can promise them. */
static int reserve(int fd, uint64_t n)
{
#ifdef __linux__
    if (!fallocate(fd, 0, 0, (off_t)n)) return 0;
    if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT) return errno;
#endif
    return ftruncate(fd, (off_t)n) ? errno : 0;
}

static mo_status run_shard(job *j, pool *p, const buf *header, mo_error *err)
{
    uint64_t end = j->recipe[j->n_recipe - 1].offset + j->recipe[j->n_recipe - 1].t->n * j->elem_bytes;
    mo_status st = MO_OK;
    int e;

    if ((j->fd = open(j->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0) return write_failed(j->path, errno, err);
    e = reserve(j->fd, end);
    if (!e) e = write_at(j->fd, header->data, header->len, 0);
    if (!e) {
        atomic_store(&j->next, 0);
        pool_run(p, work, j);
        e = atomic_load(&j->failed);
    }
    if (close(j->fd) && !e) e = errno;
    if (e) st = write_failed(j->path, e, err);
    else if (*j->stop) st = mo_fail(err, MO_E_INTERRUPTED, "stopped");
    return st;
}

static mo_status write_shard(job *j, const char *dir, const char *name, const synth_list *l, size_t from, size_t to, const synth_opts *o,
                             pool *p, mo_error *err)
{
    char *path = path_join(dir, name);
    buf header = { 0 };
    mo_status st;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory to write '%s'", name);
    j->path = path;
    st = plan_shard(j, &header, l, from, to, o, err);
    if (st == MO_OK) st = run_shard(j, p, &header, err);
    job_release(j);
    buf_free(&header);
    mo_free(path);
    return st;
}

/* ---- the set of shards ---- */

mo_status synth_write_file(const char *dir, const char *name, const void *data, size_t n, mo_error *err)
{
    char *path = path_join(dir, name);
    mo_status st = MO_OK;
    int fd, e;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory to write '%s'", name);
    if ((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0) {
        st = write_failed(path, errno, err);
    } else {
        e = write_at(fd, data, n, 0);
        if (close(fd) && !e) e = errno;
        if (e) st = write_failed(path, e, err);
    }
    mo_free(path);
    return st;
}

/* The first tensor after a shard that begins with `from`: as many as fit, at least one. */
static size_t shard_end(const synth_list *l, size_t from, int32_t type, uint64_t max_bytes)
{
    uint64_t n = 0, elem = dtype_row_bytes(type, 1);
    size_t to = from;

    if (!max_bytes) return l->n;
    do n += l->list[to++].n * elem;
    while (to < l->n && n + l->list[to].n * elem <= max_bytes);
    return to;
}

uint64_t synth_shard_limit(const synth_list *l, int32_t type, uint64_t n_shard)
{
    uint64_t lo = 1, hi = synth_total_bytes(l, type); /* one shard of hi bytes always does */

    for (size_t i = 0; i < l->n; i++) /* less than the largest tensor would not be kept to */
        if (l->list[i].n * dtype_row_bytes(type, 1) > lo) lo = l->list[i].n * dtype_row_bytes(type, 1);
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2, n = 0;
        for (size_t from = 0; from < l->n; n++) from = shard_end(l, from, type, mid);
        if (n <= n_shard) hi = mid;
        else lo = mid + 1;
    }
    return hi;
}

static mo_status write_index(const char *dir, const synth_list *l, const size_t *shard_of, size_t n_shard, int32_t type, mo_error *err)
{
    buf b = { 0 };
    mo_status st;

    buf_printf(&b, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {", synth_total_bytes(l, type));
    for (size_t i = 0; i < l->n; i++)
        buf_printf(&b, "%s\n    \"%s\": \"model-%05zu-of-%05zu.safetensors\"", i ? "," : "", l->list[i].name, shard_of[i] + 1, n_shard);
    buf_puts(&b, "\n  }\n}\n");
    st = b.failed ? mo_fail(err, MO_E_NOMEM, "no memory for the index")
                  : synth_write_file(dir, "model.safetensors.index.json", b.data, b.len, err);
    buf_free(&b);
    return st;
}

static mo_status write_shards(job *j, const char *dir, const synth_list *l, const synth_opts *o, pool *p, mo_error *err)
{
    size_t *shard_of = mo_calloc(l->n + 1, sizeof *shard_of), n_shard = 0, from, to;
    mo_status st = MO_OK;
    char name[64];

    if (!shard_of) return mo_fail(err, MO_E_NOMEM, "no memory for the index");
    for (from = 0; from < l->n; from = to, n_shard++) {
        to = shard_end(l, from, o->type, o->shard_max_bytes);
        for (size_t i = from; i < to; i++) shard_of[i] = n_shard;
    }
    for (from = 0; from < l->n && st == MO_OK; from = to) {
        to = shard_end(l, from, o->type, o->shard_max_bytes);
        if (n_shard == 1) snprintf(name, sizeof name, "model.safetensors");
        else snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard_of[from] + 1, n_shard);
        st = write_shard(j, dir, name, l, from, to, o, p, err);
    }
    if (st == MO_OK && n_shard > 1) st = write_index(dir, l, shard_of, n_shard, o->type, err);
    mo_free(shard_of);
    return st;
}

mo_status synth_write(const char *dir, const synth_list *l, const synth_opts *o, pool *p, mo_error *err)
{
    progress bar;
    job j = { .type = o->type, .elem_bytes = dtype_row_bytes(o->type, 1), .bar = &bar, .stop = o->stop };
    int n_thread = pool_size(p);
    mo_status st = MO_OK;

    if (!(j.buffer = mo_calloc((size_t)n_thread, sizeof *j.buffer))) return mo_fail(err, MO_E_NOMEM, "no memory for %d writers", n_thread);
    for (int i = 0; i < n_thread && st == MO_OK; i++)
        if (!(j.buffer[i] = mo_alloc_aligned(BLOCK_BYTES))) st = mo_fail(err, MO_E_NOMEM, "no memory for %d writers", n_thread);
    progress_begin(&bar, "writing", synth_total_bytes(l, o->type));
    if (st == MO_OK) st = write_shards(&j, dir, l, o, p, err);
    progress_end(&bar);
    for (int i = 0; i < n_thread; i++) mo_free(j.buffer[i]);
    mo_free(j.buffer);
    return st;
}
