#pragma once
// How parts of a vector lie between hosts: floats, but of the vector's first `rounded` elements their upper halves, as
// all of them are in bfloat16 (bf16.h). Pure.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "collective/sum_program.h"

namespace stoker::collective {

class WireLayout {
 public:
  explicit WireLayout(int64_t rounded) : rounded_(rounded) {}

  /// A slice in blocks, small enough for a core's cache, large enough for a call. Each is rounded or it is not.
  std::vector<Range> blocks(Range slice) const;
  bool is_rounded(Range block) const { return block.begin < rounded_; }
  size_t bytes(Range range) const;
  /// Of what is rounded in it.
  size_t packed_bytes(Range range) const;
  /// A slice that lies at `place`.
  Source source(const std::byte* place, Range slice) const;

 private:
  int64_t rounded_;
};

}  // namespace stoker::collective
