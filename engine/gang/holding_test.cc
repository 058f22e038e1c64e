// The coordinator keeps a host's state segment open, so that it outlives the host's last worker.
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "collective/group.h"
#include "gang/test_fit.h"
#include "net/socket.h"
#include "net/unix.h"
#include "shm/segment.h"

namespace stoker::gang {
namespace {

/// A fit of one worker that can be found by its Unix name, and its state segment.
struct Holder {
  Holder() {
    hello = fit.hello(0, 10);
    hello.unix_name = listeners->unix_name();
    link = fit.worker(hello);
    link->ingested({{0, 1, {}}});
    start = link->start();
    std::memcpy(segment.bytes().data(), &nonce, sizeof(nonce));
    std::memcpy(segment.bytes().data() + sizeof(nonce), &commit, sizeof(commit));
  }
  Held held() const { return {0, segment.fd(), segment.bytes().size(), nonce}; }
  bool is_held(double within = 10) const {
    return soon([&] { return fit.coordinator->holds_state(); }, within);
  }
  /// Its process ends: the name goes with it.
  void die() {
    listeners.reset();
    link.reset();
    ASSERT_NE(fit.loss(0), "none");
  }

  Fit fit{1};
  Hash128 nonce{3, 4};
  uint64_t commit = 5;
  shm::Segment segment{"stoker-state", 8192};
  std::unique_ptr<collective::Listeners> listeners = std::make_unique<collective::Listeners>("127.0.0.1");
  Hello hello;
  std::unique_ptr<WorkerLink> link;
  Start start;
};

/// A process that listens under a name and, killed, does not end before it is let go. It has what is open as it begins.
struct Lingering {
  Lingering() {
    int ready[2];
    if (::pipe(ready) != 0) fail_errno("pipe");
    pid = ::fork();
    if (pid == 0) {
      const net::Fd fd = net::listen_unix(name);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    ::close(ready[1]);
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    is_held = ::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACEEXIT) == 0;
  }
  ~Lingering() {
    ::kill(pid, SIGKILL);
    let_go();
  }
  void let_go() {
    if (int status = 0; ::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
      ::ptrace(PTRACE_CONT, pid, nullptr, nullptr);
      ::waitpid(pid, &status, __WALL);
    }
  }

  std::string name = cat("stoker-holding-test-", ::getpid());
  pid_t pid = 0;
  bool is_held = false;  // else this system forbids it
};

}  // namespace

TEST(Holding, SegmentOutlivesItsOnlyWorker) {
  Holder holder;
  EXPECT_EQ(holder.start.held.pid, 0);
  holder.link->holding(holder.held());
  ASSERT_TRUE(holder.is_held());
  holder.segment.bytes()[100] = std::byte{42};
  holder.die();
  holder.segment = {};
  const auto newer = holder.fit.worker(holder.fit.hello(0, 11, 1));
  newer->ingested({{0, 1, {}}});
  const Held held = newer->start().held;
  EXPECT_EQ(std::tuple(held.pid, held.bytes, held.nonce), std::tuple(::getpid(), 8192u, holder.nonce));
  const net::Fd fd(::open(cat("/proc/", held.pid, "/fd/", held.fd).c_str(), O_RDWR | O_CLOEXEC));
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, 100), 1);
  EXPECT_EQ(byte, 42);
}

TEST(Holding, WhoComesAfterAllHaveDiedIsToldToBeginWithTheCommitOfTheSegment) {
  Holder holder;
  holder.link->holding(holder.held());
  ASSERT_TRUE(holder.is_held());
  holder.die();
  const auto newer = holder.fit.worker(holder.fit.hello(0, 11, 1));
  newer->ingested({{0, 1, {}}});
  newer->start();
  EXPECT_TRUE(holder.fit.hears("started", R"("commit":5)"));
}

TEST(Holding, ForeignNonceOrSizeIsNotHeld) {
  Holder holder;
  Held wrong = holder.held();
  wrong.nonce = {9, 9};
  holder.link->holding(wrong);
  wrong = holder.held();
  wrong.bytes = 4096;
  holder.link->holding(wrong);
  wrong = holder.held();
  wrong.fd = 0;
  holder.link->holding(wrong);
  EXPECT_FALSE(holder.is_held(0.2));
  EXPECT_FALSE(holder.link->aborted());
}

TEST(Holding, WorkerWithoutANameIsNotBelieved) {
  Holder holder;
  Fit fit(1);
  const auto links = fit.started();
  links[0]->holding(holder.held());
  EXPECT_FALSE(soon([&] { return fit.coordinator->holds_state(); }, 0.2));
}

TEST(Holding, StateIsDroppedWhileItsLostWorkerMayStillWrite) {
  Holder holder;
  holder.link->holding(holder.held());
  ASSERT_TRUE(holder.is_held());
  holder.link.reset();  // but its process, this one, lives and listens
  EXPECT_TRUE(soon([&] { return !holder.fit.coordinator->holds_state(); }));
}

TEST(Holding, StateIsKeptOverARestart) {
  Holder holder;
  holder.link->holding(holder.held());
  ASSERT_TRUE(holder.is_held());
  holder.listeners.reset();
  Hello next = holder.fit.hello(0, 20);
  next.job = holder.fit.coordinator->restart(1, "the job was lost");
  EXPECT_TRUE(holder.fit.coordinator->holds_state());
  const auto newer = holder.fit.worker(next);
  newer->ingested({{0, 1, {}}});
  EXPECT_EQ(newer->start().held.nonce, holder.nonce);
}

TEST(Holding, NobodyWaitsForAProcessThatTakesItsTimeToEnd) {
  const Hash128 nonce{3, 4};
  const shm::Segment segment("stoker-state", 8192);
  std::memcpy(segment.bytes().data(), &nonce, sizeof(nonce));
  Lingering process;
  if (!process.is_held) GTEST_SKIP() << "ptrace is forbidden";
  Fit fit(1);
  Hello hello = fit.hello(0, 10);
  hello.unix_name = process.name;
  auto link = fit.worker(hello);
  link->ingested({{0, 1, {}}});
  link->start();
  link->holding({0, segment.fd(), segment.bytes().size(), nonce});
  ASSERT_TRUE(soon([&] { return fit.coordinator->holds_state(); }));
  link.reset();
  fit.loss(0);
  EXPECT_TRUE(fit.coordinator->holds_state()) << "it could be asked only when the time for the end was over";
  const auto newer = fit.worker(fit.hello(0, 11, 1));
  newer->ingested({{0, 1, {}}});
  std::atomic<bool> may_end = false;
  auto begins = std::async([&] {
    const bool held = newer->start().held.pid != 0;
    return std::pair(held, may_end.load());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  may_end = true;
  process.let_go();
  const auto [held, after] = begins.get();
  EXPECT_TRUE(after || !held) << "a generation began in memory that a process may still write into";
}

}  // namespace stoker::gang
