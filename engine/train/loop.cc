#include "train/loop.h"

#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>

#include "collective/tree.h"
#include "data/plan.h"
#include "train/feed.h"
#include "train/history.h"
#include "train/trainer.h"

namespace stoker::train {

namespace {

constexpr double kReportEvery = 1;    // seconds between metrics to the driver
constexpr double kCauseWithin = 0.5;  // seconds in which the coordinator tells why a peer is gone

std::vector<int64_t> counts_of(const gang::Start& start) {
  std::vector<int64_t> counts;
  for (const auto& shard : start.shards) counts.push_back(shard.rows);
  return counts;
}

std::vector<int> owned_shards(const gang::Start& start) {
  const auto node = collective::owned_shards(start.roster.rank, static_cast<int>(start.roster.members.size()),
                                             static_cast<int>(start.shards.size()));
  std::vector<int> shards;
  for (int s = node.lo; s < node.hi; ++s) shards.push_back(s);
  return shards;
}

/// Says once a second how far this rank is.
class Reporter {
 public:
  Reporter(gang::WorkerLink& link, const History& history, int rank, int64_t steps, int64_t epochs)
      : link_(link), history_(history), rank_(rank), steps_(steps), epochs_(epochs) {}
  void after_step(int64_t step) {
    link_.progress(++committed_);
    if (watch_.elapsed() >= kReportEvery || step == steps_) report(step);
  }

 private:
  void report(int64_t step) {
    link_.metrics(history_.progress(rank_, step, steps_, epochs_));
    watch_.restart();
  }
  gang::WorkerLink& link_;
  const History& history_;
  int rank_;
  int64_t steps_, epochs_;
  int64_t committed_ = 0;
  Stopwatch watch_;
};

void run_epochs(Trainer& trainer, Feed& feed, const data::Plan& plan, const TrainSpec& spec, collective::Group& group,
                History& history, Reporter& reporter) {
  for (int64_t epoch = 0; epoch < spec.epochs; ++epoch) {
    history.begin_epoch(group.bytes_sent());
    feed.begin_epoch(epoch);
    for (int64_t step = 0; step < plan.steps(); ++step) {
      const StepSpec what{static_cast<uint64_t>(epoch), static_cast<uint64_t>(step), plan.present(step),
                          plan.rows(step)};
      const auto inputs = [&](int shard) { return feed.micro_batch(step, shard); };
      const auto next = [&] { feed.prefetch(step + 1); };
      history.add(trainer.step(what, inputs, next, history.phases()), what.rows);
      reporter.after_step(step + 1);
    }
    history.end_epoch(group.bytes_sent());
  }
}

std::string result_json(const History& history, const Trainer& trainer, const gang::Start& start,
                        const TrainSpec& spec) {
  nlohmann::json out = {{"epochs", history.to_json()},   {"digest", hex(trainer.state().digest())},
                        {"shards", start.shards.size()}, {"workers", start.roster.members.size()},
                        {"threads", spec.threads},       {"isa", start.isa}};
  for (const auto& s : start.shards) out["shard_rows"].push_back(s.rows);
  return out.dump();
}

/// A peer's end is seen by its neighbours too; the cause is the coordinator's to tell, if it comes in time.
void rethrow_cause(gang::WorkerLink& link, const Error& seen) {
  for (Stopwatch watch; watch.elapsed() < kCauseWithin && !link.aborted();)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  if (link.aborted()) throw Error(ErrorKind::aborted, link.abort_reason());
  throw seen;
}

/// What goes home, on rank 0.
struct Home {
  Bytes weights;
  std::string history;
};

/// The whole life in the gang. All that its ranks share is given back on return, by all at the same time: the last one
/// would be charged for the memory of all.
Home train_in_group(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
                    const gang::Start& start, const TrainSpec& spec) {
  std::stop_source stop;
  link.on_abort([stop](const std::string&) mutable { stop.request_stop(); });
  const auto group = collective::Group::form(start.roster, listeners, stop.get_token());
  const std::stop_callback wake(stop.get_token(), [&] { group->abort(link.abort_reason()); });

  const data::Plan plan(counts_of(start), spec.batch_size);
  Trainer trainer(
      spec, *group, [&] { return link.initial_weights(start); }, start.roster.generation);
  Feed feed(store, plan, owned_shards(start), spec.seed, spec.shuffle);
  History history(trainer.mean_loss());
  Reporter reporter(link, history, group->rank(), plan.steps(), spec.epochs);
  run_epochs(trainer, feed, plan, spec, *group, history, reporter);
  Home home;
  if (group->rank() == 0) home = {trainer.weights(), result_json(history, trainer, start, spec)};
  trainer.wait_for_all();
  return home;
}

}  // namespace

void train(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
           const gang::Start& start, const TrainSpec& spec) try {
  const Home home = train_in_group(link, listeners, store, start, spec);
  if (start.roster.rank == 0) link.result(home.weights, home.history);
} catch (const Error& seen) {
  if (seen.kind() != ErrorKind::world) throw;
  rethrow_cause(link, seen);
}

}  // namespace stoker::train
