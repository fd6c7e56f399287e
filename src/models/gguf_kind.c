/* Telling the files of a GGUF set apart (gguf_kind.h). */
#include "models/gguf_kind.h"

#include <string.h>

/* The first line that fits counts. The speech files' architectures say little (the speech language model calls itself llama, those
 * of token2wav differ from writer to writer), so these are told by tensors that only they have. */
static const struct {
    gguf_kind kind;
    const char *arch;      /* "": any */
    const char *tensor[2]; /* NULL: none is needed */
} marks[] = {
    { GGUF_KIND_VISION, "clip", { NULL, NULL } },
    { GGUF_KIND_AUDIO, "whisper", { NULL, NULL } },
    { GGUF_KIND_TTS, "", { "emb_code.0.weight", "emb_text.weight" } },
    { GGUF_KIND_TTS, "minicpmtts", { NULL, NULL } },
    { GGUF_KIND_PROJECTOR, "projector", { "linear1.weight", "linear2.weight" } },
    { GGUF_KIND_FLOW_ENCODER, "", { "pre_lookahead_layer.conv1.weight", "up_layer.conv.weight" } },
    { GGUF_KIND_FLOW_MATCHING, "", { "estimator.in_proj.weight", "estimator.final_layer.linear.weight" } },
    { GGUF_KIND_FLOW_EXTRA, "", { "input_embedding.weight", "spk_embed_affine_layer.weight" } },
    { GGUF_KIND_VOCODER, "", { "conv_pre.weight", "m_source.l_linear.weight" } },
    { GGUF_KIND_VOICE_PROMPT, "", { "prompt_cache.spk_cb", "prompt_cache.estimator_att_cache" } },
};

static bool has_tensor(const gguf *g, const char *name)
{
    if (!name) return true;
    for (size_t i = 0; i < g->n_tensor; i++)
        if (!strcmp(g->list[i].name, name)) return true;
    return false;
}

gguf_kind gguf_kind_of(const gguf *g)
{
    gguf_text arch = { "", 0 };

    gguf_get_text(g, "general.architecture", &arch);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if ((!*marks[i].arch || gguf_text_is(arch, marks[i].arch)) && has_tensor(g, marks[i].tensor[0]) &&
            has_tensor(g, marks[i].tensor[1]))
            return marks[i].kind;
    return arch.n && gguf_find(g, "tokenizer.ggml.model") ? GGUF_KIND_LLM : GGUF_KIND_UNKNOWN;
}

const char *gguf_kind_text(gguf_kind k)
{
    switch (k) {
    case GGUF_KIND_UNKNOWN: return "unknown";
    case GGUF_KIND_LLM: return "language model";
    case GGUF_KIND_VISION: return "vision encoder";
    case GGUF_KIND_AUDIO: return "audio encoder";
    case GGUF_KIND_TTS: return "speech language model";
    case GGUF_KIND_PROJECTOR: return "projector of the speech language model";
    case GGUF_KIND_FLOW_ENCODER: return "speech decoder: token encoder";
    case GGUF_KIND_FLOW_MATCHING: return "speech decoder: flow matching";
    case GGUF_KIND_FLOW_EXTRA: return "speech decoder: embeddings";
    case GGUF_KIND_VOCODER: return "speech decoder: vocoder";
    case GGUF_KIND_VOICE_PROMPT: return "speech decoder: voice prompt";
    }
    return "unknown";
}
