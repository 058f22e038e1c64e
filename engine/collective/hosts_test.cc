#include "collective/hosts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "collective/testing.h"

namespace stoker::collective {
namespace {

using testing::run_groups;
using testing::World;

Bytes word_of(int host, size_t size) { return Bytes(size, static_cast<std::byte>(host + 1)); }

/// Calls `body` in the first rank of every host; the others wait for it.
void run_hosts(const World& world, const std::function<void(Group&)>& body) {
  run_groups(world, [&](Group& group) {
    if (group.local_rank() == 0) body(group);
    group.arrive(Phase::sums, 0);
    group.await(Phase::sums, 0);
  });
}

}  // namespace

TEST(Hosts, AreNumberedByTheirLowestRanks) {
  run_groups({.size = 1}, [](Group& group) { EXPECT_EQ(host_number(group), 0); });
  const std::vector<int> hosts = {0, 1, 0, 2};
  run_groups({.size = 4, .host_groups = hosts},
             [&](Group& group) { EXPECT_EQ(host_number(group), hosts[group.rank()]); });
}

TEST(Hosts, EveryWordReachesEveryHostWhateverItsSize) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{24}, size_t{1} << 20}) {
    run_hosts({.size = 4, .host_groups = {0, 1, 1, 2}}, [&](Group& group) {
      const auto words = tell_hosts(group, word_of(host_number(group), size));
      ASSERT_EQ(words.size(), 3u);
      for (int h = 0; h < 3; ++h) EXPECT_EQ(words[h], word_of(h, size));
    });
  }
}

TEST(Hosts, OneHostTellsItself) {
  run_hosts({.size = 2}, [](Group& group) { EXPECT_EQ(tell_hosts(group, word_of(0, 5)).at(0), word_of(0, 5)); });
}

TEST(Hosts, NeedyGetThePiecesAndOthersKeepTheirs) {
  run_hosts({.size = 3, .force_tcp = true}, [](Group& group) {
    const int me = host_number(group);
    Bytes a = word_of(me, 3 << 20), b = word_of(me, 1), none;
    copy_between_hosts(group, 1, {2}, {std::span(a), std::span(b), std::span(none)});
    const int has = me == 2 ? 1 : me;
    EXPECT_EQ(a, word_of(has, 3 << 20));
    EXPECT_EQ(b, word_of(has, 1));
  });
}

TEST(Hosts, NobodyInNeedCostsNothing) {
  run_hosts({.size = 2, .force_tcp = true}, [](Group& group) {
    const uint64_t before = group.bytes_sent();
    Bytes mine = word_of(host_number(group), 9);
    copy_between_hosts(group, 0, {}, {std::span(mine)});
    EXPECT_EQ(group.bytes_sent(), before);
  });
}

TEST(Hosts, OneThatDiesWhileItSendsIsSeenByTheNeedy) {
  Bytes wanted(64 << 20);
  EXPECT_THROW(run_hosts({.size = 2, .force_tcp = true},
                         [&](Group& group) {
                           if (group.rank() == 0) throw std::runtime_error("dies");
                           try {
                             copy_between_hosts(group, 0, {1}, {std::span(wanted)});
                             ADD_FAILURE() << "came without a sender";
                           } catch (const Error& error) {
                             EXPECT_NE(error.kind(), ErrorKind::bug) << error.what();
                             throw;
                           }
                         }),
               std::runtime_error);
}

}  // namespace stoker::collective
