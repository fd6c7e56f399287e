/* What the control groups leave us, on folders that look like theirs. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "test.h"

static char root[] = "/tmp/minicpmo-memory-XXXXXX";

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", root, name);
    if (!(f = fopen(path, "w"))) perror(path), exit(1);
    fputs(text, f);
    fclose(f);
}

static void folder(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", root, name);
    if (mkdir(path, 0700)) perror(path), exit(1);
}

static uint64_t room(const char *membership)
{
    char path[256];

    put("cgroup", membership);
    snprintf(path, sizeof path, "%s/cgroup", root);
    return memory_group_room(root, path);
}

TEST(version_2)
{
    folder("outer"), folder("outer/inner");
    CHECK(room("0::/outer/inner\n") == UINT64_MAX); /* nobody says anything */
    put("outer/inner/memory.max", "max\n");
    put("outer/inner/memory.current", "123\n");
    CHECK(room("0::/outer/inner\n") == UINT64_MAX);
    put("outer/inner/memory.max", "1000000\n");
    put("outer/inner/memory.current", "400000\n");
    CHECK(room("0::/outer/inner\n") == 600000);
    put("outer/inner/memory.stat", "anon 1\nfile 350000\ninactive_file 100000\nactive_file 50000\nslab 7\n");
    CHECK(room("0::/outer/inner\n") == 750000); /* the cache can be had */
    put("outer/memory.max", "2000000\n");       /* a neighbour uses the rest of the outer group's */
    put("outer/memory.current", "1900000\n");
    CHECK(room("0::/outer/inner\n") == 100000);
    CHECK(room("0::/outer\n") == 100000);
    put("outer/memory.current", "2500000\n"); /* over its limit */
    CHECK(room("0::/outer/inner\n") == 0);
    put("memory.max", "5\n"); /* the root of a container's own view; no count: the limit alone */
    CHECK(room("0::/\n") == 5);
    CHECK(room("0::/gone/elsewhere\n") == 5);
}

TEST(version_1)
{
    folder("memory"), folder("memory/box");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n"); /* how version 1 says "none" */
    put("memory/memory.usage_in_bytes", "1\n");
    put("memory/box/memory.limit_in_bytes", "1000\n");
    put("memory/box/memory.usage_in_bytes", "900\n");
    put("memory/box/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 20\n");
    CHECK(room("9:name=systemd:/\n4:hugetlb,memory:/box\n1:cpu:/\n") == 420);
    CHECK(room("4:memory2,mem:/box\n") == UINT64_MAX);
}

TEST(strange)
{
    char text[2000];

    CHECK(memory_group_room(root, "/does/not/exist") == UINT64_MAX);
    CHECK(room("") == UINT64_MAX);
    CHECK(room("nonsense\n:\n4:cpu\n") == UINT64_MAX);
    memset(text, 'a', sizeof text);
    memcpy(text, "4:memory:/", 10);
    text[sizeof text - 1] = 0;
    CHECK(room(text) == UINT64_MAX);
}

int main(void)
{
    if (!mkdtemp(root)) perror(root), exit(1);
    RUN(version_2);
    RUN(version_1);
    RUN(strange);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    if (system(command)) return 1;
    return test_end();
}
