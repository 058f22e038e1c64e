#pragma once
// Which steps the windows of replicas are of that push as they arrive. A replica goes through its rows pass by pass, in
// the same steps as an epoch has, each pass in windows of so many, the last one as short as what is left; windows
// without rows are left out. Pure.
#include <cstdint>
#include <vector>

#include "data/store/plan.h"

namespace stoker::train {

class Windows {
 public:
  Windows(const data::Plan& plan, int64_t window);

  /// Counted on from pass to pass.
  struct Steps {
    int64_t begin = 0, end = 0;
  };
  /// Of a shard's window of that number, from 0. REQUIRES: the shard has rows.
  Steps at(int shard, int64_t number) const;
  /// That begin in `count` steps of a pass from `first` on. A round has so many of all its shards.
  int64_t in(int64_t first, int64_t count, int shard) const;
  int64_t of_pass(int shard) const { return static_cast<int64_t>(begins_[shard].size()); }

 private:
  const int64_t steps_, window_;
  std::vector<std::vector<int64_t>> begins_;  // by shard: of windows with rows
};

}  // namespace stoker::train
