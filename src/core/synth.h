/* Rule-made values: weights and test inputs that anyone can recompute.
 *
 * Trained weights do not travel with the tests. Instead every value is a function of a name and a flat row-major index:
 *
 *     key  = fnv1a64(name) ^ seed * 0x9E3779B97F4A7C15
 *     z(i) = splitmix64 finaliser of key + (i + 1) * 0x9E3779B97F4A7C15
 *     x(i) = (z(i) >> 40) * 2^-23 - 1                         in [-1, 1), exact in float32
 *
 * All arithmetic is modulo 2^64. What becomes of x(i) (base, amplitude, rounding) is the caller's rule:
 * ../shared/synth/README.md has the one for checkpoints.
 */
#ifndef MO_CORE_SYNTH_H
#define MO_CORE_SYNTH_H

#include <stddef.h>
#include <stdint.h>

#define SYNTH_GOLDEN 0x9E3779B97F4A7C15u /* 2^64 / golden ratio, splitmix64's step */

static inline uint64_t synth_fnv1a64(const char *name, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)name[i]) * 0x100000001B3u;
    return h;
}

/* The key of a name (NUL-terminated UTF-8) and a seed. */
static inline uint64_t synth_key(const char *name, uint64_t seed)
{
    size_t n = 0;

    while (name[n]) n++;
    return synth_fnv1a64(name, n) ^ (seed * SYNTH_GOLDEN);
}

static inline uint64_t synth_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline float synth_x(uint64_t key, uint64_t i)
{
    return (float)(uint32_t)(synth_mix(key + (i + 1) * SYNTH_GOLDEN) >> 40) * 0x1p-23f - 1.0f;
}

#endif
