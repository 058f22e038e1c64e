#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

namespace stoker {
namespace {

using std::filesystem::path;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

double share(double quota, double period) { return quota > 0 && period > 0 ? quota / period : kUnlimited; }

/// Of one cgroup, of either version. What has no such file, or "max" in it, has no quota.
double quota_of(const path& group) {
  double quota = 0, period = 0;
  std::ifstream(group / "cpu.max") >> quota >> period;
  const double unified = share(quota, period);
  quota = period = 0;
  std::ifstream(group / "cpu.cfs_quota_us") >> quota;
  std::ifstream(group / "cpu.cfs_period_us") >> period;
  return std::min(unified, share(quota, period));
}

/// Of a group and all that it lies in.
double quota_up_to(const path& root, path group) {
  double least = quota_of(root);
  for (; group.has_relative_path(); group = group.parent_path())
    least = std::min(least, quota_of(root / group.relative_path()));
  return least;
}

}  // namespace

double cpu_quota(const std::string& root, const std::string& self) {
  double least = std::min(quota_of(root), quota_of(path(root) / "cpu"));
  std::ifstream groups(self);
  for (std::string line; std::getline(groups, line);) {  // number:controllers:/path
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    least = std::min(least, quota_up_to(controllers.empty() ? path(root) : path(root) / controllers, group));
  }
  return least;
}

int usable_cores() {
  cpu_set_t set;
  const int bound = ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, static_cast<int>(std::min<double>(bound, cpu_quota())));
}

}  // namespace stoker
