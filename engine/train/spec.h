#pragma once
// What a fit asks of its workers, as the driver sends it: one JSON object beside the program.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/store/column_store.h"
#include "optim/optimizer.h"
#include "optim/plateau.h"
#include "sync/arrival.h"
#include "sync/local_steps.h"
#include "sync/threshold.h"
#include "train/checkpoint_spec.h"
#include "train/history.h"
#include "train/metrics.h"
#include "train/outer_program.h"
#include "train/policy.h"

namespace stoker::train {

/// A schedule that follows a score.
struct PlateauSpec {
  std::string monitor = "val_loss";  // "monitor"
  optim::PlateauRules rules;         // the rest
};

/// What is computed of the rows that are held out, after each epoch or more often.
struct EvaluationSpec {
  std::string program;                 // "program": of kind "eval", as JSON text
  std::vector<std::string> own;        // names of the program's own metrics
  MetricsSpec metrics;                 // "metrics"; may be left out
  StopRules rules;                     // "monitor", "larger", "min_delta", "patience", "goal"; may be left out
  std::optional<PlateauSpec> plateau;  // "plateau"; may be left out
  bool restore_best = false;           // "restore_best": the model gets the weights of the best evaluation
  int64_t every = 0;                   // "every": after so many steps of an epoch too, rounds are whole; 0: only after
                                       // the last one
};

/// How shards come to a common state: see sync/strategy.h.
struct StrategySpec {
  int64_t every = 0;              // "every": local steps of a commit; 0: all-reduce, after each step
  sync::LocalOptions local;       // "inner_state": "average", "reset" or "keep"; "compress": "int8", "int4" or none
  optim::OptimizerOptions outer;  // "outer": of local steps; see optim::parse_optimizer
  std::optional<OuterSpec> own;   // instead of it, where the name of "outer" is "own"
  int64_t rank = 0;               // "rank": of PowerSGD's factors, instead of local steps; 0: there are none
  double share = 0;               // "share": of the numbers of gradients that TopK tells, likewise
  std::optional<sync::ThresholdOptions> threshold;  // "threshold": {"initial", "least", "most", "decay", "clip"},
                                                    // likewise
  std::optional<sync::PushOptions> push;  // instead of them: "window" for "every", "push": {"rule", "beta", "gamma",
                                          // "momentum"}, and "inner_state": "keep" or "reset"
  int64_t window = 0;                     // of those, local steps of a push
  std::optional<sync::ArrivalOptions> arrival;  // none: they push in turns. "order": "arrival", or a record as
                                                // sync::to_text() writes it; "bound". A commit is kRound steps, or a
                                                // bit more, so that windows are whole
  static constexpr int64_t kRound = 64;
  static constexpr int64_t kLongest = int64_t{1} << 40;  // steps: rounds end with the epoch, so more say no more
  /// Whether shards take steps alone.
  bool is_local() const { return every > 0 && !has_feedback(); }
  /// Whether they tell their gradients in fewer numbers.
  bool has_feedback() const { return rank > 0 || share > 0 || threshold; }
  bool has_outer() const { return is_local() && !push; }
  int64_t steps() const { return every > 0 ? every : 1; }
};

/// A program without the frozen parts at its beginning, which have one of their own.
struct FrozenSpec {
  std::string program;                       // "program": of kind "infer", as JSON text
  std::vector<int> inputs;                   // "inputs": the columns that it reads, by number
  std::vector<std::vector<int64_t>> shapes;  // "shapes": of a row of each value that it gives, which are float32
  std::vector<int> kept;   // "kept": those that the rest of the training program reads, before what this one gives
  bool evaluates = false;  // "evaluates": the evaluation program is such a rest too, else it reads all columns
  bool cache = false;      // "cache": what it gives is computed once for each row, where rows come again
};

/// What a fit has behind it that goes on with another's optimizer.
struct BegunSpec {
  int64_t updates = 0;  // "updates": steps that changed the weights
  int64_t epochs = 0;   // "epochs"
};

enum class OnNaN { error, proceed, skip };

struct TrainSpec {
  std::string program;                       // "program": the training program, as JSON text
  optim::OptimizerOptions optimizer;         // "optimizer": see optim::parse_optimizer
  std::vector<int> groups;                   // "groups": parameter group of each program parameter; empty: all 0
  std::vector<data::ColumnSpec> columns;     // "columns": one per program input, in the same order, but for "frozen"
  std::optional<FrozenSpec> frozen;          // "frozen"; may be left out
  int64_t batch_size = 256;                  // "batch_size": rows over all shards, of a step or of its parts
  int64_t accumulate = 1;                    // "accumulate": steps have so many times the rows, run in as many parts
  int64_t epochs = 1;                        // "epochs"
  int64_t max_steps = 0;                     // "max_steps": the fit ends after so many, rounds are whole; 0: off
  double max_seconds = 0;                    // "max_seconds": of training, after which the fit ends; 0: off
  uint64_t seed = 0;                         // "seed"
  bool shuffle = true;                       // "shuffle"
  int shards = 1;                            // "shards"
  int threads = 1;                           // "threads": intra-op threads of every worker
  double clip_norm = 0;                      // "clip_norm": 0 is off
  double clip_value = 0;                     // "clip_value": 0 is off
  bool reduce_bf16 = false;                  // "reduce_dtype": "fp32" or "bf16", what gradients are added up in and
                                             // travel in between hosts; may be left out
  bool whole_batch = false;                  // "whole_batch": batch norms go by the rows of all shards; may be left out
  StrategySpec strategy;                     // "strategy"; may be left out
  double report_every = kReportEvery;        // "report_every": seconds between words of the first rank to the driver;
                                             // 0: after each step; may be left out
  double lend_after = 10;                    // "lend_after": seconds of training before rows are lent; may be left out
  bool in_place = false;                     // of benches, never read: see sync::CommitOptions
  OnNaN on_nan = OnNaN::error;               // "on_nan": "error", "continue" or "skip"
  std::optional<EvaluationSpec> evaluation;  // "evaluation"; empty: none is made
  std::optional<CheckpointSpec> checkpoint;  // "checkpoint"; empty: none are made
  std::optional<BegunSpec> begun;            // "begun": it begins with an optimizer's state; empty: with a new one
  bool keep_optimizer = false;               // "keep_optimizer": the result has the optimizer's state; may be left out
  int64_t step_rows() const { return batch_size * accumulate; }
  /// The epoch whose random streams one has: where all of them are evaluations of one function, they draw the same.
  uint64_t draws(uint64_t epoch) const {
    return optimizer.full_batch() ? 0 : epoch + static_cast<uint64_t>(begun ? begun->epochs : 0);
  }
};

/// "evaluation" of a TrainSpec.
EvaluationSpec parse_evaluation(const nlohmann::json& in);

/// Throws Error(user) on a missing field or one of another type.
TrainSpec parse_spec(const std::string& json);

}  // namespace stoker::train
