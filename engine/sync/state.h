#pragma once
// The training state of one host: weights, float buffers, optimizer state, counters and the epochs' totals, twice (the
// committed set and the one being written), in a shared segment that all ranks of the host map and that outlives any
// one of them.
//
// A *commit* is a numbered state. Commit 1 is the initial state, commit c + 1 is what one step makes of commit c.
// Commit c lies in set c % 2, so new state is always written beside the old. The flip is one release-store of the
// commit number, after every slice of the new set stands. So whoever dies or freezes, the committed set is whole, and
// nobody who is one step behind can write into it.
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/codec.h"
#include "base/hash.h"
#include "optim/arena.h"
#include "shm/segment.h"
#include "sync/turn_order.h"
#include "sync/wish.h"

namespace stoker::sync {

/// Sums over the micro-batch of one shard, over all shards of a step, or over the steps of an epoch.
struct Scalars {
  double numerator = 0, denominator = 0, correct = 0, counted = 0;
  Scalars& operator+=(const Scalars& other);
};

/// Of the committed steps of one epoch. The same bits on every host, but for the seconds.
struct EpochTotals {
  Scalars sums = {};
  int64_t steps = 0;  // those kept included
  int64_t rows = 0;
  double seconds = 0;
  int64_t kept = 0;  // steps that left the state as it was: without rows, or not finite and to be skipped
};

struct StateLayout {
  int64_t floats = 0;         // of the weights' arena
  int64_t buffer_floats = 0;  // of the float buffers, laid out as an arena of their own
  int state_buffers = 0;      // arena-shaped buffers of optimizer state
  int64_t counts = 0;         // int64 buffers, one number each or several
  int64_t epochs = 0;
  int64_t sums = 0;         // doubles of the optimizer's sums over tensors
  int64_t evaluation = 0;   // doubles that an evaluation commits
  bool best = false;        // whether the best weights are kept aside
  int64_t numbers = 0;      // doubles that the optimizer commits beside its buffers
  int64_t evaluations = 0;  // of all epochs, at most
  int64_t replicas = 0;     // shards that commit something for themselves
  int replica_buffers = 0;  // arena-shaped, of each
  int64_t pushes = 0;       // that are recorded, of all epochs
};

class HostState {
 public:
  /// Bytes of a segment for this layout.
  static size_t bytes(const StateLayout& layout);
  /// Memory of that size: all zero, or a state of this layout.
  HostState(const StateLayout& layout, shm::Segment memory);
  /// The committed state and the ledger of another, in memory of its own. REQUIRES: nobody writes into `old`'s
  /// committed set.
  static shm::Segment copy(const StateLayout& layout, const HostState& old);
  /// A state that comes from elsewhere, in memory of its own: `fill` writes its pieces(). Throws Error(world) where it
  /// has another digest.
  using Fill = std::function<void(const std::vector<std::span<std::byte>>& pieces)>;
  static shm::Segment come(const StateLayout& layout, uint64_t commit, uint64_t runs, const Hash128& digest,
                           const Fill& fill);

  /// Weights of a set, directly followed by its float buffers.
  float* weights(int set) const { return floats(set, 0); }
  float* buffers(int set) const { return weights(set) + layout_.floats; }
  float* optimizer(int set, int k) const { return floats(set, vector_ + k * layout_.floats); }
  /// What a replica commits for itself: its buffers, then a line with its numbers.
  std::span<float> replica(int set, int shard) const;
  float* replica_buffer(int set, int shard, int k) const { return replica(set, shard).data() + k * layout_.floats; }
  ReplicaNumbers& replica_numbers(int set, int shard) const;
  std::span<float> replicas(int set) const;
  int64_t* counts(int set) const;
  double* numbers(int set) const;
  /// Totals of the epoch that the set's commit lies in.
  EpochTotals& running(int set) const;
  /// What the fit was told up to the set's commit.
  Told& told(int set) const;
  /// Totals of each epoch; entries of epochs that are not over mean nothing.
  std::span<EpochTotals> finished() const;
  /// What the evaluation of that number came to, from 0, or the first `count` of them; of those that are not made it
  /// means nothing.
  std::span<double> evaluated(uint64_t number) const;
  std::span<double> evaluations(uint64_t count) const;
  /// The shard of each push; of those that are not committed it means nothing.
  std::span<uint8_t> record() const;
  /// By all replicas, as it is committed.
  int64_t pushes_made() const;
  /// The weights that were the best, followed by their float buffers, and their counts. What they are belongs to
  /// aside().
  float* best() const;
  int64_t* best_counts() const;
  /// Of a set: 1 + the evaluation whose weights are set aside; 0: none are, or the set's own are the best and the next
  /// step sets them aside. REQUIRES: the layout has them.
  int64_t& aside(int set) const;
  /// Scratch of the step: one double for each block of the weights.
  double* norms() const;
  /// Scratch of the step: optim::Optimizer::sums().
  double* sums() const { return norms() + layout_.floats / optim::kBlock; }
  const StateLayout& layout() const { return layout_; }

  uint64_t committed() const { return head_->commit.load(std::memory_order_acquire); }
  static int set_of(uint64_t commit) { return static_cast<int>(commit % 2); }
  /// The committed set.
  int current() const { return set_of(committed()); }
  /// REQUIRES: every slice of `commit` stands. All ranks may flip: they store the same number.
  void flip(uint64_t commit) { head_->commit.store(commit, std::memory_order_release); }

  /// Whether what a step has written beside the committed set, to become `commit`, is finite as far as its ranks have
  /// looked. The first rank of the host says so before its partials stand; any rank may then find that it is not.
  void suppose_finite(uint64_t commit) {
    if (!finite(commit)) head_->infinite.store(0, std::memory_order_relaxed);
  }
  void find_infinite(uint64_t commit) { head_->infinite.store(commit, std::memory_order_relaxed); }
  bool finite(uint64_t commit) const { return head_->infinite.load(std::memory_order_relaxed) != commit; }

  /// The ledger: micro-batches that workers of this host have run, those of steps that came to nothing included.
  void count_run() { head_->runs.fetch_add(1, std::memory_order_relaxed); }
  uint64_t runs() const { return head_->runs.load(); }

  /// The first bytes of the segment, by which it is recognised; random, set by whoever made it.
  Hash128& nonce() const { return head_->nonce; }
  const shm::Segment& memory() const { return memory_; }
  /// Takes the memory out; the state must not be used any more.
  shm::Segment release() { return std::move(memory_); }
  /// All bytes of a set, of the finished epochs and evaluations, and of what is set aside: what another host needs to
  /// have the set's commit.
  std::vector<std::span<std::byte>> pieces(int set) const;

  /// Digest of the committed weights, float buffers, optimizer state and numbers and counters, or of those of a set;
  /// and of what it has set aside.
  Hash128 digest() const { return digest(current()); }
  Hash128 digest(int set) const;

 private:
  struct Head {  // begins as gang/protocol.h says of Held
    Hash128 nonce;
    std::atomic<uint64_t> commit;
    std::atomic<uint64_t> runs;
    std::atomic<uint64_t> infinite;  // the last commit that was not to be
  };
  struct Offsets;
  std::byte* set_base(int set) const;
  float* floats(int set, int64_t offset) const { return reinterpret_cast<float*>(set_base(set)) + offset; }

  StateLayout layout_;
  int64_t vector_ = 0;  // floats of weights and buffers
  shm::Segment memory_;
  std::byte* base_ = nullptr;
  Head* head_ = nullptr;
};

}  // namespace stoker::sync
