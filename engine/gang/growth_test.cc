// Workers that join after the start: when they are taken in, what becomes of their shards, and when they are sent away.
#include <gtest/gtest.h>

#include "gang/deal.h"
#include "gang/transitions.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;
using std::chrono::seconds;

const TimePoint kNow{seconds(1000)};

Hello hello(int partition, uint64_t attempt = 0) {
  return {.partition = partition, .attempt = attempt, .host = "h", .pid = 100 + partition, .isa = 2};
}

/// Places 0 and 1 with four shards, and two late places.
CoordinatorOptions two_of_four() {
  CoordinatorOptions options;
  options.workers = 2;
  options.most_workers = options.shards = 4;
  options.rescue_after = 15;
  return options;
}

Member member(int partition, const std::vector<int>& shards) {
  Member member{.hello = hello(partition, static_cast<uint64_t>(10 + partition)), .last_heard = kNow};
  member.shards.emplace();
  for (const int shard : shards) member.shards->push_back({shard, 5, {}});
  return member;
}

/// Two at work, with four shards.
Gang two() {
  Gang gang;
  gang.first_hello = kNow;
  gang.generation = 1;
  gang.isa = 2;
  gang.ranks = 2;
  gang.running = true;
  gang.members[0] = member(0, {0, 1});
  gang.members[1] = member(1, {2, 3});
  for (auto& [partition, member] : gang.members) {
    member.working = true;
    member.generation = 1;
  }
  return gang;
}

void add_late(Gang& gang) { gang.members[3] = member(3, {3}); }

void lose(Gang& gang, int partition, Loss how = Loss::vanished) {
  on_loss(gang, gang.members.at(partition), {.how = how, .cause = "gone", .when = kNow});
}

std::vector<Decision> decide_now(const Gang& gang) { return decide(kNow, gang, two_of_four()); }

std::string told(const std::vector<Decision>& decisions) {
  const std::vector<std::string> names = {"pause", "halt",  "form",   "rescue", "dismiss", "give up",
                                          "agree", "lower", "refuse", "abort",  "end"};
  std::string all;
  for (const Decision& decision : decisions) all += names[static_cast<int>(decision.action)] + " ";
  return all;
}

void halt(Gang& gang, uint64_t commit) {
  on_halt(gang, kNow);
  for (auto& [partition, member] : gang.members) {
    if (member.working) on_halted(member, {commit, ""});
  }
}

/// All that happens until the gang has the late member, or is about to form without it.
Start grown(Gang& gang, uint64_t commit) {
  on_pause(gang);
  for (auto& [partition, member] : gang.members) member.paused = member.working;
  EXPECT_EQ(told(decide_now(gang)), "halt ");
  halt(gang, commit);
  const auto decisions = decide_now(gang);
  EXPECT_EQ(told(decisions), "form ") << "at once, nobody stumbled";
  on_start(gang, *decisions.at(0).start);
  return *decisions.at(0).start;
}

std::vector<uint64_t> attempts(const Start& start) {
  std::vector<uint64_t> attempts;
  for (const RosterEntry& rank : start.roster.members) attempts.push_back(rank.attempt);
  return attempts;
}

}  // namespace

TEST(Growth, ALateWorkerIsTakenInOnceItsRowsAreThereAndAllHavePaused) {
  Gang gang = two();
  add_late(gang);
  gang.members.at(3).shards.reset();
  EXPECT_EQ(told(decide_now(gang)), "") << "training goes on while it reads";
  ASSERT_FALSE(on_ingested(gang, gang.members.at(3), {{3, 5, {}}}));
  const auto decisions = decide_now(gang);
  ASSERT_EQ(told(decisions), "pause ");
  EXPECT_EQ(decisions[0].reason, "worker 3 (host h, pid 103) has its rows and is to be taken in");
  on_pause(gang);
  EXPECT_EQ(told(decide_now(gang)), "");
  on_paused(gang.members.at(0));
  EXPECT_EQ(told(decide_now(gang)), "") << "the other one is still in the step";
  on_paused(gang.members.at(1));
  EXPECT_EQ(told(decide_now(gang)), "halt ");
}

TEST(Growth, ItGetsItsShardsAndTheOthersKeepTheRest) {
  Gang gang = two();
  add_late(gang);
  const Start start = grown(gang, 7);
  EXPECT_EQ(attempts(start), (std::vector<uint64_t>{10, 11, 13}));
  EXPECT_EQ(start.owners, (std::vector<int>{0, 0, 1, 2}));
  EXPECT_EQ(start.commit, 7u);
  EXPECT_EQ(gang.members.at(3).generation, 2u);
  EXPECT_EQ(told(decide_now(gang)), "");
}

TEST(Growth, OneThatIsLostWhileItReadsChangesNothing) {
  Gang gang = two();
  add_late(gang);
  lose(gang, 3);
  EXPECT_EQ(told(decide_now(gang)), "");
  EXPECT_EQ(told(decide(kNow + seconds(1000), gang, two_of_four())), "") << "nobody waits for it";
}

TEST(Growth, OneThatIsLostAtWorkIsNotWaitedFor) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  lose(gang, 3);
  ASSERT_EQ(told(decide_now(gang)), "halt ");
  halt(gang, 7);
  const auto decisions = decide_now(gang);
  ASSERT_EQ(told(decisions), "form ");
  EXPECT_EQ(decisions[0].start->owners, (std::vector<int>{0, 0, 1, 1}));
  on_start(gang, *decisions[0].start);
  EXPECT_EQ(told(decide_now(gang)), "") << "it was lost before this generation";
  EXPECT_EQ(admit(hello(3, 20), gang, two_of_four()).verdict, Verdict::go);
}

TEST(Growth, APlaceThatIsTakenAgainAtOnceWasLostAllTheSame) {
  for (const int partition : {1, 3}) {
    Gang gang = two();
    add_late(gang);
    grown(gang, 7);
    gang.members[partition] = member(partition, {partition});
    const auto decisions = decide_now(gang);
    ASSERT_EQ(told(decisions), "halt ");
    EXPECT_EQ(decisions[0].reason, "a worker was lost, and another has its place already");
  }
}

TEST(Growth, WhatOnlyALostLateMemberHadIsMadeAgain) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  on_halt(gang, kNow);
  for (const int partition : {0, 1, 3}) on_halted(gang.members.at(partition), {partition == 3 ? 9u : 8u, ""});
  lose(gang, 3);
  EXPECT_EQ(decide_now(gang).at(0).start->commit, 8u);
}

TEST(Growth, AMemberThatIsLostBesideALateOneIsWaitedFor) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  lose(gang, 1);
  halt(gang, 7);
  EXPECT_EQ(told(decide_now(gang)), "");
  gang.members[1] = member(1, {2, 3});
  EXPECT_EQ(told(decide_now(gang)), "form ");
}

TEST(Growth, ALateWorkerThatHasNotHaltedIsWaitedFor) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  on_halt(gang, kNow - seconds(1));
  on_halted(gang.members.at(0), {7, ""});
  on_halted(gang.members.at(1), {7, ""});
  EXPECT_EQ(told(decide_now(gang)), "");
  on_halted(gang.members.at(3), {7, ""});
  EXPECT_EQ(told(decide_now(gang)), "form ");
}

TEST(Growth, ADeathWhileTheyPauseIsADeath) {
  Gang gang = two();
  add_late(gang);
  on_pause(gang);
  on_paused(gang.members.at(0));
  lose(gang, 1);
  const auto decisions = decide_now(gang);
  ASSERT_EQ(told(decisions), "halt ");
  EXPECT_EQ(decisions[0].reason, "worker 1 (host h, pid 101) was lost before the first step: gone");
}

TEST(Growth, LateWorkersAreSentHomeWhileOthersAreMissing) {
  Gang gang = two();
  EXPECT_EQ(admit(hello(2, 30), gang, two_of_four()).verdict, Verdict::go);
  lose(gang, 0);
  const Entry entry = admit(hello(2, 30), gang, two_of_four());
  EXPECT_EQ(entry.verdict, Verdict::finished);
  EXPECT_EQ(entry.reason, "other workers are missing, and this one's slot may be needed for them");
  EXPECT_EQ(admit(hello(2, 30), {}, two_of_four()).verdict, Verdict::finished) << "before the gang is there";
  EXPECT_EQ(admit(hello(4, 30), two(), two_of_four()).verdict, Verdict::refused) << "no place of the fit";
}

TEST(Growth, ARescueGetsTheSlotsOfLateWorkers) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  lose(gang, 1);
  halt(gang, 7);
  const TimePoint later = kNow + seconds(15);
  EXPECT_EQ(told(decide(later, gang, two_of_four())), "rescue ");
  gang.members.at(1).rescued = true;
  const auto decisions = decide(later, gang, two_of_four());
  ASSERT_EQ(told(decisions), "dismiss ");
  EXPECT_EQ(decisions[0].partitions, std::vector<int>{3});
  EXPECT_EQ(decisions[0].reason, "its slot is needed for a worker that was lost");
}

TEST(Growth, OneThatTheOthersCannotWorkWithIsSentHomeBeforeTheFitFails) {
  Gang gang = two();
  add_late(gang);
  grown(gang, 7);
  for (int time = 0; time < 2; ++time) {
    on_halt(gang, kNow - seconds(1));
    on_halted(gang.members.at(0), {7, "worker 2 did not come"});
    on_halted(gang.members.at(1), {7, ""});
    on_halted(gang.members.at(3), {0, ""});
    const auto decisions = decide_now(gang);
    if (time == 0) {
      ASSERT_EQ(told(decisions), "form ");
      on_start(gang, *decisions[0].start);
      continue;
    }
    ASSERT_EQ(told(decisions), "dismiss ");
    EXPECT_EQ(decisions[0].partitions, std::vector<int>{3});
    EXPECT_EQ(decisions[0].reason,
              "the others cannot work together with it: worker 0 (host h, pid 100): worker 2 did not come");
  }
  lose(gang, 3, Loss::dismissed);
  EXPECT_EQ(told(decide_now(gang)), "form ");
}

TEST(GivingUp, GoesOnWithoutTheRowsOfAPlaceThatStaysEmpty) {
  CoordinatorOptions options = two_of_four();
  options.worker_timeout = 60;
  options.rescue_after = 0;
  Gang gang = two();
  for (int s = 0; s < 4; ++s) gang.registered[s] = {s, 5, {}};
  lose(gang, 1);
  halt(gang, 7);
  const TimePoint later = kNow + seconds(60);
  EXPECT_EQ(told(decide(later, gang, options)), "end ");
  options.allow_lost_rows = true;
  EXPECT_EQ(told(decide(later - seconds(1), gang, options)), "");
  auto decisions = decide(later, gang, options);
  ASSERT_EQ(told(decisions), "give up ");
  EXPECT_EQ(
      decisions[0].reason,
      "worker 1 (host h, pid 101) was lost before the first step: gone; no other attempt took its place within 60 "
      "s (workerTimeout): training goes on without its rows (onWorkerLost='continue')");
  on_given_up(gang, 1);
  decisions = decide(later, gang, options);
  ASSERT_EQ(told(decisions), "form ");
  EXPECT_EQ(decisions[0].start->owners, (std::vector<int>{0, 0, -1, -1}));
  EXPECT_EQ(decisions[0].start->shards[3].rows, 5) << "the plan stays";
  on_start(gang, *decisions[0].start);
  EXPECT_EQ(told(decide(later, gang, options)), "");
  ASSERT_EQ(admit(hello(1, 30), gang, options).verdict, Verdict::go) << "better late than never";
  gang.members[1] = member(1, {2, 3});
  EXPECT_EQ(told(decide(later, gang, options)), "pause ");
  EXPECT_EQ(grown(gang, 9).owners, (std::vector<int>{0, 0, 1, 1}));
}

TEST(GivingUp, NeedsSomebodyWhoHasRows) {
  CoordinatorOptions options = two_of_four();
  options.worker_timeout = 60;
  options.rescue_after = 0;
  options.allow_lost_rows = true;
  Gang gang = two();
  lose(gang, 0);
  lose(gang, 1);
  on_halt(gang, kNow);
  EXPECT_EQ(told(decide(kNow + seconds(60), gang, options)), "") << "what then is the driver's to say";
}

TEST(Deal, AShardGoesToTheHolderWithTheFewest) {
  const Member a = member(0, {0, 1, 2}), b = member(1, {3, 4, 5}), c = member(2, {2, 5}), d = member(3, {5});
  CoordinatorOptions options = two_of_four();
  options.shards = 6;
  EXPECT_EQ(deal({&a, &b}, Gang(), options).owners, (std::vector<int>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(deal({&a, &b, &c}, Gang(), options).owners, (std::vector<int>{0, 0, 2, 1, 1, 2}));
  EXPECT_EQ(deal({&a, &b, &c, &d}, Gang(), options).owners, (std::vector<int>{0, 0, 2, 1, 1, 3}));
}

TEST(Deal, TheOwnersOwnCountIsTheShards) {
  const Member a = member(0, {0, 1, 2, 3});
  Member late = member(2, {});
  late.shards->push_back({3, 9, {1, 2}});
  CoordinatorOptions options = two_of_four();
  options.workers = 1;
  const Deal dealt = deal({&a, &late}, Gang(), options);
  EXPECT_EQ(dealt.shards[2].rows, 5);
  EXPECT_EQ(dealt.shards[3].rows, 9) << "they may differ where changed rows are let in";
  EXPECT_EQ(dealt.shards[3].digest.low, 2u);
}

}  // namespace stoker::gang
