#pragma once
// Direct sums inside one host: each rank adds its slice straight out of all partials, which lie in shared memory. In a
// world of one the only partial is the sum. Used by one thread.
#include "collective/direct_sum.h"

namespace stoker::collective {

class ShmDirectSum final : public DirectSum {
 public:
  ShmDirectSum(Group& group, const ShardSumOptions& options);
  void exchange() override;
  Range slice() const override { return slice_; }
  const float* sum(Range range) override;
  void replace_partials() override;

 private:
  struct Plan {
    std::vector<Source> sources;
    SumProgram program;
  };

  void plan() override;
  Plan make_plan() const;

  struct alignas(64) Line {
    float floats[16];
  };

  const Range slice_;
  BySet<Plan> plans_;
  Plan* plan_ = nullptr;    // of this step
  std::vector<Line> sums_;  // of the range that was asked for last: as little as stays in the nearest cache
};

}  // namespace stoker::collective
