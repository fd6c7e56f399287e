/* Any bytes as a GGUF file: parse, read every value as what it could be, touch the data, decode what is small, and make a
 * configuration of it.
 */
#include <stdint.h>

#include "core/alloc.h"
#include "formats/gguf.h"
#include "formats/gguf_names.h"
#include "models/config_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_values(const gguf *g)
{
    mo_error err;

    for (size_t i = 0; i < g->n_value; i++) {
        const gguf_value *v = &g->value[i];
        char *key = mo_strndup(v->key.s, v->key.n);
        gguf_text t = { 0 }, *texts;
        int32_t *ints;
        float *reals;
        int64_t whole;
        double real;
        size_t count;
        bool b;

        if (!key) return;
        if (gguf_find(g, key) != v) __builtin_trap();
        gguf_get_text(g, key, &t);
        gguf_get_int(g, key, &whole);
        gguf_get_real(g, key, &real);
        gguf_get_bool(g, key, &b);
        gguf_text_has(t, "enable_thinking");
        if (gguf_get_texts(g, key, &texts, &count, &err) == MO_OK) mo_free(texts);
        if (gguf_get_ints(g, key, &ints, &count, &err) == MO_OK) mo_free(ints);
        if (gguf_get_reals(g, key, &reals, &count, &err) == MO_OK) mo_free(reals);
        mo_free(key);
    }
}

static void read_tensors(const gguf *g, tensors *ts)
{
    const gguf_naming naming = gguf_naming_of(g);
    char official[OFFICIAL_NAME_MAX];
    volatile uint8_t sink = 0;
    mo_error err;
    float y[256];

    for (size_t i = 0; i < g->n_tensor; i++) {
        tensor t = g->list[i];
        const uint8_t *p = t.data;
        sink = (uint8_t)(sink + p[0] + p[t.n_bytes - 1]);
        t.name = gguf_official_name(&naming, t.name, official);
        if (t.type >= 0 && dtype_get(t.type)->n_block > 1) dtype_to_f32(y, t.data, t.type, dtype_get(t.type)->n_block);
        if (!g->other[i]) tensors_add(ts, &t, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    tensors *ts = NULL;
    model_config c;
    mo_error err;
    gguf *g;

    if (gguf_parse(&g, data, n, "fuzz", &err) != MO_OK) return 0;
    read_values(g);
    if (tensors_new(&ts, &err) == MO_OK) {
        read_tensors(g, ts);
        if (tensors_index(ts, &err) == MO_OK && model_config_from_gguf(&c, g, g, g, ts, &err) == MO_OK) model_config_free(&c);
        tensors_close(ts);
    }
    gguf_free(g);
    return 0;
}
