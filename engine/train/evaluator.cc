#include "train/evaluator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stoker::train {

namespace {

constexpr int64_t kPair = 2;  // numerator and denominator
constexpr std::string_view kBefore = "val_";

/// No number where nothing counts, as where all weights are 0: it would be the best of all losses.
double ratio(std::span<const double> pair) {
  return pair[1] > 0 ? pair[0] / pair[1] : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

int64_t Evaluator::numbers(const EvaluationSpec& spec) {
  return kPair * (1 + static_cast<int64_t>(spec.own.size())) + Metrics(spec.metrics).size();
}

Evaluator::Evaluator(const EvaluationSpec& spec, const program::Program& training, const optim::Arena& weights,
                     const optim::Arena& buffers, const program::SafeTensors& constants)
    : rules_(spec.rules),
      own_(spec.own),
      plateau_(spec.plateau),
      metrics_(spec.metrics),
      program_(spec.program, training, weights, buffers, constants) {}

void Evaluator::add(const program::StateSet& state, const std::vector<at::Tensor>& inputs, std::span<double> numbers,
                    Collected& rows) {
  const auto compare = [&](const program::Compared& compared) { metrics_.add(compared, of_metrics(numbers), rows); };
  const auto found = program_.run(state, inputs, compare);
  numbers[0] += found.loss.numerator;
  numbers[1] += found.loss.denominator;
  for (size_t i = 0; i < found.sums.size(); ++i) numbers[kPair + i] += found.sums[i];
}

void Evaluator::settle(const std::vector<ByteView>& packed, std::span<double> numbers) const {
  metrics_.settle(gathered(packed, metrics_.ranked()), of_metrics(numbers));
}

nlohmann::json Evaluator::told(std::span<const double> numbers) const {
  nlohmann::json out = {{"val_loss", ratio(numbers)}};
  for (size_t i = 0; i < own_.size(); ++i) out[cat(kBefore, own_[i])] = ratio(numbers.subspan(kPair * (1 + i)));
  for (auto& [name, value] : metrics_.values(of_metrics(numbers))) out[cat(kBefore, name)] = std::move(value);
  return out;
}

double Evaluator::score(std::span<const double> numbers, const std::string& monitor) const {
  if (const double loss = ratio(numbers); std::isnan(loss) || monitor == "val_loss") return loss;
  const std::string name = monitor.substr(kBefore.size());
  const auto own = std::ranges::find(own_, name);
  if (own != own_.end()) return ratio(numbers.subspan(kPair * (1 + (own - own_.begin()))));
  return metrics_.value(name, of_metrics(numbers));
}

std::vector<double> Evaluator::scores(std::span<const double> evaluations, const std::string& monitor) const {
  const auto each = kPair * (1 + own_.size()) + metrics_.size();
  std::vector<double> scores;
  for (size_t at = 0; at < evaluations.size(); at += each)
    scores.push_back(score(evaluations.subspan(at, each), monitor));
  return scores;
}

Verdict Evaluator::judge(std::span<const double> evaluations) const {
  return train::judge(scores(evaluations, rules_.monitor), rules_);
}

int64_t Evaluator::lowerings(std::span<const double> evaluations) const {
  return plateau_ ? optim::lowerings(scores(evaluations, plateau_->monitor), plateau_->rules) : 0;
}

}  // namespace stoker::train
