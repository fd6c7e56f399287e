/* The GGUF writer (gguf_write.h; spec: formats 1.1). Version 3, alignment 32, tensors in the order of their declarations. */
#include "formats/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buf.h"
#include "formats/gguf_journal.h"

enum { ALIGN = 32 };

struct gguf_writer {
    char *path, *temporary;
    FILE *f;
    buf keys, tensors;
    uint64_t n_key, n_tensor;
    uint64_t *size; /* [n_tensor] bytes of data */
    size_t cap_size;
    uint64_t offset;    /* of the next declared tensor */
    size_t i_tensor;    /* whose data comes next */
    uint64_t n_written; /* of it */
    bool has_header;
    bool is_kept; /* the unfinished file outlives us */
    gguf_journal journal;
    checksum sum; /* of the tensor that is being written */
    mo_status st; /* the first failure of a put */
    mo_error err;
};

static void put_u(buf *b, uint64_t v, int n)
{
    char bytes[8];

    for (int i = 0; i < n; i++) bytes[i] = (char)(v >> 8 * i);
    buf_put(b, bytes, (size_t)n);
}

static void put_string(buf *b, const char *s, size_t n)
{
    put_u(b, n, 8);
    buf_put(b, s, n);
}

/* A writer without a file; `temporary` as printed. */
static mo_status new_writer(gguf_writer **out, const char *path, const char *suffix, mo_error *err)
{
    gguf_writer *w = mo_zalloc(sizeof *w);
    const size_t n = strlen(path) + strlen(suffix) + 1;

    *out = NULL;
    if (!w || !(w->path = mo_strdup(path)) || !(w->temporary = mo_malloc(n))) {
        gguf_write_abort(w);
        return mo_fail(err, MO_E_NOMEM, "no memory to write '%.300s'", path);
    }
    snprintf(w->temporary, n, "%s%s", path, suffix);
    *out = w;
    return MO_OK;
}

static mo_status cannot_write(const gguf_writer *w, mo_error *err)
{
    return mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", w->temporary, strerror(errno));
}

mo_status gguf_write_begin(gguf_writer **out, const char *path, mo_error *err)
{
    char suffix[32];
    gguf_writer *w;
    mo_status st;
    int fd;

    snprintf(suffix, sizeof suffix, ".%ld.part", (long)getpid());
    if ((st = new_writer(out, path, suffix, err)) != MO_OK) return st;
    w = *out;
    unlink(w->temporary); /* of an earlier process with our number */
    if ((fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) >= 0 && !(w->f = fdopen(fd, "wb"))) close(fd);
    if (w->f) return MO_OK;
    st = cannot_write(w, err);
    if (fd < 0) w->temporary[0] = 0;
    gguf_write_abort(w);
    *out = NULL;
    return st;
}

mo_status gguf_write_begin_kept(gguf_writer **out, const char *path, mo_error *err)
{
    mo_status st = new_writer(out, path, ".part", err);

    if (st == MO_OK) (*out)->is_kept = true;
    return st;
}

void gguf_write_abort(gguf_writer *w)
{
    if (!w) return;
    if (w->f) fclose(w->f);
    if (!w->is_kept && w->temporary && w->temporary[0]) unlink(w->temporary);
    gguf_journal_close(&w->journal, false);
    buf_free(&w->keys);
    buf_free(&w->tensors);
    mo_free(w->size);
    mo_free(w->path);
    mo_free(w->temporary);
    mo_free(w);
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static buf *begin_key(gguf_writer *w, const char *key, gguf_type type)
{
    w->n_key++;
    put_string(&w->keys, key, strlen(key));
    put_u(&w->keys, type, 4);
    return &w->keys;
}

static buf *begin_list(gguf_writer *w, const char *key, gguf_type item, size_t n)
{
    buf *b = begin_key(w, key, GGUF_ARRAY);

    put_u(b, item, 4);
    put_u(b, n, 8);
    return b;
}

static uint32_t bits_of(float v)
{
    uint32_t u;

    memcpy(&u, &v, sizeof u);
    return u;
}

void gguf_put_text(gguf_writer *w, const char *key, const char *s, size_t n) { put_string(begin_key(w, key, GGUF_STRING), s, n); }
void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v) { put_u(begin_key(w, key, GGUF_U32), v, 4); }
void gguf_put_i32(gguf_writer *w, const char *key, int32_t v) { put_u(begin_key(w, key, GGUF_I32), (uint32_t)v, 4); }
void gguf_put_u64(gguf_writer *w, const char *key, uint64_t v) { put_u(begin_key(w, key, GGUF_U64), v, 8); }
void gguf_put_f32(gguf_writer *w, const char *key, float v) { put_u(begin_key(w, key, GGUF_F32), bits_of(v), 4); }
void gguf_put_bool(gguf_writer *w, const char *key, bool v) { put_u(begin_key(w, key, GGUF_BOOL), v, 1); }

void gguf_put_texts(gguf_writer *w, const char *key, const gguf_text *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_STRING, n);

    for (size_t i = 0; i < n; i++) put_string(b, v[i].s, v[i].n);
}

void gguf_put_ints(gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_I32, n);

    for (size_t i = 0; i < n; i++) put_u(b, (uint32_t)v[i], 4);
}

void gguf_put_reals(gguf_writer *w, const char *key, const float *v, size_t n)
{
    buf *b = begin_list(w, key, GGUF_F32, n);

    for (size_t i = 0; i < n; i++) put_u(b, bits_of(v[i]), 4);
}

void gguf_put_copy(gguf_writer *w, const gguf_value *v)
{
    w->n_key++;
    put_string(&w->keys, v->key.s, v->key.n);
    put_u(&w->keys, v->type, 4);
    if (v->type == GGUF_ARRAY) {
        put_u(&w->keys, v->item, 4);
        put_u(&w->keys, v->n_item, 8);
    }
    buf_put(&w->keys, v->data, v->n_bytes);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

void gguf_declare(gguf_writer *w, const char *name, int32_t type, int32_t n_dim, const int64_t *dim)
{
    size_t bytes = n_dim > 0 ? dtype_row_bytes(type, dim[n_dim - 1]) : 0;
    bool ok = bytes && n_dim <= 4 && strlen(name) < 64;

    for (int32_t i = 0; ok && i + 1 < n_dim; i++) ok = dim[i] > 0 && mo_size_mul(bytes, (size_t)dim[i], &bytes);
    if (!ok || w->has_header) {
        if (w->st == MO_OK) w->st = mo_fail(&w->err, MO_E_ARG, "tensor '%.100s' cannot be stored in a GGUF file like this", name);
        return;
    }
    if (w->n_tensor == w->cap_size) {
        size_t cap = w->cap_size ? w->cap_size * 2 : 256;
        uint64_t *p = mo_realloc(w->size, cap * sizeof *p);
        if (!p) {
            if (w->st == MO_OK) w->st = mo_fail(&w->err, MO_E_NOMEM, "no memory to list the tensors of '%.300s'", w->path);
            return;
        }
        w->size = p;
        w->cap_size = cap;
    }
    put_string(&w->tensors, name, strlen(name));
    put_u(&w->tensors, (uint32_t)n_dim, 4);
    for (int32_t i = n_dim; i-- > 0;) put_u(&w->tensors, (uint64_t)dim[i], 8);
    put_u(&w->tensors, (uint32_t)type, 4);
    put_u(&w->tensors, w->offset, 8);
    w->size[w->n_tensor++] = bytes;
    w->offset += mo_round_up(bytes, ALIGN);
}

static mo_status write_bytes(gguf_writer *w, const void *p, size_t n, mo_error *err)
{
    if (!n || fwrite(p, 1, n, w->f) == n) return MO_OK;
    return cannot_write(w, err);
}

static mo_status pad(gguf_writer *w, uint64_t n, mo_error *err)
{
    static const char zero[ALIGN];

    return write_bytes(w, zero, (size_t)((ALIGN - n % ALIGN) % ALIGN), err);
}

/* Everything before the data. */
static mo_status make_header(gguf_writer *w, buf *head, mo_error *err)
{
    static const char zero[ALIGN];

    w->has_header = true;
    buf_puts(head, "GGUF");
    put_u(head, 3, 4);
    put_u(head, w->n_tensor, 8);
    put_u(head, w->n_key, 8);
    if (!w->keys.failed) buf_put(head, w->keys.data, w->keys.len);
    if (!w->tensors.failed) buf_put(head, w->tensors.data, w->tensors.len);
    buf_put(head, zero, (ALIGN - head->len % ALIGN) % ALIGN);
    if (head->failed || w->keys.failed || w->tensors.failed)
        return mo_fail(err, MO_E_NOMEM, "no memory for the header of '%.300s'", w->path);
    return w->st == MO_OK ? MO_OK : mo_fail(err, w->st, "%s", w->err.message);
}

static mo_status write_header(gguf_writer *w, mo_error *err)
{
    buf head = { 0 };
    mo_status st;

    if (w->has_header) return MO_OK;
    if ((st = make_header(w, &head, err)) == MO_OK) st = write_bytes(w, head.data, head.len, err);
    buf_free(&head);
    return st;
}

uint64_t gguf_write_size(const gguf_writer *w)
{
    const uint64_t head = 24 + w->keys.len + w->tensors.len;

    return mo_round_up(head, ALIGN) + w->offset;
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

/* PATH.part, ours alone while it is open. */
static mo_status open_part(gguf_writer *w, mo_error *err)
{
    const int fd = open(w->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);

    if (fd < 0) return cannot_write(w, err);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        mo_status st =
            errno == EWOULDBLOCK ? mo_fail(err, MO_E_STATE, "another process is writing '%.300s'", w->temporary) : cannot_write(w, err);
        close(fd);
        return st;
    }
    if ((w->f = fdopen(fd, "r+b"))) return MO_OK;
    close(fd);
    return mo_fail(err, MO_E_NOMEM, "no memory to write '%.300s'", w->path);
}

/* The disk's answer before hours of work: room for the whole file, where the file system can promise it. */
static mo_status reserve(gguf_writer *w, mo_error *err)
{
#ifdef __linux__
    const uint64_t n = gguf_write_size(w);

    if (!fallocate(fileno(w->f), FALLOC_FL_KEEP_SIZE, 0, (off_t)n)) return MO_OK;
    if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)
        return mo_fail(err, MO_E_IO, "cannot write '%.300s', %.1f GB: %s", w->path, (double)n * 1e-9, strerror(errno));
#else
    (void)w;
    (void)err;
#endif
    return MO_OK;
}

/* Does the file go on with these n bytes? */
static bool has_bytes(gguf_writer *w, const char *p, size_t n)
{
    char block[4096];

    for (size_t at = 0; at < n; at += sizeof block) {
        const size_t k = n - at < sizeof block ? n - at : sizeof block;
        if (fread(block, 1, k, w->f) != k || memcmp(block, p + at, k)) return false;
    }
    return true;
}

/* Does it go on with a tensor of this sum, and zeros up to the next? */
static bool has_tensor(gguf_writer *w, uint64_t n, uint64_t sum)
{
    static const char zero[ALIGN];
    char block[1 << 16];
    checksum c;

    checksum_begin(&c);
    for (uint64_t at = 0; at < n;) {
        const size_t k = n - at < sizeof block ? (size_t)(n - at) : sizeof block;
        if (fread(block, 1, k, w->f) != k) return false;
        checksum_add(&c, block, k);
        at += k;
    }
    return checksum_end(&c) == sum && has_bytes(w, zero, (size_t)((ALIGN - n % ALIGN) % ALIGN));
}

/* *n_good: how many tensors of an earlier run stand in the file, its position after them; or the header is written anew. */
static mo_status take_up(gguf_writer *w, const buf *head, const uint64_t *sum, size_t n_sum, size_t *n_good, mo_error *err)
{
    uint64_t at = head->len;
    bool same = n_sum && has_bytes(w, head->data, head->len);

    for (*n_good = 0; same && *n_good < n_sum && *n_good < w->n_tensor && has_tensor(w, w->size[*n_good], sum[*n_good]); ++*n_good)
        at += mo_round_up(w->size[*n_good], ALIGN);
    if (*n_good) return fseeko(w->f, (off_t)at, SEEK_SET) ? cannot_write(w, err) : MO_OK;
    rewind(w->f);
    if (ftruncate(fileno(w->f), 0)) return cannot_write(w, err);
    return write_bytes(w, head->data, head->len, err);
}

static mo_status open_journal(gguf_writer *w, uint64_t stamp, uint64_t **sum, size_t *n, mo_error *err)
{
    char *path = mo_malloc(strlen(w->temporary) + 5);
    mo_status st;

    if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    sprintf(path, "%s.log", w->temporary);
    st = gguf_journal_open(&w->journal, path, stamp, sum, n, err);
    mo_free(path);
    return st;
}

mo_status gguf_write_resume(gguf_writer *w, uint64_t stamp, size_t *n_done, mo_error *err)
{
    buf head = { 0 };
    uint64_t *sum = NULL;
    size_t n_sum = 0;
    checksum c;
    mo_status st;

    *n_done = 0;
    if ((st = make_header(w, &head, err)) != MO_OK || (st = open_part(w, err)) != MO_OK) goto done;
    checksum_begin(&c);
    checksum_add(&c, &stamp, sizeof stamp);
    checksum_add(&c, head.data, head.len);
    stamp = checksum_end(&c);
    if ((st = open_journal(w, stamp, &sum, &n_sum, err)) != MO_OK) goto done;
    if ((st = take_up(w, &head, sum, n_sum, n_done, err)) != MO_OK) goto done;
    if ((st = gguf_journal_keep(&w->journal, stamp, sum, *n_done, err)) != MO_OK) goto done;
    if ((st = reserve(w, err)) != MO_OK && !*n_done) { /* nothing is lost with it */
        unlink(w->temporary);
        gguf_journal_close(&w->journal, true);
    }
    w->i_tensor = *n_done;
    checksum_begin(&w->sum);
done:
    mo_free(sum);
    buf_free(&head);
    return st;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

/* The tensor's last byte is written: padding, and a line in the journal. */
static mo_status end_tensor(gguf_writer *w, mo_error *err)
{
    mo_status st = pad(w, w->n_written, err);

    w->i_tensor++;
    w->n_written = 0;
    if (!w->is_kept || st != MO_OK) return st;
    st = fflush(w->f) ? cannot_write(w, err) : gguf_journal_add(&w->journal, checksum_end(&w->sum), err);
    checksum_begin(&w->sum);
    return st;
}

mo_status gguf_write_data(gguf_writer *w, const void *data, size_t n, mo_error *err)
{
    mo_status st = write_header(w, err);
    const char *p = data;

    while (st == MO_OK && n) {
        uint64_t left;
        size_t k;
        if (w->i_tensor == w->n_tensor) return mo_fail(err, MO_E_ARG, "'%.300s' was given more data than its tensors have", w->path);
        left = w->size[w->i_tensor] - w->n_written;
        k = left < n ? (size_t)left : n;
        if ((st = write_bytes(w, p, k, err)) != MO_OK) break;
        if (w->is_kept) checksum_add(&w->sum, p, k);
        p += k;
        n -= k;
        w->n_written += k;
        if (w->n_written == w->size[w->i_tensor]) st = end_tensor(w, err);
    }
    return st;
}

/* The new name is on the disk too. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? mo_strndup(path, (size_t)(slash - path) + 1) : mo_strdup(".");
    const int fd = dir ? open(dir, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd); /* a file system that cannot is no reason to fail */
        close(fd);
    }
    mo_free(dir);
}

mo_status gguf_write_end(gguf_writer *w, mo_error *err)
{
    mo_status st = write_header(w, err);
    bool failed;

    if (st == MO_OK && w->i_tensor != w->n_tensor)
        st = mo_fail(err, MO_E_ARG, "'%.300s' was given less data than its tensors have", w->path);
    if (st != MO_OK) {
        gguf_write_abort(w);
        return st;
    }
    failed = fflush(w->f) || fsync(fileno(w->f));
    if (!failed && w->is_kept) failed = ftruncate(fileno(w->f), (off_t)gguf_write_size(w)); /* of an earlier, longer one */
    if (failed || rename(w->temporary, w->path)) {
        st = mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", w->path, strerror(errno));
    } else {
        w->temporary[0] = 0; /* renamed: nothing to remove */
        sync_folder(w->path);
        gguf_journal_close(&w->journal, true);
    }
    gguf_write_abort(w);
    return st;
}
