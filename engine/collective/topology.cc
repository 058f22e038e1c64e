#include "collective/topology.h"

#include <algorithm>

#include "base/error.h"

namespace stoker::collective {

Topology::Topology(int rank, const std::vector<std::vector<int>>& locals) : rank_(rank), host_of_(locals.size(), -1) {
  for (int r = 0; r < size(); ++r) {
    const auto& mates = locals[r];
    if (!std::is_sorted(mates.begin(), mates.end()) || !std::binary_search(mates.begin(), mates.end(), r))
      fail_world("rank ", r, " sent a wrong list of the ranks on its host");
    for (const int mate : mates)
      if (mate < 0 || mate >= size() || locals[mate] != mates)
        fail_world("ranks ", r, " and ", mate, " do not agree on which ranks share their host");
    if (mates.front() == r) hosts_.push_back(mates);
  }
  for (int h = 0; h < hosts(); ++h)
    for (const int r : hosts_[h]) host_of_[r] = h;
  const auto& mine = local_ranks();
  local_rank_ = static_cast<int>(std::find(mine.begin(), mine.end(), rank) - mine.begin());
}

Range slice_of(int64_t floats, int64_t block, int index, int count) {
  const int64_t blocks = floats / block;
  return {blocks * index / count * block, blocks * (index + 1) / count * block};
}

}  // namespace stoker::collective
