#pragma once
// What ranks say to each other while a group begins. All that share a host call tell_neighbours(), in the same order,
// the first ranks of the hosts the rest; a world of one host needs no connection. Throws as Group::await does.
#include <span>
#include <vector>

#include "collective/group.h"

namespace stoker::collective {

/// Number of this rank's host: hosts are numbered by their lowest ranks.
int host_number(const Group& group);

/// A number of every rank of this host, by local rank. The phase, of step 0, is used for nothing else.
std::vector<uint64_t> tell_neighbours(Group& group, Phase phase, uint64_t mine);

/// Everybody's word, by host. Words have the same size everywhere.
std::vector<Bytes> tell_hosts(Group& group, ByteView mine);

/// `pieces` of host `source` become those of the hosts in `needy`; sizes are the same everywhere. Others do nothing.
void copy_between_hosts(Group& group, int source, const std::vector<int>& needy,
                        const std::vector<std::span<std::byte>>& pieces);

}  // namespace stoker::collective
