#pragma once
// From the plan to tensors: the rows of one shard in one step, gathered from the store in the epoch's order.
// One object per rank, used by one thread, but for interrupt().
#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "data/store/column_store.h"
#include "data/store/lent_rows.h"
#include "data/store/plan.h"
#include "data/store/read_ahead.h"

namespace stoker::train {

class Frozen;

/// Where a worker's rows are: its own, sealed, and those that it has borrowed. All outlive who reads them.
struct RowSource {
  const data::ColumnStore& own;
  const data::Borrowed& borrowed;
  const Frozen* frozen = nullptr;            // what is made of the rows' tensors; null: they are used as they are
  const data::ColumnStore* ready = nullptr;  // all rows that are read, with this made already; null: none are

  /// The one that tensors are gathered by.
  const data::ColumnStore& store() const { return ready ? *ready : own; }
  /// Row numbers of a shard in content order.
  std::span<const uint32_t> order(int shard) const;
  /// REQUIRES: rows of the store are not on disk.
  data::RowsAt at(int shard, std::span<const uint32_t> rows) const;
};

class Feed {
 public:
  /// `owned` ascending. `augments`: pictures are cropped and flipped by chance, as their columns say.
  /// `accumulate`: in how many parts a step is run at most. `keeps`: what was gathered in an epoch is given again in
  /// the next ones, which are of the same number.
  Feed(const RowSource& from, const data::Plan& plan, std::vector<int> owned, uint64_t seed, bool shuffle,
       bool augments = true, int64_t accumulate = 1, bool keeps = false);

  void begin_epoch(uint64_t epoch);
  /// From any thread: whoever waits for rows from disk, or wants more of them, ends with Error(aborted), now and later.
  void interrupt();
  /// Gathers the first parts of the step now, so that micro_batch() need not.
  void prefetch(int64_t step);
  /// One tensor an input of the program, batch first. REQUIRES: the shard is owned and present in the step, which has
  /// that part.
  std::vector<at::Tensor> micro_batch(int64_t step, int shard, int64_t part = 0);

 private:
  const RowSource from_;
  const data::Plan& plan_;
  std::vector<int> owned_;
  uint64_t seed_;
  bool shuffle_;
  bool augments_;
  int64_t accumulate_;
  bool keeps_;
  uint64_t epoch_ = 0;
  /// Places in the epoch's order.
  data::Rows part_of(int64_t step, int shard, int64_t part) const;
  std::span<const uint32_t> rows(int shard, data::Rows places) const;
  /// `places` lie within those of the step.
  data::RowsAt stored(int64_t step, int shard, data::Rows places);
  std::vector<at::Tensor> gather(int64_t step, int shard, int64_t part);

  std::map<int, std::vector<uint32_t>> rows_;        // of each owned shard, in the order of this epoch
  std::map<int, std::vector<at::Tensor>> gathered_;  // by shard, the first parts of gathered_step_
  int64_t gathered_step_ = -1;
  std::map<std::tuple<int64_t, int, int64_t>, std::vector<at::Tensor>> kept_;  // by step, shard and part
  std::atomic<bool> interrupted_ = false;
  std::unique_ptr<data::ReadAhead> ahead_;  // for rows on disk; it reads rows_, so it goes first
};

}  // namespace stoker::train
