/* Guessing the next tokens from what was said before, so that one pass of the model can confirm several of them.
 *
 *     … the cat sat on the mat. The dog saw the cat sat on        positions: prompt and answer so far
 *           `--earlier---` |                `---now---`
 *                          the mat. The dog …                     the draft: what followed then
 *
 * The guess is the continuation of the latest of the longest earlier occurrences of the last tokens ("prompt lookup": no second
 * model). The guessed tokens are fed behind the chosen one; every row's logits have the bits they would have one by one
 * (DESIGN.md, the promise), so the sampler chooses from them exactly as without, and guesses that it does not choose are
 * dropped from the cache. Guesses change how long an answer takes, never what it says.
 *
 * How many are worth feeding: with rate a for a guessed token to be right, a pass of 1 + k rows brings 1 + a + a^2 + … + a^k tokens
 * and takes ms[1 + k]. Rates are counted by the length of the match, also for guesses that were not fed: they cost nothing to
 * compare. Times are measured. What was lost on wrong guesses is kept account of and bounded: a few tokens' time at once, a fiftieth in
 * the long run. Where nothing repeats nothing is fed, and a token costs one look through the keys more.
 */
#ifndef MO_SESSION_SPECULATE_H
#define MO_SESSION_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "minicpmo.h"

enum {
    DRAFT_MAX = 15,       /* with the chosen token: the rows that go through lm_head together */
    DRAFT_MATCH_MAX = 8,  /* longer matches are not told apart */
    DRAFT_MATCH_SURE = 2, /* MO_ON feeds guesses of matches this long */
    DRAFT_CLASSES = 5     /* matches of 1, 2, 3, 4 to 7, 8 tokens */
};

typedef struct drafter {
    mo_switch mode;
    int32_t n_max;              /* most tokens of a draft, 0 … DRAFT_MAX */
    float right[DRAFT_CLASSES]; /* of the last so many guessed tokens, */
    float tried[DRAFT_CLASSES]; /* older ones counting less */
    double ms[DRAFT_MAX + 2];   /* [rows] what a pass takes; 0: not known */
    double credit;              /* passes of one row that guessing may still lose */
    int32_t n_pass;             /* passes since the times of several rows were forgotten */

    int32_t token[DRAFT_MAX]; /* [n_guess] the guess; the first n_fed of them are fed */
    int32_t n_guess, n_fed, n_seen, match;
} drafter;

void drafter_init(drafter *d, mo_switch mode, int32_t n_max);
void drafter_begin(drafter *d); /* another answer: nothing is guessed; what was learned stays */

/* Guess what follows `id`, which comes after the positions key[0 … n): token ids, or beyond INT32_MAX what is no token and so matches
 * nothing. At most n_limit; an id of end[0 … n_end) ends the guess and is not in it. Returns how many to feed (d->token). */
int32_t drafter_propose(drafter *d, const int64_t *key, int32_t n, int32_t id, int32_t n_limit, const int32_t *end, int n_end);

/* A pass of one chosen token and n_fed guesses took so long. */
void drafter_took(drafter *d, int32_t n_fed, double ms);

/* The next token after the proposal turned out to be `id`: true if it was guessed and fed, so that its position is cached. To be
 * called with each token until it is false. */
bool drafter_saw(drafter *d, int32_t id);

/* How many guesses to feed of n_guess that follow a match so long; 0: none is worth it. */
int32_t drafter_length(const drafter *d, int32_t match, int32_t n_guess);

#endif
