#pragma once
// Synchronous data-parallel SGD by all-reduce: a commit is one step, of the gradients' sum over all shards. Partials
// stand -> totals -> (norms, when clipping) -> my slice of the new state -> all slices stand -> flip.
#include <vector>

#include "sync/commit.h"

namespace stoker::sync {

class AllReduce : public Commit {
 public:
  /// `state` has the optimizer's state buffers and `carried` more.
  AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const CommitOptions& options);

  void run(const Part& part, const Run& run) override;
  bool runs_together() const override { return true; }
  bool make(StepTimes& times) override;

 protected:
  /// One step of the optimizer.
  struct Step {
    int from = 0, to = 0;  // sets
    uint64_t number = 0;   // that grows from step to step
    optim::Moment at = 1;
    Scalars totals = {};
  };

  /// With sums of another kind, see sum_of() and slice(); Commit adds up `floats`. The state's last `own` optimizer
  /// buffers are not the optimizer's.
  AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const CommitOptions& options, int64_t floats, int own);

  /// My part of a step of the optimizer. Gives whether what it wrote is finite.
  bool take(const Step& step, StepTimes& times);
  /// The part of the arena, the float buffers and what is carried that this rank makes.
  virtual optim::Extent slice() const;
  /// Of a part of the arena: the new weights and the optimizer's state.
  virtual void update(optim::Extent range, const optim::UpdateBuffers& buffers);
  void keep_floats() override;

  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;

 private:
  float clip(float scale, StepTimes& times);
  void measure(float scale, StepTimes& times);
  bool write(optim::Extent range, float scale);
  optim::UpdateBuffers buffers(optim::Extent range, float scale);

  Step step_;
  std::vector<float> clamp_;
  optim::Measured measured_;  // by the optimizer
};

}  // namespace stoker::sync
