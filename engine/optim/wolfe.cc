#include "optim/wolfe.h"

#include <algorithm>
#include <cmath>

namespace stoker::optim {
namespace {

constexpr double kDecrease = 1e-4, kCurvature = 0.9;  // c1 and c2

struct Bounds {
  double least, most;
};

/// Where the cubic through two points and their slopes is least, within the bounds; else the middle of them.
double least_of_cubic(WolfePoint a, WolfePoint b, Bounds bounds) {
  const double d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step);
  const double square = d1 * d1 - a.slope * b.slope;
  if (!(square >= 0)) return (bounds.least + bounds.most) / 2;
  if (a.step > b.step) std::swap(a, b);
  const double d2 = std::sqrt(square);
  const double at = b.step - (b.step - a.step) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2));
  return std::min(std::max(at, bounds.least), bounds.most);
}

bool too_high(const WolfeSearch& s, const WolfePoint& now) {
  return now.loss > s.loss + kDecrease * now.step * s.slope;
}
bool is_flat(const WolfeSearch& s, const WolfePoint& now) { return std::abs(now.slope) <= -kCurvature * s.slope; }

void choose_low(WolfeSearch& s) { s.low = s.ends[0].loss <= s.ends[1].loss ? 0 : 1; }
const WolfePoint& low(const WolfeSearch& s) { return s.ends[static_cast<int>(s.low)]; }

void close(WolfeSearch& s, const WolfePoint& now) {
  s.ends[1] = now;
  s.zooms = 1;
  choose_low(s);
}

void go_further(WolfeSearch& s, const WolfePoint& now) {
  const WolfePoint before = s.ends[0];
  s.step = least_of_cubic(before, now, {now.step + 0.01 * (now.step - before.step), now.step * 10});
  s.ends[0] = now;
}

/// Gives the point that is taken where the bracket is not sought any more and not to be cut either.
std::optional<WolfePoint> seek(WolfeSearch& s, const WolfePoint& now, int most) {
  if (s.evaluations >= most) {
    s.ends[0] = {0, s.loss, s.slope, static_cast<double>(Place::start)};
    close(s, now);
    return low(s);
  }
  const bool rises = s.evaluations > 1 && now.loss >= s.ends[0].loss;
  if (too_high(s, now) || rises) {
    close(s, now);
  } else if (is_flat(s, now)) {
    return now;
  } else if (now.slope >= 0) {
    close(s, now);
  } else {
    go_further(s, now);
  }
  return std::nullopt;
}

/// Whether the bracket's better end is good enough now.
bool tighten(WolfeSearch& s, const WolfePoint& now) {
  WolfePoint &best = s.ends[static_cast<int>(s.low)], &other = s.ends[1 - static_cast<int>(s.low)];
  if (too_high(s, now) || now.loss >= best.loss) {
    other = now;
    choose_low(s);
    return false;
  }
  const bool flat = is_flat(s, now);
  if (!flat && now.slope * (other.step - best.step) >= 0) other = best;
  best = now;
  return flat;
}

/// A cut that comes near an end twice, or beyond it, is moved away from it by a tenth.
void cut(WolfeSearch& s) {
  const auto [least, most] = std::minmax(s.ends[0].step, s.ends[1].step);
  const double at = least_of_cubic(s.ends[0], s.ends[1], {least, most}), tenth = 0.1 * (most - least);
  const bool near = std::min(most - at, at - least) < tenth;
  const bool moves = near && (s.short_of > 0 || at >= most || at <= least);
  s.step = !moves ? at : std::abs(at - most) < std::abs(at - least) ? most - tenth : least + tenth;
  s.short_of = near && !moves ? 1 : 0;
}

}  // namespace

WolfeSearch begin_search(double step, double loss, double slope) {
  WolfeSearch search{.step = step, .loss = loss, .slope = slope, .ends = {}};
  search.ends[0] = {0, loss, slope, static_cast<double>(Place::start)};
  return search;
}

std::optional<WolfePoint> advance(WolfeSearch& s, double loss, double slope, double largest, const WolfeRules& rules) {
  const WolfePoint now{s.step, loss, slope, static_cast<double>(Place::now)};
  if (s.zooms > 0) {
    if (tighten(s, now)) return low(s);
  } else if (const auto taken = seek(s, now, rules.most)) {
    return taken;
  }
  if (s.zooms > 0) {
    const bool tiny = std::abs(s.ends[1].step - s.ends[0].step) * largest < rules.tolerance_change;
    if (tiny || s.evaluations >= rules.most) return low(s);
    cut(s);
  }
  s.evaluations += 1;
  return std::nullopt;
}

}  // namespace stoker::optim
