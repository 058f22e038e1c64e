#include "base/descriptors.h"

#include <sys/resource.h>

#include <filesystem>

#include "base/error.h"

namespace stoker {
namespace {

size_t open_now() {
  std::error_code ignored;
  size_t open = 0;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", ignored), end; entry != end; entry.increment(ignored))
    ++open;
  return open;
}

}  // namespace

void need_descriptors(size_t more, const std::string& what) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno("read the limit of open files");
  const rlim_t wanted = open_now() + more;
  if (wanted <= limit.rlim_cur) return;
  if (wanted > limit.rlim_max)
    fail_user(what, " need ", wanted, " open files in one process, and its limit is ", limit.rlim_max,
              ": raise it (ulimit -Hn, LimitNOFILE), or lower numWorkers");
  limit.rlim_cur = wanted;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno("raise the limit of open files");
}

}  // namespace stoker
