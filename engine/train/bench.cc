#include "train/bench.h"

#include <algorithm>
#include <numeric>

#include "collective/testing.h"
#include "train/trainer.h"

namespace stoker::train {
namespace {

double run(const TrainSpec& spec, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
           collective::Group& group) {
  const Bytes all(weights.begin(), weights.end());
  Trainer trainer(spec, all);
  std::vector<int> owners(group.size());
  std::iota(owners.begin(), owners.end(), 0);
  trainer.join(group, owners, true, [&](auto&) { return trainer.begin_with([&] { return all; }); });
  PhaseTimes times;
  std::vector<double> seconds;
  for (int64_t s = 0; s < steps; ++s) {
    Stopwatch watch;
    trainer.step(
        {0, static_cast<uint64_t>(s), std::vector<bool>(owners.size(), true), inputs.at(0).size(0) * group.size()},
        {[&](int64_t, int) { return inputs.at(0).size(0); }, [&](int64_t, int, int64_t) { return inputs; }}, [] {},
        times);
    seconds.push_back(watch.elapsed());
  }
  std::nth_element(seconds.begin(), seconds.begin() + steps / 2, seconds.end());
  return seconds.at(steps / 2);
}

}  // namespace

double bench_steps(const std::string& json, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
                   int ranks, bool in_place) {
  TrainSpec spec = parse_spec(json);
  spec.in_place = in_place;
  spec.shards = ranks;
  std::vector<double> seconds(ranks);
  collective::testing::run_groups({.size = ranks}, [&](collective::Group& group) {
    seconds[group.rank()] = run(spec, weights, inputs, steps, group);
  });
  return *std::ranges::max_element(seconds);
}

}  // namespace stoker::train
