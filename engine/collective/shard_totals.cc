#include "collective/shard_totals.h"

#include <functional>

#include "base/pieces.h"
#include "collective/mesh_group.h"
#include "collective/tree.h"

namespace stoker::collective {
namespace {

constexpr int kPlaces = 2;

size_t doubles_of(int width, int shards) {
  constexpr size_t kLine = 8;
  return round_up(static_cast<size_t>(width), kLine) * static_cast<size_t>(shards) * kPlaces;
}

/// Of the present shards below a node; nothing where there are none.
std::vector<double> add(Node node, const ShardSet& present, int count, const std::function<const double*(int)>& of) {
  if (node.hi - node.lo == 1) {
    if (!present[node.lo]) return {};
    return {of(node.lo), of(node.lo) + count};
  }
  auto left = add({node.lo, split(node)}, present, count, of);
  const auto right = add({split(node), node.hi}, present, count, of);
  if (left.empty()) return right;
  for (size_t i = 0; i < right.size(); ++i) left[i] += right[i];
  return left;
}

}  // namespace

size_t ShardTotals::bytes(int width, int shards) { return doubles_of(width, shards) * sizeof(double); }

ShardTotals::ShardTotals(Group& group, int width, const std::vector<int>& owners)
    : group_(group), width_(width), owners_(owners) {
  const auto shards = static_cast<int>(owners.size());
  auto* memory = reinterpret_cast<double*>(group.host_region(bytes(width, shards)).data());
  memory_ = {memory, doubles_of(width, shards)};
}

double* ShardTotals::place(int shard) {
  const size_t half = memory_.size() / kPlaces, stride = half / owners_.size();
  return memory_.data() + (round_ % kPlaces) * half + static_cast<size_t>(shard) * stride;
}

std::span<double> ShardTotals::of(int shard) {
  STOKER_CHECK(owners_[shard] == group_.rank());
  return {place(shard), static_cast<size_t>(width_)};
}

std::vector<double> ShardTotals::add_up(const ShardSet& present, int count) {
  STOKER_CHECK(count <= width_ && present.size() == owners_.size());
  const uint64_t step = 2 * round_;
  group_.arrive(Phase::round, step);
  group_.await(Phase::round, step);
  if (group_.hosts() > 1) {
    if (group_.local_rank() == 0) exchange(present, round_);
    group_.arrive(Phase::round, step + 1);
    group_.await(Phase::round, step + 1);
  }
  const auto shards = static_cast<int>(owners_.size());
  auto totals = add({0, shards}, present, count, [this](int shard) { return place(shard); });
  totals.resize(static_cast<size_t>(count));
  ++round_;
  return totals;
}

/// Where the numbers of a host's present shards are, on each host.
std::vector<std::span<std::byte>> ShardTotals::places_of(const ShardSet& present, int host) {
  const Topology& topology = dynamic_cast<MeshGroup&>(group_).topology();
  std::vector<std::span<std::byte>> places;
  for (int shard = 0; shard < static_cast<int>(owners_.size()); ++shard)
    if (present[shard] && owners_[shard] >= 0 && topology.host_of(owners_[shard]) == host)
      places.push_back(std::as_writable_bytes(std::span(place(shard), static_cast<size_t>(width_))));
  return places;
}

/// First ranks of hosts tell each other.
void ShardTotals::exchange(const ShardSet& present, uint64_t round) {
  auto& mesh = dynamic_cast<MeshGroup&>(group_);
  const Topology& topology = mesh.topology();
  const auto header = [&](const auto& places) {
    const size_t bytes = places.size() * static_cast<size_t>(width_) * sizeof(double);
    return FrameHeader{FrameKind::rounds, mesh.stamp_of(round), 0, bytes};
  };
  const auto mine = places_of(present, topology.host());
  for (int host = 0; host < topology.hosts(); ++host) {
    if (host == topology.host()) continue;
    const auto theirs = places_of(present, host);
    mesh.transfers().send(topology.ranks(host)[0], header(mine), {mine.begin(), mine.end()});
    mesh.transfers().receive(topology.ranks(host)[0], header(theirs), theirs);
  }
  mesh.run_transfers([&] { return mesh.transfers().idle(); });
}

}  // namespace stoker::collective
