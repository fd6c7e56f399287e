/* How much memory this machine can give now. */
#ifndef MO_CORE_MEMORY_H
#define MO_CORE_MEMORY_H

#include <stdint.h>

/* Bytes that can be had without swapping: free memory and what the page cache can give back, within what the control groups
 * we run in have left. 0: not known. */
uint64_t memory_available(void);

/* What those control groups have left: their limits, less what they use, file cache not counted. UINT64_MAX: no limit.
 * root: where they are mounted, "/sys/fs/cgroup"; membership: a file like "/proc/self/cgroup". */
uint64_t memory_group_room(const char *root, const char *membership);

/* Resident bytes of this process, now and at most so far. 0: not known. */
uint64_t memory_resident(void);
uint64_t memory_resident_peak(void);

#endif
