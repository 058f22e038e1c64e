#pragma once
// How much of the machine this process may use. Pure but for the files that it reads.
#include <string>

namespace stoker {

/// Cores that the cgroups of this process let it use at a time, by their quotas (cpu.max, cpu.cfs_quota_us); infinity
/// where none has one. `root`: where cgroups are mounted; `self`: the process's own ones, as /proc/self/cgroup tells.
double cpu_quota(const std::string& root = "/sys/fs/cgroup", const std::string& self = "/proc/self/cgroup");

/// Cores that this process can use at a time: one at least.
int usable_cores();

}  // namespace stoker
