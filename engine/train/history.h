#pragma once
// What a fit tells of itself: per epoch, from the totals of committed steps. Loss and accuracy are the same bits on
// every rank and for every number of workers; times are this rank's.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sync/all_reduce.h"

namespace stoker::train {

/// Seconds of one rank in an epoch, by phase.
struct PhaseTimes {
  double gather = 0;   // rows to tensors
  double compute = 0;  // forward and backward
  double sync = 0;     // waiting for peers
  double update = 0;   // sums and optimizer
};

struct EpochRecord {
  int64_t epoch = 0;  // from 1
  int64_t steps = 0;
  int64_t rows = 0;
  sync::Scalars totals;
  double seconds = 0;
  PhaseTimes phases;
  uint64_t bytes_sent = 0;

  /// Mean loss: over the denominator, or over steps where the loss is a plain sum.
  double loss(bool mean) const;
  nlohmann::json to_json(bool mean) const;
};

class History {
 public:
  explicit History(bool mean) : mean_(mean) {}
  void begin_epoch(uint64_t bytes_sent);
  void add(const sync::Scalars& step, int64_t rows);
  void end_epoch(uint64_t bytes_sent);
  PhaseTimes& phases() { return current_.phases; }
  /// The epoch under way, as a progress line: a JSON object. `step` is the epoch's; "step" counts all committed ones.
  std::string progress(int rank, int64_t step, int64_t steps, int64_t epochs) const;
  nlohmann::json to_json() const;

 private:
  bool mean_;
  Stopwatch watch_;
  uint64_t bytes_before_ = 0;
  EpochRecord current_;
  std::vector<EpochRecord> epochs_;
};

}  // namespace stoker::train
