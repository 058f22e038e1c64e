#include "train/bench.h"

#include <algorithm>

#include "collective/group.h"
#include "train/trainer.h"

namespace stoker::train {

double bench_steps(const std::string& json, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
                   bool in_place) {
  TrainSpec spec = parse_spec(json);
  spec.in_place = in_place;
  collective::Listeners listeners("127.0.0.1");
  collective::Roster roster;
  roster.members.resize(1);
  const auto group = collective::Group::form(roster, listeners);
  Trainer trainer(spec, Bytes(weights.begin(), weights.end()));
  trainer.join(*group, {0}, true);
  PhaseTimes times;
  std::vector<double> seconds;
  for (int64_t s = 0; s < steps; ++s) {
    Stopwatch watch;
    trainer.step(
        {0, static_cast<uint64_t>(s), {true}, inputs.at(0).size(0)}, [&](int) { return inputs; }, [] {}, times);
    seconds.push_back(watch.elapsed());
  }
  std::nth_element(seconds.begin(), seconds.begin() + steps / 2, seconds.end());
  return seconds.at(steps / 2);
}

}  // namespace stoker::train
