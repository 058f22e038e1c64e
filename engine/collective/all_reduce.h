#pragma once
// Adds one resident vector per rank, in place. Used by one thread, like its group; a group carries one AllReduce or one
// ShardSum. The sum is that of ShardSum with one shard per rank: the canonical tree over the ranks.
#include <memory>
#include <span>

#include "collective/group.h"

namespace stoker::collective {

class DirectSum;

class AllReduce {
 public:
  /// Every rank calls it with the same length.
  AllReduce(Group& group, int64_t floats);
  ~AllReduce();

  /// Mine: filled by the caller before run(), the sum of all ranks' vectors after it. Zeros at first.
  std::span<float> buffer() const { return buffer_; }
  void run();

 private:
  Group& group_;
  std::unique_ptr<DirectSum> sum_;
  std::vector<bool> everyone_;
  std::span<float> buffer_;
  uint64_t step_ = 0;
};

}  // namespace stoker::collective
