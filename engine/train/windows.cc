#include "train/windows.h"

#include <algorithm>

namespace stoker::train {

Windows::Windows(const data::Plan& plan, int64_t window)
    : steps_(plan.steps()), window_(window), begins_(static_cast<size_t>(plan.shards())) {
  for (int shard = 0; shard < plan.shards(); ++shard)
    for (int64_t step = 0; step < steps_; ++step) {
      auto& begins = begins_[shard];
      const int64_t begin = step / window * window;
      if (plan.rows(step, shard).size() > 0 && (begins.empty() || begins.back() != begin)) begins.push_back(begin);
    }
}

Windows::Steps Windows::at(int shard, int64_t number) const {
  const int64_t pass = number / of_pass(shard) * steps_, begin = begins_[shard][number % of_pass(shard)];
  return {pass + begin, pass + std::min(begin + window_, steps_)};
}

int64_t Windows::in(int64_t first, int64_t count, int shard) const {
  const auto& begins = begins_[shard];
  return std::ranges::lower_bound(begins, first + count) - std::ranges::lower_bound(begins, first);
}

}  // namespace stoker::train
