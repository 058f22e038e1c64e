#include "optim/tiles.h"

#include <gtest/gtest.h>

#include <random>

namespace stoker::optim {
namespace {

std::vector<float> random_floats(const Arena& arena) {
  std::mt19937 bits(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(arena.floats());
  for (float& value : values) value = normal(bits);
  return values;
}

/// As the user's tensor has them: position of each element, squares added up one by one.
struct Plain {
  std::vector<double> rows, columns;
};
Plain plain(const ParameterSpec& spec, const float* values) {
  const int dims = static_cast<int>(spec.shape.size());
  std::vector<int> layout = spec.layout;
  for (int d = static_cast<int>(layout.size()); d < dims; ++d) layout.push_back(d);
  std::vector<int64_t> strides(dims, 1);
  for (int d = dims - 1; d > 0; --d) strides[d - 1] = strides[d] * spec.shape[d];
  int64_t floats = 1;
  for (const int64_t size : spec.shape) floats *= size;
  const int64_t columns = dims > 1 ? spec.shape[layout.back()] : 1;
  const int64_t rows = dims > 1 ? spec.shape[layout[dims - 2]] : floats;
  Plain sums{std::vector<double>(floats / columns), std::vector<double>(floats / rows)};
  for (int64_t i = 0; i < floats; ++i) {  // as the user counts them
    int64_t place = 0;
    for (int64_t d = dims, left = i; d-- > 0; left /= spec.shape[layout[d]])
      place += left % spec.shape[layout[d]] * strides[layout[d]];
    const double square = static_cast<double>(values[place]) * values[place];
    sums.rows[i / columns] += square;
    sums.columns[i / (rows * columns) * columns + i % columns] += square;
  }
  return sums;
}

const Arena& arena() {
  static const Arena made({{"plain", {300, 400}, 0},
                           {"hoisted", {400, 300}, 0, {1, 0}},
                           {"tall", {3, 40000}, 1, {1, 0}},
                           {"empty", {0, 3}, 0},
                           {"wide", {3, 40000}, 1},
                           {"thin", {40000, 3}, 1},
                           {"one by one", {70, 80, 1, 1}, 0},
                           {"three by three", {70, 80, 3, 3}, 0},
                           {"keras convolution", {30, 20, 3, 3}, 0, {2, 3, 1, 0}},
                           {"stacked", {2, 130, 3, 140}, 0, {0, 2, 1, 3}},
                           {"number", {}, 0},
                           {"vector", {50000}, 0},
                           {"line", {1, 20000}, 0},
                           {"post", {20000, 1}, 0}});
  return made;
}

struct Made {
  std::vector<Matrices> matrices = matrices_of(arena());
  TileSums sums{matrices};
  std::vector<float> values = random_floats(arena());
};

TEST(Tiles, SumsAreThoseOfTheUsersRowsAndColumns) {
  const Made made;
  std::vector<double> sums(made.sums.size());
  made.sums.add_up({0, made.sums.tiles()}, made.values.data(), sums.data());
  for (size_t p = 0; p < made.matrices.size(); ++p) {
    const Matrices& m = made.matrices[p];
    const auto& spec = arena().parameters()[p];
    if (m.extent.size() == 0) continue;
    const Plain want = plain(spec, made.values.data() + m.extent.begin);
    const Parts rows = made.sums.rows(p, sums.data()), columns = made.sums.columns(p, sums.data());
    ASSERT_EQ(m.row_count(), std::ssize(want.rows)) << spec.name;
    for (int64_t r = 0; r < m.row_count(); ++r) ASSERT_NEAR(rows[r], want.rows[r], 1e-12 * want.rows[r]) << spec.name;
    if (m.lone) continue;
    ASSERT_EQ(m.column_count(), std::ssize(want.columns)) << spec.name;
    for (int64_t c = 0; c < m.column_count(); ++c)
      ASSERT_NEAR(columns[c], want.columns[c], 1e-12 * want.columns[c]) << spec.name;
  }
}

TEST(Tiles, TheSameBitsWhoeverAddsThemUp) {
  const Made made;
  std::vector<double> whole(made.sums.size(), -1), dealt = whole;
  made.sums.add_up({0, made.sums.tiles()}, made.values.data(), whole.data());
  for (int64_t tile = made.sums.tiles(); tile-- > 0;)
    made.sums.add_up({tile, tile + 1}, made.values.data(), dealt.data());
  EXPECT_EQ(dealt, whole);
}

TEST(Tiles, AreOfLikeSizeHoweverAMatrixLies) {
  for (const ParameterSpec& spec : arena().parameters()) {
    const Arena one({spec});
    const auto matrices = matrices_of(one);
    const int64_t floats = matrices[0].extent.size(), tiles = TileSums(matrices).tiles();
    EXPECT_LE(tiles * 4 * kBlock, std::max(floats, 4 * kBlock)) << spec.name;
    EXPECT_GE(tiles * 20 * kBlock, floats) << spec.name;
  }
}

TEST(Tiles, TakeLittleMemory) {
  const auto doubles = [](ParameterSpec spec) {
    const Arena one({std::move(spec)});
    const auto matrices = matrices_of(one);
    return static_cast<double>(TileSums(matrices).size()) / static_cast<double>(one.floats());
  };
  EXPECT_LT(doubles({"plain", {1024, 1024}, 0}), 0.04);
  EXPECT_LT(doubles({"hoisted", {1024, 1024}, 0, {1, 0}}), 0.04);
  EXPECT_LT(doubles({"wide", {16, 32768}, 0}), 0.07);
  EXPECT_LT(doubles({"three by three", {100, 100, 3, 3}, 0}), 0.67);
  EXPECT_LE(doubles({"one by one", {1024, 64, 1, 1}, 0}), 1.01);
}

TEST(Matrices, OfConvolutionsAreToldInFewNumbers) {
  const auto told = [](ParameterSpec spec) {
    const Matrices m = matrices_of(Arena({std::move(spec)}))[0];
    return m.stacks.size() + m.sizes.size() + m.steps.size();
  };
  EXPECT_LE(told({"one by one", {1024, 2048, 1, 1}, 0}), 3u);
  EXPECT_LE(told({"three by three", {512, 512, 3, 3}, 0}), 7u);
  EXPECT_LE(told({"keras", {512, 512, 3, 3}, 0, {2, 3, 1, 0}}), 7u);
}

}  // namespace
}  // namespace stoker::optim
