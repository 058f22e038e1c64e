#include "sync/rejoin.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/pieces.h"
#include "base/test_beats.h"
#include "collective/hosts.h"
#include "collective/testing.h"

namespace stoker::sync {
namespace {

using collective::Group;
using collective::testing::Rosters;
using collective::testing::run_groups;
using collective::testing::run_ranks;
using collective::testing::World;

const StateLayout kLayout{1024, 64, 2, 3, 2};

/// A state of this commit, as every host makes it from the same steps.
void fill(HostState& state, uint64_t commit) {
  const int set = HostState::set_of(commit);
  std::fill_n(state.weights(set), 1024 + 64, static_cast<float>(commit));
  for (int k = 0; k < 2; ++k) std::fill_n(state.optimizer(set, k), 1024, static_cast<float>(commit + k));
  std::fill_n(state.counts(set), 3, static_cast<int64_t>(commit));
  state.running(set).steps = static_cast<int64_t>(commit);
  state.finished()[0].rows = 77;
  state.flip(commit);
}

/// What a rank of an earlier generation has kept.
std::unique_ptr<HostState> kept(uint64_t commit) {
  auto state = std::make_unique<HostState>(kLayout, shm::Segment("stoker-state", HostState::bytes(kLayout)));
  state->nonce() = {1, commit};
  fill(*state, commit);
  return state;
}

void expect_commit(const HostState& state, uint64_t commit) {
  ASSERT_EQ(state.committed(), commit);
  EXPECT_EQ(hex(state.digest()), hex(kept(commit)->digest()));
  EXPECT_EQ(state.running(state.current()).steps, static_cast<int64_t>(commit));
  EXPECT_EQ(state.finished()[0].rows, 77);
}

/// Whether two mappings are the same memory; writes into the set that is not committed.
bool same_memory(const HostState& a, const HostState& b) {
  float& written = a.weights(HostState::set_of(a.committed() + 1))[5];
  const float before = written;
  written = before + 1;
  const bool same = b.weights(static_cast<int>((a.committed() + 1) % 2))[5] == before + 1;
  written = before;
  return same;
}

}  // namespace

TEST(Choose, FirstOfTheNewestAndThoseBehind) {
  const Choice choice = choose({3, 5, 0, 5, 4});
  EXPECT_EQ(choice.source, 1);
  EXPECT_EQ(choice.commit, 5u);
  EXPECT_EQ(choice.needy, (std::vector{0, 2, 4}));
  EXPECT_EQ(choose({0, 0}).commit, 0u);
  EXPECT_TRUE(choose({0, 0}).needy.empty());
  EXPECT_EQ(choose({7}).source, 0);
}

TEST(Rejoin, NobodyHasAStateSoAllBeginWithZeros) {
  for (const int size : {1, 3}) {
    run_groups({.size = size}, [](Group& group) {
      const auto state = rejoin(group, kLayout, {});
      EXPECT_EQ(state->committed(), 0u);
      EXPECT_EQ(state->weights(1)[7], 0);
      EXPECT_NE(state->nonce(), Hash128{}) << "it can be recognised";
    });
  }
}

TEST(Rejoin, UndisturbedStateIsKeptAndTheNewcomerMapsIt) {
  const auto old = kept(6);
  const HostState mine(kLayout, old->memory().again());
  run_groups({.size = 3}, [&](Group& group) {
    const Found found{group.rank() == 1 ? &mine : nullptr, true};
    const auto state = rejoin(group, kLayout, found);
    expect_commit(*state, 6);
    EXPECT_EQ(state->nonce(), old->nonce());
    if (group.rank() == 2) {
      EXPECT_TRUE(same_memory(*state, *old));
    }
  });
}

TEST(Rejoin, DisturbedStateMovesToFreshMemoryThatNoZombieReaches) {
  for (const int size : {1, 3}) {
    const auto old = kept(7);
    old->count_run();
    run_groups({.size = size}, [&](Group& group) {
      const auto state = rejoin(group, kLayout, {group.rank() == 0 ? old.get() : nullptr, false});
      expect_commit(*state, 7);
      EXPECT_EQ(state->runs(), 1u) << "the ledger moves along";
      EXPECT_NE(state->nonce(), old->nonce());
      if (group.rank() == 0) {
        EXPECT_FALSE(same_memory(*state, *old));
      }
    });
    expect_commit(*old, 7);
  }
}

TEST(Rejoin, RankThatIsBehindOnItsHostTakesTheNewerState) {
  const auto newer = kept(9), older = kept(8);
  run_groups({.size = 2}, [&](Group& group) {
    expect_commit(*rejoin(group, kLayout, {group.rank() == 0 ? older.get() : newer.get(), true}), 9);
  });
}

TEST(Rejoin, HostsLoadTheNewerCommit) {
  for (const World& world : {World{.size = 4, .host_groups = {0, 1, 0, 1}}, World{.size = 2, .force_tcp = true}}) {
    const auto newer = kept(9), older = kept(8);
    run_groups(world, [&](Group& group) {
      const bool first = group.local_rank() == 0;
      const HostState* mine = collective::host_number(group) == 1 ? newer.get() : older.get();
      const auto state = rejoin(group, kLayout, {first ? mine : nullptr, true});
      expect_commit(*state, 9);
    });
  }
}

TEST(Rejoin, HostOfNewcomersLoadsEverything) {
  const auto only = kept(5);
  run_groups({.size = 3, .host_groups = {0, 1, 1}}, [&](Group& group) {
    expect_commit(*rejoin(group, kLayout, {group.rank() == 0 ? only.get() : nullptr, true}), 5);
  });
}

TEST(Rejoin, DifferentStatesOfOneCommitAreAnError) {
  const auto good = kept(5), bad = kept(5);
  bad->weights(1)[100] += 1e-3F;
  try {
    run_groups({.size = 2, .force_tcp = true}, [&](Group& group) {
      rejoin(group, kLayout, {group.rank() == 0 ? good.get() : bad.get(), true});
    });
    ADD_FAILURE() << "nobody compared";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bug);
    EXPECT_STREQ(error.what(), "the training states of hosts 0 and 1 differ after step 4");
  }
}

TEST(Rejoin, DeathOnTheWayLeavesTheSurvivorsStateAsItWas) {
  for (const bool tcp : {false, true}) {
    const auto state = kept(4), behind = kept(3);
    Rosters rosters({.size = 3, .force_tcp = tcp});
    EXPECT_ANY_THROW(run_ranks(3, [&](int rank) {
      const auto group = rosters.form(rank);
      if (rank == 2) throw std::runtime_error("dies");
      rejoin(*group, kLayout, {rank == 0 ? state.get() : behind.get(), true});
      ADD_FAILURE() << "came together without rank 2";
    }));
    expect_commit(*state, 4);
    expect_commit(*behind, 3);
  }
}

TEST(Rejoin, LongStateBeatsWhileItIsCopiedAndCompared) {
  const StateLayout layout{3 * static_cast<int64_t>(kPieceBytes / sizeof(float)), 0, 1, 0, 1};
  HostState old(layout, shm::Segment("stoker-state", HostState::bytes(layout)));
  old.flip(1);
  EXPECT_GE(beats_of([&] { HostState::copy(layout, old); }), 12u + 6u) << "both sets allocated, one copied";
  EXPECT_GE(beats_of([&] { old.digest(); }), 6u);
}

}  // namespace stoker::sync
