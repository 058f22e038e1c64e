#include "sync/constants.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "base/error.h"
#include "collective/testing.h"

namespace stoker::sync {
namespace {

using collective::Group;
using collective::testing::run_groups;
using collective::testing::World;

constexpr size_t kPiece = 1000;

/// What the coordinator has, and how much of it was asked for.
struct Source {
  Bytes bytes = Bytes(10 * kPiece, std::byte{7});
  std::atomic<uint64_t> given = 0;
  std::optional<uint64_t> dies_at = {};  // whoever fetches then

  Constants::Fetch fetch() {
    return [this](uint64_t from, const Constants::Take& take) {
      for (; from < bytes.size(); from += kPiece, given += kPiece) {
        if (dies_at == from) throw Error(ErrorKind::world, "the process died");
        take(ByteView(bytes).subspan(from, kPiece));
      }
    };
  }
  void share(Constants& constants, Group& group) {
    constants.share(group, bytes.size(), hash128(bytes), fetch());
    EXPECT_TRUE(std::ranges::equal(constants.bytes(), bytes));
  }
};

TEST(SharedConstants, OneRankOfAHostFetchesAndAllMapTheSameMemory) {
  for (const World& world : {World{.size = 1}, World{.size = 3}, World{.size = 4, .host_groups = {0, 0, 1, 1}}}) {
    Source source;
    std::vector<Constants> constants(world.size);
    run_groups(world, [&](Group& group) { source.share(constants[group.rank()], group); });
    EXPECT_EQ(source.given, source.bytes.size() * (world.host_groups.empty() ? 1 : 2));
  }
}

TEST(SharedConstants, NobodyWritesIntoThem) {
  Source source;
  std::vector<Constants> constants(2);
  run_groups({.size = 2}, [&](Group& group) { source.share(constants[group.rank()], group); });
  for (const auto& mapped : constants) EXPECT_DEATH(const_cast<std::byte&>(mapped.bytes()[0]) = std::byte{1}, "");
}

TEST(SharedConstants, WhatCameBeforeTheFetcherDiedIsNotFetchedAgain) {
  Source source;
  source.dies_at = 6 * kPiece;
  std::vector<Constants> constants(3);
  EXPECT_THROW(run_groups({.size = 3}, [&](Group& group) { source.share(constants[group.rank()], group); }), Error);
  source.dies_at = {};
  constants[0] = Constants();  // another process in its place
  run_groups({.size = 3, .generation = 4}, [&](Group& group) { source.share(constants[group.rank()], group); });
  EXPECT_EQ(source.given, source.bytes.size());
}

TEST(SharedConstants, WhoComesLaterGetsThemFromNeighboursOrFromAnotherHost) {
  for (const std::vector<int>& hosts : {std::vector{0, 0, 0}, {0, 0, 1}, {1, 0, 0}}) {
    Source source;
    std::vector<Constants> constants(3);
    run_groups({.size = 2}, [&](Group& group) { source.share(constants[group.rank() + 1], group); });
    const ByteView before = constants[1].bytes();
    run_groups({.size = 3, .host_groups = hosts, .generation = 4},
               [&](Group& group) { source.share(constants[group.rank()], group); });
    EXPECT_EQ(source.given, source.bytes.size()) << "nobody asks the coordinator again";
    EXPECT_EQ(constants[1].bytes().data(), before.data()) << "the program uses them there";
  }
}

TEST(SharedConstants, DamagedOnesAreFetchedAnew) {
  Source source;
  Constants constants;
  run_groups({.size = 1}, [&](Group& group) {
    const auto wrong = hash128(as_bytes("others"));
    EXPECT_THROW(constants.share(group, source.bytes.size(), wrong, source.fetch()), Error);
    EXPECT_TRUE(constants.bytes().empty());
    source.share(constants, group);
    EXPECT_EQ(source.given, 2 * source.bytes.size());
  });
}

}  // namespace
}  // namespace stoker::sync
