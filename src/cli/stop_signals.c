/* Asking long work to stop (stop_signals.h). */
#include "cli/stop_signals.h"

static volatile sig_atomic_t stop_requested; /* a signal handler can reach nothing else */

static void request_stop(int sig) { stop_requested = sig; }

const volatile sig_atomic_t *stop_on_signals(void)
{
    struct sigaction a = { .sa_handler = request_stop };

    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGHUP, &a, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not the end of us */
    return &stop_requested;
}
