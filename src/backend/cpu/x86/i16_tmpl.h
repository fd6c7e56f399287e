/* Matrix products in 16-bit block fixed point: the reduced precision of cpu_backend_opts.fast where bf16 arithmetic is missing or
 * slow. An instruction makes 16 products (VPMADDWD, AVX2) or 32 (VPDPWSSD, AVX-512 VNNI) where a float32 FMA makes half as many.
 * On AVX2 the price is an addition of its own, which leaves 1.6 times the rate of FMA on Zen 4.
 *
 * Of each row, weights' and activations', every I16_BLOCK elements of k share a scale:
 *
 *      w = dw * qw, |qw| <= 8191             dw = max|w| / 8191
 *      x = dx * qx, |qx| <= 32767            dx = the larger of max|x| / 32767 and (the largest lane's sum |x|) / X_LANE
 *
 * A lane of the int32 accumulator gets I16_BLOCK / VL = 64 products of a block, so |lane| <= 8191 * sum |qx| < 2^31: the second
 * bound on dx is what rules overflow out, whatever the data, and leaves an outlier all 15 bits. At the end of a block a lane
 * becomes a float and  acc += (lane * dx) * dw  joins the float lanes. All of it is exact but the two roundings to 16 bits
 * (halves of dw and dx: 2^-14 of the block's largest weight; of activations 2^-16 of the largest, at most 2^-13 where all
 * are alike), one rounding to float a block and the float sum.  bf16 pairs: 2^-9 of each factor.
 *
 * A panel's block is [step][row][STEP] int16, then [row][VL] floats, the scale. Within a step elements lie as VPACKSSDW leaves
 * them, on both sides alike. Few rows take the same way, block by block through L1, so they have the same bits.
 * A block with a NaN or an infinity gives NaN; one whose largest magnitude is below about 1e-30 counts as zero.
 *
 * Included by a file per instruction set, after its vec file and these:
 *     vi, vi_store, vi_zero, vi_to_f      VL 32-bit or 2 VL 16-bit integers
 *     quantize(lo, hi, s)                 a step of elements times s as int16, VPACKSSDW's order
 *     lane_sums(lo, hi)                   sums of the two elements of each lane in that order
 *     bits_max16, bits_max32(m, p)        running largest magnitude of the step at p, as bits: they order like the numbers, NaN above all
 *     fold16, fold32(m)                   the largest of m's 128-bit parts, element by element
 *     tile_steps(a, w, x, steps, n)       the integer sums of a TILE_W x n tile
 */
enum {
    STEP = 2 * VL,
    STEP_BYTES = 2 * STEP,
    I16_BLOCK = 64 * VL,
    BLOCK_STEPS = I16_BLOCK / STEP,
    SCALE_BYTES = 4 * VL,
    W_MAX = 8191,
    X_MAX = 32767,
    X_LANE = (1 << 18) - 64 /* room for the roundings of 64 elements, a half each, twice over */
};
_Static_assert((X_LANE + 48LL) * W_MAX < 1LL << 31, "a lane holds a block");

typedef vf (*load_fn)(const void *p);

INLINE int steps_of(int64_t k) { return (int)(k >= I16_BLOCK ? BLOCK_STEPS : (k + STEP - 1) / STEP); }

/* The scale of a block as both ways need it: to integers and back. */
typedef struct block_scale {
    float to, from;
} block_scale;

INLINE block_scale scale_of(float from)
{
    if (!(from < INFINITY)) return (block_scale){ 0, NAN };
    return from < 1e-30f / X_MAX ? (block_scale){ 0, 0 } : (block_scale){ 1 / from, from };
}

/* ---- activations ---- */

/* Bounds of a block of x: lanes as the accumulator will have them */
INLINE block_scale x_scale(const float *x, int64_t k, const float *tail)
{
    vf lo = vf_zero(), hi = lo, most = lo, lane;
    int64_t i = 0;
    float from;

    for (; i + STEP <= k; i += STEP) {
        const vf a = vf_abs(vf_load(x + i)), b = vf_abs(vf_load(x + i + VL));
        lo = vf_add(lo, a);
        hi = vf_add(hi, b);
        most = vf_max(most, vf_max(a, b));
    }
    if (i < k) {
        const vf a = vf_abs(vf_load(tail)), b = vf_abs(vf_load(tail + VL));
        lo = vf_add(lo, a);
        hi = vf_add(hi, b);
        most = vf_max(most, vf_max(a, b));
    }
    lane = lane_sums(lo, hi);
    from = fmaxf(vf_hmax(most) / X_MAX, vf_hmax(lane) / X_LANE);
    return scale_of(vf_hsum(lane) < INFINITY ? from : NAN); /* maxima lose a NaN, sums do not */
}

/* Element steps of one row go `stride` bytes apart, its scale to `scale`. */
INLINE void pack_x_block(uint8_t *o, int64_t stride, uint8_t *scale, const float *x, int64_t k)
{
    float tail[STEP] = { 0 };
    int64_t i = 0;
    block_scale d;
    vf s;

    if (k % STEP) memcpy(tail, x + k / STEP * STEP, (size_t)(k % STEP) * sizeof *tail);
    d = x_scale(x, k, tail);
    s = vf_set1(d.to);
    for (; i + STEP <= k; i += STEP, o += stride) vi_store(o, quantize(vf_load(x + i), vf_load(x + i + VL), s));
    if (i < k) vi_store(o, quantize(vf_load(tail), vf_load(tail + VL), s));
    vf_store(scale, vf_set1(d.from));
}

static void pack_x(void *panel, const float *x, int64_t ldx, int n, int64_t k)
{
    uint8_t *o = panel;

    for (; k > 0; k -= I16_BLOCK, x += I16_BLOCK) {
        uint8_t *scale = o + steps_of(k) * n * STEP_BYTES;
        for (int r = 0; r < n; r++)
            pack_x_block(o + r * STEP_BYTES, (int64_t)n * STEP_BYTES, scale + r * SCALE_BYTES, x + r * ldx, k < I16_BLOCK ? k : I16_BLOCK);
        o = scale + n * SCALE_BYTES;
    }
}

/* ---- weights ---- */

INLINE uint32_t hmax16(vi m)
{
    return 0xffff ^ (uint32_t)_mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(fold16(m), _mm_set1_epi16(-1))), 0);
}
INLINE uint32_t hmax32(vi m)
{
    __m128i a = fold32(m);
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}
INLINE float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
INLINE float f32_max(vi m) { return from_bits(hmax32(m)); }
INLINE float f16_max(vi m) { return _cvtsh_ss((unsigned short)hmax16(m)); }
INLINE float bf16_max(vi m) { return from_bits(hmax16(m) << 16); }

/* One block of one weight row; `elem` bytes an element, everything constant but k. */
INLINE void pack_w_block(uint8_t *o, uint8_t *scale, const uint8_t *w, int64_t k, const int elem, load_fn load,
                         vi (*bits)(vi, const void *), float (*most)(vi))
{
    vi m = vi_zero();
    uint8_t tail[STEP * 4] = { 0 };
    const uint8_t *end = w + k / STEP * STEP * elem;
    block_scale d;
    vf s;

    if (k % STEP) memcpy(tail, end, (size_t)(k % STEP * elem));
    for (const uint8_t *p = w; p < end; p += STEP * elem) {
        __builtin_prefetch(p + I16_BLOCK * elem);
        m = bits(m, p);
    }
    if (k % STEP) m = bits(m, tail);
    d = scale_of(most(m) / W_MAX);
    s = vf_set1(d.to);
    for (; w < end; w += STEP * elem, o += TILE_W * STEP_BYTES) vi_store(o, quantize(load(w), load(w + VL * elem), s));
    if (k % STEP) vi_store(o, quantize(load(tail), load(tail + VL * elem), s));
    vf_store(scale, vf_set1(d.from));
}

/* The same block of n <= TILE_W rows; missing rows are zero. Returns where the panel's next block begins. */
INLINE uint8_t *pack_w_rows(uint8_t *o, const uint8_t *w, size_t row_bytes, int n, int64_t k, const int elem, load_fn load,
                            vi (*bits)(vi, const void *), float (*most)(vi))
{
    const int steps = steps_of(k);
    uint8_t *scale = o + steps * TILE_W * STEP_BYTES;

    if (n < TILE_W) memset(o, 0, (size_t)(steps * TILE_W * STEP_BYTES + TILE_W * SCALE_BYTES));
    for (int j = 0; j < n; j++)
        pack_w_block(o + j * STEP_BYTES, scale + j * SCALE_BYTES, w + (size_t)j * row_bytes, k < I16_BLOCK ? k : I16_BLOCK, elem, load,
                     bits, most);
    return scale + TILE_W * SCALE_BYTES;
}

/* ---- tile ---- */

/* One block: `steps` steps of a TILE_W x n tile, from + block -> acc. */
INLINE void tile_block(float *acc, const float *from, const uint8_t *w, const uint8_t *x, int steps, const int n)
{
    vi a[TILE_X][TILE_W];

    tile_steps(a, w, x, steps, n);
    w += steps * TILE_W * STEP_BYTES;
    x += steps * n * STEP_BYTES;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_W; j++) {
            const vf part = vf_mul(vi_to_f(a[i][j]), vf_load(x + i * SCALE_BYTES));
            vf_store(acc + (i * TILE_W + j) * VL, vf_fma(part, vf_load(w + j * SCALE_BYTES), vf_load(from + (i * TILE_W + j) * VL)));
        }
}

INLINE void tile_n(float *acc, const uint8_t *w, const uint8_t *x, int64_t n_step, const int n, bool first, float *out, int64_t ldo)
{
    static const float zeros[TILE_X * TILE_W * VL];
    const float *from = first ? zeros : acc;

    for (; n_step > 0; n_step -= BLOCK_STEPS, from = acc) {
        const int steps = n_step < BLOCK_STEPS ? (int)n_step : BLOCK_STEPS;
        tile_block(acc, from, w, x, steps, n);
        w += TILE_W * (steps * STEP_BYTES + SCALE_BYTES);
        x += n * (steps * STEP_BYTES + SCALE_BYTES);
    }
    if (!out) return;
    for (int i = 0; i < n; i++, acc += TILE_W * VL)
        vf_hsum4(out + i * ldo, vf_load(acc), vf_load(acc + VL), vf_load(acc + 2 * VL), vf_load(acc + 3 * VL));
}

static void tile(float *acc, const void *w, const void *x, int64_t n_step, int n, bool first, float *out, int64_t ldo)
{
    if (MO_INSTRUMENTED) tile_n(acc, w, x, n_step, n, first, out, ldo);
    else if (n == 1) tile_n(acc, w, x, n_step, 1, first, out, ldo);
    else if (n == 2) tile_n(acc, w, x, n_step, 2, first, out, ldo);
    else if (n == 3) tile_n(acc, w, x, n_step, 3, first, out, ldo);
    else if (n == 4) tile_n(acc, w, x, n_step, TILE_X > 3 ? 4 : 1, first, out, ldo);
    else if (n == 5) tile_n(acc, w, x, n_step, TILE_X > 3 ? 5 : 1, first, out, ldo);
    else tile_n(acc, w, x, n_step, TILE_X > 3 ? 6 : 1, first, out, ldo);
}

/* Few rows: each block of TILE_W weight rows becomes a panel in L1, and every row of x is a tile of one row on it. */
INLINE void matvec(float *out, int64_t ldo, const uint8_t *w, size_t row_bytes, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                   int64_t k, const int elem, load_fn load, vi (*bits)(vi, const void *), float (*most)(vi))
{
    _Alignas(64) uint8_t panel[TILE_W * (BLOCK_STEPS * STEP_BYTES + SCALE_BYTES)];
    _Alignas(64) float acc[TILE_X][TILE_W * VL];

    for (int64_t r = 0; r < n_row; r += TILE_W, w += TILE_W * row_bytes) {
        const int nw = (int)(n_row - r < TILE_W ? n_row - r : TILE_W);
        const uint8_t *xb = x;
        for (int64_t i = 0; i < k; i += I16_BLOCK, xb += BLOCK_STEPS * STEP_BYTES + SCALE_BYTES) {
            pack_w_rows(panel, w + i * elem, row_bytes, nw, k - i, elem, load, bits, most);
            for (int m = 0; m < n; m++) tile_n(acc[m], panel, xb + (size_t)m * ldx, steps_of(k - i), 1, i == 0, NULL, 0);
        }
        for (int m = 0; m < n; m++) {
            const float *a = acc[m];
            float sum[TILE_W];
            vf_hsum4(sum, vf_load(a), vf_load(a + VL), vf_load(a + 2 * VL), vf_load(a + 3 * VL));
            memcpy(out + m * ldo + r, sum, (size_t)nw * sizeof *sum);
        }
    }
}

#define WEIGHT_TYPE(NAME, LABEL, ELEM, LOAD, BITS)                                                                                         \
    static void pack_w_##NAME(void *panel, const void *w, size_t row_bytes, int n, int64_t k)                                              \
    {                                                                                                                                      \
        const uint8_t *p = w;                                                                                                              \
        uint8_t *o = panel;                                                                                                                \
        for (; k > 0; k -= I16_BLOCK, p += I16_BLOCK * (ELEM)) o = pack_w_rows(o, p, row_bytes, n, k, ELEM, LOAD, BITS, NAME##_max);       \
    }                                                                                                                                      \
    static void matvec_##NAME(float *out, int64_t ldo, const void *w, size_t rb, int64_t n_row, const void *x, size_t ldx, int n,          \
                              int64_t k)                                                                                                   \
    {                                                                                                                                      \
        matvec(out, ldo, w, rb, n_row, x, ldx, n, k, ELEM, LOAD, BITS, NAME##_max);                                                        \
    }                                                                                                                                      \
    static const matmul_type matmul_##NAME = {                                                                                             \
        .name = LABEL,                                                                                                                     \
        .k_step = STEP,                                                                                                                    \
        .tile_x = TILE_X,                                                                                                                  \
        .elem = 2,                                                                                                                         \
        .part_bytes = 2048,                                                                                                                \
        .block = BLOCK_STEPS,                                                                                                              \
        .block_bytes = SCALE_BYTES,                                                                                                        \
        .pack_x = pack_x,                                                                                                                  \
        .pack_w = pack_w_##NAME,                                                                                                           \
        .tile = tile,                                                                                                                      \
        .matvec = matvec_##NAME,                                                                                                           \
    };

WEIGHT_TYPE(f32, "F32, 16-bit blocks", 4, vf_load, bits_max32)
WEIGHT_TYPE(f16, "F16, 16-bit blocks", 2, vf_load_f16, bits_max16)
WEIGHT_TYPE(bf16, "BF16, 16-bit blocks", 2, vf_load_bf16, bits_max16)

static void i16_fill(kernels *k)
{
    k->matmul[MO_F32] = &matmul_f32;
    k->matmul[MO_F16] = &matmul_f16;
    k->matmul[MO_BF16] = &matmul_bf16;
}
