#pragma once
// The training as the simulator sees it: weights are hashes of how they came to be, so two states are equal exactly if
// the same steps made them of the same start.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "sync/turn_order.h"

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

/// What a shard commits for itself.
struct Replica {
  Blocks weights{};    // in turns: those that it pulled last
  uint64_t state = 0;  // its optimizer's
  sync::ReplicaNumbers numbers;
  bool operator==(const Replica&) const = default;
};

/// A commit's state.
struct Set {
  Blocks common{};
  std::vector<Replica> replicas;  // by shard; none in plain steps
  bool operator==(const Set&) const = default;
};

inline uint64_t digest_of(const Blocks& blocks) { return mix_key(blocks); }
inline uint64_t digest_of(const Replica& r) {
  return mix({digest_of(r.weights), r.state, static_cast<uint64_t>(r.numbers.steps),
              static_cast<uint64_t>(r.numbers.pushes), static_cast<uint64_t>(r.numbers.pulled)});
}
inline uint64_t digest_of(const Set& set) {
  uint64_t digest = digest_of(set.common);
  for (const auto& replica : set.replicas) digest = mix({digest, digest_of(replica)});
  return digest;
}

/// What shard `shard` gives to the step that makes `commit` of weights with this digest.
inline uint64_t partial_of(uint64_t weights, uint64_t commit, int shard) {
  return mix({weights, commit, static_cast<uint64_t>(shard)});
}
inline uint64_t initial_block(int block) { return mix({1, static_cast<uint64_t>(block)}); }
inline uint64_t updated_block(uint64_t old, uint64_t commit, uint64_t sum) { return mix({old, commit, sum}); }

/// One step of a replica alone, of the round that makes `commit`.
inline void step_alone(Blocks& weights, uint64_t& state, uint64_t commit, int shard) {
  const uint64_t gradient = mix({digest_of(weights), commit, static_cast<uint64_t>(shard)});
  state = mix({state, gradient});
  for (uint64_t& block : weights) block = mix({block, state});
}

/// The common weights after a push, of one block.
inline uint64_t pushed_block(uint64_t common, uint64_t pulled, uint64_t replica, const sync::Push& what) {
  return mix({common, pulled, replica, static_cast<uint64_t>(what.steps), static_cast<uint64_t>(what.stale)});
}

inline std::vector<sync::ReplicaNumbers> numbers_of(const Set& set) {
  std::vector<sync::ReplicaNumbers> numbers;
  for (const auto& replica : set.replicas) numbers.push_back(replica.numbers);
  return numbers;
}

/// What a commit is.
enum class Scheme {
  steps,   // one step: sync/all_reduce.h
  rounds,  // steps that replicas take alone, then an average; each keeps its optimizer's state: sync/local_steps.h
  turns,   // the same, then pushes one after the other: sync/turns.h
  arrival  // windows of steps, as many of each replica as it comes to, each pushed at once: sync/arrival.h
};

/// The plan of all commits, a function of what is fixed before the first one.
struct Course {
  Scheme scheme = Scheme::steps;
  int shards = 1;
  int window = 1;      // steps of a round, at most; by arrival, of a push
  int64_t bound = -1;  // by arrival, see sync::Standing

  bool pushes() const { return scheme == Scheme::turns || scheme == Scheme::arrival; }
  bool has_replicas() const { return scheme != Scheme::steps; }
  int steps_of(uint64_t commit) const { return 1 + static_cast<int>(mix({2, commit}) % window); }
  /// Whether a shard has rows in it; one has in each.
  bool present(uint64_t commit, int shard) const {
    const auto s = static_cast<uint64_t>(shard);
    return !has_replicas() || commit % shards == s || mix({3, commit, s}) % 5 > 0;
  }
  std::vector<bool> present(uint64_t commit) const {
    std::vector<bool> all;
    for (int s = 0; s < shards; ++s) all.push_back(present(commit, s));
    return all;
  }
  /// By arrival: pushes that make it.
  int64_t windows_of(uint64_t commit) const {
    return std::ranges::count(present(commit), true) * (1 + static_cast<int64_t>(mix({5, commit}) % 2));
  }
  /// Whether it leaves the state as it was, because what it made is not finite.
  bool comes_to_nothing(uint64_t commit) const {
    return has_replicas() && scheme != Scheme::arrival && mix({4, commit}) % 9 == 0;
  }
};

/// What an undisturbed run makes, written down without the engine's order and counts.
class Truth {
 public:
  explicit Truth(const Course& course) : course_(course) {
    Set first;
    for (int b = 0; b < kBlocks; ++b) first.common[b] = initial_block(b);
    if (course.has_replicas()) first.replicas.resize(course.shards);
    if (course.pushes())
      for (auto& replica : first.replicas) replica.weights = first.common;
    commits_ = {Set{}, first};
  }
  const Set& at(uint64_t commit) {
    while (commits_.size() <= commit) commits_.push_back(next(commits_.size()));
    return commits_[commit];
  }
  /// By arrival: what a record makes of the state before a commit.
  Set by_record(const Set& old, uint64_t commit, std::span<const uint8_t> record) const {
    Set fresh = old;
    for (const int s : record) {
      require(course_.present(commit, s), "shard ", s, " has pushed, which has no rows in it");
      require(course_.bound < 0 || ahead(fresh, commit, s) <= course_.bound, "shard ", s, " ran ahead of the bound");
      Blocks came_to = fresh.replicas[s].weights;
      for (int step = 0; step < course_.steps_of(commit); ++step)
        step_alone(came_to, fresh.replicas[s].state, commit, s);
      fresh.replicas[s].numbers.steps += course_.steps_of(commit);
      push_one(fresh, came_to, commit, s);
    }
    return fresh;
  }
  /// The same from the first state on.
  Set by_record(std::span<const uint8_t> record, uint64_t last) {
    Set set = at(1);
    size_t done = 0;
    for (uint64_t commit = 2; commit <= last; ++commit) {
      const auto count = static_cast<size_t>(course_.windows_of(commit));
      require(record.size() >= done + count, "the record ends before commit ", commit);
      set = by_record(set, commit, record.subspan(done, count));
      done += count;
    }
    require(record.size() == done, "the record goes on after the last commit");
    return set;
  }

 private:
  /// Windows by which a replica is ahead of the slowest.
  int64_t ahead(const Set& set, uint64_t commit, int shard) const {
    int64_t least = set.replicas[shard].numbers.pushes;
    for (int s = 0; s < course_.shards; ++s)
      if (course_.present(commit, s)) least = std::min(least, set.replicas[s].numbers.pushes);
    return set.replicas[shard].numbers.pushes - least;
  }

  Set next(uint64_t commit) const {
    const Set& old = commits_.back();
    if (course_.comes_to_nothing(commit)) return old;
    Set fresh = old;
    std::vector<Blocks> came_to(course_.shards);
    uint64_t sum = 0;
    for (int s = 0; s < course_.shards; ++s)
      if (course_.present(commit, s)) sum += partial(old, fresh, came_to[s], commit, s);
    if (course_.scheme == Scheme::turns)
      push_in_turn(fresh, came_to, commit);
    else
      for (auto& block : fresh.common) block = updated_block(block, commit, sum);
    return fresh;
  }

  uint64_t partial(const Set& old, Set& fresh, Blocks& came_to, uint64_t commit, int s) const {
    if (!course_.has_replicas()) return partial_of(digest_of(old.common), commit, s);
    Replica& replica = fresh.replicas[s];
    came_to = course_.scheme == Scheme::turns ? replica.weights : old.common;
    for (int step = 0; step < course_.steps_of(commit); ++step) step_alone(came_to, replica.state, commit, s);
    replica.numbers.steps += course_.steps_of(commit);
    return partial_of(digest_of(came_to), commit, s);
  }

  void push_in_turn(Set& fresh, const std::vector<Blocks>& came_to, uint64_t commit) const {
    for (int s = 0; s < course_.shards; ++s)
      if (course_.present(commit, s)) push_one(fresh, came_to[s], commit, s);
  }

  /// Staleness is what others have pushed since its own last push, counted one by one.
  void push_one(Set& fresh, const Blocks& came_to, uint64_t commit, int s) const {
    Replica& replica = fresh.replicas[s];
    int64_t made = 0;
    for (const auto& other : fresh.replicas) made += other.numbers.pushes;
    const sync::Push what{s, course_.steps_of(commit), made - replica.numbers.pulled};
    for (int b = 0; b < kBlocks; ++b)
      fresh.common[b] = pushed_block(fresh.common[b], replica.weights[b], came_to[b], what);
    replica.weights = fresh.common;
    ++replica.numbers.pushes;
    replica.numbers.pulled = made + 1;
  }

  const Course course_;
  std::vector<Set> commits_;
};

/// A host's state segment: both sets, and the number of the committed one.
struct Memory {
  uint64_t commit = 0;
  std::array<Set, 2> sets{};
  uint64_t generation = 0;        // the newest that works in it
  std::map<int, uint64_t> begun;  // shards: the newest commit whose round a replica has begun in it
  sync::Record record;            // by arrival; what is not committed may be any
};

}  // namespace stoker::simulator
