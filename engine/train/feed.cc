#include "train/feed.h"

#include "base/hash.h"
#include "base/pulse.h"
#include "data/gather.h"

namespace stoker::train {
namespace {

constexpr uint64_t kDraws = 0x64726177;  // tells this stream from the epoch's order and the program's

}  // namespace

Feed::Feed(const data::ColumnStore& store, const data::Plan& plan, std::vector<int> owned, uint64_t seed, bool shuffle)
    : store_(store), plan_(plan), owned_(std::move(owned)), seed_(seed), shuffle_(shuffle) {}

void Feed::begin_epoch(uint64_t epoch) {
  gathered_.clear();
  gathered_step_ = -1;
  epoch_ = epoch;
  for (int shard : owned_) {
    const auto& content = store_.order(shard);
    auto places = data::epoch_order(static_cast<int64_t>(content.size()), seed_, epoch, shard, shuffle_);
    for (auto& place : places) place = content[place];
    rows_[shard] = std::move(places);
  }
}

void Feed::prefetch(int64_t step) {
  if (step >= plan_.steps()) return;
  gathered_.clear();
  gathered_step_ = step;
  for (int shard : owned_)
    if (plan_.rows(step, shard).size() > 0) gathered_[shard] = gather(step, shard);
}

std::vector<at::Tensor> Feed::micro_batch(int64_t step, int shard) {
  return gathered_step_ == step ? gathered_.at(shard) : gather(step, shard);
}

std::vector<at::Tensor> Feed::gather(int64_t step, int shard) const {
  const auto range = plan_.rows(step, shard);
  const uint32_t* rows = rows_.at(shard).data() + range.begin;
  // A row's draws hang on its place in the epoch's order, so equal rows draw apart.
  const uint64_t numbers[] = {seed_, epoch_, static_cast<uint64_t>(shard), kDraws};
  const data::Draws draws{mix_key(numbers), static_cast<uint64_t>(range.begin)};
  std::vector<at::Tensor> batch;
  for (int c = 0; c < static_cast<int>(store_.columns().size()); ++c)
    batch.push_back(data::gather_batch(store_, c, rows, range.size(), {}, &draws));
  pulse::beat();
  return batch;
}

}  // namespace stoker::train
