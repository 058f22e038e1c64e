#include "optim/grouped.h"

#include <algorithm>

#include "base/error.h"

namespace stoker::optim {

GroupedOptimizer::GroupedOptimizer(const OptimizerOptions& options, const Arena& arena, Isa isa)
    : groups_(options.groups), schedule_(options.schedule), kernels_(kernels(isa)), padding_(arena.padding()) {
  STOKER_CHECK(arena.groups() <= static_cast<int>(groups_.size()));
  for (int g = 0; g < arena.groups(); ++g) extents_.push_back(arena.group(g));
}

void GroupedOptimizer::update(Extent range, const Moment& at, const UpdateBuffers& buffers) const {
  STOKER_CHECK(at.age() >= 1);
  const Streams streams = streams_of(buffers);
  for (size_t g = 0; g < extents_.size(); ++g) {
    const Extent part = overlap(range, extents_[g]);
    if (part.size() > 0) update_group(now(static_cast<int>(g), at), part, at.age(), buffers.gradient_scale, streams);
  }
  clear_padding(range, streams);
}

double GroupedOptimizer::base_rate(int group, const Moment& at) const {
  const double own = groups_[group].lr, first = groups_.front().lr;
  if (at.rate <= 0) return own;
  return own == first ? at.rate : at.rate * (own / first);
}

GroupOptions GroupedOptimizer::now(int group, const Moment& at) const {
  GroupOptions now = groups_[group];
  now.lr = schedule_.rate(base_rate(group, at), at);
  if (schedule_.changes_momentum()) now.momentum = now.beta1 = schedule_.momentum(at);
  return now;
}

Streams GroupedOptimizer::streams_of(const UpdateBuffers& buffers) const {
  const auto states = static_cast<size_t>(state_buffers());
  STOKER_CHECK(buffers.state_in.size() == states && buffers.state_out.size() == states);
  Streams streams{buffers.gradient, buffers.weights_in, buffers.weights_out, {}, {}};
  std::copy(buffers.state_in.begin(), buffers.state_in.end(), streams.state_in);
  std::copy(buffers.state_out.begin(), buffers.state_out.end(), streams.state_out);
  return streams;
}

void GroupedOptimizer::keep_state(int k, Extent part, const Streams& at) {
  std::copy(at.state_in[k] + part.begin, at.state_in[k] + part.end, at.state_out[k] + part.begin);
}

void GroupedOptimizer::clear_padding(Extent range, const Streams& at) const {
  auto gap = std::partition_point(padding_.begin(), padding_.end(), [&](Extent e) { return e.end <= range.begin; });
  for (; gap != padding_.end() && gap->begin < range.end; ++gap) {
    const Extent part = overlap(*gap, range);
    std::fill(at.weights_out + part.begin, at.weights_out + part.end, 0.0f);
    for (int s = 0; s < state_buffers(); ++s) std::fill(at.state_out[s] + part.begin, at.state_out[s] + part.end, 0.0f);
  }
}

}  // namespace stoker::optim
