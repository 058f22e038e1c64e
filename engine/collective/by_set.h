#pragma once
// What follows from which shards are present in a step, made once for each set: where a batch is smaller than the
// shards together the sets change from step to step, and come again in each epoch. Used by one thread.
#include <map>
#include <optional>
#include <utility>

#include "collective/partials.h"

namespace stoker::collective {

template <typename Value>
class BySet {
 public:
  /// The first sets stay and further ones are made anew: sets that go round would each drive out the one that is
  /// wanted next.
  static constexpr size_t kMost = 64;

  /// The value of `set`, which `make()` gives where it is not known. Stays valid until the next call.
  template <typename Make>
  Value& at(const ShardSet& set, const Make& make) {
    if (const auto found = known_.find(set); found != known_.end()) return found->second;
    if (known_.size() < kMost) return known_.emplace(set, make()).first->second;
    return further_.emplace(make());
  }

 private:
  std::map<ShardSet, Value> known_;
  std::optional<Value> further_;
};

}  // namespace stoker::collective
