#include "train/feed.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/pieces.h"
#include "base/pulse.h"
#include "data/store/gather.h"
#include "program/plan.h"
#include "train/frozen.h"

namespace stoker::train {
namespace {

constexpr uint64_t kDraws = 0x64726177;  // tells this stream from the epoch's order and the program's

}  // namespace

std::span<const uint32_t> RowSource::order(int shard) const {
  if (ready) return ready->order(shard);
  return own.has(shard) ? own.order(shard) : borrowed.order(shard);
}

data::RowsAt RowSource::at(int shard, std::span<const uint32_t> rows) const {
  const auto count = static_cast<int64_t>(rows.size());
  if (ready) return ready->at(rows.data(), count);
  return own.has(shard) ? own.at(rows.data(), count) : data::RowsAt{borrowed.of(shard)->rows(), rows.data(), count};
}

Feed::Feed(const RowSource& from, const data::Plan& plan, std::vector<int> owned, uint64_t seed, bool shuffle,
           bool augments, int64_t accumulate, bool keeps)
    : from_(from),
      plan_(plan),
      owned_(std::move(owned)),
      seed_(seed),
      shuffle_(shuffle),
      augments_(augments),
      accumulate_(accumulate),
      keeps_(keeps) {
  if (!from_.store().on_disk()) return;
  ahead_ = std::make_unique<data::ReadAhead>(
      from_.store(), plan.steps(), static_cast<int>(owned_.size()),
      [this](int64_t step, int slot) { return rows(owned_[slot], plan_.rows(step, owned_[slot])); });
}

void Feed::begin_epoch(uint64_t epoch) {
  if (ahead_) ahead_->stop();
  gathered_.clear();
  gathered_step_ = -1;
  if (epoch == std::exchange(epoch_, epoch) && rows_.size() == owned_.size()) return;
  rows_.clear();
  kept_.clear();
  for (int shard : owned_) {
    const auto content = from_.order(shard);
    auto places = data::epoch_order(static_cast<int64_t>(content.size()), seed_, epoch, shard, shuffle_);
    in_pieces(places.size(), kPieceRows, [&](size_t begin, size_t rows) {
      if (interrupted_) throw Error(ErrorKind::aborted, "interrupted");
      for (size_t i = begin; i < begin + rows; ++i) places[i] = content[places[i]];
    });
    rows_[shard] = std::move(places);
  }
}

void Feed::interrupt() {
  interrupted_ = true;
  if (ahead_) ahead_->interrupt();
}

void Feed::prefetch(int64_t step) {
  if (step >= plan_.steps() || keeps_) return;
  gathered_.clear();
  gathered_step_ = step;
  for (int shard : owned_)
    if (plan_.rows(step, shard).size() > 0) gathered_[shard] = gather(step, shard, 0);
}

std::vector<at::Tensor> Feed::micro_batch(int64_t step, int shard, int64_t part) {
  if (keeps_) {
    if (interrupted_) throw Error(ErrorKind::aborted, "interrupted");
    auto& kept = kept_[{step, shard, part}];
    return kept.empty() ? kept = gather(step, shard, part) : kept;
  }
  return gathered_step_ == step && part == 0 ? gathered_.at(shard) : gather(step, shard, part);
}

data::Rows Feed::part_of(int64_t step, int shard, int64_t part) const {
  const auto all = plan_.rows(step, shard);
  return data::part_of(all, data::parts_of(all.size(), accumulate_), part);
}

std::span<const uint32_t> Feed::rows(int shard, data::Rows places) const {
  return std::span(rows_.at(shard)).subspan(places.begin, places.size());
}

/// Whole steps are read ahead, as a shard runs all its parts of a step before the next shard runs its own.
data::RowsAt Feed::stored(int64_t step, int shard, data::Rows places) {
  if (!ahead_) return from_.at(shard, rows(shard, places));
  const auto slot = std::lower_bound(owned_.begin(), owned_.end(), shard) - owned_.begin();
  const std::byte* first = ahead_->at(step, static_cast<int>(slot)).base;
  return {first + (places.begin - plan_.rows(step, shard).begin) * from_.store().stride(), nullptr, places.size()};
}

/// A row's draws hang on its place in the epoch's order, so equal rows draw apart.
std::vector<at::Tensor> Feed::gather(int64_t step, int shard, int64_t part) try {
  if (interrupted_) throw Error(ErrorKind::aborted, "interrupted");
  const data::Rows places = part_of(step, shard, part);
  const uint64_t numbers[] = {seed_, epoch_, static_cast<uint64_t>(shard), kDraws};
  const data::Draws draws{mix_key(numbers), static_cast<uint64_t>(places.begin)};
  const auto from = stored(step, shard, places);
  std::vector<at::Tensor> batch;
  for (int c = 0; c < static_cast<int>(from_.store().columns().size()); ++c)
    batch.push_back(data::gather_batch(from_.store(), c, from, augments_ ? &draws : nullptr));
  pulse::beat();
  return from_.frozen && !from_.ready ? from_.frozen->rest(batch) : batch;
} catch (...) {
  program::rethrow_as_error("gathering a micro-batch");
}

}  // namespace stoker::train
