/* The GENERATE phase of a session: tokens out of logits, as text into the events.
 *
 *     logits -> sampler -> id -> text, stop texts -> fed -> logits
 */
#ifndef MO_SESSION_GENERATE_H
#define MO_SESSION_GENERATE_H

#include "session/session.h"

/* One step of it. Sets is_ended when the answer is complete. With m->step_lock held. */
mo_status generate_step(mo_session *s, mo_error *err);

/* Nothing is left to be made: show what was held back. The step that called this finishes. */
mo_status generate_end(mo_session *s, mo_end_reason reason, mo_error *err);

#endif
