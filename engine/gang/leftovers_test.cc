// What a fit leaves behind in a process: nothing. Read from /proc.
#include <filesystem>
#include <set>

#include "gang/test_fit.h"
#include "net/socket.h"

namespace stoker::gang {
namespace {

std::set<std::string> entries(const char* folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

struct Leftovers {
  std::set<std::string> threads = entries("/proc/self/task");
  std::set<std::string> descriptors = entries("/proc/self/fd");
  friend bool operator==(const Leftovers&, const Leftovers&) = default;
};

}  // namespace

TEST(Leftovers, NothingStaysAfterASuccess) {
  const Leftovers before;
  {
    Fit fit(3);
    const auto links = fit.started();
    EXPECT_NE(Leftovers(), before) << "the probe sees nothing";
    links[0]->result(Bytes(5 << 20), "{}");
    for (const auto& link : links) link->finished();
    EXPECT_EQ(fit.failure(), "none");
  }
  EXPECT_EQ(Leftovers(), before);
}

TEST(Leftovers, NothingStaysAfterADeathAmongStrangers) {
  const Leftovers before;
  {
    Fit fit(3);
    auto links = fit.started();
    std::vector<net::Fd> strangers;
    for (int i = 0; i < 50; ++i) {
      strangers.push_back(
          net::connect_tcp("127.0.0.1", fit.coordinator->port(), Clock::now() + std::chrono::seconds(5)));
    }
    links[2].reset();
    EXPECT_NE(fit.loss(2), "none");
  }
  EXPECT_EQ(Leftovers(), before);
}

TEST(Leftovers, NothingStaysWhenTheCoordinatorGoesFirst) {
  const Leftovers before;
  {
    Fit fit(2);
    const auto links = fit.started();
    fit.coordinator.reset();
    for (const auto& link : links) link->finished();
  }
  EXPECT_EQ(Leftovers(), before);
}

TEST(Leftovers, CloseLeavesNothingEither) {
  Fit fit(1);
  const auto links = fit.started();
  const size_t threads = entries("/proc/self/task").size();
  links[0]->close();
  fit.coordinator->close();
  EXPECT_EQ(entries("/proc/self/task").size(), threads - 2);
  links[0]->close();
  fit.coordinator->close();
}

TEST(Leftovers, RefusedConnectionLeavesNothing) {
  const Leftovers before;
  {
    Fit fit(1);
    LinkOptions link = fit.link();
    link.secret = Bytes(32);
    EXPECT_NE(failure_of([&] { Line{link}; }), "none");
  }
  EXPECT_EQ(Leftovers(), before);
}

}  // namespace stoker::gang
