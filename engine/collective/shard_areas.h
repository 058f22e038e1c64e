#pragma once
// A piece of each host's own memory for each logical shard, which the owner's host has and all others get.
#include <span>
#include <vector>

#include "collective/group.h"
#include "collective/wire.h"

namespace stoker::collective {

/// The first rank of each host calls it, after all ranks of its host have written their shards' areas of this step, and
/// lets them know afterwards. `owners`: by shard, the rank that owns it, or -1: then nothing is copied; `areas`: by
/// shard, of the same size on all hosts, empty where nothing is to be copied. Throws as Group::await does.
void copy_shard_areas(Group& group, FrameKind kind, uint64_t step, const std::vector<int>& owners,
                      const std::vector<std::span<std::byte>>& areas);

}  // namespace stoker::collective
