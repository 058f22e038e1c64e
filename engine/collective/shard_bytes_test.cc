#include "collective/shard_bytes.h"

#include <gtest/gtest.h>

#include "collective/hosts.h"
#include "collective/testing.h"

namespace stoker::collective {
namespace {

constexpr int kShards = 5;

/// What the owner of a shard puts in a step: fewer bytes than there is room for.
Bytes said(int shard, uint64_t step) { return Bytes((shard * 3 + step) % 11, static_cast<std::byte>(shard + step)); }

void expect_all(const std::vector<ByteView>& found, uint64_t step, const std::vector<int>& owners) {
  ASSERT_EQ(found.size(), kShards);
  for (int s = 0; s < kShards; ++s)
    EXPECT_EQ(Bytes(found[s].begin(), found[s].end()), owners[s] < 0 ? Bytes() : said(s, step)) << s << " at " << step;
}

void run_steps(Group& group, const std::vector<int>& owners) {
  ShardBytes bytes(group, {10, 11, 0, 12, 16}, owners);
  for (uint64_t step = 2; step < 30; ++step) {
    if (step % 11 != 5) continue;  // shard 2 has room for none
    for (int s = 0; s < kShards; ++s)
      if (owners[s] == group.rank()) bytes.put(s, said(s, step));
    group.arrive(Phase::partials, step);
    group.await(Phase::partials, step);
    if (group.local_rank() == 0) expect_all(bytes.all(step), step, owners);
    group.arrive(Phase::slices, step);
    group.await(Phase::slices, step);
  }
}

}  // namespace

TEST(ShardBytes, EveryHostGetsWhatTheOwnersPut) {
  for (const bool tcp : {false, true})
    for (const int ranks : {1, 2, 4}) {
      std::vector<int> owners;
      for (int s = 0; s < kShards; ++s) owners.push_back(s * 3 % ranks);
      testing::run_groups({.size = ranks, .force_tcp = tcp}, [&](Group& group) { run_steps(group, owners); });
    }
}

TEST(ShardBytes, HostsOfSeveralRanksGetThemToo) {
  testing::run_groups({.size = 4, .host_groups = {0, 1, 0, 1}}, [](Group& group) {
    run_steps(group, {3, 0, 2, 1, 1});
  });
}

TEST(ShardBytes, AShardWithoutAnOwnerHasNone) {
  for (const bool tcp : {false, true})
    testing::run_groups({.size = 2, .force_tcp = tcp}, [](Group& group) { run_steps(group, {0, -1, 0, 1, 1}); });
}

TEST(ShardBytes, MoreThanItsRoomIsABug) {
  testing::run_groups({.size = 1}, [](Group& group) {
    ShardBytes bytes(group, {4}, {0});
    EXPECT_THROW(bytes.put(0, Bytes(5)), Error);
  });
}

}  // namespace stoker::collective
