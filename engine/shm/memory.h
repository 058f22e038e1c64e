#pragma once
// How much memory this process may still take: the machine's, or less where a cgroup limits it. Pure but for the files
// that it reads; any thread.
#include <cstddef>
#include <string>

namespace stoker::shm {

/// Bytes. Reads /proc/meminfo, /proc/self/cgroup and the cgroup files (version 2 or 1); what cannot be read does not
/// limit. `root` is put before every path (tests).
size_t available_memory(const std::string& root = "");

}  // namespace stoker::shm
