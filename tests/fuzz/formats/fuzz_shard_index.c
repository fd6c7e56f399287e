/* Any bytes as model.safetensors.index.json. */
#include <stdint.h>
#include <string.h>

#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    shard_index ix;
    mo_error err;

    if (shard_index_parse(&ix, (const char *)data, n, "fuzz", &err) != MO_OK) return 0;
    for (size_t i = 0; i < ix.n_shard; i++)
        if (strchr(ix.shard[i], '/') || (i && strcmp(ix.shard[i - 1], ix.shard[i]) >= 0)) __builtin_trap();
    shard_index_free(&ix);
    return 0;
}
