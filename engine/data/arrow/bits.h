#pragma once
// Bitmaps of the Arrow format: validity, and the values of boolean columns.
#include <cstdint>

#include "data/arrow/abi.h"

namespace stoker::data {

inline bool is_set(const void* bits, int64_t at) { return static_cast<const uint8_t*>(bits)[at / 8] >> (at % 8) & 1; }

/// Whether the array may have nulls, of which buffers[0] then tells.
inline bool has_nulls(const ArrowArray& array) {
  return array.n_buffers > 0 && array.buffers[0] != nullptr && array.null_count != 0;
}

}  // namespace stoker::data
