#pragma once
// Going over parts of the arena while they are in cache.
#include <algorithm>
#include <vector>

#include "base/pulse.h"
#include "optim/arena.h"

namespace stoker::sync {

inline constexpr int64_t kChunk = 16 * optim::kBlock;  ///< floats

/// Nothing for a range of no positive size.
template <typename Body>
void in_chunks(optim::Extent range, Body body) {
  for (int64_t at = range.begin; at < range.end; at += kChunk) {
    body(optim::Extent{at, std::min(at + kChunk, range.end)});
    pulse::beat();
  }
}

inline void copy_in_chunks(optim::Extent range, const float* from, float* to) {
  in_chunks(range, [&](optim::Extent e) { std::copy(from + e.begin, from + e.end, to + e.begin); });
}

/// Adds `share` times the numbers of a part to a sum.
void add_share(optim::Extent range, const float* part, float share, float* sum);

/// What the sum of gradients is multiplied by; a mean over nothing is 0.
inline float gradient_scale(bool mean, double denominator) {
  if (!mean) return 1;
  return denominator > 0 ? static_cast<float>(1 / denominator) : 0;
}

/// A chunk's scaled gradient, each number at most `limit`, as a pointer to the base of a gradient; in `room`.
inline const float* clamped(optim::Extent range, const float* gradient, float scale, double limit,
                            std::vector<float>& room) {
  const auto most = static_cast<float>(limit);
  room.resize(kChunk);
  for (int64_t i = range.begin; i < range.end; ++i)
    room[i - range.begin] = std::clamp(gradient[i] * scale, -most, most);
  return room.data() - range.begin;
}

}  // namespace stoker::sync
