#include "collective/group.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>

#include "base/pulse.h"
#include "collective/shard_sum.h"
#include "collective/testing.h"
#include "net/socket.h"

namespace stoker::collective {
namespace {

using testing::Rosters;
using testing::run_groups;
using testing::run_ranks;
using testing::World;

/// What `work` throws, and how long it took.
struct Outcome {
  ErrorKind kind = ErrorKind::bug;
  std::string text = "nothing was thrown";
  double seconds = 0;
};

Outcome outcome_of(const std::function<void()>& work) {
  Outcome outcome;
  const Stopwatch watch;
  try {
    work();
  } catch (const Error& error) {
    outcome.kind = error.kind();
    outcome.text = error.what();
  }
  outcome.seconds = watch.elapsed();
  return outcome;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Steps of nothing but the collective, until something ends them.
void run_steps(Group& group, uint64_t from, uint64_t to) {
  const auto sum = make_shard_sum(group, {4, 64 * 1024, 1024, 2});
  for (uint64_t step = from; step < to; ++step) {
    sum->begin(step, {true, true, true, true});
    const Node owned = owned_shards(group.rank(), group.size(), 4);
    for (int s = owned.lo; s < owned.hi; ++s) {
      sum->next()[0] = 1;
      sum->put(s);
    }
    sum->exchange();
    group.arrive(Phase::slices, step);
    group.await(Phase::slices, step);
  }
}

/// The ways between ranks that each fault must be tried on.
std::vector<World> ways() {
  return {{.size = 3}, {.size = 3, .force_tcp = true}, {.size = 4, .host_groups = {0, 0, 1, 1}}};
}

/// Stops whoever still waits after some time, as the coordinator does; gives what they waited for.
struct Judge {
  explicit Judge(int size, double after = 0.5) : pulses(size), awaited(size) {
    judge = std::jthread([this, after] {
      std::this_thread::sleep_for(std::chrono::duration<double>(after));
      for (size_t r = 0; r < pulses.size(); ++r) awaited[r] = pulses[r].awaits();
      stop.request_stop();
    });
  }
  /// What comes of the rank's forming the group.
  Outcome form(Rosters& rosters, const Roster& roster) {
    const pulse::Work work(pulses[roster.rank]);
    return outcome_of([&] { Group::form(roster, *rosters.listeners[roster.rank], stop.get_token()); });
  }

  std::deque<pulse::Pulse> pulses;
  std::vector<std::string> awaited;
  std::stop_source stop;
  std::jthread judge;
};

// -- what a group is

TEST(Group, FindsWhoSharesAHost) {
  run_groups({.size = 5, .host_groups = {2, 0, 1, 0, 2}}, [](Group& group) {
    const std::vector<std::vector<int>> mates = {{0, 4}, {1, 3}, {2}, {1, 3}, {0, 4}};
    EXPECT_EQ(group.hosts(), 3);
    EXPECT_EQ(group.local_ranks(), mates[group.rank()]);
    EXPECT_EQ(group.local_ranks()[group.local_rank()], group.rank());
  });
}

TEST(Group, RegionsAreSharedInsideAHostOnly) {
  run_groups({.size = 4, .host_groups = {0, 0, 1, 1}}, [](Group& group) {
    const auto regions = group.rank_regions(100);
    ASSERT_EQ(regions.size(), 2u);
    regions[group.local_rank()][99] = static_cast<std::byte>(group.rank() + 1);
    group.arrive(Phase::norms, 1);
    group.await(Phase::norms, 1);
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(regions[i][99], static_cast<std::byte>(group.local_ranks()[i] + 1));
    EXPECT_EQ(group.host_region(0).size(), 0u);
  });
}

TEST(Group, AskingForDifferentRegionsIsABugAndNamesThePeer) {
  run_groups({.size = 2}, [](Group& group) {
    if (group.rank() == 0) group.host_region(8192);
    if (group.rank() == 0) return;
    const Outcome outcome = outcome_of([&] { group.host_region(4096); });
    EXPECT_EQ(outcome.kind, ErrorKind::bug);
    EXPECT_TRUE(has(outcome.text, "rank 0")) << outcome.text;
  });
}

TEST(Group, TooLargeARegionIsAnErrorForEveryRankOfTheHost) {
  Rosters rosters(World{.size = 2});
  std::vector<Outcome> outcomes(2);
  run_ranks(2,
            [&](int rank) { outcomes[rank] = outcome_of([&] { rosters.form(rank)->host_region(size_t{1} << 50); }); });
  EXPECT_EQ(outcomes[0].kind, ErrorKind::world);
  EXPECT_TRUE(has(outcomes[0].text, "MiB available")) << outcomes[0].text;
  EXPECT_EQ(outcomes[1].kind, ErrorKind::aborted);
  EXPECT_TRUE(has(outcomes[1].text, "rank 0 (host 127.0.0.1, pid 1000) gave up")) << outcomes[1].text;
}

TEST(Group, ARankThatIsAheadDoesNotPassForOneThatIsBehind) {
  run_groups({.size = 2}, [](Group& group) {
    for (uint64_t step = 0; step < 2000; ++step) {
      group.arrive(Phase::partials, step);
      EXPECT_FALSE(group.rank() == 0 && group.reached(Phase::slices, step));  // rank 0 has not arrived there itself
      group.await(Phase::partials, step);
      group.arrive(Phase::slices, step);
      group.await(Phase::slices, step);
    }
  });
}

TEST(Group, AWorldOfOneHoldsNoDescriptor) {
  Rosters rosters(World{.size = 1});
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = count();
  const auto group = rosters.form(0);
  run_steps(*group, 0, 3);
  EXPECT_EQ(count(), before);
}

// -- who does not come

TEST(Forming, WaitsForARankThatDoesNotComeUntilToldAndSaysForWhom) {
  Rosters rosters(World{.size = 3});
  Judge judge(2);
  run_ranks(2, [&](int rank) {
    const Outcome outcome = judge.form(rosters, rosters.of(rank));
    EXPECT_EQ(outcome.kind, ErrorKind::aborted) << outcome.text;
    EXPECT_GE(outcome.seconds, 0.4);
    EXPECT_LT(outcome.seconds, 2);
  });
  for (const auto& awaited : judge.awaited)
    EXPECT_EQ(awaited, "rank 2 (host 127.0.0.1, pid 1002) to join: it has not connected");
}

TEST(Forming, TakesInARankThatComesLate) {
  Rosters rosters(World{.size = 3});
  run_ranks(3, [&](int rank) {
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    run_steps(*rosters.form(rank), 0, 2);
  });
}

TEST(Forming, AWrongSecretNeverGetsIn) {
  for (const bool tcp : {false, true}) {
    Rosters rosters(World{.size = 2, .force_tcp = tcp});
    Judge judge(2);
    run_ranks(2, [&](int rank) {
      Roster roster = rosters.of(rank);
      if (rank == 1) roster.secret = Rosters::to_bytes("guess");
      EXPECT_EQ(judge.form(rosters, roster).kind, ErrorKind::aborted);
    });
    EXPECT_TRUE(has(judge.awaited[1], "rank 0 (host 127.0.0.1, pid 1000) to join: ")) << judge.awaited[1];
  }
}

TEST(Forming, AnotherGenerationDoesNotGetIn) {
  Rosters rosters(World{.size = 2});
  Judge judge(2);
  run_ranks(2, [&](int rank) {
    Roster roster = rosters.of(rank);
    roster.generation += rank;
    EXPECT_EQ(judge.form(rosters, roster).kind, ErrorKind::aborted);
  });
}

TEST(Forming, StrangersWhoSaySomethingOrNothingDoNotHoldItUp) {
  Rosters rosters(World{.size = 2});
  const auto soon = Clock::now() + std::chrono::seconds(5);
  const net::Fd silent = net::connect_tcp("127.0.0.1", rosters.listeners[0]->port(), soon);
  const net::Fd talker = net::connect_tcp("127.0.0.1", rosters.listeners[0]->port(), soon);
  net::write_all(talker.get(), Bytes(200), soon);
  const Outcome outcome = outcome_of([&] { run_ranks(2, [&](int rank) { rosters.form(rank); }); });
  EXPECT_EQ(outcome.text, "nothing was thrown");
  EXPECT_LT(outcome.seconds, 3);
}

TEST(Forming, StrangersWhoSayOneByteEachDoNotHoldItUp) {
  Rosters rosters(World{.size = 3, .force_tcp = true});
  const auto soon = Clock::now() + std::chrono::seconds(5);
  std::vector<net::Fd> talkers;
  for (int i = 0; i < 300; ++i) {
    talkers.push_back(net::connect_tcp("127.0.0.1", rosters.listeners[i % 2]->port(), soon));
    net::write_all(talkers.back().get(), Bytes(1, std::byte{'S'}), soon);
  }
  const Outcome outcome = outcome_of([&] { run_ranks(3, [&](int rank) { rosters.form(rank); }); });
  EXPECT_EQ(outcome.text, "nothing was thrown");
  EXPECT_LT(outcome.seconds, 2);
}

TEST(Forming, StopsWhenAsked) {
  Rosters rosters(World{.size = 2});
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  for (const int rank : {0, 1}) {
    const Outcome outcome =
        outcome_of([&] { Group::form(rosters.of(rank), *rosters.listeners[rank], stop.get_token()); });
    EXPECT_EQ(outcome.kind, ErrorKind::aborted) << outcome.text;
    EXPECT_LT(outcome.seconds, 2);
  }
}

// -- who leaves, dies or freezes

TEST(Leaving, InGoodOrderAfterTheLastStepDisturbsNobody) {
  for (const World& world : ways())
    for (int i = 0; i < 20; ++i) run_groups(world, [](Group& group) { run_steps(group, 0, 2); });
}

/// What a rank sees when `cause` left with an error. Another one that gave up inside a frame looks dead.
bool follows(const Outcome& outcome, int cause) {
  const bool another_died =
      has(outcome.text, "died: its connection closed") && !has(outcome.text, "rank " + std::to_string(cause) + " ");
  return outcome.kind == ErrorKind::aborted || (outcome.kind == ErrorKind::world && another_died);
}

TEST(Leaving, WithAnErrorEndsTheOthersAtOnceAsAborted) {
  for (const World& world : ways()) {
    Rosters rosters(world);
    run_ranks(world.size, [&](int rank) {
      const Outcome outcome = outcome_of([&] {
        const auto group = rosters.form(rank);
        run_steps(*group, 0, 3);
        if (rank == 1) fail_user("a bad row");
        run_steps(*group, 3, 100);
      });
      EXPECT_TRUE(rank == 1 ? outcome.kind == ErrorKind::user : follows(outcome, 1)) << outcome.text;
      EXPECT_LT(outcome.seconds, 2);
    });
  }
}

TEST(Leaving, TooEarlyIsAnErrorThatNamesTheRank) {
  for (const World& world : ways()) {
    Rosters rosters(world);
    run_ranks(world.size, [&](int rank) {
      const Outcome outcome = outcome_of([&] {
        const auto group = rosters.form(rank);
        run_steps(*group, 0, rank == 1 ? 3 : 100);
      });
      if (rank != 1) {
        EXPECT_TRUE(outcome.kind == ErrorKind::world || has(outcome.text, "gave up")) << outcome.text;
      }
    });
  }
}

TEST(Abort, WakesTheWaiterWithin100MillisecondsAndForGood) {
  for (const World& world : ways()) {
    Rosters rosters(world);
    run_ranks(world.size, [&](int rank) {
      const auto group = rosters.form(rank);
      run_steps(*group, 0, 2);
      if (rank == 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        group->abort("over");
        return;
      }
      std::atomic<double> at = 0;
      const Stopwatch watch;
      std::jthread aborter([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        at = watch.elapsed();
        group->abort("the driver said so");
      });
      const Outcome outcome = outcome_of([&] { run_steps(*group, 2, 100); });
      EXPECT_TRUE(follows(outcome, 1)) << outcome.text;
      if (has(outcome.text, "the driver said so")) {  // else the other way round: another rank gave up first
        EXPECT_LT(watch.elapsed() - at, 0.1 + 0.4 /* a busy machine */);
        EXPECT_EQ(outcome_of([&] { group->await(Phase::norms, 0); }).kind, ErrorKind::aborted);
      }
    });
  }
}

/// Runs each rank in a process of its own; `survivor(rank)` is the exit code wanted of those that end by themselves.
struct Processes {
  Processes(Rosters& rosters, int size, const std::function<int(int)>& body) {
    for (int rank = 0; rank < size; ++rank) {
      const pid_t pid = ::fork();
      if (pid == 0) {
        for (int other = 0; other < size; ++other)
          if (other != rank) rosters.listeners[other].reset();
        ::_exit(body(rank));
      }
      pids.push_back(pid);
    }
  }
  ~Processes() {
    for (const pid_t pid : pids)
      if (pid > 0) ::kill(pid, SIGKILL), ::waitpid(pid, nullptr, 0);
  }
  /// -1 when it was killed.
  int exit_code(int rank) {
    int status = 0;
    ::waitpid(std::exchange(pids[rank], 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::vector<pid_t> pids;
};

constexpr int kRanToTheEnd = 10, kDied = 11, kWaited = 12, kGaveUp = 13, kOther = 14;

int code_of(const Outcome& outcome) {
  if (outcome.kind == ErrorKind::world && has(outcome.text, "rank 1 (host 127.0.0.1, pid 1001) died")) return kDied;
  if (outcome.kind == ErrorKind::aborted && has(outcome.text, "gave up")) return kGaveUp;
  if (outcome.text == "nothing was thrown") return kRanToTheEnd;
  std::fprintf(stderr, "unexpected: %s\n", outcome.text.c_str());
  return kOther;
}

int endless_steps(Rosters& rosters, int rank, int ready) {
  return code_of(outcome_of([&] {
    const auto group = rosters.form(rank);
    run_steps(*group, 0, 3);
    (void)!::write(ready, "r", 1);
    run_steps(*group, 3, uint64_t{1} << 30);
  }));
}

/// Ends once it has waited for rank 1 itself for a second, and not before: as the coordinator, which hears of that,
/// would. Who waits for one that waits is told by the others.
int steps_until_nothing_moves(Rosters& rosters, int rank, int ready) {
  pulse::Pulse pulse;
  const pulse::Work work(pulse);
  const auto group = rosters.form(rank);
  std::jthread watcher([&](const std::stop_token& over) {
    pulse::Watch watch;
    const auto told = [&] {
      const double waiting = seconds(watch.look(Clock::now(), pulse.read(), std::chrono::seconds(1)).waiting);
      return waiting >= 1 && has(pulse.awaits(), "rank 1 (host 127.0.0.1, pid 1001)");
    };
    while (!told() && !over.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    group->abort("the judge heard that it waits for " + pulse.awaits());
  });
  const Outcome outcome = outcome_of([&] {
    run_steps(*group, 0, 3);
    (void)!::write(ready, "r", 1);
    run_steps(*group, 3, uint64_t{1} << 30);
  });
  return outcome.kind == ErrorKind::aborted && has(outcome.text, "the judge") ? kWaited : code_of(outcome);
}

class Fault : public ::testing::TestWithParam<World> {
 protected:
  /// Starts the world, waits until it is at work, sends rank 1 `signal`, and gives the time until all others ended.
  double strike(Rosters& rosters, int size, int signal, std::vector<int>& codes,
                int (*body)(Rosters&, int, int) = endless_steps) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    Processes processes(rosters, size, [&](int rank) { return body(rosters, rank, ready[1]); });
    char byte;
    for (int i = 0; i < size; ++i) EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::kill(processes.pids[1], signal);
    const Stopwatch watch;
    for (int rank = 0; rank < size; ++rank)
      if (rank != 1) codes.push_back(processes.exit_code(rank));
    const double seconds = watch.elapsed();
    ::close(ready[0]), ::close(ready[1]);
    return seconds;
  }
};

TEST_P(Fault, AKilledRankEndsAllOthersAtOnceByName) {
  Rosters rosters(GetParam());
  std::vector<int> codes;
  const double seconds = strike(rosters, GetParam().size, SIGKILL, codes);
  EXPECT_LT(seconds, 0.1 + 0.4 /* a busy machine, and the ends of processes */);
  EXPECT_TRUE(std::count(codes.begin(), codes.end(), kDied) >= 1);
  for (const int code : codes) EXPECT_TRUE(code == kDied || code == kGaveUp) << code;
}

TEST_P(Fault, AFrozenRankIsWaitedForUntilTheOthersAreTold) {
  Rosters rosters(GetParam());
  std::vector<int> codes;
  const double seconds = strike(rosters, GetParam().size, SIGSTOP, codes, steps_until_nothing_moves);
  EXPECT_GT(seconds, 0.8);
  EXPECT_LT(seconds, 3);
  EXPECT_TRUE(std::count(codes.begin(), codes.end(), kWaited) >= 1);
  for (const int code : codes) EXPECT_TRUE(code == kWaited || code == kGaveUp) << code;
}

INSTANTIATE_TEST_SUITE_P(Ways, Fault, ::testing::ValuesIn(ways()), [](const auto& info) {
  return std::string(info.param.force_tcp ? "Tcp" : info.param.host_groups.empty() ? "SharedMemory" : "TwoHosts");
});

// -- what stays behind

std::string our_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::string line, ours;
  while (std::getline(maps, line))
    if (has(line, "memfd:stoker")) ours += line + "\n";
  return ours;
}

TEST(Traces, NoDescriptorAndNoMappingStaysWhateverTheEnd) {
  const auto descriptors = [] {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) all.push_back(entry.path());
    return all.size();
  };
  const size_t before = descriptors();
  for (const World& world : ways()) {
    run_groups(world, [](Group& group) { run_steps(group, 0, 2); });
    Rosters rosters(world);
    run_ranks(world.size, [&](int rank) {
      outcome_of([&] {
        const auto group = rosters.form(rank);
        run_steps(*group, 0, 2);
        if (rank == 0) fail_world("trouble");
        run_steps(*group, 2, 100);
      });
    });
  }
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(our_mappings(), "");
}

}  // namespace
}  // namespace stoker::collective
