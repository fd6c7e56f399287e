/* Any bytes as a safetensors file: parse, index, and touch the first and last byte of all data. */
#include <stdint.h>

#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    volatile uint8_t sink = 0;
    tensors *ts;
    mo_error err;

    if (tensors_new(&ts, &err) != MO_OK) return 0;
    if (safetensors_parse(ts, data, n, "fuzz", &err) == MO_OK && tensors_index(ts, &err) == MO_OK) {
        for (size_t i = 0; i < tensors_count(ts); i++) {
            const tensor *t = tensors_at(ts, i);
            const uint8_t *p = t->data;
            if (t->n_bytes) sink = (uint8_t)(sink + p[0] + p[t->n_bytes - 1]);
            if (tensors_find(ts, t->name) != t) __builtin_trap();
        }
    }
    tensors_close(ts);
    return 0;
}
