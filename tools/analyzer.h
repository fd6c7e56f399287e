/* Included before every file by tools/lint.sh, for clang-tidy alone. It sees one file at a time and would think that
 * mo_fail() may return MO_OK, and so warn of every pointer that the failure left NULL. */
#include "core/status.h"

#define mo_fail(err, st, ...)    ((void)mo_fail(err, st, __VA_ARGS__), (st))
#define mo_fail_in(err, st, ...) ((void)mo_fail_in(err, st, __VA_ARGS__), (st))
