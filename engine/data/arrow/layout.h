#pragma once
// What an Arrow array says of itself before a value is read: buffers, children and their lengths. What the buffers hold
// (offsets, indices, sizes) is data: whoever takes a position from there looks whether it lies within what is there.
#include <algorithm>
#include <cstdint>
#include <string>

#include "data/arrow/abi.h"

namespace stoker::data {

/// Positions from a buffer's or a child's start.
struct Range {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
  bool within(int64_t length) const { return begin >= 0 && begin <= end && end <= length; }
  std::string text() const;
};

/// What offsets at `position`, counted from the buffer's start, say. They say anything.
template <typename O>
Range range_at(const void* offsets, int64_t position) {
  const O* at = static_cast<const O*>(offsets) + position;
  return {at[0], at[1]};
}

/// Bytes that a text or binary array holds, by its last offset.
template <typename O>
int64_t bytes_held(const ArrowArray& array) {
  const int64_t entries = array.offset + array.length;
  return entries == 0 ? 0 : static_cast<const O*>(array.buffers[1])[entries];
}

/// What is wrong: a buffer or child that is missing, or one that is too short for what lies above it; empty where the
/// array may be read. A text's bytes reach to its last offset: how long buffers are the interface does not tell.
std::string layout_fault(const ArrowSchema& schema, const ArrowArray& array);

}  // namespace stoker::data
