/* Pictures without the golden folder: every decoder on tiny files of PIL's making, lies, truncations and short memory;
 * resizing against a plain loop; slice plans of the spec's table. */
#include <stdlib.h>

#include "core/alloc.h"
#include "core/buf.h"
#include "core/file.h"
#include "media/image.h"
#include "sha256.h"
#include "test.h"

static mo_error err;

/* The pictures of pictures.txt, their bytes read. */
enum { N_PICTURE_MAX = 64 };

typedef struct picture {
    char name[64], sha[65];
    int w, h;
    char *data;
    size_t n;
} picture;

static picture pictures[N_PICTURE_MAX];
static int n_picture;

static void load_pictures(void)
{
    char line[256], path[1024];
    FILE *f = fopen(IMAGE_TEST_LIST, "r");

    while (f && n_picture < N_PICTURE_MAX && fgets(line, sizeof line, f)) {
        picture *p = &pictures[n_picture];

        if (sscanf(line, "%63s %d %d %64s", p->name, &p->w, &p->h, p->sha) != 4 || line[0] == '#') continue;
        snprintf(path, sizeof path, "%s/%s", IMAGE_TEST_DIR, p->name);
        if (file_read(&p->data, &p->n, path, 1 << 20, &err) != MO_OK) printf("  %s\n", err.message);
        else n_picture++;
    }
    if (f) fclose(f);
}

TEST(decode_as_pil)
{
    CHECK_INT(n_picture, 24);
    for (int i = 0; i < n_picture; i++) {
        const picture *p = &pictures[i];
        image im;
        char hex[65];

        CHECK_OK(image_decode(&im, p->data, p->n, &err));
        sha256_hex(hex, im.rgb, (size_t)im.w * (size_t)im.h * 3);
        if (im.w != p->w || im.h != p->h || strcmp(hex, p->sha) != 0) TEST_FAIL("%s: %d x %d, sha256 %s", p->name, im.w, im.h, hex);
        image_free(&im);
    }
}

/* Every prefix is refused in one sentence or, when only a trailer is missing, decodes; half a file never does. */
TEST(decode_truncated)
{
    for (int i = 0; i < n_picture; i++)
        for (size_t n = 0; n < pictures[i].n; n++) {
            char *copy = malloc(n ? n : 1); /* of exact size, for the sanitizer to see a byte too many */
            image im;
            mo_status st;

            memcpy(copy, pictures[i].data, n);
            st = image_decode(&im, copy, n, &err);
            free(copy);
            image_free(&im);
            if (st == MO_OK ? n * 2 <= pictures[i].n : st != MO_E_FORMAT && !(st == MO_E_UNSUPPORTED && n < 16))
                TEST_FAIL("%s cut to %zu bytes: %s", pictures[i].name, n, mo_status_name(st));
        }
}

/* The k-th allocation fails, for every k there is: no leak (the sanitizer's word), no other status. */
TEST(decode_short_of_memory)
{
    for (int i = 0; i < n_picture; i++)
        for (int k = 0;; k++) {
            image im;
            mo_status st;

            mo_alloc_fail_after(k);
            st = image_decode(&im, pictures[i].data, pictures[i].n, &err);
            mo_alloc_fail_after(-1);
            image_free(&im);
            if (st == MO_OK) break;
            if (st != MO_E_NOMEM) TEST_FAIL("%s, allocation %d: %s: %s", pictures[i].name, k, mo_status_name(st), err.message);
            if (k > 1000) TEST_FAIL("%s: allocations without end", pictures[i].name);
            if (test_this_failed) break;
        }
}

static mo_status claim(const char *head, size_t n_head, size_t n)
{
    char file[200] = { 0 };
    image im;

    memcpy(file, head, n_head);
    memset(&err, 0, sizeof err);
    return image_decode(&im, file, n, &err);
}

TEST(decode_lies)
{
    static const char jpeg[] = "\xff\xd8\xff\xdb\0\x43\0"
                               "1111111122222222333333334444444455555555666666667777777788888888"
                               "\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0"
                               "\xff\xda\0\x08\1\1\0\0\x3f\0";
    static const char gif[] = "GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2";
    static const char bmp[] = "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xff\xff\0\0\xff\xff\0\0\1\0\x18\0\0\0\0\0";
    static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\2\0\0\0";
    char small_claim[sizeof jpeg];

    CHECK_INT(claim(jpeg, sizeof jpeg - 1, 200), MO_E_LIMIT);
    CHECK(strstr(err.message, "65500"));
    CHECK_INT(claim(gif, sizeof gif - 1, 200), MO_E_LIMIT);
    CHECK(strstr(err.message, "65535"));
    CHECK_INT(claim(bmp, sizeof bmp - 1, 200), MO_E_LIMIT);
    CHECK(claim(png, sizeof png - 1, 200) < 0); /* the check sum is wrong too */
    memcpy(small_claim, jpeg, sizeof jpeg);
    memcpy(small_claim + 76, (const uint8_t[]){ 0x27, 0x10, 0x27, 0x10 }, 4); /* 10000 x 10000: allowed, but not in 200 bytes */
    CHECK_INT(claim(small_claim, sizeof jpeg - 1, 200), MO_E_FORMAT);
    CHECK_STR(err.message, "JPEG: the file is truncated");
    CHECK_INT(claim("hello", 5, 5), MO_E_UNSUPPORTED);
    CHECK_INT(claim("", 0, 0), MO_E_FORMAT);
}

TEST(decode_limit_of_caller)
{
    image im;

    for (int i = 0; i < n_picture; i++) {
        const picture *p = &pictures[i];

        CHECK_INT(image_decode_within(&im, p->data, p->n, (int64_t)p->w * p->h - 1, &err), MO_E_LIMIT);
        CHECK(!im.rgb);
        CHECK_OK(image_decode_within(&im, p->data, p->n, (int64_t)p->w * p->h, &err));
        image_free(&im);
    }
}

/* Vision spec 3: the test picture. */
static void make_pattern(image *im, int32_t w, int32_t h)
{
    uint8_t *p;

    if (image_new(im, w, h, &err) != MO_OK) return;
    p = im->rgb;
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++, p += 3) {
            p[0] = (uint8_t)(7 * x + 13 * y);
            p[1] = (uint8_t)(x * x + 3 * y);
            p[2] = (uint8_t)(5 * (x ^ y));
        }
}

TEST(resize_vectors)
{
    static const struct {
        int32_t w, h, to_w, to_h;
        const char *sha;
    } v[] = {
        { 640, 480, 518, 392, "c38559634ff6276e" }, { 640, 480, 728, 546, "03277ffd0733d2c3" },
        { 100, 100, 448, 448, "6daa2e722eed68f9" }, { 1920, 1080, 602, 336, "080c6bf7350b8aef" },
        { 449, 448, 644, 630, "26fa03f327596564" }, { 1000, 30, 448, 448, "1a5a27eca14639b9" },
    };

    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        image im, to;
        char hex[65];

        make_pattern(&im, v[i].w, v[i].h);
        CHECK_OK(image_resize(&to, &im, v[i].to_w, v[i].to_h, &err));
        sha256_hex(hex, to.rgb, (size_t)to.w * (size_t)to.h * 3);
        hex[16] = 0;
        CHECK_STR(hex, v[i].sha);
        image_free(&im);
        image_free(&to);
    }
}

/* One axis of Pillow's resize, pixel by pixel, as the spec writes it. step: bytes between neighbours along the axis. */
static uint8_t plain_sample(const uint8_t *line, int32_t n_in, size_t step, int32_t n_out, int32_t i)
{
    const double scale = (double)n_in / n_out, fs = scale < 1 ? 1 : scale, center = (i + 0.5) * scale;
    double k[512], sum = 0;
    int from = (int)(center - 2 * fs + 0.5), to = (int)(center + 2 * fs + 0.5);
    int32_t acc = 1 << 21;

    if (from < 0) from = 0;
    if (to > n_in) to = n_in;
    for (int j = 0; j < to - from; j++) {
        const double x = fabs((j + from - center + 0.5) * (1.0 / fs)), a = -0.5;

        k[j] = x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
        sum += k[j];
    }
    for (int j = 0; j < to - from; j++)
        acc += line[(size_t)(from + j) * step] * (int32_t)(k[j] / sum * (1 << 22) + (k[j] / sum < 0 ? -0.5 : 0.5));
    acc >>= 22;
    return (uint8_t)(acc < 0 ? 0 : acc > 255 ? 255 : acc);
}

static void plain_resize(image *out, const image *in, int32_t w, int32_t h)
{
    image mid;

    memset(out, 0, sizeof *out);
    if (image_new(&mid, w, in->h, &err) != MO_OK || image_new(out, w, h, &err) != MO_OK) return;
    for (int32_t y = 0; y < in->h; y++)
        for (int32_t x = 0; x < 3 * w; x++)
            mid.rgb[(size_t)y * 3 * (size_t)w + (size_t)x] =
                plain_sample(in->rgb + (size_t)y * 3 * (size_t)in->w + x % 3, in->w, 3, w, x / 3);
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < 3 * w; x++)
            out->rgb[(size_t)y * 3 * (size_t)w + (size_t)x] = plain_sample(mid.rgb + x, in->h, 3 * (size_t)w, h, y);
    image_free(&mid);
}

TEST(resize_random)
{
    srand(3);
    for (int i = 0; i < 60; i++) {
        image im, to, want;

        CHECK_OK(image_new(&im, 1 + rand() % 90, 1 + rand() % 90, &err));
        for (size_t j = 0; j < (size_t)im.w * (size_t)im.h * 3; j++) im.rgb[j] = (uint8_t)(i % 2 ? rand() : rand() % 2 * 255);
        const int32_t w = i % 5 == 1 ? im.w : 1 + rand() % 120, h = i % 5 == 2 ? im.h : 1 + rand() % 120;

        CHECK_OK(image_resize(&to, &im, w, h, &err));
        plain_resize(&want, &im, w, h);
        CHECK(!memcmp(to.rgb, want.rgb, (size_t)w * (size_t)h * 3));
        image_free(&im);
        image_free(&to);
        image_free(&want);
    }
}

TEST(resize_refuses)
{
    image im, to;

    make_pattern(&im, 10, 10);
    CHECK_INT(image_resize(&to, &im, 0, 5, &err), MO_E_ARG);
    CHECK_INT(image_resize(&to, &im, 5, -1, &err), MO_E_ARG);
    CHECK_INT(image_resize(&to, &im, INT32_MAX, INT32_MAX, &err), MO_E_LIMIT);
    CHECK_INT(image_resize(&to, &(image){ 0 }, 5, 5, &err), MO_E_ARG);
    for (int k = 0;; k++) {
        mo_alloc_fail_after(k);
        mo_status st = image_resize(&to, &im, 7, 12, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(!to.rgb);
    }
    image_free(&to);
    image_free(&im);
}

/* Vision spec 2.4. */
TEST(plan_table)
{
    static const int32_t t[][9] = {
        /* w, h, max, overview, grid, refined */
        { 448, 448, 9, 448, 448, 0, 0, 0, 0 },         { 1, 1, 9, 448, 448, 0, 0, 0, 0 },
        { 449, 448, 9, 448, 448, 2, 1, 644, 630 },     { 640, 480, 9, 518, 392, 2, 1, 728, 546 },
        { 672, 448, 9, 546, 364, 2, 1, 784, 518 },     { 896, 448, 9, 630, 322, 2, 1, 896, 448 },
        { 800, 600, 9, 518, 392, 2, 2, 1036, 784 },    { 1280, 720, 9, 602, 336, 3, 2, 1470, 812 },
        { 1920, 1080, 9, 602, 336, 4, 2, 1680, 952 },  { 1080, 1920, 9, 336, 602, 2, 4, 952, 1680 },
        { 4000, 3000, 9, 518, 392, 3, 3, 1554, 1176 }, { 3000, 500, 9, 1092, 182, 7, 1, 2940, 476 },
        { 331, 1003, 9, 252, 784, 1, 3, 448, 1344 },   { 50, 2000, 9, 70, 2828, 0, 0, 0, 0 },
        { 1920, 1080, 2, 602, 336, 2, 1, 840, 476 },   { 1920, 1080, 1, 602, 336, 0, 0, 0, 0 },
        { 1920, 1080, 0, 602, 336, 0, 0, 0, 0 },
    };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        slice_plan p;
        int32_t got[6];

        image_plan_slices(&p, t[i][0], t[i][1], t[i][2], 448, 14);
        memcpy(got, (int32_t[]){ p.overview_w, p.overview_h, p.cols, p.rows, p.refined_w, p.refined_h }, sizeof got);
        if (memcmp(got, t[i] + 3, sizeof got) != 0)
            TEST_FAIL("%d x %d max %d: %d x %d, grid %d x %d of %d x %d", t[i][0], t[i][1], t[i][2], got[0], got[1], got[2], got[3], got[4],
                      got[5]);
    }
}

TEST(slices)
{
    image_slices s;
    image im;

    make_pattern(&im, 300, 500);
    CHECK_OK(image_slice(&s, &im, 9, 112, 14, &err));
    CHECK(s.cols > 1 || s.rows > 1);
    CHECK_INT(s.n_tile, 1 + s.cols * s.rows);
    for (int32_t i = 1; i < s.n_tile; i++) CHECK_INT(s.tile[i].w, s.tile[1].w);

    /* cells are the refined picture's, row-major */
    image refined;
    CHECK_OK(image_resize(&refined, &im, s.cols * s.tile[1].w, s.rows * s.tile[1].h, &err));
    for (int32_t y = 0; y < refined.h; y++)
        for (int32_t c = 0; c < s.cols; c++) {
            const image *t = &s.tile[1 + y / s.tile[1].h * s.cols + c];

            CHECK(!memcmp(t->rgb + (size_t)(y % t->h) * (size_t)t->w * 3,
                          refined.rgb + ((size_t)y * (size_t)refined.w + (size_t)(c * t->w)) * 3, (size_t)t->w * 3));
        }
    image_free(&refined);
    image_slices_free(&s);
    for (int k = 0;; k++) {
        mo_alloc_fail_after(k);
        mo_status st = image_slice(&s, &im, 9, 112, 14, &err);
        mo_alloc_fail_after(-1);
        if (st == MO_OK) break;
        CHECK_INT(st, MO_E_NOMEM);
        CHECK(!s.tile);
    }
    image_slices_free(&s);
    image_free(&im);
    CHECK_INT(image_slice(&s, &im, 9, 448, 14, &err), MO_E_ARG);
}

TEST(patches)
{
    float out[2 * 3 * 2 * 2 * 2];
    image im;

    make_pattern(&im, 4, 4);
    image_patches(out, &im, 2);
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 2; y++)
                for (int x = 0; x < 2; x++) {
                    const uint8_t u = im.rgb[((k / 2 * 2 + y) * 4 + k % 2 * 2 + x) * 3 + c];
                    const float f = (float)u / 255.0f;

                    CHECK(out[((k * 3 + c) * 2 + y) * 2 + x] == (f - 0.5f) / 0.5f);
                }
    image_free(&im);
}

TEST(stack)
{
    static const struct {
        int n;
        int32_t w, h, to_w, to_h;
    } t[] = { { 1, 40, 30, 40, 30 },  { 2, 40, 30, 40, 66 }, { 2, 30, 60, 66, 60 }, { 3, 40, 30, 40, 102 },
              { 3, 30, 90, 102, 90 }, { 4, 40, 30, 86, 66 }, { 5, 10, 10, 74, 10 } };
    image im, out;

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const image *const in[5] = { &im, &im, &im, &im, &im };

        make_pattern(&im, t[i].w, t[i].h);
        CHECK_OK(image_stack(&out, in, t[i].n, &err));
        if (out.w != t[i].to_w || out.h != t[i].to_h) TEST_FAIL("%d of %d x %d: %d x %d", t[i].n, t[i].w, t[i].h, out.w, out.h);
        image_free(&out);
        image_free(&im);
    }
    CHECK_INT(image_stack(&out, NULL, 0, &err), MO_E_ARG);

    /* a small picture in a large one's cell below it: white around it, black between */
    image small;
    make_pattern(&im, 20, 20);
    make_pattern(&small, 20, 10);
    CHECK_OK(image_stack(&out, (const image *[]){ &im, &small }, 2, &err));
    CHECK_INT(out.w, 20);
    CHECK_INT(out.h, 46);
    CHECK_INT(out.rgb[3 * 20 * 22], 0);
    CHECK_INT(out.rgb[3 * 20 * 30], 255);
    CHECK(!memcmp(out.rgb + 3 * 20 * 31, small.rgb, 3 * 20 * 10));
    image_free(&out);
    image_free(&im);
    image_free(&small);
}

int main(void)
{
    load_pictures();
    RUN(decode_as_pil);
    RUN(decode_truncated);
    RUN(decode_short_of_memory);
    RUN(decode_lies);
    RUN(decode_limit_of_caller);
    RUN(resize_vectors);
    RUN(resize_random);
    RUN(resize_refuses);
    RUN(plan_table);
    RUN(slices);
    RUN(patches);
    RUN(stack);
    for (int i = 0; i < n_picture; i++) mo_free(pictures[i].data);
    return test_end();
}
