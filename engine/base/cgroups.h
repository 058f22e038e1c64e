#pragma once
// The cgroups that this process runs in, of either version.
#include <functional>
#include <string>

namespace stoker {

/// Calls `visit(folder, unified)` for each group whose limits by `controller` ("memory", "cpu") may hold for this
/// process: its own ones, as /proc/self/cgroup tells, and all that they lie in. `unified`: of the second version.
/// `root` stands before all paths.
void each_cgroup(const std::string& root, const std::string& controller,
                 const std::function<void(const std::string& folder, bool unified)>& visit);

}  // namespace stoker
