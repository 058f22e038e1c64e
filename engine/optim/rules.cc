#include "optim/rules.h"

#include <algorithm>
#include <cmath>

#include "optim/grouped.h"

namespace stoker::optim {
namespace {

float narrow(double value) { return static_cast<float>(value); }

RuleScalars common(const GroupOptions& group, float scale) {
  RuleScalars by;
  by.scale = group.maximize ? -scale : scale;
  by.decay = narrow(group.weight_decay);
  by.step = narrow(-group.lr);
  by.eps = narrow(group.eps);
  return by;
}

void blend(RuleScalars& by, double beta1, double beta2) {
  by.blend1 = narrow(1 - beta1);
  by.keep1 = 1 - by.blend1;  // as torch.lerp has it
  by.blend2 = narrow(1 - beta2);
  by.keep2 = narrow(beta2);
}

/// In place of coupled decay.
void decouple(RuleScalars& by, const GroupOptions& group) {
  if (!group.decoupled_weight_decay) return;
  by.decay = 0;
  by.shrink = narrow(1 - group.lr * group.weight_decay);
}

RuleScalars adagrad(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  by.step = narrow(-group.lr / (1 + static_cast<double>(step - 1) * group.lr_decay));
  by.more = step == 1 ? narrow(group.initial_accumulator_value) : 0;
  return by;
}

RuleScalars adadelta(const GroupOptions& group, int64_t, float scale) {
  RuleScalars by = common(group, scale);
  blend(by, 0, group.rho);
  return by;
}

RuleScalars adamax(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  blend(by, group.beta1, group.beta2);
  by.step = narrow(-group.lr / (1 - std::pow(group.beta1, static_cast<double>(step))));
  return by;
}

/// NAdam's momentum of a step, and the product of those up to it.
struct Mu {
  double product = 1, now = 0, next = 0;
  Mu(const GroupOptions& group, int64_t step) {
    const double base = std::pow(0.96, group.momentum_decay);
    double power = 1;
    const auto grow = [&] { return group.beta1 * (1 - 0.5 * (power *= base)); };
    constexpr double kNothing = 1e-30;  // beside 1
    for (int64_t i = 1; i <= step && product > kNothing; ++i) product *= grow();
    const auto at = [&](int64_t i) { return group.beta1 * (1 - 0.5 * std::pow(base, static_cast<double>(i))); };
    now = at(step);
    next = at(step + 1);
  }
};

RuleScalars nadam(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  blend(by, group.beta1, group.beta2);
  decouple(by, group);
  const Mu mu(group, step);
  by.correction = narrow(1 / (1 - std::pow(group.beta2, static_cast<double>(step))));
  by.step = narrow(-group.lr * (1 - mu.now) / (1 - mu.product));
  by.more = narrow(-group.lr * mu.next / (1 - mu.product * mu.next));
  return by;
}

RuleScalars radam(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  blend(by, group.beta1, group.beta2);
  decouple(by, group);
  const auto t = static_cast<double>(step);
  const double correction2 = 1 - std::pow(group.beta2, t), most = 2 / (1 - group.beta2) - 1;
  const double length = most - 2 * t * std::pow(group.beta2, t) / correction2;
  by.step = narrow(-group.lr / (1 - std::pow(group.beta1, t)));
  by.correction = narrow(std::sqrt(correction2));
  by.rectified = length > 5;
  if (by.rectified)
    by.factor = narrow(std::sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)));
  return by;
}

RuleScalars lion(const GroupOptions& group, int64_t, float scale) {
  RuleScalars by = common(group, scale);
  blend(by, group.beta1, group.beta2);
  by.keep1 = narrow(group.beta1);
  by.decay = 0;
  by.shrink = narrow(1 - group.lr * group.weight_decay);
  return by;
}

struct Rule {
  const char* name;
  std::vector<std::string> states;
  RuleLoop Kernels::*loop;
  RuleScalars (*scalars)(const GroupOptions& group, int64_t step, float scale);
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = {{"adagrad", {"sum"}, &Kernels::adagrad, adagrad},
                                        {"adadelta", {"square_avg", "acc_delta"}, &Kernels::adadelta, adadelta},
                                        {"adamax", {"exp_avg", "exp_inf"}, &Kernels::adamax, adamax},
                                        {"nadam", {"exp_avg", "exp_avg_sq"}, &Kernels::nadam, nadam},
                                        {"radam", {"exp_avg", "exp_avg_sq"}, &Kernels::radam, radam},
                                        {"lion", {"exp_avg"}, &Kernels::lion, lion}};
  return all;
}

class ByRule : public GroupedOptimizer {
 public:
  ByRule(const OptimizerOptions& options, const Arena& arena, Isa isa, const Rule& rule)
      : GroupedOptimizer(options, arena, isa), rule_(rule) {}
  int state_buffers() const override { return static_cast<int>(rule_.states.size()); }
  std::vector<std::string> state_names() const override { return rule_.states; }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    (kernels_.*rule_.loop)(rule_.scalars(group, step, scale), at, part.begin, part.end);
  }
  const Rule& rule_;
};

/// Has as many states as one of its groups wants.
class Rmsprop : public GroupedOptimizer {
 public:
  Rmsprop(const OptimizerOptions& options, const Arena& arena, Isa isa) : GroupedOptimizer(options, arena, isa) {
    bool centered = false, momentum = schedule_.changes_momentum();
    for (const auto& group : groups_) {
      centered |= group.centered;
      momentum |= group.momentum > 0;
    }
    if (centered) names_.push_back("grad_avg");
    if (momentum) names_.push_back("momentum_buffer");
    mean_ = centered ? 1 : 0;
    buffer_ = momentum ? 1 + mean_ : 0;
  }
  int state_buffers() const override { return static_cast<int>(names_.size()); }
  std::vector<std::string> state_names() const override { return names_; }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t, float scale, const Streams& at) const override {
    RuleScalars by = common(group, scale);
    by.blend2 = narrow(1 - group.alpha);
    by.keep2 = narrow(group.alpha);
    by.keep1 = 1 - by.blend2;
    by.momentum = narrow(group.momentum);
    by.centered = group.centered;
    Streams mine = at;
    int next = 1;
    const auto use = [&](int k, bool used) {
      if (k == 0) return;
      if (!used) return keep_state(k, part, at);
      mine.state_in[next] = at.state_in[k];
      mine.state_out[next++] = at.state_out[k];
    };
    use(mean_, group.centered);
    use(buffer_, group.momentum > 0);
    kernels_.rmsprop(by, mine, part.begin, part.end);
  }

  std::vector<std::string> names_ = {"square_avg"};
  int mean_ = 0, buffer_ = 0;  // which of them; 0: none has it
};

}  // namespace

std::unique_ptr<Optimizer> make_rule(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  if (options.name == "rmsprop") return std::make_unique<Rmsprop>(options, arena, isa);
  for (const Rule& rule : rules())
    if (options.name == rule.name) return std::make_unique<ByRule>(options, arena, isa, rule);
  return nullptr;
}

}  // namespace stoker::optim
