#include "sync/rejoin.h"

#include <algorithm>

#include "base/fault.h"
#include "collective/hosts.h"
#include "net/socket.h"

namespace stoker::sync {

namespace {

using collective::Group;
using collective::Phase;

/// What the first ranks of the hosts tell each other.
struct Word {
  uint64_t commit = 0;
  Hash128 digest;
};

/// What the holder hands out: its state as it is, or a copy in fresh memory.
shm::Segment memory_of(const Found& found, const StateLayout& layout) {
  return found.undisturbed ? found.state->memory().again() : HostState::copy(layout, *found.state);
}

std::unique_ptr<HostState> share_on_host(Group& group, const StateLayout& layout, const Found& found) {
  const Choice choice =
      choose(collective::tell_neighbours(group, Phase::partials, found.state ? found.state->committed() : 0));
  const bool holder = group.local_rank() == choice.source;
  fault::point(holder ? "hand-out" : "take-over");
  shm::Segment mine = holder && choice.commit > 0 ? memory_of(found, layout) : shm::Segment();
  auto state =
      std::make_unique<HostState>(layout, group.host_segment(HostState::bytes(layout), choice.source, std::move(mine)));
  if (holder && state->nonce() == Hash128{}) net::fill_random(std::as_writable_bytes(std::span(&state->nonce(), 1)));
  return state;
}

void check_equal(const std::vector<Word>& words, const Choice& choice) {
  for (size_t h = 0; h < words.size(); ++h)
    if (words[h].commit == choice.commit && words[h].digest != words[choice.source].digest)
      fail_bug("the training states of hosts ", choice.source, " and ", h, " differ after step ", choice.commit - 1);
}

/// REQUIRES: the first rank of the host.
void share_between_hosts(Group& group, HostState& state) {
  const uint64_t commit = state.committed();
  const Word mine{commit, commit > 0 ? state.digest() : Hash128{}};
  std::vector<Word> words;
  std::vector<uint64_t> commits;
  for (const Bytes& word : collective::tell_hosts(group, std::as_bytes(std::span(&mine, 1)))) {
    std::memcpy(&words.emplace_back(), word.data(), sizeof(Word));
    commits.push_back(words.back().commit);
  }
  const Choice choice = choose(commits);
  if (choice.commit == 0) return;
  check_equal(words, choice);
  fault::point("between-hosts");
  collective::copy_between_hosts(group, choice.source, choice.needy, state.pieces(HostState::set_of(choice.commit)));
  state.flip(choice.commit);
}

}  // namespace

std::unique_ptr<HostState> rejoin(Group& group, const StateLayout& layout, const Found& found) {
  auto state = share_on_host(group, layout, found);
  if (group.hosts() > 1 && group.local_rank() == 0) share_between_hosts(group, *state);
  fault::point("handed-out");
  group.arrive(Phase::sums, 0);
  group.await(Phase::sums, 0);
  return state;
}

}  // namespace stoker::sync
