/* The online softmax of a strip of scores (attn_tile_fn in kernels.h). Included after math_tmpl.h. */

/* Scores to probabilities in place; alpha[r]: what row r's older o and l are to be multiplied with. No step waits for one row's result, or
 * guesses it: the rows' chains of operations overlap. */
static inline void attn_softmax(const attn_strip *t, float *alpha)
{
    float m_new[ATTN_ROWS_MAX], e[ATTN_ROWS_MAX + VL] = { 0 };

    for (int r = 0; r < t->n_row; r++) {
        float *s = t->s + r * ATTN_KEYS;
        const int n_vec = (t->n_key[r] + VL - 1) / VL;
        vf mx = vf_set1(t->m[r]);

        for (int i = t->n_key[r]; i < n_vec * VL; i++) s[i] = -INFINITY;
        for (int i = 0; i < n_vec; i++) mx = vf_max(mx, vf_load(s + i * VL));
        m_new[r] = vf_hmax(mx);
    }
    for (int r = 0; r < t->n_row; r++) e[r] = t->m[r] == m_new[r] ? 0 : t->m[r] - m_new[r]; /* both may be -inf */
    for (int r = 0; r < t->n_row; r += VL) vf_store(e + r, vf_exp(vf_load(e + r)));
    for (int r = 0; r < t->n_row; r++) {
        float *s = t->s + r * ATTN_KEYS;
        const int n_vec = (t->n_key[r] + VL - 1) / VL;
        const vf mm = vf_set1(m_new[r]);
        vf sum = vf_zero();

        for (int i = 0; i < n_vec; i++) {
            const vf p = vf_exp(vf_sub(vf_load(s + i * VL), mm));
            sum = vf_add(sum, p);
            vf_store(s + i * VL, p);
        }
        alpha[r] = e[r];
        t->l[r] = t->l[r] * alpha[r] + vf_hsum(sum);
        t->m[r] = m_new[r];
    }
}
