/* How much memory this machine can give now. */
#ifndef MO_CORE_MEMORY_H
#define MO_CORE_MEMORY_H

#include <stdint.h>

/* Bytes that can be had without swapping: free memory and what the page cache can give back, within the limit of the
 * control group we run in. 0: not known. */
uint64_t memory_available(void);

/* Resident bytes of this process, now and at most so far. 0: not known. */
uint64_t memory_resident(void);
uint64_t memory_resident_peak(void);

#endif
