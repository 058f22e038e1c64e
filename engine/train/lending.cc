#include "train/lending.h"

#include <algorithm>

#include "base/fault.h"
#include "collective/hosts.h"

namespace stoker::train {
namespace {

/// What a stranger lent, or could not be mapped, is done without.
void take(shm::Segment segment, const data::ColumnStore& store, data::Borrowed& borrowed) try {
  if (borrowed.has(segment.id())) return;  // since an earlier generation, and looked through
  borrowed.take(data::LentRows(std::move(segment), store.stride()));
} catch (const Error&) {
}

}  // namespace

void lend_rows(collective::Group& group, shm::Segment own, const data::ColumnStore& store, data::Borrowed& borrowed) {
  if (group.local_ranks().size() < 2) return;
  const auto sizes = collective::tell_neighbours(group, collective::Phase::kept, own.bytes().size());
  for (int local = 0; local < static_cast<int>(sizes.size()); ++local) {
    if (sizes[local] == 0) continue;
    const bool lends = local == group.local_rank();
    fault::point("lend", local);
    auto segment = group.host_segment(sizes[local], local, lends ? std::move(own) : shm::Segment());
    if (!lends && !store.on_disk()) take(std::move(segment), store, borrowed);
  }
}

std::vector<int> borrowed_shards(const gang::Start& start, const data::ColumnStore& store,
                                 const data::Borrowed& borrowed) {
  const int count = static_cast<int>(start.shards.size());
  std::vector<int> shards;
  for (const auto& told : start.shards) {
    if (store.has(told.shard) || !borrowed.of(told.shard)) continue;
    gang::ShardCount lent;
    for (const bool held : {false, true})
      if (const int shard = told.shard + (held ? count : 0); borrowed.of(shard))
        lent.count(static_cast<int64_t>(borrowed.order(shard).size()), borrowed.digest(shard), held);
    if (lent.same_rows(told)) shards.push_back(told.shard);
  }
  return shards;
}

}  // namespace stoker::train
