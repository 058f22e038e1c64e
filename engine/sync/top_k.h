#pragma once
// Top-k: a shard tells the largest numbers of its gradient, and where they are; the gradient is their sum. Aji and
// Heafield 2017, "Sparse Communication for Distributed Gradient Descent"; Lin et al. 2018, "Deep Gradient Compression".
#include "sync/message_steps.h"

namespace stoker::sync {

class TopK final : public MessageSteps {
 public:
  /// `share`: of the numbers of the arena, that a shard tells; one at least.
  TopK(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
       const CommitOptions& options, double share);

 protected:
  size_t write(int shard, double denominator, std::span<std::byte> message) override;
  void add(ByteView message, optim::Extent part, float* sum) override;

 private:
  std::vector<float> scratch_;
};

}  // namespace stoker::sync
