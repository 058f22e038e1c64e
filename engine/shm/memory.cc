#include "shm/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "base/cgroups.h"

namespace stoker::shm {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

std::optional<size_t> number_in(const std::string& path) {
  std::ifstream file(path);
  size_t value;
  if (file >> value) return value;
  return std::nullopt;  // no such file, or "max"
}

/// The number after `key` in a file of "key value" lines.
size_t field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  size_t value = 0;
  while (file >> word)
    if (word == key && file >> value) return value;
  return 0;
}

size_t of_machine(const std::string& root) {
  const std::string path = root + "/proc/meminfo";
  const size_t kilobytes = field(path, "MemAvailable:") + field(path, "SwapFree:");
  return kilobytes ? kilobytes * 1024 : kNoLimit;
}

/// What the cgroup in folder `at` leaves free; file pages that can be dropped count as free.
size_t of_cgroup(const std::string& at, bool unified) {
  const auto limit = number_in(at + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
  if (!limit) return kNoLimit;
  const size_t used = number_in(at + (unified ? "/memory.current" : "/memory.usage_in_bytes")).value_or(0);
  const size_t droppable = std::min(used, field(at + "/memory.stat", "inactive_file"));
  return *limit > used - droppable ? *limit - (used - droppable) : 0;
}

size_t of_cgroups(const std::string& root) {
  size_t least = kNoLimit;
  each_cgroup(root, "memory",
              [&](const std::string& group, bool unified) { least = std::min(least, of_cgroup(group, unified)); });
  return least;
}

}  // namespace

size_t available_memory(const std::string& root) { return std::min(of_machine(root), of_cgroups(root)); }

}  // namespace stoker::shm
