/* Files (file.h). POSIX. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/memory.h"

/* Open a regular file for reading and tell its size. */
static mo_status open_regular(int *fd, size_t *size, const char *path, mo_error *err)
{
    struct stat sb;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* NONBLOCK: a FIFO must not hang us */
    if (*fd < 0) return mo_fail(err, MO_E_IO, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(*fd, &sb) || !S_ISREG(sb.st_mode)) {
        close(*fd);
        return mo_fail(err, MO_E_IO, "'%s' is not a regular file", path);
    }
    *size = (size_t)sb.st_size;
    return MO_OK;
}

/* Where m->size bytes from a huge page's boundary on may be mapped; addresses only. NULL: wherever there is room. */
static uint8_t *reserve(file_map *m)
{
    size_t n;
    void *p;

    if (m->size < MEMORY_HUGE_PAGE || !mo_size_add(m->size, MEMORY_HUGE_PAGE, &n)) return NULL;
    p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    m->space = p;
    m->n_space = n;
    return (uint8_t *)p + (-(uintptr_t)p & (MEMORY_HUGE_PAGE - 1));
}

/* Every weight is read for every token, at a rate that 4 KiB pages do not allow. Linux keeps files in pieces of up to a huge
 * page where the file system can (ext4 since 6.16, XFS) and the file was written or read in pieces as large; the wish makes
 * reading what is not in memory yet fill it with such. Elsewhere neither does harm. */
mo_status file_map_open(file_map *m, const char *path, mo_error *err)
{
    mo_status st;
    uint8_t *at;
    void *p;
    int fd;

    memset(m, 0, sizeof *m);
    if ((st = open_regular(&fd, &m->size, path, err)) != MO_OK) return st;
    if (m->size) {
        at = reserve(m);
        p = mmap(at, m->size, PROT_READ, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
        if (p == MAP_FAILED) {
            st = mo_fail(err, MO_E_IO, "cannot map '%s' (%zu bytes): %s", path, m->size, strerror(errno));
            file_map_close(m);
        } else {
            m->data = p;
            memory_wish_huge(p, m->size);
        }
    }
    close(fd);
    return st;
}

void file_map_close(file_map *m)
{
    if (m->space) munmap(m->space, m->n_space);
    else if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    memset(m, 0, sizeof *m);
}

void file_map_forget(const file_map *m, const char *path)
{
#if defined(__linux__)
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) return;
    (void)fdatasync(fd); /* what is not on the disk yet is not dropped */
    memory_release(m->data, m->size);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
#else
    (void)m;
    (void)path;
#endif
}

mo_status file_read(char **out, size_t *n, const char *path, size_t limit, mo_error *err)
{
    mo_status st;
    size_t size, at = 0;
    int fd;

    *out = NULL;
    *n = 0;
    if ((st = open_regular(&fd, &size, path, err)) != MO_OK) return st;
    if (size > limit) {
        st = mo_fail(err, MO_E_LIMIT, "'%s' has %zu bytes, more than the %zu allowed here", path, size, limit);
    } else if (!(*out = mo_malloc(size + 1))) {
        st = mo_fail(err, MO_E_NOMEM, "no memory to read '%s' (%zu bytes)", path, size);
    }
    while (st == MO_OK && at < size) {
        ssize_t got = read(fd, *out + at, size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) st = mo_fail(err, MO_E_IO, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0) size = at; /* it shrank while we read */
        if (got > 0) at += (size_t)got;
    }
    close(fd);
    if (st != MO_OK) {
        mo_free(*out);
        *out = NULL;
        return st;
    }
    (*out)[size] = 0;
    *n = size;
    return MO_OK;
}

bool file_exists(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

bool file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *path_join(const char *dir, const char *name)
{
    size_t nd = strlen(dir), nn = strlen(name);
    char *p = mo_malloc(nd + nn + 2);

    if (!p) return NULL;
    memcpy(p, dir, nd);
    p[nd] = '/';
    memcpy(p + nd + 1, name, nn + 1);
    return p;
}

mo_status file_make_parents(const char *path, mo_error *err)
{
    char *p = mo_strdup(path);
    mo_status st = p ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a path");

    for (char *s = p ? strchr(p + 1, '/') : NULL; s && st == MO_OK; s = strchr(s + 1, '/')) {
        *s = 0;
        if (mkdir(p, 0777) && errno != EEXIST) st = mo_fail(err, MO_E_IO, "cannot make the folder '%.300s': %s", p, strerror(errno));
        *s = '/';
    }
    mo_free(p);
    return st;
}
