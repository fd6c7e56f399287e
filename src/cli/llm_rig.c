/* A language model by itself (llm_rig.h). */
#include "cli/llm_rig.h"

mo_status llm_rig_open(llm_rig *r, const char *path, mo_error *err)
{
    const checkpoint_opts llm_alone = { .no_vision = true, .no_audio = true };

    r->s = scratch_plan();
    return checkpoint_open(&r->ck, path, &llm_alone, err);
}

mo_status llm_rig_start(llm_rig *r, const cpu_backend_opts *cpu, int32_t n_ubatch, int32_t n_ctx, int32_t kv_type, mo_error *err)
{
    const llm_config *c = &r->ck.cfg.llm;
    const kv_shape shape = llm_kv_shape(c, kv_type);
    mo_status st;

    if ((st = cpu_backend_new(&r->be, cpu, err)) != MO_OK) return st;
    if ((st = llm_load(&r->m, r->be, r->ck.ts, c, false, NULL, err)) != MO_OK) return st;
    llm_carve(&r->s, c, n_ubatch);
    if ((st = scratch_alloc(&r->s, r->be, err)) != MO_OK) return st;
    if ((st = kv_pool_init(&r->pool, r->be, &shape, kv_pages_for(n_ctx), err)) != MO_OK) return st;
    return kv_seq_init(&r->kv, &r->pool, n_ctx, err);
}

void llm_rig_close(llm_rig *r)
{
    kv_seq_free(&r->kv);
    kv_pool_free(&r->pool);
    llm_free(r->m);
    if (r->be) {
        scratch_free(&r->s, r->be);
        r->be->ops->destroy(r->be);
    }
    checkpoint_close(&r->ck);
}
