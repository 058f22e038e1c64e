#pragma once
// Threshold encoding: a shard tells of its gradient only which numbers reach a threshold tau, each as plus or minus tau
// (signs.h); the gradient is the sum of what shards tell. Strom 2015, "Scalable Distributed DNN Training Using
// Commodity GPU Cloud Computing". Each shard's tau follows how much it tells, as DL4J's AdaptiveThresholdAlgorithm has
// it.
#include "sync/message_steps.h"

namespace stoker::sync {

/// tau is in units of the mean gradient over a shard's rows, or, where the loss is no mean, of the gradient.
struct ThresholdOptions {
  double initial = 1e-3;
  double least = 1e-4, most = 1e-2;   // of the arena's numbers, that a message should tell; 0 and 1: tau stays
  double decay = 0.9659363289248456;  // from one message to the next, the way down; the way up is 1 / decay
  double clip = 0;  // times tau: of what is left of a number no more stays than that; 0: all stays. At least 1
};

/// After a message that told `share` of the numbers.
double next_threshold(double threshold, double share, const ThresholdOptions& options);

class Threshold final : public MessageSteps {
 public:
  Threshold(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const CommitOptions& options, const ThresholdOptions& threshold);

 protected:
  size_t write(int shard, double denominator, std::span<std::byte> message) override;
  void add(ByteView message, optim::Extent part, float* sum) override;

 private:
  const ThresholdOptions threshold_;
};

}  // namespace stoker::sync
