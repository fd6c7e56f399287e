/* The added tokens of MiniCPM-o 4.5 by name and id, and a tokenizer made of nothing else (tokenizer.h).
 *
 * An opened tokenizer never looks here: ids come from its own files, by name. The table is for writing made-up checkpoints.
 */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

/* `special` is false for what Qwen3 leaves visible: tool calls, thinking, fill-in-the-middle. */
const family_token family_tokens[] = {
    { 128244, true, "<unk>" },
    { 151643, true, "<|endoftext|>" },
    { 151644, true, "<|im_start|>" },
    { 151645, true, "<|im_end|>" },
    { 151646, true, "<|object_ref_start|>" },
    { 151647, true, "<|object_ref_end|>" },
    { 151648, true, "<|box_start|>" },
    { 151649, true, "<|box_end|>" },
    { 151650, true, "<|quad_start|>" },
    { 151651, true, "<|quad_end|>" },
    { 151652, true, "<|vision_start|>" },
    { 151653, true, "<|vision_end|>" },
    { 151654, true, "<|vision_pad|>" },
    { 151655, true, "<|image_pad|>" },
    { 151656, true, "<|video_pad|>" },
    { 151657, false, "<tool_call>" },
    { 151658, false, "</tool_call>" },
    { 151659, false, "<|fim_prefix|>" },
    { 151660, false, "<|fim_middle|>" },
    { 151661, false, "<|fim_suffix|>" },
    { 151662, false, "<|fim_pad|>" },
    { 151663, false, "<|repo_name|>" },
    { 151664, false, "<|file_sep|>" },
    { 151665, false, "<tool_response>" },
    { 151666, false, "</tool_response>" },
    { 151667, false, "<think>" },
    { 151668, false, "</think>" },
    { 151669, true, "<image>" },
    { 151670, true, "</image>" },
    { 151671, true, "<ref>" },
    { 151672, true, "</ref>" },
    { 151673, true, "<box>" },
    { 151674, true, "</box>" },
    { 151675, true, "<quad>" },
    { 151676, true, "</quad>" },
    { 151677, true, "<point>" },
    { 151678, true, "</point>" },
    { 151679, true, "<slice>" },
    { 151680, true, "</slice>" },
    { 151681, true, "<image_id>" },
    { 151682, true, "</image_id>" },
    { 151683, true, "<unit>" },
    { 151684, true, "</unit>" },
    { 151685, true, "<answer>" },
    { 151686, true, "</answer>" },
    { 151687, true, "<focus>" },
    { 151688, true, "</focus>" },
    { 151689, true, "<line>" },
    { 151690, true, "</line>" },
    { 151691, true, "<perception>" },
    { 151692, true, "</perception>" },
    { 151693, true, "<source_image>" },
    { 151694, true, "</source_image>" },
    { 151695, true, "<image_save_to>" },
    { 151696, true, "</image_save_to>" },
    { 151697, true, "<|audio_start|>" },
    { 151698, true, "<|audio|>" },
    { 151699, true, "<|audio_end|>" },
    { 151700, true, "<|spk_bos|>" },
    { 151701, true, "<|spk|>" },
    { 151702, true, "<|spk_eos|>" },
    { 151703, true, "<|tts_bos|>" },
    { 151704, true, "<|tts_eos|>" },
    { 151705, true, "<|listen|>" },
    { 151706, true, "<|speak|>" },
    { 151707, true, "<|interrupt|>" },
    { 151708, true, "<|vad_start|>" },
    { 151709, true, "<|vad_end|>" },
    { 151710, true, "<|emotion_start|>" },
    { 151711, true, "<|emotion_end|>" },
    { 151712, true, "<|speed_start|>" },
    { 151713, true, "<|speed_end|>" },
    { 151714, true, "<|pitch_start|>" },
    { 151715, true, "<|pitch_end|>" },
    { 151716, true, "<|turn_bos|>" },
    { 151717, true, "<|turn_eos|>" },
    { 151718, true, "<|chunk_eos|>" },
    { 151719, true, "<|chunk_bos|>" },
    { 151720, true, "<|chunk_tts_bos|>" },
    { 151721, true, "<|chunk_tts_eos|>" },
    { 151722, true, "<|tts_pad|>" },
    { 151723, true, "<|timbre_7|>" },
    { 151724, true, "<|timbre_8|>" },
    { 151725, true, "<|timbre_9|>" },
    { 151726, true, "<|timbre_10|>" },
    { 151727, true, "<|timbre_11|>" },
    { 151728, true, "<|timbre_12|>" },
    { 151729, true, "<|timbre_13|>" },
    { 151730, true, "<|timbre_14|>" },
    { 151731, true, "<|timbre_15|>" },
    { 151732, true, "<|timbre_16|>" },
    { 151733, true, "<|timbre_17|>" },
    { 151734, true, "<|timbre_18|>" },
    { 151735, true, "<|timbre_19|>" },
    { 151736, true, "<|timbre_20|>" },
    { 151737, true, "<|timbre_21|>" },
    { 151738, true, "<|timbre_22|>" },
    { 151739, true, "<|timbre_23|>" },
    { 151740, true, "<|timbre_24|>" },
    { 151741, true, "<|timbre_25|>" },
    { 151742, true, "<|timbre_26|>" },
    { 151743, true, "<|timbre_27|>" },
    { 151744, true, "<|timbre_28|>" },
    { 151745, true, "<|timbre_29|>" },
    { 151746, true, "<|timbre_30|>" },
    { 151747, true, "<|timbre_31|>" },
};
const int n_family_token = (int)(sizeof family_tokens / sizeof *family_tokens);

static mo_status write_file(const char *dir, const char *name, const buf *b, mo_error *err)
{
    char *path = path_join(dir, name);
    FILE *f;
    bool ok;

    if (!path || b->failed) {
        mo_free(path);
        return mo_fail(err, MO_E_NOMEM, "no memory to write '%s'", name);
    }
    f = fopen(path, "wb");
    ok = f && fwrite(b->data, 1, b->len, f) == b->len;
    if (f && fclose(f)) ok = false;
    if (!ok) mo_fail(err, MO_E_IO, "cannot write '%s'", path);
    mo_free(path);
    return ok ? MO_OK : MO_E_IO;
}

/* Ids follow the order of the alphabet's characters, as in Qwen's vocabulary: 0 is "!", 198 a newline, 220 a space.
 * <unk> has an id inside the base vocabulary and stands in vocab.json too. */
static void put_vocab(buf *b, int32_t n_vocab)
{
    int32_t id = 0;

    buf_puts(b, "{");
    for (uint32_t cp = 0x21; cp <= 0x143; cp++) {
        if (symbol_to_byte(cp) < 0) continue;
        buf_puts(b, id ? ",\n\"" : "\n\"");
        if (cp == '"' || cp == '\\') buf_puts(b, "\\");
        utf8_put(b, cp);
        buf_printf(b, "\": %d", id++);
    }
    for (int i = 0; i < n_family_token; i++)
        if (family_tokens[i].id < n_vocab && !strcmp(family_tokens[i].text, "<unk>"))
            buf_printf(b, ",\n\"%s\": %d", family_tokens[i].text, family_tokens[i].id);
    buf_puts(b, "\n}\n");
}

/* Both lists of the same tokens: text to id, and id to text and flags. */
static void put_added(buf *added, buf *decoder, int32_t n_vocab)
{
    const char *comma = "";

    for (int i = 0; i < n_family_token; i++) {
        const family_token *f = &family_tokens[i];
        if (f->id >= n_vocab) continue;
        buf_printf(added, "%s\n\"%s\": %d", comma, f->text, f->id);
        buf_printf(decoder,
                   "%s\n\"%d\": {\"content\": \"%s\", \"lstrip\": false, \"normalized\": false, \"rstrip\": false, \"single_word\": false, "
                   "\"special\": %s}",
                   comma, f->id, f->text, f->special ? "true" : "false");
        comma = ",";
    }
}

static void put_config(buf *b, const buf *decoder, int32_t n_vocab)
{
    static const struct {
        const char *role, *text;
    } roles[] = {
        { "bos_token", "<|im_start|>" },
        { "eos_token", "<|im_end|>" },
        { "pad_token", "<|endoftext|>" },
        { "unk_token", "<unk>" },
    };

    buf_puts(b, "{\n\"add_bos_token\": false,\n\"add_prefix_space\": false,\n\"added_tokens_decoder\": {");
    if (decoder->len) buf_put(b, decoder->data, decoder->len);
    buf_puts(b, "\n},\n");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        for (int k = 0; k < n_family_token; k++)
            if (!strcmp(family_tokens[k].text, roles[i].text) && family_tokens[k].id < n_vocab)
                buf_printf(b, "\"%s\": \"%s\",\n", roles[i].role, roles[i].text);
    buf_puts(b, "\"bad_token_ids\": [],\n\"tokenizer_class\": \"Qwen2Tokenizer\"\n}\n");
}

mo_status tokenizer_write_standin(const char *dir, int32_t n_vocab, mo_error *err)
{
    buf vocab = { 0 }, merges = { 0 }, added = { 0 }, decoder = { 0 }, config = { 0 };
    mo_status st;

    if (n_vocab < 256) return mo_fail(err, MO_E_ARG, "a stand-in tokenizer needs 256 ids for the bytes, not %d", n_vocab);
    put_vocab(&vocab, n_vocab);
    buf_puts(&merges, "#version: 0.2\n");
    buf_puts(&added, "{");
    put_added(&added, &decoder, n_vocab);
    buf_puts(&added, "\n}\n");
    put_config(&config, &decoder, n_vocab);
    if (decoder.failed) config.failed = true;
    if ((st = write_file(dir, "vocab.json", &vocab, err)) == MO_OK && (st = write_file(dir, "merges.txt", &merges, err)) == MO_OK &&
        (st = write_file(dir, "added_tokens.json", &added, err)) == MO_OK)
        st = write_file(dir, "tokenizer_config.json", &config, err);
    buf_free(&vocab);
    buf_free(&merges);
    buf_free(&added);
    buf_free(&decoder);
    buf_free(&config);
    return st;
}
