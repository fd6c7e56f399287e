/* Drafts by prompt lookup (speculate.h). Idea: Saxena, "Prompt Lookup Decoding" (2023); the expected number of tokens of a pass is
 * equation 1 of Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023). */
#include "session/speculate.h"

#include <string.h>

enum { RATE_MEMORY = 32, TIMES_FORGOTTEN = 256 };

/* What a guess is worth before any was seen, by class of match. */
static const float prior_rate[DRAFT_CLASSES] = { 0.05f, 0.1f, 0.2f, 0.3f, 0.5f };
static const float prior_weight = 2;

/* A row more than what was measured is taken to cost this part of a pass of one: hopeful, so that it is tried once. */
static const double row_cost_hoped = 0.15;

/* Drafts must promise this much more than single tokens: estimates are noisy. */
static const double gain_least = 1.05;

/* What guessing may lose, in passes of one row: at once, and as a part of all that is spent without guessing. */
static const double credit_begin = 2, credit_most = 4, credit_grows = 0.02;

void drafter_init(drafter *d, mo_switch mode, int32_t n_max)
{
    memset(d, 0, sizeof *d);
    d->mode = mode;
    d->credit = credit_begin;
    d->n_max = mode == MO_OFF || n_max < 0 ? 0 : n_max < DRAFT_MAX ? n_max : DRAFT_MAX;
}

void drafter_begin(drafter *d) { d->n_guess = d->n_fed = d->n_seen = 0; }

/* ---- looking up ------------------------------------------------------------------------------------------------- */

/* How many tokens up to position i agree with those up to position n, whose last is id. 0 unless key[i] == id. */
static int32_t match_length(const int64_t *key, int32_t n, int32_t id, int32_t i)
{
    int32_t m = 1;

    if (key[i] != id) return 0;
    while (m < DRAFT_MATCH_MAX && m <= i && key[i - m] == key[n - m] && key[i - m] <= INT32_MAX) m++;
    return m;
}

/* The position that followed the best earlier occurrence; 0: none. */
static int32_t look_up(const int64_t *key, int32_t n, int32_t id, int32_t *match)
{
    int32_t at = 0;

    *match = 0;
    for (int32_t i = n - 1; i >= 0 && *match < DRAFT_MATCH_MAX; i--) {
        int32_t m = match_length(key, n, id, i);
        if (m <= *match) continue;
        *match = m;
        at = i + 1;
    }
    return at;
}

static bool is_end(int32_t id, const int32_t *end, int n_end)
{
    for (int i = 0; i < n_end; i++)
        if (end[i] == id) return true;
    return false;
}

/* What followed position `at` - 1. The text may go on into what is being guessed: then it repeats itself. */
static int32_t guess(drafter *d, const int64_t *key, int32_t n, int32_t id, int32_t at, const int32_t *end, int n_end)
{
    int32_t k;

    for (k = 0; k < d->n_max; k++) {
        int32_t i = at + k;
        int64_t x = i < n ? key[i] : i == n ? id : d->token[i - n - 1];
        if (x > INT32_MAX || is_end((int32_t)x, end, n_end)) break;
        d->token[k] = (int32_t)x;
    }
    return k;
}

int32_t drafter_propose(drafter *d, const int64_t *key, int32_t n, int32_t id, int32_t n_limit, const int32_t *end, int n_end)
{
    int32_t at;

    drafter_begin(d);
    if (!d->n_max || !(at = look_up(key, n, id, &d->match))) return 0;
    d->n_guess = guess(d, key, n, id, at, end, n_end);
    d->n_fed = drafter_length(d, d->match, d->n_guess < n_limit ? d->n_guess : n_limit);
    return d->n_fed;
}

/* ---- what pays -------------------------------------------------------------------------------------------------- */

static int class_of(int32_t match) { return match < 4 ? match - 1 : match < DRAFT_MATCH_MAX ? 3 : 4; }

static double rate_of(const drafter *d, int c) { return (d->right[c] + prior_rate[c] * prior_weight) / (d->tried[c] + prior_weight); }

/* What a pass of so many rows takes: measured, or between and beyond what was measured. ms[1] is known. */
static double pass_ms(const drafter *d, int32_t n_row)
{
    int32_t lo = n_row, hi = n_row;
    double slope;

    while (!(d->ms[lo] > 0)) lo--;
    while (hi <= DRAFT_MAX + 1 && !(d->ms[hi] > 0)) hi++;
    if (lo == n_row) return d->ms[lo];
    if (hi <= DRAFT_MAX + 1) return d->ms[lo] + (d->ms[hi] - d->ms[lo]) * (n_row - lo) / (hi - lo);
    slope = lo > 1 ? (d->ms[lo] - d->ms[1]) / (lo - 1) : row_cost_hoped * d->ms[1];
    return d->ms[lo] + slope * (n_row - lo);
}

int32_t drafter_length(const drafter *d, int32_t match, int32_t n_guess)
{
    double best, n_token = 1, power = 1, rate;
    int32_t k_best = 0;

    if (n_guess < 1 || match < 1) return 0;
    if (d->mode == MO_ON) return match >= DRAFT_MATCH_SURE ? n_guess : 0;
    if (!(d->ms[1] > 0) || d->credit <= 0) return 0;
    best = gain_least / d->ms[1];
    rate = rate_of(d, class_of(match));
    for (int32_t k = 1; k <= n_guess; k++) {
        n_token += power *= rate;
        if (n_token / pass_ms(d, k + 1) <= best) continue;
        best = n_token / pass_ms(d, k + 1);
        k_best = k;
    }
    return k_best;
}

static void earn(drafter *d, double passes)
{
    d->credit += passes;
    if (d->credit > credit_most) d->credit = credit_most;
    if (d->credit < -credit_most) d->credit = -credit_most; /* a pass that something else held up is not held against it for long */
}

void drafter_took(drafter *d, int32_t n_fed, double ms)
{
    double *t = &d->ms[n_fed + 1];

    if (++d->n_pass == TIMES_FORGOTTEN) { /* one that something else disturbed would never be measured again */
        for (int32_t i = 2; i <= DRAFT_MAX + 1; i++) d->ms[i] = 0;
        d->n_pass = 0;
    }
    if (!(*t > 0)) *t = ms;
    else *t += 0.25 * ((ms < 2 * *t ? ms : 2 * *t) - *t);
    if (!n_fed) earn(d, credit_grows);
    else if (d->ms[1] > 0) earn(d, 1 - *t / d->ms[1]);
}

bool drafter_saw(drafter *d, int32_t id)
{
    int32_t i = d->n_seen++;
    bool right = i < d->n_guess && d->token[i] == id;
    int c = class_of(d->match);

    if (i >= d->n_guess || i > d->n_fed) return false;
    d->tried[c] += 1;
    d->right[c] += right;
    if (d->tried[c] > RATE_MEMORY) {
        d->tried[c] /= 2;
        d->right[c] /= 2;
    }
    if (!right || i == d->n_fed) return false;
    earn(d, 1); /* a pass saved */
    return true;
}
