// What the decoders' archives call stderr: see cmake/Decoders.cmake.
#include <cstdio>

extern "C" {
extern __attribute__((visibility("hidden"))) FILE* stoker_stderr;
FILE* stoker_stderr = stderr;
}
