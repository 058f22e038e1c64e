#pragma once
// A fuzz target is a function of bytes that must end: in a result, or in an Error(world), which closes a connection.
#include <algorithm>
#include <cstdlib>

#include "base/codec.h"
#include "base/error.h"

namespace stoker::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

template <typename Body>
void world_errors_only(Body body) {
  try {
    body();
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::world);
  }
}

}  // namespace stoker::fuzz

#define FUZZ_TARGET(input)                                                  \
  static void fuzz_target(stoker::ByteView input);                          \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    fuzz_target({reinterpret_cast<const std::byte*>(data), size});          \
    return 0;                                                               \
  }                                                                         \
  static void fuzz_target(stoker::ByteView input)
