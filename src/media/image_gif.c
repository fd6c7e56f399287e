/* GIF to RGB: the first frame on its canvas, as PIL's convert("RGB") gives it.
 *
 *     header, global palette -> blocks up to the first image -> LZW indices -> canvas -> palette -> RGB
 *
 * The canvas is the logical screen, grown to hold the frame; what the frame does not cover is the transparent index if
 * there is one, else index 0. Palette entries: image_palette_complete. A picture is complete when its last
 * pixel is drawn; data ending earlier, by an end code or the end of the file, is an error.
 * Format: CompuServe GIF89a; LZW with variable code length, least significant bit first.
 */
#include "media/image_codec.h"

#include <string.h>

#include "core/alloc.h"

enum { LZW_BITS_MAX = 12, LZW_TABLE = 1 << LZW_BITS_MAX };

#define GIF_PIXELS_PER_BYTE LZW_TABLE /* no code (more than a byte each, once strings are long) draws more */

typedef struct gif_reader {
    const uint8_t *p, *end;
} gif_reader;

typedef struct gif_frame {
    int32_t canvas_w, canvas_h;
    int32_t x, y, w, h;
    int transparent; /* index, -1 for none */
    bool is_interlaced;
    uint8_t palette[256][3];
} gif_frame;

/* The code stream: bits taken from sub-blocks of up to 255 bytes. */
typedef struct lzw_bits {
    gif_reader *r;
    uint32_t bits;
    int n_bit, n_block; /* bits at hand; bytes left in the sub-block */
} lzw_bits;

typedef struct lzw {
    uint16_t link[LZW_TABLE]; /* the entry this one extends */
    uint8_t last[LZW_TABLE];  /* the index it adds */
    uint8_t string[LZW_TABLE + 1];
} lzw;

/* Where the next pixel goes: rows of a frame, interlaced in four passes. */
typedef struct gif_cursor {
    uint8_t *canvas; /* indices [canvas_h, canvas_w] */
    const gif_frame *f;
    int32_t x, y;
    int pass; /* 0..3; 4 when the frame is full */
} gif_cursor;

static mo_status gif_truncated(mo_error *err) { return mo_fail(err, MO_E_FORMAT, "GIF: the file is truncated"); }

static const uint8_t *gif_take(gif_reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if ((size_t)(r->end - r->p) < n) return NULL;
    r->p += n;
    return p;
}

static int32_t u16(const uint8_t *p) { return p[0] | p[1] << 8; }

static bool gif_palette(gif_frame *f, gif_reader *r, uint8_t flags)
{
    const int n = 2 << (flags & 7);
    const uint8_t *p = gif_take(r, 3 * (size_t)n);

    if (!p) return false;
    memcpy(f->palette, p, 3 * (size_t)n);
    image_palette_complete(f->palette, n);
    return true;
}

static mo_status gif_header(gif_frame *f, gif_reader *r, mo_error *err)
{
    const uint8_t *p = gif_take(r, 13);

    if (!p) return gif_truncated(err);
    f->canvas_w = u16(p + 6);
    f->canvas_h = u16(p + 8);
    f->transparent = -1;
    image_palette_complete(f->palette, 0);
    if ((p[10] & 128) && !gif_palette(f, r, p[10])) return gif_truncated(err);
    return MO_OK;
}

/* After '!': a label and sub-blocks up to an empty one. Only the graphic control extension's transparency matters. */
static bool gif_extension(gif_frame *f, gif_reader *r)
{
    const uint8_t *label = gif_take(r, 1), *n, *data;

    if (!label) return false;
    for (int i = 0;; i++) {
        if (!(n = gif_take(r, 1))) return false;
        if (!*n) return true;
        if (!(data = gif_take(r, *n))) return false;
        if (*label == 249 && i == 0 && *n >= 4 && (data[0] & 1)) f->transparent = data[3];
    }
}

/* After ',': the frame's rectangle and palette. */
static mo_status gif_image_header(gif_frame *f, gif_reader *r, mo_error *err)
{
    const uint8_t *p = gif_take(r, 9);

    if (!p) return gif_truncated(err);
    f->x = u16(p);
    f->y = u16(p + 2);
    f->w = u16(p + 4);
    f->h = u16(p + 6);
    f->is_interlaced = (p[8] & 64) != 0;
    if (!f->w || !f->h) return mo_fail(err, MO_E_FORMAT, "GIF: the first frame is empty, %d x %d", f->w, f->h);
    if (f->canvas_w < f->x + f->w) f->canvas_w = f->x + f->w;
    if (f->canvas_h < f->y + f->h) f->canvas_h = f->y + f->h;
    if ((p[8] & 128) && !gif_palette(f, r, p[8])) return gif_truncated(err);
    return MO_OK;
}

/* Blocks up to the first image. Bytes that begin no block are skipped, as PIL does. */
static mo_status gif_find_frame(gif_frame *f, gif_reader *r, mo_error *err)
{
    const uint8_t *kind;

    while ((kind = gif_take(r, 1)) && *kind != ';') {
        if (*kind == ',') return gif_image_header(f, r, err);
        if (*kind == '!' && !gif_extension(f, r)) return gif_truncated(err);
    }
    return mo_fail(err, MO_E_FORMAT, "GIF: there is no image in the file");
}

/* The next code, or -1 at the end of the file. An empty sub-block does not end the stream: only an end code does. */
static int lzw_code(lzw_bits *b, int n_bit)
{
    int code;

    while (b->n_bit < n_bit) {
        const uint8_t *p = gif_take(b->r, 1);

        if (!p) return -1;
        if (!b->n_block) {
            b->n_block = *p;
            continue;
        }
        b->n_block--;
        b->bits |= (uint32_t)*p << b->n_bit;
        b->n_bit += 8;
    }
    code = (int)(b->bits & ((1u << n_bit) - 1));
    b->bits >>= n_bit;
    b->n_bit -= n_bit;
    return code;
}

static void cursor_next_row(gif_cursor *c)
{
    static const uint8_t start[4] = { 0, 4, 2, 1 }, step[4] = { 8, 8, 4, 2 };

    c->x = 0;
    c->y += c->f->is_interlaced ? step[c->pass] : 1;
    while (c->y >= c->f->h) {
        if (!c->f->is_interlaced || ++c->pass == 4) {
            c->pass = 4;
            return;
        }
        c->y = start[c->pass];
    }
}

/* Draw a string of n indices; false once the frame is full. */
static bool cursor_put(gif_cursor *c, const uint8_t *s, int n)
{
    while (n > 0) {
        uint8_t *row = c->canvas + (size_t)(c->f->y + c->y) * (size_t)c->f->canvas_w + c->f->x;
        int k = c->f->w - c->x < n ? c->f->w - c->x : n;

        memcpy(row + c->x, s, (size_t)k);
        s += k;
        n -= k;
        if ((c->x += k) < c->f->w) continue;
        cursor_next_row(c);
        if (c->pass == 4) return false;
    }
    return true;
}

static mo_status lzw_decode(lzw *z, gif_reader *r, gif_cursor *c, mo_error *err)
{
    const uint8_t *p = gif_take(r, 1);
    lzw_bits b = { .r = r };
    int clear, n_bit, next, prev = -1, first = 0;

    if (!p) return gif_truncated(err);
    if (*p > LZW_BITS_MAX) return mo_fail(err, MO_E_FORMAT, "GIF: code size %d, at most 12 is possible", *p);
    clear = 1 << *p;
    n_bit = *p + 1;
    next = clear + 2;
    for (;;) {
        const int code = lzw_code(&b, n_bit);
        int at = LZW_TABLE + 1, c_now = code;

        if (code < 0) return gif_truncated(err);
        if (code == clear) {
            n_bit = *p + 1;
            next = clear + 2;
            prev = -1;
            continue;
        }
        if (code == clear + 1) return mo_fail(err, MO_E_FORMAT, "GIF: the image data ends before the picture is full");
        if (prev < 0 ? code > clear : code > next) return mo_fail(err, MO_E_FORMAT, "GIF: code %d is not in the table", code);
        if (prev >= 0 && code == next) { /* the entry about to be made: the last string and its own first index */
            z->string[--at] = (uint8_t)first;
            c_now = prev;
        }
        while (c_now >= clear) {
            if (c_now >= LZW_TABLE || at <= 1) return mo_fail(err, MO_E_FORMAT, "GIF: the code table is broken");
            z->string[--at] = z->last[c_now];
            c_now = z->link[c_now];
        }
        z->string[--at] = (uint8_t)(first = c_now);
        if (prev >= 0 && next < LZW_TABLE) {
            z->last[next] = (uint8_t)first;
            z->link[next] = (uint16_t)prev;
            if (next == (1 << n_bit) - 1 && n_bit < LZW_BITS_MAX) n_bit++;
            next++;
        }
        prev = code;
        if (!cursor_put(c, z->string + at, LZW_TABLE + 1 - at)) return MO_OK;
    }
}

mo_status image_decode_gif(image *out, const image_source *src, mo_error *err)
{
    gif_reader r = { src->data, src->data + src->n };
    gif_frame *f = mo_zalloc(sizeof *f);
    lzw *z = mo_zalloc(sizeof *z);
    uint8_t *canvas;
    size_t n_pixel;
    mo_status st = MO_E_NOMEM;

    if (!f || !z) {
        mo_fail(err, st, "GIF: no memory for the decoder");
        goto done;
    }
    if ((st = gif_header(f, &r, err)) != MO_OK) goto done;
    if ((st = gif_find_frame(f, &r, err)) != MO_OK) goto done;
    if ((int64_t)f->canvas_w * f->canvas_h <= src->n_pixel_max && !image_claim_possible(src, f->w, f->h, GIF_PIXELS_PER_BYTE)) {
        st = gif_truncated(err);
        goto done;
    }
    if ((st = image_alloc(out, f->canvas_w, f->canvas_h, src->n_pixel_max, err)) != MO_OK) goto done;

    /* The indices lie in the last third of the RGB buffer: looking them up from the front never overtakes them. */
    n_pixel = (size_t)out->w * (size_t)out->h;
    canvas = out->rgb + 2 * n_pixel;
    memset(canvas, f->transparent < 0 ? 0 : f->transparent, n_pixel);
    if ((st = lzw_decode(z, &r, &(gif_cursor){ .canvas = canvas, .f = f }, err)) != MO_OK) goto done;
    for (size_t i = 0; i < n_pixel; i++) memcpy(out->rgb + 3 * i, f->palette[canvas[i]], 3);
done:
    mo_free(f);
    mo_free(z);
    return st;
}
