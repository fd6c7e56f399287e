/* Activations to int8 chunks (q_act). Plain loops; the compiler makes vectors of them. */

/* n elements with one scale; q of 32 bits, so that the loops vectorise */
static float act_scale(int32_t *q, const float *x, int n)
{
    int32_t u[Q_CHUNK], top = 0;
    float amax, id;

    memcpy(u, x, (size_t)n * sizeof *u);
    for (int i = 0; i < n; i++) {
        int32_t a = u[i] & 0x7fffffff; /* |x|: ordered as integers, NaN above infinity */
        top = a > top ? a : top;
    }
    memcpy(&amax, &top, sizeof amax);
    if (top >= 0x7f800000 || amax < 1e-30f) {
        memset(q, 0, (size_t)n * sizeof *q);
        return top >= 0x7f800000 ? NAN : 0;
    }
    id = 127 / amax;
    for (int i = 0; i < n; i++) {
        float f = x[i] * id + Q_MAGIC;
        memcpy(&u[i], &f, sizeof f);
    }
    for (int i = 0; i < n; i++) q[i] = u[i] - Q_MAGIC_BITS;
    return amax / 127;
}

/* Sums of per_sum elements each, and the largest of their magnitudes (ACT_REACH) */
static inline __attribute__((always_inline)) void act_sums(q_act *a, const int32_t *q, const bool super, const int per_sum)
{
    int32_t reach = 0;

    for (int i = 0; i < Q_CHUNK / per_sum; i++, q += per_sum) {
        int32_t s = 0, b = 0;
        for (int e = 0; e < per_sum; e++) {
            s += q[e];
            b += q[e] < 0 ? -q[e] : q[e];
        }
        a->sum[i] = (int16_t)s;
        reach = b > reach ? b : reach;
    }
    if (super) a->d[ACT_REACH] = (float)reach;
}

/* |x| as an integer: ordered, NaN above infinity */
static inline int32_t act_size(float x)
{
    int32_t u;
    memcpy(&u, &x, sizeof u);
    return u & 0x7fffffff;
}
static inline float act_of_size(int32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Finds the Q_HIGH largest steps of 32 elements: where they begin, what is the largest in them and in the others */
static void act_steps(uint8_t *at, int32_t *largest, int32_t *rest, const float *x)
{
    int32_t top[8];

    for (int s = 0; s < 8; s++) {
        const int32_t a = act_size(x[4 * s]), b = act_size(x[4 * s + 1]), c = act_size(x[4 * s + 2]), d = act_size(x[4 * s + 3]);
        const int32_t ab = a > b ? a : b, cd = c > d ? c : d;
        top[s] = ab > cd ? ab : cd;
    }
    *largest = *rest = 0;
    for (int h = 0; h < Q_HIGH; h++) {
        int best = 0;
        for (int s = 1; s < 8; s++) best = top[s] > top[best] ? s : best;
        at[h] = (uint8_t)(4 * best);
        if (!h) *largest = top[best];
        top[best] = -1;
    }
    for (int s = 0; s < 8; s++) *rest = top[s] > *rest ? top[s] : *rest;
}

/* 32 elements: q of the steps at `at` may reach Q_LARGE * 128, others 127 */
static float act_scale_block(int32_t *q, uint8_t *at, const float *x)
{
    int32_t largest, others;
    float amax, rest, top;

    act_steps(at, &largest, &others, x);
    amax = act_of_size(largest);
    rest = act_of_size(others);
    if (largest >= 0x7f800000 || amax < 1e-30f) {
        memset(q, 0, 32 * sizeof *q);
        return largest >= 0x7f800000 ? NAN : 0;
    }
    top = 127;
    if (rest * (Q_LARGE * 128 / 127.0f) < amax) rest = amax, top = Q_LARGE * 128;
    for (int i = 0; i < 32; i++) {
        const float f = x[i] * (top / rest) + Q_MAGIC;
        memcpy(&q[i], &f, sizeof f);
    }
    for (int i = 0; i < 32; i++) q[i] -= Q_MAGIC_BITS;
    return rest / top;
}

/* q to a high part in the steps at `at` and a low one; what the sums are wanted for */
static inline void act_split(q_act_block *b, int32_t *q, uint8_t at[8][Q_HIGH], const int bias)
{
    memset(b->high, 0, sizeof b->high);
    for (int i = 0; i < 8; i++) {
        for (int h = 0; h < Q_HIGH; h++) {
            const int at_e = 32 * i + at[i][h];
            for (int e = at_e; e < at_e + 4; e++) {
                b->high[e] = (int8_t)((q[e] + 64) >> 7);
                q[e] -= b->high[e] * 128;
            }
            memcpy(b->high_step[i][h], &b->high[at_e], 4);
            b->at[i][h] = (uint16_t)(at_e * Q_ROWS);
        }
        if (bias) b->times.less[i] = bias * b->a.sum[i];
        else b->times.sum[i] = (float)b->a.sum[i];
    }
    for (int i = 0; i < Q_CHUNK; i++) b->a.q[i] = (int8_t)q[i];
}

static inline __attribute__((always_inline)) void act_pack(void *dst, size_t stride, const float *x, int64_t k, const bool super,
                                                           const int per_sum, const bool wide, const int bias)
{
    for (int64_t k0 = 0; k0 < k; k0 += Q_CHUNK, dst = (uint8_t *)dst + stride) {
        const int n = k - k0 < Q_CHUNK ? (int)(k - k0) : Q_CHUNK;
        int32_t q[Q_CHUNK];
        uint8_t at[8][Q_HIGH] = { 0 };
        q_act *a = dst;

        memset(a, 0, offsetof(q_act, q));
        if (n < Q_CHUNK) memset(q, 0, sizeof q);
        if (super) a->d[0] = act_scale(q, x + k0, n);
        else
            for (int i = 0; i < n / 32; i++) a->d[i] = act_scale_block(q + 32 * i, at[i], x + k0 + 32 * i);
        act_sums(a, q, super, per_sum);
        if (!super && !wide) act_split(dst, q, at, bias);
        else if (wide)
            for (int i = 0; i < Q_CHUNK; i++) ((q_act_wide *)dst)->q[i] = (int16_t)q[i];
        else
            for (int i = 0; i < Q_CHUNK; i++) a->q[i] = (int8_t)q[i];
    }
}

#define ACT_PACK(name, super, per_sum, wide, bias)                                                                                         \
    static void name(void *dst, size_t stride, const float *x, int64_t k) { act_pack(dst, stride, x, k, super, per_sum, wide, bias); }
ACT_PACK(pack_block, false, 32, false, 0)
ACT_PACK(pack_block_8, false, 32, false, 8)
ACT_PACK(pack_block_16, false, 32, false, 16)
#if Q_SIGNED_BIAS
ACT_PACK(pack_block_128, false, 32, false, 128)
#else
#define pack_block_128 pack_block
#endif
ACT_PACK(pack_super_32, true, 32, false, 0)
ACT_PACK(pack_super_16, true, 16, false, 0)
#if Q_WIDE_SIGNED
ACT_PACK(pack_block_wide, false, 32, true, 0)
ACT_PACK(pack_super_32_wide, true, 32, true, 0)
#else
#define pack_block_wide    NULL
#define pack_super_32_wide pack_super_32
#endif
