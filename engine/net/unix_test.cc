#include "net/unix.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/error.h"

namespace stoker::net {
namespace {

constexpr auto kTime = std::chrono::seconds(5);

std::string fresh_name() {
  static int count = 0;
  return cat("stoker-unix-test-", ::getpid(), "-", ++count);
}

/// Listens under the abstract name.
Fd listen_under(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) fail_errno("bind");
  if (::listen(fd.get(), 8) != 0) fail_errno("listen");
  return fd;
}

/// A process of its own that listens under a name, until it is killed.
struct Child {
  Child() {
    int ready[2];
    if (::pipe(ready) != 0) fail_errno("pipe");
    pid = ::fork();
    if (pid == 0) {
      const Fd fd = listen_under(name);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    ::close(ready[1]);
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
  }
  ~Child() {
    if (pid > 0) end();
  }
  /// By hand; returns the signal that had ended it.
  int end() {
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(std::exchange(pid, 0), &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  /// Whether it has ended; it is not reaped.
  bool has_ended() const {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid == pid;
  }

  std::string name = fresh_name();
  pid_t pid = 0;
};

}  // namespace

TEST(Unix, NameLeadsToItsProcess) {
  const Child child;
  EXPECT_EQ(pid_behind(child.name), child.pid);
  EXPECT_TRUE(connect_unix(child.name));
}

TEST(Unix, NobodyBehindAName) {
  EXPECT_EQ(pid_behind(fresh_name()), 0);
  EXPECT_FALSE(connect_unix(fresh_name()));
}

TEST(EndProcess, ThatRunsIsKilledAndWaitedFor) {
  Child child;
  EXPECT_TRUE(ProcessEnd(child.name).is_proven(kTime));
  EXPECT_TRUE(child.has_ended());
}

TEST(EndProcess, ThatIsStoppedIsKilledToo) {
  Child child;
  ::kill(child.pid, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid, &status, WUNTRACED), child.pid);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_TRUE(ProcessEnd(child.name).is_proven(kTime));
  EXPECT_TRUE(child.has_ended());
}

TEST(EndProcess, ThatIsGoneIsProvenAtOnce) {
  Child child;
  child.end();
  const Stopwatch watch;
  EXPECT_TRUE(ProcessEnd(child.name).is_proven(kTime));
  EXPECT_LT(watch.elapsed(), 1);
}

TEST(EndProcess, NeverTheCallersOwn) {
  const std::string name = fresh_name();
  Fd fd = listen_under(name);
  EXPECT_EQ(pid_behind(name), ::getpid());
  EXPECT_FALSE(ProcessEnd(name).is_proven(kTime)) << "it lives, so nothing is proven";
  fd.reset();
  EXPECT_TRUE(ProcessEnd(name).is_proven(kTime));
}

TEST(EndProcess, WhoseQueueIsFullIsKilledOrNotProvenDead) {
  Child child;
  std::vector<Fd> waiting;
  for (int i = 0; i < 64; ++i) waiting.push_back(connect_unix(child.name));
  EXPECT_EQ(ProcessEnd(child.name).is_proven(kTime), child.has_ended());
}

}  // namespace stoker::net
