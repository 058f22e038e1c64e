#pragma once
// Asynchronous SGD in turns. A commit is a round, in which each replica that has rows takes a window of steps alone,
// and then all push into the common weights, one after the other in the order of shards. So replicas run at the same
// time, on whichever rank has them, and what comes out is that of workers who take turns: each push is stale by those
// of all others.
#include "sync/pushing.h"

namespace stoker::sync {

class Turns final : public Pushing {
 public:
  Turns(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
        const CommitOptions& options, const PushOptions& pushing);

  void publish() override;
  bool make(StepTimes& times) override;

 private:
  std::vector<Push> pushes() const;
  bool apply(const std::vector<Push>& pushes);
  void write_replica_numbers(const std::vector<Push>& pushes) const;
};

}  // namespace stoker::sync
