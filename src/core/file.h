/* Files: mapping read-only, reading whole small files, joining paths, making the folders of one. */
#ifndef MO_CORE_FILE_H
#define MO_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* A read-only mapping. Weights are used in place: never copied, shared by every session and process.
 * It starts at a huge page's boundary: what the page cache holds in huge pages is then entered as such. */
typedef struct file_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    void *space; /* the addresses it lies in: n_space bytes */
    size_t n_space;
} file_map;

mo_status file_map_open(file_map *m, const char *path, mo_error *err);
void file_map_close(file_map *m); /* accepts a zeroed map */

/* Makes the system forget what it has cached of the file, as far as nobody else has it mapped: it is read anew, in the pages that
 * file_map_open wished for. `path`: where it was opened. */
void file_map_forget(const file_map *m, const char *path);

/* The whole file in memory with a NUL after it; larger than `limit` bytes is MO_E_LIMIT. Free with mo_free. */
mo_status file_read(char **out, size_t *n, const char *path, size_t limit, mo_error *err);

bool file_exists(const char *path);
bool file_is_dir(const char *path);
bool file_same(const char *a, const char *b);       /* two names of one file; false if either is not there */
char *path_join(const char *dir, const char *name); /* mo_free; NULL when memory is short */

/* The folders that `path` lies in, as far as they are not there. */
mo_status file_make_parents(const char *path, mo_error *err);

#endif
