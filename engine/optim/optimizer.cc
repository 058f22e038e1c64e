#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "optim/adafactor.h"
#include "optim/averaged.h"
#include "optim/clipped.h"
#include "optim/grouped.h"
#include "optim/keras.h"
#include "optim/kernels.h"
#include "optim/layered.h"
#include "optim/lbfgs.h"
#include "optim/rules.h"

namespace stoker::optim {
namespace {

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
    if (has_buffer_ && group.momentum == 0) keep_state(0, part, at);
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
    if (amsgrad_ && !group.amsgrad) keep_state(2, part, at);
  }
  bool decoupled_;
  bool amsgrad_ = false;
};

std::unique_ptr<Optimizer> make_plain(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  if (options.name == "sgd") return std::make_unique<Sgd>(options, arena, isa);
  if (options.name == "adam" || options.name == "adamw") return std::make_unique<Adam>(options, arena, isa);
  if (options.name == "lbfgs") return make_lbfgs(options, arena);
  if (options.name.ends_with("adafactor")) return make_adafactor(options, arena, isa);
  if (auto layered = make_layered(options, arena, isa)) return layered;
  if (auto of_keras = make_keras(options, arena, isa)) return of_keras;
  auto optimizer = make_rule(options, arena, isa);
  STOKER_CHECK(optimizer);
  return optimizer;
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  auto optimizer = make_plain(options, arena, isa);
  if (options.clip.norm > 0) optimizer = make_clipped(std::move(optimizer), options.clip, arena);
  return options.average.on ? make_averaged(std::move(optimizer), options.average) : std::move(optimizer);
}

Measured measured(const Optimizer& optimizer, Evaluated told,
                  const std::function<void(int, const std::vector<double>&)>& pass, Measured room) {
  if (optimizer.sums() == 0) return {};
  Measured found = std::move(room);
  found.numbers.assign(told.numbers, told.numbers + optimizer.numbers());
  found.numbers.resize(optimizer.numbers() + optimizer.scratch());
  for (told.round = 0; told.round < optimizer.rounds(); ++told.round) {
    pass(told.round, found.numbers);
    optimizer.decide(told, found.numbers.data());
  }
  found.factors = optimizer.factors(told.sums);
  return found;
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
