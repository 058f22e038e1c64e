#include "collective/shard_bytes.h"

#include <cstring>

#include "base/pieces.h"
#include "collective/shard_areas.h"

namespace stoker::collective {
namespace {

/// Where a shard lies: how many bytes there are, then the bytes.
size_t place_bytes(size_t room) { return sizeof(uint64_t) + round_up(room, sizeof(uint64_t)); }

}  // namespace

size_t ShardBytes::bytes(const std::vector<size_t>& room) {
  size_t sum = 0;
  for (const size_t each : room) sum += place_bytes(each);
  return sum;
}

ShardBytes::ShardBytes(Group& group, const std::vector<size_t>& room, const std::vector<int>& owners)
    : group_(group), room_(room), owners_(owners), memory_(group.host_region(bytes(room))) {}

std::span<std::byte> ShardBytes::place(int shard) const {
  size_t at = 0;
  for (int s = 0; s < shard; ++s) at += place_bytes(room_[s]);
  return memory_.subspan(at, place_bytes(room_[shard]));
}

void ShardBytes::put(int shard, ByteView bytes) {
  STOKER_CHECK(bytes.size() <= room_[shard]);
  const auto to = place(shard);
  const uint64_t size = bytes.size();
  std::memcpy(to.data(), &size, sizeof(size));
  copy_bytes(bytes, to.data() + sizeof(size));
}

std::vector<ByteView> ShardBytes::all(uint64_t step) {
  std::vector<std::span<std::byte>> places;
  for (int shard = 0; shard < static_cast<int>(room_.size()); ++shard) places.push_back(place(shard));
  copy_shard_areas(group_, FrameKind::rows, step, owners_, places);
  std::vector<ByteView> found;
  for (int shard = 0; shard < static_cast<int>(room_.size()); ++shard) {
    uint64_t size = 0;
    const ByteView from = place(shard);
    std::memcpy(&size, from.data(), sizeof(size));
    if (size > room_[shard])
      fail_world("shard ", shard, " has ", size, " bytes where there is room for ", room_[shard]);
    found.push_back(from.subspan(sizeof(size), size));
  }
  return found;
}

}  // namespace stoker::collective
