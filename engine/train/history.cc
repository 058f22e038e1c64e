#include "train/history.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace stoker::train {

namespace {

using nlohmann::json;

const char* bound(const PhaseTimes& p) {
  const double work = p.compute + p.update + p.evaluate;
  if (p.sync > work && p.sync > p.gather) return "sync";
  return p.gather > work ? "ingest" : "compute";
}

constexpr double kMostReports = 8;

}  // namespace

double report_every(int rank, int ranks, double first) {
  return rank == 0 ? first : kReportEvery * std::max(1.0, ranks / kMostReports);
}

double EpochRecord::loss_weight(bool mean) const {
  return mean ? totals.sums.denominator : static_cast<double>(totals.steps - totals.kept);
}

double EpochRecord::loss(bool mean) const {
  const double by = loss_weight(mean);
  return by > 0 ? totals.sums.numerator / by : 0;
}

json EpochRecord::to_json(bool mean) const {
  json out = {
      {"epoch", epoch},
      {"loss", loss(mean)},
      {"steps", totals.steps},
      {"rows", totals.rows},
      {"seconds", totals.seconds},
      {"rows_per_s", totals.seconds > 0 ? totals.rows / totals.seconds : 0},
      {"phases",
       {{"gather", phases.gather}, {"compute", phases.compute}, {"sync", phases.sync}, {"update", phases.update}}},
      {"bytes_sent", bytes_sent},
      {"bound_by", bound(phases)}};
  if (phases.evaluate > 0) out["phases"]["evaluate"] = phases.evaluate;
  if (totals.kept > 0) out["skipped_steps"] = totals.kept;
  if (totals.sums.counted > 0) out["accuracy"] = totals.sums.correct / totals.sums.counted;
  if (evaluated.is_object()) out.update(evaluated);
  return out;
}

void History::catch_up(std::span<const sync::EpochTotals> finished, const Evaluated& evaluated) {
  for (size_t e = epochs_.size(); e < finished.size(); ++e)
    epochs_.push_back({static_cast<int64_t>(e) + 1, finished[e], {}, 0, evaluated ? evaluated(e) : json()});
}

void History::begin_epoch(const sync::EpochTotals& so_far, uint64_t bytes_sent) {
  const int64_t epoch = static_cast<int64_t>(epochs_.size()) + 1;
  if (current_.epoch != epoch) current_ = {};
  current_.epoch = epoch;
  bytes_before_ = bytes_sent;
  before_ = so_far.seconds;
  watch_.restart();
}

double History::whole_seconds() const {
  double sum = seconds();
  for (const auto& epoch : epochs_) sum += epoch.totals.seconds;
  return sum;
}

void History::end_epoch(const sync::EpochTotals& totals, uint64_t bytes_sent) {
  current_.totals = totals;
  current_.bytes_sent = bytes_sent - bytes_before_;
  epochs_.push_back(current_);
}

std::string History::progress(const sync::EpochTotals& totals, int rank, const Timetable& table, int64_t micro_batches,
                              const sync::Told& told, bool ended, size_t past, json evaluations) const {
  EpochRecord now = current_;
  now.totals = totals;
  json out = now.to_json(mean_);
  out["loss_sum"] = totals.sums.numerator;
  out["loss_weight"] = now.loss_weight(mean_);
  out["rank"] = rank;
  out["step"] = epochs_.size() * table.steps + static_cast<uint64_t>(totals.steps);
  out["step_of_epoch"] = totals.steps;
  out["steps_of_epoch"] = table.steps;
  out["steps_of_commit"] = table.every;
  out["evaluates"] = table.evaluates;
  out["commits_of_leg"] = table.between;
  out["epochs"] = table.epochs;
  out["micro_batches"] = micro_batches;
  out["ended"] = ended;
  if (told.rate > 0) out["told_rate"] = told.rate, out["told_at"] = table.steps_done(told.since);
  if (told.why == sync::Stop::asked) out["stop_at"] = table.steps_done(told.stop);
  if (past > 0) out["past"] = newest(past);
  if (!evaluations.empty()) out["evaluations"] = std::move(evaluations);
  return out.dump();
}

json History::to_json() const { return newest(epochs_.size()); }

json History::newest(size_t most) const {
  json out = json::array();
  for (size_t i = epochs_.size() - std::min(most, epochs_.size()); i < epochs_.size(); ++i)
    out.push_back(epochs_[i].to_json(mean_));
  return out;
}

}  // namespace stoker::train
