#include "program/dense.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/bf16.h"
#include "base/level.h"

namespace stoker::program {
namespace {

using Floats = std::vector<float>;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Of magnitudes whose sum depends on the order.
Floats draw(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  Floats out(n);
  for (auto& x : out) x = std::ldexp(static_cast<float>(random() % 2001) - 1000, static_cast<int>(random() % 12) - 16);
  return out;
}

void expect_near(float value, double exact, double magnitude) { EXPECT_NEAR(value, exact, 1e-6 * (1 + magnitude)); }

/// Every instruction set that this machine has kernels for.
class Dense : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() > static_cast<int>(best_level())) GTEST_SKIP() << "this machine has no such instructions";
    kernels = dense_kernels(GetParam());
  }
  const DenseKernels* kernels = nullptr;

  Floats product(const Floats& x, const Floats& w, int64_t in) const {
    const int64_t rows = x.size() / in, out = w.size() / in;
    Floats y(rows * out, kNaN);
    kernels->product({x.data(), w.data(), y.data(), rows, in, out});
    return y;
  }

  /// d w of y = x w^T, by micro-batches of so many rows.
  std::vector<Floats> weight_gradient(const Floats& dy, const Floats& x, int64_t out, int64_t in,
                                      const std::vector<int64_t>& rows, const std::vector<int>& merges, int left,
                                      bool bf16 = false) const {
    std::vector<FoldTerm> terms;
    int64_t row = 0;
    for (size_t i = 0; i < rows.size(); row += rows[i++])
      terms.push_back({dy.data() + row * out, x.data() + row * in, rows[i], merges[i]});
    std::vector<Floats> sums(left, Floats(out * in, kNaN));
    std::vector<float*> outs;
    for (auto& sum : sums) outs.push_back(sum.data());
    Floats scratch((kFoldStrip + out) * row + 1);
    kernels->fold({out, in, 1, out, in, in, terms.data(), static_cast<int>(terms.size()), outs.data(), left, bf16,
                   scratch.data()});
    return sums;
  }

  /// The same, each micro-batch's apart.
  std::vector<Floats> weight_gradients(const Floats& dy, const Floats& x, int64_t out, int64_t in,
                                       const std::vector<int64_t>& rows) const {
    std::vector<Floats> parts;
    int64_t row = 0;
    for (const int64_t n : rows) {
      const Floats a(dy.begin() + row * out, dy.begin() + (row + n) * out);
      const Floats b(x.begin() + row * in, x.begin() + (row + n) * in);
      parts.push_back(weight_gradient(a, b, out, in, {n}, {0}, 1)[0]);
      row += n;
    }
    return parts;
  }
};

TEST_P(Dense, ProductOfAnyShape) {
  for (const int64_t in : {1, 7, 16, 30, 100})
    for (const int64_t rows : {1, 5, 21})
      for (const int64_t out : {1, 4, 10, 33}) {
        const auto x = draw(rows * in, 1), w = draw(out * in, 2);
        const auto y = product(x, w, in);
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t n = 0; n < out; ++n) {
            double sum = 0, magnitude = 0;
            for (int64_t k = 0; k < in; ++k) {
              const double term = double{x[m * in + k]} * w[n * in + k];
              sum += term, magnitude += std::abs(term);
            }
            expect_near(y[m * out + n], sum, magnitude);
          }
      }
}

TEST_P(Dense, BlocksOfWideLayersLeaveNothingOut) {
  const int64_t in = 2048, out = 71, rows = 2;
  const auto y = product(Floats(rows * in, 1), Floats(out * in, 0.5), in);
  EXPECT_EQ(y, Floats(rows * out, 1024));
}

TEST_P(Dense, RowsDoNotDependOnTheirNeighbours) {
  const int64_t in = 100, out = 37, rows = 29;
  const auto x = draw(rows * in, 3), w = draw(out * in, 4);
  const auto together = product(x, w, in);
  for (int64_t first = 0, count = 1; first < rows; first += count, ++count) {
    count = std::min(count, rows - first);
    const auto apart = product(Floats(x.begin() + first * in, x.begin() + (first + count) * in), w, in);
    EXPECT_EQ(apart, Floats(together.begin() + first * out, together.begin() + (first + count) * out));
  }
}

TEST_P(Dense, FoldEqualsItsTermsSummedApart) {
  const int64_t out = 33, in = 70;
  const std::vector<int64_t> rows{3, 1, 4, 0, 5, 2};
  const auto dy = draw(15 * out, 5), x = draw(15 * in, 6);
  const auto folded = weight_gradient(dy, x, out, in, rows, {0, 1, 0, 2, 0, 1}, 2);
  const auto parts = weight_gradients(dy, x, out, in, rows);
  for (int64_t i = 0; i < out * in; ++i) {
    EXPECT_EQ(folded[0][i], (parts[0][i] + parts[1][i]) + (parts[2][i] + parts[3][i]));
    EXPECT_EQ(folded[1][i], parts[4][i] + parts[5][i]);
  }
}

TEST_P(Dense, RoundedFoldsRoundEachTermAndEachSum) {
  const int64_t out = 33, in = 70;
  const std::vector<int64_t> rows{3, 1, 4, 0, 5, 2};
  const auto dy = draw(15 * out, 5), x = draw(15 * in, 6);
  const auto folded = weight_gradient(dy, x, out, in, rows, {0, 1, 0, 2, 0, 1}, 2, true);
  auto parts = weight_gradients(dy, x, out, in, rows);
  for (Floats& part : parts) round_to_bf16(part.data(), out * in);
  const auto sum = [](const Floats& a, const Floats& b) {
    Floats both(a.size());
    add_2_bf16(both.data(), a.data(), b.data(), static_cast<int64_t>(a.size()));
    return both;
  };
  EXPECT_EQ(folded[0], sum(sum(parts[0], parts[1]), sum(parts[2], parts[3])));
  EXPECT_EQ(folded[1], sum(parts[4], parts[5]));
}

TEST_P(Dense, FoldOfAStackThatGrowsAboveItsResults) {
  const int64_t out = 5, in = 40;
  const auto dy = draw(5 * out, 7), x = draw(5 * in, 8);
  const auto folded = weight_gradient(dy, x, out, in, {1, 1, 1, 1, 1}, {0, 0, 0, 0, 4}, 1)[0];
  for (int64_t i = 0; i < out * in; ++i) {
    float sum = 0;
    for (int64_t m = 5; m-- > 0;) sum = dy[m * out + i / in] * x[m * in + i % in] + sum;
    EXPECT_EQ(folded[i], sum);
  }
}

TEST_P(Dense, GradientOfNoRowsIsZero) { EXPECT_EQ(weight_gradient({}, {}, 3, 20, {0}, {0}, 1)[0], Floats(60, 0)); }

TEST_P(Dense, BiasThenReluKeepsNaN) {
  Floats y{-1, 2, kNaN, 0.5};
  const Floats bias{-1, 1};
  kernels->finish({y.data(), bias.data(), 2, 2, Activation::relu});
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], 3);
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_EQ(y[3], 1.5);
  Floats gradient{5, 6, 7, 8};
  kernels->activation_backward(Activation::relu, gradient.data(), y.data(), 4);
  EXPECT_EQ(gradient, (Floats{0, 6, 7, 8}));
}

/// From tiny to large, of both signs, in a number that leaves a rest in every vector.
Floats many_sizes() {
  Floats x{0.0F, -0.0F, 86.5F, -86.5F};
  for (float size = 1e-30F; size < 86; size *= 1.003F) x.push_back(size), x.push_back(-size);
  if (x.size() % 8 == 0) x.push_back(1);
  return x;
}

void expect_within_ulps(float value, double exact, double ulps) {
  const double ulp = std::ldexp(1.0, std::ilogb(static_cast<float>(exact)) - 23);
  EXPECT_NEAR(value, exact, exact == 0 ? 0 : ulps * ulp);
}

TEST_P(Dense, SigmoidAndTanhOfEverySize) {
  const auto x = many_sizes();
  auto sigmoid = x, tanh = x;
  const int64_t n = static_cast<int64_t>(x.size());
  kernels->finish({sigmoid.data(), nullptr, 1, n, Activation::sigmoid});
  kernels->finish({tanh.data(), nullptr, n, 1, Activation::tanh});
  for (int64_t i = 0; i < n; ++i) {
    expect_within_ulps(sigmoid[i], 1 / (1 + std::exp(-double{x[i]})), 3);
    expect_within_ulps(tanh[i], std::tanh(double{x[i]}), 3);
  }
}

TEST_P(Dense, SigmoidAndTanhOfWhatIsNoNumberOrBeyondAll) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Floats x{kNaN, kInf, -kInf, 1e30F, -1e30F};
  auto sigmoid = x, tanh = x;
  kernels->finish({sigmoid.data(), nullptr, 1, 5, Activation::sigmoid});
  kernels->finish({tanh.data(), nullptr, 1, 5, Activation::tanh});
  EXPECT_TRUE(std::isnan(sigmoid[0]));
  EXPECT_TRUE(std::isnan(tanh[0]));
  for (const int i : {1, 2, 3, 4}) {
    EXPECT_NEAR(sigmoid[i], x[i] > 0 ? 1 : 0, 1e-37);
    EXPECT_EQ(tanh[i], x[i] > 0 ? 1 : -1);
  }
}

TEST_P(Dense, GradientsThroughSigmoidAndTanh) {
  const Floats y{0, 0.25F, 1, kNaN, 0.5F};
  for (const auto activation : {Activation::sigmoid, Activation::tanh}) {
    Floats gradient{1, 2, 4, 8, kNaN};
    kernels->activation_backward(activation, gradient.data(), y.data(), 5);
    const bool sigmoid = activation == Activation::sigmoid;
    EXPECT_EQ(gradient[0], sigmoid ? 0 : 1);
    EXPECT_EQ(gradient[1], sigmoid ? 2 * 0.1875F : 2 * 0.9375F);
    EXPECT_EQ(gradient[2], 0);
    EXPECT_TRUE(std::isnan(gradient[3]));
    EXPECT_TRUE(std::isnan(gradient[4]));
  }
}

TEST_P(Dense, BiasOfFewColumnsComesToEachRow) {
  for (const int64_t out : {1, 3, 10, 20, 64, 70})
    for (const int64_t rows : {1, 16, 37}) {
      Floats y = draw(rows * out, 11), bias = draw(out, 12), want = y;
      for (int64_t i = 0; i < rows * out; ++i) want[i] = std::max(0.0F, y[i] + bias[i % out]);
      kernels->finish({y.data(), bias.data(), rows, out, Activation::relu});
      EXPECT_EQ(y, want);
    }
}

struct Classes {
  double loss = 0;
  Floats gradient;
};

/// In double, row by row.
Classes cross_entropy(const Floats& x, const std::vector<int64_t>& labels, int64_t classes, int64_t ignored) {
  Classes found{0, Floats(x.size(), 0)};
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] == ignored) continue;
    const float* at = x.data() + row * classes;
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(double{at[c]} - at[labels[row]]);
    found.loss += std::log(sum);
    for (int64_t c = 0; c < classes; ++c)
      found.gradient[row * classes + c] =
          static_cast<float>(std::exp(double{at[c]} - at[labels[row]]) / sum - (c == labels[row]));
  }
  return found;
}

TEST_P(Dense, CrossEntropyOfAnyShape) {
  std::mt19937 random(1);
  for (const int64_t classes : {1, 2, 3, 17, 64})
    for (const int64_t rows : {0, 1, 16, 21, 3000}) {
      const Floats x = draw(rows * classes, 13);
      std::vector<int64_t> labels(rows);
      for (auto& label : labels) label = random() % 7 == 0 ? -100 : static_cast<int64_t>(random() % classes);
      const auto want = cross_entropy(x, labels, classes, -100);
      Floats gradient(x.size(), kNaN);
      double loss = kNaN;
      ASSERT_TRUE(kernels->class_loss({x.data(), labels.data(), gradient.data(), rows, classes, -100}, &loss));
      EXPECT_NEAR(loss, want.loss, 1e-6 * (1 + want.loss));
      for (size_t i = 0; i < gradient.size(); ++i) EXPECT_NEAR(gradient[i], want.gradient[i], 3e-6);
    }
}

TEST_P(Dense, CrossEntropyOfWhatIsNoNumberAndOfWhatIsNoClass) {
  const Floats x{1, kNaN, 3, 4};
  Floats gradient(4);
  double loss = 0;
  for (const int64_t wrong : {2, -1}) {
    const std::vector<int64_t> labels{0, wrong};
    EXPECT_FALSE(kernels->class_loss({x.data(), labels.data(), gradient.data(), 2, 2, -100}, &loss));
  }
  const std::vector<int64_t> labels{0, 1};
  EXPECT_TRUE(kernels->class_loss({x.data(), labels.data(), gradient.data(), 2, 2, -100}, &loss));
  EXPECT_TRUE(std::isnan(loss));
  EXPECT_TRUE(std::isnan(gradient[0]));
  EXPECT_NEAR(gradient[2], 0.2689414, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Levels, Dense, testing::Values(static_cast<int>(Level::avx2), static_cast<int>(Level::avx512)),
                         [](const auto& level) { return name(static_cast<Level>(level.param)); });

}  // namespace
}  // namespace stoker::program
