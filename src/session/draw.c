/* From logits to one id (draw.h).
 *
 * The vocabulary is large (151,748) and the survivors few (about 100), so the passes over all scores are the cost:
 * one to find the k-th largest, one to gather. Both go through blocks of 64 whose members are counted against
 * the threshold first; the count vectorises and almost every block is then skipped.
 */
#include "session/draw.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

#define BLOCK 64

mo_status draw_scratch_open(draw_scratch **out, int32_t n_vocab, mo_error *err)
{
    draw_scratch *s;
    size_t n = (size_t)n_vocab;

    *out = NULL;
    if (n_vocab < 1) return mo_fail(err, MO_E_ARG, "sampling needs a vocabulary of at least one token, got %d", (int)n_vocab);
    if (!(s = mo_zalloc(sizeof *s))) goto nomem;
    s->n_vocab = n_vocab;
    if (!(s->scores = mo_calloc(n, sizeof *s->scores)) || !(s->id = mo_calloc(n, sizeof *s->id)) || !(s->x = mo_calloc(n, sizeof *s->x)) ||
        !(s->p = mo_calloc(n, sizeof *s->p)) || !(s->order = mo_calloc(n, sizeof *s->order)))
        goto nomem;
    *out = s;
    return MO_OK;
nomem:
    draw_scratch_close(s);
    return mo_fail(err, MO_E_NOMEM, "no memory for the sampler's scratch (%d tokens)", (int)n_vocab);
}

void draw_scratch_close(draw_scratch *s)
{
    if (!s) return;
    mo_free(s->scores);
    mo_free(s->id);
    mo_free(s->x);
    mo_free(s->p);
    mo_free(s->order);
    mo_free(s);
}

static int32_t count_above(const float *v, int32_t n, float t)
{
    int32_t c = 0;

    for (int32_t i = 0; i < n; i++) c += v[i] > t;
    return c;
}

static inline int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

/* Index of the first largest, -1 if there is none above -inf. NaN compares false and so never wins. */
static int32_t argmax(const float *v, int32_t n)
{
    int32_t best = -1;
    float top = -INFINITY;

    for (int32_t i0 = 0; i0 < n; i0 += BLOCK) {
        int32_t m = min_i32(BLOCK, n - i0);

        if (!count_above(v + i0, m, top)) continue;
        for (int32_t i = i0; i < i0 + m; i++)
            if (v[i] > top) {
                top = v[i];
                best = i;
            }
    }
    return best;
}

static mo_status nothing_left(mo_error *err)
{
    return mo_fail(err, MO_E_STATE, "no token can be chosen: every logit is -inf or not a number");
}

mo_status draw_argmax(const float *scores, int32_t n, int32_t *id, mo_error *err)
{
    int32_t best = argmax(scores, n);

    if (best < 0) return nothing_left(err);
    *id = best;
    return MO_OK;
}

/* Hoare's selection: afterwards v[0..k) are the k largest and v[k-1] is the k-th. No NaN, 1 <= k <= n. */
static float select_kth(float *v, int32_t n, int32_t k)
{
    int32_t lo = 0, hi = n - 1, at = k - 1;

    while (lo < hi) {
        float a = v[lo], b = v[lo + (hi - lo) / 2], c = v[hi];
        float pivot = a > b ? (b > c ? b : (a > c ? c : a)) : (a > c ? a : (b > c ? c : b));
        int32_t i = lo, j = hi;

        while (i <= j) {
            while (v[i] > pivot) i++;
            while (v[j] < pivot) j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (at <= j) hi = j;
        else if (at >= i) lo = i;
        else break;
    }
    return v[at];
}

/* The k-th largest of v, -inf if fewer than k are above -inf. buf: [n] scratch.
 * A buffer takes what beats the k-th largest so far; when it is full it is cut back to k. */
static float kth_largest(const float *v, int32_t n, int32_t k, float *buf)
{
    int64_t full = 2 * (int64_t)k + BLOCK;
    float t = -INFINITY;
    int32_t len = 0;

    for (int32_t i0 = 0; i0 < n; i0 += BLOCK) {
        int32_t m = min_i32(BLOCK, n - i0);

        if (!count_above(v + i0, m, t)) continue;
        for (int32_t i = i0; i < i0 + m; i++) {
            if (!(v[i] > t)) continue;
            buf[len++] = v[i];
            if (len < full) continue;
            t = select_kth(buf, len, k);
            len = k;
        }
    }
    return len < k ? -INFINITY : select_kth(buf, len, k);
}

static inline float tempered(float score, float temperature)
{
    float x = score / temperature;

    return x > FLT_MAX ? FLT_MAX : x;
}

/* Candidates that top-k leaves, in vocabulary order, with their tempered scores. Returns their number.
 *
 * The reference divides first and compares after. Division keeps the order but may round two scores to one value,
 * which makes a tie with the k-th. So scores within two units in the last place of the k-th are gathered too,
 * and the comparison is made on the quotients: the same ids without dividing the whole vocabulary. */
static int32_t gather(draw_scratch *s, const draw_filter *f)
{
    const float *v = s->scores;
    float kth = -INFINITY, kth_x = -INFINITY, cut = -INFINITY;
    int32_t n = 0;

    if (f->top_k > 0 && f->top_k < s->n_vocab) kth = kth_largest(v, s->n_vocab, f->top_k, s->x);
    if (kth > -INFINITY) {
        kth_x = tempered(kth, f->temperature);
        cut = kth > FLT_MAX ? FLT_MAX : kth;
        cut = (float)((double)cut - fabs((double)cut) * 0x1p-21 - (double)f->temperature * 0x1p-140);
        if (!(cut < kth)) cut = nextafterf(kth, -INFINITY); /* so small that the slack vanished */
    }
    for (int32_t i0 = 0; i0 < s->n_vocab; i0 += BLOCK) {
        int32_t m = min_i32(BLOCK, s->n_vocab - i0);

        if (!count_above(v + i0, m, cut)) continue;
        for (int32_t i = i0; i < i0 + m; i++) {
            float x;

            if (!(v[i] > cut)) continue;
            x = tempered(v[i], f->temperature);
            if (x < kth_x) continue;
            s->id[n] = i;
            s->x[n++] = x;
        }
    }
    return n;
}

/* Of the ties with the k-th (the lowest score that gather let through) keep as many as make k, the lowest ids. */
static int32_t drop_ties(draw_scratch *s, int32_t n, int32_t k)
{
    float kth = INFINITY;
    int32_t n_tie = k, out = 0;

    if (n <= k) return n;
    for (int32_t i = 0; i < n; i++)
        if (s->x[i] < kth) kth = s->x[i];
    for (int32_t i = 0; i < n; i++) n_tie -= s->x[i] > kth;
    for (int32_t i = 0; i < n; i++) {
        if (!(s->x[i] > kth) && n_tie-- <= 0) continue;
        s->id[out] = s->id[i];
        s->x[out++] = s->x[i];
    }
    return out;
}

/* Unnormalised softmax; the sum. */
static double exponentiate(draw_scratch *s, int32_t n)
{
    double sum = 0;
    float top = s->x[0];

    for (int32_t i = 1; i < n; i++)
        if (s->x[i] > top) top = s->x[i];
    for (int32_t i = 0; i < n; i++) sum += s->p[i] = exp((double)s->x[i] - (double)top);
    return sum;
}

/* A total order, best first: higher score, then lower id. Candidates are numbered in vocabulary order. */
static inline bool better(const float *x, int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); }

static inline void swap_i32(int32_t *a, int32_t *b)
{
    int32_t t = *a;

    *a = *b;
    *b = t;
}

/* Does a mass satisfy top-p? */
static inline bool enough(const draw_filter *f, double mass, double need) { return f->top_p_exceeds ? mass > need : mass >= need; }

/* The last candidate, best first, that top-p keeps: the smallest best-first prefix with enough mass ends there.
 *
 * Weighted quickselect: expected O(n), where sorting the whole vocabulary would cost milliseconds. It starts without the
 * unlikely ids: all those below (1 - top_p) / 2n have at most half the mass that may be missing, so the end is not among them. */
static int32_t top_p_last(draw_scratch *s, int32_t n, const draw_filter *f, double sum)
{
    int32_t *o = s->order, lo = 0, hi = 0; /* the end lies in [lo, hi); all before lo are better and have `mass` */
    double mass = 0, need = (double)f->top_p * sum, rare = (1.0 - (double)f->top_p) * sum / (2.0 * n);

    for (int32_t i = 0; i < n; i++)
        if (s->p[i] >= rare) o[hi++] = i;
    while (hi - lo > 16) {
        int32_t mid = lo + (hi - lo) / 2, last = hi - 1, at = lo, pivot;
        double left = 0;

        if (better(s->x, o[mid], o[lo])) swap_i32(&o[mid], &o[lo]); /* median of three to the end */
        if (better(s->x, o[last], o[lo])) swap_i32(&o[last], &o[lo]);
        if (better(s->x, o[mid], o[last])) swap_i32(&o[mid], &o[last]);
        pivot = o[last];
        for (int32_t i = lo; i < last; i++)
            if (better(s->x, o[i], pivot)) {
                left += s->p[o[i]];
                swap_i32(&o[i], &o[at++]);
            }
        swap_i32(&o[at], &o[last]);
        if (at > lo && enough(f, mass + left, need)) {
            hi = at;
            continue;
        }
        mass += left + s->p[pivot];
        if (enough(f, mass, need)) return pivot;
        if (at + 1 == hi) return pivot; /* rounding: the whole mass did not add up to it */
        lo = at + 1;
    }
    for (int32_t i = lo + 1; i < hi; i++)
        for (int32_t j = i; j > lo && better(s->x, o[j], o[j - 1]); j--) swap_i32(&o[j], &o[j - 1]);
    for (int32_t i = lo; i < hi; i++) {
        mass += s->p[o[i]];
        if (enough(f, mass, need)) return o[i];
    }
    return o[hi - 1];
}

static int32_t apply_top_p(draw_scratch *s, int32_t n, const draw_filter *f, double sum)
{
    int32_t last = top_p_last(s, n, f, sum), out = 0;
    float x_last = s->x[last];

    /* Writing out <= i never disturbs what is still to be compared: the last one's score and number are kept aside. */
    for (int32_t i = 0; i < n; i++) {
        float x = s->x[i];

        if (!(x > x_last || (x == x_last && i <= last))) continue;
        s->id[out] = s->id[i];
        s->x[out] = x;
        s->p[out++] = s->p[i];
    }
    return out;
}

static int32_t apply_min_p(draw_scratch *s, int32_t n, double min_p)
{
    int32_t out = 0;

    for (int32_t i = 0; i < n; i++) { /* the best has p = 1, so it stays */
        if (s->p[i] < min_p) continue;
        s->id[out] = s->id[i];
        s->p[out++] = s->p[i];
    }
    return out;
}

mo_status draw_sample(draw_scratch *s, const draw_filter *f, double u, int32_t *id, mo_error *err)
{
    double sum, acc = 0, goal;
    int32_t n = gather(s, f), last = -1;

    if (!n) return nothing_left(err);
    if (f->top_k > 0 && f->top_k_exact) n = drop_ties(s, n, f->top_k);
    sum = exponentiate(s, n);
    if (f->top_p < 1.0f) n = apply_top_p(s, n, f, sum);
    if (f->min_p > 0.0f) n = apply_min_p(s, n, (double)f->min_p);

    sum = 0;
    for (int32_t i = 0; i < n; i++) sum += s->p[i];
    goal = u * sum;
    for (int32_t i = 0; i < n; i++) {
        if (!(s->p[i] > 0)) continue;
        last = i;
        if ((acc += s->p[i]) > goal) break;
    }
    *id = s->id[last]; /* the best has p = 1, so there is one */
    return MO_OK;
}

static double exp_sum(const float *v, int32_t i0, int32_t i1, double top)
{
    double sum = 0;

    for (int32_t i = i0; i < i1; i++)
        if (v[i] > -INFINITY) sum += exp((double)(v[i] > FLT_MAX ? FLT_MAX : v[i]) - top);
    return sum;
}

/* id's interval of [0, 1) begins after all lower ids. The ids from `id` on have mass `right` out of at least 1 (the best
 * one's), so if u falls short of 1 - right the answer is no, and control tokens, which end the vocabulary, make that
 * a handful of exponentials. Only near the interval the whole sum is needed. */
bool draw_would_give(const float *scores, int32_t n, int32_t id, double u)
{
    int32_t best = argmax(scores, n);
    double top, own, left, right;

    if (best < 0 || id < 0 || id >= n) return false;
    top = (double)(scores[best] > FLT_MAX ? FLT_MAX : scores[best]);
    own = exp_sum(scores, id, id + 1, top);
    right = own + exp_sum(scores, id + 1, n, top);
    if (own <= 0 || u < 1.0 - right - 1e-9) return false;
    left = exp_sum(scores, 0, id, top);
    return left <= u * (left + right) && left + own > u * (left + right);
}
