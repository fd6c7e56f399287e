/* From a tile's hidden rows to its fixed number of LLM rows (spec vision 5.1, 5.2).
 *
 *     hidden [L, kv_dim] -> keys (with the patch's place), values -> n_query queries attend once -> embeds [n_query, n_embd]
 */
#ifndef MO_MODELS_RESAMPLER_H
#define MO_MODELS_RESAMPLER_H

#include "models/bind.h"
#include "models/config.h"
#include "models/scratch.h"
#include "models/tiles.h"

typedef struct resampler resampler;

mo_status resampler_load(resampler **out, backend *be, const tensors *ts, const resampler_config *c, mo_error *err);
mo_status resampler_plan(bind_bytes *out, backend *be, const tensors *ts, const resampler_config *c, mo_error *err);
void resampler_free(resampler *m); /* accepts NULL and a half-loaded one */

/* Scratch of passes of up to n_row rows, as siglip_scratch. */
void resampler_scratch(scratch *s, const resampler_config *c, int64_t n_row);

/* hidden [ΣL, kv_dim] -> embeds [n_tile, n_query, n_embd], device memory. Tiles of any size; a tile's result has the same
 * bits whatever tiles are beside it. MO_E_LIMIT: a tile is larger than n_row. */
mo_status resampler_forward(resampler *m, float *embeds, const float *hidden, const tile_size *tile, int n_tile, int64_t n_row, scratch *s,
                            mo_error *err);

#endif
