// A restart of the Spark job where the coordinator cannot hold the workers' memory: a survivor sends the state.
#include "gang/hand_in.h"

#include <future>

#include "gang/test_fit.h"

namespace stoker::gang {
namespace {

Bytes state_of(uint64_t commit, size_t size = 3 * kChunk / 2) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + commit);
  return bytes;
}

Kept about(const Bytes& state, uint64_t commit) { return {commit, 100 + commit, state.size(), hash128(state)}; }

/// A fit of three on other hosts; the first is lost, and the driver starts the job again.
struct Restart {
  explicit Restart(double heartbeat_timeout = 5)
      : fit(3, [&](CoordinatorOptions& o) { o.heartbeat_timeout = heartbeat_timeout; }) {
    links = fit.started();
    links[0].reset();
    fit.loss(0);
  }
  void halted(int p, uint64_t commit) { links[p]->halted(fit.starts[p], commit, ""); }
  /// Like a halted worker's training thread: sends the state of this commit if it is wanted.
  void send_when_wanted(int p, uint64_t commit) {
    threads.push_back(std::async(std::launch::async, [this, p, commit] {
      const auto hand_in = [&] {
        Bytes state = state_of(commit);
        const std::span<std::byte> all = state;
        links[p]->hand_in(about(state, commit), {all.first(1000), all.subspan(1000)});
      };
      return failure_of([&] { links[p]->start(hand_in); });
    }));
  }
  int restart() { return number = fit.coordinator->restart(1, "the job was lost"); }
  /// What the only worker of the next job begins with.
  Start next(uint64_t attempt = 20) {
    Hello hello = fit.hello(0, attempt);
    hello.job = number;
    newcomer = fit.worker(hello);
    newcomer->ingested({{0, 1, {}}, {1, 1, {}}, {2, 1, {}}});
    return newcomer->start();
  }
  Bytes fetched(const Start& start) {
    Bytes got(start.kept.bytes);
    const std::span<std::byte> all = got;
    newcomer->kept_state(start, {all.first(7), all.subspan(7)});
    return got;
  }

  Fit fit;
  std::vector<std::unique_ptr<WorkerLink>> links;
  std::vector<std::future<std::string>> threads;
  std::unique_ptr<WorkerLink> newcomer;
  int number = 0;
};

}  // namespace

TEST(HandIn, NewestCommitOfTheLivingOutlivesTheirJob) {
  Restart life;
  life.send_when_wanted(1, 41);
  life.send_when_wanted(2, 42);
  life.halted(1, 41);
  life.halted(2, 42);
  life.restart();
  const Start start = life.next();
  EXPECT_EQ(std::tuple(start.commit, start.kept.commit, start.kept.runs), std::tuple(0u, 42u, 142u));
  EXPECT_EQ(life.fetched(start), state_of(42));
}

TEST(HandIn, OneThatHaltsLateAndHasANewerCommitIsWaitedFor) {
  Restart life;
  life.send_when_wanted(1, 41);
  life.send_when_wanted(2, 42);
  life.halted(1, 41);
  auto restarted = std::async(std::launch::async, [&] { life.restart(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));  // 41 is there meanwhile
  life.halted(2, 42);
  restarted.wait();
  EXPECT_EQ(life.next().kept.commit, 42u);
}

TEST(HandIn, OneThatDiesWhileItSendsGivesTheNextOneItsTurn) {
  Restart life;
  life.send_when_wanted(1, 41);
  life.halted(1, 41);
  life.halted(2, 42);
  auto dies = std::async(std::launch::async, [&] {
    failure_of([&] {
      life.links[2]->start([&] {
        Bytes half = state_of(42);
        life.links[2]->hand_in(about(half, 42), {std::span(half).first(kChunk)});
        life.links[2]->close();
      });
    });
  });
  life.restart();
  const Start start = life.next();
  EXPECT_EQ(start.kept.commit, 41u);
  EXPECT_EQ(life.fetched(start), state_of(41));
}

TEST(HandIn, OneThatLivesAndSendsNothingIsPassedOver) {
  Restart life(0.5);
  life.halted(1, 41);
  life.halted(2, 42);  // it answers heartbeats, and that is all
  life.send_when_wanted(1, 41);
  const Stopwatch watch;
  life.restart();
  EXPECT_LT(watch.elapsed(), 3);
  EXPECT_EQ(life.next().kept.commit, 41u);
}

TEST(HandIn, WhereNobodyHasAStateTheRestartDoesNotWait) {
  Restart life;
  life.halted(1, 0);
  life.halted(2, 0);
  const Stopwatch watch;
  life.restart();
  EXPECT_LT(watch.elapsed(), 1);
  EXPECT_EQ(life.next().kept.commit, 0u);
}

TEST(HandIn, StateIsStillThereAfterASecondRestart) {
  Restart life;
  life.send_when_wanted(2, 42);
  life.halted(1, 0);
  life.halted(2, 42);
  life.restart();
  EXPECT_EQ(life.next(20).kept.commit, 42u);
  life.newcomer.reset();  // dies before it has a state of its own
  life.restart();
  const Start start = life.next(30);
  EXPECT_EQ(start.kept.commit, 42u);
  EXPECT_EQ(life.fetched(start), state_of(42));
}

TEST(HandIn, NobodyElsesChunksAreTaken) {
  HandIn hand_in(0, from_seconds(5));
  Gang gang;
  for (const int p : {0, 1}) {
    gang.members[p].hello.partition = p;
    gang.members[p].hello.attempt = 10 + p;
    gang.members[p].commit = 5 + p;
  }
  const TimePoint now = Clock::now();
  ASSERT_EQ(hand_in.next(now, gang).ask, 1);
  const Bytes state = state_of(6, 100), other = state_of(5, 100);
  hand_in.begin(gang.members[1], about(state, 6), now);
  hand_in.begin(gang.members[0], about(other, 5), now);
  EXPECT_FALSE(hand_in.add(gang.members[0], other, now));
  const auto whole = hand_in.add(gang.members[1], state, now);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->second, state);
  EXPECT_TRUE(hand_in.next(now, gang).over);
}

TEST(HandIn, LongerStateThanAnnouncedIsRefused) {
  HandIn hand_in(0, from_seconds(5));
  Gang gang;
  gang.members[0].hello.attempt = 10;
  gang.members[0].commit = 5;
  const TimePoint now = Clock::now();
  hand_in.next(now, gang);
  hand_in.begin(gang.members[0], {5, 0, 10, {}}, now);
  EXPECT_EQ(failure_of([&] { hand_in.add(gang.members[0], Bytes(11), now); }),
            "world: a state is longer than announced");
}

}  // namespace stoker::gang
