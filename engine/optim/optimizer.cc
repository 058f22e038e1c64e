#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "optim/kernels.h"

namespace stoker::optim {
namespace {

Extent overlap(Extent a, Extent b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

/// Cuts a range into groups and keeps padding zero, whatever the gradient's scale and eps make of it.
class GroupedOptimizer : public Optimizer {
 public:
  GroupedOptimizer(const OptimizerOptions& options, const Arena& arena, Isa isa)
      : groups_(options.groups), schedule_(options.schedule), kernels_(kernels(isa)), padding_(arena.padding()) {
    STOKER_CHECK(arena.groups() <= static_cast<int>(groups_.size()));
    for (int g = 0; g < arena.groups(); ++g) extents_.push_back(arena.group(g));
  }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    STOKER_CHECK(at.step >= 1);
    const Streams streams = streams_of(buffers);
    for (size_t g = 0; g < extents_.size(); ++g) {
      const Extent part = overlap(range, extents_[g]);
      if (part.size() > 0) update_group(now(groups_[g], at), part, at.step, buffers.gradient_scale, streams);
    }
    clear_padding(range, streams);
  }

 protected:
  virtual void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                            const Streams& at) const = 0;

  std::vector<GroupOptions> groups_;
  const Schedule schedule_;
  const Kernels& kernels_;

 private:
  /// What the schedule makes of a group.
  GroupOptions now(const GroupOptions& group, const Moment& at) const {
    GroupOptions now = group;
    now.lr = schedule_.rate(group.lr, at);
    if (schedule_.changes_momentum()) now.momentum = now.beta1 = schedule_.momentum(at);
    return now;
  }

  Streams streams_of(const UpdateBuffers& buffers) const {
    const auto states = static_cast<size_t>(state_buffers());
    STOKER_CHECK(buffers.state_in.size() == states && buffers.state_out.size() == states);
    Streams streams{buffers.gradient, buffers.weights_in, buffers.weights_out, {}, {}};
    std::copy(buffers.state_in.begin(), buffers.state_in.end(), streams.state_in);
    std::copy(buffers.state_out.begin(), buffers.state_out.end(), streams.state_out);
    return streams;
  }

  void clear_padding(Extent range, const Streams& at) const {
    auto gap = std::partition_point(padding_.begin(), padding_.end(), [&](Extent e) { return e.end <= range.begin; });
    for (; gap != padding_.end() && gap->begin < range.end; ++gap) {
      const Extent part = overlap(*gap, range);
      std::fill(at.weights_out + part.begin, at.weights_out + part.end, 0.0f);
      for (int s = 0; s < state_buffers(); ++s)
        std::fill(at.state_out[s] + part.begin, at.state_out[s] + part.end, 0.0f);
    }
  }

  std::vector<Extent> extents_;
  std::vector<Extent> padding_;
};

class Sgd : public GroupedOptimizer {
 public:
  Sgd(const OptimizerOptions& options, const Arena& arena, Isa isa) : GroupedOptimizer(options, arena, isa) {
    has_buffer_ = schedule_.changes_momentum();
    for (const auto& group : groups_) has_buffer_ |= group.momentum != 0;
  }
  int state_buffers() const override { return has_buffer_ ? 1 : 0; }
  std::vector<std::string> state_names() const override {
    return has_buffer_ ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{};
  }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    const SgdScalars by{.scale = group.maximize ? -scale : scale,
                        .decay = static_cast<float>(group.weight_decay),
                        .momentum = static_cast<float>(group.momentum),
                        .undamped = static_cast<float>(1 - group.dampening),
                        .step = static_cast<float>(-group.lr),
                        .nesterov = group.nesterov,
                        .first = step == 1};
    kernels_.sgd(by, at, part.begin, part.end);
    if (has_buffer_ && group.momentum == 0) {
      std::copy(at.state_in[0] + part.begin, at.state_in[0] + part.end, at.state_out[0] + part.begin);
    }
  }
  bool has_buffer_ = false;
};

class Adam : public GroupedOptimizer {
 public:
  Adam(const OptimizerOptions& options, const Arena& arena, Isa isa)
      : GroupedOptimizer(options, arena, isa), decoupled_(options.name == "adamw") {
    for (const auto& group : groups_) amsgrad_ |= group.amsgrad;
  }
  int state_buffers() const override { return amsgrad_ ? 3 : 2; }
  std::vector<std::string> state_names() const override {
    std::vector<std::string> names{"exp_avg", "exp_avg_sq"};
    if (amsgrad_) names.push_back("max_exp_avg_sq");
    return names;
  }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    const double correction1 = 1 - std::pow(group.beta1, static_cast<double>(step));
    const double correction2 = 1 - std::pow(group.beta2, static_cast<double>(step));
    const auto blend1 = static_cast<float>(1 - group.beta1);
    const AdamScalars by{.scale = group.maximize ? -scale : scale,
                         .decay = decoupled_ ? 0.0f : static_cast<float>(group.weight_decay),
                         .shrink = decoupled_ ? static_cast<float>(1 - group.lr * group.weight_decay) : 1.0f,
                         .blend1 = blend1,
                         .keep1 = 1 - blend1,
                         .beta2 = static_cast<float>(group.beta2),
                         .blend2 = static_cast<float>(1 - group.beta2),
                         .correction2 = static_cast<float>(1 / std::sqrt(correction2)),
                         .eps = static_cast<float>(group.eps),
                         .step = static_cast<float>(-group.lr / correction1),
                         .amsgrad = group.amsgrad};
    kernels_.adam(by, at, part.begin, part.end);
    if (amsgrad_ && !group.amsgrad) {
      std::copy(at.state_in[2] + part.begin, at.state_in[2] + part.end, at.state_out[2] + part.begin);
    }
  }
  bool decoupled_;
  bool amsgrad_ = false;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  if (options.name == "sgd") return std::make_unique<Sgd>(options, arena, isa);
  STOKER_CHECK(options.name == "adam" || options.name == "adamw");
  return std::make_unique<Adam>(options, arena, isa);
}

void block_norms(Extent range, const float* gradient, float scale, double* out) {
  STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
  kernels(best_isa()).block_norms(gradient + range.begin, scale, range.size() / kBlock, out);
}

float clip_factor(double norm, double max_norm) {
  // torch: max_norm / (norm + 1e-6) with a float32 tensor is reciprocal, then product; clamped at 1, NaN stays.
  const float factor = 1.0f / (static_cast<float>(norm) + 1e-6f) * static_cast<float>(max_norm);
  return factor > 1.0f ? 1.0f : factor;
}

}  // namespace stoker::optim
