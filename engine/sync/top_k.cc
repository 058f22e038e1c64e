#include "sync/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sync/sparse.h"

namespace stoker::sync {

namespace {

size_t bytes_of(const optim::Arena& arena, double share) {
  const auto numbers = arena.numbers();
  const auto count = std::llround(share * static_cast<double>(numbers));
  return static_cast<size_t>(std::clamp<int64_t>(count, 1, numbers)) * sizeof(Entry);
}

}  // namespace

TopK::TopK(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
           const CommitOptions& options, double share)
    : MessageSteps(group, arena, optimizer, state, options, bytes_of(arena, share), false) {
  STOKER_CHECK(arena.floats() <= std::numeric_limits<uint32_t>::max());
}

size_t TopK::write(int shard, double /*denominator*/, std::span<std::byte> message) {
  const std::span entries(reinterpret_cast<Entry*>(message.data()), message.size() / sizeof(Entry));
  take_largest(kept(shard), arena_.floats(), entries, scratch_);
  return message.size();
}

void TopK::add(ByteView message, optim::Extent part, float* sum) {
  add_entries({reinterpret_cast<const Entry*>(message.data()), message.size() / sizeof(Entry)}, part, sum);
}

}  // namespace stoker::sync
