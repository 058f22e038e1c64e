#pragma once
// Bytes of each logical shard, which its owner puts and every host gets, as they are. One object per rank, used by one
// thread; lives as long as its group. Per host there is room for all shards.
#include <vector>

#include "collective/group.h"

namespace stoker::collective {

class ShardBytes {
 public:
  /// All ranks make it at the same point. `room`: most bytes of each shard, `owners`: by shard, the rank that owns it,
  /// or -1; both the same everywhere.
  ShardBytes(Group& group, const std::vector<size_t>& room, const std::vector<int>& owners);
  /// Of the shards that this room is for.
  static size_t bytes(const std::vector<size_t>& room);

  /// REQUIRES: the shard is mine, and no more than its room.
  void put(int shard, ByteView bytes);
  /// What all owners have put, by shard; nothing where a shard has no owner. For the first rank of each host, which all
  /// call it, after they have seen that every rank of their host is done with put() for this step. Stays until the next
  /// put(), which comes after the ranks of the host have seen that the first one is done.
  std::vector<ByteView> all(uint64_t step);

 private:
  std::span<std::byte> place(int shard) const;

  Group& group_;
  const std::vector<size_t> room_;
  const std::vector<int> owners_;
  std::span<std::byte> memory_;
};

}  // namespace stoker::collective
