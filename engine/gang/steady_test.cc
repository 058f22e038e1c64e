// A gang in which all goes well costs the coordinator little, however large it is.
#include <gtest/gtest.h>

#include "gang/transitions.h"

namespace stoker::gang {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

const TimePoint kNow{seconds(1000)};

CoordinatorOptions options_for(int workers) {
  CoordinatorOptions options;
  options.workers = options.shards = workers;
  options.rescue_after = 1;
  return options;
}

/// At work, and told that all compute alike.
Gang at_work(int n) {
  Gang gang;
  gang.first_hello = kNow;
  gang.generation = 1;
  gang.ranks = n;
  gang.running = gang.agreed = true;
  for (int p = 0; p < n; ++p) {
    gang.members[p] = {.hello = {.partition = p, .attempt = static_cast<uint64_t>(p + 1)},
                       .last_heard = kNow,
                       .shards = std::vector<ShardCount>{{p, 1, {}}},
                       .generation = 1,
                       .working = true};
  }
  return gang;
}

}  // namespace

TEST(Steady, NoDeadlineCanPassWhileAllAreAtWorkOrReadTheirRows) {
  const CoordinatorOptions options = options_for(3);
  Gang gang = at_work(3);
  EXPECT_TRUE(is_steady(gang, options));
  EXPECT_TRUE(decide(kNow + hours(100), gang, options).empty());
  gang.generation = 0;
  gang.running = false;
  gang.members.at(1).shards.reset();
  EXPECT_TRUE(is_steady(gang, options));
  EXPECT_TRUE(decide(kNow + hours(100), gang, options).empty());
}

TEST(Steady, NotWhileSomebodyIsMissingHasEndedOrIsWaitedFor) {
  const CoordinatorOptions options = options_for(2);
  const auto steady_after = [&](auto change) {
    Gang gang = at_work(2);
    change(gang);
    return is_steady(gang, options);
  };
  EXPECT_FALSE(steady_after([](Gang& gang) { gang.members.at(0).lost = Lost{.when = kNow}; }))
      << "workerTimeout, rescue";
  EXPECT_FALSE(steady_after([](Gang& gang) { gang.members.erase(1); })) << "startTimeout";
  EXPECT_FALSE(steady_after([](Gang& gang) { gang.members.at(1).finished = true; }));
  EXPECT_FALSE(steady_after([](Gang& gang) { on_halt(gang, kNow); })) << "an echo may be one no more";
  EXPECT_FALSE(steady_after([](Gang& gang) { on_pause(gang); }));
  EXPECT_FALSE(steady_after([](Gang& gang) { gang.agreed = false; }));
  EXPECT_FALSE(steady_after([](Gang& gang) { gang.restarting = true; }));
}

TEST(Steady, PingsOfManyAreFewEnoughAndSoonEnough) {
  const CoordinatorOptions options = options_for(1);  // silence counts after 10 s
  EXPECT_EQ(ping_every(at_work(1), options), 1);
  EXPECT_EQ(ping_every(at_work(400), options), 1);
  EXPECT_EQ(ping_every(at_work(800), options), 2);
  EXPECT_EQ(ping_every(at_work(4000), options), 2.5) << "four before somebody is called silent";
}

}  // namespace stoker::gang
