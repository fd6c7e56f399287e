/* Few rows: blocks decoded in registers (quant.h). Included after q_tile_tmpl.h.
 *
 * MR weight rows at a time: each row's block leaves a vector of partial integer sums per activation row; those of MR rows
 * are summed across lanes together, into one vector of results.
 */
enum { Q_FEW = 4 };              /* activation rows at a time */
enum { PREFETCH_ROWS = 2 * MR }; /* how far ahead of the rows being read */

/* nr <= MR weight rows times n activation rows, inlined with constant n. */
#define MV_ARGS float *out, int64_t ldo, const uint8_t *w, size_t rb, int nr, const uint8_t *x, size_t ldx, const int n, int64_t k

Q_INLINE void matvec_super(MV_ARGS, const size_t bytes, factor_fn factor, const size_t at_m, decode_fn decode, scales_fn scales,
                           const int sub, const int mins, const bool sgn)
{
    vmf y[Q_FEW];

    for (int i = 0; i < n; i++) y[i] = (vmf){ 0 };
    for (int64_t c = 0; c < k / Q_CHUNK; c++, w += bytes, x += ldx) {
        vm isum[Q_FEW][MR], imin[Q_FEW][MR];
        vmf d = { 0 }, m = { 0 };

        for (int r = nr; r < MR; r++)
            for (int i = 0; i < n; i++) isum[i][r] = imin[i][r] = (vm){ 0 };
        for (int r = 0; r < nr; r++) {
            const uint8_t *b = w + (size_t)r * rb;
            int32_t sc[16];
            int16_t mn[16];
            vm s[Q_FEW];

            for (size_t o = 0; o < bytes; o += 64) __builtin_prefetch(b + PREFETCH_ROWS * rb + o);
            scales(b, sc, mn);
            for (int i = 0; i < n; i++) s[i] = (vm){ 0 };
            Q_UNROLL
            for (int j = 0; j < 8; j++) {
                const b32 q = decode(b, j);
                Q_UNROLL
                for (int i = 0; i < n; i++) {
                    const int8_t *xq = ((const q_act *)(const void *)x + i)->q + 32 * j;
                    s[i] = sub == 32 ? mv_dot(s[i], q, xq, sc[j], sgn) : mv_dot2(s[i], q, xq, sc[2 * j], sc[2 * j + 1], sgn);
                    Q_KEEP(s[i]);
                }
            }
            for (int i = 0; i < n; i++) {
                const int16_t *xs = ((const q_act *)(const void *)x + i)->sum;
                if (mins == MIN_INT) s[i] -= mv_pairs(mn, xs, Q_CHUNK / sub);
                if (mins == MIN_FLOAT) imin[i][r] = mv_pairs(mn, xs, Q_CHUNK / sub);
                isum[i][r] = s[i];
            }
            d[r] = factor(b);
            if (mins == MIN_FLOAT) m[r] = q_f16(b + at_m);
        }
        for (int i = 0; i < n; i++) {
            float dx;
            vmf t = d * __builtin_convertvector(mv_sums(isum[i]), vmf);
            if (mins == MIN_FLOAT) t -= m * __builtin_convertvector(mv_sums(imin[i]), vmf);
            memcpy(&dx, x + (size_t)i * sizeof(q_act), sizeof dx);
            y[i] += t * dx;
        }
    }
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], (size_t)nr * sizeof(float));
}

Q_INLINE void matvec_block(MV_ARGS, const size_t bytes, factor_fn factor, const size_t at_m, decode_fn decode, const int bias,
                           const bool has_min, const bool sgn)
{
    vmf y[Q_FEW];

    for (int i = 0; i < n; i++) y[i] = (vmf){ 0 };
    for (int64_t c = 0; c < k / 32; c++, w += bytes) {
        const q_act_block *xc = (const q_act_block *)(const void *)(x + (size_t)(c / 8) * ldx);
        const int e = (int)(c % 8);
        vm isum[Q_FEW][MR];
        vmf d = { 0 }, m = { 0 };

        for (int r = nr; r < MR; r++)
            for (int i = 0; i < n; i++) isum[i][r] = (vm){ 0 };
        for (int r = 0; r < nr; r++) {
            const uint8_t *b = w + (size_t)r * rb;
            const b32 q = decode(b, 0);

            if (c % 2 == 0) __builtin_prefetch(b + PREFETCH_ROWS * rb);
            for (int i = 0; i < n; i++) {
                const q_act_block *xa = xc + i;
                isum[i][r] = mv_dot_1(q, xa->a.q + 32 * e, sgn) + mv_dot_1(q, xa->high + 32 * e, sgn) * 128;
            }
            d[r] = factor(b);
            if (has_min) m[r] = q_f16(b + at_m);
        }
        for (int i = 0; i < n; i++) {
            const q_act *xa = &xc[i].a;
            const vmi s = mv_sums(isum[i]);
            vmf t = d * __builtin_convertvector(bias ? s - bias * (int32_t)xa->sum[e] : s, vmf);
            if (has_min) t += m * (float)xa->sum[e];
            y[i] += t * xa->d[e];
        }
    }
    for (int i = 0; i < n; i++) memcpy(out + i * ldo, &y[i], (size_t)nr * sizeof(float));
}
