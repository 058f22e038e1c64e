#pragma once
// Mutual proof that both ends of a connection know the fit's secret, before a byte of either reaches a protocol.
//
//   connector -> listener   magic, version, nonce c
//   listener -> connector   magic, version, nonce l, HMAC(secret, "stoker handshake 1 listener" c l)
//   connector -> listener   HMAC(secret, "stoker handshake 1 connector" c l)
//
// HMAC is HMAC-SHA256. The fresh nonces make a replayed message fail, the role in the text a reflected one.
// docs/formats/gang.md has the bytes. A stranger gets 68 bytes of attention and no more.
#include <array>

#include "base/clock.h"
#include "base/codec.h"

namespace stoker::net {

enum class Role { connector, listener };

/// One end's state machine, without a socket. Used by one thread.
class Handshake {
 public:
  Handshake(Role role, ByteView secret);
  /// What this end sends first; empty for the listener.
  Bytes opening() const;
  /// Length of the next message of the other end; 0 once it is proven.
  size_t wants() const { return wants_; }
  bool proven() const { return wants_ == 0; }
  /// Takes that message and returns the answer, which may be empty. Throws Error(world) when the other end is no
  /// member of this fit. REQUIRES: message.size() == wants().
  Bytes receive(ByteView message);

 private:
  using Nonce = std::array<std::byte, 32>;
  Bytes receive_hello(ByteView message);
  Bytes receive_answer(ByteView message);
  Bytes receive_proof(ByteView message);
  Nonce prove(Role role) const;
  void check(Role role, ByteView proof);

  Role role_;
  Bytes secret_;
  Nonce mine_{};
  Nonce theirs_{};
  size_t wants_;
};

/// The whole handshake on a connected socket, blocking or not. Reads not one byte more than its own.
void handshake_blocking(int fd, Role role, ByteView secret, TimePoint deadline);

}  // namespace stoker::net
