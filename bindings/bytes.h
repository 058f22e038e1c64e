#pragma once
// Bytes between Python and the engine.
#include <nanobind/nanobind.h>

#include "base/codec.h"

namespace stoker {

/// Valid as long as the object lives.
inline ByteView view(const nanobind::bytes& bytes) {
  return {static_cast<const std::byte*>(bytes.data()), bytes.size()};
}

inline nanobind::bytes to_python(ByteView bytes) { return nanobind::bytes(bytes.data(), bytes.size()); }

}  // namespace stoker
