/* Timed answers (bench_answer.h). */
#include "cli/bench_answer.h"

#include <string.h>

static const char *const texts[BENCH_TEXTS] = {
    "Copy this table exactly, line by line, and change nothing:\n\n"
    "| city | country | people | river |\n| --- | --- | --- | --- |\n"
    "| Vienna | Austria | 1,982,000 | Danube |\n| Budapest | Hungary | 1,671,000 | Danube |\n"
    "| Prague | Czech Republic | 1,357,000 | Vltava |\n| Paris | France | 2,103,000 | Seine |\n"
    "| London | United Kingdom | 8,866,000 | Thames |\n| Rome | Italy | 2,755,000 | Tiber |\n",
    "Tell me about the history of bridges.",
};

/* Step until the end; its event. */
static mo_status answer(mo_session *s, mo_event *end, mo_error *err)
{
    mo_status st = mo_session_answer(s, err);
    mo_event e;

    while (st == MO_OK) {
        st = mo_session_step(s, err);
        while (mo_session_pull(s, &e))
            if (e.type == MO_EVENT_END) *end = e;
    }
    return st == MO_E_AGAIN ? MO_OK : st;
}

mo_status bench_answer(mo_model *m, const mo_session_opts *opts, int text, mo_switch how, int32_t n_token, bench_sample *speed,
                       bench_guesses *sum, mo_error *err)
{
    mo_session_opts o = *opts;
    mo_session *s = NULL;
    mo_event end = { 0 };
    mo_status st;

    o.greedy = 1;
    o.repetition_penalty = 1;
    o.max_tokens = o.min_tokens = n_token;
    o.speculate = how;
    st = mo_session_new(&s, m, &o, err);
    if (st == MO_OK) st = mo_session_begin(s, "user", err);
    if (st == MO_OK) st = mo_session_push_text(s, texts[text], strlen(texts[text]), err);
    if (st == MO_OK) st = answer(s, &end, err);
    mo_session_free(s);
    if (st != MO_OK) return st;
    bench_add(speed, end.decode_ms > 0 ? end.n_generated * 1e3 / end.decode_ms : 0);
    sum->n_drafted += end.n_drafted;
    sum->n_accepted += end.n_accepted;
    return MO_OK;
}
