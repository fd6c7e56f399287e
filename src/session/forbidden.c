/* Which ids a speaking model may not choose (forbidden.h). Source: ../shared/spec/omni-session.md 1.3, 4.4 and 5.2. */
#include "session/forbidden.h"

#include "session/bad_tokens.h"

/* The tokenizer's own list if its file had one, else ours if the vocabulary is the one that ours is about. */
static void put_bad_tokens(ids *out, const tokenizer *t)
{
    size_t n = 0;
    const int32_t *own = tokenizer_bad_ids(t, &n);
    int32_t id = 0;

    if (n) {
        ids_put_n(out, own, n);
        return;
    }
    if (tokenizer_find(t, "<|endoftext|>") != BAD_TOKEN_N_BPE) return;
    for (int i = 0; i < BAD_TOKEN_N; i++) ids_put(out, id += bad_token_step[i]);
}

static void put_names(ids *out, const tokenizer *t, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokenizer_find(t, names[i]);

        if (id >= 0) ids_put(out, id);
    }
}

static mo_status done(const ids *out, mo_error *err)
{
    return out->failed ? mo_fail(err, MO_E_NOMEM, "no memory for the forbidden token ids") : MO_OK;
}

mo_status forbidden_for_stream(ids *out, const tokenizer *t, mo_error *err)
{
    /* The reference also names full-width punctuation, but by strings that are no vocabulary keys: each of those became
     * <unk>, and the characters themselves stay allowed. */
    static const char *const names[] = { ":", "#", "@", "*", "(", ")", "[", "]", "&", "/", "$", "<unk>" };

    put_bad_tokens(out, t);
    put_names(out, t, names, sizeof names / sizeof *names);
    return done(out, err);
}

mo_status forbidden_for_duplex(ids *out, const tokenizer *t, mo_error *err)
{
    static const char *const names[] = { "<|tts_pad|>", "<|chunk_eos|>" };

    put_bad_tokens(out, t);
    put_names(out, t, names, sizeof names / sizeof *names);
    return done(out, err);
}
