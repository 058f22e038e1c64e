#pragma once
// All rows for one update: a commit is a pass over them, in batches with the committed weights. Each shard adds up the
// gradients of its batches in their order, so neither ranks nor deaths change the bits.
#include "base/float_rows.h"
#include "sync/all_reduce.h"

namespace stoker::sync {

class FullBatch final : public AllReduce {
 public:
  FullBatch(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const CommitOptions& options);

  void begin(const Round& round) override;
  void run(const Part& part, const Run& run) override;
  bool runs_together() const override { return false; }
  void publish() override;

 private:
  struct Sum {
    FloatRows floats;  // gradient, and each batch's share of the float buffers after it
    Scalars scalars = {};
    bool begun = false;
  };
  int64_t vector() const { return arena_.floats() + state_.layout().buffer_floats; }

  std::map<int, Sum> sums_;  // by shard, of mine
  FloatRows batch_;
};

}  // namespace stoker::sync
