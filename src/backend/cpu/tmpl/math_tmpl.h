/* Vector functions of float32, written over vec_*.h: exp, the activations, and loads of partial vectors.
 *
 * Polynomials are minimax fits of our own (relative error in the comment), evaluated by Horner. A lane's result depends on
 * that lane only.
 */
#include <math.h>
#include <string.h>

/* n < VL elements, zero behind them */
static inline vf vf_load_n(const float *p, int64_t n)
{
    float t[VL] = { 0 };
    memcpy(t, p, (size_t)n * sizeof *t);
    return vf_load(t);
}

static inline void vf_store_n(float *p, vf a, int64_t n)
{
    float t[VL];
    vf_store(t, a);
    memcpy(p, t, (size_t)n * sizeof *t);
}

/* e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2. Within 1.5 ulp for x in [-87.3, 88.37]; below that exactly 0 (so a
 * masked score of -inf adds nothing), above 88.73 +inf; e^0 is exactly 1. NaN in gives some number: callers never rely on it. */
static inline vf vf_exp(vf x)
{
    /* 1 + r + r^2 Q(r), error 3.1e-9 */
#ifdef VF_SCALE_ABOVE
    const vf n = vf_round(vf_mul(vf_min(x, vf_set1(128.0f)), vf_set1(1.44269504f))), nn = n;
#else
    const vf n = vf_round(vf_mul(x, vf_set1(1.44269504f)));
    const vf nn = vf_max(vf_set1(-126.0f), vf_gt_select(n, vf_set1(127.0f), vf_set1(127.0f), n));
#endif
    /* ln 2 in two parts: n times the first is exact */
    vf r = vf_fma(nn, vf_set1(-0.693359375f), x), p;

    r = vf_fma(nn, vf_set1(2.12194440e-4f), r);
    p = vf_fma(r, vf_set1(0.00138145988f), vf_set1(0.00836871658f));
    p = vf_fma(p, r, vf_set1(0.041668389f));
    p = vf_fma(p, r, vf_set1(0.166665211f));
    p = vf_fma(p, r, vf_set1(0.49999994f));
    p = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set1(1.0f));
#ifdef VF_SCALE_ABOVE
    return vf_scale_above(p, nn, x, -87.33654f);
#else
    p = vf_mul(p, vf_pow2(nn));
    p = vf_gt_select(vf_set1(-87.33654f), x, vf_zero(), p);
    return vf_gt_select(x, vf_set1(88.37626f), vf_set1(INFINITY), p);
#endif
}

/* x / (1 + e^-x) */
static inline vf vf_silu(vf x) { return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x)))); }

/* 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3)  =  x sigmoid(2u): no cancellation for negative x */
static inline vf vf_gelu_tanh(vf x)
{
    const vf x2 = vf_mul(x, x);
    const vf u2 = vf_mul(x, vf_fma(x2, vf_set1(-0.0713548163f), vf_set1(-1.59576912f))); /* -2u */
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(u2)));
}

/* x Phi(x), Phi the normal distribution function. Phi(-a) = e^(-a^2/2) t P(t), t = 1 / (1 + 0.35 a), error 3.2e-8 for a < 13.
 * a^2 is taken with its rounding error (by the fused product), else that error would be amplified by a^2 / 2. */
static inline vf vf_gelu_erf(vf x)
{
    const vf a = vf_abs(x), h = vf_mul(a, a), lo = vf_fma(a, a, vf_sub(vf_zero(), h));
    const vf t = vf_div(vf_set1(1.0f), vf_fma(a, vf_set1(0.35f), vf_set1(1.0f)));
    vf p = vf_fma(t, vf_set1(-0.029108895f), vf_set1(0.14378804f)), e, q;

    p = vf_fma(p, t, vf_set1(-0.255326897f));
    p = vf_fma(p, t, vf_set1(0.158721596f));
    p = vf_fma(p, t, vf_set1(-0.0227904562f));
    p = vf_fma(p, t, vf_set1(0.105369076f));
    p = vf_fma(p, t, vf_set1(0.11986912f));
    p = vf_fma(p, t, vf_set1(0.139856696f));
    p = vf_fma(p, t, vf_set1(0.139621705f));
    e = vf_exp(vf_mul(h, vf_set1(-0.5f)));
    e = vf_fma(e, vf_mul(lo, vf_set1(-0.5f)), e);
    q = vf_mul(vf_mul(e, t), p); /* Phi(-a) */
    return vf_mul(x, vf_gt_select(x, vf_zero(), vf_sub(vf_set1(1.0f), q), q));
}

static inline vf vf_activate(vf x, activation act)
{
    switch (act) {
    case ACT_RELU: return vf_max(x, vf_zero());
    case ACT_SILU: return vf_silu(x);
    case ACT_GELU_ERF: return vf_gelu_erf(x);
    case ACT_GELU_TANH: return vf_gelu_tanh(x);
    case ACT_NONE: break;
    }
    return x;
}
