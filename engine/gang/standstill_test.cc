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
