/* Any bytes as an importance matrix, of the older .dat format or as a GGUF file: what is accepted is sorted, named once each and
 * of finite numbers that are not negative.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "formats/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_entry(const imatrix *m, size_t i)
{
    const imatrix_entry *e = &m->entry[i];

    if (imatrix_find(m, e->name) != e || e->n_col < 1 || (i && strcmp(m->entry[i - 1].name, e->name) >= 0)) __builtin_trap();
    for (int64_t k = 0; k < e->n_col; k++)
        if (!(e->sum2[k] >= 0) || isinf(e->sum2[k]) || !(e->mean[k] >= 0) || isinf(e->mean[k])) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    imatrix m;
    mo_error err;

    if (imatrix_parse(&m, data, n, "fuzz", &err) != MO_OK) {
        if (m.entry || !err.message[0]) __builtin_trap();
        return 0;
    }
    for (size_t i = 0; i < m.n; i++) check_entry(&m, i);
    imatrix_checksum(&m);
    imatrix_free(&m);
    return 0;
}
