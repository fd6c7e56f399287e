/* A checkpoint in safetensors: which files make it up (spec: formats, section 5).
 *
 * A path is one file, or a directory. In a directory, as Hugging Face's loader looks: model.safetensors; else the shards
 * that model.safetensors.index.json names; else (our own kindness) every *.safetensors there is.
 */
#include "formats/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

enum { INDEX_MAX = 100000000, SHARD_MAX = 10000 };

static int by_string(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_plain_name(const char *s) { return *s && s[0] != '.' && !strpbrk(s, "/\\") && strlen(s) < 256; }

/* Drop neighbours that are equal; what is dropped is freed. */
static size_t unique(char **v, size_t n)
{
    size_t m = 0;

    for (size_t i = 0; i < n; i++) {
        if (m && !strcmp(v[m - 1], v[i])) mo_free(v[i]);
        else v[m++] = v[i];
    }
    return m;
}

void shard_index_free(shard_index *ix)
{
    for (size_t i = 0; i < ix->n_shard; i++) mo_free(ix->shard[i]);
    mo_free(ix->shard);
    json_decref(ix->root);
    memset(ix, 0, sizeof *ix);
}

static mo_status collect_shards(shard_index *ix, json_t *map, const char *where, mo_error *err)
{
    const char *name;
    json_t *v;

    if (!(ix->shard = mo_calloc(json_object_size(map) + 1, sizeof *ix->shard)))
        return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", where);
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        if (!file) return mo_fail(err, MO_E_FORMAT, "'%.200s' does not say which file holds tensor '%.200s'", where, name);
        if (!is_plain_name(file))
            return mo_fail(err, MO_E_FORMAT, "'%.150s' puts tensor '%.150s' into '%.100s', which is no plain file name", where, name, file);
        /* writers go shard by shard, so most repeats are neighbours already */
        if (ix->n_shard && !strcmp(ix->shard[ix->n_shard - 1], file)) continue;
        if (!(ix->shard[ix->n_shard] = mo_strdup(file))) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", where);
        ix->n_shard++;
    }
    qsort(ix->shard, ix->n_shard, sizeof *ix->shard, by_string);
    ix->n_shard = unique(ix->shard, ix->n_shard);
    if (!ix->n_shard) return mo_fail(err, MO_E_FORMAT, "'%.300s' names no tensor", where);
    if (ix->n_shard > SHARD_MAX)
        return mo_fail(err, MO_E_LIMIT, "'%.300s' names %zu files, more than the %d allowed", where, ix->n_shard, SHARD_MAX);
    return MO_OK;
}

mo_status shard_index_parse(shard_index *ix, const char *json, size_t n, const char *where, mo_error *err)
{
    json_error_t je;
    json_t *map;
    mo_status st;

    memset(ix, 0, sizeof *ix);
    if (!(ix->root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je))) {
        if (json_error_code(&je) == json_error_out_of_memory) return mo_fail(err, MO_E_NOMEM, "no memory to read '%.300s'", where);
        return mo_fail(err, MO_E_FORMAT, "'%.200s' is no valid JSON: %.100s (line %d)", where, je.text, je.line);
    }
    map = json_object_get(ix->root, "weight_map");
    st = json_is_object(map) ? collect_shards(ix, map, where, err) : mo_fail(err, MO_E_FORMAT, "'%.300s' has no weight_map", where);
    if (st != MO_OK) shard_index_free(ix);
    return st;
}

mo_status shard_index_verify(const shard_index *ix, const tensors *ts, const char *where, mo_error *err)
{
    json_t *map = json_object_get(ix->root, "weight_map"), *v;
    const char *name;

    json_object_foreach(map, name, v) {
        const tensor *t = tensors_find(ts, name);
        const tensor_other *o = t ? NULL : tensors_find_other(ts, name);
        const char *file = t ? t->file : o ? o->file : NULL, *base = file ? strrchr(file, '/') : NULL;

        if (!file || strcmp(base ? base + 1 : file, json_string_value(v)))
            return mo_fail(err, MO_E_FORMAT, "'%.150s' says that '%.100s' holds tensor '%.150s', but it does not", where,
                           json_string_value(v), name);
    }
    return MO_OK;
}

static mo_status add_file(tensors *ts, const char *path, mo_error *err)
{
    const file_map *map;
    const char *file;
    mo_status st = tensors_map(ts, path, &map, &file, err);

    return st == MO_OK ? safetensors_parse(ts, map->data, map->size, file, err) : st;
}

static mo_status add_in_dir(tensors *ts, const char *dir, const char *name, mo_error *err)
{
    char *path = path_join(dir, name);
    mo_status st = path ? add_file(ts, path, err) : mo_fail(err, MO_E_NOMEM, "no memory to open '%.200s' in '%.200s'", name, dir);

    mo_free(path);
    return st;
}

static mo_status add_indexed(tensors *ts, const char *dir, const char *index_path, mo_error *err)
{
    shard_index ix;
    char *json;
    size_t n;
    mo_status st = file_read(&json, &n, index_path, INDEX_MAX, err);

    if (st != MO_OK) return st;
    st = shard_index_parse(&ix, json, n, index_path, err);
    mo_free(json);
    if (st != MO_OK) return st;
    for (size_t i = 0; i < ix.n_shard && st == MO_OK; i++) {
        char *path = path_join(dir, ix.shard[i]);
        if (!path) st = mo_fail(err, MO_E_NOMEM, "no memory to open '%.200s'", ix.shard[i]);
        else if (!file_exists(path))
            st = mo_fail(err, MO_E_IO, "'%.200s' is missing from '%.200s': the index names %zu files, download that one too", ix.shard[i],
                         dir, ix.n_shard);
        else st = add_file(ts, path, err);
        mo_free(path);
    }
    if (st == MO_OK) st = tensors_index(ts, err);
    if (st == MO_OK) st = shard_index_verify(&ix, ts, index_path, err);
    shard_index_free(&ix);
    return st;
}

static bool ends_in_safetensors(const char *s)
{
    size_t n = strlen(s), m = strlen(".safetensors");
    return s[0] != '.' && n > m && !strcmp(s + n - m, ".safetensors");
}

/* The names of all *.safetensors in dir, sorted so that file order does not depend on the file system. */
static mo_status list_dir(char ***out, size_t *n, const char *dir, mo_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    mo_status st = MO_OK;

    *out = NULL;
    *n = 0;
    if (!d) return mo_fail(err, MO_E_IO, "cannot open '%.300s': %s", dir, strerror(errno));
    while (st == MO_OK && (e = readdir(d))) {
        char **more;
        if (!ends_in_safetensors(e->d_name)) continue;
        if (*n == SHARD_MAX) {
            st = mo_fail(err, MO_E_LIMIT, "'%.300s' holds more than %d files", dir, SHARD_MAX);
        } else if (!(more = mo_realloc(*out, (*n + 1) * sizeof *more))) {
            st = mo_fail(err, MO_E_NOMEM, "no memory to list '%.300s'", dir);
        } else {
            *out = more;
            if (!(more[*n] = mo_strdup(e->d_name))) st = mo_fail(err, MO_E_NOMEM, "no memory to list '%.300s'", dir);
            else ++*n;
        }
    }
    closedir(d);
    if (st == MO_OK && *n) qsort(*out, *n, sizeof **out, by_string);
    return st;
}

static mo_status add_all(tensors *ts, const char *dir, mo_error *err)
{
    char **name;
    size_t n;
    mo_status st = list_dir(&name, &n, dir, err);

    if (st == MO_OK && !n)
        st = mo_fail(err, MO_E_UNSUPPORTED,
                     "'%.200s' holds no weights this build can read here; it knows model.safetensors, model.safetensors.index.json with "
                     "its shards, and *.safetensors",
                     dir);
    for (size_t i = 0; i < n && st == MO_OK; i++) st = add_in_dir(ts, dir, name[i], err);
    for (size_t i = 0; i < n; i++) mo_free(name[i]);
    mo_free(name);
    return st;
}

static mo_status add_dir(tensors *ts, const char *dir, mo_error *err)
{
    char *single = path_join(dir, "model.safetensors"), *index = path_join(dir, "model.safetensors.index.json");
    mo_status st;

    if (!single || !index) st = mo_fail(err, MO_E_NOMEM, "no memory to open '%.300s'", dir);
    else if (file_exists(single)) st = add_file(ts, single, err);
    else if (file_exists(index)) st = add_indexed(ts, dir, index, err);
    else st = add_all(ts, dir, err);
    mo_free(single);
    mo_free(index);
    return st;
}

mo_status tensors_open_safetensors(tensors **out, const char *path, mo_error *err)
{
    tensors *ts;
    mo_status st;

    *out = NULL;
    if ((st = tensors_new(&ts, err)) != MO_OK) return st;
    st = file_is_dir(path) ? add_dir(ts, path, err) : add_file(ts, path, err);
    if (st == MO_OK && !ts->by_name) st = tensors_index(ts, err);
    if (st != MO_OK) tensors_close(ts);
    else *out = ts;
    return st;
}
