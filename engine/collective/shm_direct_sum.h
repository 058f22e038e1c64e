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
  void plan() override;

  const Range slice_;
  float* sums_ = nullptr;  // a whole vector of the host; my slice is mine to write
  std::vector<Source> sources_;
  SumProgram program_{{0, 0}, {}};
  std::vector<bool> summed_;  // blocks of my slice that stand in sums_
};

}  // namespace stoker::collective
