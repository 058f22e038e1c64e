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

void play(Shared& shared, uint64_t parity, Duration spin) {
  for (uint64_t turn = parity; turn < 4000; turn += 2) {
    wait(shared.word, spin, [&] { return shared.turn.load() == turn; }, nothing);
    shared.turn.store(turn + 1);
    wake(shared.word);
  }
}

TEST(Wake, TwoThreadsTakeTurnsSleepingOrSpinning) {
  for (const auto spin : {Duration(0), Duration(std::chrono::microseconds(50))}) {
    Shared shared{};
    const auto start = Clock::now();
    std::jthread other([&] { play(shared, 1, spin); });
    play(shared, 0, spin);
    // A lost wake-up costs 20 ms each time.
    EXPECT_LT(seconds(Clock::now() - start), 10);
  }
}

TEST(Wake, TwoProcessesTakeTurns) {
  const Segment segment("stoker-test", sizeof(Shared));
  auto& shared = *reinterpret_cast<Shared*>(segment.bytes().data());
  const pid_t child = ::fork();
  if (child == 0) {
    play(shared, 1, Duration(0));
    ::_exit(0);
  }
  play(shared, 0, Duration(0));
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Wake, WhatTickThrowsEndsTheWaitAndTheCount) {
  Shared shared{};
  const auto tick = [] { throw std::runtime_error("enough"); };
  EXPECT_THROW(wait(shared.word, Duration(0), [] { return false; }, tick), std::runtime_error);
  EXPECT_EQ(shared.word.waiters.load(), 0u);
}

TEST(Wake, TicksWhileNothingHappens) {
  Shared shared{};
  int ticks = 0;
  wait(shared.word, Duration(0), [&] { return ticks == 3; }, [&] { ++ticks; });
  EXPECT_EQ(ticks, 3);
}

}  // namespace
}  // namespace stoker::shm
