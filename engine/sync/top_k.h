#pragma once
// Top-k: a shard tells the largest numbers of its gradient, and where they are; the gradient is their sum. Aji and
// Heafield 2017, "Sparse Communication for Distributed Gradient Descent"; Lin et al. 2018, "Deep Gradient Compression".
// Messages of shards do not add up to shorter ones, so each goes to all hosts as it is, and each rank adds them up for
// its part of the arena, in the order of shards. Float buffers are added up whole.
#include "sync/feedback_steps.h"
#include "sync/sparse.h"

namespace stoker::sync {

class TopK final : public FeedbackSteps {
 public:
  /// `share`: of the numbers of the arena, that a shard tells; one at least.
  TopK(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
       const CommitOptions& options, double share);

 protected:
  void begin_messages(const collective::ShardSet& present) override;
  void tell(int shard, float share, double denominator) override;
  double meet() override;
  const float* sum_of(optim::Extent range) override;

 private:
  std::span<Entry> message(int shard) const;
  void send_messages();

  const std::vector<int> owners_;  // by shard
  const size_t count_;             // of a message
  std::span<Entry> messages_;      // of all shards, of the host
  collective::WholeSum rest_;      // float buffers; the denominator
  const float* rest_sum_ = nullptr;
  std::vector<float> room_;
};

}  // namespace stoker::sync
