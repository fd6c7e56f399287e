/* The set of tensors that a checkpoint is made of (tensors.h, tensors_build.h): lists, mapped files and the name index.
 *
 * The index is a sorted list: no choice of names in a hostile file can make it slow, and duplicates are neighbours.
 */
#include "formats/tensors_build.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/memory.h"
#include "core/memory.h"

/* Room for one more element in a growing array. */
static bool grow(void **p, size_t n, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : 64, bytes;
    void *q;

    if (n < *cap) return true;
    if (!mo_size_mul(more, size, &bytes) || !(q = mo_realloc(*p, bytes))) return false;
    *p = q;
    *cap = more;
    return true;
}

mo_status tensors_new(tensors **out, mo_error *err)
{
    *out = mo_zalloc(sizeof **out);
    return *out ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a list of tensors");
}

void tensors_close(tensors *ts)
{
    if (!ts) return;
    for (size_t i = 0; i < ts->n; i++) mo_free((void *)(uintptr_t)ts->list[i].name);
    for (size_t i = 0; i < ts->n_other; i++) mo_free(ts->other[i].name);
    for (size_t i = 0; i < ts->n_file; i++) {
        file_map_close(&ts->file[i].map);
        mo_free(ts->file[i].path);
    }
    mo_free(ts->list);
    mo_free(ts->other);
    mo_free(ts->file);
    mo_free(ts->by_name);
    mo_free(ts);
}

double tensors_huge_share(const tensors *ts)
{
    uint64_t huge = 0, all = 0;

    for (size_t i = 0; i < ts->n_file; i++) {
        uint64_t resident;
        huge += memory_huge(ts->file[i].map.data, ts->file[i].map.size, &resident);
        all += resident;
    }
    return all ? (double)huge / (double)all : 0;
}

void tensors_release(const tensors *ts, const tensor *t, size_t at, size_t n)
{
    const uint8_t *p = t->data;

    for (size_t i = 0; i < ts->n_file; i++) {
        const file_map *m = &ts->file[i].map;
        if (p >= m->data && p < m->data + m->size) memory_release(p + at, n);
    }
}

void tensors_forget(const tensors *ts)
{
    for (size_t i = 0; i < ts->n_file; i++) file_map_forget(&ts->file[i].map, ts->file[i].path);
}

mo_status tensors_map(tensors *ts, const char *path, const file_map **map, const char **file, mo_error *err)
{
    tensors_file *f;
    mo_status st;

    if (!grow((void **)&ts->file, ts->n_file, &ts->cap_file, sizeof *ts->file))
        return mo_fail(err, MO_E_NOMEM, "no memory to open '%s'", path);
    f = &ts->file[ts->n_file];
    memset(f, 0, sizeof *f);
    if (!(f->path = mo_strdup(path))) return mo_fail(err, MO_E_NOMEM, "no memory to open '%s'", path);
    if ((st = file_map_open(&f->map, path, err)) != MO_OK) {
        mo_free(f->path);
        return st;
    }
    ts->n_file++;
    *map = &f->map;
    *file = f->path;
    return MO_OK;
}

mo_status tensors_add(tensors *ts, const tensor *t, mo_error *err)
{
    char *name = mo_strdup(t->name);

    if (!name || !grow((void **)&ts->list, ts->n, &ts->cap, sizeof *ts->list)) {
        mo_free(name);
        return mo_fail(err, MO_E_NOMEM, "no memory to list the tensors of '%s'", t->file);
    }
    ts->list[ts->n] = *t;
    ts->list[ts->n++].name = name;
    return MO_OK;
}

mo_status tensors_add_other(tensors *ts, const char *name, const char *type_name, const char *file, mo_error *err)
{
    char *copy = mo_strdup(name);

    if (!copy || !grow((void **)&ts->other, ts->n_other, &ts->cap_other, sizeof *ts->other)) {
        mo_free(copy);
        return mo_fail(err, MO_E_NOMEM, "no memory to list the tensors of '%s'", file);
    }
    ts->other[ts->n_other++] = (tensor_other){ copy, type_name, file };
    return MO_OK;
}

static int compare_names(const void *a, const void *b) { return strcmp(((const tensor_ref *)a)->name, ((const tensor_ref *)b)->name); }

mo_status tensors_index(tensors *ts, mo_error *err)
{
    size_t n = ts->n + ts->n_other;
    tensor_ref *v = mo_calloc(n + 1, sizeof *v);

    if (!v) return mo_fail(err, MO_E_NOMEM, "no memory to index %zu tensors", n);
    mo_free(ts->by_name);
    ts->by_name = v;
    for (size_t i = 0; i < ts->n; i++) v[i] = (tensor_ref){ ts->list[i].name, ts->list[i].file, i, false };
    for (size_t i = 0; i < ts->n_other; i++) v[ts->n + i] = (tensor_ref){ ts->other[i].name, ts->other[i].file, i, true };
    qsort(v, n, sizeof *v, compare_names);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(v[i - 1].name, v[i].name))
            return mo_fail(err, MO_E_FORMAT, "tensor '%.120s' is there twice: in '%.120s' and in '%.120s'", v[i].name, v[i - 1].file,
                           v[i].file);
    return MO_OK;
}

static const tensor_ref *find(const tensors *ts, const char *name)
{
    tensor_ref key = { .name = name };

    return ts->by_name ? bsearch(&key, ts->by_name, ts->n + ts->n_other, sizeof key, compare_names) : NULL;
}

const tensor *tensors_find(const tensors *ts, const char *name)
{
    const tensor_ref *r = find(ts, name);
    return r && !r->is_other ? &ts->list[r->i] : NULL;
}

const tensor_other *tensors_find_other(const tensors *ts, const char *name)
{
    const tensor_ref *r = find(ts, name);
    return r && r->is_other ? &ts->other[r->i] : NULL;
}

mo_status tensors_get(const tensors *ts, const char *name, const tensor **out, mo_error *err)
{
    const tensor_other *o;

    if ((*out = tensors_find(ts, name))) return MO_OK;
    if ((o = tensors_find_other(ts, name)))
        return mo_fail(err, MO_E_UNSUPPORTED, "tensor '%.200s' in '%.200s' has type %s, which is no type of weights that this build knows",
                       name, o->file, o->type_name);
    return mo_fail(err, MO_E_FORMAT, "tensor '%.200s' is missing from '%.200s'%s", name, ts->n_file ? ts->file[0].path : "the checkpoint",
                   ts->n_file > 1 ? " and its other shards" : "");
}

size_t tensors_count(const tensors *ts) { return ts->n; }

const tensor *tensors_at(const tensors *ts, size_t i) { return i < ts->n ? &ts->list[i] : NULL; }
