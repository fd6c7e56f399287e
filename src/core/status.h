/* Errors: one status code and one sentence. Nothing in the library exits, aborts or prints. */
#ifndef MO_CORE_STATUS_H
#define MO_CORE_STATUS_H

#include "minicpmo.h"

#if defined(__GNUC__)
#define MO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MO_PRINTF(fmt, args)
#endif

/* Write code and sentence to err (may be NULL) and return the code: `return mo_fail(err, MO_E_IO, "...")`. */
mo_status mo_fail(mo_error *err, mo_status st, const char *fmt, ...) MO_PRINTF(3, 4);

/* Put "what: " before err's sentence, so that an inner error tells where it happened. Returns st. */
mo_status mo_fail_in(mo_error *err, mo_status st, const char *fmt, ...) MO_PRINTF(3, 4);

#endif
