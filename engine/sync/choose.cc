#include "sync/choose.h"

#include <algorithm>

namespace stoker::sync {

Choice choose(const std::vector<uint64_t>& commits) {
  Choice choice;
  choice.source = static_cast<int>(std::ranges::max_element(commits) - commits.begin());
  choice.commit = commits[choice.source];
  for (int i = 0; i < static_cast<int>(commits.size()); ++i)
    if (commits[i] < choice.commit) choice.needy.push_back(i);
  return choice;
}

}  // namespace stoker::sync
