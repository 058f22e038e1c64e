#include "collective/hosts.h"

#include <algorithm>
#include <cstring>

#include "collective/mesh_group.h"

namespace stoker::collective {
namespace {

MeshGroup& mesh_of(Group& group) { return dynamic_cast<MeshGroup&>(group); }

/// The first rank of a host.
int first_rank(const MeshGroup& mesh, int host) { return mesh.topology().ranks(host)[0]; }

void run_all(MeshGroup& mesh) {
  mesh.run_transfers([&] { return mesh.transfers().idle(); });
}

void send_pieces(MeshGroup& mesh, int rank, const std::vector<std::span<std::byte>>& pieces) {
  for (size_t i = 0; i < pieces.size(); ++i)
    mesh.transfers().send(rank, {FrameKind::state, mesh.stamp_of(0), i, pieces[i].size()}, {ByteView(pieces[i])});
}

void receive_pieces(MeshGroup& mesh, int rank, const std::vector<std::span<std::byte>>& pieces) {
  for (size_t i = 0; i < pieces.size(); ++i)
    mesh.transfers().receive(rank, {FrameKind::state, mesh.stamp_of(0), i, pieces[i].size()}, {pieces[i]});
}

}  // namespace

int host_number(const Group& group) {
  const auto* mesh = dynamic_cast<const MeshGroup*>(&group);
  return mesh ? mesh->topology().host() : 0;
}

std::vector<uint64_t> tell_neighbours(Group& group, Phase phase, uint64_t mine) {
  const auto regions = group.rank_regions(sizeof(uint64_t));
  std::memcpy(regions[group.local_rank()].data(), &mine, sizeof(mine));
  group.arrive(phase, 0);
  group.await(phase, 0);
  std::vector<uint64_t> numbers;
  for (const auto& region : regions) std::memcpy(&numbers.emplace_back(), region.data(), sizeof(uint64_t));
  return numbers;
}

std::vector<Bytes> tell_hosts(Group& group, ByteView mine) {
  std::vector<Bytes> words(group.hosts(), Bytes(mine.begin(), mine.end()));
  if (group.hosts() == 1) return words;
  MeshGroup& mesh = mesh_of(group);
  const FrameHeader header{FrameKind::word, mesh.stamp_of(0), 0, mine.size()};
  for (int h = 0; h < group.hosts(); ++h) {
    if (h == mesh.topology().host()) continue;
    mesh.transfers().send(first_rank(mesh, h), header, {mine});
    mesh.transfers().receive(first_rank(mesh, h), header, {std::span(words[h])});
  }
  run_all(mesh);
  return words;
}

void copy_between_hosts(Group& group, int source, const std::vector<int>& needy,
                        const std::vector<std::span<std::byte>>& pieces) {
  if (needy.empty()) return;
  MeshGroup& mesh = mesh_of(group);
  const int me = mesh.topology().host();
  if (me == source) {
    for (const int host : needy) send_pieces(mesh, first_rank(mesh, host), pieces);
  } else if (std::ranges::count(needy, me) > 0) {
    receive_pieces(mesh, first_rank(mesh, source), pieces);
  }
  run_all(mesh);
}

}  // namespace stoker::collective
