// A worker ends: who learns of it, how soon, in which words, and how the next generation begins. Real sockets.
#include <algorithm>

#include "gang/test_raw.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;

/// Counts the halts that a worker is told of.
struct Told {
  void listen(WorkerLink& link, const Start& start) {
    link.on_stop(start, [this](const std::string& why) {
      reason = why;
      ++calls;
    });
  }
  std::string reason;
  std::atomic<int> calls = 0;
};

/// Seconds from a worker's end until the coordinator and all others know of it.
double death_seen_after() {
  Fit fit(3);
  auto links = fit.started();
  Told a, b;
  a.listen(*links[0], fit.starts[0]);
  b.listen(*links[2], fit.starts[2]);
  const Stopwatch watch;
  links[1].reset();  // its socket closes, as a killed process's does
  EXPECT_TRUE(soon([&] { return a.calls == 1 && b.calls == 1; }));
  EXPECT_NE(fit.told("halted"), "");
  return watch.elapsed();
}

/// A newer attempt takes the place, with its rows.
std::unique_ptr<WorkerLink> replace(const Fit& fit, int partition, uint64_t attempt) {
  auto link = fit.worker(fit.hello(partition, attempt, 1));
  EXPECT_EQ(link->admission().verdict, Verdict::go);
  link->ingested({{partition, 1, {}}});
  return link;
}

}  // namespace

TEST(Death, IsSeenByAllWithin100Milliseconds) {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(death_seen_after());
  std::ranges::sort(times);
  EXPECT_LT(times[2], 0.1) << "median of five, for the sake of busy machines";
}

TEST(Death, NamesWorkerHostPidStepAndCause) {
  Fit fit(3);
  auto links = fit.started();
  Told told;
  told.listen(*links[0], fit.starts[0]);
  links[1]->metrics(R"({"step": 17})");
  ASSERT_TRUE(fit.hears("metrics", "17"));
  links[1].reset();
  const std::string text = "worker 1 (host 127.0.0.1, pid 101) was lost at step 17: the connection closed";
  ASSERT_TRUE(fit.hears("halted", text)) << fit.told("halted");
  ASSERT_TRUE(soon([&] { return told.calls == 1; }));
  EXPECT_EQ(told.reason, text);
  EXPECT_FALSE(links[0]->aborted());
}

TEST(Death, LastStepIsKnownFromHeartbeatsToo) {
  Fit fit(1);
  auto links = fit.started();
  links[0]->progress(5);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  links[0].reset();
  EXPECT_TRUE(fit.hears("halted", "at step 5")) << fit.told("halted");
}

TEST(Death, UsersErrorArrivesUntouchedAndEndsTheFit) {
  Fit fit(2);
  const auto links = fit.started();
  links[0]->failed(Error(ErrorKind::user, "column 'x' has a null in row 7"));
  EXPECT_EQ(fit.failure(), "user: column 'x' has a null in row 7 [worker 0 (host 127.0.0.1, pid 100)]");
  EXPECT_TRUE(soon([&] { return links[1]->aborted(); }));
  links[1]->failed(Error(ErrorKind::aborted, "told to stop"));
  EXPECT_EQ(fit.coordinator->failure()->kind(), ErrorKind::user);
  EXPECT_EQ(failure_of([&] { fit.coordinator->take_result(); }), "bug: asked for the result of a fit that has none");
}

TEST(Death, BlamesWhoDiedNotThoseWhoMissedItFirst) {
  Fit fit(3);
  auto links = fit.started();
  links[0]->halted(fit.starts[0], 3, "rank 2 closed its connection");
  links[1]->halted(fit.starts[1], 3, "");
  links[2].reset();
  ASSERT_NE(fit.loss(2), "none");
  const auto newer = replace(fit, 2, 99);
  EXPECT_EQ(newer->start().commit, 3u);
  EXPECT_EQ(fit.told("failed").find("\"rank\":0"), std::string::npos);
}

TEST(Death, NextGenerationBeginsWhereTheNewestSurvivorStands) {
  Fit fit(3);
  auto links = fit.started();
  links[1].reset();
  ASSERT_NE(fit.loss(1), "none");
  const auto newer = replace(fit, 1, 99);
  links[0]->halted(fit.starts[0], 7, "");
  EXPECT_FALSE(fit.hears("started", "\"generation\":2", 0.2)) << "one of the survivors is still at work";
  links[2]->halted(fit.starts[2], 8, "");
  const Start start = newer->start();
  EXPECT_EQ(std::tuple(start.commit, start.roster.generation, start.roster.members[1].attempt),
            std::tuple(8u, 2u, 99u));
  EXPECT_EQ(links[0]->start().commit, 8u);
  links[2]->start();
  links[2]->result(as_bytes("w"), "{}");
  EXPECT_EQ(fit.failure(), "none");
}

TEST(Death, SecondOneWhileReformingIsNoMore) {
  Fit fit(3);
  auto links = fit.started();
  links[1].reset();
  ASSERT_NE(fit.loss(1), "none");
  links[0].reset();
  ASSERT_NE(fit.loss(0), "none");
  links[2]->halted(fit.starts[2], 5, "");
  auto first = replace(fit, 1, 98);
  first.reset();  // the newcomer dies too
  const auto b = replace(fit, 0, 99);
  while (fit.told("failed").find("\"attempt\":98") == std::string::npos) fit.keep(fit.coordinator->poll(0.05));
  const auto c = replace(fit, 1, 100);
  EXPECT_EQ(std::tuple(b->start().commit, c->start().commit, links[2]->start().roster.generation),
            std::tuple(5u, 5u, 2u));
}

TEST(Death, OlderAttemptsDoNotTakeThePlace) {
  Fit fit(1);
  auto links = fit.started();
  links[0].reset();
  ASSERT_NE(fit.loss(0), "none");
  EXPECT_EQ(fit.worker(fit.hello(0, 9, 1))->admission().verdict, Verdict::duplicate);
  replace(fit, 0, 11)->start();
}

TEST(Death, ParkedSpeculativeAttemptTakesThePlace) {
  Fit fit(1);
  auto links = fit.started();
  const auto parked = fit.worker(fit.hello(0, 99, 1));
  ASSERT_TRUE(fit.hears("log", "parked"));
  links[0].reset();
  EXPECT_EQ(parked->admission().verdict, Verdict::go);
  parked->ingested({{0, 1, {}}});
  EXPECT_EQ(parked->start().roster.members[0].attempt, 99u);
}

TEST(Death, ASpareTakesThePlaceAtOnce) {
  Fit fit(2);
  auto links = fit.started();
  const auto spare = fit.worker(fit.hello(1, 99));
  ASSERT_TRUE(fit.hears("log", "parked"));
  links[1].reset();
  EXPECT_EQ(spare->admission().verdict, Verdict::go);
  links[0]->halted(fit.starts[0], 5, "");
  spare->ingested({{1, 1, {}}});
  EXPECT_EQ(spare->start().roster.members[1].attempt, 99u);
}

TEST(Death, ASpareGivesItsSlotToAnotherThatIsMissing) {
  Fit fit(2, [](auto& options) { options.rescue_after = 60; });
  auto links = fit.started();
  const auto spare = fit.worker(fit.hello(0, 99));
  ASSERT_TRUE(fit.hears("log", "parked"));
  links[1].reset();
  EXPECT_EQ(spare->admission().verdict, Verdict::duplicate);
  replace(fit, 1, 100);
  EXPECT_EQ(fit.told("rescue"), "");
  links[0].reset();
  EXPECT_TRUE(fit.hears("rescue", R"({"partitions":[0]})")) << "Spark holds the partition for done";
}

TEST(Death, BeforeTheStartIsReplacedToo) {
  Fit fit(2);
  auto a = fit.worker(fit.hello(0, 10)), b = fit.worker(fit.hello(1, 11));
  b->admission();
  b.reset();
  ASSERT_EQ(fit.loss(1), "world: the connection closed");
  a->ingested({{0, 1, {}}});
  const auto newer = replace(fit, 1, 12);
  EXPECT_EQ(std::tuple(newer->start().commit, a->start().roster.generation), std::tuple(0u, 1u));
}

TEST(Death, WithoutAnotherAttemptEndsTheFitAtTheWorkerTimeout) {
  Fit fit(2, [](auto& options) { options.worker_timeout = 0.3; });
  auto links = fit.started();
  links[1].reset();
  EXPECT_EQ(fit.failure(),
            "world: worker 1 (host 127.0.0.1, pid 101) was lost before the first step: the connection closed; no other "
            "attempt took its place within 0.3 s (workerTimeout)");
  EXPECT_TRUE(soon([&] { return links[0]->aborted(); }));
}

TEST(Death, WhereADuplicateHasReturnedAsksForARescue) {
  Fit fit(1, [](auto& options) { options.rescue_after = 60; });
  auto links = fit.started();
  fit.coordinator->keep_spares(false);
  EXPECT_EQ(fit.worker(fit.hello(0, 11))->admission().verdict, Verdict::duplicate);
  links[0].reset();
  EXPECT_TRUE(fit.hears("rescue", R"({"partitions":[0]})")) << "Spark holds the partition for done";
  replace(fit, 0, 12)->start();
}

TEST(Death, LongWithoutAnAttemptAsksForARescueOnce) {
  Fit fit(2, [](auto& options) { options.rescue_after = 0.2; });
  auto links = fit.started();
  links[1].reset();
  ASSERT_NE(fit.loss(1), "none");
  EXPECT_EQ(fit.told("rescue"), "");
  EXPECT_TRUE(fit.hears("rescue", R"({"partitions":[1]})"));
  EXPECT_FALSE(soon([&] { return fit.told("rescue").size() > 20; }, 0.3)) << fit.told("rescue");
}

TEST(Stumbles, EndTheFitAfterThreeGenerationsThatCameToNothing) {
  Fit fit(2);
  auto links = fit.started();
  Start start = fit.starts[0];
  for (int i = 1; i <= 3; ++i) {
    links[0]->halted(start, 0, "rank 1 did not come");
    links[1]->halted(start, 0, "");
    if (i < 3) start = links[0]->start(), links[1]->start();
  }
  EXPECT_EQ(fit.failure(),
            "world: the workers cannot work together, in 3 attempts; the last failed with: worker 0 (host 127.0.0.1, "
            "pid 100): rank 1 did not come");
}

TEST(Stumbles, AreForgivenOnceAStepIsCommitted) {
  Fit fit(1);
  auto links = fit.started();
  Start start = fit.starts[0];
  for (uint64_t i = 1; i <= 8; ++i) {
    links[0]->halted(start, i / 2, "a bad day");
    start = links[0]->start();
  }
  EXPECT_FALSE(fit.coordinator->done());
}

TEST(Replay, OtherRowsEndTheFitWithCauseAndCure) {
  Fit fit(2);
  auto links = fit.started();
  links[1].reset();
  ASSERT_NE(fit.loss(1), "none");
  const auto newer = fit.worker(fit.hello(1, 99, 1));
  newer->ingested({{1, 2, {}}});
  const std::string text = fit.failure();
  EXPECT_EQ(text.find("user: worker 1 (host 127.0.0.1, pid 101) read its rows again, and they are other rows than "
                      "before (shard 1: 2 rows now, 1 before)"),
            0u)
      << text;
  EXPECT_NE(text.find("onChangedRows='continue'"), std::string::npos);
}

TEST(Replay, OtherRowsAreLetInWhenAllowedAndToldAsInexact) {
  Fit fit(1, [](auto& options) { options.allow_changed_rows = true; });
  auto links = fit.started();
  links[0].reset();
  ASSERT_NE(fit.loss(0), "none");
  const auto newer = fit.worker(fit.hello(0, 99, 1));
  newer->ingested({{0, 2, {}}});
  EXPECT_EQ(newer->start().shards.at(0).rows, 2);
  EXPECT_TRUE(fit.hears("inexact", "shard 0: 2 rows now, 1 before"));
}

/// Before a restart those who are told to halt and do not are waited for, but not for long.
void wait_little(CoordinatorOptions& options) { options.heartbeat_timeout = 1; }

TEST(Restart, SendsTheOldJobHomeAndBeginsAgainWithTheNewOne) {
  Fit fit(2, wait_little);
  auto links = fit.started();
  const auto parked = fit.worker(fit.hello(1, 50, 1));
  ASSERT_TRUE(fit.hears("log", "parked"));
  Hello next = fit.hello(0, 99);
  next.job = fit.coordinator->restart(1, "the job was lost");
  EXPECT_TRUE(soon([&] { return links[0]->aborted() && links[1]->aborted(); }));
  EXPECT_EQ(links[0]->abort_reason(), "the job was lost");
  EXPECT_EQ(parked->admission().verdict, Verdict::finished);
  EXPECT_EQ(fit.worker(fit.hello(0, 11, 1))->admission().verdict, Verdict::finished) << "of the old job";
  const auto newer = fit.worker(next);
  newer->ingested({{0, 1, {}}, {1, 1, {}}});
  EXPECT_EQ(newer->start().roster.members.size(), 1u);
  newer->result({}, "{}");
  EXPECT_EQ(fit.failure(), "none");
}

TEST(Restart, OtherRowsThanTheOldJobsAreSeen) {
  Fit fit(1, wait_little);
  const auto links = fit.started();
  Hello next = fit.hello(0, 99);
  next.job = fit.coordinator->restart(1, "the job was lost");
  const auto newer = fit.worker(next);
  newer->ingested({{0, 7, {}}});
  EXPECT_NE(fit.failure().find("shard 0: 7 rows now, 1 before"), std::string::npos);
}

TEST(Restart, AfterTheEndChangesNothing) {
  Fit fit(1);
  const auto links = fit.started();
  links[0]->result({}, "{}");
  ASSERT_EQ(fit.failure(), "none");
  fit.coordinator->restart(1, "the job was lost");
  EXPECT_EQ(fit.failure(), "none");
  EXPECT_FALSE(links[0]->aborted());
}

}  // namespace stoker::gang
