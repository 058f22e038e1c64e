#pragma once
// What the direct sums have in common: a rank's partials and scalars in its host's shared memory, the fold of its own
// shards, the totals. Used by one thread.
//
// memory of a host: for each of its ranks `slots` vectors (slots_needed), of which a step's partials are the first;
// after them, for each shard, its scalars, padded to whole cache lines. Each is written by the shard's owner only,
// between begin() and exchange().
#include <functional>

#include "collective/by_set.h"
#include "collective/shard_sum.h"

namespace stoker::collective {

class DirectSum : public ShardSum {
 public:
  DirectSum(Group& group, const ShardSumOptions& options);
  void begin(uint64_t step, const ShardSet& present) override;
  float* next() override;
  std::span<double> scalars(int shard) override;
  OwnFold own_fold() override;
  void put_all() override { done_ = steps_.size(); }
  void put(int shard) override;
  void publish() override;
  std::vector<double> totals() const override { return totals_; }

  /// After exchange(), instead of sum(): the sum takes the place of every local rank's first partial, whole once each
  /// rank of the host has called this and the host has passed Phase::slices.
  virtual void replace_partials() = 0;

 protected:
  /// A node's vector in this host's memory.
  struct Partial {
    Node node;
    Source source;
  };

  /// The set of present shards has changed.
  virtual void plan() = 0;
  /// The shards of this rank.
  ShardSet owned_by(int rank) const;
  /// A bug where it is not of whole blocks inside slice().
  void check_range(Range range) const;
  /// The partials that the ranks of this host hold in this step, rank by rank.
  std::vector<Partial> host_partials() const;
  /// The first slot of each local rank.
  std::vector<float*> first_slots() const { return slots_; }
  /// Makes of an owned shard's vector what its code says, before it is added to others.
  virtual void code(float* vector, int shard);
  void code(float* vector, std::vector<std::byte>& room) const;
  int64_t rounded() const { return options_.rounded(); }
  /// Totals over the tree, of scalars that stand in `of(shard)`.
  void add_totals(const std::function<const double*(int)>& of);
  double* scalars_at(int shard) const { return scalars_ + static_cast<size_t>(shard) * scalar_stride_; }

  Group& group_;
  const ShardSumOptions options_;
  const std::vector<int> owners_;  // by shard
  ShardSet present_;               // in this step; all before the first
  uint64_t step_ = 0;
  bool begun_ = false;

 private:
  float* slot(int height) const { return slots_[group_.local_rank()] + static_cast<int64_t>(height) * options_.floats; }
  float* top() const { return slot(height_); }
  void merge_top();

  std::vector<float*> slots_;  // by local rank
  double* scalars_;
  size_t scalar_stride_;
  std::vector<ShardSet> owned_;  // by local rank
  BySet<std::vector<FoldStep>> folds_;
  std::span<const FoldStep> steps_;  // of this step's fold
  size_t done_ = 0;                  // of steps_
  int height_ = 0;                   // vectors on my stack
  std::vector<std::byte> code_;      // of one vector
  std::vector<double> totals_;
};

/// The one that fits the group; make_shard_sum() gives the same.
std::unique_ptr<DirectSum> make_direct_sum(Group& group, const ShardSumOptions& options);

}  // namespace stoker::collective
