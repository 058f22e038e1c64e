#pragma once
// What no step changes, once in the memory of a host: constants of the program, such as a frozen trunk. Who comes first
// fetches it from the coordinator, into a shared segment that all ranks of the host map, read-only once it is whole;
// who comes later maps it, or gets it from a host that has it. What has come outlives whoever fetched it.
#include <functional>

#include "base/codec.h"
#include "base/hash.h"
#include "collective/group.h"
#include "shm/segment.h"

namespace stoker::sync {

class Constants {
 public:
  /// Gives the bytes from `from` to the end to `take`, in order.
  using Take = std::function<void(ByteView piece)>;
  using Fetch = std::function<void(uint64_t from, const Take& take)>;

  /// Every rank of the group calls it, with the same size and digest in all generations. Afterwards bytes() are whole.
  /// Throws what `fetch` throws, as Group::await does, and Error(world) when they arrive damaged; what has come stays
  /// for the next generation.
  void share(collective::Group& group, uint64_t size, const Hash128& digest, const Fetch& fetch);
  /// They begin at a page, and lie there until this object ends. Writing into them ends the process.
  ByteView bytes() const { return ByteView(room()).first(whole_ ? size_ : 0); }

 private:
  struct Head;
  Head& head() const;
  std::span<std::byte> room() const;
  uint64_t come() const;
  bool map(collective::Group& group);
  bool copy_from_host(collective::Group& group, bool host_has_them) const;
  void fetch_rest(const Hash128& digest, const Fetch& fetch) const;

  uint64_t size_ = 0;
  bool whole_ = false;   // this rank knows it
  shm::Segment memory_;  // a page for the head, then the bytes
};

}  // namespace stoker::sync
