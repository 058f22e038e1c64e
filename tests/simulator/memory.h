#pragma once
// The training as the simulator sees it: weights are hashes of how they came to be, so two states are equal exactly if
// the same steps made them of the same start.
#include <array>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "base/hash.h"

namespace stoker::simulator {

/// A rule of the protocol was broken.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) throw Violation(cat(parts...));
}

constexpr int kBlocks = 16;
using Blocks = std::array<uint64_t, kBlocks>;

inline uint64_t mix(std::initializer_list<uint64_t> numbers) {
  return mix_key(std::span(numbers.begin(), numbers.size()));
}

inline uint64_t digest_of(const Blocks& blocks) { return mix_key(blocks); }
/// What shard `shard` gives to the step that makes `commit` of weights with this digest.
inline uint64_t partial_of(uint64_t weights, uint64_t commit, int shard) {
  return mix({weights, commit, static_cast<uint64_t>(shard)});
}
inline uint64_t initial_block(int block) { return mix({1, static_cast<uint64_t>(block)}); }
inline uint64_t updated_block(uint64_t old, uint64_t commit, uint64_t sum) { return mix({old, commit, sum}); }

/// What an undisturbed run makes.
class Truth {
 public:
  explicit Truth(int shards) : shards_(shards) {
    for (int b = 0; b < kBlocks; ++b) first_[b] = initial_block(b);
    commits_ = {Blocks{}, first_};
  }
  const Blocks& at(uint64_t commit) {
    while (commits_.size() <= commit) grow();
    return commits_[commit];
  }

 private:
  void grow() {
    const uint64_t commit = commits_.size(), digest = digest_of(commits_.back());
    uint64_t sum = 0;
    for (int s = 0; s < shards_; ++s) sum += partial_of(digest, commit, s);
    Blocks next;
    for (int b = 0; b < kBlocks; ++b) next[b] = updated_block(commits_.back()[b], commit, sum);
    commits_.push_back(next);
  }
  int shards_;
  Blocks first_;
  std::vector<Blocks> commits_;
};

/// A host's state segment: both sets, and the number of the committed one.
struct Memory {
  uint64_t commit = 0;
  std::array<Blocks, 2> sets{};
  uint64_t generation = 0;  // the newest that works in it
};

}  // namespace stoker::simulator
