/* The journal of an unfinished file (gguf_journal.h):
 *
 *     minicpmo part 1 4c1b0e7a90d2f388     what the file will be: its header, inputs, options
 *     9f02c4551b6e7d10                     checksum of tensor 0's bytes
 *     …
 *
 * A line that is cut or wrong ends it. Sums are compared with the bytes before they are believed, so nothing depends on the
 * order in which a dying machine wrote the two files.
 */
#include "formats/gguf_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"

enum { LINE_MAX_BYTES = 64, N_MAX = 1 << 20 };

/* ---- checksum ---------------------------------------------------------------------------------------------------- */

static uint64_t stir(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

void checksum_begin(checksum *c)
{
    *c = (checksum){ .lane = { 0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u } };
}

static void add_block(checksum *c, const unsigned char *p)
{
    for (int i = 0; i < 4; i++) {
        uint64_t w;
        memcpy(&w, p + 8 * i, 8);
        c->lane[i] = stir(c->lane[i], w);
    }
}

void checksum_add(checksum *c, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t have = (size_t)(c->n % 32);

    c->n += n;
    if (have) {
        const size_t k = 32 - have < n ? 32 - have : n;
        memcpy(c->rest + have, p, k);
        p += k;
        n -= k;
        if (have + k < 32) return;
        add_block(c, c->rest);
    }
    for (; n >= 32; p += 32, n -= 32) add_block(c, p);
    if (n) memcpy(c->rest, p, n);
}

uint64_t checksum_end(const checksum *c)
{
    checksum d = *c;
    uint64_t h = d.n;

    memset(d.rest + d.n % 32, 0, 32 - (size_t)(d.n % 32));
    if (d.n % 32) add_block(&d, d.rest);
    for (int i = 0; i < 4; i++) h = stir(h, d.lane[i]);
    return h;
}

/* ---- file -------------------------------------------------------------------------------------------------------- */

static mo_status failed(const gguf_journal *j, mo_error *err)
{
    return mo_fail(err, MO_E_IO, "cannot write '%.300s': %s", j->path, strerror(errno));
}

static bool is_whole_line(const char *line)
{
    const size_t n = strlen(line);

    return n && line[n - 1] == '\n';
}

static mo_status read_sums(const gguf_journal *j, uint64_t stamp, uint64_t **sum, size_t *n, mo_error *err)
{
    char line[LINE_MAX_BYTES];
    uint64_t v;
    size_t cap = 0;
    int end;

    if (!fgets(line, sizeof line, j->f) || !is_whole_line(line) || sscanf(line, "minicpmo part 1 %16" SCNx64 "\n%n", &v, &end) != 1 ||
        v != stamp)
        return MO_OK;
    while (*n < N_MAX && fgets(line, sizeof line, j->f) && strlen(line) == 17 && is_whole_line(line) &&
           sscanf(line, "%16" SCNx64, &v) == 1) {
        if (*n == cap) {
            uint64_t *more = mo_realloc(*sum, (cap = cap ? 2 * cap : 256) * sizeof *more);
            if (!more) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", j->path);
            *sum = more;
        }
        (*sum)[(*n)++] = v;
    }
    return MO_OK;
}

mo_status gguf_journal_open(gguf_journal *j, const char *path, uint64_t stamp, uint64_t **sum, size_t *n, mo_error *err)
{
    int fd;

    *sum = NULL;
    *n = 0;
    if (!(j->path = mo_strdup(path))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) < 0) return failed(j, err);
    if (!(j->f = fdopen(fd, "r+"))) {
        close(fd);
        return mo_fail(err, MO_E_NOMEM, "no memory to write '%.300s'", path);
    }
    return read_sums(j, stamp, sum, n, err);
}

mo_status gguf_journal_keep(gguf_journal *j, uint64_t stamp, const uint64_t *sum, size_t n, mo_error *err)
{
    rewind(j->f);
    if (ftruncate(fileno(j->f), 0) || fprintf(j->f, "minicpmo part 1 %016" PRIx64 "\n", stamp) < 0) return failed(j, err);
    for (size_t i = 0; i < n; i++)
        if (fprintf(j->f, "%016" PRIx64 "\n", sum[i]) < 0) return failed(j, err);
    return fflush(j->f) ? failed(j, err) : MO_OK;
}

mo_status gguf_journal_add(gguf_journal *j, uint64_t sum, mo_error *err)
{
    return fprintf(j->f, "%016" PRIx64 "\n", sum) < 0 || fflush(j->f) ? failed(j, err) : MO_OK;
}

void gguf_journal_close(gguf_journal *j, bool remove_it)
{
    if (j->f) fclose(j->f);
    if (remove_it && j->path) unlink(j->path);
    mo_free(j->path);
    memset(j, 0, sizeof *j);
}
