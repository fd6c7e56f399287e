/* The progress line (progress.h):   writing  [########            ]  41 %  7.7 of 18.8 GB, 512 MB/s, 0:22 left */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 30 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void progress_begin(progress *p, const char *label, uint64_t total_bytes)
{
    *p = (progress){ .label = label, .total = total_bytes, .t_begin_ns = now_ns(), .is_shown = isatty(STDERR_FILENO) };
}

void progress_begin_steps(progress *p, const char *label, uint64_t total, const char *unit)
{
    progress_begin(p, label, total);
    p->unit = unit;
    p->t_drawn_ns = p->t_begin_ns;
}

static void draw_rest(const progress *p, uint64_t done, double part, double s)
{
    double rate = (double)done / s;
    int left = rate > 0 && part < 1 ? (int)((double)(p->total - done) / rate) : 0;

    if (!p->unit)
        fprintf(stderr, "  %.1f of %.1f GB, %.0f MB/s, %d:%02d left \033[K", (double)done * 1e-9, (double)p->total * 1e-9, rate * 1e-6,
                left / 60, left % 60);
    else if (*p->unit != '%') fprintf(stderr, "  %llu of %llu %s \033[K", (unsigned long long)done, (unsigned long long)p->total, p->unit);
    else fputs(" \033[K", stderr);
}

void progress_update(progress *p, uint64_t done)
{
    char bar[BAR_WIDTH + 1];
    int64_t now;
    double part, s;
    int filled;

    if (!p->is_shown || !p->total || (now = now_ns()) - p->t_drawn_ns < 100000000) return;
    p->t_drawn_ns = now;
    part = done < p->total ? (double)done / (double)p->total : 1;
    s = (double)(now - p->t_begin_ns) * 1e-9 + 1e-6;
    filled = (int)(part * BAR_WIDTH);
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r%s  [%s] %3.0f %%", p->label, bar, part * 100);
    draw_rest(p, done, part, s);
    fflush(stderr);
}

void progress_end(progress *p)
{
    if (p->is_shown) fprintf(stderr, "\r\033[K");
}
