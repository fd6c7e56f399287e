/* Errors: one status code and one sentence (status.h). */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

mo_status mo_fail(mo_error *err, mo_status st, const char *fmt, ...)
{
    va_list ap;

    if (!err) return st;
    err->code = st;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return st;
}

mo_status mo_fail_in(mo_error *err, mo_status st, const char *fmt, ...)
{
    char inner[sizeof err->message];
    size_t at, room;
    va_list ap;
    int n;

    if (!err) return st;
    memcpy(inner, err->message, sizeof inner);
    va_start(ap, fmt);
    n = vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n + 3 < sizeof err->message) { /* what does not fit is cut off */
        at = (size_t)n;
        err->message[at++] = ':';
        err->message[at++] = ' ';
        room = sizeof err->message - 1 - at;
        n = (int)strnlen(inner, sizeof inner);
        if ((size_t)n < room) room = (size_t)n;
        memcpy(err->message + at, inner, room);
        err->message[at + room] = 0;
    }
    err->code = st;
    return st;
}

const char *mo_status_name(mo_status st)
{
    switch (st) {
    case MO_OK: return "MO_OK";
    case MO_E_ARG: return "MO_E_ARG";
    case MO_E_NOMEM: return "MO_E_NOMEM";
    case MO_E_IO: return "MO_E_IO";
    case MO_E_FORMAT: return "MO_E_FORMAT";
    case MO_E_UNSUPPORTED: return "MO_E_UNSUPPORTED";
    case MO_E_STATE: return "MO_E_STATE";
    case MO_E_LIMIT: return "MO_E_LIMIT";
    case MO_E_AGAIN: return "MO_E_AGAIN";
    case MO_E_INTERRUPTED: return "MO_E_INTERRUPTED";
    }
    return "unknown status";
}
