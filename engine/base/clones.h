#pragma once
// For a function whose loops the compiler is to make once for each generation of vector instructions; the best one of
// the machine is taken when the library is loaded. Bits do not differ: the same operations, element by element.

// Sanitizers instrument the resolvers that choose among clones, and those run before the sanitizers are up.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define STOKER_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define STOKER_CLONES
#endif
