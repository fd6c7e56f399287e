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
 * Within a step elements lie as VPACKSSDW leaves them, on both sides alike. Few rows take the same way, block by block through L1, so
 * they have the same bits.
 * A block with a NaN or an infinity gives NaN; one whose largest magnitude is below about 1e-30 counts as zero.
 *
 * Included by a file per instruction set, after its vec file and these:
 *     vi, vi_store, vi_zero, vi_to_f      VL 32-bit or 2 VL 16-bit integers
 *     quantize(lo, hi, s)                 a step of elements times s as int16, VPACKSSDW's order
 *     lane_sums(lo, hi)                   sums of the two elements of each lane in that order
 *     bits_max16, bits_max32(m, p)        running largest magnitude of the step at p, as bits: they order like the numbers, NaN above all
 *     fold16, fold32(m)                   the largest of m's 128-bit parts, element by element
 *     vi_load(p), vi_all(p)               a step; the unit at p in every lane
 *     dot(&acc, w, x)                     adds the products of a step; dot_last: where x is not needed any more
 */
enum {
    STEP = 2 * VL,
    STEP_BYTES = 2 * STEP,
    I16_BLOCK = 64 * VL,
    BLOCK_STEPS = I16_BLOCK / STEP,
    SCALE_BYTES = 4 * VL,
    ROW_BYTES = BLOCK_STEPS * STEP_BYTES,
    W_MAX = 8191,
    X_MAX = 32767,
    X_LANE = (1 << 18) - 64 /* room for the roundings of 64 elements, a half each, twice over */
};
_Static_assert((int)TILE_V == 2, "tile_steps");
_Static_assert((int)TILE_X <= (int)VL, "rows of a panel of x are transposed together");
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

/* One row of a block, steps one behind the other. Returns its scale. */
INLINE float pack_x_block(uint8_t *o, const float *x, int64_t k)
{
    float tail[STEP] = { 0 };
    int64_t i = 0;
    block_scale d;
    vf s;

    if (k % STEP) memcpy(tail, x + k / STEP * STEP, (size_t)(k % STEP) * sizeof *tail);
    d = x_scale(x, k, tail);
    s = vf_set1(d.to);
    for (; i + STEP <= k; i += STEP, o += STEP_BYTES) vi_store(o, quantize(vf_load(x + i), vf_load(x + i + VL), s));
    if (i < k) vi_store(o, quantize(vf_load(tail), vf_load(tail + VL), s));
    return d.from;
}

static void pack_row(void *row, const float *x, int64_t k)
{
    uint8_t *o = row;

    for (; k > 0; k -= I16_BLOCK, x += I16_BLOCK) {
        const float d = pack_x_block(o, x, k < I16_BLOCK ? k : I16_BLOCK);
        o += steps_of(k) * STEP_BYTES;
        vf_store(o, vf_set1(d));
        o += SCALE_BYTES;
    }
}

/* m rows of a block as they are packed, ROW_BYTES apart, to their place in each part, whose steps are `pitch` units long (put_units). */
INLINE void put_block(uint8_t *o, size_t part_bytes, const uint8_t *rows, int steps, int pitch, int m, int64_t room)
{
    for (int s = 0; s < steps; s++, o += pitch * UNIT_BYTES, room -= pitch) {
        vf u[VL];
        for (int j = 0; j < VL; j++) u[j] = vf_load(rows + (j < m ? j : 0) * ROW_BYTES + s * STEP_BYTES);
        put_units(o, part_bytes, u, m, room);
    }
}

static void pack_x(void *panel, size_t part_bytes, float *scale, const float *x, int64_t ldx, int n, int64_t k)
{
    _Alignas(64) uint8_t rows[VL * ROW_BYTES];
    int64_t room = (k + STEP - 1) / STEP * n;
    uint8_t *o = panel;

    for (; k > 0; k -= I16_BLOCK, x += I16_BLOCK, scale += n) {
        const int steps = steps_of(k);
        for (int r = 0; r < n; r++) scale[r] = pack_x_block(rows + r * ROW_BYTES, x + r * ldx, k < I16_BLOCK ? k : I16_BLOCK);
        put_block(o, part_bytes, rows, steps, n, n, room);
        o += steps * n * UNIT_BYTES;
        room -= (int64_t)steps * n;
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

/* The same of one weight row; `elem` bytes an element, everything constant but k. ahead: as many bytes, to be fetched into L2; or NULL. */
INLINE float pack_w_block(uint8_t *o, const uint8_t *w, const uint8_t *ahead, int64_t k, const int elem, load_fn load,
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
        if (ahead) __builtin_prefetch(ahead + (p - w), 0, 2);
        m = bits(m, p);
    }
    if (k % STEP) m = bits(m, tail);
    d = scale_of(most(m) / W_MAX);
    s = vf_set1(d.to);
    for (; w < end; w += STEP * elem, o += STEP_BYTES) vi_store(o, quantize(load(w), load(w + VL * elem), s));
    if (k % STEP) vi_store(o, quantize(load(tail), load(tail + VL * elem), s));
    return d.from;
}

INLINE void pack_w(uint8_t *o, size_t part_bytes, float *scale, const uint8_t *w, size_t row_bytes, int n, int64_t k, const int elem,
                   load_fn load, vi (*bits)(vi, const void *), float (*most)(vi))
{
    _Alignas(64) uint8_t rows[VL * ROW_BYTES];

    for (; k > 0; k -= I16_BLOCK, w += I16_BLOCK * elem, scale += STRIP_W) {
        const int steps = steps_of(k);
        for (int j = 0; j < n; j++)
            scale[j] =
                pack_w_block(rows + j * ROW_BYTES, w + (size_t)j * row_bytes, NULL, k < I16_BLOCK ? k : I16_BLOCK, elem, load, bits, most);
        for (int j = n; j < VL; j++) scale[j] = 0;
        put_block(o, part_bytes, rows, steps, STRIP_W, n, VL * (int64_t)steps);
        o += steps * STRIP_W * UNIT_BYTES;
    }
}

/* ---- products ---- */

/* from + the lanes of a block -> to. Both tile and matvec add it like this. */
INLINE void add_block(float *to, const float *from, vi lanes, vf x_scale, vf w_scale)
{
    vf_store(to, vf_fma(vf_mul(vi_to_f(lanes), x_scale), w_scale, vf_load(from)));
}

/* The integer sums of `steps` steps of a STRIP_W x n tile. */
INLINE void tile_steps(vi a[][TILE_V], const uint8_t *w, const uint8_t *x, const uint8_t *ahead, int64_t ahead_step, int steps, const int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < TILE_V; j++) a[i][j] = vi_zero();
    do { /* as in matmul_tmpl.h's tile */
        const vi w0 = vi_load(w), w1 = vi_load(w + STEP_BYTES);
        __builtin_prefetch(x + X_AHEAD_BYTES);
        __builtin_prefetch(ahead, 0, 2);
        for (int i = 0; i < n; i++) {
            const vi b = vi_all(x + i * UNIT_BYTES);
            dot(&a[i][0], w0, b);
            dot_last(&a[i][1], w1, b);
        }
        w += TILE_V * STEP_BYTES;
        x += n * UNIT_BYTES;
        ahead += ahead_step;
    } while (--steps > 0);
}

INLINE void tile_n(float *sums, const tile_in *in, const int n)
{
    static const float zeros[TILE_X * STRIP_W];
    const float *from = zeros;
    tile_in at = *in;

    for (; at.n_step > 0; at.n_step -= BLOCK_STEPS, from = sums) {
        const int steps = at.n_step < BLOCK_STEPS ? (int)at.n_step : BLOCK_STEPS;
        vi a[TILE_X][TILE_V];
        tile_steps(a, at.w, at.x, at.ahead, at.ahead_step, steps, n);
        for (int i = 0; i < n; i++)
            for (int j = 0, o = i * STRIP_W; j < TILE_V; j++, o += VL)
                add_block(sums + o, from + o, a[i][j], vf_set1(at.x_scale[i]), vf_load(at.w_scale + j * VL));
        at.w += steps * STRIP_W * UNIT_BYTES;
        at.x += steps * n * UNIT_BYTES;
        at.ahead += steps * at.ahead_step;
        at.w_scale += STRIP_W;
        at.x_scale += n;
    }
}

static void tile(float *sums, int n_sum, const tile_in *in, int n)
{
#define TILE(n) tile_n(sums, in, n)
    TILE_CASES(n, TILE)
#undef TILE
    add_pairs(sums, n_sum, n);
}

/* The integer sums of TILE_W rows times one, packed row by row; of missing rows, those of the first. */
INLINE void row_steps(vi *a, const uint8_t *rows, int n_row, const uint8_t *x, int steps)
{
    for (int j = 0; j < TILE_W; j++) a[j] = vi_zero();
    for (int s = 0; s < steps; s++, rows += STEP_BYTES, x += STEP_BYTES) {
        const vi b = vi_load(x);
        for (int j = 0; j < TILE_W; j++) dot(&a[j], vi_load(rows + (j < n_row ? j : 0) * ROW_BYTES), b);
    }
}

/* Few rows: each block of TILE_W weight rows is packed into L1, and every row of x passes over it. */
INLINE void matvec(float *out, int64_t ldo, const uint8_t *w, size_t row_bytes, int64_t n_row, const uint8_t *x, size_t ldx, int n,
                   int64_t k, const int elem, load_fn load, vi (*bits)(vi, const void *), float (*most)(vi))
{
    _Alignas(64) uint8_t rows[TILE_W * ROW_BYTES];
    _Alignas(64) float acc[FEW_X][TILE_W * VL];
    static const float zeros[TILE_W * VL];

    for (int64_t r = 0; r < n_row; r += TILE_W, w += TILE_W * row_bytes) {
        const int nw = (int)(n_row - r < TILE_W ? n_row - r : TILE_W);
        const uint8_t *xb = x;
        for (int64_t i = 0; i < k; i += I16_BLOCK, xb += ROW_BYTES + SCALE_BYTES) {
            const int64_t kb = k - i < I16_BLOCK ? k - i : I16_BLOCK;
            const int steps = steps_of(kb);
            const uint8_t *ahead = w + TILE_W * (row_bytes + (size_t)(i * elem)); /* the next rows front to back: memory sees one stream */
            float scale[TILE_W];
            for (int j = 0; j < nw; j++, ahead += kb * elem)
                scale[j] = pack_w_block(rows + j * ROW_BYTES, w + (size_t)j * row_bytes + i * elem, ahead, kb, elem, load, bits, most);
            for (int m = 0; m < n; m++) {
                const uint8_t *xm = xb + (size_t)m * ldx;
                vi a[TILE_W];
                row_steps(a, rows, nw, xm, steps);
                for (int j = 0; j < nw; j++)
                    add_block(acc[m] + j * VL, i ? acc[m] + j * VL : zeros, a[j], vf_load(xm + steps * STEP_BYTES), vf_set1(scale[j]));
            }
        }
        for (int m = 0; m < n; m++) {
            const float *p = acc[m];
            float sum[TILE_W];
            vf_hsum4(sum, vf_load(p), vf_load(p + VL), vf_load(p + 2 * VL), vf_load(p + 3 * VL));
            memcpy(out + m * ldo + r, sum, (size_t)nw * sizeof *sum);
        }
    }
}

#define WEIGHT_TYPE(NAME, LABEL, ELEM, LOAD, BITS)                                                                                         \
    static void pack_w_##NAME(void *panel, size_t part_bytes, float *scale, const void *w, size_t row_bytes, int n, int64_t k)             \
    {                                                                                                                                      \
        pack_w(panel, part_bytes, scale, w, row_bytes, n, k, ELEM, LOAD, BITS, NAME##_max);                                                \
    }                                                                                                                                      \
    static void matvec_##NAME(float *out, int64_t ldo, const void *w, size_t rb, int64_t n_row, const void *x, size_t ldx, int n,          \
                              int64_t k)                                                                                                   \
    {                                                                                                                                      \
        matvec(out, ldo, w, rb, n_row, x, ldx, n, k, ELEM, LOAD, BITS, NAME##_max);                                                        \
    }                                                                                                                                      \
    static const matmul_type matmul_##NAME = {                                                                                             \
        .name = LABEL,                                                                                                                     \
        .k_step = STEP,                                                                                                                    \
        .few_x = FEW_X,                                                                                                                    \
        .n_few = FEW_X, /* every few_x rows quantise the weights anew */                                                                   \
        .tile_x = TILE_X,                                                                                                                  \
        .block = BLOCK_STEPS,                                                                                                              \
        .pack_row = pack_row,                                                                                                              \
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
