/* Memory figures from /proc and the control group (memory.h). Linux; elsewhere "not known". */
#include "core/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number after `key` in a file of "key: value kB" lines, in bytes. */
static uint64_t read_kb(const char *path, const char *key)
{
    char line[256];
    uint64_t kb = 0;
    FILE *f = fopen(path, "r");

    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key))) continue;
        kb = strtoull(line + strlen(key), NULL, 10);
        break;
    }
    fclose(f);
    return kb * 1024;
}

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

uint64_t memory_available(void)
{
    uint64_t n = read_kb("/proc/meminfo", "MemAvailable:");
    uint64_t limit = read_limit("/sys/fs/cgroup/memory.max");

    return n && limit < n ? limit : n;
}

uint64_t memory_resident(void) { return read_kb("/proc/self/status", "VmRSS:"); }
uint64_t memory_resident_peak(void) { return read_kb("/proc/self/status", "VmHWM:"); }
