#pragma once
// PowerSGD: a gradient is told by thin factors of its matrices (low_rank.h), which are added up over shards. Vogels et
// al. 2019, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed Optimization", algorithms 1 and 2. In a
// step each shard makes left factors of its matrices and of the right factors of the step before; their sum is made
// orthonormal; each shard makes right factors with that; the product of it and of their sum is the gradient. Parameters
// of one dimension, and float buffers, are added up whole, with the left factors.
#include "sync/feedback_steps.h"
#include "sync/low_rank.h"

namespace stoker::sync {

class PowerSgd final : public FeedbackSteps {
 public:
  static constexpr int kBuffers = 1;  // of the state's optimizer buffers the last one: right factors

  PowerSgd(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
           const CommitOptions& options, int64_t rank);
  /// Right factors that a fit begins with, in a set.
  static void begin_factors(const HostState& state, int set, const optim::Arena& arena, int64_t rank);

 protected:
  void begin_messages(const collective::ShardSet& present) override;
  void tell(int shard, float share, double denominator) override;
  double meet() override;
  void keep_own() override;
  const float* sum_of(optim::Extent range) override;

 private:
  float* rights(int set) const { return state_.optimizer(set, optimizer_.state_buffers()); }
  int64_t wholes() const { return low_.lefts; }
  int64_t buffers() const { return low_.lefts + whole_floats_; }
  void make_lefts();
  void make_rights();

  const LowRank low_;
  const int64_t whole_floats_;   // of parameters that are added up whole
  collective::WholeSum lefts_;   // of a step: left factors, whole parameters, float buffers; its denominator
  collective::WholeSum rights_;  // right factors
  std::vector<float> left_;      // orthonormal
  const float* left_sum_ = nullptr;
  const float* right_sum_ = nullptr;
};

}  // namespace stoker::sync
