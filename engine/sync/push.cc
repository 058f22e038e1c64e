#include "sync/push.h"

#include <algorithm>

#include "base/clones.h"

namespace stoker::sync {
namespace {

STOKER_CLONES void add_way(const float* pulled, float divisor, float* replica, float* common, int64_t count) {
  for (int64_t i = 0; i < count; ++i) replica[i] = common[i] += (replica[i] - pulled[i]) / divisor;
}

STOKER_CLONES void add_way_by_distance(const float* pulled, float divisor, float gamma, float* replica, float* common,
                                       int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float moved = common[i] - pulled[i];
    replica[i] = common[i] += (replica[i] - pulled[i]) / divisor / (1 + moved * moved / gamma);
  }
}

STOKER_CLONES void draw_together(float alpha, float* replica, float* common, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float pull = alpha * (replica[i] - common[i]);
    replica[i] -= pull;
    common[i] += pull;
  }
}

float divisor_of(Rule rule, const Push& what) {
  if (rule == Rule::dynsgd) return static_cast<float>(what.stale + 1);
  return rule == Rule::downpour ? 1 : static_cast<float>(what.steps);
}

}  // namespace

void push(const PushRule& rule, const Push& what, optim::Extent range, const float* pulled, float* replica,
          float* common) {
  pulled += range.begin;
  replica += range.begin;
  common += range.begin;
  if (rule.rule == Rule::elastic) return draw_together(static_cast<float>(rule.alpha), replica, common, range.size());
  const float divisor = divisor_of(rule.rule, what);
  if (what.stale == 0 && divisor == 1)
    std::copy_n(replica, range.size(), common);
  else if (rule.rule == Rule::distance)
    add_way_by_distance(pulled, divisor, static_cast<float>(rule.gamma), replica, common, range.size());
  else
    add_way(pulled, divisor, replica, common, range.size());
}

}  // namespace stoker::sync
