#pragma once
// The arena: all trainable parameters in one contiguous float32 buffer. A pure description; it owns no memory.
//
// Parameters lie group by group (one group per optimizer parameter group), in the order given, each starting at a
// multiple of 16 floats (64 bytes); gaps are padding and hold zeros, always. The total is a multiple of kBlock floats.
// A block is the unit of slices, of norm sums and of everything whose order of summation must not depend on ranks.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace stoker::optim {

inline constexpr int64_t kAlign = 16;    ///< floats
inline constexpr int64_t kBlock = 1024;  ///< floats

struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;
  int group = 0;
  std::vector<int> layout = {};  // of each dimension that the user's tensor has, which of these it is; empty: the same
};

struct Extent {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

/// Of two; what is no part of either has no positive size.
inline Extent overlap(Extent a, Extent b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

class Arena {
 public:
  /// Parameters keep their index; where they lie follows from their groups.
  explicit Arena(std::vector<ParameterSpec> parameters);

  int64_t floats() const { return floats_; }
  int64_t blocks() const { return floats_ / kBlock; }
  /// Of all parameters, without padding.
  int64_t numbers() const;
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  /// Where parameter i lies, without its padding.
  Extent extent(int i) const { return extents_[i]; }
  /// Where group g lies, padding included; groups follow each other without gaps and cover the arena.
  Extent group(int g) const { return groups_[g]; }
  int groups() const { return static_cast<int>(groups_.size()); }
  /// What lies between parameters and after them, ascending.
  std::vector<Extent> padding() const;

 private:
  std::vector<ParameterSpec> parameters_;
  std::vector<Extent> extents_;
  std::vector<Extent> groups_;
  int64_t floats_ = 0;
};

}  // namespace stoker::optim
