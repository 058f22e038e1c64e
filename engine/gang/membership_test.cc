#include "gang/membership.h"

#include <gtest/gtest.h>

#include "gang/transitions.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;
using std::chrono::milliseconds;
using std::chrono::seconds;

const TimePoint kNow{seconds(1000)};

Hello hello(int partition, uint64_t attempt = 0) {
  return {.partition = partition,
          .attempt = attempt,
          .host = "h",
          .pid = 100 + partition,
          .torch_version = "2.13.0",
          .isa = 2};
}

CoordinatorOptions options(int workers) {
  CoordinatorOptions options;
  options.workers = options.shards = workers;
  options.torch_version = "2.13.0";
  return options;
}

/// A gang of `n` members that have told `rows` rows each.
Gang gang_of(int n, int64_t rows = 5) {
  Gang gang;
  gang.first_hello = kNow;
  for (int p = 0; p < n; ++p) {
    gang.members[p] = {.hello = hello(p, 10 + p), .last_heard = kNow, .shards = std::vector<ShardCount>{{p, rows, {}}}};
  }
  return gang;
}

Member newcomer(int partition, uint64_t attempt) {
  return {
      .hello = hello(partition, attempt), .last_heard = kNow, .shards = std::vector<ShardCount>{{partition, 5, {}}}};
}

/// In its first generation, all at work.
Gang running(int n) {
  Gang gang = gang_of(n);
  gang.generation = 1;
  gang.isa = 2;
  gang.ranks = n;
  gang.running = true;
  for (auto& [partition, member] : gang.members) {
    member.working = true;
    member.generation = 1;
  }
  return gang;
}

/// In its first generation, which has been halted for good; all have left it with this commit.
Gang halted(int n, uint64_t commit) {
  Gang gang = running(n);
  gang.running = false;
  gang.halted_at = kNow - seconds(1);
  for (auto& [partition, member] : gang.members) {
    member.working = false;
    member.commit = commit;
  }
  return gang;
}

void lose(Gang& gang, int partition, Loss how, ErrorKind kind, const std::string& cause, TimePoint when = kNow) {
  gang.members.at(partition).lost = Lost{how, kind, cause, when};
}

/// The failure that `decide` ends the fit with, as "kind: text"; "" if it does not end.
std::string failure(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  for (const Decision& decision : decide(now, gang, options)) {
    if (decision.action != Action::end) continue;
    return decision.failure ? cat(name(decision.failure->kind()), ": ", decision.failure->what()) : "none";
  }
  return "";
}

std::vector<Action> actions(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  std::vector<Action> actions;
  for (const Decision& decision : decide(now, gang, options)) actions.push_back(decision.action);
  return actions;
}

}  // namespace

TEST(Admit, FreePlaceIsTaken) { EXPECT_EQ(admit(hello(0), {}, options(1)).verdict, Verdict::go); }

TEST(Admit, ResubmittedAttemptOfALivingMemberIsASpareWhileItsSlotIsNotNeeded) {
  Gang gang = gang_of(2);
  const Entry entry = admit(hello(0, 99), gang, options(2));
  EXPECT_TRUE(entry.park);
  EXPECT_EQ(entry.reason, "worker 0 (host h, pid 100) lives in attempt 10");
  EXPECT_FALSE(admit(hello(0, 99), gang, options(3)).park) << "one has not come yet";
  lose(gang, 1, Loss::vanished, ErrorKind::world, "");
  EXPECT_FALSE(admit(hello(0, 99), gang, options(2)).park) << "one is missing";
  EXPECT_EQ(admit(hello(0, 99), gang, options(2)).verdict, Verdict::duplicate);
  EXPECT_EQ(admit(hello(1, 99), gang, options(2)).verdict, Verdict::go) << "its own place is free";
  gang = gang_of(2);
  gang.spares = false;
  EXPECT_FALSE(admit(hello(0, 99), gang, options(2)).park) << "others want the slot";
}

TEST(Admit, SpeculativeAttemptOfALivingMemberIsParked) {
  Hello speculative = hello(0, 99);
  speculative.attempt_number = 1;
  EXPECT_TRUE(admit(speculative, gang_of(2), options(2)).park);
  speculative.attempt = 3;  // older than the member: a stray, not a speculation
  EXPECT_EQ(admit(speculative, gang_of(2), options(2)).verdict, Verdict::duplicate);
}

TEST(Admit, NobodyIsNeededAfterTheEnd) {
  Gang gang = gang_of(2);
  gang.members.at(0).finished = true;
  EXPECT_EQ(admit(hello(0, 99), gang, options(2)).verdict, Verdict::finished);
  gang.end = End{};
  EXPECT_EQ(admit(hello(1, 99), gang, options(2)).verdict, Verdict::finished);
  EXPECT_EQ(admit(hello(7), gang, options(2)).verdict, Verdict::finished);
}

TEST(Admit, NewerAttemptTakesALostMembersPlaceAndAnOlderNever) {
  Gang gang = halted(2, 4);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "");
  EXPECT_EQ(admit(hello(1, 12), gang, options(2)).verdict, Verdict::go);
  for (const uint64_t old : {10, 11}) {
    const Entry entry = admit(hello(1, old), gang, options(2));
    EXPECT_EQ(entry.verdict, Verdict::duplicate);
    EXPECT_EQ(entry.reason, cat("attempt ", old, " is not the newest"));
  }
}

TEST(Admit, AttemptsOfAnEndedJobGoHome) {
  Gang gang;
  gang.job = 2;
  Hello late = hello(0, 19);
  late.job = 1;
  EXPECT_EQ(admit(late, gang, options(1)).verdict, Verdict::finished);
  late.job = 2;
  EXPECT_EQ(admit(late, gang, options(1)).verdict, Verdict::go);
}

TEST(Admit, LevelOfTheFirstGenerationStaysForGood) {
  Gang gang = halted(2, 4);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "");
  Hello weak = hello(1, 99);
  weak.isa = 1;
  const Entry entry = admit(weak, gang, options(2));
  EXPECT_EQ(entry.verdict, Verdict::refused);
  EXPECT_EQ(entry.error->kind(), ErrorKind::world) << "another host may do";
  EXPECT_EQ(entry.reason,
            "worker 1 (host h, pid 101) can run at no more than instruction-set level avx2, but this fit began at "
            "avx512");
  gang.isa = 1;
  weak.isa = weak.loaded_isa = 2;
  EXPECT_EQ(admit(weak, gang, options(2)).reason,
            "worker 1 (host h, pid 101) has libtorch loaded at instruction-set level avx512, but this fit began at "
            "avx2");
}

TEST(Admit, PartitionOutOfRangeIsRefused) {
  for (const int partition : {-1, 2}) {
    const Entry entry = admit(hello(partition), {}, options(2));
    EXPECT_EQ(entry.verdict, Verdict::refused);
    EXPECT_NE(entry.reason.find("came, but the fit has 2 workers"), std::string::npos);
  }
}

TEST(Admit, AnotherTorchIsRefusedByName) {
  Hello other = hello(1);
  other.torch_version = "2.12.1";
  const Entry entry = admit(other, {}, options(2));
  EXPECT_EQ(entry.verdict, Verdict::refused);
  EXPECT_EQ(entry.reason,
            "worker 1 (host h, pid 101) has torch 2.12.1, but the driver has torch 2.13.0: install the same version on "
            "all executors");
  EXPECT_EQ(entry.error->kind(), ErrorKind::user);
}

TEST(Admit, LoadedLevelAboveTheGangsIsRefusedByName) {
  Gang gang = gang_of(1);
  gang.members.at(0).hello.loaded_isa = 2;
  Hello weak = hello(1);
  weak.isa = 1;
  const Entry entry = admit(weak, gang, options(2));
  EXPECT_EQ(entry.verdict, Verdict::refused);
  EXPECT_EQ(entry.reason,
            "worker 0 (host h, pid 100) has libtorch loaded at instruction-set level avx512 already, but all workers "
            "must run at avx2 because of worker 1 (host h, pid 101): start a new Spark session, or set "
            "spark.python.worker.reuse to false");
  gang.members.at(0).hello.loaded_isa = 1;
  EXPECT_EQ(admit(weak, gang, options(2)).verdict, Verdict::go);
  EXPECT_EQ(admit(hello(1), gang, options(2)).verdict, Verdict::go);
}

TEST(Form, AllRowsInFormTheGangAtTheLowestLevel) {
  Gang gang = gang_of(3);
  gang.members.at(1).hello.isa = 1;
  const auto decisions = decide(kNow, gang, options(3));
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_EQ(decisions[0].action, Action::form);
  const Start& start = *decisions[0].start;
  EXPECT_EQ(start.isa, 1);
  EXPECT_EQ(start.roster.generation, 1u);
  ASSERT_EQ(start.roster.members.size(), 3u);
  EXPECT_EQ(std::tuple(start.roster.members[2].rank, start.roster.members[2].attempt), std::tuple(2, 12u));
}

TEST(Form, WaitsForTheLastWorkersRows) {
  Gang gang = gang_of(2);
  gang.members.at(1).shards.reset();
  EXPECT_TRUE(decide(kNow, gang, options(2)).empty());
  EXPECT_TRUE(decide(kNow, gang_of(1), options(2)).empty());
}

TEST(Form, ShardsComeAscendingWhoeverToldThem) {
  Gang gang = gang_of(2);
  gang.members.at(0).shards = {{3, 1, {}}, {1, 2, {}}};
  gang.members.at(1).shards = {{0, 3, {}}, {2, 0, {}}};
  CoordinatorOptions four = options(2);
  four.shards = 4;
  const auto decisions = decide(kNow, gang, four);
  std::vector<int64_t> rows;
  for (const ShardCount& shard : decisions.at(0).start->shards) rows.push_back(shard.rows);
  EXPECT_EQ(rows, (std::vector<int64_t>{3, 2, 0, 1}));
}

TEST(Form, NoRowsAtAllIsTheUsersError) {
  EXPECT_EQ(failure(kNow, gang_of(2, 0), options(2)), "user: the DataFrame has no rows");
}

TEST(Form, ShardToldTwiceMissingOrUnknownIsABug) {
  Gang gang = gang_of(2);
  gang.members.at(1).shards = {{0, 5, {}}};
  EXPECT_EQ(failure(kNow, gang, options(2)),
            "bug: worker 1 (host h, pid 101) told of shard 0 of 2, which is not its own");
  gang.members.at(1).shards->clear();
  EXPECT_EQ(failure(kNow, gang, options(2)), "bug: no worker told of the rows of shard 1");
  gang.members.at(1).shards = {{2, 5, {}}};
  EXPECT_EQ(failure(kNow, gang, options(2)),
            "bug: worker 1 (host h, pid 101) told of shard 2 of 2, which is not its own");
}

TEST(StartTimeout, SaysHowManySlotsThereWereAndHowManyWereNeeded) {
  CoordinatorOptions four = options(4);
  four.slots = 2;
  EXPECT_EQ(failure(kNow + seconds(59), gang_of(2), four), "");
  EXPECT_EQ(
      failure(kNow + seconds(60), gang_of(2), four),
      "user: 2 of 4 workers started within 60 s; the session has 2 slots and the fit needs 4 free ones at the same "
      "time: lower numWorkers or raise startTimeout");
  four.slots = 0;
  EXPECT_EQ(failure(kNow + seconds(60), gang_of(2), four),
            "world: 2 of 4 workers started within 60 s; slots were missing and the fit needs 4 free ones at the same "
            "time: lower numWorkers or raise startTimeout");
}

TEST(StartTimeout, CountsFromTheFirstTaskAndNotWithoutALimit) {
  EXPECT_EQ(failure(kNow + seconds(1000), {}, options(4)), "");
  CoordinatorOptions patient = options(4);
  patient.start_timeout = 0;
  EXPECT_EQ(failure(kNow + seconds(1000), gang_of(2), patient), "");
  Gang slow_ingest = gang_of(4);
  slow_ingest.members.at(1).shards.reset();
  EXPECT_EQ(failure(kNow + seconds(1000), slow_ingest, options(4)), "");
}

TEST(Loss, HaltsTheGenerationAndSaysWhy) {
  Gang gang = running(2);
  gang.members.at(1).step = 17;
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  const auto decisions = decide(kNow, gang, options(2));
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_EQ(decisions[0].action, Action::halt);
  EXPECT_EQ(decisions[0].reason, "worker 1 (host h, pid 101) was lost at step 17: the connection closed");
}

TEST(Loss, WorldsFailureAndObedienceAreNoReasonToEnd) {
  for (const ErrorKind kind : {ErrorKind::world, ErrorKind::aborted}) {
    Gang gang = running(2);
    gang.members.at(0).lost = lost_to({kind, "the disk is full"}, kNow);
    EXPECT_EQ(actions(kNow, gang, options(2)), std::vector{Action::halt});
  }
}

TEST(Loss, UsersErrorKeepsItsTextInFront) {
  Gang gang = running(2);
  gang.members.at(0).lost = lost_to({ErrorKind::user, "label 12 is out of range"}, kNow);
  EXPECT_EQ(actions(kNow, gang, options(2)), (std::vector{Action::abort, Action::end}));
  EXPECT_EQ(failure(kNow, gang, options(2)), "user: label 12 is out of range [worker 0 (host h, pid 100)]");
}

TEST(Loss, BugEndsTheFitWhateverElseWasLostBefore) {
  Gang gang = running(3);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed", kNow - seconds(1));
  lose(gang, 0, Loss::failed, ErrorKind::bug, "a broken rule");
  EXPECT_EQ(failure(kNow, gang, options(3)),
            "bug: worker 0 (host h, pid 100) failed before the first step: a broken rule");
}

TEST(Loss, BeforeTheFirstGenerationWaitsForTheNextAttempt) {
  Gang gang = gang_of(2);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_TRUE(decide(kNow, gang, options(2)).empty());
  gang.members[1] = newcomer(1, 99);
  EXPECT_EQ(actions(kNow, gang, options(2)), std::vector{Action::form});
}

TEST(Stumbles, OfThreeGenerationsEndTheFitButNotOneThatCameFurther) {
  Gang gang = halted(2, 0);
  gang.members.at(1).stumble = "rank 0 did not come";
  gang.stumbles = 1;
  EXPECT_EQ(failure(kNow, gang, options(2)), "");
  gang.stumbles = 2;
  EXPECT_EQ(failure(kNow, gang, options(2)),
            "world: the workers cannot work together, in 3 attempts; the last failed with: worker 1 (host h, pid 101): "
            "rank 0 did not come");
  gang.members.at(0).commit = 1;
  EXPECT_EQ(failure(kNow, gang, options(2)), "") << "it came further";
  gang.members.at(0).commit = 0;
  gang.losses = 1;
  EXPECT_EQ(failure(kNow, gang, options(2)), "") << "somebody died, which is no stumble";
}

TEST(WorkerTimeout, SaysWhoWasLostAndNotReplaced) {
  Gang gang = halted(2, 4);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  CoordinatorOptions two = options(2);
  two.worker_timeout = 30;
  EXPECT_EQ(failure(kNow + seconds(29), gang, two), "");
  EXPECT_EQ(failure(kNow + seconds(30), gang, two),
            "world: worker 1 (host h, pid 101) was lost before the first step: the connection closed; no other attempt "
            "took its place within 30 s (workerTimeout)");
  two.worker_timeout = 0;
  EXPECT_EQ(failure(kNow + seconds(9999), gang, two), "");
  two.worker_timeout = 30;
  gang.members[1] = newcomer(1, 99);
  EXPECT_EQ(failure(kNow + seconds(30), gang, two), "");
}

TEST(Again, NextGenerationWaitsForEveryPlaceRowsAndHalt) {
  Gang gang = halted(3, 4);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "a place is empty";
  gang.members[1] = newcomer(1, 99);
  gang.members.at(1).shards.reset();
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "its rows are not in";
  gang.members[1] = newcomer(1, 99);
  gang.members.at(2).working = true;
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "a survivor has not halted";
  gang.members.at(2).working = false;
  EXPECT_EQ(actions(kNow, gang, options(3)), std::vector{Action::form});
}

TEST(Again, BeginsWithTheNewestCommitAndTheNewMember) {
  Gang gang = halted(3, 4);
  gang.members.at(2).commit = 5;
  gang.losses = 1;
  gang.members[1] = newcomer(1, 99);
  const auto decisions = decide(kNow, gang, options(3));
  ASSERT_EQ(decisions.size(), 1u);
  const Start& start = *decisions[0].start;
  EXPECT_EQ(std::tuple(start.commit, start.roster.generation, start.isa), std::tuple(5u, 2u, 2));
  EXPECT_EQ(start.roster.members[1].attempt, 99u);
}

/// A halted gang whose member 1 was lost, and of which each has borrowed the rows of these shards.
Gang bereft(const std::map<int, std::set<int>>& borrowed) {
  Gang gang = halted(3, 7);
  for (const int p : {0, 1, 2}) {
    gang.shards_of[p] = {p};
    gang.registered[p] = {p, 5, {}};
  }
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  gang.losses = 1;
  for (const auto& [partition, shards] : borrowed) gang.members.at(partition).borrowed = shards;
  return gang;
}

TEST(Borrowed, TheGangGoesOnAtOnceWhereOthersHaveTheRows) {
  const auto decisions = decide(kNow, bereft({{0, {2}}, {2, {0, 1}}}), options(3));
  ASSERT_EQ(decisions.size(), 1);
  ASSERT_EQ(decisions[0].action, Action::form);
  EXPECT_EQ(decisions[0].reason, "others have the rows of those who are missing");
  const Start& start = *decisions[0].start;
  EXPECT_EQ(start.roster.members.size(), 2);
  EXPECT_EQ(start.owners, (std::vector<int>{0, 1, 1}));
  EXPECT_EQ(start.shards[1].rows, 5);
}

TEST(Borrowed, WhatOnlyTheLostHaveBorrowedIsWaitedFor) {
  EXPECT_TRUE(decide(kNow, bereft({{0, {2}}, {1, {1}}}), options(3)).empty());
  Gang twice = bereft({{0, {1}}, {2, {0, 1}}});
  lose(twice, 2, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_TRUE(decide(kNow, twice, options(3)).empty()) << "nobody has the rows of shard 2";
}

TEST(Borrowed, OfSeveralTheOneWithTheFewestShardsGoesOn) {
  Gang gang = bereft({{0, {1, 2}}, {2, {0, 1}}});
  EXPECT_EQ(decide(kNow, gang, options(3))[0].start->owners, (std::vector<int>{0, 0, 1}));
  gang.members.at(0).shards->push_back({3, 5, {}});
  CoordinatorOptions four = options(3);
  four.shards = 4;
  EXPECT_EQ(decide(kNow, gang, four)[0].start->owners, (std::vector<int>{0, 1, 1, 0}));
}

TEST(Borrowed, WhoComesToThePlaceIsTakenInWithoutACut) {
  Gang gang = bereft({{0, {1}}});
  on_start(gang, *decide(kNow, gang, options(3))[0].start);
  on_agreed(gang, {});
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty());
  EXPECT_EQ(admit(hello(1, 20), gang, options(3)).verdict, Verdict::go);
  on_hello(gang, hello(1, 20), {}, kNow);
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "its rows are not there";
  EXPECT_FALSE(on_ingested(gang, gang.members.at(1), {{1, 5, {}}}));
  EXPECT_EQ(decide(kNow, gang, options(3))[0].action, Action::pause);
  on_pause(gang);
  for (const int p : {0, 2}) on_paused(gang.members.at(p));
  EXPECT_EQ(decide(kNow, gang, options(3))[0].action, Action::halt);
  on_halt(gang, kNow, "");
  for (const int p : {0, 2}) on_halted(gang.members.at(p), {9, ""});
  const auto decisions = decide(kNow, gang, options(3));
  ASSERT_EQ(decisions[0].action, Action::form);
  EXPECT_EQ(decisions[0].start->owners, (std::vector<int>{0, 1, 2}));
}

TEST(Borrowed, APlaceThatCanBeDoneWithoutMayStayEmpty) {
  CoordinatorOptions soon = options(3);
  soon.worker_timeout = 1;
  const TimePoint later = kNow + seconds(100);
  EXPECT_EQ(decide(later, bereft({}), soon)[0].action, Action::end);
  EXPECT_EQ(decide(later, bereft({{0, {1}}}), soon)[0].action, Action::form);
}

TEST(Borrowed, WhoCannotWorkInAPlaceThatOthersDoWithoutLeavesItEmpty) {
  Gang gang = bereft({{0, {1}}});
  on_start(gang, *decide(kNow, gang, options(3))[0].start);
  on_agreed(gang, {});
  on_hello(gang, hello(1, 20), {}, kNow);
  lose(gang, 1, Loss::failed, ErrorKind::user, "too little memory");
  CoordinatorOptions impatient = options(3);
  impatient.rescue_after = 1;
  EXPECT_TRUE(decide(kNow + seconds(100), gang, impatient).empty()) << "no end, and no rescue";
  EXPECT_EQ(admit(hello(1, 21), gang, options(3)).verdict, Verdict::finished);
  lose(gang, 0, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_NE(decide(kNow, gang, options(3)).back().reason.find("too little memory"), std::string::npos)
      << "nobody has its rows any more";
}

TEST(Borrowed, WhoFailsAtWorkEndsTheFitAsEver) {
  Gang gang = bereft({{0, {1}}});
  lose(gang, 2, Loss::failed, ErrorKind::user, "a label of 7");
  gang.members.at(0).borrowed.insert(2);
  EXPECT_EQ(decide(kNow, gang, options(3)).back().action, Action::end);
}

TEST(Borrowed, WhoIsRefusedAgainAndAgainInAPlaceThatOthersDoWithoutEndsNothing) {
  Gang gang = bereft({{0, {1}}});
  lose(gang, 1, Loss::refused, ErrorKind::user, "its arithmetic is another");
  EXPECT_EQ(decide(kNow, gang, options(3))[0].action, Action::form);
}

TEST(Borrowed, RowsThatAreOthersNowCountNoMore) {
  Gang gang = bereft({{0, {1}}, {2, {1}}});
  on_hello(gang, hello(1, 20), {}, kNow);
  EXPECT_TRUE(on_ingested(gang, gang.members.at(1), {{1, 6, {}}}));
  for (const int p : {0, 2}) EXPECT_TRUE(gang.members.at(p).borrowed.empty());
  on_borrowed(gang, gang.members.at(0), {{1}});  // said before it heard of that
  EXPECT_TRUE(gang.members.at(0).borrowed.empty());
}

TEST(Borrowed, ThePlacesTimeBeginsAnewWhenItCannotBeDoneWithoutAnyMore) {
  CoordinatorOptions lossy = options(3);
  lossy.worker_timeout = 60;
  lossy.allow_lost_rows = true;
  Gang gang = bereft({{0, {1}}});
  on_start(gang, *decide(kNow, gang, lossy)[0].start);
  on_agreed(gang, {});
  const TimePoint later = kNow + seconds(1000);
  EXPECT_TRUE(decide(later, gang, lossy).empty());
  lose(gang, 0, Loss::vanished, ErrorKind::world, "the connection closed", later);
  ++gang.losses;
  EXPECT_EQ(decide(later, gang, lossy)[0].action, Action::halt);
  on_halt(gang, later, "");
  on_halted(gang.members.at(2), {9, ""});
  EXPECT_TRUE(decide(later + seconds(59), gang, lossy).empty());
  EXPECT_EQ(decide(later + seconds(61), gang, lossy)[0].action, Action::give_up);
}

TEST(Lending, ADeathMeanwhileIsToldAsOne) {
  Gang gang = running(3);
  on_agreed(gang, {});
  for (const int p : {0, 1, 2}) {
    gang.shards_of[p] = {p};
    gang.registered[p] = {p, 5, {}};
    on_lends(gang.members.at(p), {true});
  }
  on_pause(gang);
  gang.members.at(0).borrowed = {1};
  on_loss(gang, gang.members.at(1), {.how = Loss::vanished, .cause = "the connection closed", .when = kNow});
  for (const int p : {0, 2}) on_paused(gang.members.at(p));
  on_halt(gang, kNow, "");
  for (const int p : {0, 2}) on_halted(gang.members.at(p), {9, ""});
  const auto decisions = decide(kNow, gang, options(3));
  ASSERT_EQ(decisions.size(), 1);
  EXPECT_EQ(decisions[0].reason, "others have the rows of those who are missing");
  EXPECT_FALSE(decisions[0].lending);
}

TEST(Lending, NoGenerationBeginsWithALateMemberThatIsSentAway) {
  Gang gang = halted(3, 4);
  const CoordinatorOptions late = options(2);  // so the third place is a late one
  for (const int p : {0, 1}) gang.shards_of[p] = {p};
  gang.members.at(0).borrowed = {1};
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  gang.members.at(1).rescued = true;
  const auto decisions = decide(kNow, gang, late);
  ASSERT_EQ(decisions.size(), 1);
  EXPECT_EQ(decisions[0].action, Action::dismiss);
}

TEST(Lending, AllPauseOnceWhenAllKnowWhatTheyCanLend) {
  Gang gang = running(3);
  on_agreed(gang, {});
  on_lends(gang.members.at(0), {true});
  on_lends(gang.members.at(2), {false});
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "one has not said";
  on_lends(gang.members.at(1), {true});
  const auto decisions = decide(kNow, gang, options(3));
  ASSERT_EQ(decisions.size(), 1);
  EXPECT_EQ(decisions[0].action, Action::pause);
  on_pause(gang);
  for (auto& [partition, member] : gang.members) on_paused(member);
  EXPECT_EQ(decide(kNow, gang, options(3))[0].action, Action::halt);
  on_halt(gang, kNow, "");
  for (auto& [partition, member] : gang.members) on_halted(member, {9, ""});
  const auto next = decide(kNow, gang, options(3));
  ASSERT_EQ(next[0].action, Action::form);
  EXPECT_TRUE(next[0].lending);
  on_start(gang, *next[0].start);
  on_agreed(gang, {});
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty()) << "they have lent";
}

TEST(Lending, IsNotForThoseAloneOnTheirHostsOrWithoutAnything) {
  Gang gang = running(2);
  on_agreed(gang, {});
  for (auto& [partition, member] : gang.members) on_lends(member, {false});
  EXPECT_TRUE(decide(kNow, gang, options(2)).empty());
  gang.members.at(0).lends = true;
  EXPECT_EQ(decide(kNow, gang, options(2))[0].action, Action::pause);
  gang.members.at(1).hello.host = "elsewhere";
  EXPECT_TRUE(decide(kNow, gang, options(2)).empty());
}

TEST(Again, SecondDeathWhileReformingWaitsAgain) {
  Gang gang = halted(3, 4);
  gang.members[1] = newcomer(1, 99);
  lose(gang, 0, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_TRUE(decide(kNow, gang, options(3)).empty());
  gang.members[0] = newcomer(0, 100);
  EXPECT_EQ(decide(kNow, gang, options(3)).at(0).start->commit, 4u);
}

TEST(Again, StumbleHaltsTheOthersAndWaitsForTheDeathBehindIt) {
  Gang gang = running(2);
  gang.members.at(0).working = false;
  gang.members.at(0).stumble = "rank 1 closed its connection";
  EXPECT_EQ(decide(kNow, gang, options(2)).at(0).reason,
            "worker 0 (host h, pid 100) left its generation: rank 1 closed its connection");
  gang.running = false;
  gang.halted_at = kNow;
  gang.members.at(1).working = false;
  EXPECT_TRUE(decide(kNow + milliseconds(99), gang, options(2)).empty()) << "it may be an echo";
  gang.members.at(1).stumble = "a frame arrived damaged";  // it told last what happened first
  const auto again = decide(kNow + milliseconds(100), gang, options(2));
  ASSERT_EQ(again.at(0).action, Action::form);
  EXPECT_EQ(again.at(0).reason,
            "nobody was lost, but the last generation ended: worker 0 (host h, pid 100): rank 1 closed its connection; "
            "worker 1 (host h, pid 101): a frame arrived damaged");
  gang.losses = 1;
  EXPECT_EQ(actions(kNow + milliseconds(1), gang, options(2)), std::vector{Action::form}) << "the death is known";
  EXPECT_EQ(decide(kNow, gang, options(2)).at(0).reason, "every place is filled again");
}

TEST(Loss, AfterTheResultNoDeathMatters) {
  Gang gang = gang_of(2);
  gang.result_here = true;
  lose(gang, 1, Loss::vanished, ErrorKind::world, "the connection closed");
  EXPECT_EQ(failure(kNow, gang, options(2)), "none");
}

TEST(Loss, AllFinishedWithoutAResultIsABug) {
  Gang gang = gang_of(2);
  gang.generation = 1;
  for (auto& [partition, member] : gang.members) member.finished = true;
  EXPECT_EQ(failure(kNow, gang, options(2)), "bug: all workers finished and none of them sent a result");
}

TEST(Silence, OnlyTheLivingAreMissed) {
  Gang gang = gang_of(4);
  gang.members.at(1).finished = true;
  gang.members.at(2).last_heard = kNow + seconds(5);
  lose(gang, 3, Loss::failed, ErrorKind::bug, "");
  EXPECT_TRUE(silent(kNow + seconds(10), gang, options(4)).empty());
  const auto missed = silent(kNow + seconds(11), gang, options(4));
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(std::tuple(missed[0].partition, missed[0].cause), std::tuple(0, "it gave no sign of life for 10 s"));
  CoordinatorOptions patient = options(4);
  patient.heartbeat_timeout = 0;
  EXPECT_TRUE(silent(kNow + seconds(1000), gang, patient).empty());
}

TEST(Silence, HaltThatIsNotObeyedCountsToo) {
  Gang gang = halted(2, 4);
  gang.halted_at = kNow;
  gang.members.at(1).working = true;
  const auto talking = [&](TimePoint now, double waiting) {
    for (auto& [partition, member] : gang.members) member.last_heard = now;
    gang.members.at(1).waiting = waiting;
    return silent(now, gang, options(2));
  };
  EXPECT_TRUE(talking(kNow + seconds(30), 30).empty());
  const auto missed = talking(kNow + seconds(31), 31);
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(std::tuple(missed[0].partition, missed[0].cause),
            std::tuple(1, "it was told to halt and has not within 30 s"));
}

TEST(Silence, HaltThatComesInTheMiddleOfLongWorkMayBeObeyedLate) {
  Gang gang = halted(2, 4);
  gang.halted_at = kNow;
  gang.members.at(1).working = true;
  for (auto& [partition, member] : gang.members) member.last_heard = kNow + seconds(500);
  gang.members.at(1).idle = 3;
  EXPECT_TRUE(silent(kNow + seconds(500), gang, options(2)).empty());
}

namespace {

/// The member's process answers at this moment, and tells that its thread has been idle for so long.
void answer(Gang& gang, int partition, TimePoint now, double idle) {
  Member& member = gang.members.at(partition);
  member.last_heard = now;
  on_pong(gang, member, {.number = 1, .step = member.step, .idle = idle}, gang.generation);
}

/// It tells that it has waited for another one for so long.
void wait(Gang& gang, int partition, double waiting, uint64_t generation = 1) {
  const std::string other = cat("bytes from or to rank ", 1 - partition);
  on_pong(gang, gang.members.at(partition), {.number = 1, .waiting = waiting, .awaits = other}, generation);
}

std::string halts(const Gang& gang) {
  for (const Decision& decision : decide(kNow, gang, options(static_cast<int>(gang.members.size()))))
    if (decision.action == Action::halt) return decision.reason;
  return "goes on";
}

}  // namespace

TEST(Waiting, LastsAsLongAsOneWorks) {
  Gang gang = running(2);
  wait(gang, 0, 1e6);
  EXPECT_EQ(halts(gang), "goes on") << "the other one works";
  wait(gang, 1, 29);
  EXPECT_EQ(halts(gang), "goes on") << "or has just begun to wait";
  gang.members.at(1).awaits = "";
  gang.members.at(1).waiting = 1e6;
  EXPECT_EQ(halts(gang), "goes on") << "or waits for its storage, or for the coordinator";
}

TEST(Waiting, OfAllForEachOtherEndsTheGenerationInTheirWords) {
  Gang gang = running(2);
  wait(gang, 0, 31);
  wait(gang, 1, 40);
  const std::string why =
      "all wait for each other, and nothing has moved for 30 s: worker 0 (host h, pid 100) waits for bytes from or to "
      "rank 1; worker 1 (host h, pid 101) waits for bytes from or to rank 0";
  EXPECT_EQ(halts(gang), why);
  on_halt(gang, kNow - seconds(1), standstill(gang, options(2)));
  for (auto& [partition, member] : gang.members) on_halted(member, {0, partition == 0 ? "" : "rank 0 died"});
  const auto next = decide(kNow, gang, options(2));
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].action, Action::form);
  EXPECT_EQ(next[0].reason, "nobody was lost, but the last generation ended: " + why);
  gang.stumbles = 2;
  EXPECT_EQ(failure(kNow, gang, options(2)),
            "world: the workers cannot work together, in 3 attempts; the last failed with: " + why);
}

TEST(Waiting, ForOneWhoIsLostIsNoStandstill) {
  Gang gang = running(3);
  for (const int p : {0, 1}) wait(gang, p, 100);
  on_loss(gang, gang.members.at(2), {.how = Loss::vanished, .cause = {}, .when = kNow});
  EXPECT_EQ(standstill(gang, options(3)), "");
  EXPECT_NE(halts(gang).find("worker 2"), std::string::npos) << halts(gang);
}

TEST(Waiting, InAnOlderGenerationIsForgotten) {
  Gang gang = running(2);
  for (const int p : {0, 1}) wait(gang, p, 100);
  Start next;
  next.roster.generation = 2;
  next.roster.members = {{0, "h", 1, "", 100, 10}, {1, "h", 2, "", 101, 11}};
  on_halt(gang, kNow);
  on_start(gang, next);
  for (const int p : {0, 1}) wait(gang, p, 100, 1);  // still on its way
  EXPECT_EQ(halts(gang), "goes on");
}

TEST(Waiting, IsLongerWherePatienceHasGrown) {
  Gang gang = running(2);
  gang.patience = 2;
  for (const int p : {0, 1}) wait(gang, p, 59);
  EXPECT_EQ(halts(gang), "goes on");
  for (const int p : {0, 1}) wait(gang, p, 61);
  EXPECT_NE(halts(gang), "goes on");
}

TEST(Standstill, ThreadThatGetsNothingDoneIsLostThoughItsProcessAnswers) {
  Gang gang = running(3);
  const auto look = [&](int second, double idle) {
    for (int p = 0; p < 3; ++p) answer(gang, p, kNow + seconds(second), p == 1 ? idle : 0);
    return silent(kNow + seconds(second), gang, options(3));
  };
  EXPECT_TRUE(look(60, 9.9).empty());
  const auto missed = look(61, 10.1);
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(std::tuple(missed[0].partition, missed[0].how), std::tuple(1, Loss::stuck));
  EXPECT_EQ(missed[0].cause, "its process lives, but its training thread got nothing done for 10 s");
  EXPECT_TRUE(look(62, 0).empty()) << "it goes on";
}

TEST(Standstill, CountsWhileRowsAreReadToo) {
  Gang gang = gang_of(1);
  gang.members.at(0).shards.reset();
  answer(gang, 0, kNow, 11);
  EXPECT_EQ(silent(kNow, gang, options(1)).size(), 1u);
}

TEST(Standstill, OfManyIsOneLossAndTheOthersGetTheTimeOfAHalt) {
  Gang gang = running(3);
  for (int p = 0; p < 3; ++p) answer(gang, p, kNow, 11 + p % 2);
  const auto missed = silent(kNow, gang, options(3));
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(missed[0].partition, 1) << "the one that stands still for the longest time";
  on_loss(gang, gang.members.at(1), {.how = Loss::stuck, .cause = "", .when = kNow});
  on_halt(gang, kNow);
  for (const int later : {1, 30}) {
    for (const int p : {0, 2}) answer(gang, p, kNow + seconds(later), 11 + later);
    EXPECT_TRUE(silent(kNow + seconds(later), gang, options(3)).empty()) << later;
  }
  answer(gang, 0, kNow + seconds(31), 42);
  on_halted(gang.members.at(2), {4, ""});
  answer(gang, 2, kNow + seconds(31), 0);
  const auto late = silent(kNow + seconds(31), gang, options(3));
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(std::tuple(late[0].partition, late[0].cause), std::tuple(0, "it was told to halt and has not within 30 s"));
}

TEST(Standstill, TwiceAtOneStepDoublesTheTimeoutWhoeverStandsStill) {
  Gang gang = running(2);
  const auto lose_stuck = [&](int partition) {
    on_loss(gang, gang.members.at(partition), {.how = Loss::stuck, .cause = "", .when = kNow});
  };
  gang.members.at(0).step = 7;
  lose_stuck(1);
  EXPECT_EQ(gang.patience, 1);
  gang.members.at(1).lost.reset();
  answer(gang, 1, kNow, 0);
  lose_stuck(0);
  EXPECT_EQ(gang.patience, 2) << "the other one, at the same operator";
  gang.members.at(0).lost.reset();
  answer(gang, 0, kNow, 19);
  EXPECT_TRUE(silent(kNow, gang, options(2)).empty());
  answer(gang, 0, kNow, 21);
  EXPECT_EQ(silent(kNow, gang, options(2)).size(), 1u);
  gang.members.at(0).step = 8;
  lose_stuck(0);
  EXPECT_EQ(gang.patience, 2) << "another step";
}

namespace {

/// Attempt after attempt of partition 0 vanishes after so many rows; how the last one was lost.
Lost vanish_after(const std::vector<int64_t>& rows, Gang& gang) {
  Lost lost;
  for (const int64_t n : rows) {
    Member& member = gang.members[0] = {.hello = hello(0, 10), .last_heard = kNow, .rows = n};
    CoordinatorOptions one = options(1);
    one.memory_setting = "spark.executor.memoryOverhead";
    lost = out_of_memory_or({.how = Loss::vanished, .cause = "the connection closed", .when = kNow}, gang, member, one);
    on_loss(gang, member, lost);
  }
  return lost;
}

}  // namespace

TEST(Memory, TwoDeathsAtTheSameRowAreToldAsALackOfItAndEndTheFit) {
  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{1000, 1050}, {1050, 1000}, {3, 1000, 1000}}) {
    Gang gang;
    EXPECT_EQ(vanish_after(rows, gang).kind, ErrorKind::user);
    EXPECT_EQ(failure(kNow, gang, options(1)),
              cat("user: two attempts in a row were killed after about ", std::max(rows[0], rows[1]),
                  " rows, without a word: most likely for lack of memory; raise spark.executor.memoryOverhead, use "
                  "more executors, or fewer rows [worker 0 (host h, pid 100)]"));
  }
}

TEST(Memory, OtherDeathsAreNot) {
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{1000}, {0, 0}, {1000, 0}, {1000, 1200}, {1000, 1200, 1000}}) {
    Gang gang;
    EXPECT_EQ(vanish_after(rows, gang).cause, "the connection closed");
  }
  Gang gang;
  vanish_after({1000}, gang);
  Member& member = gang.members[0] = {.hello = hello(0, 11), .last_heard = kNow, .rows = 1000};
  on_ingested(gang, member, {{0, 5, {}}});
  EXPECT_EQ(vanish_after({1000}, gang).kind, ErrorKind::world) << "one came through between them";
  const Lost failed =
      out_of_memory_or({.how = Loss::failed, .cause = "", .when = kNow}, gang, gang.members[0], options(1));
  EXPECT_EQ(failed.kind, ErrorKind::world) << "it said why";
}

TEST(Rescue, IsForPlacesWhereSparkStartsNobody) {
  Gang gang = halted(3, 4);
  lose(gang, 1, Loss::vanished, ErrorKind::world, "");
  CoordinatorOptions three = options(3);
  EXPECT_TRUE(decide(kNow + seconds(60), gang, three).empty()) << "off";
  three.rescue_after = 20;
  EXPECT_TRUE(decide(kNow + seconds(19), gang, three).empty());
  EXPECT_EQ(decide(kNow + seconds(20), gang, three).at(0).partitions, std::vector{1});
  gang.members.at(1).rescued = true;
  EXPECT_TRUE(decide(kNow + seconds(20), gang, three).empty()) << "once";
}

TEST(Rescue, ComesAtOnceWhenADuplicateHasReturned) {
  Gang gang = running(2);
  gang.released.insert(1);
  CoordinatorOptions two = options(2);
  two.rescue_after = 20;
  EXPECT_TRUE(decide(kNow, gang, two).empty()) << "the member lives";
  lose(gang, 1, Loss::vanished, ErrorKind::world, "");
  EXPECT_EQ(actions(kNow, gang, two), (std::vector{Action::rescue, Action::halt}));
}

TEST(Replay, SameRowsInAnyOrderAreNoError) {
  Gang gang;
  gang.registered = {{0, {0, 5, {1, 2}}}};
  EXPECT_FALSE(changed_rows(newcomer(0, 9), {{1, 3, {}}, {0, 5, {1, 2}}}, gang));
}

TEST(Replay, OtherRowsNameShardCauseAndCure) {
  Gang gang;
  gang.registered = {{3, {3, 5, {1, 2}}}};
  const auto fewer = changed_rows(newcomer(1, 9), {{3, 4, {1, 2}}}, gang);
  ASSERT_TRUE(fewer);
  EXPECT_EQ(
      cat(name(fewer->kind()), ": ", fewer->what()),
      "user: worker 1 (host h, pid 101) read its rows again, and they are other rows than before (shard 3: 4 rows "
      "now, 5 before): the DataFrame is not the same each time it is computed, for example because of rand(), "
      "limit() or a sum of doubles after a shuffle; write it to a table or checkpoint() it before fit, or set "
      "onChangedRows='continue'");
  const auto changed = changed_rows(newcomer(1, 9), {{3, 5, {1, 3}}}, gang);
  EXPECT_NE(std::string(changed->what()).find("(shard 3: 5 rows now, 5 before, changed)"), std::string::npos);
}

TEST(Decide, NothingAfterTheEnd) {
  Gang gang = gang_of(2);
  gang.end = End{};
  lose(gang, 0, Loss::failed, ErrorKind::bug, "late");
  EXPECT_TRUE(decide(kNow, gang, options(2)).empty());
}

TEST(Silence, TwiceAtOneStepDoublesTheTimeout) {
  Gang gang = gang_of(2);
  gang.members.at(0).step = 7;
  const Lost silence{.how = Loss::silent, .cause = "", .when = kNow};
  on_loss(gang, gang.members.at(1), silence);
  EXPECT_EQ(gang.patience, 1);
  on_loss(gang, gang.members.at(1), {.how = Loss::vanished, .cause = "", .when = kNow});
  EXPECT_EQ(gang.patience, 1) << "a death is no silence";
  on_loss(gang, gang.members.at(1), silence);
  EXPECT_EQ(gang.patience, 2);
  gang.members.at(0).step = 8;
  on_loss(gang, gang.members.at(1), silence);
  EXPECT_EQ(gang.patience, 2) << "another step";
  gang.members.at(1).lost.reset();
  EXPECT_TRUE(silent(kNow + seconds(19), gang, options(2)).empty());
  EXPECT_EQ(silent(kNow + seconds(21), gang, options(2)).size(), 2u);
}

}  // namespace stoker::gang
