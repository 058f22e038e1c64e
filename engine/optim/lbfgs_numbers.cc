#include "optim/lbfgs_numbers.h"

#include <algorithm>
#include <cmath>

namespace stoker::optim {
namespace {

constexpr double kLeastCurvature = 1e-10;  // y s of a pair that is kept

/// Slots from the oldest pair to the newest.
std::vector<int64_t> by_age(const LbfgsNumbers& n) {
  const auto pairs = static_cast<int64_t>(n.head().pairs), next = static_cast<int64_t>(n.head().next);
  std::vector<int64_t> slots;
  for (int64_t age = 0; age < pairs; ++age) slots.push_back(pairs < n.pairs() ? age : (next + age) % n.pairs());
  return slots;
}

/// The pair of the iteration that is over, where the loss curves upwards along it.
void remember(const LbfgsNumbers& n, const WolfePoint& taken, const LbfgsRecord& at, const LbfgsWay& way) {
  LbfgsHead& head = n.head();
  const double ys = taken.step * at.y_d();
  head.slot = -1;
  if (!(ys > kLeastCurvature)) return;
  const auto slot = static_cast<int64_t>(head.next);
  for (const int64_t j : by_age(n)) {
    n.sy(slot, j) = taken.step * way.dy[j];
    n.sy(j, slot) = at.ys()[j];
    n.yy(slot, j) = n.yy(j, slot) = at.yy()[j];
  }
  n.sy(slot, slot) = ys;
  n.yy(slot, slot) = at.y_y();
  at.gs()[slot] = taken.step * taken.slope;
  at.gy()[slot] = at.g_y();
  head.slot = static_cast<double>(slot);
  head.next = static_cast<double>((slot + 1) % n.pairs());
  head.pairs = std::min(head.pairs + 1, static_cast<double>(n.pairs()));
  head.diagonal = ys / at.y_y();
}

/// The two loops over the history, on coefficients.
void find_direction(const LbfgsNumbers& n, const LbfgsRecord& at) {
  const auto slots = by_age(n);
  const auto of_s = n.of_s(), of_y = n.of_y();
  std::ranges::fill(of_s, 0.0);
  std::ranges::fill(of_y, 0.0);
  std::vector<double> first(n.pairs());
  for (auto i = slots.rbegin(); i != slots.rend(); ++i) {
    double product = -at.gs()[*i];
    for (const int64_t j : slots) product += of_y[j] * n.sy(*i, j);
    first[*i] = product / n.sy(*i, *i);
    of_y[*i] -= first[*i];
  }
  for (double& part : of_y) part *= n.head().diagonal;
  n.head().of_gradient = -n.head().diagonal;
  for (const int64_t i : slots) {
    double product = n.head().of_gradient * at.gy()[i];
    for (const int64_t j : slots) product += of_y[j] * n.yy(i, j) + of_s[j] * n.sy(j, i);
    of_s[i] += first[i] - product / n.sy(i, i);
  }
}

double slope_of(const LbfgsNumbers& n, const LbfgsRecord& at) {
  double slope = n.head().of_gradient * at.g_g();
  for (const int64_t j : by_age(n)) slope += n.of_s()[j] * at.gs()[j] + n.of_y()[j] * at.gy()[j];
  return slope;
}

Why why_over(const LbfgsHead& head, const WolfePoint& taken, const LbfgsRecord& at, const LbfgsWay& way,
             const LbfgsRules& rules) {
  if (at.largest() <= rules.tolerance_grad) return Why::gradient;
  if (head.begun == 0) return Why::none;
  if (rules.iterations > 0 && head.iterations >= static_cast<double>(rules.iterations)) return Why::iterations;
  if (way.largest * std::abs(taken.step) <= rules.tolerance_change) return Why::weights;
  if (std::abs(taken.loss - head.loss) < rules.tolerance_change) return Why::loss;
  return Why::none;
}

/// The point becomes the start of the next iteration, if there is one.
void take(const LbfgsNumbers& n, const WolfePoint& taken, const LbfgsRecord& at, const LbfgsWay& way,
          const LbfgsRules& rules) {
  LbfgsHead& head = n.head();
  head.act = static_cast<double>(Act::take);
  head.step = taken.step;
  head.place = taken.place;
  head.slot = -1;
  const bool first = head.begun == 0;
  if (!first) head.iterations += 1;
  const Why why = why_over(head, taken, at, way, rules);
  head.begun = 1;
  head.loss = taken.loss;
  head.why = static_cast<double>(why);
  if (why != Why::none) return;
  if (first)
    head.diagonal = 1;
  else
    remember(n, taken, at, way);
  find_direction(n, at);
  const double slope = slope_of(n, at);
  if (slope > -rules.tolerance_change) head.why = static_cast<double>(Why::slope);
  head.search = begin_search(first ? std::min(1.0, 1 / way.size) * rules.rate : rules.rate, taken.loss, slope);
}

/// The ends of the bracket bring their gradients along, and what was measured of them.
void go_on(const LbfgsNumbers& n, const LbfgsRecord& now) {
  LbfgsHead& head = n.head();
  head.act = static_cast<double>(Act::go_on);
  const std::vector<double> old[] = {{n.record(0).begin(), n.record(0).end()},
                                     {n.record(1).begin(), n.record(1).end()}};
  for (const int end : {0, 1}) {
    const auto place = static_cast<Place>(static_cast<int>(head.search.ends[end].place));
    if (place == Place::now) std::ranges::copy(now.numbers, n.record(end).begin());
    if (place == Place::first || place == Place::second)
      std::ranges::copy(old[place == Place::first ? 0 : 1], n.record(end).begin());
    head.from[end] = static_cast<double>(place);
    if (place != Place::start)
      head.search.ends[end].place = static_cast<double>(end == 0 ? Place::first : Place::second);
  }
}

}  // namespace

void decide(const LbfgsNumbers& n, double loss, const LbfgsRecord& now, const LbfgsWay& way, const LbfgsRules& rules) {
  LbfgsHead& head = n.head();
  if (head.why != 0) {
    head.act = static_cast<double>(Act::rest);
    return;
  }
  if (head.begun == 0) return take(n, {0, loss, 0, static_cast<double>(Place::now)}, now, way, rules);
  const WolfeRules line{.tolerance_change = rules.tolerance_change};
  const auto taken = advance(head.search, loss, way.slope, way.largest, line);
  if (!taken) return go_on(n, now);
  LbfgsRecord at = now;
  if (taken->place == static_cast<double>(Place::first)) at.numbers = n.record(0);
  if (taken->place == static_cast<double>(Place::second)) at.numbers = n.record(1);
  take(n, *taken, at, way, rules);
}

}  // namespace stoker::optim
