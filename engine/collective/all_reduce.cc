#include "collective/all_reduce.h"

#include "collective/direct_sum.h"

namespace stoker::collective {
namespace {

constexpr int64_t kBlock = 16;  // floats: a cache line, so that small vectors are shared out too

}  // namespace

AllReduce::AllReduce(Group& group, int64_t floats) : group_(group), everyone_(group.size(), true) {
  STOKER_CHECK(floats >= 0);
  const int64_t rounded = (floats + kBlock - 1) / kBlock * kBlock;
  sum_ = make_direct_sum(group, {.shards = group.size(), .floats = rounded, .block = kBlock, .scalars = 0});
  sum_->begin(step_, everyone_);
  buffer_ = {sum_->next(), static_cast<size_t>(floats)};
}

AllReduce::~AllReduce() = default;

void AllReduce::run() {
  sum_->put(group_.rank());
  sum_->exchange();
  sum_->replace_partials();
  group_.arrive(Phase::slices, step_);
  group_.await(Phase::slices, step_);
  sum_->begin(++step_, everyone_);
}

}  // namespace stoker::collective
