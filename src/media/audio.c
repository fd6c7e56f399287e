/* Sound files by libsndfile: bytes in any of its formats to mono float32 (audio spec 1.1).
 *
 *     frames of all channels, block by block -> mean of the channels -> growing buffer -> resampled if need be
 *
 * The header's frame count is never believed: it may lie either way (streamed WAV says 2^32 - 1), so blocks are read
 * until there are no more and the buffer grows with what has come, up to AUDIO_MAX_SECONDS.
 */
#include "media/audio.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sndfile.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"

enum { BLOCK_VALUES = 65536 }; /* values (frames x channels) a read asks for */

void pcm_free(pcm *p)
{
    mo_free(p->x);
    memset(p, 0, sizeof *p);
}

/* Mean over the channels as the reference forms it: float32 sum in channel order, then one division. */
static void mix_down(float *mono, const float *frames, int64_t n, int n_channel)
{
    for (int64_t i = 0; i < n; i++) {
        const float *f = frames + i * n_channel;
        float sum = f[0];

        for (int c = 1; c < n_channel; c++) sum += f[c];
        if (n_channel > 1) sum /= (float)n_channel;
        mono[i] = isfinite(sum) ? sum : 0.0f;
    }
}

/* Make room for `more` samples after p->n. */
static mo_status reserve(pcm *p, int64_t *cap, int64_t more, mo_error *err)
{
    int64_t need = p->n + more, new_cap = *cap + *cap / 2;
    float *x;

    if (need <= *cap) return MO_OK;
    if (new_cap < need) new_cap = need;
    if (!(x = mo_realloc(p->x, (size_t)new_cap * sizeof *x)))
        return mo_fail(err, MO_E_NOMEM, "no memory for %lld sound samples", (long long)new_cap);
    p->x = x;
    *cap = new_cap;
    return MO_OK;
}

static mo_status read_all(pcm *p, SNDFILE *f, const SF_INFO *info, mo_error *err)
{
    const int64_t n_max = (int64_t)info->samplerate * AUDIO_MAX_SECONDS;
    const int64_t n_block = info->channels < BLOCK_VALUES ? BLOCK_VALUES / info->channels : 1;
    int64_t cap = 0, got;
    size_t n_value;
    mo_status st = MO_OK;
    float *block;

    if (!mo_size_mul((size_t)n_block, (size_t)info->channels * sizeof *block, &n_value) || !(block = mo_malloc(n_value)))
        return mo_fail(err, MO_E_NOMEM, "no memory for a block of %d channels", info->channels);
    while ((got = sf_readf_float(f, block, n_block)) > 0) {
        if (p->n + got > n_max) {
            st = mo_fail(err, MO_E_LIMIT, "the sound is longer than %d hours", AUDIO_MAX_SECONDS / 3600);
            break;
        }
        if ((st = reserve(p, &cap, got, err)) != MO_OK) break;
        mix_down(p->x + p->n, block, got, info->channels);
        p->n += got;
    }
    mo_free(block);
    return st;
}

/* Replace p's samples by those at rate_hz. */
static mo_status convert_rate(pcm *p, int32_t rate_hz, mo_error *err)
{
    float *y;
    int64_t n;
    mo_status st = audio_resample(&y, &n, p->x, p->n, p->rate_hz, rate_hz, err);

    if (st != MO_OK) return st;
    mo_free(p->x);
    *p = (pcm){ y, n, rate_hz };
    return MO_OK;
}

/* Everything after opening. Closes f, which is NULL if libsndfile refused. */
static mo_status finish(pcm *out, SNDFILE *f, const SF_INFO *info, int32_t rate_hz, mo_error *err)
{
    mo_status st;

    if (!f) return mo_fail(err, MO_E_FORMAT, "not a sound file this build reads (WAV, FLAC, Ogg, MP3)");
    if (info->channels < 1 || info->samplerate < 1)
        st = mo_fail(err, MO_E_FORMAT, "a sound file with %d channels at %d Hz", info->channels, info->samplerate);
    else if (info->samplerate > AUDIO_MAX_RATE_HZ)
        st = mo_fail(err, MO_E_UNSUPPORTED, "sample rate %d Hz is above %d Hz", info->samplerate, AUDIO_MAX_RATE_HZ);
    else if (info->samplerate < AUDIO_MIN_RATE_HZ && rate_hz)
        st = mo_fail(err, MO_E_UNSUPPORTED, "sample rate %d Hz is below %d Hz", info->samplerate, AUDIO_MIN_RATE_HZ);
    else st = read_all(out, f, info, err);
    sf_close(f);
    out->rate_hz = info->samplerate;
    if (st == MO_OK && !out->n) st = mo_fail(err, MO_E_FORMAT, "the sound file holds no samples");
    if (st == MO_OK && rate_hz && rate_hz != out->rate_hz) st = convert_rate(out, rate_hz, err);
    if (st != MO_OK) pcm_free(out);
    return st;
}

static bool rate_ok(int32_t rate_hz) { return rate_hz >= 0 && rate_hz <= AUDIO_MAX_RATE_HZ; }

mo_status audio_open(pcm *out, const char *path, int32_t rate_hz, mo_error *err)
{
    SF_INFO info;
    mo_status st;
    int fd;

    memset(out, 0, sizeof *out);
    memset(&info, 0, sizeof info);
    if (!path) return mo_fail(err, MO_E_ARG, "sound file path is NULL");
    if (!rate_ok(rate_hz)) return mo_fail(err, MO_E_ARG, "sample rate %d Hz was asked for", rate_hz);
    /* By descriptor, not by name: libsndfile takes "-" for standard input and guesses headerless formats from suffixes. */
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) return mo_fail(err, MO_E_IO, "cannot open '%s': %s", path, strerror(errno));
    st = finish(out, sf_open_fd(fd, SFM_READ, &info, SF_TRUE), &info, rate_hz, err);
    return st == MO_OK ? st : mo_fail_in(err, st, "%s", path);
}

/* --- sound in memory: libsndfile's virtual file --- */

typedef struct memory_file {
    const uint8_t *data;
    sf_count_t size, at;
} memory_file;

static sf_count_t memory_size(void *user) { return ((memory_file *)user)->size; }
static sf_count_t memory_tell(void *user) { return ((memory_file *)user)->at; }

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user)
{
    memory_file *m = user;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->at : m->size, to;

    /* Offsets come from headers: out of range stays where it was, as a real file would refuse. */
    if (__builtin_add_overflow(base, offset, &to) || to < 0) return -1;
    return m->at = to;
}

static sf_count_t memory_read(void *dst, sf_count_t n, void *user)
{
    memory_file *m = user;
    sf_count_t left = m->at < m->size ? m->size - m->at : 0;

    if (n > left) n = left;
    if (n <= 0) return 0;
    memcpy(dst, m->data + m->at, (size_t)n);
    m->at += n;
    return n;
}

static sf_count_t memory_write(const void *src, sf_count_t n, void *user) { return 0; }

mo_status audio_decode(pcm *out, const void *data, size_t n, int32_t rate_hz, mo_error *err)
{
    SF_VIRTUAL_IO io = { memory_size, memory_seek, memory_read, memory_write, memory_tell };
    memory_file m = { data, (sf_count_t)n, 0 };
    SF_INFO info;

    memset(out, 0, sizeof *out);
    memset(&info, 0, sizeof info);
    if (!data && n) return mo_fail(err, MO_E_ARG, "sound data is NULL");
    if (!rate_ok(rate_hz)) return mo_fail(err, MO_E_ARG, "sample rate %d Hz was asked for", rate_hz);
    return finish(out, sf_open_virtual(&io, SFM_READ, &info, &m), &info, rate_hz, err);
}
