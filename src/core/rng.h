/* Random numbers that repeat: xoshiro256** seeded by splitmix64.
 *
 * One state per user of randomness (a sampler, a flow's noise), 32 bytes, copied to save and restore.
 * Not for secrets. Blackman & Vigna, "Scrambled linear pseudorandom number generators" (2018); https://prng.di.unimi.it
 */
#ifndef MO_CORE_RNG_H
#define MO_CORE_RNG_H

#include <stdint.h>

typedef struct rng {
    uint64_t s[4]; /* never all zero once seeded */
} rng;

static inline void rng_seed(rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;

        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        r->s[i] = z ^ (z >> 31);
    }
}

static inline uint64_t rng_rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static inline uint64_t rng_next(rng *r)
{
    uint64_t *s = r->s, out = rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotl(s[3], 45);
    return out;
}

/* Uniform in [0, 1): all multiples of 2^-53, so never 1. */
static inline double rng_uniform(rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }

#endif
