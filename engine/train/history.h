#pragma once
// What a fit tells of itself: per epoch, from the totals of committed steps. Loss and accuracy are the same bits on
// every rank and for every number of workers; times are this rank's.
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/timetable.h"
#include "sync/state.h"

namespace stoker::train {

/// Seconds of one rank in an epoch, by phase.
struct PhaseTimes {
  double gather = 0;    // rows to tensors
  double compute = 0;   // forward and backward
  double sync = 0;      // waiting for peers
  double update = 0;    // sums and optimizer
  double evaluate = 0;  // rows that are held out: to tensors, forward, metrics
};

struct EpochRecord {
  int64_t epoch = 0;  // from 1
  sync::EpochTotals totals;
  PhaseTimes phases;              // zero where this rank was not there
  uint64_t bytes_sent = 0;        // likewise
  nlohmann::json evaluated = {};  // what the evaluation after it came to, by name

  /// What the loss is a mean over: the denominator, or steps where it is a plain sum.
  double loss_weight(bool mean) const;
  double loss(bool mean) const;
  nlohmann::json to_json(bool mean) const;
};

inline constexpr double kReportEvery = 1;  // seconds between metrics to the driver
/// The same for one rank of many: the driver shows what the `first` one says, and all others together speak as often as
/// eight do.
double report_every(int rank, int ranks, double first = kReportEvery);

class History {
 public:
  explicit History(bool mean) : mean_(mean) {}
  /// Epochs that ended before this rank came; `evaluated` gives what the evaluation after each came to, by name.
  using Evaluated = std::function<nlohmann::json(uint64_t epoch)>;
  void catch_up(std::span<const sync::EpochTotals> finished, const Evaluated& evaluated = {});
  /// Begins an epoch, or goes on with it where `so_far` has steps.
  void begin_epoch(const sync::EpochTotals& so_far, uint64_t bytes_sent);
  /// Seconds since the epoch began, those of its part before this rank came included.
  double seconds() const { return before_ + watch_.elapsed(); }
  /// Of all epochs.
  double whole_seconds() const;
  void end_epoch(const sync::EpochTotals& totals, uint64_t bytes_sent);
  /// Of the epoch under way.
  void evaluate(nlohmann::json evaluated) { current_.evaluated = std::move(evaluated); }
  /// That are over.
  uint64_t epochs() const { return epochs_.size(); }
  PhaseTimes& phases() { return current_.phases; }
  /// The epoch under way, as a progress line: a JSON object. "step" counts all committed ones; how steps follow from
  /// commits is there too, and what a callback told when it told something. `ended`: it has its last commit. `past`: so
  /// many epochs before it are told of too, as whoever was to tell of their ends may have died. `evaluations`: as they
  /// are.
  std::string progress(const sync::EpochTotals& now, int rank, const Timetable& table, int64_t micro_batches,
                       const sync::Told& told = {}, bool ended = false, size_t past = 0,
                       nlohmann::json evaluations = {}) const;
  nlohmann::json to_json() const;

 private:
  nlohmann::json newest(size_t most) const;

  bool mean_;
  Stopwatch watch_;
  double before_ = 0;
  uint64_t bytes_before_ = 0;
  EpochRecord current_;
  std::vector<EpochRecord> epochs_;
};

}  // namespace stoker::train
