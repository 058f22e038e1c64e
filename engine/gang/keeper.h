#pragma once
// The training's state, kept by the coordinator where every worker may die: the segment of its own host, held open
// (memory lives as long as someone has it open), or what a survivor on another host handed in.
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gang/protocol.h"
#include "net/socket.h"
#include "net/unix.h"

namespace stoker::gang {

/// Until a killed process has given back its memory, gigabytes of rows too.
constexpr Duration kEndTime = std::chrono::seconds(5);

/// The segment that a process holds; empty where it cannot be opened from here, or is not the one that was told of.
net::Fd open_held(const Held& held);

/// One of both at a time, the newer one. Not thread-safe.
class Keeper {
 public:
  /// Holds what the worker that listens under `unix_name` offers in this generation, instead of what there is; where
  /// that worker or its segment cannot be reached from here everything stays as it is.
  void take(const std::string& unix_name, Held offered, uint64_t generation);
  /// Keeps a state that was handed in, instead of what there is.
  void take(const Kept& kept, Bytes state);
  /// Where the next generation finds it: in this process. Nowhere when nothing is held.
  const Held& held() const { return held_; }
  bool holds() const { return static_cast<bool>(fd_); }
  /// Whether the segment is one that this generation works in.
  bool holds_that_of(uint64_t generation) const { return holds() && generation_ == generation; }
  /// Ends the process behind the name, which may write into the segment. Nobody waits for that but a generation that
  /// could begin: see may_begin().
  void fence(const std::string& unix_name);
  /// Whether no process that was fenced runs any more.
  bool is_fenced();
  /// Asked again and again while a generation could begin: whether it may. From the first time on a process has
  /// kEndTime to end; if one is not proven to have ended then, the segment is let go.
  bool may_begin(TimePoint now);
  /// Lets go of the segment.
  void release();
  const Kept& kept() const { return kept_; }
  /// The newest commit of what is kept, in whatever form; 0: nothing is. A segment is looked at as it is now.
  uint64_t commit() const;
  ByteView state() const { return state_; }

 private:
  net::Fd fd_;
  Held held_;
  uint64_t generation_ = 0;  // in which the segment was offered
  std::vector<net::ProcessEnd> fenced_;
  std::optional<TimePoint> waited_since_;
  Kept kept_;
  Bytes state_;
};

}  // namespace stoker::gang
