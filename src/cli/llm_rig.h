/* A language model with a cache of its own, for commands that feed it rows themselves instead of talking through a session. */
#ifndef MO_CLI_LLM_RIG_H
#define MO_CLI_LLM_RIG_H

#include "backend/backend.h"
#include "models/checkpoint.h"
#include "models/kv_cache.h"
#include "models/llm.h"
#include "models/scratch.h"

typedef struct llm_rig {
    checkpoint ck;
    backend *be;
    llm *m;
    scratch s;
    kv_pool pool;
    kv_seq kv;
} llm_rig;

/* The checkpoint without its encoders. First; a zeroed rig. */
mo_status llm_rig_open(llm_rig *r, const char *path, mo_error *err);

/* Weights, scratch for passes of n_ubatch rows and an empty cache of n_ctx positions of kv_type. */
mo_status llm_rig_start(llm_rig *r, const cpu_backend_opts *cpu, int32_t n_ubatch, int32_t n_ctx, int32_t kv_type, mo_error *err);

void llm_rig_close(llm_rig *r); /* also one that failed half-way */

#endif
