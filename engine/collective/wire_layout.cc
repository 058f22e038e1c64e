#include "collective/wire_layout.h"

#include <algorithm>

namespace stoker::collective {
namespace {

constexpr int64_t kBlock = 64 << 10;  // floats

}  // namespace

std::vector<Range> WireLayout::blocks(Range slice) const {
  std::vector<Range> blocks;
  for (Range block = {slice.begin, 0}; block.begin < slice.end; block.begin = block.end) {
    block.end = std::min(slice.end, block.begin + kBlock);
    if (is_rounded(block)) block.end = std::min(block.end, rounded_);
    blocks.push_back(block);
  }
  return blocks;
}

size_t WireLayout::packed_bytes(Range range) const {
  return static_cast<size_t>(std::max<int64_t>(0, std::min(range.end, rounded_) - range.begin)) * sizeof(uint16_t);
}

size_t WireLayout::bytes(Range range) const {
  const size_t packed = packed_bytes(range);
  return packed + (static_cast<size_t>(range.size()) - packed / sizeof(uint16_t)) * sizeof(float);
}

Source WireLayout::source(const std::byte* place, Range slice) const {
  const int64_t plain = std::clamp(rounded_, slice.begin, slice.end);
  return {reinterpret_cast<const float*>(place + packed_bytes(slice)), plain,
          rounded_ > slice.begin ? reinterpret_cast<const uint16_t*>(place) : nullptr, slice.begin};
}

}  // namespace stoker::collective
