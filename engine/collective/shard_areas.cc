#include "collective/shard_areas.h"

#include "collective/mesh_group.h"

namespace stoker::collective {

void copy_shard_areas(Group& group, FrameKind kind, uint64_t step, const std::vector<int>& owners,
                      const std::vector<std::span<std::byte>>& areas) {
  if (group.hosts() == 1) return;
  auto& mesh = dynamic_cast<MeshGroup&>(group);
  const Topology& topology = mesh.topology();
  for (size_t shard = 0; shard < areas.size(); ++shard) {
    if (owners[shard] < 0 || areas[shard].empty()) continue;
    const int owner = topology.host_of(owners[shard]);
    const FrameHeader header{kind, mesh.stamp_of(step), shard, areas[shard].size()};
    if (owner != topology.host()) {
      mesh.transfers().receive(topology.ranks(owner)[0], header, {areas[shard]});
      continue;
    }
    for (int host = 0; host < topology.hosts(); ++host)
      if (host != owner) mesh.transfers().send(topology.ranks(host)[0], header, {ByteView(areas[shard])});
  }
  mesh.run_transfers([&] { return mesh.transfers().idle(); });
}

}  // namespace stoker::collective
