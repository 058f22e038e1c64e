#pragma once
// What optimizers share that go over the arena element by element.
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace stoker::optim {

/// Cuts a range into groups, asks the schedule, and keeps padding zero, whatever the gradient's scale and eps make of
/// it.
class GroupedOptimizer : public Optimizer {
 public:
  GroupedOptimizer(const OptimizerOptions& options, const Arena& arena, Isa isa);
  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override;

 protected:
  virtual void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                            const Streams& at) const = 0;
  /// What the schedule makes of a group.
  GroupOptions now(int group, const Moment& at) const;
  double base_rate(int group, const Moment& at) const;
  Streams streams_of(const UpdateBuffers& buffers) const;
  /// Of a state that other groups have.
  static void keep_state(int k, Extent part, const Streams& at);
  void clear_padding(Extent range, const Streams& at) const;

  std::vector<GroupOptions> groups_;
  const Schedule schedule_;
  const Kernels& kernels_;

 private:
  std::vector<Extent> extents_;
  std::vector<Extent> padding_;
};

}  // namespace stoker::optim
