#include "sync/message_steps.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/pieces.h"
#include "collective/shard_areas.h"

namespace stoker::sync {

using collective::Phase;
using optim::Extent;

MessageSteps::MessageSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                           HostState& state, const CommitOptions& options, size_t room, bool varies)
    : FeedbackSteps(group, arena, optimizer, state, options, 0),
      owners_(owners_of(options, group)),
      room_(round_up(room, sizeof(uint64_t))),
      varies_(varies),
      messages_(group.host_region(room_ * owners_.size())),
      rest_(group, state.layout().buffer_floats, 1 + (varies ? options.shards : 0), owners_) {}

void MessageSteps::begin_messages(const collective::ShardSet& present) { rest_.begin(next_turn(), present); }

void MessageSteps::tell(int shard, float share, double denominator) {
  feed_back(shard, {0, arena_.floats()});
  const size_t bytes = write(shard, denominator, room(shard));
  if (varies_) {
    const auto lengths = rest_.scalars(shard).subspan(1);
    std::ranges::fill(lengths, 0);
    lengths[shard] = static_cast<double>(bytes);
  }
  put_with_share(rest_, shard, share, rest_.next(), denominator);
}

double MessageSteps::meet() {
  Stopwatch watch;
  fault::point("messages", step());
  rest_sum_ = rest_.exchange();  // so the messages of my host stand
  totals_ = rest_.totals();
  if (group_.hosts() > 1) send_messages();
  times_.wait += watch.elapsed();
  return totals_[0];
}

/// Of its message, as its owner has told it.
size_t MessageSteps::length(int shard) const {
  if (!varies_) return room_;
  const double told = totals_[1 + shard];
  if (!(told >= 0 && told <= static_cast<double>(room_)))
    fail_world("the message of shard ", shard, " is of ", told, " bytes where there is room for ", room_);
  return static_cast<size_t>(told);
}

/// Between hosts.
void MessageSteps::send_messages() {
  if (group_.local_rank() == 0) {
    std::vector<std::span<std::byte>> areas(owners_.size());
    for (int shard = 0; shard < static_cast<int>(areas.size()); ++shard)
      if (is_present(shard)) areas[shard] = room(shard).first(length(shard));
    collective::copy_shard_areas(group_, collective::FrameKind::areas, turn(), owners_, areas);
  }
  group_.arrive(Phase::round, turn());
  group_.await(Phase::round, turn());
}

const float* MessageSteps::sum_of(Extent range) {
  if (range.begin >= arena_.floats()) return rest_sum_ - arena_.floats();
  float* out = zeros(range);
  for (int shard = 0; shard < options_.shards; ++shard)
    if (is_present(shard)) add(room(shard).first(length(shard)), range, out);
  return out;
}

}  // namespace stoker::sync
