#include "base/bf16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/testing_bf16.h"

namespace stoker {
namespace {

using Floats = std::vector<float>;

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

/// Of all magnitudes, denormal ones too, with every end of the lower half that decides.
Floats all_kinds() {
  Floats floats;
  for (uint32_t upper = 0; upper < 0x10000; upper += 7)
    for (const uint32_t lower : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU})
      floats.push_back(std::bit_cast<float>(upper << 16 | lower));
  return floats;
}

TEST(BFloat16, NumbersGoToTheNearestAndHalfToEven) {
  const Floats all = all_kinds();
  Floats got = all;
  round_to_bf16(got.data(), static_cast<int64_t>(got.size()));
  for (size_t i = 0; i < all.size(); ++i) {
    if (std::isfinite(all[i])) {
      ASSERT_EQ(bits(got[i]), bits(testing::nearest_bf16(all[i]))) << all[i];
    } else {
      ASSERT_EQ(bits(got[i]), std::isnan(all[i]) ? 0x7fc00000U : bits(all[i]));
    }
  }
}

TEST(BFloat16, KnownNumbers) {
  Floats floats = {1 + 0x1p-8F, 1 + 0x3p-8F, 1 + 0x1p-8F + 0x1p-23F, -1 - 0x3p-8F, 0x1.fep127F, 0x1.ffp127F, -0.0F};
  round_to_bf16(floats.data(), 7);
  const float infinite = std::numeric_limits<float>::infinity();
  EXPECT_EQ(floats, (Floats{1, 1 + 0x2p-7F, 1 + 0x1p-7F, -1 - 0x2p-7F, 0x1.fep127F, infinite, 0}));
  EXPECT_TRUE(std::signbit(floats[6]));
}

TEST(BFloat16, SumsAreRoundedOnceAfterTheAdditionAndInPlaceToo) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const int64_t n : {0, 1, 15, 16, 1000, 1024}) {
    Floats a(n), b(n);
    for (auto* of : {&a, &b})
      for (float& x : *of) x = testing::nearest_bf16(normal(random));
    Floats out(n), left = a, right = b;
    add_2_bf16(out.data(), a.data(), b.data(), n);
    add_2_bf16(left.data(), left.data(), b.data(), n);
    add_2_bf16(right.data(), a.data(), right.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(bits(out[i]), bits(testing::nearest_bf16(a[i] + b[i])));
    EXPECT_EQ(left, out);
    EXPECT_EQ(right, out);
  }
}

TEST(BFloat16, WhatIsPackedComesBack) {
  Floats all = all_kinds();
  round_to_bf16(all.data(), static_cast<int64_t>(all.size()));
  std::vector<uint16_t> packed(all.size());
  Floats back(all.size());
  pack_bf16(all.data(), packed.data(), static_cast<int64_t>(all.size()));
  unpack_bf16(packed.data(), back.data(), static_cast<int64_t>(all.size()));
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(bits(back[i]), bits(all[i]));
}

}  // namespace
}  // namespace stoker
