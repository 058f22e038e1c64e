#include "sync/replicas.h"

#include "base/fault.h"
#include "collective/shard_areas.h"
#include "collective/topology.h"
#include "sync/chunks.h"

namespace stoker::sync {

using collective::Phase;

Replicas::Replicas(collective::Group& group, HostState& state, std::vector<int> owners)
    : group_(group), state_(state), owners_(std::move(owners)) {
  STOKER_CHECK(static_cast<int64_t>(owners_.size()) == state.layout().replicas);
}

void Replicas::share(uint64_t commit, const std::vector<bool>& present) {
  if (group_.hosts() == 1) return;
  if (group_.local_rank() == 0) exchange(commit, present);
  group_.arrive(Phase::replicas, commit);
  group_.await(Phase::replicas, commit);
}

void Replicas::exchange(uint64_t commit, const std::vector<bool>& present) {
  std::vector<std::span<std::byte>> areas(owners_.size());
  for (int shard = 0; shard < static_cast<int>(areas.size()); ++shard)
    if (present[shard]) areas[shard] = std::as_writable_bytes(state_.replica(HostState::set_of(commit), shard));
  fault::point("replicas", static_cast<int64_t>(commit - 1));
  collective::copy_shard_areas(group_, collective::FrameKind::areas, commit, owners_, areas);
}

void Replicas::keep(uint64_t commit, const std::vector<bool>& present) {
  const auto ranks = static_cast<int>(group_.local_ranks().size());
  const int to = HostState::set_of(commit);
  for (int shard = 0; shard < static_cast<int>(owners_.size()); ++shard) {
    if (present[shard]) continue;
    const auto old = state_.replica(1 - to, shard), fresh = state_.replica(to, shard);
    const auto mine = collective::slice_of(static_cast<int64_t>(old.size()), optim::kAlign, group_.local_rank(), ranks);
    in_chunks({mine.begin, mine.end},
              [&](optim::Extent e) { std::copy(old.data() + e.begin, old.data() + e.end, fresh.data() + e.begin); });
  }
}

}  // namespace stoker::sync
