#pragma once
// The training state of one host: weights, float buffers, optimizer state and counters, twice (the committed set and
// the one being written), in memory that all ranks of the host share and that outlives any one of them.
//
// A *commit* is a numbered state. Commit 1 is the initial state, commit c + 1 is what one step makes of commit c.
// Commit c lies in set c % 2, so new state is always written beside the old. The flip is one release-store of the
// commit number, after every slice of the new set stands; the record of the commit is written before.
#include <atomic>
#include <cstdint>
#include <span>

#include "base/hash.h"
#include "collective/group.h"

namespace stoker::sync {

struct StateLayout {
  int64_t floats = 0;         // of the weights' arena
  int64_t buffer_floats = 0;  // of the float buffers, laid out as an arena of their own
  int state_buffers = 0;      // arena-shaped buffers of optimizer state
  int64_t counts = 0;         // int64 buffers, one number each or several
};

/// What a commit was made of; compared when hosts or newcomers meet.
struct CommitRecord {
  uint64_t commit = 0;
  uint64_t generation = 0;
  uint64_t members = 0;  // digest of the roster
  uint64_t parent = 0;   // the commit before
};

class HostState {
 public:
  /// Every rank of the host makes one, at the same point of its life.
  HostState(collective::Group& group, const StateLayout& layout);

  /// Weights of a set, directly followed by its float buffers.
  float* weights(int set) const { return floats(set, 0); }
  float* buffers(int set) const { return weights(set) + layout_.floats; }
  float* optimizer(int set, int k) const { return floats(set, vector_ + k * layout_.floats); }
  int64_t* counts(int set) const { return counts_ + set * layout_.counts; }
  /// Scratch of the step: one double for each block of the weights.
  double* norms() const { return norms_; }
  const StateLayout& layout() const { return layout_; }

  uint64_t committed() const { return head_->commit.load(std::memory_order_acquire); }
  /// Written by the first rank of the host before it says that its slice stands.
  void write_record(const CommitRecord& record) { head_->records[record.commit % 2] = record; }
  /// REQUIRES: every slice of `commit` and its record stand. All ranks may flip: they store the same number.
  void flip(uint64_t commit) { head_->commit.store(commit, std::memory_order_release); }

  /// Digest of the committed weights, float buffers, optimizer state and counters.
  Hash128 digest() const;

 private:
  struct Head {
    std::atomic<uint64_t> commit;
    CommitRecord records[2];
  };
  float* floats(int set, int64_t offset) const { return floats_ + set * per_set_ + offset; }

  StateLayout layout_;
  int64_t vector_ = 0;  // weights and buffers
  int64_t per_set_ = 0;
  Head* head_ = nullptr;
  float* floats_ = nullptr;
  double* norms_ = nullptr;
  int64_t* counts_ = nullptr;
};

}  // namespace stoker::sync
