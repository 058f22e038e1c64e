#include "train/groups.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>

#include "base/pulse.h"
#include "train/merge.h"

namespace stoker::train {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kBeat = 1 << 16;  // rows

using Items = std::span<const Grouped>;  // of one group, highest score first

/// What is no number comes last.
double order(double score) { return std::isnan(score) ? -std::numeric_limits<double>::infinity() : score; }

double discount(size_t place) { return 1 / std::log2(static_cast<double>(place) + 2); }

size_t places(const Items& items, const GroupMetric& metric) {
  const auto all = items.size();
  return metric.first == 0 ? all : std::min(all, static_cast<size_t>(metric.first));
}

/// Where the rows end that tie with the one at `begin`.
size_t tie_end(const Items& items, size_t begin) {
  size_t end = begin;
  while (end < items.size() && items[end].score == items[begin].score) ++end;
  return end;
}

double gain(const Items& items, size_t places) {
  double sum = 0;
  for (size_t begin = 0; begin < places;) {
    const size_t end = tie_end(items, begin);
    double labels = 0, discounts = 0;
    for (size_t i = begin; i < end; ++i) labels += items[i].label;
    for (size_t i = begin; i < std::min(end, places); ++i) discounts += discount(i);
    sum += labels / static_cast<double>(end - begin) * discounts;
    begin = end;
  }
  return sum;
}

double best_gain(const Items& items, size_t places) {
  std::vector<double> labels;
  for (const auto& item : items) labels.push_back(item.label);
  std::ranges::sort(labels, std::greater());
  double sum = 0;
  for (size_t i = 0; i < places; ++i) sum += labels[i] * discount(i);
  return sum;
}

double ndcg(const Items& items, size_t places) {
  if (std::ranges::any_of(items, [](const Grouped& item) { return !(item.label >= 0); })) return kNone;
  const double best = best_gain(items, places);
  return best > 0 ? gain(items, places) / best : 0;
}

bool is_hit(const Grouped& item) { return item.label > 0; }

/// The chance of a hit among the first rows, over all orders of those that tie.
double hit_rate(const Items& items, size_t places) {
  for (size_t begin = 0; begin < places;) {
    const size_t end = tie_end(items, begin);
    const auto tied = items.subspan(begin, end - begin);
    const auto hits = static_cast<double>(std::ranges::count_if(tied, is_hit));
    if (hits > 0) {
      double missed = 1;
      for (size_t i = 0; i < std::min(end, places) - begin; ++i) {
        const auto left = static_cast<double>(tied.size() - i);
        missed *= std::max(0.0, left - hits) / left;
      }
      return 1 - missed;
    }
    begin = end;
  }
  return 0;
}

double value(const Items& items, const GroupMetric& metric) {
  if (std::isnan(items.back().score)) return kNone;
  const size_t first = places(items, metric);
  return metric.kind == GroupMetric::Kind::ndcg ? ndcg(items, first) : hit_rate(items, first);
}

double weight(const Items& items) {
  double sum = 0;
  for (const auto& item : items) sum += item.weight;
  return sum / static_cast<double>(items.size());
}

}  // namespace

std::optional<GroupMetric> group_metric(std::string_view name) {
  if (name == "ndcg_score") return GroupMetric{};
  GroupMetric found;
  if (name.starts_with("ndcg_score_")) {
    name.remove_prefix(11);
  } else if (name.starts_with("hit_rate_")) {
    name.remove_prefix(9);
    found.kind = GroupMetric::Kind::hit_rate;
  } else {
    return {};
  }
  const auto [stopped, error] = std::from_chars(name.data(), name.data() + name.size(), found.first);
  const bool whole = error == std::errc() && stopped == name.data() + name.size() && found.first > 0;
  return whole ? std::optional(found) : std::nullopt;
}

bool precedes(const Grouped& a, const Grouped& b) {
  const auto key = [](const Grouped& row) {
    return std::tuple(row.group, -order(row.score), std::isnan(row.score), -order(row.label), std::isnan(row.label),
                      order(row.weight), std::isnan(row.weight));
  };
  return key(a) < key(b);
}

std::vector<double> of_groups(const std::vector<Items>& runs, std::span<const GroupMetric> metrics) {
  Merge<Grouped, precedes> merge(runs);
  std::vector<double> sums(metrics.size());
  double weights = 0;
  int64_t rows = 0;
  std::vector<Grouped> items;
  const Grouped* row = merge.next();
  while (row != nullptr) {
    const int64_t group = row->group;
    for (items.clear(); row != nullptr && row->group == group; row = merge.next()) {
      items.push_back(*row);
      if (++rows % kBeat == 0) pulse::beat();
    }
    const double each = weight(items);
    weights += each;
    for (size_t i = 0; i < metrics.size(); ++i) sums[i] += each * value(items, metrics[i]);
  }
  for (double& sum : sums) sum = weights > 0 ? sum / weights : kNone;
  return sums;
}

}  // namespace stoker::train
