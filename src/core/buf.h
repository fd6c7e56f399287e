/* Growable byte strings and id lists.
 *
 * Appends report failure once: after a failed append the object is `failed` and further appends do nothing,
 * so a builder checks at its end. Zero-initialise, free with the matching call.
 */
#ifndef MO_CORE_BUF_H
#define MO_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct buf {
    char *data; /* NUL after the last byte, so that it prints; NULL while empty */
    size_t len, cap;
    bool failed; /* an allocation failed: contents are incomplete */
} buf;

void buf_put(buf *b, const void *p, size_t n);
void buf_puts(buf *b, const char *s);
void buf_printf(buf *b, const char *fmt, ...) MO_PRINTF(2, 3);
void buf_clear(buf *b); /* empty, keeps the memory, forgets a failure */
void buf_free(buf *b);

typedef struct ids {
    int32_t *data;
    size_t len, cap;
    bool failed;
} ids;

void ids_put(ids *v, int32_t id);
void ids_put_n(ids *v, const int32_t *id, size_t n);
void ids_clear(ids *v);
void ids_free(ids *v);

#endif
