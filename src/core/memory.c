/* Memory figures from /proc and the control groups (memory.h). Linux; elsewhere "not known".
 *
 * Control groups, either version of the kernel's interface: a limit holds for a group and all below it, so the way from ours
 * up to the root is walked. Their counts hold the file cache too, which the kernel takes back before it refuses memory.
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst.
 */
#include "core/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

/* The number after `key` in a file of "key value" lines. */
static uint64_t read_value(const char *path, const char *key)
{
    char line[256];
    uint64_t n = 0;
    FILE *f = fopen(path, "r");

    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key))) continue;
        n = strtoull(line + strlen(key), NULL, 10);
        break;
    }
    fclose(f);
    return n;
}

/* The same of "key: value kB" lines, in bytes. */
static uint64_t read_kb(const char *path, const char *key) { return read_value(path, key) * 1024; }

/* A file that holds one number; "max" and a missing file give UINT64_MAX. */
static uint64_t read_limit(const char *path)
{
    uint64_t n = UINT64_MAX;
    FILE *f = fopen(path, "r");

    if (!f) return n;
    if (fscanf(f, "%" SCNu64, &n) != 1) n = UINT64_MAX;
    fclose(f);
    return n;
}

enum { PATH_BYTES = 1024 };

/* What one interface calls things. */
typedef struct group_files {
    const char *limit, *used, *inactive, *active;
} group_files;

static const group_files version_1 = { "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ", "total_active_file " };
static const group_files version_2 = { "memory.max", "memory.current", "inactive_file ", "active_file " };

/* What one group has left. */
static uint64_t group_room(const char *dir, const group_files *g)
{
    char path[PATH_BYTES + 64];
    uint64_t limit, used, cache;

    snprintf(path, sizeof path, "%s/%s", dir, g->limit);
    if ((limit = read_limit(path)) == UINT64_MAX) return limit;
    snprintf(path, sizeof path, "%s/%s", dir, g->used);
    if ((used = read_limit(path)) == UINT64_MAX) return limit; /* not said */
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    cache = read_value(path, g->inactive) + read_value(path, g->active);
    used = used > cache ? used - cache : 0;
    return limit > used ? limit - used : 0;
}

/* The least of a group and all above it; `dir` is cut as we go, down to n_root bytes. */
static uint64_t walk_up(char *dir, size_t n_root, const group_files *g)
{
    uint64_t least = group_room(dir, g);

    for (size_t n = strlen(dir); n > n_root;) {
        while (n > n_root && dir[n - 1] != '/') n--;
        while (n > n_root && dir[n - 1] == '/') n--;
        dir[n] = 0;
        const uint64_t room = group_room(dir, g);
        if (room < least) least = room;
    }
    return least;
}

/* Whether a comma-separated list names the memory controller. */
static bool has_memory(const char *list, size_t n)
{
    for (const char *p = list, *end = list + n; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const size_t k = (size_t)((comma ? comma : end) - p);
        if (k == 6 && !memcmp(p, "memory", 6)) return true;
        p += k + 1;
    }
    return false;
}

uint64_t memory_group_room(const char *root, const char *membership)
{
    char line[PATH_BYTES], dir[PATH_BYTES * 2];
    uint64_t least = UINT64_MAX;
    FILE *f = fopen(membership, "r");

    if (!f) return least;
    while (fgets(line, sizeof line, f)) { /* "4:memory,hugetlb:/path", or "0::/path" of version 2 */
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        bool one;
        size_t n_root;
        uint64_t room;

        if (!path || !strchr(path, '\n')) continue; /* no such line, or longer than any group's name */
        one = has_memory(list + 1, (size_t)(path - list - 1));
        if (!one && path != list + 1) continue;
        path[1 + strcspn(path + 1, "\n")] = 0;
        n_root = (size_t)snprintf(dir, sizeof dir, "%s%s", root, one ? "/memory" : "");
        if (n_root + strlen(path + 1) >= PATH_BYTES) continue;
        strcpy(dir + n_root, path + 1); /* fits */
        room = walk_up(dir, n_root, one ? &version_1 : &version_2);
        if (room < least) least = room;
    }
    fclose(f);
    return least;
}

uint64_t memory_available(void)
{
    uint64_t n = read_kb("/proc/meminfo", "MemAvailable:");
    uint64_t room = memory_group_room("/sys/fs/cgroup", "/proc/self/cgroup");

    if (n && room < n) n = room ? room : 1; /* 0 would say "not known" */
    return n;
}

uint64_t memory_resident(void) { return read_kb("/proc/self/status", "VmRSS:"); }
uint64_t memory_resident_peak(void) { return read_kb("/proc/self/status", "VmHWM:"); }

void memory_wish_huge(const void *p, size_t n)
{
#if defined(MADV_HUGEPAGE)
    const size_t head = (size_t)(-(uintptr_t)p & (MEMORY_HUGE_PAGE - 1));

    if (n >= head + MEMORY_HUGE_PAGE) (void)madvise((uint8_t *)(uintptr_t)p + head, n - head, MADV_HUGEPAGE);
#else
    (void)p;
    (void)n;
#endif
}

/* Each mapping is a line with its addresses and, below it, lines of "Key: n kB". */
uint64_t memory_huge(const void *p, size_t n, uint64_t *resident)
{
    const uintptr_t from = (uintptr_t)p, to = from + n;
    FILE *f = n ? fopen("/proc/self/smaps", "r") : NULL;
    char line[PATH_BYTES];
    uint64_t huge = 0, any = 0, kb;
    bool inside = false;

    while (f && fgets(line, sizeof line, f)) {
        uintptr_t a, b;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &a, &b) == 2) inside = a >= from && a < to;
        else if (inside && sscanf(line, "Rss: %" SCNu64, &kb) == 1) any += kb * 1024;
        else if (inside && (sscanf(line, "AnonHugePages: %" SCNu64, &kb) == 1 || sscanf(line, "FilePmdMapped: %" SCNu64, &kb) == 1))
            huge += kb * 1024;
    }
    if (f) fclose(f);
    if (resident) *resident = any;
    return huge < n ? huge : n;
}

bool memory_populate(const void *p, size_t n)
{
#if defined(__linux__)
    enum { POPULATE_READ = 22 }; /* MADV_POPULATE_READ, Linux 5.14; C libraries learnt the name later */
    const size_t head = (uintptr_t)p % (size_t)sysconf(_SC_PAGESIZE);

    return !n || !madvise((uint8_t *)(uintptr_t)p - head, n + head, POPULATE_READ);
#else
    (void)p;
    return !n;
#endif
}

void memory_release(const void *p, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
                    to = ((uintptr_t)p + n) / page * page;

    if (from < to) (void)madvise((void *)from, to - from, MADV_DONTNEED);
}
