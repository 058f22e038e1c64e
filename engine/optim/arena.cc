#include "optim/arena.h"

#include <algorithm>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::optim {
namespace {

int64_t element_count(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

}  // namespace

Arena::Arena(std::vector<ParameterSpec> parameters) : parameters_(std::move(parameters)), extents_(parameters_.size()) {
  int last_group = -1;
  for (const auto& parameter : parameters_) {
    STOKER_CHECK(parameter.group >= 0);
    last_group = std::max(last_group, parameter.group);
  }
  for (int g = 0; g <= last_group; ++g) {
    const int64_t begin = floats_;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].group != g) continue;
      extents_[i] = {floats_, floats_ + element_count(parameters_[i].shape)};
      floats_ = round_up(extents_[i].end, kAlign);
    }
    groups_.push_back({begin, floats_});
  }
  floats_ = round_up(floats_, kBlock);
  if (!groups_.empty()) groups_.back().end = floats_;
}

int64_t Arena::numbers() const {
  int64_t numbers = 0;
  for (const Extent& each : extents_) numbers += each.size();
  return numbers;
}

std::vector<Extent> Arena::padding() const {
  std::vector<Extent> used = extents_;
  std::sort(used.begin(), used.end(),
            [](Extent a, Extent b) { return a.begin < b.begin || (a.begin == b.begin && a.end < b.end); });
  std::vector<Extent> padding;
  int64_t end = 0;
  for (const Extent extent : used) {
    if (extent.begin > end) padding.push_back({end, extent.begin});
    end = extent.end;
  }
  if (floats_ > end) padding.push_back({end, floats_});
  return padding;
}

}  // namespace stoker::optim
