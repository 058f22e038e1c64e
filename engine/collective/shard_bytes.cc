#include "collective/shard_bytes.h"

#include <cstring>

#include "base/pieces.h"
#include "collective/mesh_group.h"

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

int ShardBytes::host_of(int shard) const {
  if (owners_[shard] < 0) return -1;
  const auto* mesh = dynamic_cast<const MeshGroup*>(&group_);
  return mesh ? mesh->topology().host_of(owners_[shard]) : 0;
}

void ShardBytes::exchange(uint64_t step) {
  auto& mesh = dynamic_cast<MeshGroup&>(group_);
  const Topology& topology = mesh.topology();
  for (int shard = 0; shard < static_cast<int>(room_.size()); ++shard) {
    const int owner = host_of(shard);
    if (owner < 0) continue;
    const auto bytes = place(shard);
    const FrameHeader header{FrameKind::rows, mesh.stamp_of(step), static_cast<uint64_t>(shard), bytes.size()};
    if (owner != topology.host()) {
      mesh.transfers().receive(topology.ranks(owner)[0], header, {bytes});
      continue;
    }
    for (int host = 0; host < topology.hosts(); ++host)
      if (host != owner) mesh.transfers().send(topology.ranks(host)[0], header, {bytes});
  }
  mesh.run_transfers([&] { return mesh.transfers().idle(); });
}

std::vector<ByteView> ShardBytes::all(uint64_t step) {
  if (group_.hosts() > 1) exchange(step);
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
