#include "train/whole_batch.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "collective/tree.h"
#include "program/batch_norm.h"

namespace stoker::train {

namespace {

/// How many shards stand at this place, times it; or at none.
double standing(const std::vector<bool>& present, int place) {
  return static_cast<double>(std::ranges::count(present, true)) * place;
}

}  // namespace

WholeBatch::WholeBatch(const program::Program& program, const optim::Arena& weights, ByteView constants, int threads)
    : program_(program),
      weights_(weights),
      constants_(constants),
      buffer_floats_(program::buffer_arena(program).floats()),
      width_(1 + program::batch_norm_sums(program::batch_norm_channels(program))),
      together_(threads) {}

void WholeBatch::join(collective::Group& group, const std::vector<int>& owners) {
  totals_ = std::make_unique<collective::ShardTotals>(group, width_, owners);
  while (parts_.size() < collective::shards_of(owners, group.rank()).size()) add_part();
}

void WholeBatch::add_part() {
  auto part = std::make_unique<Part>();
  const auto stop = [this, here = part.get()](int place, std::span<double> sums) {
    here->place = place;
    here->sums = sums;
    together_.point();
  };
  part->step =
      program::make_whole_batch_executor(program_, weights_, program::SafeTensors(constants_, "the constants"), stop);
  part->out.make_room(weights_.floats() + buffer_floats_);
  parts_.push_back(std::move(part));
}

void WholeBatch::bind(int set, const sync::WeightSet& weights) {
  for (const auto& part : parts_) part->step->bind(set, weights.weights, weights.buffers, weights.counts);
}

/// All shards stand at a batch norm.
void WholeBatch::meet(const Step& step) {
  for (size_t i = 0; i < step.shards.size(); ++i) {
    const auto numbers = totals_->of(step.shards[i]);
    numbers[0] = parts_[i]->place;
    std::ranges::copy(parts_[i]->sums, numbers.begin() + 1);
  }
  fault::point("statistics", step.commit);
  const Part& first = *parts_.front();
  const auto found = totals_->add_up(step.present, 1 + static_cast<int>(first.sums.size()));
  if (found[0] != standing(step.present, first.place)) fail_bug("shards of one step stand at different batch norms");
  for (size_t i = 0; i < step.shards.size(); ++i) std::copy(found.begin() + 1, found.end(), parts_[i]->sums.begin());
}

/// All have come to the end. Who has no shard learns here how often the others meet.
void WholeBatch::end(const Step& step) {
  for (const int shard : step.shards) totals_->of(shard)[0] = 0;
  while (totals_->add_up(step.present, 1)[0] != 0)
    if (!step.shards.empty()) fail_bug("shards of one step have batch norms unequally often");
}

std::vector<WholeBatch::Result> WholeBatch::run(const Step& step, double& waited) {
  if (std::ranges::none_of(step.present, std::identity())) return {};
  std::vector<Result> results(step.shards.size());
  std::vector<Lockstep::Body> bodies;
  for (size_t i = 0; i < step.shards.size(); ++i)
    bodies.emplace_back([&, i] {
      float* out = parts_[i]->out.data();
      float* buffers = out + weights_.floats();
      const auto& [inputs, key] = step.batches[i];
      results[i] = {parts_[i]->step->run(step.set, inputs, out, buffers, key), out, buffers};
    });
  const auto timed = [&](const auto& work) {
    const Stopwatch watch;
    work();
    waited += watch.elapsed();
  };
  together_.run(bodies, [&] { timed([&] { meet(step); }); });
  timed([&] { end(step); });
  return results;
}

}  // namespace stoker::train
