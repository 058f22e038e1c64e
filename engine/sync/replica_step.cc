#include "sync/replica_step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "sync/chunks.h"

namespace stoker::sync {

using optim::Extent;

ReplicaStep::ReplicaStep(const optim::Arena& arena, const optim::Optimizer& optimizer, const CommitOptions& told)
    : arena_(arena),
      optimizer_(optimizer),
      mean_(told.mean),
      clip_norm_(told.clip_norm),
      clip_value_(told.clip_value),
      norms_(arena.blocks()),
      sums_(optimizer.sums()) {
  STOKER_CHECK(optimizer.numbers() == 0);
}

void ReplicaStep::take(float* weights, const std::vector<float*>& state, const float* gradient, double denominator,
                       const optim::Moment& at) {
  float scale = gradient_scale(mean_, denominator);
  if (clip_norm_ > 0) scale *= clip(gradient, scale);
  optim::UpdateBuffers buffers;
  buffers.weights_in = buffers.weights_out = weights;
  buffers.state_in.assign(state.begin(), state.end());
  buffers.state_out = state;
  const auto with_gradient = [&](Extent e) {
    const bool clamps = clip_value_ > 0;
    buffers.gradient = clamps ? clamped(e, gradient, scale, clip_value_, clamp_) : gradient;
    buffers.gradient_scale = clamps ? 1 : scale;
    return buffers;
  };
  const Extent all{0, arena_.floats()};
  const auto [factors, numbers] =
      optim::measured(optimizer_, {nullptr, 0, sums_.data(), at}, [&](int round, const auto&) {
        in_chunks(all, [&](Extent e) { optimizer_.measure(round, e, at, with_gradient(e), sums_.data()); });
      });
  if (!factors.empty()) buffers.factors = factors.data();
  in_chunks(all, [&](Extent e) { optimizer_.update(e, at, with_gradient(e)); });
}

void ReplicaStep::scale(const float* gradient, double denominator, float* out) {
  float scale = gradient_scale(mean_, denominator);
  if (clip_norm_ > 0) scale *= clip(gradient, scale);
  const auto most = clip_value_ > 0 ? static_cast<float>(clip_value_) : std::numeric_limits<float>::infinity();
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) out[i] = std::clamp(gradient[i] * scale, -most, most);
  });
}

float ReplicaStep::clip(const float* gradient, float scale) {
  in_chunks({0, arena_.floats()},
            [&](Extent e) { optim::block_norms(e, gradient, scale, norms_.data() + e.begin / optim::kBlock); });
  const double squares = std::accumulate(norms_.begin(), norms_.end(), 0.0);
  return optim::clip_factor(std::sqrt(squares), clip_norm_);
}

}  // namespace stoker::sync
