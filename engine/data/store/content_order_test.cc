#include "data/store/content_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "base/test_beats.h"

namespace stoker::data {
namespace {

/// Rows of four bytes, with hashes as they are told.
struct Rows {
  std::vector<uint32_t> bytes;
  std::vector<Hash128> hashes;
  std::vector<uint16_t> shards;
  int64_t fetched = 0;

  std::vector<std::vector<uint32_t>> orders(size_t shard_count, size_t key_bytes, bool disk = false) {
    RowHashes all;
    all.append(std::span(hashes).first(hashes.size() / 2));
    if (disk) all.move_to_disk({{::testing::TempDir()}});
    all.append(std::span(hashes).subspan(hashes.size() / 2));
    std::vector<int64_t> counts(shard_count);
    for (size_t i = 0; i < bytes.size(); ++i) ++counts[shards.empty() ? 0 : shards[i]];
    const auto fetch = [this](std::span<const uint32_t> rows, std::byte* out) {
      fetched += static_cast<int64_t>(rows.size());
      for (size_t i = 0; i < rows.size(); ++i) std::memcpy(out + 4 * i, &bytes[rows[i]], 4);
    };
    return content_orders({all, shards, 4, fetch}, counts, key_bytes);
  }
};

/// `distinct` hashes only, each with some kinds of bytes: a hash says little of them.
Rows colliding(int n, int distinct, int kinds, int shards) {
  std::mt19937_64 random(n);
  std::vector<Hash128> known(distinct);
  for (auto& hash : known) hash = {random(), random()};
  Rows rows;
  for (int i = 0; i < n; ++i) {
    rows.hashes.push_back(known[random() % distinct]);
    rows.bytes.push_back(0x01010101u * static_cast<uint32_t>(random() % kinds));  // the same in either byte order
    if (shards > 1) rows.shards.push_back(static_cast<uint16_t>(random() % shards));
  }
  return rows;
}

std::vector<std::vector<uint32_t>> slowly(const Rows& rows, size_t shards) {
  std::vector<std::vector<uint32_t>> orders(shards);
  for (uint32_t i = 0; i < rows.bytes.size(); ++i) orders[rows.shards.empty() ? 0 : rows.shards[i]].push_back(i);
  for (auto& order : orders)
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      if (rows.hashes[a] != rows.hashes[b]) return rows.hashes[a] < rows.hashes[b];
      return rows.bytes[a] < rows.bytes[b];
    });
  return orders;
}

TEST(ContentOrder, PlantedCollisionsAreToldApartByTheBytes) {
  for (const int n : {0, 1, 2, 3, 700})
    for (const int distinct : {1, 3, 100000})
      for (const int kinds : {1, 2, 5})
        for (const int shards : {1, 4})
          for (const size_t key_bytes : {size_t{1} << 20, size_t{480}, size_t{1}})  // in one pass, in many
            for (const bool disk : {false, true}) {
              if (key_bytes == 1 && n > 3) continue;
              Rows rows = colliding(n, distinct, kinds, shards);
              EXPECT_EQ(rows.orders(shards, key_bytes, disk), slowly(rows, shards))
                  << n << " " << distinct << " " << kinds << " " << shards << " " << key_bytes << " " << disk;
            }
}

TEST(ContentOrder, EqualRowsAreReadOnceAndNoOthers) {
  Rows equal = colliding(5000, 1, 1, 1);
  equal.orders(1, 1 << 20);
  EXPECT_EQ(equal.fetched, 5001);
  Rows different = colliding(5000, 1, 1, 1);
  for (uint64_t i = 0; i < different.hashes.size(); ++i) different.hashes[i].low = i;
  different.orders(1, 1 << 20);
  EXPECT_EQ(different.fetched, 0);
}

TEST(ContentOrder, ExtremeHashesFindTheirPass) {
  Rows rows;
  for (const uint64_t high : {~uint64_t{0}, uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}, (uint64_t{1} << 63) - 1}) {
    rows.hashes.push_back({high, rows.hashes.size()});
    rows.bytes.push_back(0);
  }
  for (const size_t key_bytes : {24, 48, 72, 1000})
    EXPECT_EQ(rows.orders(1, key_bytes), (std::vector<std::vector<uint32_t>>{{1, 4, 2, 0, 3}})) << key_bytes;
}

TEST(RowHashes, BeatInEveryPassOverThem) {
  constexpr uint64_t kHashes = 1 << 20, kPieces = 16;
  RowHashes all;
  for (uint64_t i = 0; i < kHashes; i += 1 << 10) all.append(std::vector<Hash128>(1 << 10, {i, 0}));
  std::vector<int64_t> begins;
  const auto pass = [&] { all.each([&](int64_t first, std::span<const Hash128>) { begins.push_back(first); }); };
  EXPECT_GE(beats_of(pass), kPieces);
  EXPECT_GE(beats_of([&] { all.move_to_disk({{::testing::TempDir()}}); }), 2 * kPieces) << "read, and written";
  EXPECT_GE(beats_of(pass), kPieces);
  EXPECT_EQ(begins.size(), 2 * kPieces);
  EXPECT_EQ(begins.back(), static_cast<int64_t>(kHashes * (kPieces - 1) / kPieces));
}

TEST(RowHashes, ForgetsFromAnyNumberOn) {
  std::vector<Hash128> hashes;
  for (uint64_t i = 0; i < 200'000; ++i) hashes.push_back({i, 1});
  for (const int64_t left : {200'000, 131'072, 131'071, 65'537, 1, 0}) {
    RowHashes all;
    all.append(hashes);
    all.rewind(left);
    all.append(std::span(hashes).first(3));
    std::vector<Hash128> wanted(hashes.begin(), hashes.begin() + left), found;
    wanted.insert(wanted.end(), hashes.begin(), hashes.begin() + 3);
    all.each([&](int64_t, std::span<const Hash128> some) { found.insert(found.end(), some.begin(), some.end()); });
    EXPECT_EQ(found, wanted) << left;
  }
}

}  // namespace
}  // namespace stoker::data
