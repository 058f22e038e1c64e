#pragma once
// How much of the machine this process may use. Pure but for the files that it reads.
#include <string>

namespace stoker {

/// Cores that the cgroups of this process let it use at a time, by their quotas (cpu.max, cpu.cfs_quota_us); infinity
/// where none has one. `root` stands before the paths that are read.
double cpu_quota(const std::string& root = "");

/// Cores that this process can use at a time: one at least.
int usable_cores();

}  // namespace stoker
