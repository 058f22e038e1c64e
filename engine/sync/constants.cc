#include "sync/constants.h"

#include <atomic>

#include "base/error.h"
#include "base/fault.h"
#include "base/pieces.h"
#include "collective/hosts.h"
#include "sync/choose.h"

namespace stoker::sync {

namespace {

using collective::Group;
using collective::Phase;

constexpr size_t kPage = 4096;

}  // namespace

/// Who fetches writes it, and dies perhaps; a rank that was taken for dead writes the same bytes once more.
struct Constants::Head {
  std::atomic<uint64_t> come;  // bytes
};

Constants::Head& Constants::head() const { return *reinterpret_cast<Head*>(memory_.bytes().data()); }

std::span<std::byte> Constants::room() const {
  return memory_.bytes().empty() ? memory_.bytes() : memory_.bytes().subspan(kPage);
}

/// One more than there are, where they are known to be whole.
uint64_t Constants::come() const {
  if (memory_.bytes().empty()) return 0;
  return whole_ ? size_ + 1 : head().come.load();
}

void Constants::share(Group& group, uint64_t size, const Hash128& digest, const Fetch& fetch) {
  if (size == 0) return;
  size_ = size;
  const bool host_has_them = map(group);
  if (group.local_rank() == 0 && !copy_from_host(group, host_has_them) && !host_has_them) fetch_rest(digest, fetch);
  group.arrive(Phase::slices, 0);
  group.await(Phase::slices, 0);
  if (!whole_) memory_.protect();
  whole_ = true;
}

/// The memory of the rank of this host that has most of them. Gives whether that is all.
bool Constants::map(Group& group) {
  const Choice choice = choose(collective::tell_neighbours(group, Phase::norms, come()));
  const bool whole = choice.commit > size_;
  if (whole && choice.needy.empty()) return true;
  const bool mine = group.local_rank() == choice.source && choice.commit > 0;
  fault::point(mine ? "hand-out-constants" : "take-constants");
  shm::Segment given = group.host_segment(kPage + size_, choice.source, mine ? memory_.again() : shm::Segment());
  if (!whole_) memory_ = std::move(given);
  return whole;
}

/// From the first host that has them, where one has and this one has not. REQUIRES: the first rank of the host.
bool Constants::copy_from_host(Group& group, bool host_has_them) const {
  std::vector<uint64_t> numbers;
  for (const Bytes& word : collective::tell_hosts(group, std::as_bytes(std::span(&host_has_them, 1))))
    numbers.push_back(static_cast<uint64_t>(word[0]));
  const Choice choice = choose(numbers);
  if (choice.commit == 0) return false;
  collective::copy_between_hosts(group, choice.source, choice.needy, {room()});
  return true;
}

void Constants::fetch_rest(const Hash128& digest, const Fetch& fetch) const {
  uint64_t at = head().come;
  fetch(at, [&](ByteView piece) {
    if (piece.size() > size_ - at) fail_world("more constants came than were announced");
    copy_bytes(piece, room().data() + at);
    head().come = at += piece.size();
  });
  if (hash128(ByteView(room()).first(size_)) == digest) return;
  head().come = 0;
  fail_world("the program's constants arrived damaged");
}

}  // namespace stoker::sync
