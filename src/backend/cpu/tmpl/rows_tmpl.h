/* Kernels on one row: epilogue, norms, rotation, elementwise, conversions. Included after math_tmpl.h. */

/* One case per activation, so that the branch is outside the loop; SCALE and ADD are cheap enough inside. */
static inline void epilogue_act(float *y, const float *raw, const float *bias, int64_t n, activation act, float scale, bool accumulate)
{
    const vf s = vf_set1(scale);
    int64_t i = 0;

    for (; i + VL <= n; i += VL) {
        vf a = vf_load(raw + i);
        if (bias) a = vf_add(a, vf_load(bias + i));
        a = vf_mul(vf_activate(a, act), s);
        if (accumulate) a = vf_add(vf_load(y + i), a);
        vf_store(y + i, a);
    }
    if (i < n) {
        vf a = vf_load_n(raw + i, n - i);
        if (bias) a = vf_add(a, vf_load_n(bias + i, n - i));
        a = vf_mul(vf_activate(a, act), s);
        if (accumulate) a = vf_add(vf_load_n(y + i, n - i), a);
        vf_store_n(y + i, a, n - i);
    }
}

static void epilogue_row(float *y, const float *raw, const float *bias, int64_t n, activation act, float scale, bool accumulate)
{
    if (scale == 0) scale = 1;
    switch (act) {
    case ACT_NONE: epilogue_act(y, raw, bias, n, ACT_NONE, scale, accumulate); break;
    case ACT_RELU: epilogue_act(y, raw, bias, n, ACT_RELU, scale, accumulate); break;
    case ACT_SILU: epilogue_act(y, raw, bias, n, ACT_SILU, scale, accumulate); break;
    case ACT_GELU_ERF: epilogue_act(y, raw, bias, n, ACT_GELU_ERF, scale, accumulate); break;
    case ACT_GELU_TANH: epilogue_act(y, raw, bias, n, ACT_GELU_TANH, scale, accumulate); break;
    }
}

/* sum of (x - mean)^2. Four accumulators keep the partial sums short; they and their lanes are added in double. */
static inline double sum_squares(const float *x, int64_t d, float mean)
{
    const vf m = vf_set1(mean);
    vf a[4] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
    float lane[VL];
    double sum = 0;
    int64_t i = 0;

    for (; i + 4 * VL <= d; i += 4 * VL)
        for (int j = 0; j < 4; j++) {
            vf t = vf_sub(vf_load(x + i + j * VL), m);
            a[j] = vf_fma(t, t, a[j]);
        }
    for (int j = 0; j < 4; j++) {
        vf_store(lane, a[j]);
        for (int k = 0; k < VL; k++) sum += lane[k];
    }
    for (; i < d; i++) sum += (double)(x[i] - mean) * (x[i] - mean);
    return sum;
}

static inline double sum_row(const float *x, int64_t d)
{
    vf a[4] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
    float lane[VL];
    double sum = 0;
    int64_t i = 0;

    for (; i + 4 * VL <= d; i += 4 * VL)
        for (int j = 0; j < 4; j++) a[j] = vf_add(a[j], vf_load(x + i + j * VL));
    for (int j = 0; j < 4; j++) {
        vf_store(lane, a[j]);
        for (int k = 0; k < VL; k++) sum += lane[k];
    }
    for (; i < d; i++) sum += x[i];
    return sum;
}

/* y = (x - mean) * inv * g + b; g, b may be NULL */
static inline void normalise(float *y, const float *x, float mean, float inv, const float *g, const float *b, int64_t d)
{
    const vf m = vf_set1(mean), s = vf_set1(inv);
    int64_t i = 0;

    for (; i + VL <= d; i += VL) {
        vf a = vf_mul(vf_sub(vf_load(x + i), m), s);
        if (g) a = vf_mul(a, vf_load(g + i));
        if (b) a = vf_add(a, vf_load(b + i));
        vf_store(y + i, a);
    }
    if (i < d) {
        vf a = vf_mul(vf_sub(vf_load_n(x + i, d - i), m), s);
        if (g) a = vf_mul(a, vf_load_n(g + i, d - i));
        if (b) a = vf_add(a, vf_load_n(b + i, d - i));
        vf_store_n(y + i, a, d - i);
    }
}

static void rms_norm_row(float *y, const float *x, const float *g, int64_t d, float eps)
{
    normalise(y, x, 0, (float)(1.0 / sqrt(sum_squares(x, d, 0) / (double)d + eps)), g, NULL, d);
}

static void layer_norm_row(float *y, const float *x, const float *g, const float *b, int64_t d, float eps)
{
    const float mean = (float)(sum_row(x, d) / (double)d);
    normalise(y, x, mean, (float)(1.0 / sqrt(sum_squares(x, d, mean) / (double)d + eps)), g, b, d);
}

static void rope_row(float *x, const float *cs, const float *sn, int head_dim, rope_style style)
{
    const int h = head_dim / 2;
    float *hi = x + h;
    int i = 0;

    if (style == ROPE_PAIRS) {
        for (; i < h; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cs[i] - b * sn[i];
            x[2 * i + 1] = b * cs[i] + a * sn[i];
        }
        return;
    }
    for (; i + VL <= h; i += VL) {
        vf a = vf_load(x + i), b = vf_load(hi + i), c = vf_load(cs + i), s = vf_load(sn + i);
        vf_store(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)));
        vf_store(hi + i, vf_add(vf_mul(b, c), vf_mul(a, s)));
    }
    for (; i < h; i++) {
        float a = x[i], b = hi[i];
        x[i] = a * cs[i] - b * sn[i];
        hi[i] = b * cs[i] + a * sn[i];
    }
}

static void swiglu_row(float *y, const float *gate, const float *up, int64_t d)
{
    int64_t i = 0;

    for (; i + VL <= d; i += VL) vf_store(y + i, vf_mul(vf_silu(vf_load(gate + i)), vf_load(up + i)));
    if (i < d) vf_store_n(y + i, vf_mul(vf_silu(vf_load_n(gate + i, d - i)), vf_load_n(up + i, d - i)), d - i);
}

static void add_row(float *y, const float *a, const float *b, int64_t d)
{
    int64_t i = 0;

    for (; i + VL <= d; i += VL) vf_store(y + i, vf_add(vf_load(a + i), vf_load(b + i)));
    for (; i < d; i++) y[i] = a[i] + b[i];
}

static void scale_row(float *y, const float *x, float s, int64_t d)
{
    int64_t i = 0;

    for (; i + VL <= d; i += VL) vf_store(y + i, vf_mul(vf_load(x + i), vf_set1(s)));
    for (; i < d; i++) y[i] = x[i] * s;
}

/* A last partial vector of 2-byte elements goes through a copy, so that nothing past the row is read or written. */
#define TO_F32_ROW(name, load)                                                                                                             \
    static void name(float *y, const void *w, int64_t n)                                                                                   \
    {                                                                                                                                      \
        const uint8_t *p = w;                                                                                                              \
        uint8_t t[2 * VL] = { 0 };                                                                                                         \
        int64_t i = 0;                                                                                                                     \
        for (; i + VL <= n; i += VL) vf_store(y + i, load(p + 2 * i));                                                                     \
        if (i == n) return;                                                                                                                \
        memcpy(t, p + 2 * i, 2 * (size_t)(n - i));                                                                                         \
        vf_store_n(y + i, load(t), n - i);                                                                                                 \
    }
TO_F32_ROW(f16_to_f32_row, vf_load_f16)
TO_F32_ROW(bf16_to_f32_row, vf_load_bf16)

static void f32_to_f32_row(float *y, const void *w, int64_t n) { memcpy(y, w, (size_t)n * sizeof *y); }

static void to_f16_row(void *y, const float *x, int64_t n)
{
    uint8_t *p = y, t[2 * VL];
    int64_t i = 0;

    for (; i + VL <= n; i += VL) vf_store_f16(p + 2 * i, vf_load(x + i));
    if (i == n) return;
    vf_store_f16(t, vf_load_n(x + i, n - i));
    memcpy(p + 2 * i, t, 2 * (size_t)(n - i));
}

static void to_q8_0_row(int8_t *y, uint16_t *scale, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 32) {
        vf most = vf_zero(), id;
        float d;
        for (int j = 0; j < 32; j += VL) most = vf_max(most, vf_abs(vf_load(x + i + j)));
        d = vf_hmax(most) / 127;
        scale[i / 32] = f32_to_f16(d);
        id = vf_set1(scale[i / 32] ? 1 / d : 0); /* what rounds to a scale of 0 is all zeros */
        for (int j = 0; j < 32; j += VL) vf_store_i8(y + i + j, vf_mul(vf_load(x + i + j), id));
    }
}
