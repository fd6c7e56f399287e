/* Ctrl-C and its like for commands with long work: they ask to stop, the work ends where it can be taken up again. */
#ifndef MO_CLI_STOP_SIGNALS_H
#define MO_CLI_STOP_SIGNALS_H

#include <signal.h>

/* From now on SIGINT, SIGTERM and SIGHUP only make the returned number non-zero, and a file that outgrows its limit is a failed
 * write. For the whole process, until it ends. */
const volatile sig_atomic_t *stop_on_signals(void);

#endif
