#include "train/history.h"

#include <nlohmann/json.hpp>

namespace stoker::train {

namespace {

using nlohmann::json;

const char* bound(const PhaseTimes& p) {
  if (p.sync > p.compute + p.update && p.sync > p.gather) return "sync";
  return p.gather > p.compute + p.update ? "ingest" : "compute";
}

}  // namespace

double EpochRecord::loss(bool mean) const {
  const double by = mean ? totals.denominator : static_cast<double>(steps);
  return by > 0 ? totals.numerator / by : 0;
}

json EpochRecord::to_json(bool mean) const {
  json out = {
      {"epoch", epoch},
      {"loss", loss(mean)},
      {"steps", steps},
      {"rows", rows},
      {"seconds", seconds},
      {"rows_per_s", seconds > 0 ? rows / seconds : 0},
      {"phases",
       {{"gather", phases.gather}, {"compute", phases.compute}, {"sync", phases.sync}, {"update", phases.update}}},
      {"bytes_sent", bytes_sent},
      {"bound_by", bound(phases)}};
  if (totals.counted > 0) out["accuracy"] = totals.correct / totals.counted;
  return out;
}

void History::begin_epoch(uint64_t bytes_sent) {
  current_ = {};
  current_.epoch = static_cast<int64_t>(epochs_.size()) + 1;
  bytes_before_ = bytes_sent;
  watch_.restart();
}

void History::add(const sync::Scalars& s, int64_t rows) {
  auto& t = current_.totals;
  t.numerator += s.numerator;
  t.denominator += s.denominator;
  t.correct += s.correct;
  t.counted += s.counted;
  current_.rows += rows;
  ++current_.steps;
}

void History::end_epoch(uint64_t bytes_sent) {
  current_.seconds = watch_.elapsed();
  current_.bytes_sent = bytes_sent - bytes_before_;
  epochs_.push_back(current_);
}

std::string History::progress(int rank, int64_t step, int64_t steps, int64_t epochs) const {
  EpochRecord now = current_;
  now.seconds = watch_.elapsed();
  json out = now.to_json(mean_);
  out["rank"] = rank;
  out["step"] = static_cast<int64_t>(epochs_.size()) * steps + step;
  out["step_of_epoch"] = step;
  out["steps_of_epoch"] = steps;
  out["epochs"] = epochs;
  return out.dump();
}

json History::to_json() const {
  json out = json::array();
  for (const auto& e : epochs_) out.push_back(e.to_json(mean_));
  return out;
}

}  // namespace stoker::train
