/* Every tensor of an official checkpoint, name and shape, from its configuration. */
#ifndef MO_CLI_SYNTH_TENSORS_H
#define MO_CLI_SYNTH_TENSORS_H

#include "core/status.h"
#include "models/config.h"

typedef struct synth_tensor {
    char name[96];
    int32_t n_dim;
    int64_t dim[4];
    uint64_t n; /* elements */
} synth_tensor;

typedef struct synth_list {
    synth_tensor *list; /* in the order of the official module tree */
    size_t n, cap;
    bool failed; /* memory was short */
} synth_list;

mo_status synth_list_make(synth_list *out, const model_config *c, mo_error *err);
void synth_list_free(synth_list *l);

#endif
