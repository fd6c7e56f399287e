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

static inline float act_of_size(int32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

typedef int32_t act4 __attribute__((vector_size(16)));
typedef int8_t act4b __attribute__((vector_size(4)));
typedef int32_t act8 __attribute__((vector_size(32))); /* of each of a chunk's 8 blocks */

static inline act8 act_pick(act8 where, act8 a, act8 b) { return (a & where) | (b & ~where); }

/* Finds the Q_HIGH steps of 4 elements of each block with the largest |x|, what is the largest in them and in the others. |x| are
 * integers here: ordered, NaN above infinity. */
static inline void act_steps(act8 at[Q_HIGH], act8 *largest, act8 *rest, const float *x)
{
    int32_t size[Q_CHUNK], of_step[Q_CHUNK / 4], turned[8][8];
    act8 top[8];

    memcpy(size, x, sizeof size);
    for (int s = 0; s < Q_CHUNK / 4; s++) {
        const int32_t *u = size + 4 * s;
        const int32_t a = u[0] & 0x7fffffff, b = u[1] & 0x7fffffff, c = u[2] & 0x7fffffff, d = u[3] & 0x7fffffff;
        const int32_t ab = a > b ? a : b, cd = c > d ? c : d;
        of_step[s] = ab > cd ? ab : cd;
    }
    for (int s = 0; s < 8; s++)
        for (int b = 0; b < 8; b++) turned[s][b] = of_step[8 * b + s];
    memcpy(top, turned, sizeof top);
    for (int h = 0; h < Q_HIGH; h++) {
        act8 most = top[0];
        at[h] = (act8){ 0 };
        for (int s = 1; s < 8; s++) {
            const act8 more = top[s] > most;
            most = act_pick(more, top[s], most);
            at[h] = act_pick(more, (act8){ 0 } + s, at[h]);
        }
        if (!h) *largest = most;
        for (int s = 0; s < 8; s++) top[s] |= at[h] == s; /* less than any */
    }
    *rest = top[0];
    for (int s = 1; s < 8; s++) *rest = act_pick(top[s] > *rest, top[s], *rest);
}

/* 32 elements whose largest |x| is in one of the Q_HIGH steps: q of those may reach Q_LARGE * 128, others 127 */
static inline float act_scale_block(int32_t *q, int32_t largest, int32_t others, const float *x)
{
    const float amax = act_of_size(largest);
    float rest = act_of_size(others), top = 127;

    if (largest >= 0x7f800000 || amax < 1e-30f) {
        memset(q, 0, 32 * sizeof *q);
        return largest >= 0x7f800000 ? NAN : 0;
    }
    if (rest * (Q_LARGE * 128 / 127.0f) < amax) rest = amax, top = Q_LARGE * 128;
    for (int i = 0; i < 32; i++) {
        const float f = x[i] * (top / rest) + Q_MAGIC;
        memcpy(&q[i], &f, sizeof f);
    }
    for (int i = 0; i < 32; i++) q[i] -= Q_MAGIC_BITS;
    return rest / top;
}

/* q to a high part in the steps at `at` and a low one; what the sums are wanted for */
static inline void act_split(q_act_block *o, int32_t *q, const act8 at[Q_HIGH], const int bias)
{
    memset(o->high, 0, sizeof o->high);
    for (int b = 0; b < 8; b++) {
        for (int h = 0; h < Q_HIGH; h++) {
            const int at_e = 32 * b + 4 * at[h][b];
            act4 low, high;
            act4b bytes;
            memcpy(&low, q + at_e, sizeof low);
            high = (low + 64) >> 7;
            low -= high * 128;
            memcpy(q + at_e, &low, sizeof low);
            bytes = __builtin_convertvector(high, act4b);
            memcpy(o->high_step[b][h], &bytes, 4);
            memcpy(o->high + at_e, &bytes, 4);
            o->at[b][h] = (uint16_t)(at_e * Q_ROWS);
        }
        if (bias) o->times.less[b] = bias * o->a.sum[b];
        else o->times.sum[b] = (float)o->a.sum[b];
    }
    for (int i = 0; i < Q_CHUNK; i++) o->a.q[i] = (int8_t)q[i];
}

static inline __attribute__((always_inline)) void act_pack(void *dst, size_t stride, const float *x, int64_t k, const bool super,
                                                           const int per_sum, const bool wide, const int bias)
{
    for (; k > 0; k -= Q_CHUNK, x += Q_CHUNK, dst = (uint8_t *)dst + stride) {
        int32_t q[Q_CHUNK];
        float last[Q_CHUNK];
        act8 at[Q_HIGH], largest, rest;
        const float *from = x;
        q_act *a = dst;

        if (k < Q_CHUNK) {
            memset(last, 0, sizeof last);
            from = memcpy(last, x, (size_t)k * sizeof *x);
        }
        memset(a, 0, offsetof(q_act, q));
        if (super) {
            a->d[0] = act_scale(q, from, Q_CHUNK);
        } else {
            act_steps(at, &largest, &rest, from);
            for (int b = 0; b < 8; b++) a->d[b] = act_scale_block(q + 32 * b, largest[b], rest[b], from + 32 * b);
        }
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
