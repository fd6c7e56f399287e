/* WebP to RGB by libwebp with its defaults (fancy upsampling, no dithering), straight into our rows.
 *
 * Colours under transparent pixels survive, as in PIL. An animation gives its first frame, at its place on a black canvas.
 */
#include "media/image_codec.h"

#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

static mo_status webp_fail(mo_error *err, VP8StatusCode code)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY: return mo_fail(err, MO_E_NOMEM, "WebP: no memory for the decoder");
    case VP8_STATUS_NOT_ENOUGH_DATA: return mo_fail(err, MO_E_FORMAT, "WebP: the file is truncated");
    case VP8_STATUS_UNSUPPORTED_FEATURE: return mo_fail(err, MO_E_UNSUPPORTED, "WebP: a feature the decoder does not know");
    default: return mo_fail(err, MO_E_FORMAT, "WebP: the file is broken (decoder status %d)", (int)code);
    }
}

/* Decode one still picture of w x h into `out` at (x, y). It must fit: the caller has checked. */
static mo_status webp_frame(image *out, const uint8_t *data, size_t n, int32_t x, int32_t y, int32_t w, int32_t h, mo_error *err)
{
    const size_t stride = (size_t)out->w * 3;
    WebPDecoderConfig config;
    VP8StatusCode code;

    if (!WebPInitDecoderConfig(&config)) return mo_fail(err, MO_E_UNSUPPORTED, "WebP: the library is not the version we were built for");
    if ((code = WebPGetFeatures(data, n, &config.input)) != VP8_STATUS_OK) return webp_fail(err, code);
    if (config.input.width != w || config.input.height != h) return webp_fail(err, VP8_STATUS_BITSTREAM_ERROR);
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = out->rgb + (size_t)y * stride + (size_t)x * 3;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = (size_t)(h - 1) * stride + (size_t)w * 3;
    code = WebPDecode(data, n, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? MO_OK : webp_fail(err, code);
}

static mo_status webp_first_frame(image *out, const image_source *src, mo_error *err)
{
    WebPData data = { src->data, src->n };
    WebPIterator it;
    WebPDemuxer *demux = WebPDemux(&data);
    mo_status st;

    memset(&it, 0, sizeof it);
    /* libwebp's demuxer has one answer for short memory and for a broken file */
    if (!demux || !WebPDemuxGetFrame(demux, 1, &it)) {
        st = mo_fail(err, MO_E_FORMAT, "WebP: the animation is truncated or broken");
        goto done;
    }
    st = image_alloc(out, WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH), WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT), src->n_pixel_max, err);
    if (st != MO_OK) goto done;
    memset(out->rgb, 0, (size_t)out->w * (size_t)out->h * 3);
    if (it.width < 1 || it.height < 1 || it.x_offset < 0 || it.y_offset < 0 || it.width > out->w - it.x_offset ||
        it.height > out->h - it.y_offset) {
        st = mo_fail(err, MO_E_FORMAT, "WebP: the first frame lies outside the canvas");
        goto done;
    }
    st = webp_frame(out, it.fragment.bytes, it.fragment.size, it.x_offset, it.y_offset, it.width, it.height, err);
done:
    WebPDemuxReleaseIterator(&it);
    WebPDemuxDelete(demux);
    return st;
}

mo_status image_decode_webp(image *out, const image_source *src, mo_error *err)
{
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(src->data, src->n, &f);
    mo_status st;

    if (code != VP8_STATUS_OK) return webp_fail(err, code);
    if (f.has_animation) return webp_first_frame(out, src, err);
    if ((st = image_alloc(out, f.width, f.height, src->n_pixel_max, err)) != MO_OK) return st;
    return webp_frame(out, src->data, src->n, 0, 0, f.width, f.height, err);
}
