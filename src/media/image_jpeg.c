/* JPEG to RGB by libjpeg-turbo, with the settings PIL decodes with: ISLOW inverse DCT, fancy chroma upsampling.
 *
 *     1 component -> grey, copied to three      3 -> RGB      4 -> CMYK as stored (PIL: always inverted) -> RGB
 *
 * PIL hands libjpeg all bytes of the file and takes "more, please" at their end for a truncated file; a marker that
 * comes too early, on the other hand, is a warning, and the rest stays grey. We do the same: the source never invents data.
 * libjpeg reports errors by longjmp, and everything to undo lives in `jpeg_job`, outside the frame it unwinds.
 */
#include "media/image_codec.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/alloc.h"

/* A progressive file may repeat scans at a few bytes each, every one a pass over the whole picture. */
#define JPEG_SCAN_MAX 500

/* An entropy-coded block has at least one bit and covers at most 128 pixels of the picture (Y 4x1 with Cb 1x4), for Huffman
 * coding; arithmetic coding has no such floor. */
#define JPEG_PIXELS_PER_BYTE 1024

typedef struct jpeg_job {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr err_mgr;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const image_source *src;
    image *out;
    uint8_t *row; /* [w * n_component] for grey and CMYK */
    mo_error *err;
    mo_status st;
} jpeg_job;

static mo_status jpeg_truncated(jpeg_job *j) { return mo_fail(j->err, MO_E_FORMAT, "JPEG: the file is truncated"); }

/* libjpeg's message codes, by what a user can do about them. */
static mo_status jpeg_status(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY: return MO_E_NOMEM;
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW: return MO_E_LIMIT;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_SOF_UNSUPPORTED: return MO_E_UNSUPPORTED;
    default: return MO_E_FORMAT;
    }
}

static void on_error(j_common_ptr c)
{
    jpeg_job *j = c->client_data;
    char text[JMSG_LENGTH_MAX];

    c->err->format_message(c, text);
    j->st = mo_fail(j->err, jpeg_status(c->err->msg_code), "JPEG: %s", text);
    longjmp(j->jump, 1);
}

/* Warnings are what PIL lets pass in silence. */
static void on_message(j_common_ptr c, int level) { (void)c, (void)level; }
static void on_output(j_common_ptr c) { (void)c; }

static void source_init(j_decompress_ptr c) { (void)c; }
static void source_end(j_decompress_ptr c) { (void)c; }
static boolean source_fill(j_decompress_ptr c)
{
    (void)c;
    return FALSE; /* suspend: all there is has been given */
}

static void source_skip(j_decompress_ptr c, long n)
{
    struct jpeg_source_mgr *s = c->src;
    size_t k = n < 0 ? 0 : (size_t)n;

    if (k > s->bytes_in_buffer) k = s->bytes_in_buffer;
    s->next_input_byte += k;
    s->bytes_in_buffer -= k;
}

static void on_progress(j_common_ptr c)
{
    jpeg_job *j = c->client_data;

    if (j->c.input_scan_number <= JPEG_SCAN_MAX) return;
    j->st = mo_fail(j->err, MO_E_LIMIT, "JPEG: more than %d scans", JPEG_SCAN_MAX);
    longjmp(j->jump, 1);
}

static void jpeg_setup(jpeg_job *j)
{
    j->c.err = jpeg_std_error(&j->err_mgr);
    j->err_mgr.error_exit = on_error;
    j->err_mgr.emit_message = on_message;
    j->err_mgr.output_message = on_output;
    j->c.client_data = j;
}

static void jpeg_attach(jpeg_job *j)
{
    j->source = (struct jpeg_source_mgr){ .next_input_byte = j->src->data,
                                          .bytes_in_buffer = j->src->n,
                                          .init_source = source_init,
                                          .fill_input_buffer = source_fill,
                                          .skip_input_data = source_skip,
                                          .resync_to_restart = jpeg_resync_to_restart,
                                          .term_source = source_end };
    j->c.src = &j->source;
    j->progress.progress_monitor = on_progress;
    j->c.progress = &j->progress;
}

static void grey_row(uint8_t *dst, const uint8_t *src, int32_t w)
{
    for (int32_t x = 0; x < w; x++, dst += 3) dst[0] = dst[1] = dst[2] = src[x];
}

/* round(a * b / 255), as PIL's MULDIV255 */
static uint8_t mul_div_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;

    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* The stored samples are 255 - ink. */
static void cmyk_row(uint8_t *dst, const uint8_t *src, int32_t w)
{
    for (int32_t x = 0; x < w; x++, src += 4, dst += 3)
        for (int c = 0; c < 3; c++) dst[c] = (uint8_t)(src[3] - mul_div_255(255u - src[c], src[3]));
}

static mo_status jpeg_begin(jpeg_job *j)
{
    struct jpeg_decompress_struct *c = &j->c;
    mo_status st;

    if (jpeg_read_header(c, TRUE) != JPEG_HEADER_OK) return jpeg_truncated(j);
    switch (c->num_components) {
    case 1: c->out_color_space = JCS_GRAYSCALE; break;
    case 3: c->out_color_space = JCS_RGB; break;
    case 4: c->out_color_space = JCS_CMYK; break;
    default: return mo_fail(j->err, MO_E_UNSUPPORTED, "JPEG: %d colour components; 1, 3 or 4 are known", c->num_components);
    }
    c->dct_method = JDCT_ISLOW;
    c->do_fancy_upsampling = TRUE;
    if (!c->arith_code && (int64_t)c->image_width * c->image_height <= j->src->n_pixel_max &&
        !image_claim_possible(j->src, c->image_width, c->image_height, JPEG_PIXELS_PER_BYTE))
        return jpeg_truncated(j);
    if ((st = image_alloc(j->out, c->image_width, c->image_height, j->src->n_pixel_max, j->err)) != MO_OK) return st;
    if (c->num_components != 3 && !(j->row = mo_malloc((size_t)c->image_width * (size_t)c->num_components)))
        return mo_fail(j->err, MO_E_NOMEM, "JPEG: no memory for a row");
    return MO_OK;
}

static mo_status jpeg_rows(jpeg_job *j)
{
    struct jpeg_decompress_struct *c = &j->c;
    const int32_t w = j->out->w;

    if (!jpeg_start_decompress(c)) return jpeg_truncated(j);
    while (c->output_scanline < c->output_height) {
        uint8_t *dst = j->out->rgb + (size_t)c->output_scanline * (size_t)w * 3;
        JSAMPROW row = j->row ? j->row : dst;

        if (jpeg_read_scanlines(c, &row, 1) != 1) return jpeg_truncated(j);
        if (c->num_components == 1) grey_row(dst, row, w);
        if (c->num_components == 4) cmyk_row(dst, row, w);
    }
    return MO_OK;
}

/* The frame longjmp returns to; it holds nothing of its own that changes. */
static void jpeg_run(jpeg_job *j)
{
    jpeg_setup(j);
    if (setjmp(j->jump)) return;
    jpeg_create_decompress(&j->c);
    j->c.client_data = j; /* creation cleared all but err */
    jpeg_attach(j);
    if ((j->st = jpeg_begin(j)) != MO_OK) return;
    j->st = jpeg_rows(j);
}

mo_status image_decode_jpeg(image *out, const image_source *src, mo_error *err)
{
    jpeg_job *j = mo_zalloc(sizeof *j);
    mo_status st;

    if (!j) return mo_fail(err, MO_E_NOMEM, "JPEG: no memory for the decoder");
    j->src = src;
    j->out = out;
    j->err = err;
    jpeg_run(j);
    st = j->st;
    jpeg_destroy_decompress(&j->c); /* never fails; accepts an unborn one */
    mo_free(j->row);
    mo_free(j);
    return st;
}
