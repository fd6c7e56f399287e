/* Whether a sanitizer's instruments are compiled in: code is an order of magnitude slower then, and takes a compiler as much
 * longer. Kernels are not made for every constant number of rows there, and some tests' sweeps are shorter. */
#ifndef MO_CORE_INSTRUMENTED_H
#define MO_CORE_INSTRUMENTED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MO_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MO_INSTRUMENTED 1
#endif
#endif
#ifndef MO_INSTRUMENTED
#define MO_INSTRUMENTED 0
#endif

#endif
