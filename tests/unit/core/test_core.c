/* The ground everything stands on: the heap's door and its injected failures, growable buffers, the scratch arena, files,
 * errors, random numbers, memory figures, instruction set names. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/arena.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/rng.h"
#include "core/synth.h"
#include "test.h"

TEST(alloc_counts_and_fails)
{
    int64_t before = mo_alloc_count();
    void *p[6];

    p[0] = mo_malloc(0);
    p[1] = mo_zalloc(100);
    p[2] = mo_calloc(10, 10);
    p[3] = mo_realloc(NULL, 10);
    p[4] = mo_alloc_aligned(1000);
    p[5] = mo_strdup("abc");
    CHECK_INT(mo_alloc_count() - before, 6);
    for (int i = 0; i < 6; i++) CHECK(p[i]);
    CHECK_INT((uintptr_t)p[4] % MO_ALIGN, 0);
    for (int i = 0; i < 100; i++) CHECK(!((char *)p[1])[i] && !((char *)p[2])[i]);
    CHECK_STR(p[5], "abc");
    for (int i = 0; i < 6; i++) mo_free(p[i]);
    mo_free(NULL);

    mo_alloc_fail_after(2); /* the third fails, once */
    for (int i = 0; i < 5; i++) {
        p[0] = mo_malloc(8);
        CHECK(i == 2 ? !p[0] : p[0] != NULL);
        mo_free(p[0]);
    }
    p[1] = mo_malloc(4);
    memcpy(p[1], "abc", 4);
    mo_alloc_fail_after(0);
    CHECK(!mo_realloc(p[1], 100)); /* and leaves what was there */
    CHECK_STR(p[1], "abc");
    mo_free(p[1]);
    mo_alloc_fail_after(0);
    CHECK(!mo_alloc_aligned(64));
    mo_alloc_fail_after(0);
    CHECK(!mo_strdup("x"));
    mo_alloc_fail_after(-1);
}

TEST(alloc_overflow)
{
    volatile size_t big = SIZE_MAX; /* not a constant the compiler warns about */
    size_t out = 7;

    CHECK(!mo_calloc(big / 2, 3));
    CHECK(!mo_calloc(big, big));
    CHECK(!mo_alloc_aligned(big));
    CHECK(!mo_alloc_aligned(big - 10));
    CHECK(!mo_strndup("x", big));
    CHECK(!mo_size_mul(big / 2, 3, &out) && out == 7);
    CHECK(!mo_size_add(big, 1, &out) && out == 7);
    CHECK(mo_size_mul(3, 5, &out) && out == 15);
    CHECK(mo_size_add(big - 1, 1, &out) && out == SIZE_MAX);
    CHECK_INT(mo_round_up(0, 64), 0);
    CHECK_INT(mo_round_up(1, 64), 64);
    CHECK_INT(mo_round_up(64, 64), 64);
    CHECK_INT(mo_round_up(65, 64), 128);
}

TEST(buffers)
{
    buf b = { 0 };
    char *want = malloc(5001);

    CHECK(want);
    for (int i = 0; i < 5000; i++) {
        char c = (char)(i * 7);
        buf_put(&b, &c, 1);
        want[i] = c;
        if (b.len != (size_t)i + 1 || b.data[b.len]) TEST_FAIL("byte %d", i);
    }
    CHECK(!b.failed && !memcmp(b.data, want, 5000));
    buf_clear(&b);
    CHECK(b.data && !b.len && !b.data[0]);
    buf_puts(&b, "x");
    buf_put(&b, NULL, 0);
    buf_printf(&b, "%d %s", 42, "y");
    CHECK_STR(b.data, "x42 y");
    memset(want, 'z', 5000);
    want[5000] = 0;
    buf_printf(&b, "<%s>", want); /* longer than the stack's piece */
    CHECK_INT(b.len, 5 + 5002);
    CHECK(b.data[5] == '<' && b.data[5006] == '>');
    buf_free(&b);
    CHECK(!b.data && !b.len && !b.cap);

    /* a failure sticks until cleared, keeps what was there */
    buf_puts(&b, "abc");
    mo_alloc_fail_after(0);
    buf_put(&b, want, 5000);
    mo_alloc_fail_after(-1);
    CHECK(b.failed && b.len == 3);
    buf_puts(&b, "d");
    CHECK_STR(b.data, "abc");
    buf_clear(&b);
    buf_puts(&b, "new");
    CHECK_STR(b.data, "new");
    mo_alloc_fail_after(0);
    buf_printf(&b, "%s", want);
    mo_alloc_fail_after(-1);
    CHECK(b.failed);
    buf_free(&b);
    buf_put(&b, "", 0);
    CHECK_STR(b.data, ""); /* printable even when nothing was put */
    buf_free(&b);
    buf_put(&b, want, SIZE_MAX); /* nothing is read: the size overflows first */
    CHECK(b.failed);
    buf_free(&b);
    free(want);
}

TEST(id_lists)
{
    ids v = { 0 };
    int32_t three[3] = { 1000, 1001, 1002 };

    for (int32_t i = 0; i < 1000; i++) ids_put(&v, i);
    ids_put_n(&v, three, 3);
    ids_put_n(&v, NULL, 0);
    CHECK_INT(v.len, 1003);
    for (int32_t i = 0; i < 1003; i++) CHECK_INT(v.data[i], i);
    ids_clear(&v);
    CHECK_INT(v.len, 0);
    ids_free(&v);
    mo_alloc_fail_after(0);
    ids_put(&v, 1);
    mo_alloc_fail_after(-1);
    CHECK(v.failed && !v.len);
    ids_put(&v, 2);
    CHECK(!v.len);
    ids_clear(&v);
    ids_put_n(&v, three, SIZE_MAX / 2);
    CHECK(v.failed);
    ids_free(&v);
}

/* The same carving twice: what the plan counted is what use needs, to the byte. */
static void carve(arena *a, void *out[4])
{
    size_t mark;

    out[0] = arena_take(a, 10, 4);
    mark = a->used;
    out[1] = arena_take(a, 1000, 1);
    arena_release(a, mark);
    out[2] = arena_take(a, 5, 8);
    out[3] = ARENA_FLOATS(a, 0);
}

TEST(arenas)
{
    arena plan = arena_plan(), a;
    void *p[4], *base;
    char *c;

    carve(&plan, p);
    for (int i = 0; i < 4; i++) CHECK(!p[i]);
    CHECK(!plan.overflow && plan.peak > 1040 && plan.peak % 64 == 0);
    CHECK((base = mo_alloc_aligned(plan.peak)) != NULL);
    a = arena_over(base, plan.peak);
    carve(&a, p);
    CHECK(!a.overflow);
    CHECK_INT(a.peak, plan.peak);
    for (int i = 0; i < 4; i++) CHECK(p[i] && (uintptr_t)p[i] % 64 == 0);
    CHECK(p[1] == p[2]); /* given back and taken again */
    c = p[0];
    memset(c, 1, 40 + 64); /* one vector past the end is ours too */
    CHECK((char *)p[2] >= c + 40 + 64);
    a = arena_over(base, plan.peak - 1);
    carve(&a, p);
    CHECK(a.overflow);
    mo_free(base);
    a = arena_plan();
    CHECK(!arena_take(&a, SIZE_MAX, 2) && a.overflow);
    a = arena_plan();
    CHECK(!arena_take(&a, SIZE_MAX / 2 + 1, 1) && a.overflow);
    a = arena_plan();
    arena_take(&a, SIZE_MAX / 2 - 100, 1);
    arena_take(&a, SIZE_MAX / 2 - 100, 1);
    arena_take(&a, SIZE_MAX / 2 - 100, 1);
    CHECK(a.overflow);
    a = arena_plan();
    CHECK(!arena_take(&a, (size_t)-5, 4) && a.overflow); /* a negative count */
}

TEST(files)
{
    char dir[] = "/tmp/mo-core-XXXXXX", *path, *text, *sub;
    mo_error err = { 0 };
    file_map m;
    FILE *f;
    size_t n;

    CHECK(mkdtemp(dir));
    CHECK((path = path_join(dir, "a")) != NULL);
    CHECK((sub = path_join(dir, "nothing")) != NULL);
    CHECK(strlen(path) == strlen(dir) + 2);
    CHECK((f = fopen(path, "wb")) != NULL);
    fwrite("one\0two", 1, 7, f);
    fclose(f);
    CHECK(file_exists(path) && !file_is_dir(path) && file_exists(dir) && file_is_dir(dir) && !file_exists(sub));

    CHECK_OK(file_map_open(&m, path, &err));
    CHECK(m.size == 7 && !memcmp(m.data, "one\0two", 7));
    file_map_close(&m);
    CHECK(!m.data && !m.size);
    file_map_close(&m);
    CHECK_OK(file_read(&text, &n, path, 7, &err));
    CHECK(n == 7 && !memcmp(text, "one\0two", 8)); /* with a NUL behind */
    mo_free(text);
    CHECK_INT(file_read(&text, &n, path, 6, &err), MO_E_LIMIT);
    CHECK(!text && strstr(err.message, path));
    mo_alloc_fail_after(0);
    CHECK_INT(file_read(&text, &n, path, 100, &err), MO_E_NOMEM);
    mo_alloc_fail_after(0);
    CHECK(!path_join("a", "b"));
    mo_alloc_fail_after(-1);
    CHECK_INT(file_map_open(&m, sub, &err), MO_E_IO);
    CHECK(strstr(err.message, sub) && !m.data);
    CHECK_INT(file_map_open(&m, dir, &err), MO_E_IO);
    CHECK(strstr(err.message, "regular"));
    CHECK_INT(file_read(&text, &n, dir, 10, NULL), MO_E_IO);
    CHECK(!mkfifo(sub, 0600));
    CHECK_INT(file_map_open(&m, sub, &err), MO_E_IO); /* and does not wait for a writer */
    CHECK_INT(file_map_open(&m, "/dev/null", &err), MO_E_IO);
    unlink(sub);
    CHECK(!truncate(path, 0));
    CHECK_OK(file_map_open(&m, path, &err));
    CHECK(!m.data && !m.size);
    file_map_close(&m);
    CHECK_OK(file_read(&text, &n, path, 0, &err));
    CHECK_STR(text, "");
    mo_free(text);
    unlink(path);
    rmdir(dir);
    mo_free(path);
    mo_free(sub);
}

/* A large file lies at a huge page's boundary, whole, whatever its length; a hole in it reads as zeros. */
TEST(large_files)
{
    const size_t size[] = { MEMORY_HUGE_PAGE - 1, MEMORY_HUGE_PAGE, 3 * MEMORY_HUGE_PAGE + 12345 };
    char path[] = "/tmp/mo-core-XXXXXX";
    const int fd = mkstemp(path);
    mo_error err = { 0 };
    file_map m;

    CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        CHECK(!ftruncate(fd, (off_t)size[i]));
        CHECK_INT(pwrite(fd, "end", 3, (off_t)size[i] - 3), 3);
        CHECK_OK(file_map_open(&m, path, &err));
        CHECK(m.size == size[i] && !memcmp(m.data + size[i] - 3, "end", 3));
        CHECK(!m.data[0] && !m.data[size[i] / 2]);
        if (size[i] >= MEMORY_HUGE_PAGE) CHECK_INT((uintptr_t)m.data % MEMORY_HUGE_PAGE, 0);
        uint64_t resident;
        const bool is_there = memory_populate(m.data + 5, m.size - 5); /* from the middle of a page */
        CHECK(memory_huge(m.data, m.size, &resident) <= resident);
        CHECK(!is_there || resident >= m.size); /* whole pages */
        memory_release(m.data + 5, m.size - 5);
        memory_huge(m.data, m.size, &resident);
        CHECK(resident <= 2 * (size_t)sysconf(_SC_PAGESIZE)); /* the first page, and the last where it is not full */
        CHECK(m.data[size[i] - 3] == 'e' && !m.data[size[i] / 2]);
        file_map_forget(&m, path);
        CHECK(m.data[size[i] - 3] == 'e' && !m.data[size[i] / 2]);
        file_map_close(&m);
        CHECK(!m.data && !m.space);
    }
    close(fd);
    unlink(path);
}

/* Of a block of memory that wishes for huge pages, never more than the block; of one that was told not to have them, none. */
TEST(huge_pages)
{
    const size_t n = 8 * MEMORY_HUGE_PAGE;
    uint8_t *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    memory_wish_huge(p, n);
    memory_wish_huge(p + 1, 100); /* nothing to wish for */
    memset(p, 1, n);
    CHECK(memory_huge(p, n, NULL) <= n && memory_huge(p, n, NULL) % MEMORY_HUGE_PAGE == 0);
    CHECK_INT(memory_huge(p, 0, NULL), 0);
    munmap(p, n);
#if defined(MADV_NOHUGEPAGE)
    p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    madvise(p, n, MADV_NOHUGEPAGE);
    memset(p, 1, n);
    CHECK_INT(memory_huge(p, n, NULL), 0);
    munmap(p, n);
#endif
}

TEST(errors)
{
    mo_error err = { 0 };
    char longer[700];

    CHECK_INT(mo_fail(NULL, MO_E_IO, "x"), MO_E_IO);
    CHECK_INT(mo_fail(&err, MO_E_IO, "cannot %s %d", "open", 3), MO_E_IO);
    CHECK_INT(err.code, MO_E_IO);
    CHECK_INT(mo_fail_in(&err, MO_E_FORMAT, "'%s'", "file"), MO_E_FORMAT);
    CHECK_STR(err.message, "'file': cannot open 3");
    CHECK_INT(mo_fail_in(NULL, MO_E_ARG, "x"), MO_E_ARG);
    memset(longer, 'l', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    mo_fail(&err, MO_E_ARG, "%s", longer);
    CHECK_INT(strlen(err.message), sizeof err.message - 1);
    mo_fail_in(&err, MO_E_ARG, "%s", longer);
    CHECK_INT(strlen(err.message), sizeof err.message - 1);
    for (int st = -9; st <= 0; st++) CHECK(!strncmp(mo_status_name((mo_status)st), "MO_", 3));
    CHECK_STR(mo_status_name((mo_status)-100), "unknown status");
}

/* Blackman and Vigna's published code gives these for splitmix64(1): the state, then xoshiro256**'s values. */
TEST(random_numbers)
{
    rng r, q;
    double sum = 0, sum2 = 0;
    enum { N = 200000 };

    rng_seed(&r, 0);
    CHECK(r.s[0] == 0xe220a8397b1dcdafu && r.s[1] == 0x6e789e6aa1b965f4u && r.s[2] == 0x06c45d188009454fu && r.s[3] == 0xf88bb8a8724c81ecu);
    r = (rng){ { 1, 2, 3, 4 } };
    CHECK(rng_next(&r) == 11520 && rng_next(&r) == 0 && rng_next(&r) == 1509978240 && rng_next(&r) == 1215971899390074240u);
    rng_seed(&r, 7);
    q = r;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r);
        if (!(u >= 0 && u < 1) || u != rng_uniform(&q)) TEST_FAIL("draw %d: %g", i, u);
        sum += u;
        sum2 += u * u;
    }
    CHECK_NEAR(sum / N, 0.5, 0.005);
    CHECK_NEAR(sum2 / N, 1.0 / 3, 0.005);
}

TEST(machine)
{
    char name[200];
    size_t n = (size_t)64 << 20;
    uint64_t before = memory_resident();
    int64_t t = clock_ns();
    char *p;

    if (memory_available()) {
        CHECK(memory_available() > (uint64_t)1 << 20 && memory_available() < (uint64_t)1 << 50);
        CHECK((p = malloc(n)) != NULL);
        for (size_t i = 0; i < n; i += 512) ((volatile char *)p)[i] = 1;
        CHECK(memory_resident() > before + n / 2);
        CHECK(memory_resident_peak() > before + n / 2);
        free(p);
    }
    CHECK(clock_ns() >= t);
    CHECK_INT(cpu_isa_parse(NULL), MO_ISA_ALL);
    CHECK_INT(cpu_isa_parse("all"), MO_ISA_ALL);
    CHECK_INT(cpu_isa_parse("generic"), 0);
    CHECK_INT(cpu_isa_parse("generic,avx2"), MO_ISA_AVX2);
    CHECK_INT(cpu_isa_parse("avx2,avx512_bf16"), MO_ISA_AVX2 | MO_ISA_AVX512_BF16);
    CHECK_INT(cpu_isa_parse("avx3"), -1);
    CHECK_INT(cpu_isa_parse("avx"), -1);
    cpu_isa_format(0, name, sizeof name);
    CHECK_STR(name, "generic");
    cpu_isa_format(MO_ISA_AVX2 | MO_ISA_NEON, name, sizeof name);
    CHECK_INT(cpu_isa_parse(name), MO_ISA_AVX2 | MO_ISA_NEON);
    cpu_isa_format(MO_ISA_ALL, name, 8); /* cut, not overrun */
    CHECK(strlen(name) < 8);
}

int main(void)
{
    RUN(alloc_counts_and_fails);
    RUN(alloc_overflow);
    RUN(buffers);
    RUN(id_lists);
    RUN(arenas);
    RUN(files);
    RUN(large_files);
    RUN(huge_pages);
    RUN(errors);
    RUN(random_numbers);
    RUN(machine);
    return test_end();
}
