/* The online softmax of a strip of scores (attn_tile_fn in kernels.h). Included after math_tmpl.h. */

/* Scores of one row to probabilities in place; returns what the row's older o and l are to be multiplied with. */
static inline float attn_softmax_row(float *s, int n_key, float *m, float *l)
{
    const int n_vec = (n_key + VL - 1) / VL;
    vf mx = vf_set1(-INFINITY), sum = vf_zero(), mm;
    float m_new, alpha;

    for (int i = n_key; i < n_vec * VL; i++) s[i] = -INFINITY;
    for (int i = 0; i < n_vec; i++) mx = vf_max(mx, vf_load(s + i * VL));
    m_new = vf_hmax(mx);
    if (*m > m_new) m_new = *m;
    mm = vf_set1(m_new);
    for (int i = 0; i < n_vec; i++) {
        vf p = vf_exp(vf_sub(vf_load(s + i * VL), mm));
        sum = vf_add(sum, p);
        vf_store(s + i * VL, p);
    }
    if (*m == m_new) {
        alpha = 1; /* what exp(0) is */
    } else {
        float t[VL];
        vf_store(t, vf_exp(vf_set1(*m - m_new)));
        alpha = t[0];
    }
    *l = *l * alpha + vf_hsum(sum);
    *m = m_new;
    return alpha;
}

static inline void attn_softmax(const attn_strip *t, float *alpha)
{
    for (int r = 0; r < t->n_row; r++) alpha[r] = attn_softmax_row(t->s + r * ATTN_KEYS, t->n_key[r], t->m + r, t->l + r);
}
