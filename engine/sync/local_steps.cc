#include "sync/local_steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fault.h"
#include "collective/tree.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

using optim::Extent;

/// Without clipping, which is not the outer step's.
AllReduceOptions outer_options(AllReduceOptions options, int carried, collective::Code code) {
  options.mean = false;
  options.clip_norm = options.clip_value = 0;
  options.carried = carried;
  options.code = code;
  return options;
}

std::vector<int> owned_shards(const AllReduceOptions& options, const collective::Group& group) {
  const auto owners = options.owners.empty() ? collective::even_owners(group.size(), options.shards) : options.owners;
  return collective::shards_of(owners, group.rank());
}

}  // namespace

int carried_buffers(const LocalOptions& options, const optim::Optimizer& inner) {
  return options.inner_state == InnerState::average ? inner.state_buffers() : 0;
}

LocalSteps::LocalSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& inner,
                       const optim::Optimizer& outer, HostState& state, AllReduceOptions options,
                       const LocalOptions& local)
    : AllReduce(group, arena, outer, state, outer_options(options, carried_buffers(local, inner), local.code)),
      inner_(inner),
      told_(options),
      local_(local),
      norms_(arena.blocks()),
      sums_(inner.sums()) {
  for (const int shard : owned_shards(options, group)) {
    replicas_.emplace_back().shard = shard;
    replicas_.back().floats.make_room(vector() + inner.state_buffers() * arena.floats());
    replicas_.back().counts.resize(state.layout().counts);
  }
  gradient_.make_room(vector());
}

std::vector<WeightSet> LocalSteps::sets() {
  std::vector<WeightSet> sets;
  for (auto& r : replicas_) sets.push_back({r.floats.data(), r.floats.data() + arena_.floats(), r.counts.data()});
  return sets;
}

void LocalSteps::begin(const Round& round) {
  AllReduce::begin(round);
  rate_ = std::exchange(round_.at.rate, 0.0);  // the outer optimizer has a rate of its own
  alone_ = local_.plain && !local_.code && std::ranges::count(round.present, true) == 1;
  for (auto& replica : replicas_) {
    replica.steps = 0;
    replica.share = 0;
    replica.scalars = {};
  }
}

size_t LocalSteps::number_of(int shard) const {
  return std::ranges::lower_bound(replicas_, shard, {}, &Replica::shard) - replicas_.begin();
}

/// With the committed state.
void LocalSteps::set_out(Replica& replica) const {
  const float* weights = state_.weights(old_set());
  float* mine = replica.floats.data();
  in_chunks({0, vector()}, [&](Extent e) { std::copy(weights + e.begin, weights + e.end, mine + e.begin); });
  for (int k = 0; k < inner_.state_buffers(); ++k) {
    float* to = inner_state(replica, k);
    const float* from = options_.carried > 0 ? state_.optimizer(old_set(), optimizer_.state_buffers() + k) : nullptr;
    in_chunks({0, arena_.floats()}, [&](Extent e) {
      if (from)
        std::copy(from + e.begin, from + e.end, to + e.begin);
      else
        std::fill(to + e.begin, to + e.end, 0.0F);
    });
  }
  std::copy_n(state_.counts(old_set()), replica.counts.size(), replica.counts.begin());
}

void LocalSteps::run(const Part& part, const Run& run) {
  const size_t number = number_of(part.shard);
  Replica& replica = replicas_[number];
  if (replica.share == 0) set_out(replica);
  float* after = gradient_.data() + arena_.floats();
  const int64_t floats = state_.layout().buffer_floats;
  std::fill_n(after, floats, 0.0F);
  const Scalars scalars = run(static_cast<int>(2 + number), gradient_.data(), after);
  optim::Moment at = round_.at;
  at.step += part.step;
  at.rate = rate_;
  const bool begins = local_.inner_state == InnerState::reset || round_.at.step == 1;
  if (begins) at.since = at.step - 1 - replica.steps;  // it may have had no rows so far
  move(replica, at, scalars.denominator);
  std::copy_n(after, floats, replica.floats.data() + arena_.floats());
  for (auto& count : replica.counts) ++count;
  ++replica.steps;
  replica.share += part.share;
  replica.scalars += scalars;
  fault::point("local", step());
}

/// One step of a replica alone.
void LocalSteps::move(Replica& replica, const optim::Moment& at, double denominator) {
  float scale = gradient_scale(told_.mean, denominator);
  if (told_.clip_norm > 0) scale *= clip(scale);
  optim::UpdateBuffers buffers;
  buffers.weights_in = buffers.weights_out = replica.floats.data();
  for (int k = 0; k < inner_.state_buffers(); ++k) {
    buffers.state_in.push_back(inner_state(replica, k));
    buffers.state_out.push_back(inner_state(replica, k));
  }
  const auto with_gradient = [&](Extent e) {
    const bool clamps = told_.clip_value > 0;
    buffers.gradient = clamps ? clamped(e, gradient_.data(), scale, told_.clip_value, clamp_) : gradient_.data();
    buffers.gradient_scale = clamps ? 1 : scale;
    return buffers;
  };
  const Extent all{0, arena_.floats()};
  std::vector<float> factors;
  if (!sums_.empty()) {
    in_chunks(all, [&](Extent e) { inner_.measure(e, at, with_gradient(e), sums_.data()); });
    factors = inner_.factors(sums_.data());
    buffers.factors = factors.data();
  }
  in_chunks(all, [&](Extent e) { inner_.update(e, at, with_gradient(e)); });
}

float LocalSteps::clip(float scale) {
  in_chunks({0, arena_.floats()},
            [&](Extent e) { optim::block_norms(e, gradient_.data(), scale, norms_.data() + e.begin / optim::kBlock); });
  const double squares = std::accumulate(norms_.begin(), norms_.end(), 0.0);
  return optim::clip_factor(std::sqrt(squares), told_.clip_norm);
}

void LocalSteps::publish() {
  for (auto& replica : replicas_)
    if (round_.present[replica.shard]) give(replica);
  AllReduce::publish();
}

/// Its share of the way from the committed weights, of the float buffers and of what is carried.
void LocalSteps::give(Replica& replica) {
  const auto share = static_cast<float>(replica.share);
  const float* weights = state_.weights(old_set());
  const float* mine = replica.floats.data();
  float* out = partial();
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) out[i] = alone_ ? mine[i] : share * (weights[i] - mine[i]);
  });
  in_chunks({arena_.floats(), vector() + options_.carried * arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) out[i] = share * mine[i];
  });
  put(replica.shard, replica.scalars);
}

void LocalSteps::update(Extent range, const optim::UpdateBuffers& buffers) {
  if (!alone_) return AllReduce::update(range, buffers);
  std::copy(buffers.gradient + range.begin, buffers.gradient + range.end, buffers.weights_out + range.begin);
}

}  // namespace stoker::sync
