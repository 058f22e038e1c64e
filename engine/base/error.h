#pragma once
// Errors of the engine. An error says what was being done, then the cause, then (where there is one) the errno.
//
// kinds and what they oblige the caller to do:
//   user    wrong input; the text is shown as it is, nothing is retried
//   world   the network, a peer, the disk or memory failed; the fit may be tried again
//   aborted someone else ended the work; not a cause of its own, the cause is reported where it happened
//   bug     the engine broke its own rules
#include <sstream>
#include <stdexcept>
#include <string>

namespace stoker {

enum class ErrorKind { user, world, aborted, bug };

const char* name(ErrorKind kind);

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what) : std::runtime_error(what), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  /// The same error, told from one step further out: "<doing>: <what()>".
  Error within(const std::string& doing) const { return Error(kind_, doing + ": " + what()); }

 private:
  ErrorKind kind_;
};

template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <typename... Parts>
[[noreturn]] void fail_user(const Parts&... parts) {
  throw Error(ErrorKind::user, cat(parts...));
}
template <typename... Parts>
[[noreturn]] void fail_world(const Parts&... parts) {
  throw Error(ErrorKind::world, cat(parts...));
}
template <typename... Parts>
[[noreturn]] void fail_bug(const Parts&... parts) {
  throw Error(ErrorKind::bug, cat(parts...));
}
/// A world error that ends with the text of errno. Call it before anything can change errno.
[[noreturn]] void fail_errno(const std::string& doing);

/// Broken means a bug in the engine, never wrong input.
#define STOKER_CHECK(condition) \
  if (!(condition)) ::stoker::fail_bug("check failed: " #condition " at " __FILE__ ":", __LINE__)

}  // namespace stoker
