#pragma once
// How the ranks of a new generation come to one state, the newest that is anywhere: on a host from the rank that has
// it, between hosts from the lowest host that has it. Where nobody has one the training begins.
//
// A state of commit c is what the same steps made of the same start, so it is the same bits wherever it is; hosts
// compare digests to see that it is true.
#include <memory>
#include <optional>

#include "collective/group.h"
#include "sync/choose.h"
#include "sync/state.h"

namespace stoker::sync {

/// What this rank brings; it stays as it is, so that nothing is lost when the group breaks meanwhile.
struct Found {
  const HostState* state = nullptr;  // none: it comes from nowhere
  /// No process that may still write into the state is alive, but for the ranks of the new group. Else what is
  /// committed in it moves to fresh memory.
  bool undisturbed = false;
};

/// Every rank of the group calls it first of all. Afterwards all ranks of a host map the same state and all hosts have
/// the same commit; 0: it is all zero. Throws Error(bug) when hosts have different states of the same commit.
std::unique_ptr<HostState> rejoin(collective::Group& group, const StateLayout& layout, const Found& found);

}  // namespace stoker::sync
