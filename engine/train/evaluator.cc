#include "train/evaluator.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace stoker::train {

namespace {

constexpr int64_t kLossNumbers = 2;
constexpr std::string_view kBefore = "val_";

/// No number where nothing counts, as where all weights are 0: it would be the best of all losses.
double loss_of(std::span<const double> numbers) {
  return numbers[1] > 0 ? numbers[0] / numbers[1] : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

int64_t Evaluator::numbers(const EvaluationSpec& spec) { return kLossNumbers + Metrics(spec.metrics).size(); }

Evaluator::Evaluator(const EvaluationSpec& spec, const program::Program& training, const optim::Arena& weights,
                     const optim::Arena& buffers, const program::SafeTensors& constants)
    : rules_(spec.rules), metrics_(spec.metrics), program_(spec.program, training, weights, buffers, constants) {}

void Evaluator::add(const program::StateSet& state, const std::vector<at::Tensor>& inputs, std::span<double> numbers) {
  const auto compare = [&](const at::Tensor& output, const at::Tensor& label, const at::Tensor* weight) {
    metrics_.add(output, label, weight, numbers.subspan(kLossNumbers));
  };
  const auto loss = program_.run(state, inputs, compare);
  numbers[0] += loss.numerator;
  numbers[1] += loss.denominator;
}

nlohmann::json Evaluator::told(std::span<const double> numbers) const {
  nlohmann::json out = {{"val_loss", loss_of(numbers)}};
  for (auto& [name, value] : metrics_.values(numbers.subspan(kLossNumbers)))
    out[std::string(kBefore) + name] = std::move(value);
  return out;
}

double Evaluator::score(std::span<const double> numbers) const {
  if (const double loss = loss_of(numbers); std::isnan(loss) || rules_.monitor == "val_loss") return loss;
  return metrics_.value(rules_.monitor.substr(kBefore.size()), numbers.subspan(kLossNumbers));
}

Verdict Evaluator::judge(std::span<const double> evaluations) const {
  const auto each = static_cast<size_t>(kLossNumbers + metrics_.size());
  std::vector<double> scores;
  for (size_t at = 0; at < evaluations.size(); at += each) scores.push_back(score(evaluations.subspan(at, each)));
  return train::judge(scores, rules_);
}

}  // namespace stoker::train
