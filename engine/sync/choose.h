#pragma once
// Which of several states wins when a generation begins. Pure.
#include <cstdint>
#include <vector>

namespace stoker::sync {

struct Choice {
  int source = 0;          // the first with the newest commit
  uint64_t commit = 0;     // 0: nobody has a state
  std::vector<int> needy;  // those with an older one or none
};
/// Of the numbers that parties told of their states. REQUIRES: at least one.
Choice choose(const std::vector<uint64_t>& commits);

}  // namespace stoker::sync
