#pragma once
// What the first ranks of the hosts say to each other while a group begins. Called by the first rank of every host, in
// the same order; a world of one host needs no connection. Throws as Group::await does.
#include <span>
#include <vector>

#include "collective/group.h"

namespace stoker::collective {

/// Number of this rank's host: hosts are numbered by their lowest ranks.
int host_number(const Group& group);

/// Everybody's word, by host. Words have the same size everywhere.
std::vector<Bytes> tell_hosts(Group& group, ByteView mine);

/// `pieces` of host `source` become those of the hosts in `needy`; sizes are the same everywhere. Others do nothing.
void copy_between_hosts(Group& group, int source, const std::vector<int>& needy,
                        const std::vector<std::span<std::byte>>& pieces);

}  // namespace stoker::collective
