#include "collective/shard_sum.h"

#include "collective/shm_direct_sum.h"
#include "collective/tcp_coded_sum.h"
#include "collective/tcp_direct_sum.h"

namespace stoker::collective {

std::unique_ptr<DirectSum> make_direct_sum(Group& group, const ShardSumOptions& options) {
  if (group.hosts() == 1) return std::make_unique<ShmDirectSum>(group, options);
  auto& mesh = dynamic_cast<MeshGroup&>(group);
  if (options.code) return std::make_unique<TcpCodedSum>(mesh, options);
  return std::make_unique<TcpDirectSum>(mesh, options);
}

std::unique_ptr<ShardSum> make_shard_sum(Group& group, const ShardSumOptions& options) {
  return make_direct_sum(group, options);
}

}  // namespace stoker::collective
