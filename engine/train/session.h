#pragma once
// What a worker keeps from one generation to the next, and its life in one. Used by one thread.
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/timetable.h"
#include "collective/group.h"
#include "data/store/column_store.h"
#include "data/store/plan.h"
#include "data/store/row_lender.h"
#include "gang/worker_link.h"
#include "sync/constants.h"
#include "train/checkpoints.h"
#include "train/frozen.h"
#include "train/history.h"
#include "train/lending.h"
#include "train/recorded.h"
#include "train/spec.h"
#include "train/supply.h"
#include "train/trainer.h"

namespace stoker::train {

class Session {
 public:
  Session(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
          const TrainSpec& spec, std::shared_ptr<checkpoint::Storage> storage)
      : link_(link), listeners_(listeners), store_(store), spec_(spec), storage_(std::move(storage)) {}

  /// Lives through one generation. True once the model is home; false when the generation is over before that, this
  /// thread has left it, and the coordinator knows. Throws as train() does.
  bool live(const gang::Start& start);
  /// Between two generations, when the coordinator wants this host's state.
  void hand_in();

 private:
  void work(const gang::Start& start);
  void prepare(const gang::Start& start);
  data::Plan plan_of(const gang::Start& start) const;
  /// Of replicas that push as they arrive, of shards that have an owner and rows.
  Recorded recorded(const Windows& windows, const data::Plan& plan, const std::vector<int>& owners) const;
  int64_t pushes(const gang::Start& start) const;
  std::unique_ptr<Supply> supply_of(const collective::Group& group, const data::Plan& plan,
                                    const std::vector<int>& owned) const;
  bool keeps_batches(const collective::Group& group, const std::vector<int>& owned) const;
  bool comes_again(const data::Plan& plan) const;
  void prepare_rows(const gang::Start& start, const std::vector<int>& shards, const std::stop_token& stop);
  RowSource rows(bool frozen) const;
  nlohmann::json told_of_frozen() const;
  int64_t canned_rows(const gang::Start& start) const;
  void join(collective::Group& group, const gang::Start& start);
  Bytes initial(const gang::Start& start);
  bool nobody_disturbs(const gang::Roster& roster) const;
  void find_state(const gang::Start& start);
  bool wants(const gang::Kept& kept) const;
  void offer_state();
  void begin_lending(size_t workers);
  shm::Segment lent() const;
  void borrow(collective::Group& group, const gang::Start& start);
  void forget();
  void run(collective::Group& group, const gang::Start& start, const std::stop_token& stop);
  /// The step after `done` ones, of the shards that have an owner. Gives whether all pause now.
  bool run_step(const data::Plan& plan, Supply& supply, const std::vector<int>& owners, uint64_t done);
  /// As the committed state has it: what the fit was told may cut it.
  Timetable timetable(const data::Plan& plan) const;
  /// What this rank wishes for: what the driver does, or the end because the fit's time is over.
  sync::Wish wish() const;
  /// Whether the fit ends after so many commits: its epochs are over, or its rules end it.
  bool is_over(const Timetable& table, uint64_t done) const;
  /// Whether the next commit may be the last.
  bool may_end(const Timetable& table, uint64_t done) const;
  /// Over the rows that are held out.
  bool run_evaluation(const gang::Start& start, int rank, const Timetable& table, const std::stop_token& stop);
  /// The history's epoch under way has the score of the last evaluation in it.
  void recall_evaluation(const Timetable& table, uint64_t done);
  /// The newest ones: where they were made, and what they came to.
  nlohmann::json evaluations(const Timetable& table, uint64_t most) const;
  nlohmann::json untold_evaluations(const Timetable& table);
  void catch_up(const Timetable& table, uint64_t epochs);
  void end_epoch(collective::Group& group);
  /// The epoch under way, which the fit's end has cut short, for one that was not there.
  void end_cut_epoch(const Timetable& table, collective::Group& group);
  /// Of the epoch under way, which has `ended` or not, and of those before it where this is the `first` word of a
  /// generation.
  void report(const Timetable& table, const collective::Group& group, bool ended, bool first, bool now);
  int64_t updates(const gang::Start& start) const;
  std::string why_stopped(const Timetable& table) const;
  std::string history_json(const gang::Start& start) const;

  gang::WorkerLink& link_;
  collective::Listeners& listeners_;
  const data::ColumnStore& store_;
  data::Borrowed borrowed_;
  const TrainSpec& spec_;
  const std::shared_ptr<checkpoint::Storage> storage_;
  sync::Constants constants_;
  Bytes initial_;                            // what has come of them, kept over generations until it is used
  std::unique_ptr<data::RowLender> lender_;  // none before there are others on this host
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<const Frozen> frozen_;     // none where the spec has none
  std::unique_ptr<FrozenRows> frozen_rows_;  // none where they are not kept
  std::string not_kept_;                     // why they are not any more
  int64_t passes_ = 0;                       // epochs that were begun
  std::unique_ptr<History> history_;
  std::unique_ptr<Checkpoints> checkpoints_;    // none where the spec asks for none
  std::vector<collective::Member> neighbours_;  // of the last generation: those who could write into the state
  Stopwatch since_report_;
  int64_t forgotten_runs_ = 0;  // of trainers before this one
  bool told_fingerprint_ = false;
  std::optional<uint64_t> told_evaluations_;  // of the fit, to the driver
};

}  // namespace stoker::train
