/* Log-mel frames (audio spec 2.1 - 2.4), the front end of the Whisper encoder.
 *
 *     400 samples x Hann -> FFT of 400 real values -> 201 powers -> 80 sparse Slaney filters -> log10, at least -10
 *
 * The reference computes in float32. We compute in double and round once, which is nearer to the exact value than either the
 * reference or another float32 order of summation, and cannot overflow: the power of any finite float32 is finite.
 *
 * FFT: 400 real values are 200 complex ones (even samples real, odd imaginary), 200 = 4 * 2 * 5 * 5 by Stockham's
 * self-sorting passes (Van Loan, Computational Frameworks for the Fast Fourier Transform, 1.7), then the usual split into the
 * spectra of the even and the odd samples.
 */
#include "media/audio.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"

enum {
    N_BIN = MEL_N_FFT / 2 + 1,              /* 201: 0 to 8000 Hz, 40 Hz apart */
    N_HALF = MEL_N_FFT / 2,                 /* complex FFT length */
    N_WEIGHT_MAX = 512,                     /* 391 non-zero weights with these 80 filters */
    N_FRAME_MAX = MEL_MAX_SAMPLES / MEL_HOP /* 3000 */
};

struct mel_bank {
    double window[MEL_N_FFT];
    double cos_n[MEL_N_FFT], sin_n[MEL_N_FFT]; /* e^(-2 pi i k / 400) = cos_n[k] + i sin_n[k] */
    int16_t bin0[MEL_BANDS], n_bin[MEL_BANDS]; /* filter i covers bins bin0 .. bin0 + n_bin - 1 */
    float weight[N_WEIGHT_MAX];                /* filter after filter */
};

/* --- filters --- */

/* Slaney's scale: linear below 1 kHz (mel 15), logarithmic above. */
static double mel_to_hz(double mel) { return mel < 15 ? 200 * mel / 3 : 1000 * exp((mel - 15) * (log(6.4) / 27)); }

static double band_edge(int i) { return mel_to_hz(i * (15 + 27 * log(8.0) / log(6.4)) / (MEL_BANDS + 1)); }

/* Triangles between edges i, i + 1, i + 2, of equal area; rounded to float32 once, as the reference stores them. */
static void build_filters(mel_bank *m)
{
    int n = 0;

    for (int i = 0; i < MEL_BANDS; i++) {
        double lo = band_edge(i), mid = band_edge(i + 1), hi = band_edge(i + 2);

        m->bin0[i] = 0;
        m->n_bin[i] = 0;
        for (int k = 0; k < N_BIN && n < N_WEIGHT_MAX; k++) {
            double hz = 40.0 * k, up = (hz - lo) / (mid - lo), down = (hi - hz) / (hi - mid);
            double w = fmin(up, down) * 2 / (hi - lo);

            if (w <= 0) continue;
            if (!m->n_bin[i]++) m->bin0[i] = (int16_t)k;
            m->weight[n++] = (float)w;
        }
    }
}

mo_status mel_bank_new(mel_bank **out, mo_error *err)
{
    mel_bank *m = mo_alloc_aligned(sizeof *m);

    *out = m;
    if (!m) return mo_fail(err, MO_E_NOMEM, "no memory for the mel filters");
    for (int i = 0; i < MEL_N_FFT; i++) {
        double a = 2 * M_PI * i / MEL_N_FFT;

        m->cos_n[i] = cos(a);
        m->sin_n[i] = -sin(a);
        m->window[i] = 0.5 * (1 - cos(a)); /* periodic Hann */
    }
    build_filters(m);
    return MO_OK;
}

void mel_bank_free(mel_bank *m) { mo_free(m); }

mo_status mel_filters(float *out, mo_error *err)
{
    const float *w;
    mel_bank *m;
    mo_status st = mel_bank_new(&m, err);

    if (st != MO_OK) return st;
    w = m->weight;
    memset(out, 0, sizeof *out * MEL_BANDS * N_BIN);
    for (int i = 0; i < MEL_BANDS; w += m->n_bin[i++]) memcpy(out + i * N_BIN + m->bin0[i], w, (size_t)m->n_bin[i] * sizeof *w);
    mel_bank_free(m);
    return MO_OK;
}

/* --- FFT of 200 complex values, real and imaginary parts apart so that the inner loops vectorise --- */

typedef struct cvec {
    double re[N_HALF], im[N_HALF];
} cvec;

/* A pass: x holds s interleaved transforms of length r * n_sub; every one is split into r of length n_sub.
 * Output index: q + s * (r * p + k) for input q + s * (p + n_sub * j); twiddle w^(p k), w = e^(-2 pi i / (r n_sub)). */

static void pass2(cvec *restrict y, const cvec *restrict x, const mel_bank *m, int n_sub, int s)
{
    for (int p = 0; p < n_sub; p++) {
        const int i0 = s * p, i1 = s * (p + n_sub), o0 = s * 2 * p, o1 = o0 + s;
        const double c = m->cos_n[2 * s * p], d = m->sin_n[2 * s * p]; /* the table is of 400ths */

        for (int q = 0; q < s; q++) {
            double ar = x->re[i0 + q], ai = x->im[i0 + q], br = x->re[i1 + q], bi = x->im[i1 + q];
            double tr = ar - br, ti = ai - bi;

            y->re[o0 + q] = ar + br;
            y->im[o0 + q] = ai + bi;
            y->re[o1 + q] = tr * c - ti * d;
            y->im[o1 + q] = tr * d + ti * c;
        }
    }
}

static void pass4(cvec *restrict y, const cvec *restrict x, const mel_bank *m, int n_sub, int s)
{
    for (int p = 0; p < n_sub; p++) {
        const double c1 = m->cos_n[2 * s * p], d1 = m->sin_n[2 * s * p];
        const double c2 = m->cos_n[4 * s * p], d2 = m->sin_n[4 * s * p];
        const double c3 = m->cos_n[6 * s * p], d3 = m->sin_n[6 * s * p];
        const int i0 = s * p, di = s * n_sub, o0 = s * 4 * p;

        for (int q = 0; q < s; q++) {
            const double *xr = x->re + i0 + q, *xi = x->im + i0 + q;
            double *yr = y->re + o0 + q, *yi = y->im + o0 + q;
            double ar = xr[0] + xr[2 * di], ai = xi[0] + xi[2 * di], br = xr[0] - xr[2 * di], bi = xi[0] - xi[2 * di];
            double cr = xr[di] + xr[3 * di], ci = xi[di] + xi[3 * di], dr = xr[di] - xr[3 * di], di_ = xi[di] - xi[3 * di];
            double tr, ti;

            yr[0] = ar + cr;
            yi[0] = ai + ci;
            tr = br + di_, ti = bi - dr; /* b - i d */
            yr[s] = tr * c1 - ti * d1;
            yi[s] = tr * d1 + ti * c1;
            tr = ar - cr, ti = ai - ci;
            yr[2 * s] = tr * c2 - ti * d2;
            yi[2 * s] = tr * d2 + ti * c2;
            tr = br - di_, ti = bi + dr; /* b + i d */
            yr[3 * s] = tr * c3 - ti * d3;
            yi[3 * s] = tr * d3 + ti * c3;
        }
    }
}

static void pass5(cvec *restrict y, const cvec *restrict x, const mel_bank *m, int n_sub, int s)
{
    const double c72 = m->cos_n[80], s72 = -m->sin_n[80], c144 = m->cos_n[160], s144 = -m->sin_n[160]; /* 72 and 144 degrees */

    for (int p = 0; p < n_sub; p++) {
        const double *wr = m->cos_n, *wi = m->sin_n;
        const int i0 = s * p, di = s * n_sub, o0 = s * 5 * p, w1 = 2 * s * p;
        const double c1 = wr[w1], d1 = wi[w1], c2 = wr[2 * w1], d2 = wi[2 * w1];
        const double c3 = wr[3 * w1], d3 = wi[3 * w1], c4 = wr[4 * w1], d4 = wi[4 * w1];

        for (int q = 0; q < s; q++) {
            const double *xr = x->re + i0 + q, *xi = x->im + i0 + q;
            double *yr = y->re + o0 + q, *yi = y->im + o0 + q;
            /* sums and differences of the inputs that share a cosine: 1 with 4, 2 with 3 */
            double ar = xr[di] + xr[4 * di], ai = xi[di] + xi[4 * di], br = xr[di] - xr[4 * di], bi = xi[di] - xi[4 * di];
            double cr = xr[2 * di] + xr[3 * di], ci = xi[2 * di] + xi[3 * di];
            double dr = xr[2 * di] - xr[3 * di], ei = xi[2 * di] - xi[3 * di];
            double er = xr[0] + c72 * ar + c144 * cr, fi = xi[0] + c72 * ai + c144 * ci;
            double gr = xr[0] + c144 * ar + c72 * cr, gi = xi[0] + c144 * ai + c72 * ci;
            double hr = s72 * br + s144 * dr, hi = s72 * bi + s144 * ei;
            double kr = s144 * br - s72 * dr, ki = s144 * bi - s72 * ei;
            double tr, ti;

            yr[0] = xr[0] + ar + cr;
            yi[0] = xi[0] + ai + ci;
            tr = er + hi, ti = fi - hr;
            yr[s] = tr * c1 - ti * d1;
            yi[s] = tr * d1 + ti * c1;
            tr = gr + ki, ti = gi - kr;
            yr[2 * s] = tr * c2 - ti * d2;
            yi[2 * s] = tr * d2 + ti * c2;
            tr = gr - ki, ti = gi + kr;
            yr[3 * s] = tr * c3 - ti * d3;
            yi[3 * s] = tr * d3 + ti * c3;
            tr = er - hi, ti = fi + hr;
            yr[4 * s] = tr * c4 - ti * d4;
            yi[4 * s] = tr * d4 + ti * c4;
        }
    }
}

/* Powers of 400 real values, which lie in z as pairs; z is used up. */
static void power_spectrum(double power[N_BIN], cvec *z, const mel_bank *m)
{
    cvec t;

    pass4(&t, z, m, 50, 1);
    pass2(z, &t, m, 25, 4);
    pass5(&t, z, m, 5, 8);
    pass5(z, &t, m, 1, 40);
    /* Z = E + i O, the spectra of the even and the odd samples: E_k = (Z_k + Z*_-k) / 2, O_k = (Z_k - Z*_-k) / 2i,
     * X_k = E_k + w^k O_k. */
    for (int k = 0; k <= N_HALF; k++) {
        int a = k == N_HALF ? 0 : k, b = k ? N_HALF - k : 0;
        double er = 0.5 * (z->re[a] + z->re[b]), ei = 0.5 * (z->im[a] - z->im[b]);
        double or = 0.5 * (z->im[a] + z->im[b]), oi = 0.5 * (z->re[b] - z->re[a]);
        double re = er + or *m->cos_n[k] - oi * m->sin_n[k], im = ei + or *m->sin_n[k] + oi * m->cos_n[k];

        power[k] = re * re + im * im;
    }
}

void mel_frame_log10(const mel_bank *m, const float window[400], float y[80])
{
    const float *w = m->weight;
    double power[N_BIN];
    cvec z;

    for (int i = 0; i < N_HALF; i++) {
        float a = window[2 * i], b = window[2 * i + 1];

        z.re[i] = isfinite(a) ? a * m->window[2 * i] : 0;
        z.im[i] = isfinite(b) ? b * m->window[2 * i + 1] : 0;
    }
    power_spectrum(power, &z, m);
    for (int i = 0; i < MEL_BANDS; i++) {
        double sum = 0;

        for (int k = 0; k < m->n_bin[i]; k++) sum += w[k] * power[m->bin0[i] + k];
        w += m->n_bin[i];
        y[i] = sum > 1e-10 ? (float)log10(sum) : -10.0f;
    }
}

/* --- the offline form --- */

/* Frame t of x zero-padded to 30 s and reflected at both ends. The right end shows in the last two frames only. */
static void padded_frame(const mel_bank *m, float y[MEL_BANDS], const float *x, int64_t n, int64_t t)
{
    const int64_t first = t * MEL_HOP - MEL_N_FFT / 2, last = MEL_MAX_SAMPLES - 1;
    float window[MEL_N_FFT];

    if (first >= 0 && first + MEL_N_FFT <= n) {
        mel_frame_log10(m, x + first, y);
        return;
    }
    for (int64_t i = 0; i < MEL_N_FFT; i++) {
        int64_t at = first + i;

        if (at < 0) at = -at;
        if (at > last) at = 2 * last - at;
        window[i] = at < n ? x[at] : 0;
    }
    mel_frame_log10(m, window, y);
}

mo_status mel_offline(const mel_bank *m, float *mel, const float *x, int64_t n, mo_error *err)
{
    const int64_t n_frame = mel_frames(n), n_value = n_frame * MEL_BANDS;
    float max = -10, floor_, beyond[MEL_BANDS];

    if (n < 1 || n > MEL_MAX_SAMPLES)
        return mo_fail(err, MO_E_ARG, "a piece of sound has 1 to %d samples, not %lld", MEL_MAX_SAMPLES, (long long)n);
    for (int64_t t = 0; t < n_frame; t++) padded_frame(m, mel + t * MEL_BANDS, x, n, t);
    for (int64_t i = 0; i < n_value; i++) max = mel[i] > max ? mel[i] : max;
    /* Two more frames may still touch the sound's end; they are not kept but count for the maximum. The rest is -10. */
    for (int64_t t = n_frame; t < n_frame + 2 && t < N_FRAME_MAX; t++) {
        padded_frame(m, beyond, x, n, t);
        for (int i = 0; i < MEL_BANDS; i++) max = beyond[i] > max ? beyond[i] : max;
    }
    floor_ = max - 8.0f;
    for (int64_t i = 0; i < n_value; i++) mel[i] = ((mel[i] > floor_ ? mel[i] : floor_) + 4.0f) / 4.0f;
    return MO_OK;
}
