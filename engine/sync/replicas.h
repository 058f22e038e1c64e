#pragma once
// What each replica commits for itself, a part of the state on every host: weights of its own, optimizer state, and how
// far it has come. The owner of a replica writes it beside the old one, where the rest of the new state will lie; the
// others get it before the commit, so the loss of a host loses nothing of it.
#include <vector>

#include "collective/group.h"
#include "sync/state.h"

namespace stoker::sync {

class Replicas {
 public:
  /// `owners`: by shard, the rank that owns it, or -1. Both outlive it.
  Replicas(collective::Group& group, HostState& state, std::vector<int> owners);

  /// After all ranks of each host have written their present replicas of `commit` and have seen that the others have:
  /// afterwards each host has all of them. Waits as Group::await does.
  void share(uint64_t commit, const std::vector<bool>& present);
  /// My part of those that are not present: as they are in the set beside that of `commit`.
  void keep(uint64_t commit, const std::vector<bool>& present);

 private:
  void exchange(uint64_t commit, const std::vector<bool>& present);

  collective::Group& group_;
  HostState& state_;
  const std::vector<int> owners_;
};

}  // namespace stoker::sync
