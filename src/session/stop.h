/* Stop strings over streamed text.
 *
 * Text comes in pieces of any size; a stop string may span them. What could still become a stop string is held back,
 * everything before it is safe to show. The first stop string to be complete ends the text (of several that complete at
 * the same byte, the longest), so the result does not depend on how the text was cut.
 */
#ifndef MO_SESSION_STOP_H
#define MO_SESSION_STOP_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/status.h"

#define STOP_N_MAX     64
#define STOP_BYTES_MAX 4096

typedef struct stop_matcher stop_matcher;

/* n strings (0 is allowed: everything passes), copied. include: the stop string itself is shown too.
 * MO_E_ARG  an empty or overlong string, or too many */
mo_status stop_open(stop_matcher **out, const char *const *stop, size_t n, bool include, mo_error *err);
void stop_close(stop_matcher *m); /* accepts NULL */
void stop_reset(stop_matcher *m); /* as after opening */

/* Append to out what text[0..n) makes safe to show; final: what is held back comes too, unless stopped.
 * Once stopped, further text is swallowed. */
mo_status stop_push(stop_matcher *m, const char *text, size_t n, bool final, buf *out, mo_error *err);

bool stop_hit(const stop_matcher *m);  /* a stop string was complete */
int stop_which(const stop_matcher *m); /* its index, -1 if none */
size_t stop_held_bytes(const stop_matcher *m);

#endif
