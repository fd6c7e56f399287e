/* Runs a fuzzer without libFuzzer: given files, then inputs made from them, then inputs made from nothing.
 *
 *     fuzz_NAME [-n RUNS] [-s SEED] [FILE | FOLDER] ...
 *
 * A crash file from libFuzzer is replayed by naming it. Each input lives in a block of exactly its size, so that
 * AddressSanitizer sees the first byte read past it. The random inputs follow from the seed alone, so a failure can be
 * repeated anywhere.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_SEED_MAX = 256, N_RANDOM_BYTES_MAX = 4096, N_RUN_DEFAULT = 500 };

typedef struct input {
    uint8_t *data;
    size_t n;
} input;

typedef struct seeds {
    input file[N_SEED_MAX];
    int n;
} seeds;

/* xorshift64*: enough to vary inputs */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

static size_t random_below(uint64_t *state, size_t n) { return n ? (size_t)(random_next(state) % n) : 0; }

static void run_one(const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);

    if (!exact) return;
    if (n) memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static int read_file(seeds *s, const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat sb;
    input in = { 0 };

    if (!f) goto fail;
    if (fstat(fileno(f), &sb) || sb.st_size < 0 || s->n == N_SEED_MAX) goto fail;
    in.n = (size_t)sb.st_size;
    if (!(in.data = malloc(in.n ? in.n : 1)) || fread(in.data, 1, in.n, f) != in.n) goto fail;
    fclose(f);
    s->file[s->n++] = in;
    return 0;
fail:
    fprintf(stderr, "cannot read %s\n", path);
    free(in.data);
    if (f) fclose(f);
    return -1;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* A file, or the files of a folder in the order of their names. */
static int read_path(seeds *s, const char *path)
{
    struct dirent **entry;
    char name[4096];
    int n, bad = 0;

    n = scandir(path, &entry, NULL, by_name);
    if (n < 0) return read_file(s, path);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.') bad |= read_file(s, name);
        free(entry[i]);
    }
    free(entry);
    return bad;
}

/* Into out: a seed (or random bytes) with a few bytes changed, cut out or repeated. Returns its size. */
static size_t make_input(uint8_t *out, size_t n_max, const seeds *s, uint64_t *state)
{
    size_t n, at, len;

    if (s->n && random_below(state, 8)) {
        const input *in = &s->file[random_below(state, (size_t)s->n)];
        n = in->n < n_max ? in->n : n_max;
        if (n) memcpy(out, in->data, n);
    } else {
        n = random_below(state, N_RANDOM_BYTES_MAX);
        for (size_t i = 0; i < n; i++) out[i] = (uint8_t)random_next(state);
    }
    for (size_t k = random_below(state, 6); k && n; k--) {
        at = random_below(state, n);
        switch (random_below(state, 5)) {
        case 0: out[at] ^= (uint8_t)(1u << random_below(state, 8)); break;
        case 1: out[at] = (uint8_t)random_next(state); break;
        case 2: out[at] = random_below(state, 2) ? 0xFF : 0x00; break;
        case 3: /* cut the end off */ n = at; break;
        case 4: /* take a piece out */
            len = random_below(state, n - at) + 1;
            memmove(out + at, out + at + len, n - at - len);
            n -= len;
            break;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    static seeds s; /* 4 KiB; one process, one use */
    uint64_t seed = 1;
    long n_run = N_RUN_DEFAULT;
    size_t n_max = N_RANDOM_BYTES_MAX;
    uint8_t *buf;
    int bad = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-n") && i + 1 < argc) n_run = strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "-s") && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else bad |= read_path(&s, argv[i]);
    }
    for (int i = 0; i < s.n; i++) {
        run_one(s.file[i].data, s.file[i].n);
        if (s.file[i].n > n_max) n_max = s.file[i].n;
    }
    if (!(buf = malloc(n_max))) return 1;
    fprintf(stderr, "seed %llu, %ld runs, %d files\n", (unsigned long long)seed, n_run, s.n);
    for (long i = 0; i < n_run; i++) {
        uint64_t state = (seed * 0x9E3779B97F4A7C15u) ^ ((uint64_t)i + 1) * 0xBF58476D1CE4E5B9u;

        if (!state) state = 1;
        run_one(buf, make_input(buf, n_max, &s, &state));
    }
    for (int i = 0; i < s.n; i++) free(s.file[i].data);
    free(buf);
    printf("%d passed, %d failed\n", bad ? 0 : 1, bad ? 1 : 0);
    return bad ? 1 : 0;
}
