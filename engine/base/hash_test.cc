#include "base/hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace stoker {
namespace {

std::vector<std::byte> bytes_of(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 37);
  return bytes;
}

TEST(Checksum, IsTheSameHoweverItIsCut) {
  for (const size_t size : {0, 1, 16, 240, 241, 5000}) {
    const auto bytes = bytes_of(size);
    for (const size_t step : {1, 7, 1000}) {
      Checksum sum;
      for (size_t at = 0; at < size; at += step) sum.add(std::span(bytes).subspan(at, std::min(step, size - at)));
      EXPECT_EQ(sum.value(), checksum(bytes)) << size << " by " << step;
    }
  }
}

TEST(Checksum, EveryBitCounts) {
  auto bytes = bytes_of(300);
  const uint64_t before = checksum(bytes);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << bit % 8;
    EXPECT_NE(checksum(bytes), before) << bit;
    bytes[bit / 8] ^= std::byte{1} << bit % 8;
  }
}

}  // namespace
}  // namespace stoker
