#include "shm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/pieces.h"
#include "base/test_beats.h"
#include "shm/descriptor.h"
#include "shm/memory.h"

namespace stoker::shm {
namespace {

TimePoint soon() { return Clock::now() + std::chrono::seconds(5); }

TEST(Segment, WhatOneMappingWritesTheOtherReads) {
  const Segment mine("stoker-test", 5000);
  const Segment theirs = Segment::adopt(::dup(mine.fd()), 5000);
  EXPECT_EQ(theirs.bytes()[4999], std::byte{0});
  mine.bytes()[4999] = std::byte{7};
  EXPECT_EQ(theirs.bytes()[4999], std::byte{7});
}

TEST(Segment, WhatIsWrittenFirstIsMappedAsItWas) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{70'000}}) {
    SegmentWriter writer("stoker-test");
    const Bytes half(bytes, std::byte{3}), rest(bytes, std::byte{4});
    writer.write(half);
    writer.write(rest);
    const Segment segment = writer.finish();
    ASSERT_EQ(segment.bytes().size(), 2 * bytes);
    EXPECT_EQ(segment.bytes()[bytes - 1], std::byte{3});
    EXPECT_EQ(segment.bytes()[bytes], std::byte{4});
    EXPECT_NE(::ftruncate(segment.fd(), 0), 0) << "its size is sealed";
  }
}

TEST(Segment, MoreThanThereIsIsAnErrorAndNotALaterDeath) {
  try {
    Segment("stoker-test", size_t{1} << 50);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    EXPECT_NE(std::string(error.what()).find("MiB available"), std::string::npos) << error.what();
  }
}

TEST(Segment, LongOneBeatsWhileItIsAllocated) {
  EXPECT_GE(beats_of([] { Segment("test", 5 * kPieceBytes); }), 5u);
}

TEST(Segment, ASizeThatIsNotAsAgreedOrCouldShrinkIsRefused) {
  const Segment mine("stoker-test", 5000);
  EXPECT_THROW(Segment::adopt(::dup(mine.fd()), 4999), Error);
  EXPECT_NE(::ftruncate(mine.fd(), 100), 0);
  const int loose = ::memfd_create("loose", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(loose, 100), 0);
  EXPECT_THROW(Segment::adopt(loose, 100), Error);  // took `loose` over, and closed it
  EXPECT_EQ(::fcntl(loose, F_GETFD), -1);
}

TEST(Segment, MovesAndNothingIsAlsoASegment) {
  Segment a("stoker-test", 64);
  a.bytes()[0] = std::byte{3};
  Segment b = std::move(a);
  EXPECT_TRUE(a.bytes().empty());
  a = std::move(b);
  EXPECT_EQ(a.bytes()[0], std::byte{3});
  EXPECT_TRUE(Segment("stoker-test", 0).bytes().empty());
  EXPECT_TRUE(Segment::unshared(0).bytes().empty());
}

TEST(Descriptor, PassesAndTheReceiverHasItsOwn) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Segment mine("stoker-test", 100);
  send_descriptor(ends[0], mine.fd(), soon());
  const int fd = receive_descriptor(ends[1], soon());
  EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
  const Segment theirs = Segment::adopt(fd, 100);
  mine.bytes()[1] = std::byte{1};
  EXPECT_EQ(theirs.bytes()[1], std::byte{1});
  EXPECT_THROW(receive_descriptor(ends[1], Clock::now() + std::chrono::milliseconds(10)), Error);
  ASSERT_EQ(::write(ends[0], "x", 1), 1);
  EXPECT_THROW(receive_descriptor(ends[1], soon()), Error);  // a byte without a descriptor
  ::close(ends[0]);
  EXPECT_THROW(receive_descriptor(ends[1], soon()), Error);
  ::close(ends[1]);
}

class Memory : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path at = root_ + path;
    std::filesystem::create_directories(at.parent_path());
    std::ofstream(at) << text;
  }
  void SetUp() override { write("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    4000 kB\nSwapFree: 1000 kB\n"); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  const std::string root_ = ::testing::TempDir() + "memory-" + std::to_string(::getpid());
};

TEST_F(Memory, IsTheMachinesWhereNoCgroupLimits) {
  EXPECT_EQ(available_memory(root_), 5000u * 1024);
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(available_memory(root_), 5000u * 1024);
}

TEST_F(Memory, IsTheTightestCgroupsAndDroppablePagesCountAsFree) {
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/memory.max", "1000000\n");
  write("/sys/fs/cgroup/a/memory.current", "700000\n");
  write("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 100000\n");
  EXPECT_EQ(available_memory(root_), 400000u);
  write("/sys/fs/cgroup/a/b/memory.max", "300000\n");
  EXPECT_EQ(available_memory(root_), 300000u);
  write("/sys/fs/cgroup/a/b/memory.current", "300001\n");
  EXPECT_EQ(available_memory(root_), 0u);
}

TEST_F(Memory, ReadsCgroupsOfVersionOne) {
  write("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "500000\n");
  EXPECT_EQ(available_memory(root_), 1500000u);
}

}  // namespace
}  // namespace stoker::shm
