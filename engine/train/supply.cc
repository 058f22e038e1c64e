#include "train/supply.h"

#include <utility>

namespace stoker::train {

Trainer::Batches InStep::batches() {
  return {[this](int64_t step, int shard) { return plan_.rows(step, shard).size(); },
          [this](int64_t step, int shard, int64_t part) { return feed_->micro_batch(step, shard, part); }};
}

PassByPass::PassByPass(const TrainSpec& spec, const data::Plan& plan, const std::vector<int>& owned,
                       const std::function<std::unique_ptr<Feed>(int shard)>& make)
    : spec_(spec), plan_(plan), windows_(plan, spec.strategy.window) {
  for (const int shard : owned) feeds_[shard].feed = make(shard);
}

void PassByPass::interrupt() {
  for (auto& [shard, of] : feeds_) of.feed->interrupt();
}

Trainer::Batches PassByPass::batches() {
  return {[this](int64_t step, int shard) { return plan_.rows(step % plan_.steps(), shard).size(); },
          [this](int64_t step, int shard, int64_t part) { return gather(step, shard, part); },
          [this](int shard, int64_t number) { return windows_.at(shard, number); }};
}

std::vector<at::Tensor> PassByPass::gather(int64_t step, int shard, int64_t part) {
  OfShard& of = feeds_.at(shard);
  const int64_t pass = step / plan_.steps();
  if (std::exchange(of.pass, pass) != pass) of.feed->begin_epoch(spec_.draws(static_cast<uint64_t>(pass)));
  return of.feed->micro_batch(step % plan_.steps(), shard, part);
}

}  // namespace stoker::train
