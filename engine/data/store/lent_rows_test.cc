#include "data/store/lent_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace stoker::data {
namespace {

constexpr size_t kStride = 12;

shm::Segment segment_of(size_t stride, size_t row_bytes, const std::vector<LentShard>& shards) {
  const Bytes index = lent_index(stride, row_bytes, shards);
  shm::Segment segment("stoker-rows", row_bytes + index.size());
  for (size_t i = 0; i < row_bytes; ++i) segment.bytes()[i] = static_cast<std::byte>(i / stride);
  std::ranges::copy(index, segment.bytes().begin() + row_bytes);
  return segment;
}

/// A segment of rows whose bytes are their numbers, two shards of them.
shm::Segment lent(uint32_t first, uint32_t second, size_t stride = kStride) {
  std::vector<uint32_t> a(first), b(second);
  std::iota(a.rbegin(), a.rend(), 0);
  std::iota(b.rbegin(), b.rend(), first);
  const std::vector<LentShard> shards = {{3, {1, 2}, a}, {10, {3, 4}, b}};
  const size_t row_bytes = (first + second) * stride;
  return segment_of(stride, row_bytes, shards);
}

}  // namespace

TEST(LentRows, AreWhatWasLent) {
  for (const uint32_t first : {0, 1, 5, 3000})
    for (const uint32_t second : {0, 1, 2000}) {
      const LentRows rows(lent(first, second), kStride);
      ASSERT_EQ(rows.shards().size(), 2);
      EXPECT_EQ(rows.shards()[0].order.size(), first);
      EXPECT_EQ(rows.shards()[1].digest, (Hash128{3, 4}));
      ASSERT_EQ(rows.shards()[1].order.size(), second);
      for (uint32_t i = 0; i < second; ++i) EXPECT_EQ(rows.shards()[1].order[i], first + second - 1 - i);
      if (first == 0) continue;
      EXPECT_EQ(rows.rows()[(first - 1) * kStride], static_cast<std::byte>(first - 1));
    }
}

TEST(LentRows, OfAnotherStrideOrSpoiltAreRefused) {
  EXPECT_THROW(LentRows(lent(5, 5), 8), Error);
  EXPECT_THROW(LentRows(shm::Segment("stoker-rows", 4096), kStride), Error);
  EXPECT_THROW(LentRows(shm::Segment(), kStride), Error);
  const size_t size = lent(5, 5).bytes().size();
  for (const size_t back : {8, 16, 24, 32}) {  // each number of the tail
    auto segment = lent(5, 5);
    segment.bytes()[size - back + 5] = std::byte{1};
    EXPECT_THROW(LentRows(std::move(segment), kStride), Error) << back;
  }
  auto segment = lent(5, 5);
  segment.bytes()[2 * 64 + 3] = std::byte{1};  // in a row's number: they follow 120 bytes of rows
  EXPECT_THROW(LentRows(std::move(segment), kStride), Error);
}

TEST(LentRows, TheNewestOfAShardCountAndTheRestStays) {
  Borrowed borrowed;
  EXPECT_EQ(borrowed.of(3), nullptr);
  borrowed.take(LentRows(lent(5, 7), kStride));
  const LentRows* older = borrowed.of(10);
  const std::vector<uint32_t> order = {0, 1};
  borrowed.take(LentRows(segment_of(kStride, 2 * kStride, {{3, {}, order}}), kStride));
  EXPECT_EQ(borrowed.order(3).size(), 2);
  EXPECT_EQ(borrowed.of(10), older);
  EXPECT_EQ(borrowed.order(10).size(), 7);
}

TEST(LentRows, AreKnownAgainByTheirMemory) {
  Borrowed borrowed;
  const shm::Segment segment = lent(5, 7);
  EXPECT_FALSE(borrowed.has(segment.id()));
  borrowed.take(LentRows(segment.again(), kStride));
  EXPECT_TRUE(borrowed.has(segment.again().id()));
  EXPECT_FALSE(borrowed.has(lent(5, 7).id())) << "the same rows elsewhere";
  borrowed.take(LentRows(lent(5, 7), kStride));
  EXPECT_FALSE(borrowed.has(segment.id())) << "others took their place";
}

}  // namespace stoker::data
