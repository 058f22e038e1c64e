#include "sync/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/shard_areas.h"

namespace stoker::sync {

namespace {

using collective::Phase;
using optim::Extent;

size_t count_of(const optim::Arena& arena, double share) {
  int64_t numbers = 0;
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) numbers += arena.extent(p).size();
  return static_cast<size_t>(std::clamp<int64_t>(std::llround(share * static_cast<double>(numbers)), 1, numbers));
}

}  // namespace

TopK::TopK(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
           const CommitOptions& options, double share)
    : FeedbackSteps(group, arena, optimizer, state, options, 0),
      owners_(owners_of(options, group)),
      count_(count_of(arena, share)),
      rest_(group, state.layout().buffer_floats, 1, owners_) {
  STOKER_CHECK(arena.floats() <= std::numeric_limits<uint32_t>::max());
  const size_t entries = count_ * owners_.size();
  messages_ = {reinterpret_cast<Entry*>(group.host_region(entries * sizeof(Entry)).data()), entries};
}

std::span<Entry> TopK::message(int shard) const {
  return messages_.subspan(static_cast<size_t>(shard) * count_, count_);
}

void TopK::begin_messages(const collective::ShardSet& present) { rest_.begin(next_turn(), present); }

void TopK::tell(int shard, float share, double denominator) {
  feed_back(shard, {0, arena_.floats()});
  take_largest(kept(shard), arena_.floats(), message(shard), room_);
  put_with_share(rest_, shard, share, rest_.next(), denominator);
}

double TopK::meet() {
  Stopwatch watch;
  fault::point("messages", step());
  rest_sum_ = rest_.exchange();  // so the messages of my host stand
  if (group_.hosts() > 1) send_messages();
  times_.wait += watch.elapsed();
  return rest_.totals()[0];
}

/// Between hosts.
void TopK::send_messages() {
  if (group_.local_rank() == 0) {
    std::vector<std::span<std::byte>> areas(owners_.size());
    for (int shard = 0; shard < static_cast<int>(areas.size()); ++shard)
      if (is_present(shard)) areas[shard] = std::as_writable_bytes(message(shard));
    collective::copy_shard_areas(group_, collective::FrameKind::areas, turn(), owners_, areas);
  }
  group_.arrive(Phase::round, turn());
  group_.await(Phase::round, turn());
}

const float* TopK::sum_of(Extent range) {
  if (range.begin >= arena_.floats()) return rest_sum_ - arena_.floats();
  float* out = zeros(range);
  for (int shard = 0; shard < options_.shards; ++shard)
    if (is_present(shard)) add_entries(message(shard), range, out);
  return out;
}

}  // namespace stoker::sync
