#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "base/cgroups.h"

namespace stoker {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

/// Of one cgroup. What has no such file, or "max" in it, has no quota.
double quota_of(const std::string& group, bool unified) {
  double quota = 0, period = 0;
  if (unified) {
    std::ifstream(group + "/cpu.max") >> quota >> period;
  } else {
    std::ifstream(group + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(group + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kUnlimited;
}

}  // namespace

double cpu_quota(const std::string& root) {
  double least = kUnlimited;
  each_cgroup(root, "cpu",
              [&](const std::string& group, bool unified) { least = std::min(least, quota_of(group, unified)); });
  return least;
}

int usable_cores() {
  cpu_set_t set;
  const int bound = ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, static_cast<int>(std::min<double>(bound, cpu_quota())));
}

}  // namespace stoker
