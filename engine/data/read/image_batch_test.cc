#include "data/read/image_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "data/store/column_store.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

/// Spark's image struct; each picture is its bytes.
testing::ColumnPtr image_structs(const std::string& name, std::vector<int32_t> heights, std::vector<int32_t> widths,
                                 std::vector<int32_t> channels, std::vector<int32_t> modes,
                                 const std::vector<std::string>& data, const std::vector<int64_t>& nulls = {}) {
  auto column = std::make_unique<testing::Column>();
  const auto rows = static_cast<int64_t>(data.size());
  column->name = name;
  column->format = "+s";
  testing::add_validity(*column, nulls, rows);
  auto bytes = std::make_unique<testing::Column>();
  bytes->name = "data";
  bytes->format = "z";
  bytes->buffers.push_back(nullptr);
  std::vector<int32_t> offsets{0};
  std::string all;
  for (const auto& one : data) offsets.push_back(static_cast<int32_t>((all += one).size()));
  bytes->add_buffer(offsets);
  bytes->add_buffer(std::vector<char>(all.begin(), all.end()));
  bytes->finish(rows, 0);
  column->children.push_back(testing::numbers<int32_t>("height", "i", heights));
  column->children.push_back(testing::numbers<int32_t>("width", "i", widths));
  column->children.push_back(testing::numbers<int32_t>("nChannels", "i", channels));
  column->children.push_back(testing::numbers<int32_t>("mode", "i", modes));
  column->children.push_back(std::move(bytes));
  column->finish(rows, 0);
  return column;
}

/// `rows` grey pictures whose pixels are all different within a picture.
testing::ColumnPtr grey(images::Size size, int64_t rows) {
  std::vector<std::string> data;
  for (int64_t r = 0; r < rows; ++r) {
    std::string pixels(size.pixels(), '\0');
    std::iota(pixels.begin(), pixels.end(), static_cast<char>(r));
    data.push_back(pixels);
  }
  const auto all = [&](int32_t value) { return std::vector<int32_t>(rows, value); };
  return testing::batch(rows, 0, image_structs("p", all(size.height), all(size.width), all(1), all(0), data));
}

ColumnSpec pictures(int channels, images::Size size, images::Size crop, bool flip = false) {
  auto image = std::make_shared<ImageSpec>();
  *image = {channels,
            size,
            crop,
            flip,
            false,
            1000,
            std::vector<double>(channels, 0.0),
            std::vector<double>(channels, 1.0 / 255)};
  FieldSpec field;
  field.column = "p";
  field.shown = {"p"};
  field.kind = FieldSpec::Kind::image;
  field.stored = DType::u8;
  field.image = image;
  ColumnSpec spec;
  spec.name = spec.shown = "x";
  spec.shape = {channels, crop.height, crop.width};
  spec.fields = {field};
  return spec;
}

std::vector<float> gathered(const ColumnStore& store, const Draws* draws, std::vector<uint32_t> rows) {
  std::vector<float> out(rows.size() * store.columns()[0].elements());
  store.gather(0, rows.data(), static_cast<int64_t>(rows.size()), out.data(), draws);
  return out;
}

std::string complaint(const testing::ColumnPtr& rows) {
  try {
    ColumnStore({pictures(3, {1, 1}, {1, 1})}, {0}, 2).append(rows->array, rows->schema);
  } catch (const Error& error) {
    return testing::without_row_cure(error.what());
  }
  return "none";
}

TEST(ImageBatch, WithoutDrawsTheMiddleIsTaken) {
  ColumnStore store({pictures(1, {4, 4}, {2, 2}, true)}, {0}, 0);
  const auto rows = grey({4, 4}, 1);
  store.append(rows->array, rows->schema);
  store.seal();
  EXPECT_EQ(store.bytes(), 16u);
  EXPECT_EQ(gathered(store, nullptr, {0}), (std::vector<float>{5, 6, 9, 10}));
}

TEST(ImageBatch, StructsAreBlueGreenRedAndLoseTheirAlpha) {
  ColumnStore store({pictures(3, {1, 1}, {1, 1})}, {0}, 0);
  const auto rows = testing::batch(
      3, 0, image_structs("p", {1, 1, 1}, {1, 1, 1}, {3, 4, 1}, {16, 24, 0}, {"\1\2\3", "\4\5\6\7", "\11"}));
  store.append(rows->array, rows->schema);
  EXPECT_EQ(gathered(store, nullptr, {0, 1, 2}), (std::vector<float>{3, 2, 1, 6, 5, 4, 9, 9, 9}));
}

TEST(ImageBatch, DrawsReachEveryWindowAndItsMirrorImage) {
  ColumnStore store({pictures(1, {3, 4}, {2, 2}, true)}, {0}, 0);
  const auto rows = grey({3, 4}, 1);
  store.append(rows->array, rows->schema);
  std::set<std::vector<float>> windows;
  for (int top = 0; top < 2; ++top)
    for (int left = 0; left < 3; ++left) {
      const float a = static_cast<float>(top * 4 + left);
      windows.insert({a, a + 1, a + 4, a + 5});
      windows.insert({a + 1, a, a + 5, a + 4});
    }
  std::set<std::vector<float>> seen;
  for (uint64_t key = 0; key < 200; ++key) {
    const Draws draws{key, 0};
    seen.insert(gathered(store, &draws, {0}));
  }
  EXPECT_EQ(seen, windows);
}

TEST(ImageBatch, ARowsDrawHangsOnItsPlaceAlone) {
  ColumnStore store({pictures(1, {9, 9}, {2, 3}, true)}, {0}, 0);
  const auto rows = grey({9, 9}, 6);
  store.append(rows->array, rows->schema);
  const Draws whole{77, 10}, tail{77, 14};
  const auto all = gathered(store, &whole, {5, 3, 1, 0, 2, 2});
  EXPECT_EQ(gathered(store, &tail, {2, 2}), std::vector<float>(all.end() - 12, all.end()));
  const Draws other{78, 10};
  EXPECT_NE(gathered(store, &other, {5, 3, 1, 0, 2, 2}), all);
}

TEST(ImageBatch, ABrokenPictureIsNamedWithItsPlace) {
  EXPECT_EQ(complaint(testing::batch(1, 0, image_structs("p", {2}, {2}, {3}, {16}, {"\1\2\3"}))),
            "column 'p', partition 2, row 0: is a broken image struct: 2 x 2 pixels of 3 channels in 3 bytes");
  EXPECT_EQ(complaint(testing::batch(1, 0, image_structs("p", {1}, {1}, {3}, {21}, {"\1\2\3"}))),
            "column 'p', partition 2, row 0: is an image struct of mode 21 with 3 channels, expected mode 0 (CV_8UC1), "
            "16 (CV_8UC3) or 24 (CV_8UC4)");
  EXPECT_EQ(complaint(testing::batch(1, 0, image_structs("p", {1}, {1001}, {1}, {0}, {std::string(1001, 'x')}))),
            "column 'p', partition 2, row 0: has 1001 x 1 pixels, more than the 1000 that maxPixels allows");
  EXPECT_EQ(complaint(testing::batch(2, 0, image_structs("p", {1, 1}, {1, 1}, {1, 1}, {0, 0}, {"a", "b"}, {1}))),
            "column 'p', partition 2, row 1: is null; nulls='fill' allows that");
  EXPECT_EQ(
      complaint(testing::batch(1, 0, testing::numbers<float>("p", "f", {1}))),
      "column 'p', partition 2: has type float, expected binary (JPEG, PNG or WebP files) or Spark's image struct");
}

TEST(ImageBatch, NoRowsAreNoTrouble) {
  ColumnStore store({pictures(1, {4, 4}, {2, 2}, true)}, {0}, 0);
  const auto rows = grey({4, 4}, 0);
  store.append(rows->array, rows->schema);
  store.seal();
  EXPECT_EQ(store.rows(), 0);
}

}  // namespace
}  // namespace stoker::data
