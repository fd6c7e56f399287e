/* What the kernel tests share: the instruction sets to run, random data, guarded outputs, comparisons.
 *
 * Every test runs on every set this machine has (MO_ISA=generic,avx2,… narrows the list); AVX-512 runs emulated where the
 * CPU lacks it, if the build found SIMDe.
 */
#ifndef KERNEL_TEST_H
#define KERNEL_TEST_H

#include <stdlib.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_internal.h"
#include "core/alloc.h"
#include "core/cpu.h"
#include "core/instrumented.h"

/* For the sums in double that kernels are compared with: they are not what a sanitizer is run for, and most of its time. */
#define REFERENCE __attribute__((no_sanitize("address", "undefined", "thread")))

/* The largest cases, which take most of the time, are left out where everything is an order of magnitude slower. */
#ifdef TEST_EMULATED_CPU
enum { TEST_IS_SLOW = 1 };
#else
enum { TEST_IS_SLOW = MO_INSTRUMENTED };
#endif

typedef struct isa_case {
    const char *name;
    kernels k;
} isa_case;

enum { ISA_CASE_MAX = 8 };
extern isa_case isa_cases[ISA_CASE_MAX];
extern int n_isa_case;

/* Fills the list above from the CPU and MO_ISA; exits with a message if MO_ISA is wrong. */
void isa_cases_init(void);

/* The test's one backend with this table and number of threads, kept until it ends: its scratch is megabytes, which debugging
 * allocators and sanitizers mark byte by byte. Exits if it cannot be made. */
backend *test_backend_of(const kernels *k, int n_thread);
backend *test_backend(const isa_case *isa, int n_thread);

uint32_t rnd(void);          /* fixed seed per program */
int rnd_int(int lo, int hi); /* inclusive */
float rnd_f(void);           /* about normal, |x| < 4 */

/* n floats of random data behind `offset` floats; free with free_f. */
float *new_f(int64_t n, int offset);
void free_f(float *p, int offset);

/* n floats between canaries; guard_ok also reports the first broken one. */
float *guard_new(int64_t n);
bool guard_ok(const float *p, int64_t n);
void guard_free(float *p);

/* Largest |a - b| / (tol_abs + tol_rel * |b|); prints the worst place if above 1. */
bool near_f(const char *what, const float *a, const float *b, int64_t n, double tol_abs, double tol_rel);
bool same_bits(const char *what, const float *a, const float *b, int64_t n);

/* x as stored type; the returned rows are exactly representable values written back to x. */
void *to_type(float *x, int32_t type, int64_t n);

#endif
