// Workers whose training thread hangs while their process answers every ping.
#include <sys/wait.h>
#include <unistd.h>

#include "base/pulse.h"
#include "gang/test_fit.h"

namespace stoker::gang {
namespace {

/// Begins a worker in a process of its own, whose thread gets nothing done once it has begun to work; its pid. The
/// port of its coordinator comes through `port`.
pid_t hang_in_a_process(const Hello& hello, const Bytes& secret, int port) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int number = 0;
  if (::read(port, &number, sizeof number) != sizeof number) ::_exit(1);
  WorkerLink link(Line({"127.0.0.1", number, secret, 10}), hello);
  const pulse::Work work(link.pulse());
  for (;;) ::pause();
}

}  // namespace

TEST(Standstill, WorkerWhoseThreadGetsNothingDoneIsLostThoughItAnswers) {
  Fit fit(1, [](auto& options) { options.heartbeat_timeout = 0.5; });
  const auto hung = fit.worker(fit.hello(0));
  const pulse::Work work(hung->pulse());
  EXPECT_EQ(fit.loss(0), "world: its process lives, but its training thread got nothing done for 0.5 s");
  EXPECT_NE(fit.told("failed").find("\"how\":\"stuck\""), std::string::npos);
  EXPECT_TRUE(soon([&] { return hung->aborted(); })) << "it is fenced";
}

TEST(Standstill, WorkerWhoseThreadWaitsOrGetsSomethingDoneIsNotLost) {
  Fit fit(2, [](auto& options) { options.heartbeat_timeout = 0.5; });
  const auto waiting = fit.worker(fit.hello(0)), busy = fit.worker(fit.hello(1));
  std::jthread waiter([&] {
    const pulse::Work work(waiting->pulse());
    failure_of([&] { waiting->start(); });
  });
  const pulse::Work work(busy->pulse());
  for (const Stopwatch watch; watch.elapsed() < 1.5; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    pulse::beat();
  }
  EXPECT_EQ(fit.told("failed"), "");
  waiting->close();
}

namespace {

/// A worker whose thread waits for its peer until it is told to stop, and then says that it has.
std::jthread wait_for_peer(WorkerLink& link, const Start& start, const std::string& peer) {
  return std::jthread([&link, &start, peer] {
    std::stop_source stop;
    link.on_stop(start, [stop](const std::string&) mutable { stop.request_stop(); });
    const pulse::Work work(link.pulse());
    const pulse::Wait wait(peer);
    for (; !stop.stop_requested(); pulse::beat()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    link.halted(start, 0, "");
  });
}

}  // namespace

TEST(Standstill, WorkersThatOnlyWaitForEachOtherAreHaltedAndTheReasonSaysForWhom) {
  Fit fit(2, [](auto& options) { options.heartbeat_timeout = 0.3; });
  const auto links = fit.started();
  {
    const auto first = wait_for_peer(*links[0], fit.starts[0], "rank 1");
    const auto second = wait_for_peer(*links[1], fit.starts[1], "rank 0");
    EXPECT_TRUE(fit.hears("halted",
                          "all wait for each other, and nothing has moved for 0.9 s: worker 0 (host "
                          "127.0.0.1, pid 100) waits for rank 1; worker 1 (host 127.0.0.1, pid 101) waits "
                          "for rank 0"));
  }
  EXPECT_EQ(links[0]->start().roster.generation, 2u) << "they may try again";
  EXPECT_EQ(fit.told("failed"), "");
}

TEST(Standstill, WorkerThatWaitsForOneThatGetsOnIsLeftAlone) {
  Fit fit(2, [](auto& options) { options.heartbeat_timeout = 0.2; });
  const auto links = fit.started();
  const auto first = wait_for_peer(*links[0], fit.starts[0], "rank 1");
  {
    const pulse::Work work(links[1]->pulse());
    for (const Stopwatch watch; watch.elapsed() < 1.5; pulse::beat())
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(fit.told("halted") + fit.told("failed"), "");
  fit.coordinator->abort("enough");
}

TEST(Standstill, WorkerThatNobodyElseCanEndEndsItself) {
  int port[2];
  ASSERT_EQ(::pipe(port), 0);
  Hello hello{.partition = 0, .host = "127.0.0.1", .unix_name = "nobody listens here", .torch_version = "2.13.0"};
  const pid_t worker = hang_in_a_process(hello, Bytes(32, std::byte{7}), port[0]);
  Fit fit(1, [](auto& options) { options.heartbeat_timeout = 0.5; });
  const int number = fit.coordinator->port();
  ASSERT_EQ(::write(port[1], &number, sizeof number), static_cast<ssize_t>(sizeof number));
  EXPECT_EQ(fit.loss(0), "world: its process lives, but its training thread got nothing done for 0.5 s");
  int status = 0;
  ASSERT_TRUE(soon([&] { return ::waitpid(worker, &status, WNOHANG) == worker; }));
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ::close(port[0]);
  ::close(port[1]);
}

}  // namespace stoker::gang
