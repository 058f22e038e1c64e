#pragma once
// The state segment of a host, held open where every worker of the host may die: memory lives as long as someone has
// it open.
#include <string>

#include "gang/protocol.h"
#include "net/socket.h"

namespace stoker::gang {

/// The segment that a process holds; empty where it cannot be opened from here, or is not the one that was told of.
net::Fd open_held(const Held& held);

/// The coordinator's hold on the newest segment of its own host. Not thread-safe.
class Keeper {
 public:
  /// Holds what the worker that listens under `unix_name` offers, instead of an older one; where that worker or its
  /// segment cannot be reached from here everything stays as it is.
  void take(const std::string& unix_name, Held offered);
  /// Where the next generation finds it: in this process. Nowhere when nothing is held.
  const Held& held() const { return held_; }
  bool holds() const { return static_cast<bool>(fd_); }
  void release();

 private:
  net::Fd fd_;
  Held held_;
};

}  // namespace stoker::gang
