/* How far an unfinished GGUF file is good: a text file beside it, one line a tensor (gguf_journal.c). The writer's own. */
#ifndef MO_FORMATS_GGUF_JOURNAL_H
#define MO_FORMATS_GGUF_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

/* A checksum of bytes as they pass, whatever the pieces they come in. Not against forgery. */
typedef struct checksum {
    uint64_t lane[4];
    uint64_t n;
    unsigned char rest[32];
} checksum;

void checksum_begin(checksum *c);
void checksum_add(checksum *c, const void *p, size_t n);
uint64_t checksum_end(const checksum *c);

typedef struct gguf_journal {
    char *path;
    FILE *f;
} gguf_journal;

/* Open or make `path`. Of a journal with this stamp: the sums of its tensors, [*n] mo_malloc'd; else *n = 0. */
mo_status gguf_journal_open(gguf_journal *j, const char *path, uint64_t stamp, uint64_t **sum, size_t *n, mo_error *err);
/* Only the first n lines hold; more will be added. */
mo_status gguf_journal_keep(gguf_journal *j, uint64_t stamp, const uint64_t *sum, size_t n, mo_error *err);
mo_status gguf_journal_add(gguf_journal *j, uint64_t sum, mo_error *err); /* the next tensor is written */
void gguf_journal_close(gguf_journal *j, bool remove_it);                 /* accepts a zeroed one */

#endif
