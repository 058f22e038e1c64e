#pragma once
// Abstract Unix names: who listens under one, and the proof that nobody does any more. A name is random and lives as
// long as the process that listens under it, so it stands for that process where a pid could have been given away
// again. Names reach as far as a network namespace. Any thread.
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "net/socket.h"

namespace stoker::net {

/// How long to wait for a killed process to be gone.
constexpr Duration kKillTime = std::chrono::milliseconds(500);

/// A socket that accepts connections to the name, which nobody may have yet.
Fd listen_unix(const std::string& name);

/// A connection to the name, or nothing when no one listens there in this network namespace.
Fd connect_unix(const std::string& name);

/// The process that listens under the name, in this pid namespace; 0 when there is none that can be seen from here.
int64_t pid_behind(const std::string& name);

/// The end of the process behind a name: it is killed as this is made, and whoever wants the proof asks or waits for
/// it. The calling process itself is never touched. REQUIRES: that the name was heard of in this network namespace;
/// else nobody listens and the answer proves nothing.
class ProcessEnd {
 public:
  explicit ProcessEnd(std::string name);
  /// Whether the process runs no more, for certain; waits for that, no longer than `patience`.
  bool is_proven(Duration patience = {}) const;
  /// Whether it may be proven later: not where somebody listens who cannot be seen from here, or is the caller.
  bool may_come() const { return static_cast<bool>(process_); }

 private:
  std::string name_;
  Fd process_;
};

}  // namespace stoker::net
