#pragma once
// The open connections of one rank to all others, over which deaths are seen. Used by one thread.
#include <functional>
#include <string>
#include <vector>

#include "collective/group.h"
#include "collective/wire.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::collective {

struct Peer {
  enum class State { here, done, failed };  // done and failed: it said that it leaves
  Member member;
  net::Fd fd;           // none for this rank itself
  net::Seals seals;     // of what goes over it
  bool shares = false;  // its host is mine
  State state = State::here;
};

/// "rank 2 (host 10.0.0.1, pid 123)".
std::string describe(const Member& member);

class Peers {
 public:
  /// One for each rank; my own has no descriptor.
  explicit Peers(std::vector<Peer> peers) : peers_(std::move(peers)) {}
  Peer& operator[](int rank) { return peers_[rank]; }
  int size() const { return static_cast<int>(peers_.size()); }

  /// Looks whether somebody is gone, without waiting. Throws Error(world) when a peer died and when one of `awaited` is
  /// done too early, Error(aborted) when a peer says that it failed (the cause is told there).
  void check(const std::vector<int>& awaited);
  /// What became of a peer whose connection has ended: throws unless it left in good order.
  void ended(Peer& peer);
  /// The peer's connection has ended without a word: it died, or gave up inside a frame because another one did, which
  /// then is what is thrown if it is known here.
  [[noreturn]] void broke_off(const Peer& peer);
  /// The peer has said that it leaves. Throws Error(aborted) when that is because it failed.
  void left(Peer& peer, const FrameHeader& header);
  /// The last frame on every connection that is at a frame's end. Does not wait.
  void leave(Stamp stamp, bool failed) noexcept;
  /// This connection is inside a frame; nothing else may be sent on it.
  void broken_off(int rank) { peers_[rank].fd.reset(); }

 private:
  std::vector<Peer> peers_;
};

/// The first few of these ranks, as above.
std::string describe_all(Peers& peers, const std::vector<int>& ranks);

/// Reads all of `out` or writes all of `bytes`, however long it takes. Calls `tick` at least every 20 ms while nothing
/// moves; what it throws ends the wait.
void read_ticking(int fd, std::span<std::byte> out, const std::function<void()>& tick);
void write_ticking(int fd, ByteView bytes, const std::function<void()>& tick);
/// Calls `tick` until `fd` can be read, or has ended, or can be written to.
void await_readable(int fd, const std::function<void()>& tick);
void await_writable(int fd, const std::function<void()>& tick);

}  // namespace stoker::collective
