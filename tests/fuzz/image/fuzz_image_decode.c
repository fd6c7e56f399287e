/* Any bytes as a picture: the kind is chosen by their magic, so seeds of every kind reach every decoder. The pixel limit keeps
 * one input cheap; sizes and limits themselves are covered by the unit tests. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "media/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    image im;
    mo_error err;
    unsigned sum = 0;

    if (image_decode_within(&im, data, n, 1 << 16, &err) != MO_OK) {
        if (im.rgb || err.code == MO_OK || !err.message[0]) abort();
        return 0;
    }
    if (!im.rgb || (int64_t)im.w * im.h > 1 << 16) abort();
    for (size_t i = 0; i < (size_t)im.w * (size_t)im.h * 3; i++) sum += im.rgb[i]; /* all of it must be ours to read */
    image_free(&im);
    return sum == UINT32_MAX ? -1 : 0;
}
