/* Looking for the GGUF files of a model (checkpoint_files.h; spec: family 2.2). A candidate is taken for what its metadata
 * says it is; names only choose among several.
 */
#include "models/checkpoint_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/alloc.h"
#include "models/checkpoint.h"

enum { FILE_MAX = 256 }; /* GGUF files of a folder that are looked at */

typedef struct list {
    char *path[FILE_MAX];
    int n;
} list;

static void list_free(list *l)
{
    for (int i = 0; i < l->n; i++) mo_free(l->path[i]);
    l->n = 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* "…-00002-of-00003.gguf": a later part of a model. */
static bool is_later_part(const char *name)
{
    const size_t n = strlen(name), tail = strlen("-00001-of-00003.gguf");
    unsigned no = 0, count = 0;

    return n > tail && sscanf(name + n - tail, "-%5u-of-%5u.gguf", &no, &count) == 2 && no > 1;
}

static bool is_candidate(const char *name)
{
    const size_t n = strlen(name);

    return name[0] != '.' && n > 5 && !strcasecmp(name + n - 5, ".gguf") && !is_later_part(name);
}

/* *.gguf of a folder, sorted; a folder that cannot be read has none. */
static mo_status list_folder(list *l, const char *dir, mo_error *err)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    mo_status st = MO_OK;

    if (!d) return MO_OK;
    while (st == MO_OK && l->n < FILE_MAX && (e = readdir(d))) {
        if (!is_candidate(e->d_name)) continue;
        if (!(l->path[l->n] = path_join(dir, e->d_name))) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
        else l->n++;
    }
    closedir(d);
    qsort(l->path, (size_t)l->n, sizeof *l->path, by_name);
    return st;
}

/* What a file is and, of an encoder, the width of language model it is for (0: it does not tell). A file that cannot be
 * read as GGUF is GGUF_ROLE_OTHER; lack of memory is told. */
static mo_status look(gguf_role *role, int64_t *width, const char *path, mo_error *err)
{
    mo_error ignored;
    file_map map;
    gguf *g;
    mo_status st;

    *role = GGUF_ROLE_OTHER;
    *width = 0;
    if (file_map_open(&map, path, &ignored) != MO_OK) return MO_OK;
    if ((st = gguf_parse(&g, map.data, map.size, path, &ignored)) == MO_OK) {
        char key[96];
        gguf_text arch = { 0 };
        *role = gguf_role_of(g);
        gguf_get_text(g, "general.architecture", &arch);
        snprintf(key, sizeof key, "%.*s.embedding_length", (int)(arch.n < 64 ? arch.n : 64), arch.n ? arch.s : "");
        if (*role == GGUF_ROLE_LLM) gguf_get_int(g, key, width);
        for (size_t i = 0; i < g->n_tensor; i++) {
            const tensor *t = &g->list[i];
            if (!strcmp(t->name, "resampler.query")) *width = t->dim[t->n_dim - 1];
            if (!strcmp(t->name, "audio_projector.linear2.weight")) *width = t->dim[0];
        }
        gguf_free(g);
    }
    file_map_close(&map);
    return st == MO_E_NOMEM ? mo_fail(err, st, "no memory to look into '%.300s'", path) : MO_OK;
}

/* ---- the language model ----------------------------------------------------------------------------------------- */

static mo_status pick_llm(char **out, const list *l, const char *dir, mo_error *err)
{
    int found = -1;

    for (int i = 0; i < l->n; i++) {
        gguf_role role;
        int64_t width;
        mo_status st = look(&role, &width, l->path[i], err);
        if (st != MO_OK) return st;
        if (role != GGUF_ROLE_LLM) continue;
        if (found >= 0)
            return mo_fail(err, MO_E_ARG, "'%.200s' has several language models, '%.100s' and '%.100s' among them: name the file", dir,
                           base_name(l->path[found]), base_name(l->path[i]));
        found = i;
    }
    if (found < 0) return mo_fail(err, MO_E_FORMAT, "'%.300s' has neither a config.json nor a GGUF file of a language model in it", dir);
    *out = mo_strdup(l->path[found]);
    return *out ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a path");
}

/* A file must begin as GGUF does. */
static mo_status check_file(char **out, const char *path, mo_error *err)
{
    file_map map;
    mo_status st = file_map_open(&map, path, err);

    if (st != MO_OK) return st;
    if (!gguf_is(map.data, map.size)) st = mo_fail(err, MO_E_FORMAT, "'%.300s' is neither a folder nor a GGUF file", path);
    else if (!(*out = mo_strdup(path))) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    file_map_close(&map);
    return st;
}

mo_status checkpoint_find_llm(char **out, const char *path, mo_error *err)
{
    list l = { .n = 0 };
    char *config;
    bool is_hf;
    mo_status st;

    *out = NULL;
    if (!file_is_dir(path)) return check_file(out, path, err);
    if (!(config = path_join(path, "config.json"))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    is_hf = file_exists(config);
    mo_free(config);
    if (is_hf) return MO_OK;
    if ((st = list_folder(&l, path, err)) == MO_OK && l.n) st = pick_llm(out, &l, path, err); /* else the HF reader says what is missing */
    list_free(&l);
    return st;
}

/* ---- encoders --------------------------------------------------------------------------------------------------- */

/* "mmproj", "vision", "audio": names that files of this role have; other files are not opened. */
static bool name_fits(const char *name, gguf_role role)
{
    if (role == GGUF_ROLE_AUDIO) return strcasestr(name, "audio");
    return strcasestr(name, "vision") || strcasestr(name, "mmproj");
}

/* How well a name fits: letters in common with the language model's, then F16. */
static int score(const char *name, const char *llm_name)
{
    int n = 0;

    while (name[n] && name[n] == llm_name[n]) n++;
    return 2 * n + (strcasestr(name, "f16") != NULL);
}

static mo_status pick_encoder(char **out, const list *l, const char *llm_path, gguf_role role, mo_error *err)
{
    int64_t llm_width, width;
    gguf_role got;
    int best = -1;
    mo_status st = look(&got, &llm_width, llm_path, err);

    for (int i = 0; i < l->n && st == MO_OK; i++) {
        const char *name = base_name(l->path[i]);
        if (!name_fits(name, role) ||
            (best >= 0 && score(name, base_name(llm_path)) <= score(base_name(l->path[best]), base_name(llm_path))))
            continue;
        if ((st = look(&got, &width, l->path[i], err)) == MO_OK && got == role && width == llm_width) best = i;
    }
    if (st != MO_OK || best < 0) return st;
    *out = mo_strdup(l->path[best]);
    return *out ? MO_OK : mo_fail(err, MO_E_NOMEM, "no memory for a path");
}

mo_status checkpoint_find_encoder(char **out, const char *llm_path, gguf_role role, mo_error *err)
{
    const char *slash = strrchr(llm_path, '/');
    char *dir = slash ? mo_strndup(llm_path, (size_t)(slash - llm_path) + 1) : mo_strdup(".");
    char *sub = dir ? path_join(dir, role == GGUF_ROLE_VISION ? "vision" : "audio") : NULL;
    list l = { .n = 0 };
    mo_status st;

    *out = NULL;
    if (!sub) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    else st = list_folder(&l, dir, err);
    if (st == MO_OK) st = list_folder(&l, sub, err);
    if (st == MO_OK) st = pick_encoder(out, &l, llm_path, role, err);
    list_free(&l);
    mo_free(dir);
    mo_free(sub);
    return st;
}

/* ---- listing ---------------------------------------------------------------------------------------------------- */

static mo_status describe(checkpoint_file *f, const char *path, mo_error *err)
{
    mo_error ignored;
    file_map map;
    gguf *g;
    mo_status st;

    if (!(f->path = mo_strdup(path))) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
    if (file_map_open(&map, path, &ignored) != MO_OK) return MO_OK;
    f->n_bytes = map.size;
    if ((st = gguf_parse(&g, map.data, map.size, path, &ignored)) == MO_OK) {
        gguf_text arch = { "?", 1 };
        size_t n = 0;
        gguf_get_text(g, "general.architecture", &arch);
        for (size_t i = 0; i < arch.n && n < sizeof f->arch - 1; i++)
            if (arch.s[i] > 0x20 && arch.s[i] < 0x7f) f->arch[n++] = arch.s[i];
        f->kind = gguf_kind_of(g);
        f->n_tensor = g->n_tensor;
        gguf_free(g);
    }
    file_map_close(&map);
    return st == MO_E_NOMEM ? mo_fail(err, st, "no memory to look into '%.300s'", path) : MO_OK;
}

/* What is in the folder and in those that the published sets have. */
static mo_status list_set(list *l, const char *dir, mo_error *err)
{
    static const char *const sub[] = { "vision", "audio", "tts", "token2wav-gguf" };
    mo_status st = list_folder(l, dir, err);

    for (size_t i = 0; i < sizeof sub / sizeof *sub && st == MO_OK; i++) {
        char *path = path_join(dir, sub[i]);
        list part = { .n = 0 };
        if (!path) return mo_fail(err, MO_E_NOMEM, "no memory for a path");
        st = list_folder(&part, path, err);
        for (int k = 0; k < part.n; k++) {
            if (l->n < FILE_MAX) l->path[l->n++] = part.path[k];
            else mo_free(part.path[k]);
        }
        mo_free(path);
    }
    return st;
}

void checkpoint_list_free(checkpoint_file *file, int n)
{
    for (int i = 0; i < n && file; i++) mo_free(file[i].path);
    mo_free(file);
}

mo_status checkpoint_list(checkpoint_file **out, int *n, const char *path, mo_error *err)
{
    list l = { .n = 0 };
    mo_status st = MO_OK;

    *out = NULL;
    *n = 0;
    if (file_is_dir(path)) st = list_set(&l, path, err);
    else if (!(l.path[0] = mo_strdup(path))) st = mo_fail(err, MO_E_NOMEM, "no memory for a path");
    else l.n = 1;
    if (st == MO_OK && !(*out = mo_calloc((size_t)l.n + 1, sizeof **out))) st = mo_fail(err, MO_E_NOMEM, "no memory for a list of files");
    for (int i = 0; i < l.n && st == MO_OK; i++) {
        *n = i + 1;
        st = describe(&(*out)[i], l.path[i], err);
    }
    list_free(&l);
    if (st == MO_OK) return MO_OK;
    checkpoint_list_free(*out, *n);
    *out = NULL;
    *n = 0;
    return st;
}
