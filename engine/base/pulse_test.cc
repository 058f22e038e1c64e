#include "base/pulse.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

namespace stoker::pulse {
namespace {

using std::chrono::milliseconds;

constexpr Duration kGap = milliseconds(500);

/// A watch that has looked once, and looks on every 100 ms.
struct Watched {
  Pulse pulse;
  Watch watch;
  TimePoint now{std::chrono::seconds(1000)};
  Watched() { look(); }
  Duration look(Duration passed = milliseconds(100)) { return watch.look(now += passed, pulse.read(), kGap).idle; }
  /// Looks so many times; how long it has waited then.
  Duration waiting(int times) {
    for (int i = 1; i < times; ++i) look();
    return watch.look(now += milliseconds(100), pulse.read(), kGap).waiting;
  }
  Duration look_for(int times) {
    for (int i = 1; i < times; ++i) look();
    return look();
  }
};

TEST(Pulse, ThreadThatDoesNothingIsIdleForAsLongAsThat) {
  Watched w;
  const Work work(w.pulse);
  EXPECT_EQ(w.look(), Duration(0)) << "it has just begun";
  EXPECT_EQ(w.look_for(30), milliseconds(3000));
}

TEST(Pulse, EveryBeatBeginsAnew) {
  Watched w;
  const Work work(w.pulse);
  w.look_for(30);
  beat();
  EXPECT_EQ(w.look(), Duration(0));
  EXPECT_EQ(w.look_for(2), milliseconds(200));
}

TEST(Pulse, OneWhoRestsIsNotIdleAndBeginsAnewAfterwards) {
  Watched w;
  const Work work(w.pulse);
  w.look_for(30);
  {
    const Rest rest;
    EXPECT_EQ(w.look_for(30), Duration(0));
    const Rest inner;
  }
  EXPECT_EQ(w.look(), Duration(0));
  EXPECT_EQ(w.look_for(2), milliseconds(200));
}

TEST(Pulse, EndOfAnInnerRestIsNotTheEndOfTheOuter) {
  Watched w;
  const Work work(w.pulse);
  const Rest outer;
  { const Rest inner; }
  EXPECT_FALSE(w.pulse.read().at_work);
}

TEST(Pulse, NobodyIsIdleBeforeWorkAndAfterIt) {
  Watched w;
  EXPECT_EQ(w.look_for(30), Duration(0));
  { const Work work(w.pulse); }
  EXPECT_EQ(w.look_for(30), Duration(0));
}

TEST(Pulse, TimeInWhichTheWholeProcessStoodStillDoesNotCount) {
  Watched w;
  const Work work(w.pulse);
  w.look();
  EXPECT_EQ(w.look_for(5), milliseconds(500));
  EXPECT_EQ(w.look(std::chrono::seconds(60)), milliseconds(500));
  EXPECT_EQ(w.look(), milliseconds(600));
}

TEST(Pulse, OneWhoWaitsForPeersLivesAndWaitsAsLongAsNothingMoves) {
  Watched w;
  const Work work(w.pulse);
  EXPECT_EQ(w.waiting(10), Duration(0)) << "it works";
  const Wait wait("rank 1");
  for (int i = 0; i < 11; ++i) beat(), w.look();
  beat();
  EXPECT_EQ(w.look(), Duration(0)) << "it looks again and again";
  EXPECT_EQ(w.waiting(1), milliseconds(1200));
  EXPECT_EQ(w.look(), milliseconds(200)) << "a thread that waits and does not look hangs";
  EXPECT_EQ(w.pulse.awaits(), "rank 1");
  moved();
  EXPECT_EQ(w.waiting(1), Duration(0));
  EXPECT_EQ(w.waiting(3), milliseconds(300));
}

TEST(Pulse, EveryWaitAndRestBeginsAnew) {
  Watched w;
  const Work work(w.pulse);
  for (const bool for_peers : {true, false}) {
    std::optional<Wait> wait;
    std::optional<Rest> rest;
    for_peers ? void(wait.emplace()) : void(rest.emplace());
    EXPECT_EQ(w.waiting(4), milliseconds(300)) << "the first look sees it begin";
    for_peers ? void(wait.emplace()) : void(rest.emplace());
  }
  EXPECT_EQ(w.waiting(1), Duration(0));
  EXPECT_EQ(w.pulse.awaits(), "");
}

TEST(Pulse, WordsComeWhereAWaitLastsAndGoWithIt) {
  Watched w;
  const Work work(w.pulse);
  {
    Wait wait;
    wait.says([] { return "too early"; });
    EXPECT_EQ(w.pulse.awaits(), "");
    std::this_thread::sleep_for(milliseconds(60));
    wait.says([] { return "rank 2"; });
    EXPECT_EQ(w.pulse.awaits(), "rank 2");
  }
  EXPECT_EQ(w.pulse.awaits(), "");
}

TEST(Pulse, ThreadsThatDoNotWorkMayBeatAndRest) {
  Watched w;
  const Work work(w.pulse);
  w.look();
  std::thread([] {
    beat();
    const Rest rest;
  }).join();
  EXPECT_EQ(w.look(), milliseconds(100)) << "it is not this thread's pulse";
  EXPECT_TRUE(w.pulse.read().at_work);
}

}  // namespace
}  // namespace stoker::pulse
