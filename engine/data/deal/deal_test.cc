#include "data/deal/deal.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "base/error.h"
#include "data/deal/spark_hash.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

using testing::batch;
using testing::lists;
using testing::numbers;

std::vector<int> all(int shards) {
  std::vector<int> numbers(shards);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

template <typename T>
std::vector<T> values_of(const ArrowArray& array) {
  const T* values = static_cast<const T*>(array.buffers[1]);
  return {values, values + array.length};
}

int64_t hash_of(auto value, uint64_t seed = kSparkHashSeed) { return static_cast<int64_t>(spark_hash(value, seed)); }

template <typename T>
void expect_each_as_alone(const std::vector<T>& some) {
  for (const size_t n : {0, 1, 7, 16, 1000}) {
    std::vector<T> values;
    std::vector<uint64_t> h, alone;
    for (size_t i = 0; i < n; ++i) {
      values.push_back(some[i % some.size()]);
      h.push_back(kSparkHashSeed + i);
      alone.push_back(spark_hash(values[i], h[i]));
    }
    spark_hash_each(values.data(), h.data(), static_cast<int64_t>(n));
    EXPECT_EQ(h, alone);
  }
}

TEST(SparkHash, OfManyAsOfEachAlone) {
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  expect_each_as_alone<int32_t>({0, 1, -1, std::numeric_limits<int32_t>::min(), 77});
  expect_each_as_alone<int64_t>({0, 1, -1, std::numeric_limits<int64_t>::min(), int64_t{1} << 40});
  expect_each_as_alone<float>({0.0f, -0.0f, 1.5f, static_cast<float>(nan), -static_cast<float>(nan), 1e-42f});
  expect_each_as_alone<double>({0.0, -0.0, 1.5, nan, -nan, 1e-310});
}

TEST(SparkHash, IsWhatSparkSays) {  // SELECT xxhash64(...)
  EXPECT_EQ(hash_of(int32_t{1}), -6698625589789238999);
  EXPECT_EQ(hash_of(int64_t{1}), -7001672635703045582);
  EXPECT_EQ(hash_of(1.0f), hash_of(int32_t{0x3f800000}));
  EXPECT_EQ(hash_of(-0.0), hash_of(int64_t{0}));
  EXPECT_EQ(hash_of(-std::numeric_limits<float>::quiet_NaN()), hash_of(std::numeric_limits<float>::quiet_NaN()));
  EXPECT_EQ(shard_of_hash(static_cast<uint64_t>(-7), 5), 3);
}

TEST(Deal, EveryRowGoesToOneOwner) {
  constexpr int kRows = 100;
  std::vector<int32_t> values(kRows);
  std::iota(values.begin(), values.end(), 0);
  const auto rows = batch(kRows, 0, numbers<int32_t>("x", "i", values));
  std::map<int32_t, int> seen;
  for (int shard = 0; shard < 3; ++shard) {
    const auto dealt = Dealer({{{"y", "bigint", {"x"}}}, 3, ""}, {shard}).deal(rows->array, rows->schema);
    ASSERT_EQ(dealt->schema().n_children, 1);
    EXPECT_STREQ(dealt->schema().children[0]->name, "y");
    for (const int64_t value : values_of<int64_t>(*dealt->array().children[0])) {
      EXPECT_EQ(shard_of_hash(spark_hash(value, kSparkHashSeed), 3), shard);
      ++seen[static_cast<int32_t>(value)];
    }
  }
  EXPECT_EQ(seen.size(), size_t{kRows});
}

TEST(Deal, ShardsAreMarkedWhereSeveralAreOwned) {
  const auto rows = batch(4, 0, numbers<float>("x", "f", {1, 2, 3, 4}));
  const Dealer dealer({{{"x", "float", {"x"}}}, 7, ""}, all(7));
  const auto dealt = dealer.deal(rows->array, rows->schema);
  ASSERT_STREQ(dealt->schema().children[1]->name, "__shard");
  EXPECT_EQ(values_of<int32_t>(*dealt->array().children[1]), dealer.shards_of(rows->array, rows->schema));
}

TEST(Deal, ScalarsArePackedAndCast) {
  const auto rows = batch(2, 1, numbers<double>("a", "g", {9, 0.1, 1e300}),
                          numbers<int64_t>("b", "l", {9, 8, (1 << 24) + 1}), numbers<uint8_t>("c", "b", {0b100, 0, 0}));
  const auto dealt = Dealer({{{"x", "float", {"a", "b", "c"}, true}}, 1, ""}, {0}).deal(rows->array, rows->schema);
  const ArrowArray& packed = *dealt->array().children[0];
  EXPECT_EQ(values_of<int32_t>(packed)[1], 3);
  EXPECT_EQ(values_of<float>(*packed.children[0]),
            (std::vector<float>{0.1f, 8, 0, std::numeric_limits<float>::infinity(), 1 << 24, 1}));
}

TEST(Deal, NullsStayNulls) {
  const auto rows = batch(3, 0, numbers<float>("a", "f", {1, 2, 3}, {1}),
                          lists("b", {0, 1, 3, 4}, numbers<double>("item", "g", {1, 2, 3, 4}, {2}), {2}));
  const auto dealt = Dealer({{{"a", "float", {"a"}}, {"b", "", {"b"}}, {"p", "int", {"a"}, true}}, 1, ""}, {0})
                         .deal(rows->array, rows->schema);
  const auto bits = [](const ArrowArray& array) { return static_cast<const uint8_t*>(array.buffers[0])[0]; };
  const ArrowArray& list = *dealt->array().children[1];
  EXPECT_EQ(bits(*dealt->array().children[0]), 0b101);
  EXPECT_EQ(bits(list), 0b011);
  EXPECT_EQ(bits(*list.children[0]), 0b011);
  EXPECT_EQ(list.children[0]->length, 3);  // nothing of the null row
  EXPECT_EQ(bits(*dealt->array().children[2]->children[0]), 0b101);
}

TEST(Deal, NoRowsGiveAnEmptyBatch) {
  const auto rows = batch(0, 0, lists("b", {0}, numbers<double>("item", "g", {})));
  const auto dealt = Dealer({{{"b", "float", {"b"}}}, 2, ""}, {1}).deal(rows->array, rows->schema);
  EXPECT_EQ(dealt->array().length, 0);
  EXPECT_EQ(dealt->array().children[0]->length, 0);
}

TEST(Deal, UnknownColumnsAndTypesAreBugs) {
  const auto rows = batch(1, 0, numbers<uint64_t>("x", "L", {1}));
  EXPECT_THROW(Dealer({{{"y", "", {"y"}}}, 2, ""}, {0}).deal(rows->array, rows->schema), Error);
  EXPECT_THROW(Dealer({{{"x", "", {"x"}}}, 2, ""}, {0}).deal(rows->array, rows->schema), Error);
  EXPECT_THROW(parse_deal("{}"), Error);
}

}  // namespace
}  // namespace stoker::data
