/* Messages and their parts (conversation.h). */
#include "session/conversation.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

enum { PARTS_MAX = 100000, MESSAGES_MAX = 100000 };

static void part_free(part *p)
{
    buf_free(&p->text);
    image_slices_free(&p->slices);
    mo_free(p->pcm);
    mo_free(p->rows);
}

static void message_free(message *m)
{
    for (int32_t i = 0; i < m->n_part; i++) part_free(&m->part[i]);
    for (int32_t i = 0; i < m->n_sound; i++) mo_free(m->sound[i].rows);
    mo_free(m->part);
    mo_free(m->sound);
}

void conversation_truncate(conversation *c, int32_t n)
{
    while (c->n_message > n) message_free(&c->message[--c->n_message]);
}

void conversation_free(conversation *c)
{
    conversation_truncate(c, 0);
    mo_free(c->message);
    memset(c, 0, sizeof *c);
}

/* Room for one more element; capacity doubles. */
static bool room(void **array, int32_t *cap, int32_t n, size_t size)
{
    int32_t bigger = *cap ? *cap * 2 : 4;
    void *p;

    if (n < *cap) return true;
    if (!(p = mo_realloc(*array, (size_t)bigger * size))) return false;
    *array = p;
    *cap = bigger;
    return true;
}

mo_status conversation_begin(conversation *c, const char *role, mo_error *err)
{
    void *array = c->message;
    message *m = NULL;

    if (!role || (strcmp(role, "system") && strcmp(role, "user") && strcmp(role, "assistant")))
        return mo_fail(err, MO_E_ARG, "role '%s'; it must be system, user or assistant", role ? role : "(null)");
    if (!c->n_message && !strcmp(role, "assistant")) return mo_fail(err, MO_E_ARG, "the first message must be by the system or the user");
    if (c->n_message >= MESSAGES_MAX) return mo_fail(err, MO_E_LIMIT, "more than %d messages", MESSAGES_MAX);
    if (!room(&array, &c->cap_message, c->n_message, sizeof *c->message)) return mo_fail(err, MO_E_NOMEM, "no memory for another message");
    c->message = array;
    m = &c->message[c->n_message++];
    memset(m, 0, sizeof *m);
    strcpy(m->role, role);
    return MO_OK;
}

/* A zeroed part at the end of the last message, not yet counted. */
static mo_status new_part(conversation *c, part_kind kind, message **m, part **p, mo_error *err)
{
    void *array;

    if (!c->n_message) return mo_fail(err, MO_E_STATE, "no message was begun");
    *m = &c->message[c->n_message - 1];
    array = (*m)->part;
    if ((*m)->n_part >= PARTS_MAX) return mo_fail(err, MO_E_LIMIT, "more than %d items in a message", PARTS_MAX);
    if (!room(&array, &(*m)->cap_part, (*m)->n_part, sizeof **p)) return mo_fail(err, MO_E_NOMEM, "no memory for another item");
    (*m)->part = array;
    *p = &(*m)->part[(*m)->n_part];
    memset(*p, 0, sizeof **p);
    (*p)->kind = kind;
    return MO_OK;
}

mo_status conversation_add_text(conversation *c, const char *text, size_t n, mo_error *err)
{
    mo_status st;
    message *m = NULL;
    part *p = NULL;

    if ((st = new_part(c, PART_TEXT, &m, &p, err)) != MO_OK) return st;
    buf_put(&p->text, text, n);
    if (p->text.failed) {
        part_free(p);
        return mo_fail(err, MO_E_NOMEM, "no memory for a text of %zu bytes", n);
    }
    m->n_part++;
    return MO_OK;
}

mo_status conversation_add_image(conversation *c, const image *im, int32_t max_slices, int32_t scale_resolution, int32_t patch,
                                 int32_t max_patches, mo_error *err)
{
    mo_status st;
    message *m = NULL;
    part *p = NULL;

    if ((st = new_part(c, PART_IMAGE, &m, &p, err)) != MO_OK) return st;
    if ((st = image_slice(&p->slices, im, max_slices, scale_resolution, patch, err)) != MO_OK) return st;
    for (int32_t i = 0; i < p->slices.n_tile; i++) {
        int64_t n = (int64_t)(p->slices.tile[i].w / patch) * (p->slices.tile[i].h / patch);
        if (n <= max_patches) continue;
        part_free(p);
        return mo_fail(err, MO_E_LIMIT, "a tile of this picture has %lld patches and the vision encoder takes %d", (long long)n,
                       max_patches);
    }
    p->width = im->w;
    p->height = im->h;
    p->uid = ++c->next_uid;
    m->n_part++;
    return MO_OK;
}

mo_status conversation_add_audio(conversation *c, const float *pcm, int64_t n, mo_error *err)
{
    mo_status st;
    message *m = NULL;
    part *p = NULL;

    if (n < 1) return mo_fail(err, MO_E_ARG, "a sound without samples");
    if ((st = new_part(c, PART_AUDIO, &m, &p, err)) != MO_OK) return st;
    if (!(p->pcm = mo_calloc((size_t)n, sizeof *pcm))) return mo_fail(err, MO_E_NOMEM, "no memory for %lld samples of sound", (long long)n);
    for (int64_t i = 0; i < n; i++) p->pcm[i] = isfinite(pcm[i]) ? pcm[i] : 0.0f;
    p->n_sample = n;
    m->n_part++;
    return MO_OK;
}

static json_t *part_json(const part *p)
{
    switch (p->kind) {
    case PART_TEXT: return json_pack("{s:s, s:o}", "type", "text", "text", json_stringn(p->text.data ? p->text.data : "", p->text.len));
    case PART_IMAGE: return json_pack("{s:s, s:i, s:i}", "type", "image", "width", p->width, "height", p->height);
    case PART_AUDIO: return json_pack("{s:s, s:f}", "type", "audio", "seconds", (double)p->n_sample / 16000.0);
    }
    return NULL;
}

bool conversation_json(const conversation *c, buf *out)
{
    json_t *all = json_array();
    bool ok = all != NULL;
    char *text;

    for (int32_t i = 0; ok && i < c->n_message; i++) {
        const message *m = &c->message[i];
        json_t *content = json_array();

        for (int32_t j = 0; ok && j < m->n_part; j++) ok = json_array_append_new(content, part_json(&m->part[j])) == 0;
        ok = json_array_append_new(all, json_pack("{s:s, s:o}", "role", m->role, "content", content)) == 0 && ok;
    }
    text = ok ? json_dumps(all, JSON_INDENT(2)) : NULL;
    if (text) buf_puts(out, text);
    free(text); /* jansson's own allocation */
    json_decref(all);
    return text && !out->failed;
}
