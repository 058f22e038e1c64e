#include "optim/keras.h"

#include <algorithm>
#include <cmath>

#include "optim/grouped.h"

namespace stoker::optim {
namespace {

float narrow(double value) { return static_cast<float>(value); }

RuleScalars common(const GroupOptions& group, float scale) {
  RuleScalars by;
  by.scale = group.maximize ? -scale : scale;
  by.shrink = narrow(1 - group.lr * group.weight_decay);
  by.step = narrow(-group.lr);
  by.eps = narrow(group.eps);
  by.keep1 = narrow(group.beta1);
  by.blend1 = narrow(1 - group.beta1);
  by.keep2 = narrow(group.beta2);
  by.blend2 = narrow(1 - group.beta2);
  by.momentum = narrow(group.momentum);
  return by;
}

double correction(double beta, int64_t step) { return 1 - std::pow(beta, static_cast<double>(step)); }

RuleScalars sgd(const GroupOptions& group, int64_t, float scale) {
  RuleScalars by = common(group, scale);
  by.nesterov = group.nesterov;
  return by;
}

/// The corrections of both moments are in the rate, so eps stands beside the uncorrected root.
RuleScalars adam(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  by.step = narrow(-group.lr * std::sqrt(correction(group.beta2, step)) / correction(group.beta1, step));
  by.amsgrad = group.amsgrad;
  return by;
}

RuleScalars rmsprop(const GroupOptions& group, int64_t, float scale) {
  RuleScalars by = common(group, scale);
  by.keep2 = narrow(group.alpha);
  by.blend2 = narrow(1 - group.alpha);
  by.centered = group.centered;
  return by;
}

RuleScalars adagrad(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  by.more = step == 1 ? narrow(group.initial_accumulator_value) : 0;
  return by;
}

RuleScalars adadelta(const GroupOptions& group, int64_t, float scale) {
  RuleScalars by = common(group, scale);
  by.keep2 = narrow(group.rho);
  by.blend2 = narrow(1 - group.rho);
  return by;
}

RuleScalars adamax(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = common(group, scale);
  by.step = narrow(-group.lr / correction(group.beta1, step));
  return by;
}

/// torch's with a momentum_decay of 1.
constexpr double kNothing = 1e-17;  // 1 - it is 1

RuleScalars nadam(const GroupOptions& group, int64_t step, float scale) {
  const auto momentum = [&](int64_t i) { return group.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(i))); };
  double product = 1, warm = 0.96;
  for (int64_t i = 1; i <= step && product > kNothing; ++i, warm *= 0.96) product *= group.beta1 * (1 - 0.5 * warm);
  RuleScalars by = common(group, scale);
  by.blend1 = narrow(1 - group.beta1);
  by.keep1 = 1 - by.blend1;
  by.correction = narrow(1 / correction(group.beta2, step));
  by.step = narrow(-group.lr * (1 - momentum(step)) / (1 - product));
  by.more = narrow(-group.lr * momentum(step + 1) / (1 - product * momentum(step + 1)));
  return by;
}

RuleScalars lion(const GroupOptions& group, int64_t, float scale) { return common(group, scale); }

RuleScalars ftrl(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by = adagrad(group, step, scale);
  by.factor = narrow(group.lr);
  by.l1 = narrow(group.l1);
  by.l2 = narrow(2 * (group.l2 + group.beta / (2 * group.lr)));
  by.pull = narrow(2 * group.l2_shrinkage);
  return by;
}

struct State {
  const char* name;
  bool (*wanted)(const GroupOptions& group) = [](const GroupOptions&) { return true; };
};

struct Rule {
  const char* name;
  std::vector<State> states;
  RuleLoop Kernels::*loop;
  RuleScalars (*scalars)(const GroupOptions& group, int64_t step, float scale);
};

bool has_momentum(const GroupOptions& group) { return group.momentum > 0; }

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = {
      {"keras_sgd", {{"momentum", has_momentum}}, &Kernels::keras_sgd, sgd},
      {"keras_adam",
       {{"momentum"}, {"velocity"}, {"velocity_hat", [](const GroupOptions& group) { return group.amsgrad; }}},
       &Kernels::keras_adam,
       adam},
      {"keras_rmsprop",
       {{"velocity"},
        {"average_gradient", [](const GroupOptions& group) { return group.centered; }},
        {"momentum", has_momentum}},
       &Kernels::keras_rmsprop,
       rmsprop},
      {"keras_adagrad", {{"accumulator"}}, &Kernels::keras_adagrad, adagrad},
      {"keras_adadelta", {{"accumulated_grad"}, {"accumulated_delta_var"}}, &Kernels::adadelta, adadelta},
      {"keras_adamax", {{"momentum"}, {"norm"}}, &Kernels::keras_adamax, adamax},
      {"keras_nadam", {{"momentum"}, {"velocity"}}, &Kernels::nadam, nadam},
      {"keras_lion", {{"momentum"}}, &Kernels::lion, lion},
      {"keras_ftrl", {{"accumulator"}, {"linear"}}, &Kernels::keras_ftrl, ftrl}};
  return all;
}

/// Has the states that one of its groups wants; the others keep theirs.
class Keras : public GroupedOptimizer {
 public:
  Keras(const OptimizerOptions& options, const Arena& arena, Isa isa, const Rule& rule)
      : GroupedOptimizer(options, arena, isa), rule_(rule) {
    std::ranges::copy_if(rule.states, std::back_inserter(states_),
                         [&](const State& state) { return std::ranges::any_of(groups_, state.wanted); });
  }
  int state_buffers() const override { return static_cast<int>(states_.size()); }
  std::vector<std::string> state_names() const override {
    std::vector<std::string> names;
    for (const State& state : states_) names.emplace_back(state.name);
    return names;
  }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    Streams mine = at;
    int next = 0;
    for (int k = 0; k < state_buffers(); ++k) {
      if (!states_[k].wanted(group)) {
        keep_state(k, part, at);
        continue;
      }
      mine.state_in[next] = at.state_in[k];
      mine.state_out[next++] = at.state_out[k];
    }
    (kernels_.*rule_.loop)(rule_.scalars(group, step, scale), mine, part.begin, part.end);
  }

  const Rule& rule_;
  std::vector<State> states_;
};

}  // namespace

std::unique_ptr<Optimizer> make_keras(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  for (const Rule& rule : rules())
    if (options.name == rule.name) return std::make_unique<Keras>(options, arena, isa, rule);
  return nullptr;
}

}  // namespace stoker::optim
