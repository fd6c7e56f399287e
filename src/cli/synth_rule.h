/* Values of synthetic weights by rule (../shared/synth/README.md): value = base + amp * x(i), rounded to bfloat16. */
#ifndef MO_CLI_SYNTH_RULE_H
#define MO_CLI_SYNTH_RULE_H

#include <stddef.h>
#include <stdint.h>

/* The rule's table: what a tensor's name and shape make its values' middle and reach. */
void synth_base_amp(float *base, float *amp, const char *name, int n_dim, const int64_t *dim);

/* bfloat16 bits of values [start, start + n) of the tensor with this key (core/synth.h: synth_key). */
void synth_fill(uint16_t *restrict out, uint64_t key, float base, float amp, uint64_t start, size_t n);

#endif
