/* A progress line on stderr: drawn only when stderr is a terminal, at most ten times a second.
 *
 *     progress p;
 *     progress_begin(&p, "writing", n_bytes);
 *     while (...) progress_update(&p, done);
 *     progress_end(&p);
 */
#ifndef MO_CLI_PROGRESS_H
#define MO_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    const char *label; /* stays the caller's */
    uint64_t total;
    const char *unit; /* of total; NULL: bytes, shown with their rate */
    int64_t t_begin_ns, t_drawn_ns;
    bool is_shown;
} progress;

void progress_begin(progress *p, const char *label, uint64_t total_bytes);
/* The same for other things than bytes: "%" or "tiles". Shows nothing for what takes less than a tenth of a second. */
void progress_begin_steps(progress *p, const char *label, uint64_t total, const char *unit);
void progress_update(progress *p, uint64_t done); /* from one thread at a time */
void progress_end(progress *p);                   /* takes the line away; accepts a zeroed one */

#endif
