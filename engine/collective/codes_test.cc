#include "collective/codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace stoker::collective {
namespace {

std::vector<float> there_and_back(Code code, const std::vector<float>& in) {
  std::vector<std::byte> bytes(code.bytes(static_cast<int64_t>(in.size())));
  std::vector<float> out(in.size());
  encode(code, in.data(), static_cast<int64_t>(in.size()), bytes.data());
  decode(code, bytes.data(), static_cast<int64_t>(in.size()), out.data());
  return out;
}

class Codes : public ::testing::TestWithParam<int> {
 protected:
  const Code code_{GetParam()};
  const float largest_ = GetParam() == 8 ? 127 : 7;
};

TEST_P(Codes, TheErrorIsAtMostHalfAStepOfItsBlock) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> in(static_cast<size_t>(4 * code_.block()));
  for (size_t i = 0; i < in.size(); ++i) in[i] = normal(random) * std::ldexp(1.0F, static_cast<int>(i) / 500 * 9 - 30);
  const auto out = there_and_back(code_, in);
  for (size_t begin = 0; begin < in.size(); begin += static_cast<size_t>(code_.block())) {
    float most = 0;
    for (size_t i = begin; i < begin + static_cast<size_t>(code_.block()); ++i) most = std::max(most, std::fabs(in[i]));
    for (size_t i = begin; i < begin + static_cast<size_t>(code_.block()); ++i)
      ASSERT_LE(std::fabs(in[i] - out[i]), most / (2 * largest_) * 1.00001F) << i;
  }
}

TEST_P(Codes, WholeStepsAreExactAndHalvesGoToTheEvenOne) {
  std::vector<float> in(static_cast<size_t>(code_.block()));
  in[0] = -largest_;
  in[1] = 1;
  in[2] = 2.5F;
  in[3] = 3.5F;
  in[4] = -0.5F;
  in[5] = largest_;
  const auto out = there_and_back(code_, in);
  EXPECT_EQ(std::vector<float>(out.begin(), out.begin() + 7), (std::vector<float>{-largest_, 1, 2, 4, 0, largest_, 0}));
}

TEST_P(Codes, WhatIsNotFiniteIsNotHidden) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> in(static_cast<size_t>(2 * code_.block()), 1.0F);
    in[3] = bad;
    const auto out = there_and_back(code_, in);
    EXPECT_TRUE(std::isnan(out[0])) << "the whole block";
    EXPECT_EQ(out.back(), 1.0F) << "and no other";
  }
}

TEST_P(Codes, WhatIsTooSmallForAScaleIsZeroAndTheLargestNumbersStay) {
  std::vector<float> in(static_cast<size_t>(2 * code_.block()), 1e-38F);
  std::fill(in.begin() + code_.block(), in.end(), std::numeric_limits<float>::max());
  const auto out = there_and_back(code_, in);
  EXPECT_EQ(out[0], 0);
  EXPECT_NEAR(out.back() / in.back(), 1, 1e-6);
}

TEST_P(Codes, NothingTakesNothing) {
  EXPECT_EQ(code_.bytes(0), 0);
  EXPECT_TRUE(there_and_back(code_, {}).empty());
}

INSTANTIATE_TEST_SUITE_P(Bits, Codes, ::testing::Values(8, 4));

TEST(Code, TakesAQuarterOrAnEighthAndAScaleForEachBlock) {
  EXPECT_EQ(Code{8}.bytes(2048), 2 * (4 + 1024));
  EXPECT_EQ(Code{4}.bytes(512), 2 * (4 + 128));
}

}  // namespace
}  // namespace stoker::collective
