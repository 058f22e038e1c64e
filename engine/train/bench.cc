#include "train/bench.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <thread>

#include "collective/group.h"
#include "train/trainer.h"

namespace stoker::train {
namespace {

/// All ranks of one host.
class World {
 public:
  explicit World(int ranks) {
    roster_.secret = {std::byte{1}};  // between threads of one process
    for (int r = 0; r < ranks; ++r) {
      listeners_.push_back(std::make_unique<collective::Listeners>("127.0.0.1"));
      roster_.members.push_back({r, "127.0.0.1", listeners_[r]->port(), listeners_[r]->unix_name(), r, 0, 0});
    }
  }
  std::unique_ptr<collective::Group> form(int rank) {
    collective::Roster roster = roster_;
    roster.rank = rank;
    return collective::Group::form(roster, *listeners_[rank]);
  }

 private:
  std::vector<std::unique_ptr<collective::Listeners>> listeners_;
  collective::Roster roster_;
};

double run(const TrainSpec& spec, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
           collective::Group& group) {
  Trainer trainer(spec, Bytes(weights.begin(), weights.end()));
  std::vector<int> owners(group.size());
  std::iota(owners.begin(), owners.end(), 0);
  trainer.join(group, owners, true);
  PhaseTimes times;
  std::vector<double> seconds;
  for (int64_t s = 0; s < steps; ++s) {
    Stopwatch watch;
    trainer.step(
        {0, static_cast<uint64_t>(s), std::vector<bool>(owners.size(), true), inputs.at(0).size(0) * group.size()},
        [&](int) { return inputs; }, [] {}, times);
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
  World world(ranks);
  std::vector<double> seconds(ranks);
  std::vector<std::exception_ptr> thrown(ranks);
  std::vector<std::jthread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      try {
        seconds[r] = run(spec, weights, inputs, steps, *world.form(r));
      } catch (...) {
        thrown[r] = std::current_exception();
      }
    });
  threads.clear();
  for (const auto& error : thrown)
    if (error) std::rethrow_exception(error);
  return *std::ranges::max_element(seconds);
}

}  // namespace stoker::train
