#include "base/descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace stoker {
namespace {

/// What a process says that may open `soft`, and by raising that `hard` files, and needs 100 more than it has.
std::string said(rlim_t soft, rlim_t hard) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = "fine";
    const rlimit limit{soft, hard};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
      need_descriptors(100, "100 workers");
      for (int i = 0; i < 90; ++i)
        if (::dup(ends[1]) < 0) text = "too many open files";
    } catch (const Error& error) {
      text = cat(name(error.kind()), ": ", error.what());
    }
    (void)!::write(ends[1], text.data(), text.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  char text[300];
  const ssize_t n = ::read(ends[0], text, sizeof text);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return {text, static_cast<size_t>(std::max<ssize_t>(n, 0))};
}

}  // namespace

TEST(Descriptors, ALowSoftLimitIsRaisedAsFarAsNeeded) {
  EXPECT_EQ(said(50, 400), "fine");
  EXPECT_EQ(said(400, 400), "fine");
}

TEST(Descriptors, ALowHardLimitIsToldInWords) {
  const std::string text = said(50, 60);
  EXPECT_TRUE(text.starts_with("user: 100 workers need 1")) << text;
  EXPECT_NE(text.find("open files in one process, and its limit is 60: raise it (ulimit -Hn"), std::string::npos);
}

}  // namespace stoker
