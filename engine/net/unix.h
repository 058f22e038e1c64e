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

/// Sees to it that the process behind the name runs no more: it is gone already, or it is killed and waited for.
/// False when that could not be proven within `patience`; the calling process itself is never touched.
/// REQUIRES: that the name was heard of in this network namespace; else nobody listens and the answer proves nothing.
bool end_process_behind(const std::string& name, Duration patience);

}  // namespace stoker::net
