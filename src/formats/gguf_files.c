/* From GGUF files to a checkpoint's tensors (gguf.h): the parts of a split model, official names. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "formats/gguf.h"
#include "formats/gguf_names.h"

enum { PART_MAX = 1000 };

static mo_status add_tensors(tensors *ts, const gguf *g, mo_error *err)
{
    const gguf_naming naming = gguf_naming_of(g);
    char official[OFFICIAL_NAME_MAX];
    mo_status st = MO_OK;

    for (size_t i = 0; i < g->n_tensor && st == MO_OK; i++) {
        tensor t = g->list[i];
        t.name = gguf_official_name(&naming, t.name, official);
        st = g->other[i] ? tensors_add_other(ts, t.name, g->other[i], t.file, err) : tensors_add(ts, &t, err);
    }
    return st;
}

static mo_status add_file(tensors *ts, gguf **out, const char *path, mo_error *err)
{
    const file_map *map;
    const char *file;
    mo_status st;

    *out = NULL;
    if ((st = tensors_map(ts, path, &map, &file, err)) != MO_OK) return st;
    if ((st = gguf_parse(out, map->data, map->size, file, err)) != MO_OK) return st;
    if ((st = add_tensors(ts, *out, err)) == MO_OK) return MO_OK;
    gguf_free(*out);
    *out = NULL;
    return st;
}

/* "…-00001-of-00003.gguf": where the two numbers stand, and what they are. */
static bool part_numbers(const char *path, size_t *at, long *part, long *count)
{
    const size_t tail = strlen("-00001-of-00003.gguf");
    size_t n = strlen(path);
    int end = 0;

    if (n < tail) return false;
    *at = n - tail;
    return sscanf(path + *at, "-%5ld-of-%5ld.gguf%n", part, count, &end) == 2 && (size_t)end == tail;
}

static mo_status check_part(const gguf *g, int64_t no, int64_t count, mo_error *err)
{
    int64_t got_no = -1, got_count = -1;

    gguf_get_int(g, "split.no", &got_no);
    gguf_get_int(g, "split.count", &got_count);
    if (got_no == no && got_count == count) return MO_OK;
    return mo_fail(err, MO_E_FORMAT,
                   "'%.300s' is not part %" PRId64 " of %" PRId64 " of its model (it says part %" PRId64 " of %" PRId64 ")", g->file,
                   no + 1, count, got_no + 1, got_count);
}

/* Parts 2 … count beside the first. */
static mo_status add_parts(tensors *ts, const gguf *first, const char *path, int64_t count, mo_error *err)
{
    long part = 0, named = 0;
    mo_status st = MO_OK;
    size_t at = 0, n = strlen(path) + 1;
    char *name;

    if (count < 2 || count > PART_MAX)
        return mo_fail(err, MO_E_FORMAT, "'%.300s' says its model has %" PRId64 " parts; up to %d are allowed", path, count, PART_MAX);
    if (!part_numbers(path, &at, &part, &named) || named != count)
        return mo_fail(err, MO_E_FORMAT, "'%.300s' is one of %" PRId64 " parts, but its name does not end in -00001-of-%05" PRId64 ".gguf",
                       path, count, count);
    if (part != 1) return mo_fail(err, MO_E_ARG, "'%.300s' is part %ld of %ld: open the first part", path, part, named);
    if ((st = check_part(first, 0, count, err)) != MO_OK) return st;
    if (!(name = mo_strdup(path))) return mo_fail(err, MO_E_NOMEM, "no memory to open '%.300s'", path);
    for (int64_t i = 1; i < count && st == MO_OK; i++) {
        gguf *g;
        snprintf(name + at, n - at, "-%05" PRId64 "-of-%05" PRId64 ".gguf", i + 1, count);
        if ((st = add_file(ts, &g, name, err)) != MO_OK) break;
        st = check_part(g, i, count, err);
        gguf_free(g);
    }
    mo_free(name);
    return st;
}

mo_status gguf_add(tensors *ts, gguf **meta, const char *path, mo_error *err)
{
    int64_t count = 1, want, n_before = (int64_t)(ts->n + ts->n_other);
    mo_status st = add_file(ts, meta, path, err);

    if (st != MO_OK) return st;
    if (gguf_get_int(*meta, "split.count", &count) && count != 1) st = add_parts(ts, *meta, path, count, err);
    if (st == MO_OK && gguf_get_int(*meta, "split.tensors.count", &want) && (int64_t)(ts->n + ts->n_other) - n_before != want)
        st = mo_fail(err, MO_E_FORMAT, "'%.300s' and its other parts hold %" PRId64 " tensors, not %" PRId64, path,
                     (int64_t)(ts->n + ts->n_other) - n_before, want);
    if (st == MO_OK) return MO_OK;
    gguf_free(*meta);
    *meta = NULL;
    return st;
}

mo_status tensors_open_gguf(tensors **out, gguf **meta, const char *path, mo_error *err)
{
    mo_status st;

    *meta = NULL;
    if ((st = tensors_new(out, err)) != MO_OK) return st;
    if ((st = gguf_add(*out, meta, path, err)) == MO_OK && (st = tensors_index(*out, err)) == MO_OK) return MO_OK;
    gguf_free(*meta);
    *meta = NULL;
    tensors_close(*out);
    *out = NULL;
    return st;
}
