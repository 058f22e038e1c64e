#include "base/pieces.h"

#include <gtest/gtest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash.h"
#include "base/test_beats.h"

namespace stoker {
namespace {

constexpr size_t kLong = 3 * kPieceBytes + 5;

Bytes filled(size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * i >> 7);
  return bytes;
}

TEST(Pieces, CoverAllOnceAndBeatAfterEach) {
  for (const size_t count : {0, 1, 7, 8, 9, 24}) {
    size_t next = 0;
    const auto take = [&](size_t begin, size_t n) {
      EXPECT_EQ(begin, next);
      next += n;
    };
    EXPECT_EQ(beats_of([&] { in_pieces(count, 8, take); }), (count + 7) / 8);
    EXPECT_EQ(next, count);
  }
}

TEST(Pieces, CopiesAndNewZerosBeat) {
  const Bytes from = filled(kLong);
  Bytes to;
  EXPECT_EQ(beats_of([&] { resize_in_pieces(to, kLong); }), 4u);
  EXPECT_EQ(to, Bytes(kLong));
  EXPECT_EQ(beats_of([&] { copy_bytes(from, to.data()); }), 4u);
  EXPECT_EQ(to, from);
  resize_in_pieces(to, 3);
  EXPECT_EQ(to, filled(3));
}

TEST(Pieces, LongBytesHaveTheHashThatTheyHaveInOnePiece) {
  for (const size_t size : {kPieceBytes, kPieceBytes + 1, kLong}) {
    const Bytes bytes = filled(size);
    for (const uint64_t seed : {0, 1, 77}) {
      const auto wanted = XXH3_128bits_withSeed(bytes.data(), size, seed);
      EXPECT_EQ(hash128(bytes, seed), (Hash128{wanted.high64, wanted.low64})) << size << " " << seed;
    }
  }
  const Bytes bytes = filled(kLong);
  EXPECT_EQ(beats_of([&] { hash128(bytes); }), 4u);
}

}  // namespace
}  // namespace stoker
