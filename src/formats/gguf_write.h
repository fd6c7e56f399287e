/* Writing GGUF files (gguf_write.c): keys, then tensors' names and shapes, then their data in the same order, as a stream.
 *
 *     gguf_write_begin(&w, path, err);
 *     gguf_put_text(w, "general.architecture", "qwen3", 5);
 *     gguf_declare(w, "token_embd.weight", MO_Q8_0, 2, (int64_t[]){ n_vocab, n_embd });
 *     gguf_write_data(w, rows, n_bytes, err);      as often as it takes
 *     gguf_write_end(w, err);                      the file appears under its name
 *
 * Until the end the bytes are in a temporary file beside it. The put and declare calls remember their first failure, which
 * the next call that returns a status tells.
 */
#ifndef MO_FORMATS_GGUF_WRITE_H
#define MO_FORMATS_GGUF_WRITE_H

#include "formats/gguf.h"

typedef struct gguf_writer gguf_writer;

mo_status gguf_write_begin(gguf_writer **out, const char *path, mo_error *err);

/* A file that takes long and whose unfinished part is worth keeping: PATH.part, with the journal PATH.part.log beside it. Nothing
 * is made before gguf_write_resume, which comes after the declarations:
 *
 *     gguf_write_begin_kept(&w, path, err);  puts, declarations
 *     gguf_write_resume(w, stamp, &n_done, err);
 *     gguf_write_data(...) for the tensors from n_done on
 *     gguf_write_end(w, err);
 *
 * What gguf_write_abort, a full disk or a crash leave behind is taken up by the next writer whose path, header and stamp are the
 * same; tensors that are there are compared with their checksums first. MO_E_STATE: another process is writing it. */
mo_status gguf_write_begin_kept(gguf_writer **out, const char *path, mo_error *err);
/* stamp: whatever else the contents depend on (inputs, options). */
mo_status gguf_write_resume(gguf_writer *w, uint64_t stamp, size_t *n_done, mo_error *err);
/* Bytes the whole file has or will have. */
uint64_t gguf_write_size(const gguf_writer *w);

void gguf_put_text(gguf_writer *w, const char *key, const char *s, size_t n);
void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v);
void gguf_put_i32(gguf_writer *w, const char *key, int32_t v);
void gguf_put_u64(gguf_writer *w, const char *key, uint64_t v);
void gguf_put_f32(gguf_writer *w, const char *key, float v);
void gguf_put_bool(gguf_writer *w, const char *key, bool v);
void gguf_put_texts(gguf_writer *w, const char *key, const gguf_text *v, size_t n);
void gguf_put_ints(gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_put_reals(gguf_writer *w, const char *key, const float *v, size_t n);
void gguf_put_copy(gguf_writer *w, const gguf_value *v); /* a key of another file, as it is */

/* Dimensions slowest first, as everywhere but in the file. Rows must be whole blocks. */
void gguf_declare(gguf_writer *w, const char *name, int32_t type, int32_t n_dim, const int64_t *dim);

/* The next n bytes of the declared tensors' data; padding between them is put here, not by the caller. */
mo_status gguf_write_data(gguf_writer *w, const void *data, size_t n, mo_error *err);

/* Write through to the disk, close and rename, or fail. Frees w either way; after a failure nothing is left behind but what is kept. */
mo_status gguf_write_end(gguf_writer *w, mo_error *err);
void gguf_write_abort(gguf_writer *w); /* accepts NULL */

#endif
