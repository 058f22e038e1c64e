#include "base/cores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

namespace stoker {
namespace {

/// A folder of cgroups.
struct Groups : ::testing::Test {
  void write(const std::string& file, const std::string& text) const { put(root / "sys/fs/cgroup" / file, text); }
  double quota(const std::string& self) const {
    put(root / "proc/self/cgroup", self);
    return cpu_quota(root);
  }
  static void put(const std::filesystem::path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  ~Groups() override { std::filesystem::remove_all(root); }

  const std::filesystem::path root = std::filesystem::path(::testing::TempDir()) / "stoker-cores-test";
};

TEST_F(Groups, NoneHasAQuota) {
  EXPECT_TRUE(std::isinf(quota("")));
  write("a/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(quota("0::/a\n")));
}

TEST_F(Groups, TheLeastOfAGroupAndThoseItLiesInCounts) {
  write("a/b/cpu.max", "300000 100000\n");
  EXPECT_EQ(quota("0::/a/b\n"), 3);
  write("a/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota("0::/a/b\n"), 1.5);
  write("cpu.max", "50000 100000\n");
  EXPECT_EQ(quota("0::/\n"), 0.5) << "a container sees its own group as the root";
}

TEST_F(Groups, OfTheFirstVersionToo) {
  write("cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  write("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(quota("3:cpu,cpuacct:/a\n")));
  write("cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(quota("3:cpu,cpuacct:/a\n"), 2);
}

TEST(Cores, AreOneAtLeast) { EXPECT_GE(usable_cores(), 1); }

}  // namespace
}  // namespace stoker
