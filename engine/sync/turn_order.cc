#include "sync/turn_order.h"

namespace stoker::sync {

int64_t pushes_made(std::span<const ReplicaNumbers> numbers) {
  int64_t made = 0;
  for (const auto& replica : numbers) made += replica.pushes;
  return made;
}

std::vector<Push> pushes_of(const std::vector<bool>& present, std::span<const ReplicaNumbers> before,
                            std::span<const int64_t> steps) {
  std::vector<Push> pushes;
  int64_t made = pushes_made(before);
  for (size_t shard = 0; shard < before.size(); ++shard) {
    if (!present[shard]) continue;
    pushes.push_back({static_cast<int>(shard), steps[shard], made - before[shard].pulled});
    ++made;
  }
  return pushes;
}

}  // namespace stoker::sync
