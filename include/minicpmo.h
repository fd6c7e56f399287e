/* minicpmo: run MiniCPM-o / MiniCPM-V from the published weights. The one public header.
 *
 *     mo_error err;
 *     mo_model *m;
 *     mo_session *s;
 *     mo_event ev;
 *
 *     if (mo_model_open(&m, "MiniCPM-o-4_5", NULL, &err)) die(err.message);
 *     if (mo_session_new(&s, m, NULL, &err)) die(err.message);
 *     mo_session_begin(s, "user", &err);
 *     mo_session_push_image_file(s, "cat.jpg", &err);
 *     mo_session_push_text(s, "What is this?", 13, &err);
 *     mo_session_answer(s, &err);
 *     while (mo_session_step(s, &err) == MO_OK)
 *         while (mo_session_pull(s, &ev))
 *             if (ev.type == MO_EVENT_TEXT) fwrite(ev.text, 1, ev.n_text, stdout);
 *     mo_session_free(s);
 *     mo_model_close(m);
 *
 * A model is weights: read-only, mapped, shared by its sessions. A session is one conversation. Everything streaming has
 * three verbs: push input, step the model, pull events. Files are a convenience on top.
 *
 * The library never exits, prints or reads the environment. Calls that can fail return mo_status and, when the last
 * argument is not NULL, one sentence in it.
 */
#ifndef MINICPMO_H
#define MINICPMO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MO_API
#else
#define MO_API __attribute__((visibility("default")))
#endif

/* ---- status and errors ------------------------------------------------------------------------------------------ */

/* What every call that can fail returns. 0 is success, all errors are negative. */
typedef enum mo_status {
    MO_OK = 0,
    MO_E_ARG = -1,         /* a caller's mistake: NULL, out of range, wrong order of calls */
    MO_E_NOMEM = -2,       /* memory could not be had, or the plan does not fit */
    MO_E_IO = -3,          /* the system refused: open, read, write, map */
    MO_E_FORMAT = -4,      /* a file's bytes are not what they claim to be */
    MO_E_UNSUPPORTED = -5, /* well formed, but this build does not know it */
    MO_E_STATE = -6,       /* not possible now: see the call */
    MO_E_LIMIT = -7,       /* a documented limit was reached: context, input size */
    MO_E_AGAIN = -8,       /* nothing taken or nothing to do */
    MO_E_INTERRUPTED = -9  /* stopped by mo_session_interrupt() */
} mo_status;

/* One sentence a user can act on, and its class. Filled by the call that failed; a caller may pass NULL. */
typedef struct mo_error {
    mo_status code;
    char message[500];
} mo_error;

/* The short name of a status, "MO_E_FORMAT". Static storage. */
MO_API const char *mo_status_name(mo_status st);

/* The library's version, "0.1.0". Static storage. */
MO_API const char *mo_version(void);

/* ---- model ------------------------------------------------------------------------------------------------------ */

typedef struct mo_model mo_model;
typedef struct mo_session mo_session;

typedef enum mo_switch { MO_AUTO = -1, MO_OFF = 0, MO_ON = 1 } mo_switch;

typedef struct mo_model_opts {
    int32_t n_thread; /* 0: every core this process may use */
    const char *isa;  /* which instruction sets may be used, "generic,avx2"; NULL: all that are there */
    int32_t fast;     /* non-zero: multiply in reduced precision where that is faster: 16-bit block fixed point on AVX2 and AVX-512
                             VNNI, bf16 pairs on AMD's AVX-512 BF16. No longer float32-exact; every equality of results still holds */
    int32_t int8;     /* non-zero: as fast, and F16, BF16 and float32 weights become int8 while opening, activations where they are used:
                         several times faster, half the memory of F16; encoders' rows move by 1.6 to 1.8 %. Not together with exact */
    int32_t exact;    /* non-zero: multiply block-quantised weights as the float32 they stand for. Else their activations are rounded first,
                         which is several times faster: to 16 bits on AVX-512 VNNI (results move by 0.05 %), to int8 on Zen 4 and other
                         instruction sets, and everywhere with int8 (1 to 3 %). Not together with fast, int8 or int16 */
    int32_t int16;    /* non-zero: round activations of block-quantised weights to 16 bits on Zen 4 too, at about half the speed of prompts;
                         opening fails without AVX-512 VNNI. Not together with int8 or exact */
    mo_switch vision; /* MO_AUTO: load what the checkpoint has; MO_OFF: leave out; MO_ON: fail without */
    mo_switch audio;  /* the same */
    const char *vision_path, *audio_path; /* GGUF files of the encoders; NULL: looked for beside the language model's */
    int32_t n_ubatch;                     /* rows of one compute pass, 1 … 4096; more is faster and needs more scratch */
    int32_t preload; /* non-zero: bring the language model's weights into memory before returning, and where the system has cached
                        their files in small pages, as it does with a download, have them read anew: in huge pages, where the file
                        system can, decode is faster. Costs reading the file; helps later openings too */
    /* Messages and progress, called from the thread that called us; NULL: silence. fraction is in [0, 1]. */
    void (*log)(void *user, const char *message);
    void (*progress)(void *user, const char *what, double fraction);
    void *user;
} mo_model_opts;

MO_API mo_model_opts mo_model_opts_default(void);

/* Bytes a model and one session need, computed before anything of it is allocated. */
typedef struct mo_plan {
    uint64_t weights_mapped;     /* used in place in the mapped files */
    uint64_t weights_lookup;     /* mapped tables of which only the rows in use become resident; not in the sums */
    uint64_t weights_copied;     /* small vectors and tables as float32 */
    uint64_t weights_repacked;   /* what the backend keeps beside the file's bytes */
    uint64_t llm, vision, audio; /* the three sums above, by module */
    uint64_t scratch;            /* working memory of a step, shared by the sessions of a model */
    uint64_t kv_cache;           /* one session */
    uint64_t tokenizer;          /* vocabulary and merges, about */
    uint64_t session;            /* logits, embeddings being fed, sampling, one session */
    uint64_t total;
    uint64_t available; /* what this machine can give now, 0 if unknown */
} mo_plan;

/* Open a checkpoint: a Hugging Face directory (config.json, safetensors, tokenizer files), a GGUF file of a language model
 * (the first part, if it was split), or a directory with one such file. Encoders of a GGUF model are looked for beside it and in
 * vision/ and audio/ there. What a file is, is decided by its content.
 *
 * opts NULL: the defaults. On failure *out is NULL and nothing stays behind.
 *
 * MO_E_IO, MO_E_FORMAT, MO_E_UNSUPPORTED   the files
 * MO_E_NOMEM    the plan of a model does not fit into this machine, with numbers
 *
 * Thread: any. Cost: maps the files and reads the small ones; weights come in as they are used (int8: all of them are read). */
MO_API mo_status mo_model_open(mo_model **out, const char *path, const mo_model_opts *opts, mo_error *err);

/* Close it; its sessions must be gone. Accepts NULL. */
MO_API void mo_model_close(mo_model *m);

MO_API const char *mo_model_name(const mo_model *m); /* "MiniCPM-o 4.5", or what a file calls its model; lives as long as the model */
MO_API int mo_model_has_vision(const mo_model *m);
MO_API int mo_model_has_audio(const mo_model *m);
MO_API const char *mo_model_device(const mo_model *m); /* "CPU: avx2, 2 threads" */
/* How conversations are written: "ChatML". *how, if asked for: why so, "recognised by its template"; NULL for a member of the
 * family, which has a way of its own. Static strings. */
MO_API const char *mo_model_chat(const mo_model *m, const char **how);
MO_API int mo_model_chat_is_default(const mo_model *m); /* nothing said how; it may be wrong */

/* Token ids of n bytes of UTF-8, *id [*n_id], to be released with mo_ids_free(); markers such as <|im_end|> in it are ordinary text, and
 * nothing is put before it. What is no UTF-8 is refused with MO_E_ARG. Thread: any. */
MO_API mo_status mo_model_tokenize(const mo_model *m, const char *text, size_t n, int32_t **id, size_t *n_id, mo_error *err);
MO_API void mo_ids_free(int32_t *id);           /* accepts NULL */
MO_API int32_t mo_model_bos(const mo_model *m); /* the id that the model expects at the beginning of every text; -1: none */
MO_API int32_t mo_model_n_vocab(const mo_model *m);

/* ---- session ---------------------------------------------------------------------------------------------------- */

/* How a session keeps keys and values. Q8_0: int8 in blocks of 32 with a float16 scale, 53 % of F16's memory at an error of about
 * 0.4 % of each block's largest value; for models whose heads are a multiple of 32 wide, others are refused with MO_E_UNSUPPORTED. */
typedef enum mo_kv_type { MO_KV_F16 = 0, MO_KV_F32 = 1, MO_KV_Q8_0 = 2 } mo_kv_type;

typedef struct mo_session_opts {
    int32_t n_ctx; /* positions the conversation may hold; 0: 8192 or the model's limit, whichever is less */
    mo_kv_type kv_type;

    /* Sampling, in the order the reference applies it: penalty, temperature, top-k, top-p, min-p. */
    int32_t greedy;           /* non-zero: the likeliest token; the next four are not used */
    float temperature;        /* > 0 */
    int32_t top_k;            /* 0: off */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1); 0: off */
    float repetition_penalty; /* > 0, on the answer's own tokens; 1: off */
    uint64_t seed;
    int32_t max_tokens; /* of one answer */
    int32_t min_tokens;
    /* Guess tokens from what was said before and confirm several in one pass: the answer is the same to the bit, only faster where
     * text repeats. MO_AUTO: as far as it pays by what was measured; MO_ON: whenever the last two tokens occurred before. Not MO_OFF:
     * a session holds 16 rows of logits. */
    mo_switch speculate;

    int32_t thinking;    /* non-zero: let the model think aloud (<think>…</think>) first */
    int32_t omni;        /* non-zero: items of a message follow each other without line breaks (picture and sound by the second) */
    int32_t speech_mark; /* non-zero: end the prompt with the mark that announces speech; sound in the conversation does it anyway */
    int32_t max_slices;  /* tiles a large picture is cut into; 0: the model's own (9) */
    mo_switch image_ids; /* number the pictures in the prompt; MO_AUTO: as the checkpoint says */
} mo_session_opts;

MO_API mo_session_opts mo_session_opts_default(void);

/* The plan of a model at `path` with one such session. Allocates none of it. */
MO_API mo_status mo_plan_memory(mo_plan *out, const char *path, const mo_model_opts *mopts, const mo_session_opts *sopts, mo_error *err);

/* A conversation on m. All memory of its turns but the media it holds is allocated here.
 * MO_E_ARG: an option is out of range.  MO_E_NOMEM: the plan does not fit, with numbers. */
MO_API mo_status mo_session_new(mo_session **out, mo_model *m, const mo_session_opts *opts, mo_error *err);
MO_API void mo_session_free(mo_session *s); /* accepts NULL */

/* Answers end at these texts as well; the text itself is not shown. Copied. At most 16, each 1 to 128 bytes. */
MO_API mo_status mo_session_add_stop(mo_session *s, const char *text, mo_error *err);

/* Start a message by "system", "user" or "assistant"; what is pushed next belongs to it. The first message is by the
 * system or the user. MO_E_STATE while an answer is being made. Thread: any. */
MO_API mo_status mo_session_begin(mo_session *s, const char *role, mo_error *err);

/* Append to the message that was begun. Pictures: JPEG, PNG, WebP, GIF (first frame), BMP, told by content, decoded before
 * return. Sound: mono float32 at 16000 Hz, copied, samples that are not finite count as 0; files WAV, FLAC, Ogg, MP3.
 * Text: n bytes of UTF-8, copied; what is no UTF-8 is refused with MO_E_ARG.
 * After a failure the conversation is as before. MO_E_STATE: no message begun (an answer ends the one it answers), or an
 * answer is being made; MO_E_UNSUPPORTED: the model has no such sense. Thread: any. */
MO_API mo_status mo_session_push_text(mo_session *s, const char *text, size_t n, mo_error *err);
MO_API mo_status mo_session_push_image(mo_session *s, const void *file_bytes, size_t n, mo_error *err);
MO_API mo_status mo_session_push_image_file(mo_session *s, const char *path, mo_error *err);
MO_API mo_status mo_session_push_image_rgb(mo_session *s, const uint8_t *rgb, int32_t width, int32_t height, mo_error *err);
MO_API mo_status mo_session_push_audio(mo_session *s, const float *pcm, int64_t n_sample, mo_error *err);
MO_API mo_status mo_session_push_audio_file(mo_session *s, const char *path, mo_error *err);

/* Functions the model may call, a JSON array as the chat template takes them; NULL: none. Copied. MO_E_FORMAT: no JSON,
 * and the tools are as before. */
MO_API mo_status mo_session_set_tools(mo_session *s, const char *json, mo_error *err);

/* Ask for an answer to the conversation. The work is done by mo_session_step(). Whatever of the prompt the session has
 * already computed is reused, with the same result as computing it again.
 * MO_E_LIMIT: the prompt does not fit into n_ctx. */
MO_API mo_status mo_session_answer(mo_session *s, mo_error *err);

/* Do a bounded piece of the work: encode media, feed up to n_ubatch positions, or make tokens: as many as one pass of the model
 * confirms, one or, with guesses (mo_session_opts.speculate), up to 16.
 *
 * MO_OK          something was done; events may be waiting
 * MO_E_AGAIN     nothing to do: the answer is complete (or none was asked for)
 * other          the answer ended by this error; the conversation is as it was when the answer was asked for, the session
 *                usable: ask again, or clear
 *
 * Thread: one at a time per session. Sessions of one model take turns. No allocation while feeding and generating. */
MO_API mo_status mo_session_step(mo_session *s, mo_error *err);

typedef enum mo_event_type { MO_EVENT_TEXT, MO_EVENT_PROGRESS, MO_EVENT_END } mo_event_type;

typedef enum mo_end_reason {
    MO_END_STOP,      /* the model ended its answer */
    MO_END_STOP_TEXT, /* a text of mo_session_add_stop() */
    MO_END_MAX_TOKENS,
    MO_END_CONTEXT, /* n_ctx is full */
    MO_END_INTERRUPTED
} mo_end_reason;

typedef struct mo_event {
    mo_event_type type;
    const char *text; /* TEXT: whole UTF-8 characters, NUL-terminated; valid until the next pull.  PROGRESS: what is being done */
    size_t n_text;
    int64_t done, total;                     /* PROGRESS */
    mo_end_reason reason;                    /* END, with the figures of the answer: */
    int32_t n_prompt, n_reused, n_generated; /* positions of the prompt, those that were already cached, tokens made */
    int32_t n_drafted, n_accepted;           /* guessed tokens that were fed, those of them that are in the answer */
    double encode_ms, prefill_ms, decode_ms;
} mo_event;

/* Take the next event; 0: none is waiting. Never blocks. Thread: any, one at a time. */
MO_API int mo_session_pull(mo_session *s, mo_event *out);

/* Stop the answer being made at the next step. What was said stays in the conversation. Any thread, async-signal-safe. */
MO_API void mo_session_interrupt(mo_session *s);

/* Forget the conversation, keep options and stop texts. MO_E_STATE while an answer is being made. */
MO_API mo_status mo_session_clear(mo_session *s, mo_error *err);

/* Logits of the token at position i: n_vocab numbers before softmax, valid during the call. Anything but MO_OK ends the scoring with
 * that status. */
typedef mo_status (*mo_logits_fn)(void *user, int32_t i, const float *logits);

/* How well the model foresees a text: nll[i] = -ln p(id[i] | id[0], …, id[i - 1]) for first <= i < n; the mean of many is the logarithm of
 * the perplexity.
 *
 * id     [n] from 0 to below mo_model_n_vocab; 1 <= first < n <= n_ctx of the session (rounded up to 64)
 * nll    [n], of which [first, n) are written; NULL: not wanted
 * row    called with the logits of every such position, in order, in this thread; NULL: not wanted
 *
 * The conversation stays and is computed anew when it goes on: the cache is used for this. The figures do not depend on n_ubatch or
 * the number of threads. Allocates nothing; a session without guesses (speculate MO_OFF) holds one row of logits and is slower.
 *
 * MO_E_ARG          an id or a count out of range
 * MO_E_STATE        an answer is being made
 * MO_E_INTERRUPTED  mo_session_interrupt() was called since the scoring began; looked at every n_ubatch positions
 *
 * Thread: the one that steps. Cost: that of a prompt of n - 1 positions, and n - first times the head. */
MO_API mo_status mo_session_score(mo_session *s, const int32_t *id, int32_t n, int32_t first, float *nll, mo_logits_fn row, void *user,
                                  mo_error *err);

/* The conversation as JSON: [{"role": …, "content": [{"type": "text", "text": …} | {"type": "image", …} | …]}, …].
 * Release with mo_string_free(). NULL: no memory. */
MO_API char *mo_session_to_json(const mo_session *s);
MO_API void mo_string_free(char *p);

#ifdef __cplusplus
}
#endif
#endif
