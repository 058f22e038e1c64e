#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace stoker {

/// Python makes classes (python/stoker/errors.py) and exit codes (cli/main.py) of these.
const char* name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::user:
      return "user";
    case ErrorKind::world:
      return "world";
    case ErrorKind::aborted:
      return "aborted";
    case ErrorKind::bug:
      return "bug";
  }
  return "bug";
}

void fail_errno(const std::string& doing) {
  const int code = errno;
  fail_world(doing, ": ", std::strerror(code), " (errno ", code, ")");
}

}  // namespace stoker
