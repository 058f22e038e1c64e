#include "checkpoint/writer.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <semaphore>

#include "base/pieces.h"
#include "base/test_beats.h"
#include "checkpoint/board.h"

namespace stoker::checkpoint {
namespace {

/// Keeps objects in memory; a put waits for leave to go on, where it must, or fails.
struct SlowStorage final : Storage {
  void put(const std::string& name, std::span<const ByteView> pieces) override {
    if (held) leave.acquire();
    if (!failure.empty()) fail_world(failure);
    Bytes whole;
    for (const auto& piece : pieces) whole.insert(whole.end(), piece.begin(), piece.end());
    const std::lock_guard lock(mutex);
    objects[name] = whole;
  }
  Bytes get(const std::string& name) override { return objects.at(name); }

  bool held = false;
  std::string failure;
  std::binary_semaphore leave{0};
  std::mutex mutex;
  std::map<std::string, Bytes> objects;
};

struct WriterTest : testing::Test {
  void write(Writer& writer, uint64_t commit, const Bytes& state, int part = 0, int of = 1) {
    writer.write(commit, {state}, part, of);
  }
  std::unique_ptr<Writer> make(uint64_t bytes) {
    auto writer = std::make_unique<Writer>(storage, [this](const Outcome& o) {
      const std::lock_guard lock(storage->mutex);
      outcomes.push_back(o);
    });
    writer->reserve(bytes);
    return writer;
  }
  std::shared_ptr<SlowStorage> storage = std::make_shared<SlowStorage>();
  std::vector<Outcome> outcomes;
};

Bytes filled(size_t bytes, int value) { return Bytes(bytes, static_cast<std::byte>(value)); }

}  // namespace

TEST_F(WriterTest, PartsOfTwoRanksAreTheWholeState) {
  Bytes state = filled(300, 1);
  state[299] = std::byte{9};
  const auto one = make(0), two = make(1000);
  write(*one, 7, state, 0, 2);
  write(*two, 7, state, 1, 2);
  one->wait();
  two->wait();
  Bytes read(300);
  for (const auto& [name, object] : storage->objects) {
    const auto head = check_part(object);
    copy_in(ByteView(object).subspan(kPartHead), head.range, {read});
  }
  EXPECT_EQ(read, state);
  EXPECT_TRUE(storage->objects.contains("step-000000000006/part-1-of-2"));
}

TEST_F(WriterTest, WhatTrainingDoesAfterwardsDoesNotReachThePart) {
  storage->held = true;
  Bytes state = filled(300, 1);
  const auto writer = make(300);
  write(*writer, 2, state);
  EXPECT_TRUE(writer->busy());
  state = filled(300, 2);
  storage->leave.release();
  writer->wait();
  EXPECT_FALSE(writer->busy());
  EXPECT_EQ(storage->objects.begin()->second.back(), std::byte{1});
}

TEST_F(WriterTest, ASecondOneWaitsForTheFirst) {
  storage->held = true;
  const auto writer = make(300);
  write(*writer, 2, filled(300, 1));
  std::jthread later([&] { storage->leave.release(); });
  write(*writer, 3, filled(400, 2));
  storage->leave.release();
  writer->wait();
  EXPECT_EQ(storage->objects.at("step-000000000001/part-0-of-1").size(), 300 + kPartHead);
  EXPECT_EQ(storage->objects.at("step-000000000002/part-0-of-1").size(), 400 + kPartHead);
}

TEST_F(WriterTest, AFailureIsToldEachTimeAndEndsNothing) {
  storage->failure = "no room";
  const auto writer = make(10);
  for (const uint64_t commit : {2, 3}) write(*writer, commit, filled(10, 1));
  writer->wait();
  storage->failure.clear();
  write(*writer, 4, filled(10, 1));
  writer->wait();
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_EQ(outcomes[1].error, "no room");
  EXPECT_EQ(std::pair(outcomes[2].error, outcomes[2].commit), std::pair(std::string(), uint64_t{4}));
}

TEST(Board, WhatTheFirstRankAnnouncesAllSee) {
  alignas(64) std::byte memory[2][64] = {};
  const std::vector<std::span<std::byte>> regions = {memory[0], memory[1]};
  ASSERT_LE(Board::bytes_of_rank(), 64u);
  Board first(regions, 0), second(regions, 1);
  EXPECT_TRUE(first.all_done());
  first.announce(5);
  EXPECT_TRUE(first.announced(5) && second.announced(5));
  EXPECT_FALSE(second.announced(4) || second.announced(7));
  first.done(5);
  EXPECT_FALSE(first.all_done());
  second.done(5);
  EXPECT_TRUE(first.all_done());
}

TEST(Board, AFirstRankThatIsAStepAheadTakesNothingBack) {
  alignas(64) std::byte memory[2][64] = {};
  Board first({memory[0], memory[1]}, 0), second({memory[0], memory[1]}, 1);
  first.announce(5);
  first.announce(6);
  EXPECT_TRUE(second.announced(5) && second.announced(6));
}

TEST_F(WriterTest, LongPartBeatsWhileItIsCopied) {
  const Bytes state = filled(6 * kPieceBytes, 3);
  const auto writer = make(0);
  EXPECT_GE(beats_of([&] { writer->write(2, {state}, 0, 2); }), 2 * 3u) << "new memory, and the copy";
}

}  // namespace stoker::checkpoint
