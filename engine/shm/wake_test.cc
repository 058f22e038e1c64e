#include "shm/wake.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "shm/segment.h"

namespace stoker::shm {
namespace {

struct Shared {
  WakeWord word;
  std::atomic<uint64_t> turn;
};

void nothing() {}

constexpr int kMore = 1 << 20;  // ranks than cores: never spins

void play(Shared& shared, uint64_t parity, int ranks) {
  Spin spin(ranks);
  for (uint64_t turn = parity; turn < 4000; turn += 2) {
    wait(
        shared.word, spin, [&] { return shared.turn.load() == turn; }, nothing);
    shared.turn.store(turn + 1);
    wake(shared.word);
  }
}

TEST(Wake, TwoThreadsTakeTurnsSleepingOrSpinning) {
  for (const int ranks : {1, kMore}) {
    Shared shared{};
    const auto start = Clock::now();
    std::jthread other([&] { play(shared, 1, ranks); });
    play(shared, 0, ranks);
    // A lost wake-up costs 20 ms each time.
    EXPECT_LT(seconds(Clock::now() - start), 10);
  }
}

TEST(Wake, TwoProcessesTakeTurns) {
  const Segment segment("stoker-test", sizeof(Shared));
  auto& shared = *reinterpret_cast<Shared*>(segment.bytes().data());
  const pid_t child = ::fork();
  if (child == 0) {
    play(shared, 1, kMore);
    ::_exit(0);
  }
  play(shared, 0, kMore);
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Wake, WhatTickThrowsEndsTheWaitAndTheCount) {
  Shared shared{};
  Spin spin(1);
  const auto tick = [] { throw std::runtime_error("enough"); };
  EXPECT_THROW(wait(
                   shared.word, spin, [] { return false; }, tick),
               std::runtime_error);
  EXPECT_EQ(shared.word.waiters.load(), 0u);
}

TEST(Wake, TicksWhileNothingHappens) {
  Shared shared{};
  Spin spin(kMore);
  int ticks = 0;
  wait(
      shared.word, spin, [&] { return ticks == 3; }, [&] { ++ticks; });
  EXPECT_EQ(ticks, 3);
}

TEST(Spin, GoesDownToShortTriesWhereItNeverHelpsAndComesBack) {
  Spin spin(1);
  EXPECT_GT(spin.next(), Duration(0));
  for (int i = 0; i < 10; ++i) spin.learn(false);
  int tries = 0;
  for (int i = 0; i < 320; ++i) tries += spin.next() > Duration(0);
  EXPECT_EQ(tries, 10);
  for (int i = 0; i < 10; ++i) spin.learn(true);
  EXPECT_EQ(spin.next(), std::chrono::milliseconds(1));
  EXPECT_EQ(Spin(kMore).next(), Duration(0));
}

}  // namespace
}  // namespace stoker::shm
