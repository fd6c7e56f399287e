/* How much memory this machine can give now, and in which pages. */
#ifndef MO_CORE_MEMORY_H
#define MO_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of x86 and of Arm with 4 KiB pages. Where they are larger nothing is lost but the wish. */
#define MEMORY_HUGE_PAGE ((size_t)2 << 20)

/* Bytes that can be had without swapping: free memory and what the page cache can give back, within what the control groups
 * we run in have left. 0: not known. */
uint64_t memory_available(void);

/* What those control groups have left: their limits, less what they use, file cache not counted. UINT64_MAX: no limit.
 * root: where they are mounted, "/sys/fs/cgroup"; membership: a file like "/proc/self/cgroup". */
uint64_t memory_group_room(const char *root, const char *membership);

/* Resident bytes of this process, now and at most so far. 0: not known. */
uint64_t memory_resident(void);
uint64_t memory_resident_peak(void);

/* Asks for huge pages from the first boundary of one in [p, p + n) on: a wish, that may not come true. */
void memory_wish_huge(const void *p, size_t n);

/* How many of the n bytes from p on this process sees through huge pages now; *resident, if asked for: through any. p, n: of
 * whole mappings (a mapped file, a large block of its own). 0 where the system does not tell. */
uint64_t memory_huge(const void *p, size_t n, uint64_t *resident);

/* Brings the n bytes from p on into memory, from their file if they are mapped; returns when they are there. False: this system
 * cannot, or the file is shorter than it was; they come when they are used. */
bool memory_populate(const void *p, size_t n);

/* Gives back what of a mapped file's n bytes from p on is in this process's memory, whole pages only; they come again when they
 * are used. Nothing but mapped files may be given: memory of other kinds would lose what it holds. */
void memory_release(const void *p, size_t n);

#endif
