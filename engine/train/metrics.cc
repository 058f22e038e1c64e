#include "train/metrics.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"

namespace stoker::train {

namespace {

using nlohmann::json;

constexpr int64_t kErrorNumbers = 8;
constexpr int64_t kMostClasses = 1000;  // of a confusion matrix
constexpr int64_t kRankingNumbers = 3;
constexpr double kLeast = std::numeric_limits<double>::epsilon();

/// k of "top_<k>_accuracy".
std::optional<int64_t> top_of(const std::string& name) {
  constexpr std::string_view before = "top_", after = "_accuracy";
  if (!name.starts_with(before) || !name.ends_with(after) || name.size() <= before.size() + after.size()) return {};
  int64_t k = 0;
  const char* end = name.data() + name.size() - after.size();
  const auto [stopped, error] = std::from_chars(name.data() + before.size(), end, k);
  return error == std::errc() && stopped == end && k > 0 ? std::optional(k) : std::nullopt;
}

/// Alpha of "mean_pinball_loss" or "mean_pinball_loss_<alpha>".
std::optional<double> alpha_of(std::string_view name) {
  constexpr std::string_view before = "mean_pinball_loss";
  if (!name.starts_with(before)) return {};
  if (name == before) return 0.5;
  name.remove_prefix(before.size() + 1);
  double alpha = 0;
  const auto [stopped, error] = std::from_chars(name.data(), name.data() + name.size(), alpha);
  return error == std::errc() && stopped == name.data() + name.size() ? std::optional(alpha) : std::nullopt;
}

/// Of a number that is counted; none where the formula has no value.
double poisson_deviance(double there, double said) {
  if (there < 0 || !(said > 0)) return std::numeric_limits<double>::quiet_NaN();
  return 2 * ((there > 0 ? there * std::log(there / said) : 0) - there + said);
}

bool is_ranking(const std::string& name) {
  return name.starts_with("roc_auc") || name.starts_with("average_precision");
}

bool is_error(const std::string& name) {
  return name.starts_with("mean_") || name.starts_with("root_") || name == "r2";
}

constexpr std::string_view kPerClass = "_per_class";

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

/// Probabilities of the classes.
std::vector<double> probabilities(const float* x, int64_t width, OutputKind kind) {
  std::vector<double> p(x, x + width);
  if (width == 1) {
    if (kind == OutputKind::logits)
      p[0] = p[0] >= 0 ? 1 / (1 + std::exp(-p[0])) : std::exp(p[0]) / (1 + std::exp(p[0]));
    if (kind == OutputKind::log_probabilities) p[0] = std::exp(p[0]);
    return {1 - p[0], p[0]};
  }
  if (kind == OutputKind::probabilities) return p;
  const double largest = kind == OutputKind::logits ? *std::max_element(p.begin(), p.end()) : 0;
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - largest);
  if (kind == OutputKind::logits)
    for (double& value : p) value /= sum;
  return p;
}

int64_t predicted(const float* x, int64_t width, OutputKind kind) {
  if (width > 1) return std::max_element(x, x + width) - x;
  if (kind == OutputKind::logits) return *x > 0 ? 1 : 0;
  return (kind == OutputKind::log_probabilities ? std::exp(*x) : *x) > 0.5F ? 1 : 0;
}

/// Whether the label is among the k classes of the largest outputs, of equal ones the first.
bool in_top(const float* x, int64_t width, int64_t label, int64_t k) {
  if (std::isnan(x[label])) return false;
  int64_t before = 0;
  for (int64_t i = 0; i < width; ++i) before += x[i] > x[label] || (x[i] == x[label] && i < label);
  return before < k;
}

at::Tensor plain(const at::Tensor& tensor, at::ScalarType type) { return tensor.detach().to(type).contiguous(); }

}  // namespace

MetricsSpec parse_metrics(const json& in) {
  MetricsSpec spec{in.at("names"), OutputKind::values, in.at("width"), in.value("labels", int64_t{1})};
  const std::string kind = in.at("outputs");
  if (kind == "logits") spec.outputs = OutputKind::logits;
  if (kind == "probabilities") spec.outputs = OutputKind::probabilities;
  if (kind == "logProbabilities") spec.outputs = OutputKind::log_probabilities;
  return spec;
}

int64_t Metrics::ranked() const { return parts_.ranked < 0 ? 0 : classes_ == 2 ? 1 : classes_; }

void Metrics::take(int64_t& part, int64_t numbers) {
  if (part >= 0) return;
  part = size_;
  size_ += numbers;
}

Metrics::Metrics(MetricsSpec spec)
    : spec_(std::move(spec)), classes_(spec_.outputs == OutputKind::values ? 0 : std::max<int64_t>(spec_.width, 2)) {
  for (const auto& name : spec_.names) {
    if (take_group_metric(name)) continue;
    if (is_error(name) != (classes_ == 0)) fail_user("the metric '", name, "' does not fit the model's outputs");
    if (const auto k = top_of(name)) tops_.push_back(*k);
    counts_ |= name == "mean_poisson_deviance";
  }
  if (!groups_.empty()) take(parts_.grouped, static_cast<int64_t>(groups_.size()));
  for (const auto& name : spec_.names) {
    if (group_metric(name)) continue;
    if (is_error(name)) {
      take(parts_.errors, kErrorNumbers * spec_.width);
      continue;
    }
    take(parts_.classes, 3 * classes_);
    if (name == "log_loss") take(parts_.log_loss, 1);
    if (name == "brier_score") take(parts_.brier, 1);
    if (is_ranking(name)) take(parts_.ranked, kRankingNumbers * (classes_ == 2 ? 1 : classes_));
    if (top_of(name)) take(parts_.top, static_cast<int64_t>(tops_.size()));
    if (name != "confusion_matrix") continue;
    if (classes_ > kMostClasses)
      fail_user("a confusion_matrix has up to ", kMostClasses, " classes, and there are ", classes_);
    take(parts_.confusion, classes_ * classes_);
  }
}

bool Metrics::take_group_metric(const std::string& name) {
  const auto metric = group_metric(name);
  if (!metric) return false;
  if (spec_.labels != 1 || (classes_ == 0 ? spec_.width != 1 : classes_ != 2))
    fail_user("the metric '", name, "' does not fit the model's outputs");
  groups_.push_back(*metric);
  return true;
}

size_t Metrics::bytes_of_row() const {
  return static_cast<size_t>(ranked() * spec_.labels) * sizeof(Scored) + (groups_.empty() ? 0 : sizeof(Grouped));
}

void Metrics::add(const program::Compared& compared, std::span<double> sums, Collected& rows) const {
  if (size_ == 0) return;
  const auto& [output, label, weight, group] = compared;
  const int64_t items = output.numel() / std::max<int64_t>(spec_.width, 1);
  const int64_t labels = classes_ > 0 ? items : output.numel();
  if (items * spec_.width != output.numel() || label.numel() != labels)
    fail_user("the metrics have ", output.numel(), " outputs for ", label.numel(), " labels");
  if (!groups_.empty() && (!group || group->numel() != items)) fail_user("the metrics have no group for each row");
  const auto x = plain(output, at::kFloat), y = plain(label, at::kDouble);
  const auto w = weight ? plain(*weight, at::kDouble) : at::Tensor();
  const auto groups = groups_.empty() ? at::Tensor() : plain(*group, at::kLong);
  if (weight && (w.numel() == 0 || items % w.numel() != 0)) {
    if (items == 0) return;
    fail_user("the metrics have ", w.numel(), " weights for ", items, " rows");
  }
  const auto* outputs = x.const_data_ptr<float>();
  const auto* numbers = y.const_data_ptr<double>();
  const int64_t share = weight ? items / w.numel() : 1;
  for (int64_t i = 0; i < items; ++i) {
    const float* row = outputs + i * spec_.width;
    const double each = weight ? w.const_data_ptr<double>()[i / share] : 1.0;
    if (classes_ > 0 && !(numbers[i] >= 0 && numbers[i] < static_cast<double>(classes_))) continue;
    if (!groups_.empty())
      rows.grouped.push_back({groups.const_data_ptr<int64_t>()[i], score_of(row), numbers[i], each});
    if (parts_.classes >= 0) add_class(row, static_cast<int64_t>(numbers[i]), each, sums.data(), rows.scored);
    if (parts_.errors >= 0) add_values(row, numbers + i * spec_.width, each, sums.data());
  }
}

/// By which a row is ordered in its group: the number that the model gives, or the probability of class 1.
double Metrics::score_of(const float* x) const {
  return classes_ == 0 ? *x : probabilities(x, spec_.width, spec_.outputs)[1];
}

void Metrics::add_class(const float* x, int64_t label, double weight, double* sums, std::vector<Scored>& rows) const {
  const int64_t guess = predicted(x, spec_.width, spec_.outputs);
  double* classes = sums + parts_.classes;
  if (guess == label) classes[label] += weight;
  classes[classes_ + guess] += weight;
  classes[2 * classes_ + label] += weight;
  if (parts_.confusion >= 0) sums[parts_.confusion + label * classes_ + guess] += weight;
  for (size_t i = 0; i < tops_.size(); ++i) {
    const bool hit = spec_.width > 1 ? in_top(x, spec_.width, label, tops_[i]) : guess == label || tops_[i] > 1;
    if (hit) sums[parts_.top + static_cast<int64_t>(i)] += weight;
  }
  if (parts_.log_loss < 0 && parts_.brier < 0 && parts_.ranked < 0) return;
  const auto p = probabilities(x, spec_.width, spec_.outputs);
  if (parts_.log_loss >= 0) sums[parts_.log_loss] -= weight * std::log(std::clamp(p[label], kLeast, 1 - kLeast));
  if (parts_.ranked >= 0)
    for (int64_t k = classes_ == 2 ? 1 : 0; k < classes_; ++k) rows.push_back({p[k], weight, k == label});
  if (parts_.brier < 0) return;
  double squares = 0;
  for (int64_t k = classes_ == 2 ? 1 : 0; k < classes_; ++k) squares += (p[k] - (k == label)) * (p[k] - (k == label));
  sums[parts_.brier] += weight * squares;
}

void Metrics::add_values(const float* x, const double* y, double weight, double* sums) const {
  for (int64_t c = 0; c < spec_.width; ++c) {
    double* s = sums + parts_.errors + c * kErrorNumbers;
    const double e = y[c] - x[c];
    s[0] += weight;
    s[1] += weight * std::abs(e);
    s[2] += weight * e * e;
    s[3] += weight * y[c];
    s[4] += weight * y[c] * y[c];
    s[5] += weight * std::abs(e) / std::max(std::abs(y[c]), kLeast);
    s[6] += weight * std::max(e, 0.0);
    if (counts_) s[7] += weight * poisson_deviance(y[c], x[c]);
  }
}

/// The mean over columns.
double Metrics::of_errors(const std::string& name, const double* sums) const {
  double total = 0;
  for (int64_t c = 0; c < spec_.width; ++c) {
    const double* s = sums + parts_.errors + c * kErrorNumbers;
    if (name == "mean_absolute_error") total += ratio(s[1], s[0]);
    if (name == "mean_squared_error") total += ratio(s[2], s[0]);
    if (name == "root_mean_squared_error") total += std::sqrt(ratio(s[2], s[0]));
    if (name == "mean_absolute_percentage_error") total += ratio(s[5], s[0]);
    if (name == "mean_poisson_deviance") total += ratio(s[7], s[0]);
    if (const auto alpha = alpha_of(name)) total += ratio(*alpha * s[6] + (1 - *alpha) * (s[1] - s[6]), s[0]);
    if (name != "r2") continue;
    const double spread = s[4] - ratio(s[3] * s[3], s[0]);
    total += spread > 0 ? 1 - s[2] / spread : s[2] == 0 ? 1 : 0;
  }
  return total / static_cast<double>(spec_.width);
}

namespace {

/// Of one class.
double score(std::string_view what, double right, double predicted, double there) {
  if (what == "precision") return ratio(right, predicted);
  if (what == "recall") return ratio(right, there);
  return ratio(2 * right, predicted + there);
}

double matthews(const double* right, const double* predicted, const double* there, int64_t classes) {
  double n = 0, hits = 0, mixed = 0, p = 0, t = 0;
  for (int64_t k = 0; k < classes; ++k) {
    n += there[k], hits += right[k];
    mixed += there[k] * predicted[k], p += predicted[k] * predicted[k], t += there[k] * there[k];
  }
  const double spread = (n * n - p) * (n * n - t);
  return spread > 0 ? (hits * n - mixed) / std::sqrt(spread) : 0;
}

/// "macro": the mean over classes that there are or were predicted.
double average(std::string_view what, std::string_view how, const double* right, const double* predicted,
               const double* there, int64_t classes) {
  double sum = 0, weight = 0, hits = 0;
  for (int64_t k = 0; k < classes; ++k) {
    const double each = how == "weighted" ? there[k] : there[k] + predicted[k] > 0 ? 1 : 0;
    sum += each * score(what, right[k], predicted[k], there[k]);
    weight += how == "micro" ? there[k] : each;
    hits += right[k];
  }
  return how == "micro" ? ratio(hits, weight) : ratio(sum, weight);
}

}  // namespace

void Metrics::settle(const Gathered& rows, std::span<double> sums) const {
  double* to = sums.data() + parts_.ranked;
  for (int64_t k = 0; k < ranked(); ++k, to += kRankingNumbers) {
    const Ranking found = rank(rows.scored[k]);
    to[0] = found.roc_auc, to[1] = found.average_precision, to[2] = found.positives;
  }
  if (!groups_.empty()) std::ranges::copy(of_groups(rows.grouped, groups_), sums.begin() + parts_.grouped);
}

/// The mean over classes, each by its positives' weight where the name says so.
double Metrics::of_ranking(const std::string& name, const double* sums) const {
  const bool weighted = name.ends_with("_weighted");
  const int which = name.starts_with("roc_auc") ? 0 : 1;
  double sum = 0, weight = 0;
  for (int64_t k = 0; k < ranked(); ++k) {
    const double* of = sums + parts_.ranked + k * kRankingNumbers;
    const double each = weighted ? of[2] : 1;
    if (each != 0) sum += each * of[which], weight += each;
  }
  return ratio(sum, weight);
}

double Metrics::of_classes(const std::string& name, const double* sums) const {
  const double *right = sums + parts_.classes, *predicted = right + classes_, *there = predicted + classes_;
  double hits = 0, n = 0, recalls = 0, met = 0;
  for (int64_t k = 0; k < classes_; ++k) {
    hits += right[k], n += there[k];
    if (there[k] > 0) recalls += right[k] / there[k], met += 1;
  }
  if (is_ranking(name)) return of_ranking(name, sums);
  if (name == "accuracy") return ratio(hits, n);
  if (name == "balanced_accuracy") return ratio(recalls, met);
  if (name == "log_loss") return ratio(sums[parts_.log_loss], n);
  if (name == "brier_score") return ratio(sums[parts_.brier], n);
  if (name == "matthews_corrcoef") return matthews(right, predicted, there, classes_);
  if (const auto k = top_of(name)) {
    const auto at = std::find(tops_.begin(), tops_.end(), *k) - tops_.begin();
    return ratio(sums[parts_.top + at], n);
  }
  const auto cut = name.find('_');
  const auto what = std::string_view(name).substr(0, cut);
  if (what != "precision" && what != "recall" && what != "f1") fail_user("there is no metric '", name, "'");
  if (cut == std::string::npos) return score(what, right[1], predicted[1], there[1]);
  return average(what, std::string_view(name).substr(cut + 1), right, predicted, there, classes_);
}

/// Of each class.
std::vector<double> Metrics::scores(std::string_view what, const double* sums) const {
  const double *right = sums + parts_.classes, *predicted = right + classes_, *there = predicted + classes_;
  std::vector<double> scores;
  for (int64_t k = 0; k < classes_; ++k) scores.push_back(score(what, right[k], predicted[k], there[k]));
  return scores;
}

double Metrics::of_group_metric(const std::string& name, const double* sums) const {
  int64_t at = 0;
  for (const auto& each : spec_.names) {
    if (each == name) break;
    at += group_metric(each) ? 1 : 0;
  }
  return sums[parts_.grouped + at];
}

double Metrics::value(const std::string& name, std::span<const double> sums) const {
  if (group_metric(name)) return of_group_metric(name, sums.data());
  return classes_ > 0 ? of_classes(name, sums.data()) : of_errors(name, sums.data());
}

std::vector<std::pair<std::string, json>> Metrics::values(std::span<const double> sums) const {
  std::vector<std::pair<std::string, json>> out;
  for (const auto& name : spec_.names) {
    if (name.ends_with(kPerClass)) {
      out.emplace_back(name, scores(name.substr(0, name.size() - kPerClass.size()), sums.data()));
      continue;
    }
    if (name != "confusion_matrix") {
      out.emplace_back(name, value(name, sums));
      continue;
    }
    json rows = json::array();
    for (int64_t k = 0; k < classes_; ++k) {
      const auto row = sums.subspan(parts_.confusion + k * classes_, classes_);
      rows.push_back(std::vector<double>(row.begin(), row.end()));
    }
    out.emplace_back(name, std::move(rows));
  }
  return out;
}

}  // namespace stoker::train
