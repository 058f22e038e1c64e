#include "train/lending.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "base/fault.h"
#include "collective/hosts.h"

namespace stoker::train {
namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

/// Every worker of the host maps what the others lend.
bool has_room_to_map() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

}  // namespace

void lend_rows(collective::Group& group, shm::Segment own, const data::ColumnStore& store, data::Borrowed& borrowed) {
  if (group.local_ranks().size() < 2) return;
  const uint64_t mine = has_room_to_map() ? own.bytes().size() : kNever;
  const auto sizes = collective::tell_neighbours(group, collective::Phase::kept, mine);
  if (std::ranges::count(sizes, kNever) > 0) return;
  for (int local = 0; local < static_cast<int>(sizes.size()); ++local) {
    if (sizes[local] == 0) continue;
    const bool lends = local == group.local_rank();
    fault::point("lend", local);
    auto segment = group.host_segment(sizes[local], local, lends ? std::move(own) : shm::Segment());
    if (!lends && !store.on_disk()) borrowed.take(data::LentRows(std::move(segment), store.stride()));
  }
}

std::vector<int> borrowed_shards(const gang::Start& start, const data::ColumnStore& store,
                                 const data::Borrowed& borrowed) {
  const int count = static_cast<int>(start.shards.size());
  const auto rows = [&](int shard) {
    return borrowed.of(shard) ? static_cast<int64_t>(borrowed.order(shard).size()) : int64_t{0};
  };
  std::vector<int> shards;
  for (const auto& told : start.shards) {
    const int held = count + told.shard;
    const bool whole = rows(told.shard) == told.rows && rows(held) == told.held;
    if (!store.has(told.shard) && borrowed.of(told.shard) && whole) shards.push_back(told.shard);
  }
  return shards;
}

}  // namespace stoker::train
