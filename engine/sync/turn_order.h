#pragma once
// Who pushes in a round, in which order, and how stale each push is. Pure.
#include <cstdint>
#include <span>
#include <vector>

namespace stoker::sync {

/// How far a replica has come.
struct ReplicaNumbers {
  int64_t steps = 0;   // that it has taken
  int64_t pushes = 0;  // that it has made
  int64_t pulled = 0;  // pushes of all replicas before it last took the common weights
  bool operator==(const ReplicaNumbers&) const = default;
};

/// What one push is.
struct Push {
  int shard = 0;
  int64_t steps = 1;  // that it is of
  int64_t stale = 0;  // pushes of others since its replica's last pull
};

/// By all replicas.
int64_t pushes_made(std::span<const ReplicaNumbers> numbers);

/// Those of a round, in their order. `before`: of all replicas, as the round began; `steps`: by shard, of the round;
/// those that are not present do not push.
std::vector<Push> pushes_of(const std::vector<bool>& present, std::span<const ReplicaNumbers> before,
                            std::span<const int64_t> steps);

}  // namespace stoker::sync
