#include "collective/topology.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/hash.h"
#include "collective/wire.h"

namespace stoker::collective {
namespace {

TEST(Topology, NumbersHostsByTheirLowestRankAndSpreadsSlicesOverTheirRanks) {
  const Topology topology(3, {{0, 3}, {1, 2, 4}, {1, 2, 4}, {0, 3}, {1, 2, 4}});
  EXPECT_EQ(topology.hosts(), 2);
  EXPECT_EQ(topology.host(), 0);
  EXPECT_EQ(topology.local_rank(), 1);
  EXPECT_EQ(topology.host_of(4), 1);
  EXPECT_EQ(topology.carrier(1, 0), 1);
  EXPECT_EQ(topology.carrier(1, 5), 4);
}

TEST(Topology, RanksThatDisagreeAreAnError) {
  const std::vector<std::vector<int>> one_sided = {{0, 1}, {1}}, not_mine = {{0}, {0}}, foreign = {{0, 7}, {1}};
  EXPECT_THROW(Topology(0, one_sided), Error);
  EXPECT_THROW(Topology(0, not_mine), Error);
  EXPECT_THROW(Topology(0, foreign), Error);
}

TEST(Topology, SlicesTileTheVectorInWholeBlocks) {
  for (const int64_t blocks : {0, 1, 2, 7, 24414})
    for (int count = 1; count <= 9; ++count) {
      int64_t next = 0;
      for (int i = 0; i < count; ++i) {
        const Range slice = slice_of(blocks * 1024, 1024, i, count);
        EXPECT_EQ(slice.begin, next);
        EXPECT_EQ(slice.end % 1024, 0);
        EXPECT_LE(slice.size(), (blocks / count + 1) * 1024);
        next = slice.end;
      }
      EXPECT_EQ(next, blocks * 1024);
    }
}

TEST(Wire, HeadersAndIntroductionsComeBackAsTheyWere) {
  const FrameHeader header{FrameKind::sums, stamp(7, 123456789), 3, 99};
  EXPECT_EQ(encode(header).size(), kHeaderBytes);
  EXPECT_EQ(decode_header(encode(header)), header);
  const Introduction i = decode_introduction(encode(Introduction{7, 2, 1}));
  EXPECT_EQ(encode(Introduction{}).size(), kIntroductionBytes);
  EXPECT_TRUE(i.generation == 7 && i.from == 2 && i.to == 1);
  EXPECT_THROW(decode_header(Bytes(kHeaderBytes)), Error);
}

TEST(Wire, SpoiltHeadersAndPayloadsAreSeen) {
  EXPECT_EQ(checksum(Bytes()), kNothing);
  const Bytes payload(99, std::byte{7});
  const Bytes head = encode(FrameHeader{FrameKind::sums, stamp(7, 1), 3, 99}, checksum(payload));
  EXPECT_TRUE(arrived_whole(head, checksum(payload)));
  EXPECT_FALSE(arrived_whole(head, checksum(ByteView(payload).first(98))));
  for (size_t bit = 0; bit < 8 * head.size(); ++bit) {
    Bytes spoilt = head;
    spoilt[bit / 8] ^= std::byte{1} << bit % 8;
    EXPECT_FALSE(arrived_whole(spoilt, checksum(payload))) << bit;
  }
}

TEST(Wire, StampsGrowWithTheStepAndKeepBothNumbers) {
  EXPECT_LT(Stamp{0}, stamp(0, 0));
  EXPECT_LT(stamp(5, 8), stamp(5, 9));
  EXPECT_EQ(generation_of(stamp(5, 9)), 5u);
  EXPECT_EQ(step_of(stamp(5, 9)), 9u);
  EXPECT_THROW(stamp(uint64_t{1} << 24, 0), Error);
}

}  // namespace
}  // namespace stoker::collective
