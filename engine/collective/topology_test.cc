#include "collective/topology.h"

#include <gtest/gtest.h>

#include "base/error.h"
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

/// Both ends of a connection, in one direction.
struct Line {
  net::Seal out{net::Seal::Way::out, Bytes(32), false};
  net::Seal in{net::Seal::Way::in, Bytes(32), false};
};

TEST(Wire, HeadersComeBackAsTheyWere) {
  Line line;
  for (const uint64_t index : {3, 4}) {
    const FrameHeader header{FrameKind::sums, stamp(7, 123456789), index, 99};
    const Bytes head = encode(header, line.out);
    EXPECT_EQ(head.size(), kHeaderBytes);
    EXPECT_EQ(decode_header(head, line.in), header);
  }
  EXPECT_THROW(decode_header(Bytes(kHeaderBytes), line.in), Error);
}

TEST(Wire, EachBitThatIsSpoiltIsSeen) {
  Line line;
  const Bytes head = encode(FrameHeader{FrameKind::sums, stamp(7, 1), 3, 99}, line.out);
  for (size_t bit = 0; bit < 8 * head.size(); ++bit) {
    Bytes spoilt = head;
    spoilt[bit / 8] ^= std::byte{1} << bit % 8;
    Line fresh;
    EXPECT_THROW(decode_header(spoilt, fresh.in), Error) << bit;
  }
}

TEST(Wire, AFarewellIsReadPastFramesThatNobodyWants) {
  Line line;
  encode(FrameHeader{FrameKind::sums, stamp(7, 1), 3, 0}, line.out);
  const Bytes leave = encode(FrameHeader{FrameKind::leave, stamp(7, 1), 1, 0}, line.out);
  FrameHeader header;
  EXPECT_TRUE(is_leave(leave, line.in, header));
  EXPECT_EQ(header.index, 1u);
  Bytes forged = leave;
  forged[16] ^= std::byte{1};
  EXPECT_FALSE(is_leave(forged, line.in, header));
  EXPECT_THROW(encode(FrameHeader{}, line.out), Error) << "a second last frame";
  EXPECT_THROW(encode(FrameHeader{FrameKind::sums}, line.out), Error) << "one after the last";
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
