/* Which ids a speaking model may not choose, from the tokenizer's names. */
#ifndef MO_SESSION_FORBIDDEN_H
#define MO_SESSION_FORBIDDEN_H

#include "core/buf.h"
#include "core/status.h"
#include "tokenizer/tokenizer.h"

/* Append the ids for a stream_sampler: bad tokens, eleven punctuation marks, <unk>. */
mo_status forbidden_for_stream(ids *out, const tokenizer *t, mo_error *err);

/* Append the ids for a duplex_sampler: bad tokens, <|tts_pad|>, <|chunk_eos|>. */
mo_status forbidden_for_duplex(ids *out, const tokenizer *t, mo_error *err);

#endif
