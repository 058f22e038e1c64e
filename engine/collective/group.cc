#include "collective/group.h"

#include <sys/socket.h>

#include "base/descriptors.h"
#include "collective/local_group.h"
#include "collective/meeting.h"
#include "collective/mesh_group.h"

namespace stoker::collective {
namespace {

void check(const Roster& roster) {
  STOKER_CHECK(roster.rank >= 0 && roster.rank < static_cast<int>(roster.members.size()));
  for (size_t r = 0; r < roster.members.size(); ++r) STOKER_CHECK(roster.members[r].rank == static_cast<int>(r));
}

void shrink_buffers(Peers& peers, int bytes) {
  for (int r = 0; r < peers.size(); ++r) {
    ::setsockopt(peers[r].fd.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    ::setsockopt(peers[r].fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  }
}

}  // namespace

size_t descriptors_of(size_t ranks) {
  constexpr size_t kSpare = 64;  // for strangers, segments, and whatever else the process opens
  return ranks + kSpare;
}

std::unique_ptr<Group> Group::form(const Roster& roster, Listeners& listeners, std::stop_token stop) {
  check(roster);
  if (roster.members.size() == 1) return std::make_unique<LocalGroup>();
  need_descriptors(descriptors_of(roster.members.size()), cat("the peers of ", roster.members.size(), " workers"));
  Peers peers = meet(roster, listeners, stop);
  if (roster.socket_buffer > 0) shrink_buffers(peers, roster.socket_buffer);
  return std::make_unique<MeshGroup>(roster, std::move(peers), stop);
}

}  // namespace stoker::collective
