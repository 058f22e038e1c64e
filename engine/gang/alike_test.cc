#include "gang/alike.h"

#include <gtest/gtest.h>

#include "gang/test_fit.h"
#include "gang/transitions.h"

namespace stoker::gang {
namespace {

const TimePoint kNow{std::chrono::seconds(1000)};

CoordinatorOptions options(int workers) {
  CoordinatorOptions options;
  options.workers = options.shards = workers;
  return options;
}

/// At work in its first generation, at level avx2; each member has told this digest, 0: none yet.
Gang gang_with(const std::vector<uint64_t>& digests) {
  Gang gang;
  gang.generation = 1;
  gang.isa = 1;
  gang.ranks = static_cast<int>(digests.size());
  gang.running = true;
  for (int p = 0; p < gang.ranks; ++p) {
    Member& member = gang.members[p];
    member.hello.partition = p;
    member.hello.host = cat("h", p);
    member.hello.pid = 100 + p;
    member.working = true;
    member.generation = 1;
    if (digests[p]) member.fingerprint = Fingerprint{{0, digests[p]}, cat("CPU ", digests[p]), ""};
  }
  return gang;
}

/// What is decided of it, like "refuse 1 2"; the level cannot be lowered.
std::string decided(const Gang& gang, CoordinatorOptions options) {
  options.lowest_isa = gang.isa;
  std::string all;
  for (const Decision& decision : decide_alike(gang, options)) {
    all += decision.action == Action::agree ? "agree " : "refuse ";
    for (const int partition : decision.partitions) all += cat(partition, " ");
  }
  return all;
}

}  // namespace

TEST(Alike, WaitsUntilAllHaveTold) {
  EXPECT_EQ(decided(gang_with({5, 0, 5}), options(3)), "");
  EXPECT_EQ(decided(gang_with({5, 5, 5}), options(3)), "agree ");
  Gang gang = gang_with({5, 5});
  on_agreed(gang, {});
  EXPECT_EQ(decided(gang, options(2)), "") << "once a generation";
}

TEST(Alike, TheMostStayAndOfEquallyManyTheFirst) {
  EXPECT_EQ(decided(gang_with({7, 5, 5}), options(3)), "refuse 0 ");
  EXPECT_EQ(decided(gang_with({5, 7, 9, 5}), options(4)), "refuse 1 refuse 2 ");
  EXPECT_EQ(decided(gang_with({5, 7}), options(2)), "refuse 1 ");
  EXPECT_EQ(decided(gang_with({7, 5, 5, 7}), options(4)), "refuse 1 refuse 2 ");
}

TEST(Alike, WhoComesLaterMustBeLikeThoseWhoBegan) {
  Gang gang = gang_with({5, 5, 5});
  on_agreed(gang, {});
  gang.agreed = false;  // the next generation, of which only one has been there before
  gang.members.at(1).fingerprint->digest = gang.members.at(2).fingerprint->digest = {0, 7};
  EXPECT_EQ(decided(gang, options(3)), "refuse 1 refuse 2 ");
  gang.members.at(0).fingerprint->digest = {0, 7};
  const auto decisions = decide_alike(gang, options(3));
  ASSERT_EQ(decisions.size(), 3);
  EXPECT_NE(decisions[0].reason.find("are not those that the fit was trained with so far"), std::string::npos);
}

TEST(Alike, ARefusalNamesWorkerHostCpuAndCure) {
  Gang gang = gang_with({5, 7, 5});
  gang.lowered = true;
  const auto decisions = decide_alike(gang, options(3));
  ASSERT_EQ(decisions.size(), 1);
  EXPECT_EQ(decisions[0].reason,
            "worker 1 (host h1, pid 101) on CPU 7 computes other bits than the fit's: the loss and gradients of one "
            "canned micro-batch are not those of 2 of 3 workers, such as worker 0 (host h0, pid 100) on CPU 5; use "
            "machines of one kind, or set spark.stoker.arithmetic to 'any': the fit goes on then, and its history says "
            "that it is inexact");
}

TEST(Alike, AllBeginAgainAtALowerLevelOnceAndOnlyBeforeAStepIsCommitted) {
  Gang gang = gang_with({5, 7});
  ASSERT_EQ(decide_alike(gang, options(2)).at(0).action, Action::lower);
  EXPECT_EQ(decide_alike(gang, options(2))
                .at(0)
                .reason.find("all workers begin again at instruction-set level baseline: at avx2 worker 1 (host h1"),
            0);
  on_lowered(gang);
  EXPECT_EQ(gang.isa, 0);
  EXPECT_EQ(decide_alike(gang, options(2)).at(0).action, Action::refuse);
  gang = gang_with({5, 5});
  on_agreed(gang, {});
  gang.agreed = false;
  gang.members.at(1).fingerprint->digest = {0, 7};
  EXPECT_EQ(decide_alike(gang, options(2)).at(0).action, Action::refuse);
}

TEST(Alike, WhereOtherBitsAreLetInTheyAreToldOnce) {
  CoordinatorOptions any = options(3);
  any.allow_other_bits = true;
  Gang gang = gang_with({5, 7, 5});
  EXPECT_EQ(decided(gang, any), "agree 1 ");
  on_agreed(gang, {1});
  gang.agreed = false;
  EXPECT_EQ(decided(gang, any), "agree ") << "in the next generation it is known";
  gang = gang_with({5, 7, 5});
  gang.changed_rows = true;
  EXPECT_EQ(decided(gang, options(3)), "agree 1 ") << "the rows are not the undisturbed fit's anyway";
}

TEST(Alike, APlaceThatIsRefusedAgainAndAgainEndsTheFitUnlessItCanDoWithout) {
  Gang gang = gang_with({5, 7});
  EXPECT_FALSE(lost_to_refusal(gang, 1, "why", kNow, options(2)).fatal());
  gang.refusals[1] = 2;
  const Lost lost = lost_to_refusal(gang, 1, "why", kNow, options(2));
  EXPECT_TRUE(lost.fatal());
  EXPECT_EQ(lost.cause, "3 processes in a row were refused in this place: why");
  EXPECT_FALSE(lost_to_refusal(gang, 1, "why", kNow, options(1)).fatal()) << "a late worker";
  CoordinatorOptions without = options(2);
  without.allow_lost_rows = true;
  EXPECT_FALSE(lost_to_refusal(gang, 1, "why", kNow, without).fatal());
}

TEST(Alike, ARefusedWorkerLeavesForAnotherProcessAndTheOthersGoOn) {
  Fit fit(3, [](CoordinatorOptions& options) { options.lowest_isa = 1; });
  auto links = fit.started();
  for (int p = 0; p < 3; ++p) links[p]->fingerprint({{0, p == 1 ? 7u : 5u}, "a CPU", ""});
  EXPECT_EQ(fit.loss(1).substr(0, 70), "world: worker 1 (host 127.0.0.1, pid 101) on a CPU computes other bits");
  EXPECT_TRUE(soon([&] { return links[1]->lost(); })) << "Spark starts another attempt of what fails";
  links[1].reset();
  EXPECT_NE(failure_of([&] { links[0]->await_agreed(); }), "none");
  for (const int p : {0, 2}) links[p]->halted(fit.starts[p], 0, "");
  const auto next = fit.worker(fit.hello(1, 20));
  next->ingested({{1, 1, {}}});
  next->start();
  next->fingerprint({{0, 5}, "a CPU", ""});
  next->await_agreed();
  for (const int p : {0, 2}) {
    links[p]->start();
    links[p]->await_agreed();
  }
}

}  // namespace stoker::gang
