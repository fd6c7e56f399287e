/* minicpmo: MiniCPM-o / MiniCPM-V inference in C. The one public header.
 *
 * The status and error types; the rest of the interface follows below them.
 */
#ifndef MINICPMO_H
#define MINICPMO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MO_API
#else
#define MO_API __attribute__((visibility("default")))
#endif

/* What every call that can fail returns. 0 is success, all errors are negative. */
typedef enum mo_status {
    MO_OK = 0,
    MO_E_ARG = -1,         /* a caller's mistake: NULL, out of range, wrong order of calls */
    MO_E_NOMEM = -2,       /* memory could not be had, or the plan does not fit */
    MO_E_IO = -3,          /* the system refused: open, read, write, map */
    MO_E_FORMAT = -4,      /* a file's bytes are not what they claim to be */
    MO_E_UNSUPPORTED = -5, /* well formed, but this build does not know it */
    MO_E_STATE = -6,       /* not possible now: see the call */
    MO_E_LIMIT = -7,       /* a documented limit was reached: context, input size */
    MO_E_AGAIN = -8,       /* nothing taken or nothing there: step and retry */
    MO_E_INTERRUPTED = -9  /* stopped by mo_session_interrupt() */
} mo_status;

/* One sentence a user can act on, and its class. Filled by the call that failed; a caller may pass NULL. */
typedef struct mo_error {
    mo_status code;
    char message[500];
} mo_error;

/* The short name of a status, "MO_E_FORMAT". Static storage. */
MO_API const char *mo_status_name(mo_status st);

#ifdef __cplusplus
}
#endif
#endif
