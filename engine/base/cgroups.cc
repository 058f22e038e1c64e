#include "base/cgroups.h"

#include <fstream>
#include <set>
#include <sstream>

namespace stoker {
namespace {

bool lists(const std::string& names, const std::string& name) {
  std::istringstream parts(names);
  for (std::string part; std::getline(parts, part, ',');)
    if (part == name) return true;
  return false;
}

/// `mount`, and the group `name` below it with all between them.
void up_from(const std::string& mount, std::string name, const std::function<void(const std::string&)>& visit) {
  visit(mount);
  while (!name.empty() && name != "/") {
    visit(mount + name);
    name.resize(name.rfind('/') == std::string::npos ? 0 : name.rfind('/'));
  }
}

}  // namespace

void each_cgroup(const std::string& root, const std::string& controller,
                 const std::function<void(const std::string& folder, bool unified)>& visit) {
  const std::string mount = root + "/sys/fs/cgroup";
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // number:controllers:/name
    std::istringstream parts(line);
    std::string number, controllers, name;
    std::getline(std::getline(std::getline(parts, number, ':'), controllers, ':'), name);
    if (controllers.empty())
      up_from(mount, name, [&](const std::string& folder) { visit(folder, true); });
    else if (lists(controllers, controller))  // mounted by its own name, or by that of all that lie there
      for (const std::string& place : std::set<std::string>{controller, controllers})
        up_from(mount + "/" + place, name, [&](const std::string& folder) { visit(folder, false); });
  }
}

}  // namespace stoker
