#include "sync/state.h"

#include <array>

#include "optim/arena.h"

namespace stoker::sync {

namespace {

constexpr size_t kLine = 64;
size_t lines(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

HostState::HostState(collective::Group& group, const StateLayout& layout)
    : layout_(layout),
      vector_(layout.floats + layout.buffer_floats),
      per_set_(vector_ + layout.state_buffers * layout.floats) {
  const size_t head = lines(sizeof(Head));
  const size_t floats = lines(2 * per_set_ * sizeof(float));
  const size_t norms = lines(layout.floats / optim::kBlock * sizeof(double));
  const size_t counts = lines(2 * layout.counts * sizeof(int64_t));
  std::byte* base = group.host_region(head + floats + norms + counts).data();
  head_ = reinterpret_cast<Head*>(base);
  floats_ = reinterpret_cast<float*>(base + head);
  norms_ = reinterpret_cast<double*>(base + head + floats);
  counts_ = reinterpret_cast<int64_t*>(base + head + floats + norms);
}

Hash128 HostState::digest() const {
  const int set = static_cast<int>(committed() % 2);
  Hash128 sum = hash128(std::as_bytes(std::span(weights(set), per_set_)));
  sum += hash128(std::as_bytes(std::span(counts(set), layout_.counts)), 1);
  return sum;
}

}  // namespace stoker::sync
