/* The vision tower: SigLIP-NaViT, patches of tiles of any size to hidden rows (spec vision 4.3).
 *
 *     patch [n, 3*14*14] -> conv + position -> n_layer x (attention, MLP) -> post_layernorm -> hidden [n, n_embd]
 *
 * Rows of all tiles of a call lie one after another; attention stays inside a tile. A tile's rows have the same bits
 * whatever tiles are beside it.
 */
#ifndef MO_MODELS_SIGLIP_H
#define MO_MODELS_SIGLIP_H

#include "models/bind.h"
#include "models/config.h"
#include "models/scratch.h"
#include "models/tiles.h"

typedef struct siglip siglip;

/* Which row of the position table a patch reads. */
typedef enum siglip_positions {
    SIGLIP_POS_REFERENCE, /* buckets as torch's float32 arithmetic gives them */
    SIGLIP_POS_FLOOR,     /* floor(side * i / n): what llama.cpp does */
    SIGLIP_POS_ROW0       /* Llama3-V 2.5: patch j of L in bucket(j, L) of row 0 */
} siglip_positions;

/* Runs every layer the checkpoint has. Borrows be and ts. */
mo_status siglip_load(siglip **out, backend *be, const tensors *ts, const vision_config *c, siglip_positions positions, mo_error *err);
/* Bytes siglip_load would use. */
mo_status siglip_plan(bind_bytes *out, backend *be, const tensors *ts, const vision_config *c, mo_error *err);
void siglip_free(siglip *m); /* accepts NULL and a half-loaded one */
int siglip_n_layer(const siglip *m);

/* Scratch of passes of up to n_row rows. A call with more rows takes several passes of whole tiles; the largest tile
 * must fit one pass. */
void siglip_scratch(scratch *s, const vision_config *c, int64_t n_row);

/* patch [ΣL, 3*patch*patch], hidden [ΣL, n_embd]: device memory, L = rows * cols of each tile. n_row and s as planned.
 * MO_E_LIMIT: a tile is larger than n_row. */
mo_status siglip_forward(siglip *m, float *hidden, const float *patch, const tile_size *tile, int n_tile, int64_t n_row, scratch *s,
                         mo_error *err);

/* The position bucket, 0 .. n_side-1, of each patch 0 .. n-1 along a side of n patches. n_side: side of the table (70). */
void siglip_buckets(int32_t *out, int32_t n, int32_t n_side);

#endif
