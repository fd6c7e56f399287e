/* BMP to RGB: 1, 4, 8 bits with a palette (raw or run-length coded), 16, 24, 32 bits, bit fields as PIL knows them.
 *
 *     14 bytes file header, DIB header (12, 40, 52, 56, 64, 108 or 124 bytes), masks, palette, rows of 4-byte multiples
 *
 * Rows are bottom-up unless the height is negative. Where the reference reads nonsense (a two-grey palette on 8-bit
 * pixels, odd absolute runs in RLE4) we read what the format says; elsewhere its result is ours to the bit.
 * Format: Microsoft, "Bitmap Storage" and BITMAPINFOHEADER ... BITMAPV5HEADER.
 */
#include "media/image_codec.h"

#include <string.h>

#include "core/alloc.h"

enum { BMP_RAW = 0, BMP_RLE8 = 1, BMP_RLE4 = 2, BMP_BITFIELDS = 3 };

typedef struct bmp {
    const uint8_t *data;
    size_t n;
    uint32_t bits, compression, n_color, mask[4]; /* masks: R, G, B, A */
    int64_t w, h;
    bool is_top_down;
    size_t palette_at, pixels_at;
    int palette_entry; /* bytes: 3 in the oldest header, else 4 */
    uint8_t palette[256][3];
} bmp;

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static mo_status bmp_truncated(mo_error *err) { return mo_fail(err, MO_E_FORMAT, "BMP: the file is truncated"); }

static bool bmp_header_known(uint32_t n) { return n == 12 || n == 40 || n == 52 || n == 56 || n == 64 || n == 108 || n == 124; }

/* The masks are part of the later headers and follow the 40-byte one. */
static mo_status bmp_masks(bmp *b, uint32_t n_header, mo_error *err)
{
    const int n_mask = n_header >= 56 ? 4 : 3;

    if (b->n < 54 + 4 * (size_t)n_mask) return bmp_truncated(err);
    for (int i = 0; i < n_mask; i++) b->mask[i] = u32(b->data + 54 + 4 * i);
    if (n_header == 40) b->palette_at += 12;
    return MO_OK;
}

static mo_status bmp_header(bmp *b, mo_error *err)
{
    const uint8_t *p = b->data;
    uint32_t n_header;

    if (b->n < 26) return bmp_truncated(err);
    n_header = u32(p + 14);
    if (!bmp_header_known(n_header)) return mo_fail(err, MO_E_UNSUPPORTED, "BMP: header of %u bytes", n_header);
    if (b->n < 14 + (size_t)n_header) return bmp_truncated(err);
    b->pixels_at = u32(p + 10);
    b->palette_at = 14 + (size_t)n_header;
    if (n_header == 12) {
        b->w = u16(p + 18);
        b->h = u16(p + 20);
        b->bits = u16(p + 24);
        b->palette_entry = 3;
    } else {
        b->w = u32(p + 18);
        b->is_top_down = p[25] == 0xFF;
        b->h = b->is_top_down ? ((int64_t)1 << 32) - u32(p + 22) : (int64_t)u32(p + 22);
        b->bits = u16(p + 28);
        b->compression = u32(p + 30);
        b->n_color = u32(p + 46);
        b->palette_entry = 4;
        if (b->compression == BMP_BITFIELDS) {
            mo_status st = bmp_masks(b, n_header, err);

            if (st != MO_OK) return st;
        }
    }
    if (b->bits != 1 && b->bits != 4 && b->bits != 8 && b->bits != 16 && b->bits != 24 && b->bits != 32)
        return mo_fail(err, MO_E_UNSUPPORTED, "BMP: %u bits a pixel", b->bits);
    if (b->compression > BMP_BITFIELDS || (b->compression == BMP_BITFIELDS && b->bits < 16) ||
        ((b->compression == BMP_RLE8 || b->compression == BMP_RLE4) && b->bits > 8))
        return mo_fail(err, MO_E_UNSUPPORTED, "BMP: compression %u with %u bits a pixel", b->compression, b->bits);
    if (!b->n_color && b->bits <= 8) b->n_color = 1u << b->bits;
    return MO_OK;
}

/* The palette may be cut short. Some writers set the pixels' offset to the palette's: then pixels follow it. */
static mo_status bmp_palette(bmp *b, mo_error *err)
{
    const size_t after = b->palette_at; /* of the headers */

    if (b->bits <= 8) {
        int n = 0;

        if (b->n_color > 65536) return mo_fail(err, MO_E_FORMAT, "BMP: a palette of %u colours", b->n_color);
        for (; n < 256 && (uint32_t)n < b->n_color; n++) {
            const size_t at = after + (size_t)n * (size_t)b->palette_entry;

            if (at + 3 > b->n) break;
            for (int c = 0; c < 3; c++) b->palette[n][c] = b->data[at + (size_t)(2 - c)];
        }
        image_palette_complete(b->palette, n);
        if (b->pixels_at == 14 + (size_t)u32(b->data + 14)) b->pixels_at += 4 * (size_t)b->n_color;
    }
    if (!b->pixels_at) b->pixels_at = after + (b->bits <= 8 ? (size_t)b->n_color * (size_t)b->palette_entry : 0);
    return b->pixels_at <= b->n ? MO_OK : bmp_truncated(err);
}

/* 32-bit masks PIL knows, as byte offsets of R, G, B. */
static bool bmp_layout32(const bmp *b, int at[3])
{
    static const struct {
        uint32_t mask[4];
        uint8_t at[3];
    } known[] = {
        { { 0xFF0000, 0xFF00, 0xFF, 0 }, { 2, 1, 0 } },          { { 0xFF000000, 0xFF0000, 0xFF00, 0 }, { 3, 2, 1 } },
        { { 0xFF000000, 0xFF00, 0xFF, 0 }, { 3, 1, 0 } },        { { 0xFF000000, 0xFF0000, 0xFF00, 0xFF }, { 3, 2, 1 } },
        { { 0xFF, 0xFF00, 0xFF0000, 0xFF000000 }, { 0, 1, 2 } }, { { 0xFF0000, 0xFF00, 0xFF, 0xFF000000 }, { 2, 1, 0 } },
        { { 0xFF000000, 0xFF00, 0xFF, 0xFF0000 }, { 3, 1, 0 } }, { { 0, 0, 0, 0 }, { 2, 1, 0 } },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (memcmp(known[i].mask, b->mask, sizeof b->mask) != 0) continue;
        for (int c = 0; c < 3; c++) at[c] = known[i].at[c];
        return true;
    }
    return false;
}

/* Bits of green in a 16-bit pixel: 5 (x555) or 6 (565); 0 for masks we do not know. */
static int bmp_green16(const bmp *b)
{
    if (b->compression == BMP_RAW) return 5;
    if (b->mask[0] == 0xF800 && b->mask[1] == 0x7E0 && b->mask[2] == 0x1F) return 6;
    if (b->mask[0] == 0x7C00 && b->mask[1] == 0x3E0 && b->mask[2] == 0x1F) return 5;
    return 0;
}

static void row_index(const bmp *b, uint8_t *dst, const uint8_t *src)
{
    const unsigned bits = b->bits, mask = (1u << bits) - 1;

    for (int64_t x = 0; x < b->w; x++, dst += 3) {
        const uint64_t at = (uint64_t)x * bits;

        memcpy(dst, b->palette[((unsigned)src[at >> 3] >> (8 - bits - (at & 7))) & mask], 3);
    }
}

static void row_16(const bmp *b, uint8_t *dst, const uint8_t *src, unsigned n_green)
{
    const unsigned green = (1u << n_green) - 1;

    for (int64_t x = 0; x < b->w; x++, src += 2, dst += 3) {
        const unsigned v = u16(src);

        dst[0] = (uint8_t)(((v >> (5 + n_green)) & 31) * 255 / 31);
        dst[1] = (uint8_t)(((v >> 5) & green) * 255 / green);
        dst[2] = (uint8_t)((v & 31) * 255 / 31);
    }
}

static void row_bytes(const bmp *b, uint8_t *dst, const uint8_t *src, const int at[3])
{
    const size_t step = b->bits / 8;

    for (int64_t x = 0; x < b->w; x++, src += step, dst += 3)
        for (int c = 0; c < 3; c++) dst[c] = src[at[c]];
}

static uint8_t *bmp_row(const bmp *b, image *out, int64_t y)
{
    return out->rgb + (size_t)(b->is_top_down ? y : b->h - 1 - y) * (size_t)b->w * 3;
}

static mo_status bmp_raw(bmp *b, image *out, mo_error *err)
{
    const size_t used = ((size_t)b->w * b->bits + 7) / 8, stride = (used + 3) & ~(size_t)3;
    int at[3] = { 2, 1, 0 }, n_green = 5;

    if (b->bits == 16 && !(n_green = bmp_green16(b))) goto masks;
    if (b->bits == 32 && !bmp_layout32(b, at)) goto masks;
    if (b->bits == 24 && b->compression == BMP_BITFIELDS && (b->mask[0] != 0xFF0000 || b->mask[1] != 0xFF00 || b->mask[2] != 0xFF))
        goto masks;
    /* the last row's padding may be missing */
    if (b->n - b->pixels_at < (size_t)(b->h - 1) * stride + used) return bmp_truncated(err); /* both sides are limited: no overflow */
    for (int64_t y = 0; y < b->h; y++) {
        const uint8_t *src = b->data + b->pixels_at + (size_t)y * stride;
        uint8_t *dst = bmp_row(b, out, y);

        if (b->bits <= 8) row_index(b, dst, src);
        else if (b->bits == 16) row_16(b, dst, src, (unsigned)n_green);
        else row_bytes(b, dst, src, at);
    }
    return MO_OK;
masks:
    return mo_fail(err, MO_E_UNSUPPORTED, "BMP: colour masks %08x %08x %08x with %u bits a pixel", b->mask[0], b->mask[1], b->mask[2],
                   b->bits);
}

/* The drawing position of run-length data; what falls outside a row is dropped. */
typedef struct rle_pen {
    const bmp *b;
    image *out;
    int64_t x, y;
} rle_pen;

static void rle_put(rle_pen *pen, unsigned index)
{
    if (pen->y < pen->b->h && pen->x < pen->b->w) memcpy(bmp_row(pen->b, pen->out, pen->y) + 3 * pen->x, pen->b->palette[index], 3);
    if (pen->x < pen->b->w) pen->x++;
}

/* n pixels given one by one: bytes for RLE8, nibbles for RLE4; padded to an even file offset. False at the end of the file. */
static bool rle_literal(rle_pen *pen, size_t *at, int n)
{
    const bmp *b = pen->b;
    const bool is_rle4 = b->compression == BMP_RLE4;
    const size_t n_byte = is_rle4 ? ((size_t)n + 1) / 2 : (size_t)n;

    if (b->n - *at < n_byte) return false;
    for (int i = 0; i < n; i++) {
        const uint8_t v = b->data[*at + (size_t)(is_rle4 ? i / 2 : i)];

        rle_put(pen, !is_rle4 ? v : i & 1 ? v & 15u : v >> 4);
    }
    *at += n_byte;
    *at += *at & 1;
    return true;
}

/* Pixels the data jumps over have index 0. Done when the last row is full, or at the end mark. */
static mo_status bmp_rle(bmp *b, image *out, mo_error *err)
{
    rle_pen pen = { .b = b, .out = out };
    size_t at = b->pixels_at;

    for (int64_t i = 0; i < b->w * b->h; i++) memcpy(out->rgb + 3 * i, b->palette[0], 3);
    while (pen.y < b->h - 1 || (pen.y == b->h - 1 && pen.x < b->w)) {
        int n, v;

        if (at + 2 > b->n) return bmp_truncated(err);
        n = b->data[at];
        v = b->data[at + 1];
        at += 2;
        if (n) {
            for (int i = 0; i < n; i++) rle_put(&pen, (unsigned)(b->compression == BMP_RLE8 ? v : i & 1 ? v & 15 : v >> 4));
        } else if (v == 0) {
            pen.x = 0;
            pen.y++;
        } else if (v == 1) {
            break;
        } else if (v == 2) {
            if (at + 2 > b->n) return bmp_truncated(err);
            pen.x += b->data[at];
            pen.y += b->data[at + 1];
            at += 2;
        } else if (!rle_literal(&pen, &at, v)) {
            return bmp_truncated(err);
        }
    }
    return MO_OK;
}

mo_status image_decode_bmp(image *out, const image_source *src, mo_error *err)
{
    bmp b = { .data = src->data, .n = src->n };
    mo_status st;

    if ((st = bmp_header(&b, err)) != MO_OK) return st;
    if ((st = bmp_palette(&b, err)) != MO_OK) return st;
    if ((b.compression == BMP_RAW || b.compression == BMP_BITFIELDS) && b.w && b.h && b.w <= IMAGE_MAX_SIDE && b.h <= IMAGE_MAX_SIDE &&
        !image_claim_possible(src, (b.w * b.bits + 7) / 8, b.h, 1))
        return bmp_truncated(err);
    if ((st = image_alloc(out, b.w, b.h, src->n_pixel_max, err)) != MO_OK) return st;
    return b.compression == BMP_RLE8 || b.compression == BMP_RLE4 ? bmp_rle(&b, out, err) : bmp_raw(&b, out, err);
}
