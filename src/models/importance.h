/* Which columns of a language model's weights matter: the squares of what each weight is multiplied with, summed over a text.
 *
 * The model itself knows nothing of it: a watch stands between it and its backend, as a table of ops whose matmul looks at the
 * rows and passes them on. Without a watch nothing is there; with one, results keep their bits.
 *
 *     importance_begin(&w, m, &matrix, err);
 *     llm_forward(m, …);   importance_end_chunk(w);
 *     importance_end(w);
 */
#ifndef MO_MODELS_IMPORTANCE_H
#define MO_MODELS_IMPORTANCE_H

#include "formats/imatrix.h"
#include "models/llm.h"

typedef struct importance_watch importance_watch;

/* Watch all matmuls of m's blocks. `into` is empty, or holds an earlier part of the same sums, and outlives the watch. One watch a
 * backend; it ends before the backend does. MO_E_FORMAT: what `into` holds is of another model. */
mo_status importance_begin(importance_watch **out, const llm *m, imatrix *into, mo_error *err);
void importance_end(importance_watch *w); /* accepts NULL */

/* A piece of the text is through. Sums become float32 here, which is what files hold: a run that stops between two pieces and goes
 * on has the bits of one that did not. MO_E_FORMAT: activations were not finite. */
mo_status importance_end_chunk(importance_watch *w, mo_error *err);

#endif
