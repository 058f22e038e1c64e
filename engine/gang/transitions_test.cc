#include "gang/transitions.h"

#include <gtest/gtest.h>

namespace stoker::gang {
namespace {

using std::chrono::seconds;

const TimePoint kNow{seconds(1000)};

Gang gang_of_one() {
  Gang gang;
  gang.members[0] = {.hello = {.partition = 0, .attempt = 10}, .last_heard = kNow};
  return gang;
}

}  // namespace

TEST(Fence, LostReplacedAndUnknownAttemptsSpeakForNobody) {
  Gang gang = gang_of_one();
  EXPECT_NE(member_of(gang, {.partition = 0, .attempt = 10}), nullptr);
  EXPECT_EQ(member_of(gang, {.partition = 0, .attempt = 11}), nullptr);
  EXPECT_EQ(member_of(gang, {.partition = 1, .attempt = 10}), nullptr);
  on_loss(gang, gang.members.at(0), {});
  EXPECT_EQ(member_of(gang, {.partition = 0, .attempt = 10}), nullptr);
}

TEST(Void, WordsOfAnOlderGenerationButNotOfIngestOrHeartbeat) {
  Gang gang = gang_of_one();
  EXPECT_THROW(is_void(Kind::halted, 0, gang), Error) << "before the first start";
  gang.generation = 2;
  EXPECT_TRUE(is_void(Kind::halted, 1, gang));
  EXPECT_FALSE(is_void(Kind::halted, 2, gang));
  EXPECT_FALSE(is_void(Kind::ingested, 1, gang));
  EXPECT_FALSE(is_void(Kind::pong, 0, gang));
  EXPECT_THROW(is_void(Kind::pong, 3, gang), Error) << "not begun yet";
}

TEST(Change, HeartbeatsMetricsAndWhatIsOnlyHandedOnAskForNoDecision) {
  for (const Kind kind : {Kind::pong, Kind::metrics, Kind::ingesting, Kind::checkpoint, Kind::fetch})
    EXPECT_FALSE(changes_decisions(kind)) << static_cast<int>(kind);
  for (const Kind kind : {Kind::hello, Kind::ingested, Kind::halted, Kind::paused, Kind::fingerprint, Kind::finished,
                          Kind::failed, Kind::result_chunk, Kind::state_chunk})
    EXPECT_TRUE(changes_decisions(kind)) << static_cast<int>(kind);
}

TEST(OwnAbsence, IsNobodysSilence) {
  Gang gang = gang_of_one();
  CoordinatorOptions options;
  const TimePoint back = kNow + seconds(60);
  EXPECT_EQ(silent(back, gang, options).size(), 1u);
  on_own_absence(gang, seconds(60));
  EXPECT_TRUE(silent(back, gang, options).empty());
  EXPECT_EQ(silent(back + seconds(11), gang, options).size(), 1u);
}

TEST(OwnAbsence, IsNoLateHalt) {
  Gang gang = gang_of_one();
  gang.members.at(0).working = true;
  on_halt(gang, kNow);
  on_own_absence(gang, seconds(60));
  EXPECT_TRUE(silent(kNow + seconds(60), gang, CoordinatorOptions()).empty());
}

TEST(Restart, EmptiesAllPlacesButKeepsWhatTheRowsWere) {
  Gang gang = gang_of_one();
  on_ingested(gang, gang.members.at(0), {{0, 5, {1, 2}}});
  on_restart(gang);
  EXPECT_TRUE(gang.members.empty());
  EXPECT_EQ(gang.job, 1);
  EXPECT_EQ(gang.registered.at(0).rows, 5);
}

}  // namespace stoker::gang
