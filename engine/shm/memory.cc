#include "shm/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

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

struct Names {
  const char* limit;
  const char* used;
};

/// What the cgroup in folder `at` leaves free; file pages that can be dropped count as free.
size_t of_cgroup(const std::string& at, Names names) {
  const auto limit = number_in(at + "/" + names.limit);
  if (!limit) return kNoLimit;
  const size_t used = number_in(at + "/" + names.used).value_or(0);
  const size_t droppable = std::min(used, field(at + "/memory.stat", "inactive_file"));
  return *limit > used - droppable ? *limit - (used - droppable) : 0;
}

/// The cgroup `name` below `mount`, and all above it: each may set a limit.
size_t of_hierarchy(const std::string& mount, std::string name, Names names) {
  size_t least = of_cgroup(mount, names);
  while (!name.empty() && name != "/") {
    least = std::min(least, of_cgroup(mount + name, names));
    name.resize(name.rfind('/') == std::string::npos ? 0 : name.rfind('/'));
  }
  return least;
}

size_t of_cgroups(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  size_t least = kNoLimit;
  while (std::getline(file, line)) {  // number:controllers:/name
    std::istringstream parts(line);
    std::string number, controllers, name;
    std::getline(std::getline(std::getline(parts, number, ':'), controllers, ':'), name);
    if (controllers.empty())
      least = std::min(least, of_hierarchy(root + "/sys/fs/cgroup", name, {"memory.max", "memory.current"}));
    else if (controllers.find("memory") != std::string::npos)
      least = std::min(least, of_hierarchy(root + "/sys/fs/cgroup/memory", name,
                                           {"memory.limit_in_bytes", "memory.usage_in_bytes"}));
  }
  return least;
}

}  // namespace

size_t available_memory(const std::string& root) { return std::min(of_machine(root), of_cgroups(root)); }

}  // namespace stoker::shm
