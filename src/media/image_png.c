/* PNG to RGB by libspng, which gives the samples as stored; what they become is PIL's convert("RGB"):
 *
 *     grey 1, 2, 4 bits  scaled to 0..255             grey 16 bits         clipped to 255 (PIL's mode "I;16"), not scaled
 *     palette            looked up                    other 16-bit kinds   the high byte
 *     alpha, tRNS        dropped, not composited      gAMA, iCCP           ignored
 *
 * Rows come one at a time; an interlaced picture's passes are collected in one buffer of the stored format first.
 */
#include "media/image_codec.h"

#include <string.h>

#include <spng.h>

#include "core/alloc.h"

enum { PNG_GREY = 0, PNG_RGB = 2, PNG_PALETTE = 3, PNG_GREY_ALPHA = 4, PNG_RGB_ALPHA = 6 };

#define PNG_CHUNK_MAX   ((size_t)16 << 20) /* colour profiles and texts, which we do not use */
#define PNG_DEFLATE_MAX 1032               /* bytes out for a byte in, at best */

typedef struct png_job {
    spng_ctx *ctx;
    struct spng_ihdr ihdr;
    uint8_t palette[256][3];
    uint8_t *raw; /* one row, or the whole interlaced picture, as stored */
    size_t row_bytes;
} png_job;

/* libspng's allocator has no user pointer, and zlib's "no memory" in the middle of a stream reaches us as a broken stream:
 * so this thread's current decode notes here that an allocation failed. */
static _Thread_local bool png_is_short;

static void *png_note(void *p)
{
    png_is_short |= !p;
    return p;
}

static void *png_malloc(size_t n) { return png_note(mo_malloc(n)); }
static void *png_realloc(void *p, size_t n) { return png_note(mo_realloc(p, n)); }
static void *png_calloc(size_t n, size_t size) { return png_note(mo_calloc(n, size)); }
static void png_free(void *p) { mo_free(p); }

static mo_status png_fail(mo_error *err, int code)
{
    if (code == SPNG_EMEM || png_is_short) return mo_fail(err, MO_E_NOMEM, "PNG: no memory for the decoder");
    if (code == SPNG_IO_EOF) return mo_fail(err, MO_E_FORMAT, "PNG: the file is truncated");
    return mo_fail(err, MO_E_FORMAT, "PNG: %s", spng_strerror(code));
}

/* Grey pictures look themselves up in a ramp. Entries a palette does not give are black, as in PIL. */
static mo_status png_palette(png_job *p, mo_error *err)
{
    struct spng_plte plte;
    int code;

    if (p->ihdr.color_type != PNG_PALETTE) {
        image_palette_complete(p->palette, 0);
        return MO_OK;
    }
    if ((code = spng_get_plte(p->ctx, &plte))) return png_fail(err, code);
    for (uint32_t i = 0; i < plte.n_entries && i < 256; i++) {
        p->palette[i][0] = plte.entries[i].red;
        p->palette[i][1] = plte.entries[i].green;
        p->palette[i][2] = plte.entries[i].blue;
    }
    return MO_OK;
}

/* One channel of 1, 2, 4 or 8 bits: a grey level or a palette index. */
static void png_index_row(const png_job *p, uint8_t *dst, const uint8_t *src, int32_t w)
{
    const unsigned bits = p->ihdr.bit_depth, mask = (1u << bits) - 1;
    const unsigned scale = p->ihdr.color_type == PNG_GREY ? 255 / mask : 1; /* grey: v * 255, 85, 17, 1; exact */

    for (int32_t x = 0; x < w; x++, dst += 3) {
        const unsigned at = (unsigned)x * bits;
        const unsigned v = ((unsigned)src[at >> 3] >> (8 - bits - (at & 7))) & mask;

        memcpy(dst, p->palette[v * scale], 3);
    }
}

static void png_row(const png_job *p, uint8_t *dst, const uint8_t *src, int32_t w)
{
    const size_t depth = p->ihdr.bit_depth == 16 ? 2 : 1; /* bytes a sample, high byte first */

    switch (p->ihdr.color_type) {
    case PNG_RGB:
    case PNG_RGB_ALPHA: {
        const size_t step = depth * (p->ihdr.color_type == PNG_RGB ? 3 : 4);

        for (int32_t x = 0; x < w; x++, dst += 3, src += step)
            for (size_t c = 0; c < 3; c++) dst[c] = src[c * depth];
        break;
    }
    case PNG_GREY_ALPHA:
        for (int32_t x = 0; x < w; x++, dst += 3, src += 2 * depth) dst[0] = dst[1] = dst[2] = src[0];
        break;
    default:
        if (depth == 1) png_index_row(p, dst, src, w);
        else
            for (int32_t x = 0; x < w; x++, dst += 3, src += 2) dst[0] = dst[1] = dst[2] = src[0] ? 255 : src[1];
    }
}

static mo_status png_open(png_job *p, const image_source *src, mo_error *err)
{
    struct spng_alloc alloc = { png_malloc, png_realloc, png_calloc, png_free };
    int code;

    png_is_short = false;
    if (!(p->ctx = spng_ctx_new2(&alloc, 0))) return png_fail(err, SPNG_EMEM);
    if ((code = spng_set_chunk_limits(p->ctx, PNG_CHUNK_MAX, PNG_CHUNK_MAX))) return png_fail(err, code);
    if ((code = spng_set_png_buffer(p->ctx, src->data, src->n))) return png_fail(err, code);
    if ((code = spng_get_ihdr(p->ctx, &p->ihdr))) return png_fail(err, code);
    return MO_OK;
}

static mo_status png_buffers(png_job *p, image *out, const image_source *src, mo_error *err)
{
    static const uint8_t n_channel[7] = { 1, 0, 3, 1, 2, 0, 4 }; /* by colour type; libspng has checked it */
    const int64_t w = p->ihdr.width, h = p->ihdr.height;
    const int bits = n_channel[p->ihdr.color_type] * p->ihdr.bit_depth;
    mo_status st;

    if (w * h <= src->n_pixel_max && !image_claim_possible(src, (w * bits + 7) / 8, h, PNG_DEFLATE_MAX)) return png_fail(err, SPNG_IO_EOF);
    if ((st = image_alloc(out, w, h, src->n_pixel_max, err)) != MO_OK) return st;
    p->row_bytes = ((size_t)w * (size_t)bits + 7) / 8;
    p->raw = mo_calloc(p->ihdr.interlace_method ? (size_t)h : 1, p->row_bytes);
    return p->raw ? MO_OK : png_fail(err, SPNG_EMEM);
}

static mo_status png_decode(png_job *p, image *out, mo_error *err)
{
    const bool whole = p->ihdr.interlace_method != 0;
    const size_t stride = (size_t)out->w * 3;
    struct spng_row_info info;
    int code;

    if ((code = spng_decode_image(p->ctx, NULL, 0, SPNG_FMT_RAW, SPNG_DECODE_PROGRESSIVE))) return png_fail(err, code);
    while (!(code = spng_get_row_info(p->ctx, &info))) {
        uint8_t *row = p->raw + (whole ? info.row_num * p->row_bytes : 0);

        code = spng_decode_row(p->ctx, row, p->row_bytes);
        if (code && code != SPNG_EOI) break;
        if (!whole) png_row(p, out->rgb + info.row_num * stride, row, out->w);
        if (code) break;
    }
    if (code != SPNG_EOI) return png_fail(err, code);
    for (int32_t y = 0; whole && y < out->h; y++) png_row(p, out->rgb + (size_t)y * stride, p->raw + (size_t)y * p->row_bytes, out->w);
    return MO_OK;
}

mo_status image_decode_png(image *out, const image_source *src, mo_error *err)
{
    png_job p = { 0 };
    mo_status st;

    if ((st = png_open(&p, src, err)) != MO_OK) goto done;
    if ((st = png_buffers(&p, out, src, err)) != MO_OK) goto done;
    if ((st = png_palette(&p, err)) != MO_OK) goto done;
    st = png_decode(&p, out, err);
done:
    spng_ctx_free(p.ctx);
    mo_free(p.raw);
    return st;
}
